"""Records of `tf.train.Example`, whatever file they lie in, read without TensorFlow.

The rules:

- The image is the feature `image/encoded`, `image`, `image_raw`, `img`, `jpeg` or `png`, or what `Columns.image` names: an
  encoded image. If the bytes are no encoded image and there are `height` and `width` (also `image/height` and so on), they
  are uint8 pixels.
- The label is `image/class/label`, `label`, `class` or `image/class/text`: a number or a name.
- The first records of the first file that can be read tell which features there are: as many records as it takes.
- A record that is an encoded image itself, and no Example, has one feature: `image`.
- The name of a file, or of its folder, tells the split: `train.tfrecord-00000-of-00016`, `mnist-test.array_record`.
- A sample is called FILE/NUMBER, counted from 0. Rejected are: a record that is no Example or has no image, and a file among
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
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import Source
from kseq.sources.cell_types import Rejection
from kseq.sources.column_roles import Columns, find_columns, pixel_columns, value_columns
from kseq.sources.file_sets import SourceFile, find_files, read_files, split_from_name
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.text import decode_name

__all__ = ["ExampleSource", "StoredRecord", "example_class"]

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

# The features of one record: name to values.
_Features = dict[str, list[Any]]


class StoredRecord(NamedTuple):
    """A record as its file has it.

    Attributes:
        location: Where the record is in its file, for `ExampleSource.record`.
        data: The bytes of the record.
        rejection: Why they cannot be used; None if they can.
    """

    location: Any
    data: bytes
    rejection: str | None = None


class _Location(NamedTuple):
    """Where an image is: the number of the file, the location of the record in the file, and the feature."""

    file: int
    record: Any
    feature: str


class _FileContents(NamedTuple):
    """The records of a file: their cells by column, and the samples."""

    cells: dict[str, SpooledColumn]
    samples: SpooledColumn


Self = TypeVar("Self", bound="ExampleSource")


@dataclass(frozen=True)
class ExampleSource(Source):
    """The records of some files, in their order; the base of the formats that hold `tf.train.Example`.

    Attributes:
        file_names: A regular expression for the end of the name of a file.
        description: What the files are, for messages.
        files: The paths of the files.
    """

    file_names: ClassVar[str]
    description: ClassVar[str]

    files: tuple[str, ...] = ()

    def shared_files(self) -> Sequence[str]:
        return self.files

    @staticmethod
    def records(path: str) -> Iterator[StoredRecord]:
        """The records of a file; if the file breaks off, the last one says so.

        Raises:
            SourceError: If the file cannot be read at all.
        """
        raise NotImplementedError

    @staticmethod
    def record(path: str, location: Any) -> bytes:
        """The bytes of one record, by `StoredRecord.location`.

        Raises:
            ImageError: If the record cannot be read.
        """
        raise NotImplementedError

    @classmethod
    def load(cls: type[Self], path: str, columns: Columns, class_names: Sequence[str] | None = None) -> Self:
        """Read every record once, to check it, and keep all but the images.

        Args:
            path: A file, a folder of files, or a pattern.
            columns: Which feature holds what.
            class_names: All classes, in the order of their numbers; None for the classes that the records name.

        Raises:
            SourceError: If the files cannot be read, or no record can be packed.
        """
        files = find_files(path, cls.file_names, cls.description)
        columns = cls._find_columns(path, files, columns)
        pixels, asked = pixel_columns(columns), value_columns(columns)
        cells, samples = {name: SpooledColumn() for name in asked}, SpooledColumn()
        for file, contents in read_files(path, files, lambda number, file: cls._read(number, file, asked, pixels)):
            if isinstance(contents, Rejection):
                samples.append(FoundSample.of_unreadable_file(file.name, contents, len(pixels)))
            else:
                samples.extend(contents.samples)
            for name, column in cells.items():
                column.extend([None] if isinstance(contents, Rejection) else contents.cells[name])
        assembled = assemble_samples(path, columns, cells, samples, class_names)
        return cls(path, assembled.class_names, assembled.images, assembled.fields, tuple(file.path for file in files))

    @classmethod
    def _find_columns(cls, path: str, files: Sequence[SourceFile], columns: Columns) -> Columns:
        """The features that hold the columns, from the first file that can be read."""
        names: dict[str, None] = {}
        missing: SourceError | None = None
        unreadable: SourceError | None = None
        for file in files:
            try:
                for record in cls.records(file.path):
                    features = {} if record.rejection else _features(record.data)
                    if features.keys() <= names.keys():
                        continue
                    names |= dict.fromkeys(sorted(features))
                    try:
                        return find_columns(columns, path, list(names), _USUAL)
                    except SourceError as error:
                        missing = error
            except SourceError as error:
                unreadable = unreadable or error
            if missing is not None:
                raise missing
        if unreadable is not None and len(files) == 1:
            raise unreadable
        raise SourceError(f"{path}: holds no record that can be read{f' ({unreadable})' if unreadable else ''}")

    @classmethod
    def _read(cls, number: int, file: SourceFile, asked: Sequence[str], pixels: Sequence[str]) -> _FileContents:
        """The cells and the samples of a file; `number` is that of the file."""
        contents = _FileContents({name: SpooledColumn() for name in asked}, SpooledColumn())
        split = split_from_name(file.name)
        for record_number, (location, data, rejection) in enumerate(cls.records(file.path)):
            features: _Features = {}
            if rejection is None:
                features = _features(data)
                rejection = _why_no_image(features, pixels)
            for column, cells in contents.cells.items():
                cells.append(_cell(features.get(column)))
            locations = tuple(_Location(number, location, column) for column in pixels)
            name = os.fsencode(f"{file.name}/{record_number}")
            contents.samples.append(FoundSample(name, locations, len(data), split, rejection))
        if not contents.samples:
            raise SourceError(f"{file.path}: is empty, it holds no record")
        return contents

    def fetch(self, location: _Location) -> bytes | np.ndarray:
        """The bytes of an image, or its pixels."""
        features = _features(self.record(self.files[location.file], location.record))
        values = features.get(location.feature)
        if not values or len(values) != 1 or not isinstance(values[0], bytes):
            raise ImageError(f"feature {location.feature!r} is {str(values)[:40]}, allowed is one string of bytes")
        if not _is_image(values[0]):
            pixels = _pixels(values[0], features)
            if pixels is not None:
                return pixels
        return values[0]


def _why_no_image(features: _Features, pixels: Sequence[str]) -> str | None:
    """Why a record cannot be packed: it has no features, or lacks an image."""
    if not features:
        return "is no tf.train.Example and no image, or is empty"
    missing = [column for column in pixels if column not in features]
    return f"has no feature {missing[0]!r}" if missing else None


def _is_image(data: bytes) -> bool:
    try:
        read_header(data)
    except NotAnImageError:
        return False
    except ImageError:
        pass
    return True


def _features(data: bytes) -> _Features:
    """The features of a record; empty if the record is neither an Example nor an image."""
    try:
        features = _parse(data)
    except ImageError:
        features = {}
    return features or ({"image": [data]} if _is_image(data) else {})


def _pixels(data: bytes, features: _Features) -> np.ndarray | None:
    """`(height, width, channels)` uint8, if other features tell the shape of bytes that are no encoded image."""
    sides = []
    for name in ("height", "width"):
        values = features.get(name) or features.get(f"image/{name}")
        if not values or not isinstance(values[0], int) or values[0] < 1:
            return None
        sides.append(values[0])
    channels, rest = divmod(len(data), sides[0] * sides[1])
    return None if rest or not channels else np.frombuffer(data, np.uint8).reshape(*sides, channels)


def _cell(values: list[Any] | None) -> Any:
    """The values of a feature as a cell: bytes become text, one value stands alone, several are a list."""
    texts = [decode_name(value) if isinstance(value, bytes) else value for value in values or []]
    return (texts[0] if len(texts) == 1 else texts) if texts else None


def _parse(data: bytes) -> _Features:
    """The features of an Example.

    Raises:
        ImageError: If the bytes are no Example.
    """
    example = example_class()
    from google.protobuf.message import DecodeError

    try:
        message = example.FromString(data)
    except DecodeError as error:
        raise ImageError(f"is not a tf.train.Example: {error}") from error
    features = {}
    for name, feature in message.features.feature.items():
        kind = feature.WhichOneof("kind")
        features[name] = list(getattr(feature, kind).value) if kind else []
    return features


@functools.cache
def example_class() -> Any:
    """The class of `tf.train.Example`, in a pool of its own, since TensorFlow may have the same in this process.

    Raises:
        ArgumentError: If protobuf is not installed.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
    except ImportError as error:
        raise ArgumentError("tf.train.Example needs protobuf: pip install 'kseq[tfrecord]'") from error
    file = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kseq.Example"))
