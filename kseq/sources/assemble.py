"""From columns to samples: the fields of a source, and for each sample its label, its split, its group and its values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, NamedTuple

from kseq.errors import SourceError
from kseq.sources.base import SPLITS, SourceImage, describe_first
from kseq.sources.cell_types import (
    ParsedColumn,
    Rejection,
    is_missing,
    parse_class_name,
    parse_column,
    parse_target,
    sort_class_names,
)
from kseq.sources.column_roles import Columns, image_field_names, mask_field_name
from kseq.storage.field_kinds import KINDS
from kseq.storage.fields import IMAGE, LABEL, Field

__all__ = ["MASK", "AssembledSamples", "FoundSample", "assemble_samples", "box_fields", "number_classes"]

MASK = Field("mask", "mask", True, "|u1", (None, None, 1))


def box_fields(class_names: Sequence[str]) -> tuple[Field, ...]:
    """The fields of samples that are an image, boxes and the classes of the boxes."""
    boxes = Field("boxes", "boxes", False, "<f4", (None, 4))
    return IMAGE, boxes, Field("labels", "labels", False, "<i4", (None,), tuple(class_names))


class FoundSample(NamedTuple):
    """What a source knows of a sample besides the cells of its columns.

    Attributes:
        name: What the sample is called. If an earlier sample has the same name, ` (row NUMBER)` is added.
        locations: Where its images are, and after them its mask, as `Source.fetch` takes them; of a file its path.
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


@dataclass(frozen=True)
class AssembledSamples:
    """The parts of a `Source`, without its root.

    Attributes:
        class_names: The classes of the label or, without a label, of the first field that has classes.
        fields: The first image, the label if there is one, the other images, the mask, then all other fields.
        images: One for each sample.
    """

    class_names: tuple[str, ...]
    fields: tuple[Field, ...]
    images: list[SourceImage]


def assemble_samples(
    path: str,
    columns: Columns,
    cells: Mapping[str, Sequence[Any]],
    samples: Iterable[FoundSample],
    class_names: Sequence[str] | None = None,
) -> AssembledSamples:
    """Turn the columns of a source into fields, and each of its rows into a sample.

    Args:
        path: The source, for messages.
        columns: The columns, as `find_columns` found them.
        cells: Column to one cell for each sample; columns of images and masks are not needed.
        samples: One for each row.
        class_names: All classes of the label or, without a label, of the boxes, in the order of their numbers; None for the
            classes that the cells name.

    Raises:
        SourceError: If a column makes no sense as a whole, or no sample can be packed.
    """
    labels: Sequence[int | Rejection] | None = None
    names: tuple[str, ...] = ()
    if columns.label is not None:
        names, labels = number_classes(cells[columns.label], class_names)
    others = list(_other_columns(columns, cells, class_names if columns.label is None else None))
    first, *image_fields = (replace(IMAGE, name=name) for name in image_field_names(columns))
    mask_fields = [replace(MASK, name=mask_field_name(columns))] if columns.mask is not None else []
    label_fields = [LABEL] if columns.label is not None else []
    if columns.label is None:
        names = next((field.class_names for field, _ in others if field.class_names), ())
    images = list(_images(path, columns, cells, samples, labels, others))
    if all(image.rejection for image in images):
        raise SourceError(f"{path}: none of its {len(images)} rows can be packed{describe_first(images)}")
    return AssembledSamples(names, (first, *label_fields, *image_fields, *mask_fields, *(field for field, _ in others)), images)


def number_classes(cells: Sequence[Any], class_names: Sequence[str] | None) -> tuple[tuple[str, ...], list[int | Rejection]]:
    """The classes of a column of labels, and the class number of each cell.

    Args:
        cells: The labels.
        class_names: All classes, in the order of their numbers; None for the classes that the cells name.
    """
    names = _convert_distinct(cells, parse_class_name)
    if class_names is None:
        class_names = sort_class_names(name for name in set(names) if name is not None)
    numbers: dict[str | None, int | Rejection] = {name: number for number, name in enumerate(class_names)}
    return tuple(class_names), [numbers[name] if name in numbers else _no_class(name) for name in names]


def _no_class(name: str | None) -> Rejection:
    if name is None:
        return Rejection("has no label")
    return Rejection(f"has a label that is not among the class names: {name!r}")


