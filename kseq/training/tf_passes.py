"""Passes over batches in TensorFlow's threads: nothing is kept for ever, Ctrl-C and the end of the program break them off."""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Iterator
from typing import Any

from kseq.platforms import interrupts
from kseq.threads import EXIT_SECONDS, note_end, program_ends

__all__ = ["ERROR", "WeakPasses"]

# So many seconds TensorFlow's threads have to ask for a batch, and to be told that there is none, when the program ends.
_GRACE = 0.1

# The attribute of an adapter that holds the last error in reading.
ERROR = "_kseq_error"


class WeakPasses:
    """The function that begins a pass, as TensorFlow may keep it for ever.

    Args:
        adapter: Its `_get_iterator()` gives the batches of a pass. It is known only as long as somebody holds it; whoever goes
            through the `tf.data.Dataset`, or holds it, has to.
        keeps_error: Whether an error in reading becomes its attribute `ERROR`, which somebody has to take away: the error
            refers to the adapter.
    """

    def __init__(self, adapter: Any, *, keeps_error: bool) -> None:
        self._adapter = weakref.ref(adapter)
        self._keeps_error = keeps_error

    def __call__(self) -> Iterator[Any]:
        adapter = self._adapter()
        # Who holds the dataset holds the adapter.
        return iter(()) if adapter is None else _Pass(adapter, self._keeps_error)


class _Pass:
    """A pass, in TensorFlow's threads."""

    def __init__(self, adapter: Any, keeps_error: bool) -> None:
        self._adapter = weakref.ref(adapter)
        self._keeps_error = keeps_error
        self._batches = adapter._get_iterator()
        self._interrupts = interrupts.count()
        # Whether TensorFlow is in here, or has still to take note of the end.
        self.is_busy = False
        _passes.add(self)

    def __iter__(self) -> _Pass:
        return self

    def __next__(self) -> Any:
        self.is_busy = True
        try:
            with interrupts.breaks_off(self._interrupts):
                batch = None if program_ends() else next(self._batches)
        except StopIteration:
            raise
        except BaseException as error:
            if program_ends():
                # Nobody is there to be told.
                raise StopIteration from None
            self.is_busy = False
            adapter = self._adapter()
            if adapter is not None and self._keeps_error:
                setattr(adapter, ERROR, error)
            raise
        if program_ends():
            raise StopIteration
        self.is_busy = False
        return batch


_passes: weakref.WeakSet[_Pass] = weakref.WeakSet()


def _end_passes() -> None:
    """When the program ends: wait until TensorFlow's threads have left Python.

    They need its lock, which they do not get once Python takes itself apart; and that, when it frees TensorFlow's iterators,
    waits for the threads.
    """
    note_end()
    if len(_passes):
        # A thread may be about to ask for the next batch.
        time.sleep(_GRACE)
    deadline = time.monotonic() + EXIT_SECONDS
    while _are_busy() and time.monotonic() < deadline:
        time.sleep(0.01)


def _are_busy() -> bool:
    # TensorFlow lets go of a pass that has ended: this must not hold it.
    return any(one.is_busy for one in list(_passes))


atexit.register(_end_passes)
