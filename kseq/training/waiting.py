"""Waiting for what workers do: a wait that takes long is told, Ctrl-C ends it in any thread, and so does a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from kseq.errors import ReadTimeoutError, tell
from kseq.platforms import interrupts
from kseq.threads import program_ends

__all__ = ["Patience", "Wait"]

# Seconds between two looks at the clock. Python raises KeyboardInterrupt in the main thread without that.
_STEP = 0.25

# A wait of so many seconds is told; the next one only if it takes twice as long, so that a slow disk does not fill the screen.
_TELL_AFTER = 5.0

# Who waits less than so many seconds is not stuck: no worker is given up for it.
_STUCK_AFTER = 1.0


class Patience:
    """How long one waits for batches, and after which time that is told.

    Args:
        timeout: A batch may take so many seconds; None for any time.
    """

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.tell_after = _TELL_AFTER

    def begin(self, describe: Callable[[], str]) -> Wait:
        """A wait for one batch; `describe` says what is waited for, and is called only if it takes long."""
        return Wait(self, describe)


class Wait:
    """A wait for one batch."""

    def __init__(self, patience: Patience, describe: Callable[[], str]) -> None:
        self._patience = patience
        self._describe = describe
        # In seconds in which this process could run: those in which it was stopped itself are not counted.
        self._seconds = 0.0
        self._is_told = False

    @property
    def is_stuck(self) -> bool:
        """Whether it has taken so long that a worker may hang."""
        return self._seconds >= _STUCK_AFTER

    def finish(self, filling: Future, _: object) -> Any:
        """What a future returns, once it is done.

        Raises:
            ReadTimeoutError: If the wait for the batch has taken longer than it may.
            SystemExit: If the program ends.
            KeyboardInterrupt: If Ctrl-C was pressed; also in another thread than the main one, if it serves TensorFlow.
        """
        try:
            while True:
                started = time.monotonic()
                try:
                    with interrupts.unhidden():
                        return filling.result(self._step())
                except FutureTimeoutError:
                    # The task itself may raise this.
                    if filling.done():
                        return filling.result()
                self._seconds += min(time.monotonic() - started, 2 * _STEP)
                self._look()
        finally:
            # An error refers to this function's variables: with the future, only the garbage collector would free it.
            del filling

    def _step(self) -> float:
        timeout = self._patience.timeout
        return _STEP if timeout is None else max(0.0, min(_STEP, timeout - self._seconds))

    def _look(self) -> None:
        patience = self._patience
        if program_ends():
            # It ends a thread without a word.
            raise SystemExit
        if self.is_stuck:
            interrupts.check()
        if patience.timeout is not None and self._seconds >= patience.timeout:
            raise ReadTimeoutError(f"{self._describe()}: that has taken longer than timeout={patience.timeout:g} seconds")
        if self._seconds >= patience.tell_after and not self._is_told:
            self._is_told = True
            patience.tell_after = 2 * self._seconds
            tell(f"{self._describe()}, for {self._seconds:.0f} seconds now; Ctrl-C breaks off, timeout= sets a limit")
