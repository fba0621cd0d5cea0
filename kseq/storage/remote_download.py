"""Writes a file of a store to a local one: in one request, and what does not arrive by it in pieces."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kseq.errors import KseqError, ReadError, WriteError
from kseq.platforms.files import start_writing
from kseq.storage.remote_errors import FULL_DISK_ERRNOS
from kseq.storage.remote_retries import Retries
from kseq.storage.remote_system import RemoteSystem, Wanted

__all__ = ["Download"]

# So many bytes are asked for by each request, and so many requests are under way at once, for the rest of a file.
_PIECE_BYTES = 8 << 20
_PIECES_AT_ONCE = 2


class _Read(Protocol):
    """Reads ranges; an answer of `whole` bytes is taken as well."""

    def __call__(self, wanted: Sequence[Wanted], whole: int | None = None) -> Mapping[Wanted, bytes]: ...


class Download:
    """Writes files of a store to local ones.

    A file comes in one request. Beside ranges, that takes half of the processor's time, here and in the store, as nothing is
    put together in memory. Where it breaks off, where half of a file is there already, and where the file system object of
    fsspec cannot be interrupted, the rest comes in pieces.

    Args:
        system: fsspec's file system object.
        retries: Makes errors of what fails.
        read: Reads ranges of files, as often as it takes.
    """

    def __init__(self, system: RemoteSystem, retries: Retries, read: _Read) -> None:
        self._system = system
        self._retries = retries
        self._read = read
        # Whether the server has answered with a range of a file.
        self._knows_ranges = False

    def get(self, name: str, local: str, total: int, start: int, *, is_flushed: bool) -> None:
        """Write a file of `total` bytes; arguments and errors are those of `RemoteFiles.get`."""
        try:
            with open(os.open(local, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b", buffering=0) as file:
                written = functools.partial(start_writing, file.fileno()) if is_flushed else _ignore
                file.truncate(start)
                if not start and total and self._system.can_stream:
                    start = min(self._stream(name, local, written), total)
                file.seek(start)
                for first in range(start, total, _PIECE_BYTES * _PIECES_AT_ONCE):
                    for piece in self._pieces(name, first, total):
                        _write_all(file, piece)
                    written(first, file.tell())
                    if file.tell() >= total:
                        break
                file.truncate(total)
        except OSError as error:
            if isinstance(error, KseqError):
                raise
            raise WriteError(f"{local}: cannot be written: {error.strerror}") from error

    def _stream(self, name: str, local: str, written: Callable[[int, int], object]) -> int:
        """Write a file in one request; returns how many bytes have arrived: fewer, where it breaks off."""

        def ask(seconds: float) -> None:
            try:
                self._system.get_file(name, local, seconds, written)
            except OSError as error:
                if error.errno not in FULL_DISK_ERRNOS:
                    raise
                raise WriteError(f"{local}: cannot be written: {error.strerror}") from error

        self._retries.once(name, "cannot be read", ask, ReadError)
        return os.stat(local).st_size

    def _pieces(self, name: str, first: int, total: int) -> Sequence[bytes]:
        """Some bytes of a file from `first` on; all that follow, where the server knows no ranges and answers with all."""
        last = min(first + _PIECE_BYTES * _PIECES_AT_ONCE, total)
        wanted = [Wanted(name, start, min(start + _PIECE_BYTES, last)) for start in range(first, last, _PIECE_BYTES)]
        # The first by itself, as long as it is not known whether ranges are.
        asked = wanted if self._knows_ranges else wanted[:1]
        answers = dict(self._read(asked, whole=total))
        all_bytes = next((answer for answer in answers.values() if len(answer) == total), None)
        if all_bytes is not None:
            return [all_bytes[first:]]
        self._knows_ranges = True
        answers |= self._read(wanted[len(asked) :])
        return [answers[one] for one in wanted]


def _ignore(start: int, end: int) -> None:
    """For files that nobody flushes."""


def _write_all(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
