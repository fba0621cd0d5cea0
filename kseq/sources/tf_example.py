"""Records of `tf.train.Example`, whatever file they lie in, read without TensorFlow.

The rules:

- The image is the feature `image/encoded`, `image`, `image_raw`, `img`, `jpeg` or `png`, or what `Columns.image` names: an
  encoded image. If the bytes are no encoded image and there are `height` and `width` (also `image/height` and so on), they
  are uint8 pixels.
- The label is `image/class/label`, `label`, `class` or `image/class/text`: a number or a name. Where `image/class/label` and
  `image/class/text` are both there, the one says the number of the class and the other its name; a file beside the records may
  name numbers too: see `kseq/sources/record_classes.py`.
- Boxes and their classes: see `kseq/sources/record_boxes.py`. Where there are boxes, no label is needed.
- The first records of the first file that can be read tell which features there are: as many records as it takes. Boxes may be
  in later records alone. Features that nothing is read from are in a note.
- A record that is an encoded image itself, and no Example, has one feature: `image`.
- The name of a file, or of its folder, tells the split: `train.tfrecord-00000-of-00016`, `mnist-test.array_record`.
- A sample is called FILE/NUMBER, counted from 0. Rejected are: a record that is no Example or has no image, and a file among
  others that cannot be read at all, or is empty.

Source: the comments in `tensorflow/core/example/feature.proto`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from kseq.arguments import spelled
from kseq.errors import ImageError, SourceError
from kseq.images.number_files import is_array_file
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import Source
from kseq.sources.cell_types import Rejection
from kseq.sources.column_roles import Columns
from kseq.sources.compressed import Unpacked, Unpacker
from kseq.sources.example_message import Features, parse_example
from kseq.sources.file_sets import SourceFile, find_files, read_files, split_from_name
from kseq.sources.label_files import find_names
from kseq.sources.record_boxes import image_side, looks_like_pixels
from kseq.sources.record_classes import ClassPair, RecordClasses, name_class_column, name_number_column
from kseq.sources.record_layout import BOX_LABELS, BOXES, CLASS, RecordLayout, find_layout, is_image
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.text import decode_name

__all__ = ["ExampleSource", "StoredRecord"]

# A message names so many features of a long list.
_MOST_FEATURES = 12


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


@dataclass
class _Contents:
    """What is read of records.

    Attributes:
        cells: The cells of each column besides images.
        samples: The samples.
        names: The features that they have.
        facts: What is counted of boxes, by the names in `kseq.storage.box_counts`.
        num_boxed: How many records have boxes.
        num_pixels: How many of these have sides that look like pixels.
    """

    cells: dict[str, SpooledColumn]
    samples: SpooledColumn = field(default_factory=SpooledColumn)
    names: set[str] = field(default_factory=set)
    facts: Counter[str] = field(default_factory=Counter)
    num_boxed: int = 0
    num_pixels: int = 0

    def extend(self, other: _Contents) -> None:
        """Add what was read of another file."""
        for name, column in self.cells.items():
            column.extend(other.cells[name])
        self.samples.extend(other.samples)
        self._count(other)

    def add_unreadable(self, file: SourceFile, reason: Rejection, num_pixels: int) -> None:
        """Add a file that cannot be read."""
        for column in self.cells.values():
            column.append(None)
        self.samples.append(FoundSample.of_unreadable_file(file.name, reason, num_pixels))

    def _count(self, other: _Contents) -> None:
        self.names |= other.names
        self.facts.update(other.facts)
        self.num_boxed += other.num_boxed
        self.num_pixels += other.num_pixels


Self = TypeVar("Self", bound="ExampleSource")


@dataclass(frozen=True)
class ExampleSource(Source):
    """The records of some files, in their order; the base of the formats that hold `tf.train.Example`.

    Attributes:
        file_names: A regular expression for the end of the name of a file.
        description: What the files are, for messages.
        files: The paths of the files that are read.
        originals: The paths of the files, of which some may be compressed.
    """

    file_names: ClassVar[str]
    description: ClassVar[str]

    files: tuple[str, ...] = ()
    originals: tuple[str, ...] = ()

    def shared_files(self) -> Sequence[str]:
        return self.originals

    @staticmethod
    def in_place(path: str, unpacker: Unpacker | None) -> Unpacked:
        """A file as it can be read in place.

        Args:
            path: The file.
            unpacker: Unpacks compressed files; None where they are refused.
        """
        return Unpacked(path, None)

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
    def load(
        cls: type[Self],
        path: str,
        columns: Columns,
        class_names: Sequence[str] | None = None,
        unpacker: Unpacker | None = None,
    ) -> Self:
        """Read every record once, to check it, and keep all but the images.

        Args:
            path: A file, a folder of files, or a pattern.
            columns: Which feature holds what.
            class_names: All classes, in the order of their numbers; None for the classes that the records name.
            unpacker: Unpacks compressed files; None where they are refused.

        Raises:
            SourceError: If the files cannot be read, or no record can be packed.
        """
        files = find_files(path, cls.file_names, cls.description)
        layout = cls._find_layout(path, files, columns, unpacker)
        contents = cls._read_all(path, files, layout, unpacker)
        revised = _revised(path, columns, layout, contents)
        if revised is not None:
            layout = revised
            contents = cls._read_all(path, files, layout, unpacker)
        folder = os.path.dirname(files[0].path)
        # Of records with both, a label map names the classes of the boxes.
        of_boxes = find_names(folder, layout.boxes.number if layout.boxes else None) if BOX_LABELS in contents.cells else None
        boxes = name_class_column(contents.cells, BOX_LABELS, of_boxes)
        of_label = find_names(folder, layout.label_feature, has_label_map=boxes is None)
        labels = name_class_column(contents.cells, CLASS, of_label)
        if labels is None and layout.columns.label is not None and of_label is not None:
            labels = name_number_column(contents.cells, layout.columns.label, of_label)
        chosen = labels if layout.columns.label is not None else boxes
        names = chosen.class_names if class_names is None and chosen is not None else class_names
        box_names = boxes.class_names if boxes is not None and layout.columns.label is not None else None
        assembled = assemble_samples(path, layout.columns, contents.cells, contents.samples, names, box_class_names=box_names)
        return cls(
            path,
            assembled.class_names,
            assembled.images,
            assembled.fields,
            tuple(cls._place_of(file, unpacker) for file in files),
            tuple(file.path for file in files),
            box_facts={**contents.facts, **assembled.box_facts},
            notes=tuple(dict.fromkeys(_notes(path, layout, contents, labels, boxes))),
        )

    @classmethod
    def _records(cls, file: SourceFile, unpacker: Unpacker | None) -> Iterator[StoredRecord]:
        """The records of a file, unpacked if it must be; messages name the file itself."""
        unpacked, rejection = cls.in_place(file.path, unpacker), None
        try:
            for record in cls.records(unpacked.path):
                rejection = record.rejection
                yield record
        except SourceError as error:
            raise SourceError(str(error).replace(unpacked.path, file.path)) from error
        if unpacked.damage is not None and rejection is None:
            yield StoredRecord(None, b"", unpacked.damage)

    @classmethod
    def _place_of(cls, file: SourceFile, unpacker: Unpacker | None) -> str:
        """The path at which a file is read; its own, if it cannot be."""
        try:
            return cls.in_place(file.path, unpacker).path
        except SourceError:
            return file.path

    @classmethod
    def _find_layout(cls, path: str, files: Sequence[SourceFile], columns: Columns, unpacker: Unpacker | None) -> RecordLayout:
        """Which features hold what, from the first file that can be read."""
        kinds: dict[str, str] = {}
        missing: SourceError | None = None
        unreadable: SourceError | None = None
        reason = None
        for file in files:
            try:
                for record in cls._records(file, unpacker):
                    features, why = ({}, record.rejection) if record.rejection else _features(record.data)
                    reason = reason or why
                    if features.keys() <= kinds.keys():
                        continue
                    kinds |= {name: _kind(values) for name, values in features.items() if values or name not in kinds}
                    try:
                        return find_layout(path, columns, kinds, features)
                    except SourceError as error:
                        missing = missing if missing is not None and not features else error
            except SourceError as error:
                unreadable = unreadable or error
            if missing is not None:
                raise missing
        if unreadable is not None and len(files) == 1:
            raise unreadable
        details = unreadable or (f"the first {reason}" if reason else None)
        raise SourceError(f"{path}: holds no record that can be read{f' ({details})' if details else ''}")

    @classmethod
    def _read_all(cls, path: str, files: Sequence[SourceFile], layout: RecordLayout, unpacker: Unpacker | None) -> _Contents:
        contents = _Contents({name: SpooledColumn() for name in layout.values})
        for file, found in read_files(path, files, lambda number, file: cls._read(number, file, layout, unpacker)):
            if isinstance(found, Rejection):
                contents.add_unreadable(file, found, len(layout.pixels))
            else:
                contents.extend(found)
        return contents

    @classmethod
    def _read(cls, number: int, file: SourceFile, layout: RecordLayout, unpacker: Unpacker | None) -> _Contents:
        """The cells and the samples of a file; `number` is that of the file."""
        contents = _Contents({name: SpooledColumn() for name in layout.values})
        split = split_from_name(file.name)
        for record_number, (location, data, rejection) in enumerate(cls._records(file, unpacker)):
            features: Features = {}
            if rejection is None:
                features, rejection = _features(data)
                rejection = rejection or _why_no_image(features, layout.pixels)
            contents.names.update(features)
            cells = _cells(layout, features, contents)
            for column, values in contents.cells.items():
                values.append(cells[column])
            locations = tuple(_Location(number, location, column) for column in layout.pixels)
            name = os.fsencode(f"{file.name}/{record_number}")
            contents.samples.append(FoundSample(name, locations, len(data), split, rejection))
        if not contents.samples:
            raise SourceError(f"{file.path}: is empty, it holds no record")
        return contents

    def fetch(self, location: _Location) -> bytes | np.ndarray:
        """The bytes of an image, or its pixels."""
        features, _ = _features(self.record(self.files[location.file], location.record))
        values = features.get(location.feature)
        if not values or len(values) != 1 or not isinstance(values[0], bytes):
            raise ImageError(f"feature {location.feature!r} is {str(values)[:40]}, allowed is one string of bytes")
        if not (is_image(values[0]) or is_array_file(values[0])):
            pixels = _pixels(values[0], features)
            if pixels is not None:
                return pixels
        return values[0]


def _why_no_image(features: Features, pixels: Sequence[str]) -> str | None:
    """Why a record cannot be packed: it lacks an image."""
    missing = [column for column in pixels if column not in features]
    return f"has no feature {missing[0]!r}" if missing else None


def _features(data: bytes) -> tuple[Features, str | None]:
    """The features of a record, and why it has none."""
    try:
        features = parse_example(data)
    except ImageError as error:
        if is_image(data):
            return {"image": [data]}, None
        return {}, str(error) if "Sequence" in str(error) else _NO_EXAMPLE
    if not features and is_image(data):
        return {"image": [data]}, None
    return features, None if features else _NO_EXAMPLE


_NO_EXAMPLE = "is no tf.train.Example and no image, or is empty"


def _kind(values: Sequence[Any]) -> str:
    """The kind of a feature, for messages."""
    if not values:
        return "empty"
    kind = {bytes: "bytes", float: "float"}.get(type(values[0]), "int64")
    what = "an encoded image" if is_image(values[0]) else kind
    return what if len(values) == 1 else f"{len(values)} {kind}"


def _pixels(data: bytes, features: Features) -> np.ndarray | None:
    """`(height, width, channels)` uint8, if other features tell the shape of bytes that are no encoded image.

    Raises:
        ImageError: If there are not as many bytes as that shape has.
    """
    height, width = image_side(features, "height"), image_side(features, "width")
    if height is None or width is None:
        return None
    depth = next((side for name in ("depth", "channels") if (side := image_side(features, name)) is not None), None)
    channels, rest = divmod(len(data), height * width)
    if rest or not channels or (depth is not None and depth != channels):
        shape = f"{height} x {width}{'' if depth is None else f' x {depth}'}"
        raise ImageError(f"is no encoded image, and has {len(data):,} bytes, expected of uint8 pixels are {shape}")
    return np.frombuffer(data, np.uint8).reshape(height, width, channels)


def _cells(layout: RecordLayout, features: Features, contents: _Contents) -> dict[str, Any]:
    """The cells of a record by their columns; what is counted of its boxes goes into `contents`."""
    cells = {column: _cell(features.get(column)) for column in contents.cells}
    if layout.class_features is not None:
        cells[CLASS] = _class_pair(*(features.get(name) for name in layout.class_features))
    if layout.boxes is not None:
        image = features.get(layout.pixels[0], [b""])
        found = layout.boxes.read(features, image[0] if image and isinstance(image[0], bytes) else b"")
        if isinstance(found, Rejection):
            cells[BOXES] = found
            cells[BOX_LABELS] = []
            contents.num_boxed += 1
            contents.num_pixels += 1
        else:
            cells[BOXES] = found.boxes
            cells[BOX_LABELS] = found.classes
            contents.facts["crowd"] += found.num_crowds
            contents.num_boxed += bool(found.boxes)
            contents.num_pixels += looks_like_pixels(found.largest)
    return cells


def _class_pair(numbers: list[Any] | None, texts: list[Any] | None) -> ClassPair | list[Any] | None:
    """What a record says of the class of its image; None if it says nothing, a list if it says several."""
    if len(numbers or ()) > 1 or len(texts or ()) > 1:
        return numbers or texts
    text = texts[0] if texts else b""
    number = numbers[0] if numbers and isinstance(numbers[0], int) and numbers[0] >= 0 else None
    pair = ClassPair(number, decode_name(text) if isinstance(text, bytes) else str(text))
    return pair if number is not None or pair.text.strip() else None


def _cell(values: list[Any] | None) -> Any:
    """The values of a feature as a cell: bytes become text, one value stands alone, several are a list."""
    texts = [decode_name(value) if isinstance(value, bytes) else value for value in values or []]
    return (texts[0] if len(texts) == 1 else texts) if texts else None


def _revised(path: str, columns: Columns, layout: RecordLayout, contents: _Contents) -> RecordLayout | None:
    """Another layout, if records that were not looked at before tell it; None if it stays."""
    found = find_layout(path, columns, dict.fromkeys(contents.names, ""), {})
    if found == layout:
        found = layout
    boxes = found.boxes
    if boxes is not None and 2 * contents.num_pixels > contents.num_boxed and found is layout:
        found = replace(found, boxes=replace(boxes, are_pixels=True))
    return None if found is layout else found


def _notes(
    path: str, layout: RecordLayout, contents: _Contents, labels: RecordClasses | None, boxes: RecordClasses | None
) -> Iterator[str]:
    """What a user should know of the records as a whole."""
    for classes in (labels, boxes):
        yield from () if classes is None else classes.notes
    if layout.boxes is not None and layout.boxes.are_pixels:
        yield f"{path}: the sides of boxes ({layout.boxes.sides[0]}) are pixels: most are larger than shares of an image can be"
    unused = layout.unused(contents.names)
    if unused:
        more = f" and {len(unused) - _MOST_FEATURES:,} more" if len(unused) > _MOST_FEATURES else ""
        options = " and ".join(spelled(f"columns.{role}") for role in ("targets", "mask"))
        yield f"{path}: features that are not packed: {', '.join(unused[:_MOST_FEATURES])}{more} ({options} pack more)"
