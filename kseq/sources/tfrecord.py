"""TFRecord files of `tf.train.Example`, read without TensorFlow.

The rules, besides those of `kseq/sources/tf_example.py`:

- Both checksums of each record are compared. Of a file that is damaged or cut off, the records before that are packed, and the
  rest is listed as one; a record of which only the data are damaged is listed alone.
- Compressed files cannot be read in place, and are refused.

Source: the comments in `tensorflow/core/lib/io/record_writer.h`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from kseq.errors import ArgumentError, SourceError
from kseq.sources.base import read_piece
from kseq.sources.file_sets import compression
from kseq.sources.tf_example import ExampleSource, Found

__all__ = ["TFRECORDS", "TFRecordSource", "framed"]

# What their names end with; compressed ones are told what to do.
TFRECORDS = r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?"

_HEADER, _FOOTER = 12, 4
_MASK_DELTA = 0xA282EAD8
# What begins a file that zlib made, as TensorFlow can.
_ZLIB = (b"\x78\x01", b"\x78\x9c", b"\x78\xda")


@dataclass(frozen=True)
class TFRecordSource(ExampleSource):
    """The records of such files; the place of one is where its data begin, and how many bytes they are."""

    ends: ClassVar[str] = TFRECORDS
    kind: ClassVar[str] = "TFRecord files"

    @staticmethod
    def records(path: str) -> Iterator[Found]:
        """The records of a file; where it breaks off, one that says so.

        Raises:
            SourceError: Where it is no such file, or cannot be read.
        """
        try:
            with open(path, "rb") as file:
                yield from _records(path, file)
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error

    @staticmethod
    def record(path: str, at: tuple[int, int]) -> bytes:
        """The bytes of one record."""
        return read_piece(path, *at)


def _records(path: str, file: BinaryIO) -> Iterator[Found]:
    crc32c = _crc32c()
    offset = 0
    while header := file.read(_HEADER):
        (length,) = struct.unpack("<Q", header[:8].ljust(8, b"\0"))
        data = b""
        if len(header) < _HEADER:
            broken = f"breaks off after {len(header)} bytes of its header"
        elif _masked(crc32c(header[:8])) != struct.unpack("<I", header[8:])[0]:
            broken = "has a length with a wrong checksum: this record and those after it are lost"
        elif len(data := file.read(length)) < length or len(footer := file.read(_FOOTER)) < _FOOTER:
            broken = f"breaks off after {len(data)} of {length} bytes"
        else:
            wrong = _masked(crc32c(data)) != struct.unpack("<I", footer)[0]
            yield Found((offset + _HEADER, length), data, "has data with a wrong checksum" if wrong else None)
            offset += _HEADER + length + _FOOTER
            continue
        if not offset:
            raise SourceError(f"{path}: {_no_records(path, header, broken)}")
        yield Found((offset + _HEADER, 0), b"", broken)
        return


def _no_records(path: str, header: bytes, broken: str) -> str:
    command = compression(header)
    if command or header.startswith(_ZLIB):
        how = f" ({command} {path})" if command else ""
        return f"is compressed, expected is a file that can be read in place: decompress it first{how}"
    return f"is not a TFRecord file: its first record {broken}"


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def framed(data: bytes) -> bytes:
    """The bytes of a record as they stand in a file: with its length, and a checksum of either.

    Raises:
        ArgumentError: Where google-crc32c is not installed.
    """
    crc32c, length = _crc32c(), struct.pack("<Q", len(data))
    return b"".join([length, struct.pack("<I", _masked(crc32c(length))), data, struct.pack("<I", _masked(crc32c(data)))])


def _crc32c() -> Any:
    try:
        import google_crc32c
    except ImportError as error:
        raise ArgumentError("TFRecord files need google-crc32c and protobuf: pip install 'kseq[tfrecord]'") from error
    return google_crc32c.value
