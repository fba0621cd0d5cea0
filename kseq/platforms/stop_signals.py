"""Ctrl-C, and what else asks to stop, as one exception at a moment at which it leaves nothing half done.

Python's own handler raises KeyboardInterrupt wherever the main thread is, and each time. In three places that goes wrong:

- Amid the few instructions that take or give back a lock of `threading`, it leaves the lock taken for ever, or becomes a
  RuntimeError of the lock; amid those that remove a temporary file, it leaves the file. Here it waits for a moment until the
  thread has left them, or waits in them itself.
- In what Python calls by itself, as `__del__`, it is printed and forgotten. Here it comes again.
- While the first one clears away, a second one ends that. Here those of the next seconds are the same wish.
"""

from __future__ import annotations

import _thread
import atexit
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from kseq.platforms.interrupts import hidden_by

__all__ = ["AGAIN_SECONDS", "CTRL_C", "stopping_once"]

# Who asks again after so many seconds is heard: what is cleared away may hang.
AGAIN_SECONDS = 3.0

# What to stop at, and what is raised.
CTRL_C: Mapping[int, type[KeyboardInterrupt]] = {signal.SIGINT: KeyboardInterrupt}

# Modules that take and give back locks, or begin and end blocks, in several instructions; what they call is not meant.
_LOCKING = frozenset(
    ("threading", "concurrent.futures._base", "queue", "contextlib", "weakref", "importlib._bootstrap", __name__)
)

# Modules that make and remove what is temporary, with all that they call.
_CLEARING = frozenset(
    ("kseq.storage.atomic", "kseq.storage.lock", "kseq.storage.output_folder", "multiprocessing.heap", "shutil", "tempfile")
)

# A thread that is in one of them is looked at again after a pause, and interrupted all the same after so many seconds.
_PAUSE, _MOST_SECONDS = 0.005, 1.0


@contextmanager
def stopping_once(kinds: Mapping[int, type[KeyboardInterrupt]] = CTRL_C, *, is_last: bool = False) -> Iterator[None]:
    """Within the block, let each of some signals raise an exception, once, at a moment at which it does no harm.

    Only in the main thread, and only those signals that would end the program as things are: others have a handler of the
    program, or are ignored, as in the background of a shell. A block within such a block changes nothing.

    Args:
        kinds: For each signal, what it raises.
        is_last: Whether the program ends after the block: what comes then is the same wish.

    Raises:
        KeyboardInterrupt: If a signal came, whatever has become of it; from the block's own error, if there is another.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Handler(kinds)
    handler.install()
    try:
        yield
    except Exception as error:
        number = handler.end(is_last)
        if number is None:
            raise
        hidden = hidden_by(error)
        if hidden is not None:
            raise hidden from None
        raise kinds[number]() from error
    except BaseException:
        handler.end(is_last)
        raise
    number = handler.end(is_last)
    if number is not None:
        # It came too late, or something has passed over it.
        raise kinds[number]


class _Handler:
    """What the signals call. It keeps no exception, since that would keep all that is on its way."""

    # For `interrupts`: it is not a handler of the program's own, which may want something else.
    raises_interrupts = True

    def __init__(self, kinds: Mapping[int, type[KeyboardInterrupt]]) -> None:
        self._kinds = kinds
        self._before: dict[int, Any] = {}
        self._hook_before: Any = None
        # The signal that was raised last, and when.
        self._raised: int | None = None
        self._since = 0.0
        # A signal that is to come again, since when, and where the thread was.
        self._pending: int | None = None
        self._pending_since = 0.0
        self._place: tuple[FrameType, int, float] | None = None
        self._has_ended = False
        # Held to send a signal, so that none is sent after the end; never taken where a signal is handled.
        self._sending = threading.Lock()

    def install(self) -> None:
        for number in self._kinds:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            if signal.getsignal(number) == default:
                self._before[number] = default
        if self._before:
            self._hook_before, sys.unraisablehook = sys.unraisablehook, self._hear_unraisable
        for number in self._before:
            signal.signal(number, self)

    def end(self, is_last: bool) -> int | None:
        """Put back what there was before, unless the program ends; returns the signal that came, if one did."""
        self._has_ended, self._since = True, time.monotonic()
        with self._sending:
            # From here on no signal is sent again.
            self._place = None
        if is_last:
            # While Python ends, it gives signals back to the system, which would end the program with another exit code.
            atexit.register(self._ignore)
        else:
            self._restore()
        return self._pending if self._raised is None else self._raised

    def _restore(self) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) is self:
                signal.signal(number, handler)
        if sys.unraisablehook == self._hear_unraisable:
            sys.unraisablehook = self._hook_before

    def _ignore(self) -> None:
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._has_ended:
            self._come_late(number)
        elif self._raised is not None and time.monotonic() - self._since < AGAIN_SECONDS:
            return
        elif not (self._is_delicate(frame) and self._send_again(number)):
            self._pending = self._place = None
            self._raised, self._since = number, time.monotonic()
            raise self._kinds[number]

    def _come_late(self, number: int) -> None:
        """Amid `end`, or between that and the end of the program."""
        if time.monotonic() - self._since < AGAIN_SECONDS:
            self._pending = number
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _is_delicate(self, frame: FrameType | None) -> bool:
        """Whether the thread is where no exception may come; one that is found twice at the same instruction waits there."""
        if self._pending is not None and time.monotonic() - self._pending_since > _MOST_SECONDS:
            return False
        if frame is None or not (_module_of(frame) in _LOCKING or _is_clearing(frame)):
            return False
        now = time.monotonic()
        if self._place is not None and self._place[:2] == (frame, frame.f_lasti):
            return now - self._place[2] < _PAUSE
        self._place = (frame, frame.f_lasti, now)
        return True

    def _send_again(self, number: int) -> bool:
        """Let the signal come again in a moment; False if that cannot be."""
        if self._pending is None:
            self._pending, self._pending_since = number, time.monotonic()
        try:
            _thread.start_new_thread(self._send_later, ())
        except RuntimeError:
            return False
        return True

    def _send_later(self) -> None:
        time.sleep(_PAUSE)
        with self._sending:
            if self._pending is None or self._has_ended:
                return
            main = threading.main_thread().ident
            if hasattr(signal, "pthread_kill") and main is not None:
                # It also ends a wait of the thread for a lock.
                signal.pthread_kill(main, self._pending)
            else:
                _thread.interrupt_main(signal.Signals(self._pending))

    def _hear_unraisable(self, unraisable: Any) -> None:
        number = self._raised
        if number is None or self._has_ended or not issubclass(unraisable.exc_type, self._kinds[number]):
            self._hook_before(unraisable)
        else:
            self._raised = None
            self._send_again(number)


def _module_of(frame: FrameType) -> Any:
    return frame.f_globals.get("__name__")


def _is_clearing(frame: FrameType | None) -> bool:
    while frame is not None:
        if _module_of(frame) in _CLEARING:
            return True
        frame = frame.f_back
    return False
