"""Says why before the operating system ends this process with SIGBUS: a page of a mapped file could not be read.

Python's own handlers of signals never run then, since the instruction that failed comes before anything else of Python's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["explain_bus_errors"]

# No system's `struct sigaction` is larger.
_MOST_BYTES = 1024

# What the C library calls must not be given back.
_handlers: list[Any] = []


def explain_bus_errors(explain: Callable[[], str]) -> None:
    """Print a line when this process dies of SIGBUS. Does nothing except on Linux.

    What the signal led to before, it leads to afterwards: the end of the process, or what `faulthandler` prints first.

    Args:
        explain: Gives the line. It is called in the thread that failed, and may call whatever does not read mapped files.
    """
    if sys.platform != "linux":
        return
    try:
        library = ctypes.CDLL(None, use_errno=True)
        set_action, set_handler = library.sigaction, library.signal
    except (OSError, TypeError, AttributeError):
        return
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    set_action.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p]
    set_handler.argtypes, set_handler.restype = [ctypes.c_int, kind], ctypes.c_void_p
    before = ctypes.create_string_buffer(_MOST_BYTES)

    def handle(number: int) -> None:
        set_action(number, before, None)
        with contextlib.suppress(Exception):
            os.write(2, f"\nkseq: {explain()}\n".encode(errors="replace"))
        # The instruction fails once more; a signal that somebody has sent would not come again.
        signal.pthread_kill(threading.get_ident(), number)

    handler = kind(handle)
    if set_action(signal.SIGBUS, None, before) == 0:
        _handlers.append(handler)
        set_handler(signal.SIGBUS, handler)
