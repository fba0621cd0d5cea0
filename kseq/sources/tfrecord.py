"""TFRecord files of `tf.train.Example`, read without TensorFlow.

The rules, besides those of `kseq/sources/tf_example.py`:

- Both checksums of each record are compared. If a file is damaged or cut off, the records before that are packed, and the
  rest is rejected as one; a record with damaged data and a good length is rejected alone.
- Compressed files (gzip) are unpacked to the disk first, see `kseq/sources/compressed.py`; those of zlib are refused.

Source: the comments in `tensorflow/core/lib/io/record_writer.h`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from kseq.errors import ArgumentError, SourceError
from kseq.sources.compressed import Unpacked, Unpacker, decompress_command
from kseq.sources.file_reading import read_range
from kseq.sources.label_files import LABEL_FILES
from kseq.sources.source_format import SourceFormat
from kseq.sources.tf_example import ExampleSource, StoredRecord

__all__ = ["TFRECORD", "TFRecordSource", "frame_record"]

_HEADER, _FOOTER = 12, 4
_MASK_DELTA = 0xA282EAD8
# The first bytes of files that TensorFlow compressed with zlib.
_ZLIB = (b"\x78\x01", b"\x78\x9c", b"\x78\xda")


@dataclass(frozen=True)
class TFRecordSource(ExampleSource):
    """The records of TFRecord files; the location of a record is the offset and the size of its data, in bytes."""

    # TensorFlow's own scripts give files no suffix (`train-00000-of-00010`), and others further ones.
    file_names: ClassVar[str] = r"(\.(tfrecords?|tfrec|records?)(-\d+-of-\d+)?|(^|/)[^./]+-\d+-of-\d+)(\.gz)?"
    description: ClassVar[str] = "TFRecord files"

    @staticmethod
    def records(path: str) -> Iterator[StoredRecord]:
        try:
            with open(path, "rb") as file:
                yield from _records(path, file)
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error

    @staticmethod
    def in_place(path: str, unpacker: Unpacker | None) -> Unpacked:
        # A record may begin like a compressed file: the checksum of its length tells.
        return Unpacked(path, None) if unpacker is None or _begins_with_record(path) else unpacker.unpack(path)

    @staticmethod
    def record(path: str, location: tuple[int, int]) -> bytes:
        return read_range(path, *location)


TFRECORD = SourceFormat(
    "tfrecord",
    lambda request: TFRecordSource.load(request.path, request.columns, request.class_names, request.unpacker),
    (".tfrecord", ".record"),
    TFRecordSource.file_names,
    in_folders=True,
    has_columns=True,
    downloads=rf"({TFRecordSource.file_names}|{LABEL_FILES})",
    siblings=LABEL_FILES,
)


def _begins_with_record(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    return len(header) == _HEADER and _mask(_crc32c()(header[:8])) == struct.unpack("<I", header[8:])[0]


def _records(path: str, file: BinaryIO) -> Iterator[StoredRecord]:
    crc32c = _crc32c()
    offset = 0
    while header := file.read(_HEADER):
        (length,) = struct.unpack("<Q", header[:8].ljust(8, b"\0"))
        data = b""
        if len(header) < _HEADER:
            damage = f"breaks off after {len(header)} bytes of its header"
        elif _mask(crc32c(header[:8])) != struct.unpack("<I", header[8:])[0]:
            damage = "has a length with a wrong checksum: this record and those after it are lost"
        elif len(data := file.read(length)) < length or len(footer := file.read(_FOOTER)) < _FOOTER:
            damage = f"breaks off after {len(data)} of {length} bytes"
        else:
            is_wrong = _mask(crc32c(data)) != struct.unpack("<I", footer)[0]
            yield StoredRecord((offset + _HEADER, length), data, "has data with a wrong checksum" if is_wrong else None)
            offset += _HEADER + length + _FOOTER
            continue
        if not offset:
            raise SourceError(f"{path}: {_why_no_records(path, header, damage)}")
        yield StoredRecord((offset + _HEADER, 0), b"", damage)
        return


def _why_no_records(path: str, header: bytes, damage: str) -> str:
    command = decompress_command(header)
    if command or header.startswith(_ZLIB):
        hint = f" ({command} {path})" if command else ""
        return f"is compressed, expected is a file that can be read in place: decompress it first{hint}"
    return f"is not a TFRecord file: its first record {damage}"


def _mask(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame_record(data: bytes) -> bytes:
    """The bytes of a record as a file has them: the length, its checksum, the data, and their checksum.

    Raises:
        ArgumentError: If google-crc32c is not installed.
    """
    crc32c, length = _crc32c(), struct.pack("<Q", len(data))
    return b"".join([length, struct.pack("<I", _mask(crc32c(length))), data, struct.pack("<I", _mask(crc32c(data)))])


def _crc32c() -> Any:
    try:
        import google_crc32c
    except ImportError as error:
        raise ArgumentError("TFRecord files need google-crc32c and protobuf: pip install 'kseq[tfrecord]'") from error
    return google_crc32c.value
