"""Ctrl-C, as threads notice it that are not the main one, and where Python hides it behind another error.

Python raises KeyboardInterrupt in the main thread alone, and only between two of its instructions. While the main thread waits
in a library for another thread, as it does in TensorFlow for the next batch, Ctrl-C does nothing until that wait ends: so
the other thread has to end it.

Between two instructions may also be amid `threading.Condition.wait`, by which a thread waits for an event, a queue, a future,
or another thread to start: when the lock is given back, and not yet waited for. Who leaves the wait then gives it back once
more, and that is a RuntimeError, with the KeyboardInterrupt as its context (Python 3.10 to 3.14).
"""

from __future__ import annotations

import atexit
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from kseq.platforms.forks import at_fork

__all__ = ["breaks_off", "check", "count", "hidden_by", "unhidden", "watch"]


class _Watch:
    """Counts how often Ctrl-C was pressed, by the bytes that Python's own handler of signals writes to a socket."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        self._lock = threading.Lock()
        self._count = 0

    def install(self) -> None:
        """Let Python write there, unless it writes elsewhere already, as for an event loop of asyncio."""
        self._exchange(self._writing.fileno())

    def remove(self) -> None:
        self._exchange(-1)
        self._reading.close()
        self._writing.close()

    def _exchange(self, descriptor: int) -> None:
        before = signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
        if before not in (-1, self._writing.fileno()):
            signal.set_wakeup_fd(before)

    def count(self) -> int:
        with self._lock:
            with contextlib.suppress(OSError):
                while numbers := self._reading.recv(4096):
                    self._count += numbers.count(signal.SIGINT)
            return self._count


_watch: _Watch | None = None
# For a thread: how often Ctrl-C had been pressed when what it serves began.
_thread = threading.local()


def watch() -> None:
    """Begin to count, if this is the main thread; in others nothing can be begun."""
    global _watch
    if threading.current_thread() is not threading.main_thread():
        return
    # A program that has no more descriptors, or an interpreter in an interpreter: then nothing is counted.
    with contextlib.suppress(OSError, ValueError):
        _watch = _watch or _Watch()
        _watch.install()


def count() -> int:
    """How often Ctrl-C has been pressed since `watch`; 0 without it."""
    return 0 if _watch is None else _watch.count()


@contextlib.contextmanager
def breaks_off(count_before: int) -> Iterator[None]:
    """Let `check` in this thread, within the block, break off if Ctrl-C was pressed since the count was `count_before`."""
    _thread.count_before = count_before
    try:
        yield
    finally:
        del _thread.count_before


def check() -> None:
    """Raise KeyboardInterrupt if this thread serves something that Ctrl-C is to break off, and it was pressed.

    Not where the program has a handler of its own, which may want something else.
    """
    before = getattr(_thread, "count_before", None)
    if before is not None and count() > before and _raises(signal.getsignal(signal.SIGINT)):
        raise KeyboardInterrupt


def _raises(handler: Any) -> bool:
    return handler is signal.default_int_handler or getattr(handler, "raises_interrupts", False)


# What the two kinds of locks say that are given back by who does not hold them.
_NOT_HELD = ("release unlocked lock", "cannot release un-acquired lock")


def hidden_by(error: BaseException | None) -> KeyboardInterrupt | None:
    """The interrupt that a lock's RuntimeError hides, if `error` is one, or was raised while one was handled.

    Other errors hide none: they may come from a block that handles an earlier interrupt.
    """
    while error is not None:
        context = error.__context__
        if isinstance(error, RuntimeError) and isinstance(context, KeyboardInterrupt) and str(error) in _NOT_HELD:
            return context
        error = context
    return None


@contextlib.contextmanager
def unhidden() -> Iterator[None]:
    """In the block, raise the interrupt in place of the error that hides it."""
    try:
        yield
    except Exception as error:
        interrupt = hidden_by(error)
        if interrupt is None:
            raise
        raise interrupt from None


def _forget() -> None:
    """In a forked child, since the socket is the parent's, and when the program ends."""
    global _watch
    inherited, _watch = _watch, None
    if inherited is not None:
        with contextlib.suppress(ValueError):
            inherited.remove()


at_fork(after_in_child=_forget)
atexit.register(_forget)
