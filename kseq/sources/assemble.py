"""From columns to samples: the fields of a source, and for each sample its label, its split, its group and its values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat
from typing import Any, NamedTuple

import numpy as np

from kseq.errors import SourceError
from kseq.sources.base import describe_first
from kseq.sources.cell_types import (
    ParsedColumn,
    Rejection,
    parse_column,
    parse_target,
)
from kseq.sources.column_roles import Columns, image_field_names, map_targets, mask_field_name, mirror_order
from kseq.sources.equal_values import find_first_rows
from kseq.sources.image_table import ImageTable, TableBuilder
from kseq.sources.kept_elements import keep_elements
from kseq.sources.label_numbers import convert_distinct, number_classes
from kseq.sources.list_cells import is_missing
from kseq.sources.split_names import SPLITS
from kseq.sources.spooled_column import BLOCK_ROWS, SpooledColumn
from kseq.storage.field_kinds import KINDS, Keypoints
from kseq.storage.fields import IMAGE, LABEL, Field

__all__ = [
    "CORNERS",
    "MASK",
    "AssembledSamples",
    "FoundBlock",
    "FoundSample",
    "assemble_blocks",
    "assemble_samples",
    "box_fields",
    "keypoint_field",
]

MASK = Field("mask", "mask", True, "|u1", (None, None, 1))

# The corners of oriented boxes, one after the other. In a mirrored image they change places, to run the same way round.
CORNERS = Field("corners", "keypoints", False, "<f4", (None, 4, 2), (), (1, 0, 3, 2))


def map_field(name: str, kind: str) -> Field:
    """A field of maps; of which dtype and how many channels is decided when they are packed."""
    return Field(name, kind, KINDS[kind].can_be_encoded, KINDS[kind].dtypes[0], (None, None, 1))


def box_fields(class_names: Sequence[str], keypoints: Field | None = None) -> tuple[Field, ...]:
    """The fields of samples that are an image, boxes, the classes of the boxes and, where boxes have some, keypoints."""
    boxes = Field("boxes", "boxes", False, "<f4", (None, 4))
    labels = Field("labels", "labels", False, "<i4", (None,), tuple(class_names))
    return (IMAGE, boxes, labels) if keypoints is None else (IMAGE, boxes, labels, keypoints)


def keypoint_field(num_points: int, num_numbers: int, order: Sequence[int]) -> Field:
    """The field of the keypoints of each box.

    Args:
        num_points: How many points a box has.
        num_numbers: 2, or 3 with the visibility.
        order: Which point takes the place of each in a mirrored image; empty where that is not known.
    """
    return Field("keypoints", "keypoints", False, "<f4", (None, num_points, num_numbers), (), tuple(order))


class FoundSample(NamedTuple):
    """What a source knows of a sample besides the cells of its columns.

    Attributes:
        name: What the sample is called. If an earlier sample has the same name, ` (row NUMBER)` is added.
        locations: Where its images are, and after them its mask and its maps, as `Source.fetch` takes them; of a file its path.
        num_bytes: Their size in bytes.
        split: The split that the source tells if no column does.
        rejection: Why the sample cannot be packed.
        is_sample: False for a whole file that cannot be read, which stands for the samples in it.
    """

    name: bytes
    locations: tuple[Any, ...]
    num_bytes: int
    split: str | None = None
    rejection: str | None = None
    is_sample: bool = True

    @classmethod
    def of_unreadable_file(cls, name: str, reason: str, num_locations: int) -> FoundSample:
        """Stands for all samples of a file that cannot be read."""
        return cls(os.fsencode(name), (None,) * num_locations, 0, None, reason, is_sample=False)


class FoundBlock(NamedTuple):
    """Some samples: what `FoundSample` says, in a list for each of its attributes.

    Attributes:
        names: What the samples are called.
        locations: For each image, and after them for the mask, where those of the samples are.
        num_bytes: Their sizes.
        splits: The splits that the source tells.
        rejections: Why the samples cannot be packed.
        are_samples: False for whole files.
        rows: The number of the row of each sample, counted from 1; None for one row after the other.
    """

    names: Sequence[bytes]
    locations: Sequence[Sequence[Any]]
    num_bytes: Sequence[int]
    splits: Sequence[str | None]
    rejections: Sequence[str | None]
    are_samples: Sequence[bool]
    rows: Sequence[int] | None = None


@dataclass(frozen=True)
class AssembledSamples:
    """The parts of a `Source`, without its root.

    Attributes:
        class_names: The classes of the label or, without a label, of the first field that has classes.
        fields: The first image, the label if there is one, the other images, the mask, the maps, then all other fields.
        images: One for each sample.
        box_facts: As in `Source`.
    """

    class_names: tuple[str, ...]
    fields: tuple[Field, ...]
    images: ImageTable
    box_facts: Mapping[str, int]


def assemble_samples(
    path: str,
    columns: Columns,
    cells: Mapping[str, Sequence[Any]],
    samples: Iterable[FoundSample],
    class_names: Sequence[str] | None = None,
    *,
    target_classes: Mapping[str, Sequence[str]] | None = None,
    box_class_names: Sequence[str] | None = None,
) -> AssembledSamples:
    """Turn the columns of a source into fields, and each of its rows into a sample.

    Args:
        path: The source, for messages.
        columns: The columns, as `find_columns` found them.
        cells: Column to one cell for each sample; columns of images and masks are not needed.
        samples: One for each row.
        class_names: As in `assemble_blocks`.
        target_classes: As in `assemble_blocks`.
        box_class_names: As in `assemble_blocks`.

    Raises:
        SourceError: If a column makes no sense as a whole, or no sample can be packed.
    """
    blocks = _blocks_of_samples(samples)
    return assemble_blocks(
        path, columns, cells, blocks, class_names, target_classes=target_classes, box_class_names=box_class_names
    )


def _blocks_of_samples(samples: Iterable[FoundSample]) -> Iterator[FoundBlock]:
    iterator = iter(samples)
    while block := list(islice(iterator, BLOCK_ROWS)):
        names, locations, *others = map(list, zip(*block, strict=True))
        yield FoundBlock(names, list(map(list, zip(*locations, strict=True))), *others)


def assemble_blocks(
    path: str,
    columns: Columns,
    cells: Mapping[str, Sequence[Any]],
    blocks: Iterable[FoundBlock],
    class_names: Sequence[str] | None = None,
    *,
    names_differ: bool = False,
    target_classes: Mapping[str, Sequence[str]] | None = None,
    box_class_names: Sequence[str] | None = None,
) -> AssembledSamples:
    """Turn the columns of a source into fields, and each of its rows into a sample, many rows at a time.

    Args:
        path: The source, for messages.
        columns: The columns, as `find_columns` found them.
        cells: Column to one cell for each sample; columns of images and masks are not needed.
        blocks: The samples, some at a time.
        names_differ: Whether it is known that no two samples have the same name.
        class_names: All classes of the label or, without a label, of the boxes, in the order of their numbers; None for the
            classes that the cells name.
        target_classes: The same for targets of several labels, by the names of their fields.
        box_class_names: The same of the boxes of samples that have a label.

    Raises:
        SourceError: If a column makes no sense as a whole, or no sample can be packed.
    """
    labels: SpooledColumn | None = None
    names: tuple[str, ...] = ()
    if columns.label is not None:
        names, labels = number_classes(columns.label, cells[columns.label], class_names)
    of_boxes = class_names if columns.label is None else box_class_names
    others, num_unknown = list(_other_columns(columns, cells, of_boxes, target_classes or {})), 0
    if of_boxes is not None:
        others, num_unknown = _with_known_classes(others)
    first, *image_fields = (replace(IMAGE, name=name) for name in image_field_names(columns))
    mask_fields = [replace(MASK, name=mask_field_name(columns))] if columns.mask is not None else []
    mask_fields += [map_field(name, kind) for name, _, kind in map_targets(columns)]
    label_fields = [LABEL] if columns.label is not None else []
    if columns.label is None:
        names = next((field.class_names for field, _ in others if field.class_names), ())
    images = _assemble(path, columns, cells, blocks, labels, others, names_differ=names_differ)
    if images.is_rejected.all():
        raise SourceError(f"{path}: none of its {len(images)} rows can be packed{describe_first(images)}")
    fields = (first, *label_fields, *image_fields, *mask_fields, *(field for field, _ in others))
    return AssembledSamples(names, fields, images, {"unknown_class": num_unknown} if num_unknown else {})


def _assemble(
    path: str,
    columns: Columns,
    cells: Mapping[str, Sequence[Any]],
    blocks: Iterable[FoundBlock],
    labels: SpooledColumn | None,
    others: Sequence[ParsedColumn],
    *,
    names_differ: bool,
) -> ImageTable:
    label_rows: Iterator[Any] = iter(labels) if labels is not None else repeat(-1)
    split_rows: Iterator[str | None] = iter(_splits(path, cells[columns.split])) if columns.split else repeat(None)
    group_rows: Iterator[str | None] = iter(_groups(cells[columns.group])) if columns.group else repeat(None)
    # What messages add to the reason why a value cannot be packed.
    checked = [("", labels)] if labels is not None else []
    checked += [(f" ({field.name})", values) for field, values in others]
    value_rows = [(suffix, iter(values)) for suffix, values in checked]
    num_more = len(image_field_names(columns)) - 1 + (columns.mask is not None) + len(map_targets(columns))
    more_locations = [SpooledColumn() for _ in range(num_more)]
    builder = TableBuilder()
    for found in blocks:
        count = len(found.names)
        rejected_values = _rejected_values([(suffix, list(islice(rows, count))) for suffix, rows in value_rows], count)
        block = _with_rejected_values(found, rejected_values, len(builder) + 1)
        block_labels = list(islice(label_rows, count))
        if any(rejected_values):
            block_labels = [-1 if isinstance(label, Rejection) else label for label in block_labels]
        splits = list(islice(split_rows, count))
        if any(block.splits):
            splits = [split or other for split, other in zip(splits, block.splits, strict=True)]
        first, *more = block.locations
        for column, values in zip(more_locations, more, strict=True):
            column.extend(values)
        # Where they are equal, all at once.
        own: Iterable[Any] = repeat(None, count) if first == block.names else map(_own_location, first, block.names)
        groups = list(islice(group_rows, count))
        builder.add(block.names, block_labels, splits, block.num_bytes, block.rejections, groups, list(own))
    images = builder.finish([*more_locations, *(values for _, values in others)])
    return images if names_differ else _with_different_names(images)


def _own_location(location: Any, name: bytes) -> Any:
    """The location of an image; None if that is the name of its sample."""
    return None if location == name else location


def _with_rejected_values(block: FoundBlock, rejected_values: Sequence[str | None], start: int) -> FoundBlock:
    """Samples with the reasons for all rejections; `start` is the number of the first row."""
    if not (any(block.rejections) or any(rejected_values)):
        return block
    reasons = [reason or rejected for reason, rejected in zip(block.rejections, rejected_values, strict=True)]
    rows = range(start, start + len(reasons)) if block.rows is None else block.rows
    rejections = [
        f"{f'row {row} ' if is_sample else ''}{reason}" if reason else None
        for row, reason, is_sample in zip(rows, reasons, block.are_samples, strict=True)
    ]
    num_bytes = [0 if reason else size for reason, size in zip(reasons, block.num_bytes, strict=True)]
    return block._replace(num_bytes=num_bytes, rejections=rejections)


def _with_different_names(images: ImageTable) -> ImageTable:
    """Rejected samples are told from others by their names, so these must differ: a name that an earlier sample has gets the
    number of its row."""
    names, locations = images.columns["path"], images.columns["location"]
    first_rows = find_first_rows(len(names), names.blocks)
    if first_rows is None:
        return images
    is_free = ~images.is_rejected
    new_names: dict[int, bytes] = {}
    added = _with_row_numbers(names, np.flatnonzero(is_free & (first_rows != np.arange(len(names)))))
    while added:
        new_names |= added
        # A sample may be called as another one is now: it gets its number too.
        taken = set(added.values())
        is_taken = np.fromiter((name in taken for name in names), bool, len(names))
        added = _with_row_numbers(names, [row for row in np.flatnonzero(is_free & is_taken).tolist() if row not in new_names])
    if not new_names:
        return images
    path = SpooledColumn(new_names.get(row, name) for row, name in enumerate(names))
    location = SpooledColumn(
        name if place is None and row in new_names else place
        for row, (name, place) in enumerate(zip(names, locations, strict=True))
    )
    return replace(images, columns={**images.columns, "path": path, "location": location})


def _with_row_numbers(names: SpooledColumn, rows: Iterable[int]) -> dict[int, bytes]:
    """The names of some rows with the numbers of these, which start with 1."""
    return {int(row): b"%s (row %d)" % (names[row], row + 1) for row in rows}


def _rejected_values(columns: Sequence[tuple[str, Sequence[Any]]], count: int) -> list[str | None]:
    """For each sample why one of its values cannot be packed, the first such value; None if all can.

    Args:
        columns: What messages add to a reason, and the values of the samples.
        count: How many samples there are.
    """
    reasons: list[str | None] = [None] * count
    for suffix, values in columns:
        if Rejection in set(map(type, values)):
            for row, value in enumerate(values):
                if isinstance(value, Rejection) and reasons[row] is None:
                    reasons[row] = f"{value}{suffix}"
    return reasons


def _splits(path: str, cells: Sequence[Any]) -> SpooledColumn:
    splits = convert_distinct(cells, lambda cell: None if _is_no_split(cell) else SPLITS.get(str(cell).strip().lower(), ""))
    start = 0
    for block in splits.blocks():
        if "" in block:
            row = start + block.index("")
            raise SourceError(
                f"{path}: row {row + 1}: split {str(cells[row])!r}, allowed are {', '.join(SPLITS)}, and an empty cell for none"
            )
        start += len(block)
    return splits


def _is_no_split(cell: Any) -> bool:
    """Whether a cell names no split: it is missing, or the word that pandas writes then."""
    return is_missing(cell) or str(cell).strip().lower() == "nan"


def _groups(cells: Sequence[Any]) -> SpooledColumn:
    return convert_distinct(cells, lambda cell: None if is_missing(cell) else str(cell))


def _other_columns(
    columns: Columns,
    cells: Mapping[str, Sequence[Any]],
    class_names: Sequence[str] | None,
    target_classes: Mapping[str, Sequence[str]],
) -> Iterator[ParsedColumn]:
    """The columns that become fields besides images, masks and the label."""
    kinds = dict(columns.kinds)
    maps = [name for name, _, _ in map_targets(columns)]
    for name, column in columns.targets:
        if name not in maps:
            field, values = parse_target(name, cells[column], kinds.get(name), target_classes.get(name))
            if isinstance(field.handler, Keypoints):
                field = replace(field, mirror_order=mirror_order(name, field.handler.num_points, columns))
            yield field, values
    parsed: dict[str, ParsedColumn] = {}
    for kind in KINDS.values():
        single = None if kind.column is None or kind.is_pixels or kind.is_label else getattr(columns, kind.column)
        if single is not None:
            parsed[kind.name] = parse_column(kind.name, kind.name, cells[single], class_names)
    for field, values in parsed.values():
        if field.handler.leader is None:
            yield field, values
        else:
            leader, leader_values = parsed[field.handler.leader]
            yield field, SpooledColumn(_check_counts(leader, leader_values, field.name, values))


def _with_known_classes(others: list[ParsedColumn]) -> tuple[list[ParsedColumn], int]:
    """The columns without boxes of classes that are not among the class names, and how many these were."""
    fields, values = [field for field, _ in others], {field.name: column for field, column in others}
    num_unknown = 0
    for field in fields:
        if field.handler.leader is None or not field.class_names or not any(_has_unknown(row) for row in values[field.name]):
            continue
        changed, count = keep_elements(fields, values, field, np.arange(len(field.class_names)))
        values |= changed
        num_unknown += count
    return [(field, values[field.name]) for field in fields], num_unknown


def _has_unknown(labels: Any) -> bool:
    return isinstance(labels, np.ndarray) and bool(labels.size) and int(labels.min()) < 0


def _check_counts(leader: Field, leader_values: Iterable[Any], name: str, values: Iterable[Any]) -> Iterator[Any]:
    """The values; those with more or fewer elements than the field has that they describe are replaced by a Rejection."""
    for elements, others in zip(leader_values, values, strict=True):
        if not isinstance(elements, Rejection) and not isinstance(others, Rejection) and len(elements) != len(others):
            yield Rejection(f"has {len(elements)} {leader.name} and {len(others)} {name}, expected are as many")
        else:
            yield others
