"""How long each thread has waited in calls that read from files."""

from __future__ import annotations

import threading

__all__ = ["note_read", "seconds_reading"]

_thread = threading.local()


def note_read(seconds: float) -> None:
    """This thread has waited so long for a call that reads."""
    _thread.seconds = seconds_reading() + seconds


def seconds_reading() -> float:
    """How long this thread has waited for such calls since it began."""
    seconds: float = getattr(_thread, "seconds", 0.0)
    return seconds
