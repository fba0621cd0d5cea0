"""What libtiff says while Pillow decodes a TIFF: kept for the error that follows, not printed.

libtiff prints its faults to the standard error stream of the process, whoever calls it. Its handler is replaced once, by one
that asks which thread speaks: inside of `libtiff_messages` the text is kept, anywhere else it goes where it went before. So
nothing that others decode is silenced, and no stream is touched.
"""

from __future__ import annotations

import atexit
import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import PIL._imaging

from kseq.platforms.forks import at_fork

__all__ = ["libtiff_messages"]

# The module of libtiff that speaks, a format as of printf, and a va_list, which all of them pass by its address.
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_MOST_BYTES = 200

# Where the thread keeps messages; without the attribute, it keeps none.
_kept = threading.local()
# The handlers, once they are replaced.
_installed: list[list[Any]] = []


class _Guard:
    """A lock, of which a forked process has its own: the thread that held it is not there."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.lock = threading.Lock()


_guard = _Guard()
at_fork(after_in_child=_guard.renew)


@contextmanager
def libtiff_messages() -> Iterator[list[str]]:
    """Collect what libtiff says of faults in this thread, in the order in which it says so."""
    _install()
    before = getattr(_kept, "messages", None)
    _kept.messages = messages = list[str]()
    try:
        yield messages
    finally:
        _kept.messages = before


def _install() -> None:
    """Replace the handlers of the libtiff that Pillow has, once; nothing where it cannot be reached."""
    # Two threads at once would each replace them, and libtiff would call the one that is not kept: what is no more.
    with _guard.lock:
        if not _installed:
            _installed.append(_replace_all())


def _replace_all() -> list[Any]:
    """Replace the handlers; the new ones, which must live on."""
    handlers: list[Any] = []
    # A Pillow without libtiff, one that holds it inside, or a system whose loader does not look into what a library uses.
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(PIL._imaging.__file__)
        for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            handlers.append(_replace(setter))
    return handlers


def _replace(setter: Any) -> Any:
    before = setter(None)
    say = _HANDLER(before) if before else None

    def handle(module: bytes | None, form: bytes, arguments: int) -> None:
        messages = getattr(_kept, "messages", None)
        if messages is not None:
            messages.append(_written(module, form, arguments))
        elif say is not None:
            say(module, form, arguments)

    handler = _HANDLER(handle)
    setter(ctypes.cast(handler, ctypes.c_void_p))
    # Before Python is gone, which the handler needs.
    atexit.register(setter, before)
    return handler


def _written(module: bytes | None, form: bytes, arguments: int) -> str:
    text = ctypes.create_string_buffer(_MOST_BYTES)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).vsnprintf(text, ctypes.c_size_t(_MOST_BYTES), form, ctypes.c_void_p(arguments))
    said = (text.value or form).decode("ascii", "replace")
    name = f"{module.decode('ascii', 'replace')}: " if module else ""
    return " ".join(f"{name}{said}".split())
