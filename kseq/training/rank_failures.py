"""A rank that fails tells the others, and none of them waits for ever for one that is gone.

Ranks that train together wait for each other in every step, in a library that knows nothing of an exception elsewhere. So each
looks every second at a note that a failing rank leaves where the library that connects them keeps notes for all.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from kseq.errors import RankFailedError, one_line
from kseq.platforms.forks import at_fork
from kseq.threads import start_thread
from kseq.training.rank_notes import Notes, find_notes

__all__ = ["begin_to_watch", "check_ranks", "note_failure", "note_success", "watch_ranks"]

# Seconds between two looks at the note.
_STEP = 1.0

# So many seconds a failing rank waits until the others have read its note, some of which may be stopped.
_HEARD_SECONDS = 3.0

# A thread that stands at one instruction for so long, after a rank has failed, waits for that rank and gets no exception. Those
# that were told leave first: a failing rank may hold the service that connects all, which ends theirs with noise.
_TOLD_SECONDS, _FAILING_SECONDS = 8.0, 15.0


class _Watch:
    """Looks for a note of a failed rank, in a thread of its own, and leaves one if this rank fails.

    Args:
        notes: What all ranks read.
        rank: This one.
        size: How many there are.
        trains: The number of the thread that asks for batches, or that has made them as long as none was asked for.
    """

    def __init__(self, notes: Notes, rank: int, size: int, trains: int) -> None:
        self.rank = rank
        self.trains = trains
        self.was_asked = False
        # What another rank has failed of, for the next batch that is asked for.
        self.told = ""
        # An error of a batch that nobody may have caught.
        self.failure: BaseException | None = None
        self._notes = notes
        self._size = size
        self._is_failing = False
        self._ends = threading.Event()
        self._thread = start_thread(self._look, name="kseq-ranks")

    def fail(self, error: BaseException) -> None:
        """Tell the other ranks that this one ends with an error; once."""
        if self._is_failing or self.told or self._ends.is_set():
            return
        self._is_failing = True
        text = f"rank {self.rank} of {self._size} failed: {type(error).__name__}: {one_line(error)}"
        with contextlib.suppress(Exception):
            self._notes.leave(text)
            deadline = time.monotonic() + _HEARD_SECONDS
            while self._notes.num_heard() < self._size - 1 and time.monotonic() < deadline:
                time.sleep(0.1)
        self._leave_if_stuck(_FAILING_SECONDS)

    def end(self) -> None:
        """The program ends: tell of an error that was caught, if no batch came after it, and look no more."""
        if self.failure is not None:
            self.fail(self.failure)
        self._ends.set()
        # It must not be in the library that connects the ranks when that is taken down.
        self._thread.join(2 * _STEP)

    def _look(self) -> None:
        while not self._ends.wait(_STEP) and not self._is_failing:
            try:
                found = self._notes.find()
            except Exception:
                # Whoever kept the notes is gone: the library that connects the ranks says so itself.
                return
            if found and not self._is_failing:
                self.told = found
                with contextlib.suppress(Exception):
                    self._notes.say_heard()
                _print(f"kseq: {found}: rank {self.rank} ends too")
                self._leave_if_stuck(_TOLD_SECONDS)
                return

    def _leave_if_stuck(self, seconds: float) -> None:
        """Let a thread end the process once the one that trains stands at one instruction for so long."""
        start_thread(self._watch_over, seconds, name="kseq-leave")

    def _watch_over(self, seconds: float) -> None:
        place, since = _place(self.trains), time.monotonic()
        while time.monotonic() - since < seconds:
            time.sleep(0.25)
            now = _place(self.trains)
            if now != place:
                place, since = now, time.monotonic()
        _print(f"kseq: rank {self.rank} has waited {seconds:.0f} s for a rank that is gone, and leaves")
        # A failing rank that ends in order waits for the others to take leave.
        if self.told:
            start_thread(self._notes.take_leave, name="kseq-farewell").join(_HEARD_SECONDS)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(1)


def _place(thread: int) -> tuple[int, int] | None:
    """Where a thread is; two calls in a loop are two places, since a frame is made for each."""
    frame: FrameType | None = sys._current_frames().get(thread)
    return None if frame is None else (id(frame), frame.f_lasti)


def _print(text: str) -> None:
    with contextlib.suppress(Exception):
        print(text, file=sys.stderr, flush=True)


_watch: _Watch | None = None
# Whether this process was forked from a rank, with a connection that only that may use.
_is_child = False
# Guards that a process makes one. No call of a library is made under it.
_lock = threading.Lock()


def watch_ranks(rank: int, size: int) -> None:
    """Look whether other ranks fail, and say which thread trains; called with each batch of a rank of several."""
    # The ranks may have been connected after the batches were made.
    begin_to_watch(rank, size)
    if _watch is not None and not _watch.was_asked:
        _watch.trains, _watch.was_asked = _training_thread(), True


def begin_to_watch(rank: int, size: int) -> None:
    """Begin to look whether other ranks fail, where a library connects them; called when batches are made for one of several.

    So a rank that fails before its first batch tells the others, too, which wait for it in their first step.
    """
    global _watch
    if _watch is not None or _is_child:
        return
    notes = find_notes()
    if notes is None:
        return
    with _lock:
        if _watch is None:
            _watch = _Watch(notes, rank, size, _training_thread())
            _chain_hooks()
            # What is registered last runs first: before the library that connects the ranks says goodbye.
            atexit.unregister(_end)
            atexit.register(_end)


def _training_thread() -> int:
    """The number of the thread that trains: the one that asks for batches, or the main one where a library's thread does."""
    thread = threading.current_thread()
    is_of_python = not isinstance(thread, threading._DummyThread)
    return (thread if is_of_python else threading.main_thread()).ident or 0


def check_ranks() -> None:
    """Raise RankFailedError if another rank has failed."""
    if _watch is not None and _watch.told:
        raise RankFailedError(
            f"{_watch.told}: the ranks cannot go on without it: mend what it says there, and start all of them again (with "
            "kseq.ResumeTraining they go on where they were)"
        )


def note_failure(error: BaseException) -> None:
    """A batch could not be made: the other ranks are told at the end of the program, unless another batch comes first."""
    if _watch is not None:
        _watch.failure = error


def note_success() -> None:
    """A batch was made."""
    if _watch is not None and _watch.failure is not None:
        _watch.failure = None


def _chain_hooks() -> None:
    """Tell the other ranks of an error that nobody catches, after it was printed."""
    print_error: Callable[..., Any] = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        print_error(kind, error, trace)
        # At a prompt the session goes on.
        if _watch is not None and not hasattr(sys, "ps1") and not sys.flags.interactive:
            _watch.fail(error)

    print_in_thread = threading.excepthook

    def thread_hook(failure: Any) -> None:
        print_in_thread(failure)
        is_training = _watch is not None and failure.thread is not None and failure.thread.ident == _watch.trains
        if _watch is not None and is_training and failure.exc_value is not None:
            _watch.fail(failure.exc_value)

    sys.excepthook, threading.excepthook = hook, thread_hook


def _end() -> None:
    if _watch is not None:
        _watch.end()


def _forget() -> None:
    """In a forked child, which is no rank, unless it is connected only afterwards."""
    global _watch, _lock, _is_child
    _is_child = find_notes() is not None
    _watch, _lock = None, threading.Lock()


at_fork(after_in_child=_forget)
