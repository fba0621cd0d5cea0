"""What samples hold, from the columns of a source: fields, and for each sample its label, split and values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, NamedTuple

from kseq.errors import SourceError
from kseq.sources import cell_types as values
from kseq.sources.base import SPLITS, SourceImage
from kseq.sources.cell_types import Refused
from kseq.sources.column_roles import Columns
from kseq.storage.fields import IMAGE, LABEL, Field

__all__ = ["MASK", "Draft", "Record", "class_numbers", "draft_samples", "object_fields"]

MASK = Field("mask", "mask", True, "|u1", (None, None, 1))


def object_fields(class_names: Sequence[str]) -> tuple[Field, ...]:
    """What samples of images with boxes hold."""
    boxes = Field("boxes", "boxes", False, "<f4", (None, 4))
    return IMAGE, boxes, Field("labels", "labels", False, "<i4", (None,), tuple(class_names))


class Record(NamedTuple):
    """What a source knows of a sample besides the cells of its columns.

    Attributes:
        name: What the sample is called; where an earlier one is called so too, ` (row NUMBER)` is added.
        places: Where its images, and after them its mask, are found; of a file its path.
        num_bytes: Their size.
        split: What the source says where no column does.
        refused: Why it cannot be packed.
        is_row: Whether it is a sample; a whole file that cannot be read stands for those that were in it.
    """

    name: bytes
    places: tuple[Any, ...]
    num_bytes: int
    split: str | None = None
    refused: str | None = None
    is_row: bool = True

    @classmethod
    def of_file(cls, name: str, reason: str, num_places: int) -> Record:
        """What stands for a file that cannot be read."""
        return cls(os.fsencode(name), (None,) * num_places, 0, None, reason, is_row=False)


@dataclass(frozen=True)
class Draft:
    """All that a `Source` is made of, but for its root.

    Attributes:
        class_names: Of the label, or where there is none, of the first field that has classes.
        fields: Images and the mask first, but for the label at the second place; then the others.
        images: One for each record.
    """

    class_names: tuple[str, ...]
    fields: tuple[Field, ...]
    images: list[SourceImage]


def draft_samples(
    path: str,
    columns: Columns,
    cells: Mapping[str, Sequence[Any]],
    records: Iterable[Record],
    class_names: Sequence[str] | None = None,
) -> Draft:
    """Find out what the columns of a source hold.

    Args:
        path: The source, for messages.
        columns: Which say what, as `Columns.find` found them.
        cells: Column to its cell for each sample; those of images and masks are not needed.
        records: One for each sample.
        class_names: All classes of the label, or else of the boxes, in the order of their numbers; None for those found.

    Raises:
        SourceError: Where a column makes no sense as a whole, or no sample can be packed.
    """
    labels: Sequence[int | Refused] | None = None
    names: tuple[str, ...] = ()
    if columns.label is not None:
        names, labels = class_numbers(cells[columns.label], class_names)
    found = list(_others(columns, cells, class_names if columns.label is None else None))
    first, *images = (replace(IMAGE, name=name) for name in columns.image_fields())
    masks = [MASK] if columns.mask is not None else []
    label = [LABEL] if columns.label is not None else []
    if columns.label is None:
        names = next((field.class_names for field, _ in found if field.class_names), ())
    drafted = list(_images(path, columns, cells, records, labels, found))
    if all(image.refused for image in drafted):
        reason = f" (first: {os.fsdecode(drafted[0].path)}: {drafted[0].refused})" if drafted else ""
        raise SourceError(f"{path}: none of its {len(drafted)} rows can be packed{reason}")
    return Draft(names, (first, *label, *images, *masks, *(field for field, _ in found)), drafted)


def _images(
    path: str,
    columns: Columns,
    cells: Mapping[str, Sequence[Any]],
    records: Iterable[Record],
    labels: Sequence[int | Refused] | None,
    others: Sequence[tuple[Field, list[Any]]],
) -> Iterator[SourceImage]:
    rows = zip(*(found for _, found in others), strict=True) if others else repeat(())
    splits = _splits(path, cells[columns.split]) if columns.split else repeat(None)
    groups = _groups(cells[columns.group]) if columns.group else repeat(None)
    given = labels if labels is not None else repeat(-1)
    samples = zip(records, given, rows, splits, groups, _wrong(labels, others), strict=False)
    seen: set[bytes] = set()
    for number, (record, label, row, split, group, wrong) in enumerate(samples, start=1):
        name, (first, *places), num_bytes, own_split, refused, is_row = record
        refused = refused or wrong
        # Rejected samples are told from the others by their names.
        if not refused and name in seen:
            name = b"%s (row %d)" % (name, number)
        seen.add(name)
        yield SourceImage(
            name,
            label if wrong is None or not isinstance(label, Refused) else -1,
            split or own_split,
            0 if refused else num_bytes,
            f"{f'row {number} ' if is_row else ''}{refused}" if refused else None,
            group,
            (*places, *row) if places or row else (),
            None if first == name else first,
        )


def _wrong(labels: Sequence[int | Refused] | None, others: Sequence[tuple[Field, list[Any]]]) -> Iterator[str | None]:
    """For each sample why one of its values is none; the first that is."""
    columns: list[tuple[str, Sequence[Any]]] = [] if labels is None else [("", labels)]
    columns += [(f" ({field.name})", column) for field, column in others]
    found = [(note, column) for note, column in columns if Refused in set(map(type, column))]
    if not found:
        return repeat(None)
    reasons = ([f"{each}{note}" if isinstance(each, Refused) else None for each in column] for note, column in found)
    return (next(filter(None, row), None) for row in zip(*reasons, strict=True))


def _each_once(cells: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """A value for each cell; where all are text, those that are equal are looked at once."""
    if set(map(type, cells)) != {str}:
        return list(map(convert, cells))
    known = {cell: convert(cell) for cell in set(cells)}
    return [known[cell] for cell in cells]


def _splits(path: str, cells: Sequence[Any]) -> list[str | None]:
    found = _each_once(cells, lambda cell: None if values.is_missing(cell) else SPLITS.get(str(cell).strip().lower(), ""))
    if "" in found:
        row = found.index("")
        raise SourceError(f"{path}: row {row + 1}: split {str(cells[row])!r}, allowed are {', '.join(SPLITS)}")
    return found


def _groups(cells: Sequence[Any]) -> list[str | None]:
    return _each_once(cells, lambda cell: None if values.is_missing(cell) else str(cell))


def class_numbers(cells: Sequence[Any], class_names: Sequence[str] | None) -> tuple[tuple[str, ...], list[int | Refused]]:
    """The classes of a column of labels, those found unless they are given, and the number of each cell's."""
    named = _each_once(cells, values.class_name)
    classes = values.sorted_names(name for name in set(named) if name is not None) if class_names is None else class_names
    numbers: dict[str | None, int | Refused] = {name: number for number, name in enumerate(classes)}
    return tuple(classes), [numbers[name] if name in numbers else _unknown(name) for name in named]


def _unknown(name: str | None) -> Refused:
    if name is None:
        return Refused("has no label")
    return Refused(f"has a label that is not among the class names: {name!r}")


def _others(
    columns: Columns, cells: Mapping[str, Sequence[Any]], class_names: Sequence[str] | None
) -> Iterator[tuple[Field, list[Any]]]:
    for name, column in columns.targets:
        yield values.target(name, cells[column])
    if columns.boxes is not None:
        found = values.boxes("boxes", cells[columns.boxes])
        if columns.box_labels is not None:
            labels = values.labels("labels", cells[columns.box_labels], class_names)
            _check_counts(found[1], labels[1])
            yield labels
        yield found
    if columns.text is not None:
        yield values.text("text", cells[columns.text])
    if columns.sample_weight is not None:
        yield values.weight("sample_weight", cells[columns.sample_weight])


def _check_counts(boxes: list[Any], labels: list[Any]) -> None:
    """Refuse labels that are more or fewer than the boxes of their sample."""
    for row, (one, other) in enumerate(zip(boxes, labels, strict=True)):
        if not isinstance(one, Refused) and not isinstance(other, Refused) and len(one) != len(other):
            labels[row] = Refused(f"has {len(one)} boxes and {len(other)} labels, expected are as many")
