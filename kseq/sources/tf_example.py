"""Records of `tf.train.Example`, whatever file they lie in, read without TensorFlow.

The rules:

- The image is the feature `image/encoded`, `image`, `image_raw`, `img`, `jpeg` or `png`, or what `--image` says: an encoded
  image. Where its bytes are none and there are `height` and `width` (also `image/height` and so on), they are uint8 pixels.
- The label is `image/class/label`, `label`, `class` or `image/class/text`: a number or a name.
- Which features there are, the first records of the first file that can be read tell: as many as it takes.
- A record that is an encoded image itself, no Example, has one feature: `image`.
- A file's name, or its folder's, says the split: `train.tfrecord-00000-of-00016`, `mnist-test.array_record`.
- A sample is called FILE/NUMBER, counted from 0. A record that is no Example or has no image is listed, as is a file among
  others that cannot be read at all, or is empty.

Source: the comments in `tensorflow/core/example/feature.proto`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from kseq.errors import ArgumentError, ImageError, NotAnImageError, SourceError
from kseq.images.formats import read_header
from kseq.sources.assemble import Record, draft_samples
from kseq.sources.base import Source
from kseq.sources.cell_types import Refused
from kseq.sources.column_roles import Columns
from kseq.sources.file_sets import SourceFile, find_files, read_files, split_of

__all__ = ["ExampleSource", "Found", "example_class"]

_USUAL = {
    "image": ("image/encoded", "image", "image_raw", "img", "jpeg", "png"),
    "label": ("image/class/label", "label", "class", "image/class/text"),
}
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

# The features of one record.
_Features = dict[str, list[Any]]


class Found(NamedTuple):
    """A record as its file has it.

    Attributes:
        at: Where, for `ExampleSource.record`.
        data: Its bytes.
        refused: Why there are none.
    """

    at: Any
    data: bytes
    refused: str | None = None


class _Place(NamedTuple):
    """Where an image is: file, where its record lies, and which feature."""

    file: int
    at: Any
    feature: str


class _Rows(NamedTuple):
    """What a file holds: the cells of each record, and the record."""

    cells: list[list[Any]]
    records: list[Record]


Self = TypeVar("Self", bound="ExampleSource")


@dataclass(frozen=True)
class ExampleSource(Source):
    """The records of such files, in their order.

    Attributes:
        files: Their paths.
    """

    ends: ClassVar[str]
    kind: ClassVar[str]

    files: tuple[str, ...] = ()

    @staticmethod
    def records(path: str) -> Iterator[Found]:
        """The records of a file; where it breaks off, one that says so.

        Raises:
            SourceError: Where it cannot be read at all.
        """
        raise NotImplementedError

    @staticmethod
    def record(path: str, at: Any) -> bytes:
        """The bytes of one record.

        Raises:
            ImageError: Where it cannot be read.
        """
        raise NotImplementedError

    @classmethod
    def load(cls: type[Self], path: str, columns: Columns, class_names: Sequence[str] | None = None) -> Self:
        """Read every record once, to check it, and keep all but the images.

        Args:
            path: A file, a folder of them, or a pattern.
            columns: Which feature says what.
            class_names: All classes, in the order of their numbers; None for those found.

        Raises:
            SourceError: Where the files cannot be read, or no record can be packed.
        """
        files = find_files(path, cls.ends, cls.kind)
        found = cls._find_columns(path, files, columns)
        asked = found.others
        rows = _Rows([], [])
        for file, each in read_files(path, files, lambda number, file: cls._read(number, file, asked, found.pixels)):
            if isinstance(each, Refused):
                rows.cells.append([None] * len(asked))
                rows.records.append(Record.of_file(file.name, each, len(found.pixels)))
            else:
                rows.cells.extend(each.cells)
                rows.records.extend(each.records)
        cells = {name: [row[place] for row in rows.cells] for place, name in enumerate(asked)}
        draft = draft_samples(path, found, cells, rows.records, class_names)
        return cls(path, draft.class_names, draft.images, draft.fields, tuple(file.path for file in files))

    @classmethod
    def _find_columns(cls, path: str, files: Sequence[SourceFile], columns: Columns) -> Columns:
        names: dict[str, None] = {}
        missing: SourceError | None = None
        first: SourceError | None = None
        for file in files:
            try:
                for record in cls.records(file.path):
                    more = {} if record.refused else _features(record.data)
                    if more.keys() <= names.keys():
                        continue
                    names |= dict.fromkeys(sorted(more))
                    try:
                        return columns.find(path, list(names), _USUAL)
                    except SourceError as error:
                        missing = error
            except SourceError as error:
                first = first or error
            if missing is not None:
                raise missing
        if first is not None and len(files) == 1:
            raise first
        raise SourceError(f"{path}: holds no record that can be read{f' ({first})' if first else ''}")

    @classmethod
    def _read(cls, number: int, file: SourceFile, asked: Sequence[str], pixels: Sequence[str]) -> _Rows:
        rows = _Rows([], [])
        split = split_of(file.name)
        for place, (at, data, refused) in enumerate(cls.records(file.path)):
            features: _Features = {}
            if refused is None:
                features = _features(data)
                missing = [column for column in pixels if column not in features]
                refused = f"has no feature {missing[0]!r}" if features and missing else None
                refused = refused if features else "is no tf.train.Example and no image, or is empty"
            rows.cells.append([_cell(features.get(column)) for column in asked])
            places = tuple(_Place(number, at, column) for column in pixels)
            rows.records.append(Record(os.fsencode(f"{file.name}/{place}"), places, len(data), split, refused))
        if not rows.records:
            raise SourceError(f"{file.path}: is empty, it holds no record")
        return rows

    def fetch(self, place: _Place) -> bytes | np.ndarray:
        """The bytes of the image at a place, or its pixels."""
        features = _features(self.record(self.files[place.file], place.at))
        values = features.get(place.feature)
        if not values or len(values) != 1 or not isinstance(values[0], bytes):
            raise ImageError(f"feature {place.feature!r} is {str(values)[:40]}, allowed is one string of bytes")
        if not _is_image(values[0]):
            pixels = _pixels(values[0], features)
            if pixels is not None:
                return pixels
        return values[0]


def _is_image(data: bytes) -> bool:
    try:
        read_header(data)
    except NotAnImageError:
        return False
    except ImageError:
        pass
    return True


def _features(data: bytes) -> _Features:
    """The features of a record; nothing where it is neither an Example nor an image."""
    try:
        found = _parse(data)
    except ImageError:
        found = {}
    return found or ({"image": [data]} if _is_image(data) else {})


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


def _cell(value: list[Any] | None) -> Any:
    """One value stands for itself, several are a list; bytes are text."""
    texts = [each.decode(errors="surrogateescape") if isinstance(each, bytes) else each for each in value or []]
    return (texts[0] if len(texts) == 1 else texts) if texts else None


def _parse(data: bytes) -> _Features:
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


@functools.cache
def example_class() -> Any:
    """The class of `tf.train.Example`, in a pool of its own: TensorFlow may have its own in this process."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
    except ImportError as error:
        raise ArgumentError("tf.train.Example needs protobuf: pip install 'kseq[tfrecord]'") from error
    file = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kseq.Example"))
