"""What samples hold besides their images, from the columns of a source: fields, and for each sample its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, NamedTuple

from kseq.fields import IMAGE, LABEL, Field
from kseq.sources import values
from kseq.sources.columns import Columns
from kseq.sources.values import Refused

__all__ = ["MASK", "Draft", "DraftSample", "draft_fields", "object_fields"]

MASK = Field("mask", "mask", True, "|u1", (None, None, 1))


def object_fields(class_names: Sequence[str]) -> tuple[Field, ...]:
    """What samples of images with boxes hold."""
    boxes = Field("boxes", "boxes", False, "<f4", (None, 4))
    return IMAGE, boxes, Field("labels", "labels", False, "<i4", (None,), tuple(class_names))


class DraftSample(NamedTuple):
    """What one sample holds besides its images.

    Attributes:
        label: Class number, -1 where there is none.
        values: Of the other fields, in their order.
        refused: Why it cannot be packed.
    """

    label: int
    values: tuple[Any, ...]
    refused: str | None


@dataclass(frozen=True)
class Draft:
    """The fields of a source, and what each sample holds.

    Attributes:
        fields: As a `Source` has them: images and the mask first, but for the label at the second place.
        class_names: Of the label, or where there is none, of the first field that has classes.
        samples: One for each row, to be gone through once.
    """

    fields: tuple[Field, ...]
    class_names: tuple[str, ...]
    samples: Iterator[DraftSample]


def draft_fields(columns: Columns, cells: Mapping[str, Sequence[Any]], class_names: Sequence[str] | None) -> Draft:
    """Find out what the columns of a source hold.

    Args:
        columns: Which say what, as `Columns.find` found them.
        cells: Column to its cell for each sample; those of images and masks are not needed.
        class_names: All classes of the label, or else of the boxes, in the order of their numbers; None for those found.

    Raises:
        SourceError: Where a column makes no sense as a whole.
    """
    labels: Sequence[int | Refused] = []
    names: tuple[str, ...] = ()
    if columns.label is not None:
        names, labels = _labels(cells[columns.label], class_names)
    found = list(_others(columns, cells, class_names if columns.label is None else None))
    first, *images = (replace(IMAGE, name=name) for name in columns.image_fields())
    masks = [MASK] if columns.mask is not None else []
    label = [LABEL] if columns.label is not None else []
    fields = (first, *label, *images, *masks, *(field for field, _ in found))
    if columns.label is None:
        names = next((field.class_names for field, _ in found if field.class_names), ())
    rows = zip(*(values for _, values in found), strict=True) if found else repeat(())
    return Draft(fields, names, _samples([field.name for field, _ in found], labels if label else None, rows))


def _labels(cells: Sequence[Any], class_names: Sequence[str] | None) -> tuple[tuple[str, ...], list[int | Refused]]:
    named = [values.class_name(cell) for cell in cells]
    classes = values.sorted_names(name for name in named if name is not None) if class_names is None else class_names
    numbers = {name: number for number, name in enumerate(classes)}
    return tuple(classes), [_label(name, numbers) for name in named]


def _label(name: str | None, numbers: Mapping[str, int]) -> int | Refused:
    if name is None:
        return Refused("has no label")
    if name not in numbers:
        return Refused(f"has the label {name!r}, which is not among the class names")
    return numbers[name]


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
    if columns.weight is not None:
        yield values.weight("weight", cells[columns.weight])


def _check_counts(boxes: list[Any], labels: list[Any]) -> None:
    """Refuse labels that are more or fewer than the boxes of their sample."""
    for row, (one, other) in enumerate(zip(boxes, labels, strict=True)):
        if not isinstance(one, Refused) and not isinstance(other, Refused) and len(one) != len(other):
            labels[row] = Refused(f"has {len(one)} boxes and {len(other)} labels, expected are as many")


def _samples(
    names: Sequence[str], labels: Sequence[int | Refused] | None, rows: Iterator[tuple[Any, ...]] | repeat
) -> Iterator[DraftSample]:
    for label, row in zip(repeat(-1) if labels is None else labels, rows, strict=False):
        wrong = [f"{value} ({name})" for name, value in zip(names, row, strict=True) if isinstance(value, Refused)]
        if isinstance(label, Refused):
            yield DraftSample(-1, row, str(label))
        else:
            yield DraftSample(label, row, wrong[0] if wrong else None)
