"""The encodings of all text that is read from files, archives and records.

The rule:

- Text is UTF-8, with or without a byte order mark. Some spreadsheets write UTF-16: it is read where a byte order mark
  announces it.
- File names and class names may hold bytes that are not UTF-8. They are kept as they are, each byte as a surrogate
  (`errors="surrogateescape"`), and are written back as the same bytes.
- JSON and YAML must be well encoded: `strict=True`.
"""

from __future__ import annotations

import codecs
import io
import os
from typing import TextIO

__all__ = ["decode_name", "decode_text", "encode_name", "open_text"]

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_KEEP_BYTES = "surrogateescape"


def open_text(path: str | os.PathLike[str], *, strict: bool = False) -> TextIO:
    """A text file, open for reading; line ends are left as they are.

    Args:
        path: The file. It is opened once, so a pipe is allowed.
        strict: Whether reading raises UnicodeError at bytes that are not well encoded, instead of keeping them.

    Raises:
        OSError: If the file cannot be opened.
    """
    binary = open(path, "rb")  # noqa: SIM115  # the text file closes it
    try:
        return io.TextIOWrapper(binary, _encoding(binary.peek(2)), "strict" if strict else _KEEP_BYTES, newline="")
    except BaseException:
        binary.close()
        raise


def decode_text(data: bytes) -> str:
    """The text of a whole file, or of a member of an archive.

    Raises:
        UnicodeError: If it begins as UTF-16 and goes on as something else.
    """
    return data.decode(_encoding(data), _KEEP_BYTES)


def decode_name(data: bytes) -> str:
    """A name or another short text from a record; `encode_name` gives the same bytes back."""
    return data.decode("utf-8", _KEEP_BYTES)


def encode_name(text: str) -> bytes:
    """The bytes of a text that `decode_name` gave.

    Raises:
        UnicodeEncodeError: If the text holds a surrogate that stands for no byte.
    """
    return text.encode("utf-8", _KEEP_BYTES)


def _encoding(head: bytes) -> str:
    return "utf-16" if head[:2] in _UTF16_MARKS else "utf-8-sig"
