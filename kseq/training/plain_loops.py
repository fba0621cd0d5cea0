"""Loops of one's own over `sequence[i]`: which epoch each number is of, and when a loop is complete."""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from types import CodeType

from kseq.training.epoch_count import EpochCount, Pass

__all__ = ["PlainLoops"]

# So many places of a program are remembered.
_MOST_PLACES = 16

# So many epochs' worth of numbers in other orders are a loop, not a look.
_EPOCHS_TO_WARN = 3


class _Place:
    """A place in a program that asks for batches.

    Args:
        code: Where it is; kept so that no other code gets its id.
        line: Its line there.
        setting: How often the epoch had been set.
        first_number: The number with which its first pass begins.
    """

    def __init__(self, code: CodeType, line: int, setting: int, first_number: int) -> None:
        self.code = code
        self.line = line
        self.setting = setting
        self.thread = threading.get_ident()
        # The pass that is going on, and the number that comes next in it.
        self.current: Pass | None = None
        self.next_number = first_number
        # Whether it has ever asked for numbers in another order than 0, 1, 2: then it never makes a pass, since the last
        # numbers of one loop and the first of the next may look like one.
        self.is_unordered = False
        self.num_unordered = 0


class PlainLoops:
    """Finds the epoch of numbers that programs ask for; not safe to use from several threads at once.

    Args:
        count: Counts the epochs.
        name: What messages call the Sequence.
        warns: Whether to say once that a loop does not count.

    Attributes:
        is_copy: Whether the Sequence was copied to here: then loops do not count, since there may be other copies that share
            out the numbers.
    """

    def __init__(self, count: EpochCount, name: str, warns: bool) -> None:
        self._count = count
        self._name = name
        self._warns = warns
        self._home = os.getpid(), threading.get_ident()
        self._places: OrderedDict[tuple[int, int], _Place] = OrderedDict()
        self._last_read: tuple[int, int] | None = None
        # Whether some number was asked for, and whether a loop has counted, since the program last said that its epoch is over.
        self._was_read = False
        self._has_counted = False
        self.is_copy = False

    def locate(self, place: tuple[CodeType, int], number: int, length: int) -> int:
        """The epoch of a number that a place of a program asks for, where a pass has `length` batches."""
        at = self._place(*place)
        self._was_read = True
        is_next = not at.is_unordered and at.thread == threading.get_ident() and number in (0, at.next_number)
        if not is_next:
            at.is_unordered, at.current = True, None
            epoch = self._count.begin().epoch
            self._notice_unordered(at, length)
        else:
            if number == 0 or at.current is None:
                at.current = self._count.begin()
            epoch = at.current.epoch
            at.next_number = number + 1
            if at.next_number == length:
                at.next_number = 0
                self._finish(at, at.current)
        self._last_read = number, epoch
        return epoch

    def epoch_read(self, number: int) -> int:
        """The epoch of the number that was asked for last, if it is this one; else that of the next pass."""
        last = self._last_read
        return last[1] if last is not None and last[0] == number else self._count.epoch

    def end(self) -> None:
        """The program says that its epoch is over."""
        # What was asked for after a loop that has counted was a look.
        is_new = self._was_read and not self._has_counted
        if is_new and self._last_read is not None and self._last_read[1] == self._count.epoch:
            self._count.finish(Pass(self._count.epoch, self._count.setting))
        self._was_read = self._has_counted = False
        self._places.clear()

    def _place(self, code: CodeType, line: int) -> _Place:
        key = id(code), line
        if key not in self._places or self._places[key].setting != self._count.setting:
            self._places[key] = _Place(code, line, self._count.setting, self._count.start)
        self._places.move_to_end(key)
        if len(self._places) > _MOST_PLACES:
            self._places.popitem(last=False)
        return self._places[key]

    def _finish(self, at: _Place, served: Pass) -> None:
        if not self.is_copy and self._home == (os.getpid(), threading.get_ident()):
            self._count.finish(served)
            self._has_counted = True
        else:
            self._warn(at, "in another thread or process than the one that made the sequence")

    def _notice_unordered(self, at: _Place, length: int) -> None:
        at.num_unordered += 1
        if at.num_unordered >= _EPOCHS_TO_WARN * length:
            self._warn(at, "in an order of its own, or by several threads")

    def _warn(self, at: _Place, how: str) -> None:
        if self._warns:
            self._warns = False
            warnings.warn_explicit(
                f"{self._name}: a loop asks for sequence[i] {how}, so its end cannot be known, and epoch stays at "
                f"{self._count.epoch}: call on_epoch_end() after each epoch, set epoch, or take kseq.Batches",
                UserWarning,
                at.code.co_filename,
                at.line,
            )
