"""Files that were compressed as a whole, unpacked to the disk before they are read: gzip, bzip2, xz and Zstandard.

The rules:

- Samples are read in any order, by any process, which a compressed stream does not allow: the file is unpacked once, and
  removed when the packing ends. The first bytes tell the compression, whatever the name says.
- The disk must have room before anything is written for the least that the file can take, and keeps some room while it is.
- Of a stream that is cut off or damaged, what comes before that is kept.
- A stream that unpacks to very many times its size is refused, since it would fill the disk (a decompression bomb).
"""

from __future__ import annotations

import bz2
import lzma
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

from kseq.errors import ArgumentError, KseqError, SourceError, WriteError
from kseq.storage.layout import TEMPORARY_PREFIX

__all__ = ["Unpacked", "Unpacker", "decompress_command"]

_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
_COMMANDS = {_GZIP: "gunzip", _BZIP2: "bunzip2", _XZ: "unxz", _ZSTD: "unzstd"}
_NAMES = {_GZIP: "gzip", _BZIP2: "bzip2", _XZ: "xz", _ZSTD: "Zstandard"}
# So much is given to a decompressor at a time: it may make ten thousand times as much of it, in memory.
_READ_BYTES = 8 << 10
# How often the room on the disk is looked at, and how much stays free.
_CHECKED_BYTES, _ROOM_BYTES = 64 << 20, 64 << 20
# What unpacks to more than this, and to so many times its size, is no collection of images.
_BOMB_BYTES, _BOMB_RATIO = 1 << 30, 200


class Unpacked(NamedTuple):
    """A file as it can be read in place.

    Attributes:
        path: The file itself, or what it was unpacked to.
        damage: What is wrong with the stream after that; None if nothing is.
    """

    path: str
    damage: str | None


class _DamagedStreamError(Exception):
    """A compressed stream breaks off, or makes no sense."""


class Unpacker:
    """Unpacks files into a folder, and removes them when it is closed.

    Args:
        folder: The folder; empty for the one for temporary files.

    Attributes:
        num_files: How many files were unpacked.
        num_bytes: How many bytes they have.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder or tempfile.gettempdir()
        self.num_files = self.num_bytes = 0
        self._unpacked: dict[str, Unpacked] = {}
        self._paths: list[str] = []

    def unpack(self, path: str) -> Unpacked:
        """A file as it can be read in place; a file that is not compressed stays where it is, another is unpacked once.

        Raises:
            ArgumentError: If a package is missing.
            SourceError: If the file cannot be read, or is a bomb.
            WriteError: If the disk cannot hold it.
        """
        if path in self._unpacked:
            return self._unpacked[path]
        try:
            with open(path, "rb") as file:
                start = _find_start(file.read(len(_XZ)))
                if start is None:
                    return Unpacked(path, None)
                make = _decompressor(path, start)
                self._check_room(path, _least_bytes(file, start))
                file.seek(0)
                return self._write(path, file, make, _NAMES[start])
        except KseqError:
            raise
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error

    def close(self) -> None:
        """Remove what was unpacked."""
        for path in self._paths:
            with suppress(OSError):
                os.unlink(path)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, a line each."""
        if not self.num_files:
            return ()
        files = "1 compressed file was" if self.num_files == 1 else f"{self.num_files:,} compressed files were"
        return (f"{files} unpacked to the disk for the packing: {self.num_bytes:,} bytes",)

    def _write(self, path: str, file: BinaryIO, make: Callable[[], Any], name: str) -> Unpacked:
        size, damage, checked = 0, None, 0
        try:
            os.makedirs(self.folder, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=TEMPORARY_PREFIX, delete=False) as unpacked:
                self._paths.append(unpacked.name)
                try:
                    for data in _decompressed(file, make):
                        size += len(data)
                        _check_bomb(path, size)
                        if size - checked >= _CHECKED_BYTES:
                            checked = size
                            self._check_room(path, 0)
                        unpacked.write(data)
                except _DamagedStreamError as error:
                    damage = f"is compressed by {name}, and its stream {error}"
        except KseqError:
            raise
        except OSError as error:
            raise WriteError(f"{self.folder}: {path} cannot be unpacked there: {error.strerror or error}") from error
        if damage is not None and not size:
            raise SourceError(f"{path}: {damage}")
        self.num_files += 1
        self.num_bytes += size
        return self._unpacked.setdefault(path, Unpacked(unpacked.name, damage))

    def _check_room(self, path: str, least: int) -> None:
        """Raise WriteError if the disk has less room than is needed."""
        folder = self.folder if os.path.isdir(self.folder) else os.path.dirname(os.path.abspath(self.folder))
        free = _free_bytes(folder)
        if free - least < _ROOM_BYTES:
            needed = f"at least {least:,}" if least else "more"
            raise WriteError(
                f"{self.folder}: {path} needs {needed} bytes there to be unpacked, and {free:,} are free, of which "
                f"{_ROOM_BYTES:,} stay so: unpack it elsewhere ({_command_of(path)})"
            )


