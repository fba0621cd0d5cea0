"""How worker processes fail: what they answer when a task raises, and how they died if they answer nothing."""

from __future__ import annotations

import contextlib
import signal
import traceback
from multiprocessing.reduction import ForkingPickler
from typing import Any

from kseq.errors import WorkerDiedError, one_line

__all__ = ["ProcessDiedError", "StartFailedError", "answer_to", "describe_exit", "is_crash", "value_of"]

# Signals with which a process dies of what it does itself: the next process that does the same dies too.
_CRASHES = frozenset(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGSYS", "SIGTRAP")
    if hasattr(signal, name)
)

_ADVICE = {
    "SIGKILL": "out of memory? fewer workers need less",
    "SIGBUS": "a mapped file has become shorter, or its disk fails? read='pread' makes that an error",
}


class ProcessDiedError(WorkerDiedError):
    """A worker process ended while it worked on a task.

    Attributes:
        exit_code: Its exit code; minus the number of the signal that ended it.
        cause: How it ended, such as `"killed by signal 9, SIGKILL"`.
    """

    def __init__(self, exit_code: int | None) -> None:
        self.exit_code = exit_code
        self.cause = describe_exit(exit_code)
        advice = next((text for name, text in _ADVICE.items() if name in self.cause), "the other workers go on")
        super().__init__(f"a worker process ended amid a task: {self.cause} ({advice})")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.exit_code,)

    @property
    def is_crash(self) -> bool:
        """Whether it died of what it did, and not because somebody, or the system for want of memory, killed it."""
        return is_crash(self.exit_code)


class StartFailedError(WorkerDiedError):
    """No worker process can be started, or those that are end before they take a task.

    Attributes:
        cause: Why.
        is_crash: Whether they end of what they do themselves.
    """

    def __init__(self, text: str, cause: str, is_crash: bool) -> None:
        super().__init__(text)
        self.cause = cause
        self.is_crash = is_crash

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.cause, self.is_crash)


def is_crash(exit_code: int | None) -> bool:
    """Whether a process that ended so died of what it did, and not because it was killed."""
    return exit_code is None or exit_code >= 0 or -exit_code in _CRASHES


def describe_exit(exit_code: int | None) -> str:
    """How a process ended, in words."""
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return f"killed by signal {-exit_code}, {signal.Signals(-exit_code).name}"
    return f"killed by signal {-exit_code}"


def answer_to(task: bytes) -> Any:
    """In a worker process: whether a task succeeded, what it returned or raised, and where, pickled."""
    try:
        fn, args, kwargs = ForkingPickler.loads(task)
        return ForkingPickler.dumps((True, fn(*args, **kwargs), ""))
    except BaseException as error:
        trace = traceback.format_exc()
        try:
            answer = ForkingPickler.dumps((False, error, trace))
            # Whether the other side can read it: the class of an error may want other arguments than the error has.
            ForkingPickler.loads(answer)
            return answer
        except Exception:
            return _answer_with_parts(error, trace)


def _answer_with_parts(error: BaseException, trace: str) -> Any:
    """The same for an error that pickle cannot send as it is: its class, its arguments and attributes, or at least its text."""
    with contextlib.suppress(Exception):
        answer = ForkingPickler.dumps((False, _ErrorParts(type(error), error.args, error.__dict__), trace))
        ForkingPickler.loads(answer)
        return answer
    return ForkingPickler.dumps((False, RuntimeError(f"{type(error).__name__}: {one_line(error)}"), trace))


class _ErrorParts:
    """An error that becomes itself again when it is unpickled, without a call of its `__init__`."""

    def __init__(self, kind: type[BaseException], args: tuple, attributes: dict[str, Any]) -> None:
        self._parts = kind, args, attributes

    def __reduce__(self) -> tuple[Any, ...]:
        return _error_of_parts, self._parts


def _error_of_parts(kind: type[BaseException], args: tuple, attributes: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


def value_of(answer: bytes) -> Any:
    """In the parent: what the task returned; raises what it raised."""
    is_done, value, trace = ForkingPickler.loads(answer)
    if not is_done:
        value.__cause__ = _TraceError(trace)
        try:
            raise value
        finally:
            # The error refers to this function's variables: with one of them, only the garbage collector would free it.
            del value
    return value


class _TraceError(Exception):
    """Where an error was raised in a worker process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"
