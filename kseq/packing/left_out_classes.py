"""Classes of a source that are left out: their samples, their boxes, and their numbers.

The rules, the same for every source:

- A sample whose label is a class that is left out is rejected, with the class in the reason.
- A box, or one of several labels, of such a class is taken out of its sample, which stays; it is counted.
- The other classes keep their order, and have the numbers from 0 on; a note says which.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.errors import ArgumentError
from kseq.sources.base import ImageTable, Source
from kseq.sources.class_names import compose_class_name
from kseq.sources.kept_elements import keep_elements
from kseq.sources.spooled_column import SpooledColumn
from kseq.storage.fields import Field

__all__ = ["check_class_list", "check_class_names", "leave_out_classes"]

# A note names so many classes.
_MOST_NAMES = 10


def check_class_list(name: str, value: Any) -> tuple[str, ...]:
    """Names of classes, as an argument has them; none for None.

    Raises:
        ArgumentError: If it is no list of text.
    """
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        raise ArgumentError(f"{spelled(name, value)}: allowed is a list of names of classes")
    return tuple(dict.fromkeys(map(compose_class_name, value)))


def check_class_names(value: Any) -> Any:
    """The names of all classes as an argument has them; None for None.

    Raises:
        ArgumentError: If they are no list of text, or one is empty, or is there twice, or is that of a file with the names.
    """
    if value is None:
        return None
    given = spelled("class_names", value)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ArgumentError(f"{given}: allowed is a list of names of classes")
    # An iterator has them once.
    value = names = list(value)
    odd = [name for name in names if not isinstance(name, str)]
    if odd:
        raise ArgumentError(f"{given}: {odd[0]!r} is no text, allowed is a list of names of classes")
    if "" in names:
        raise ArgumentError(f"{given}: a name is empty, allowed are names of classes")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ArgumentError(f"{given}: {twice[0]!r} is there {names.count(twice[0])} times, allowed is once")
    alone = names[0] if len(names) == 1 else ""
    if alone.lower().endswith((".txt", ".names")) and os.path.isfile(alone):
        raise ArgumentError(f"{given}: is a file, expected are the names in it, each by itself")
    return value


def leave_out_classes(source: Source, names: Sequence[str]) -> Source:
    """The source without some classes.

    Args:
        source: The source.
        names: The classes that are left out.

    Raises:
        ArgumentError: If samples have no such class, or no class is left.
    """
    if not names:
        return source
    lists = [source.class_names if field.is_label else field.class_names for field in source.fields]
    known = list(dict.fromkeys(name for class_names in lists for name in class_names))
    unknown = [name for name in names if name not in known]
    what = spelled("without_class", list(names))
    if unknown:
        shown = ", ".join(known[:_MOST_NAMES]) if known else "none"
        raise ArgumentError(f"{what}: {source.place} has no class {unknown[0]!r}, its classes are {shown}")
    if set(known) <= set(names):
        raise ArgumentError(f"{what}: leaves no class of {source.place}")
    counts: Counter[str] = Counter()
    images = source.images
    if any(field.is_label for field in source.fields):
        images = _without_labels(source, names, counts)
    fields, values = _without_elements(source, images, names, counts)
    kept = [name for name in source.class_names if name not in names]
    return replace(
        source,
        class_names=tuple(kept),
        images=replace(images, values=values),
        fields=fields,
        box_facts={**source.box_facts, "class_left_out": counts["boxes"]} if counts["boxes"] else source.box_facts,
        notes=(*source.notes, _note(names, counts, [name for name in known if name not in names])),
    )


def _renumbering(class_names: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """`(classes,)` int32: the new number of each class; -1 for one that is left out."""
    is_kept = np.array([name not in names for name in class_names], bool)
    return np.where(is_kept, np.cumsum(is_kept) - 1, -1).astype(np.int32)


def _without_labels(source: Source, names: Sequence[str], counts: Counter[str]) -> ImageTable:
    """The samples with the new numbers of their labels, and with rejections for labels that are left out."""
    images = source.images
    numbers = _renumbering(source.class_names, names)
    has_label = images.labels >= 0
    labels = np.where(has_label, numbers[np.maximum(images.labels, 0)] if len(numbers) else -1, images.labels).astype(np.int32)
    is_out = has_label & (labels < 0) & ~images.is_rejected
    counts["images"] = int(is_out.sum())
    reasons = (
        f"is of the class {source.class_names[label]!r}, which is left out" if out else reason
        for reason, out, label in zip(images.rejections, is_out.tolist(), images.labels.tolist(), strict=True)
    )
    return replace(
        images,
        labels=labels,
        is_rejected=images.is_rejected | is_out,
        num_bytes=np.where(is_out, 0, images.num_bytes),
        columns={**images.columns, "rejection": SpooledColumn(reasons)} if is_out.any() else images.columns,
    )


def _without_elements(
    source: Source, images: ImageTable, names: Sequence[str], counts: Counter[str]
) -> tuple[tuple[Field, ...], tuple[SpooledColumn, ...]]:
    """The fields, and the values of samples, without boxes and further labels of classes that are left out."""
    others = [field for field in source.fields[1:] if not field.is_label]
    values = dict(zip((field.name for field in others), images.values, strict=False))
    fields = {field.name: field for field in source.fields}
    for field in others:
        if not set(field.class_names) & set(names) or field.name not in values:
            continue
        numbers = _renumbering(field.class_names, names)
        fields[field.name] = replace(field, class_names=tuple(name for name in field.class_names if name not in names))
        changed, num_left_out = keep_elements(others, values, field, numbers)
        counts["boxes" if field.handler.leader else "labels"] += num_left_out
        values |= changed
    return tuple(fields[field.name] for field in source.fields), tuple(values.values())


def _note(names: Sequence[str], counts: Counter[str], kept: Sequence[str]) -> str:
    words = {"images": "image", "boxes": "box", "labels": "label"}
    what = [f"{counts[things]:,} {one if counts[things] == 1 else things}" for things, one in words.items() if counts[things]]
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(kept[:_MOST_NAMES]))
    more = f" and {len(kept) - _MOST_NAMES:,} more" if len(kept) > _MOST_NAMES else ""
    return (
        f"left out: {', '.join(names[:_MOST_NAMES])} ({', '.join(what) or 'nothing is of them'}); classes are {numbered}{more}"
    )