def _images(
    path: str,
    columns: Columns,
    cells: Mapping[str, Sequence[Any]],
    samples: Iterable[FoundSample],
    labels: Sequence[int | Rejection] | None,
    others: Sequence[ParsedColumn],
) -> Iterator[SourceImage]:
    value_rows = zip(*(values for _, values in others), strict=True) if others else repeat(())
    splits = _splits(path, cells[columns.split]) if columns.split else repeat(None)
    groups = _groups(cells[columns.group]) if columns.group else repeat(None)
    label_column = labels if labels is not None else repeat(-1)
    rows = zip(samples, label_column, value_rows, splits, groups, _rejected_values(labels, others), strict=False)
    used_names: set[bytes] = set()
    for number, (sample, label, values, split, group, rejected_value) in enumerate(rows, start=1):
        name, (first, *more_locations), num_bytes, sample_split, rejection, is_sample = sample
        rejection = rejection or rejected_value
        # Rejected samples are told from others by their names, so these must differ.
        if not rejection and name in used_names:
            name = b"%s (row %d)" % (name, number)
        used_names.add(name)
        yield SourceImage(
            name,
            label if rejected_value is None or not isinstance(label, Rejection) else -1,
            split or sample_split,
            0 if rejection else num_bytes,
            f"{f'row {number} ' if is_sample else ''}{rejection}" if rejection else None,
            group,
            (*more_locations, *values) if more_locations or values else (),
            None if first == name else first,
        )


def _rejected_values(labels: Sequence[int | Rejection] | None, others: Sequence[ParsedColumn]) -> Iterator[str | None]:
    """For each sample why one of its values cannot be packed, the first such value; None if all can."""
    columns: list[tuple[str, Sequence[Any]]] = [] if labels is None else [("", labels)]
    columns += [(f" ({field.name})", values) for field, values in others]
    with_rejections = [(suffix, values) for suffix, values in columns if Rejection in set(map(type, values))]
    if not with_rejections:
        return repeat(None)
    reasons = (
        [f"{value}{suffix}" if isinstance(value, Rejection) else None for value in values] for suffix, values in with_rejections
    )
    return (next(filter(None, row), None) for row in zip(*reasons, strict=True))


def _convert_distinct(cells: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """The converted cells; if all are text, each distinct text is converted once."""
    if set(map(type, cells)) != {str}:
        return list(map(convert, cells))
    converted = {cell: convert(cell) for cell in set(cells)}
    return [converted[cell] for cell in cells]


def _splits(path: str, cells: Sequence[Any]) -> list[str | None]:
    splits = _convert_distinct(cells, lambda cell: None if is_missing(cell) else SPLITS.get(str(cell).strip().lower(), ""))
    if "" in splits:
        row = splits.index("")
        raise SourceError(f"{path}: row {row + 1}: split {str(cells[row])!r}, allowed are {', '.join(SPLITS)}")
    return splits


def _groups(cells: Sequence[Any]) -> list[str | None]:
    return _convert_distinct(cells, lambda cell: None if is_missing(cell) else str(cell))


def _other_columns(
    columns: Columns, cells: Mapping[str, Sequence[Any]], class_names: Sequence[str] | None
) -> Iterator[ParsedColumn]:
    """The columns that become fields besides images, masks and the label."""
    kinds = dict(columns.kinds)
    for name, column in columns.targets:
        yield parse_target(name, cells[column], kinds.get(name))
    parsed: dict[str, ParsedColumn] = {}
    for kind in KINDS.values():
        single = None if kind.column is None or kind.is_pixels or kind.is_label else getattr(columns, kind.column)
        if single is not None:
            parsed[kind.name] = parse_column(kind.name, kind.name, cells[single], class_names)
    for field, values in parsed.values():
        if field.handler.leader is not None:
            _check_counts(*parsed[field.handler.leader], field.name, values)
        yield field, values


def _check_counts(leader: Field, leader_values: list[Any], name: str, values: list[Any]) -> None:
    """Replace values that have more or fewer elements than those of the field that they describe by a Rejection."""
    for row, (elements, others) in enumerate(zip(leader_values, values, strict=True)):
        if not isinstance(elements, Rejection) and not isinstance(others, Rejection) and len(elements) != len(others):
            values[row] = Rejection(f"has {len(elements)} {leader.name} and {len(others)} {name}, expected are as many")
