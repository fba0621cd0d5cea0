"""The encodings of all text that is read from files, archives and records.

The rule:

- Text is UTF-8, with or without a byte order mark. UTF-16 and UTF-32, which some spreadsheets write, are read where a
  byte order mark announces them; UTF-16 without one is told by its zero bytes.
- Any other encoding, such as the code page of a Windows machine, cannot be told from the bytes: the caller says it, and it
  holds for all text files of the source (`reading_texts_as`).
- File names may hold bytes that are not well encoded. They are kept as they are, each byte as a surrogate
  (`errors="surrogateescape"`), and are written back as the same bytes. A name of a class has none: see `is_well_encoded`. The
  folder of a class is called by `decode_folder`.
- JSON and YAML must be well encoded: `strict=True`.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from kseq.arguments import spelled
from kseq.errors import ArgumentError

__all__ = [
    "asked_encoding",
    "check_text_encoding",
    "decode_folder",
    "decode_name",
    "decode_text",
    "describe_bytes",
    "describe_text",
    "encode_name",
    "is_well_encoded",
    "may_be_path",
    "open_text",
    "reading_texts_as",
]

# Those of UTF-32 come first: one of them begins with one of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
_HEAD_BYTES = 64
_KEEP_BYTES = "surrogateescape"

# The encoding of text files without a byte order mark, as the caller of a packing says; None for the rule above.
_encoding_without_mark: ContextVar[str | None] = ContextVar("_encoding_without_mark", default=None)


def check_text_encoding(encoding: Any) -> str | None:
    """The name of an encoding of text, or None.

    Raises:
        ArgumentError: If Python knows no such encoding.
    """
    if encoding is None:
        return None
    try:
        if not isinstance(encoding, str):
            raise LookupError
        # Of codecs that are no encodings of text (hex, zlib) this raises LookupError too.
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        raise ArgumentError(
            f"{spelled('text_encoding', encoding)}: allowed is an encoding that Python knows, such as 'cp1252' or 'shift_jis'"
        ) from error


@contextmanager
def reading_texts_as(encoding: str | None) -> Iterator[None]:
    """Read all text files of the block that have no byte order mark in an encoding; None for the rule of this module."""
    token = _encoding_without_mark.set(encoding)
    try:
        yield
    finally:
        _encoding_without_mark.reset(token)


def asked_encoding() -> str | None:
    """The encoding of texts without a mark that the caller says, see `reading_texts_as`; None if none is said."""
    return _encoding_without_mark.get()


def may_be_path(name: str) -> bool:
    """Whether a file may have a name: JSON may hold characters that no name has."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


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
        return io.TextIOWrapper(binary, _encoding(binary.peek(_HEAD_BYTES)), "strict" if strict else _KEEP_BYTES, newline="")
    except BaseException:
        binary.close()
        raise


def decode_text(data: bytes, *, strict: bool = False) -> str:
    """The text of a whole file, or of a member of an archive.

    Args:
        data: Its bytes.
        strict: As for `open_text`.

    Raises:
        UnicodeError: If it begins as UTF-16 and goes on as something else, or `strict` and it is not well encoded.
    """
    return data.decode(_encoding(data[:_HEAD_BYTES]), "strict" if strict else _KEEP_BYTES)


def decode_name(data: bytes) -> str:
    """A name or another short text from a record; `encode_name` gives the same bytes back."""
    return data.decode("utf-8", _KEEP_BYTES)


def decode_folder(name: str) -> str:
    """The name of a folder as the name of a class: bytes that are not UTF-8 by the encoding of all texts, else as `\\xe9`."""
    if is_well_encoded(name):
        return name
    asked = _encoding_without_mark.get()
    try:
        return encode_name(name).decode(asked or "utf-8", "strict" if asked else "backslashreplace")
    except UnicodeError:
        return name.encode("utf-8", "backslashreplace").decode()


def encode_name(text: str) -> bytes:
    """The bytes of a text that `decode_name` gave.

    Raises:
        UnicodeEncodeError: If the text holds a surrogate that stands for no byte.
    """
    return text.encode("utf-8", _KEEP_BYTES)


def is_well_encoded(text: str) -> bool:
    """Whether a text has no surrogates, and so nothing that was not well encoded where it came from."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def describe_bytes(error: UnicodeError) -> str:
    """Why a text cannot be read, after its name; the remedy is added where it is shown."""
    if isinstance(error, UnicodeDecodeError):
        shown = error.object[error.start : error.end]
        return f"is not {error.encoding.upper()}: has the bytes {shown!r} at {error.start:,}"
    return f"is not text that can be read: {error}"


def describe_text(text: str) -> str:
    """A text in quotes for messages, in which bytes that are not well encoded are written as `\\xe9`."""
    try:
        return repr(encode_name(text).decode("utf-8", "backslashreplace")).replace("\\\\x", "\\x")
    except UnicodeEncodeError:
        return repr(text)


def _encoding(head: bytes) -> str:
    """The encoding of a text that begins with some bytes."""
    marked = next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)
    if marked is not None:
        return marked
    asked = _encoding_without_mark.get()
    if asked is not None:
        return asked
    # Text has no zero bytes, and most letters of UTF-16 have one, all at the same side: names of columns, marks of JSON.
    num_first, num_second = head[::2].count(0), head[1::2].count(0)
    least = (len(head) // 2 + 3) // 4
    if num_second >= max(least, 4 * num_first, 1):
        return "utf-16-le"
    return "utf-16-be" if num_first >= max(least, 4 * num_second, 1) else "utf-8"