def decompress_command(head: bytes) -> str | None:
    """The command that decompresses a file with these first bytes; None if they are not those of a known compression."""
    start = _find_start(head)
    return None if start is None else _COMMANDS[start]


def _find_start(head: bytes) -> bytes | None:
    return next((start for start in _COMMANDS if head.startswith(start)), None)


def _command_of(path: str) -> str:
    with open(path, "rb") as file:
        return f"{decompress_command(file.read(len(_XZ)))} {path}"


def _decompressor(path: str, start: bytes) -> Callable[[], Any]:
    """What makes an object that decompresses one stream."""
    if start == _GZIP:
        return lambda: zlib.decompressobj(wbits=31)
    if start == _BZIP2:
        return bz2.BZ2Decompressor
    if start == _XZ:
        return lzma.LZMADecompressor
    try:
        # From Python 3.14 on.
        from compression.zstd import ZstdDecompressor  # type: ignore[import-not-found,unused-ignore]  # of Python 3.14
    except ImportError:
        try:
            import zstandard
        except ImportError as error:
            raise ArgumentError(
                f"{path}: is compressed by Zstandard, which needs zstandard or Python 3.14: pip install 'kseq[zstd]'"
            ) from error
        return lambda: zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
    return ZstdDecompressor  # type: ignore[no-any-return,unused-ignore]  # has no types


def _least_bytes(file: BinaryIO, start: bytes) -> int:
    """The least that a file takes when it is unpacked: images hardly shrink, and gzip says the size, up to 4 GiB."""
    size = os.fstat(file.fileno()).st_size
    if start == _GZIP and size >= 8:
        file.seek(-4, os.SEEK_END)
        return max(size // 2, min(int.from_bytes(file.read(4), "little"), size * _BOMB_RATIO))
    return size // 2


def _decompressed(file: BinaryIO, make: Callable[[], Any]) -> Iterator[bytes]:
    """The bytes of all streams of a file, one behind the other.

    Raises:
        _DamagedStreamError: If a stream breaks off, or makes no sense.
    """
    stream, has_data = make(), False
    while chunk := file.read(_READ_BYTES):
        if not has_data:
            # What lies between streams, or behind them, is filled up with zeros.
            chunk = chunk.lstrip(b"\0")
        while chunk:
            try:
                data = stream.decompress(chunk)
            except Exception as error:
                # Each decompressor has an error class of its own.
                if isinstance(error, MemoryError):
                    raise
                raise _DamagedStreamError(f"is damaged: {error}") from error
            has_data = True
            if data:
                yield data
            if not stream.eof:
                break
            chunk = stream.unused_data.lstrip(b"\0")
            stream, has_data = make(), False
    if has_data:
        raise _DamagedStreamError(f"breaks off after {file.tell():,} compressed bytes")


def _check_bomb(path: str, size: int) -> None:
    if size > _BOMB_BYTES and size > _BOMB_RATIO * os.path.getsize(path):
        raise SourceError(
            f"{path}: unpacks to more than {_BOMB_RATIO} times its {os.path.getsize(path):,} bytes, as a decompression bomb "
            f"does: if it is none, unpack it first ({_command_of(path)})"
        )


def _free_bytes(folder: str) -> int:
    return shutil.disk_usage(folder).free
