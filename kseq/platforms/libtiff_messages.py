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
from functools import cache
from typing import Any

import PIL._imaging

__all__ = ["libtiff_messages"]

# The module of libtiff that speaks, a format as of printf, and a va_list, which all of them pass by its address.
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_MOST_BYTES = 200

# Where the thread keeps messages; without the attribute, it keeps none.
_kept = threading.local()


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


@cache
def _install() -> Any:
    """Replace the handlers of the libtiff that Pillow has; None where it cannot be reached. What is returned must live on."""
    handlers = []
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
