"""TFRecord files of `tf.train.Example`, read without TensorFlow.

The rules:

- The image is the feature `image/encoded`, `image`, `image_raw`, `img`, `jpeg` or `png`, or what `--image` says: an encoded
  image. Where its bytes are none and there are `height` and `width` (also `image/height` and so on), they are uint8 pixels.
- The label is `image/class/label`, `label`, `class` or `image/class/text`: a number or a name.
- A file's name, or its folder's, says the split: `train.tfrecord-00000-of-00016`.
- A sample is called FILE/NUMBER, counted from 0. Both checksums of each record are compared. Of a file that is damaged or cut
  off, the records before that are packed, and the rest is listed as one.
- Compressed files cannot be read in place, and are refused.

Source: the comments in `tensorflow/core/lib/io/record_writer.h` and `tensorflow/core/example/feature.proto`.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kseq.errors import ArgumentError, ImageError, NotAnImageError, SourceError
from kseq.images import read_header
from kseq.sources.columns import Columns
from kseq.sources.drafts import Record, draft_samples
from kseq.sources.files import Source, read_piece
from kseq.sources.many import find_files, name_below, split_of

__all__ = ["TFRecordSource", "example_class", "framed"]

_USUAL = {
    "image": ("image/encoded", "image", "image_raw", "img", "jpeg", "png"),
    "label": ("image/class/label", "label", "class", "image/class/text"),
}
_HEADER, _FOOTER = 12, 4
_MASK_DELTA = 0xA282EAD8
# tf.train.Example, as protobuf describes messages.
_SCHEMA = """
name: "example.proto" package: "kseq" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
message_type { name: "FloatList" field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED } }
message_type { name: "Int64List" field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
message_type { name: "Feature" oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".kseq.BytesList" label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "float_list" number: 2 type: TYPE_MESSAGE type_name: ".kseq.FloatList" label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".kseq.Int64List" label: LABEL_OPTIONAL oneof_index: 0 } }
message_type { name: "Features"
  field { name: "feature" number: 1 type: TYPE_MESSAGE type_name: ".kseq.Features.FeatureEntry" label: LABEL_REPEATED }
  nested_type { name: "FeatureEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".kseq.Feature" label: LABEL_OPTIONAL } } }
message_type { name: "Example"
  field { name: "features" number: 1 type: TYPE_MESSAGE type_name: ".kseq.Features" label: LABEL_OPTIONAL } }
"""
# What begins a file that gzip or zlib made.
_COMPRESSED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda")


class _Place(NamedTuple):
    """Where an image is: file, where its record's data begin, how many bytes they are, and which feature."""

    file: int
    offset: int
    size: int
    feature: str


@dataclass(frozen=True)
class TFRecordSource(Source):
    """The records of such files, in their order.

    Attributes:
        files: Their paths.
    """

    files: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str, columns: Columns, class_names: Sequence[str] | None = None) -> TFRecordSource:
        """Read every record once, to check it, and keep all but the images.

        Args:
            path: A file, a folder of them, or a pattern.
            columns: Which feature says what.
            class_names: All classes, in the order of their numbers; None for those found.

        Raises:
            SourceError: Where the files are no TFRecords, or no record can be packed.
        """
        files = find_files(path, lambda name: ".tfrecord" in name, "TFRecord files")
        found = columns.find(path, _feature_names(files[0]), _USUAL)
        asked = list(dict.fromkeys(name for _, name in found.named() if name not in found.pixels))
        cells: dict[str, list[Any]] = {name: [] for name in asked}
        records = []
        for number, file in enumerate(files):
            name = name_below(path, file)
            for place, (offset, data, broken) in enumerate(_records(file)):
                features = {} if broken else _parse(data)
                for column in asked:
                    cells[column].append(_cell(features.get(column)))
                places = tuple(_Place(number, offset, len(data), column) for column in found.pixels)
                missing = [column for column in found.pixels if column not in features]
                refused = broken or (f"has no feature {missing[0]!r}" if missing else None)
                records.append(Record(os.fsencode(f"{name}/{place}"), places, len(data), split_of(name), refused))
        draft = draft_samples(path, found, cells, records, class_names)
        return cls(path, draft.class_names, draft.images, draft.fields, tuple(files))

    def fetch(self, place: _Place) -> bytes | np.ndarray:
        """The bytes of the image at a place, or its pixels."""
        features = _parse(read_piece(self.files[place.file], place.offset, place.size))
        data = features[place.feature]
        if not isinstance(data, list) or len(data) != 1 or not isinstance(data[0], bytes):
            raise ImageError(f"feature {place.feature!r} is {str(data)[:40]}, allowed is one string of bytes")
        try:
            read_header(data[0])
        except NotAnImageError:
            pixels = _pixels(data[0], features)
            if pixels is not None:
                return pixels
        return data[0]


def _pixels(data: bytes, features: dict[str, list[Any]]) -> np.ndarray | None:
    """`(height, width, channels)` uint8, where other features say the shape of bytes that are no encoded image."""
    sides = []
    for name in ("height", "width"):
        found = features.get(name) or features.get(f"image/{name}")
        if not found or not isinstance(found[0], int) or found[0] < 1:
            return None
        sides.append(found[0])
    channels, rest = divmod(len(data), sides[0] * sides[1])
    return None if rest or not channels else np.frombuffer(data, np.uint8).reshape(*sides, channels)


def _records(path: str) -> Iterator[tuple[int, bytes, str | None]]:
    """Where the data of each record begin, and the data; at the last, why there are no more."""
    crc32c = _crc32c()
    with open(path, "rb") as file:
        offset = 0
        while header := file.read(_HEADER):
            if not offset and header.startswith(_COMPRESSED):
                raise SourceError(f"{path}: is compressed, expected is a file that can be read in place: decompress it first")
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
                yield offset + _HEADER, data, "has data with a wrong checksum" if wrong else None
                offset += _HEADER + length + _FOOTER
                continue
            if not offset:
                raise SourceError(f"{path}: is not a TFRecord file: its first record {broken}")
            yield offset + _HEADER, b"", broken
            return


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _feature_names(path: str) -> list[str]:
    try:
        for _, data, broken in _records(path):
            if not broken:
                return sorted(_parse(data))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    raise SourceError(f"{path}: holds no record that can be read")


def _cell(value: list[Any] | None) -> Any:
    """One value stands for itself, several are a list; bytes are text."""
    texts = [each.decode(errors="surrogateescape") if isinstance(each, bytes) else each for each in value or []]
    return (texts[0] if len(texts) == 1 else texts) if texts else None


def _parse(data: bytes) -> dict[str, list[Any]]:
    """The features of an Example.

    Raises:
        ImageError: Where the bytes are none.
    """
    example = example_class()
    from google.protobuf.message import DecodeError

    try:
        message = example.FromString(data)
    except DecodeError as error:
        raise ImageError(f"is not a tf.train.Example: {error}") from error
    found = {}
    for name, feature in message.features.feature.items():
        kind = feature.WhichOneof("kind")
        found[name] = list(getattr(feature, kind).value) if kind else []
    return found


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


@functools.cache
def example_class() -> Any:
    """The class of `tf.train.Example`, in a pool of its own: TensorFlow may have its own in this process."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
    except ImportError as error:
        raise ArgumentError("TFRecord files need google-crc32c and protobuf: pip install 'kseq[tfrecord]'") from error
    file = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kseq.Example"))
