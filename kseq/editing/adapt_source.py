"""A source made to fit a dataset that it is to be appended to: the same fields, the same class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kseq.arguments import spelled_call
from kseq.errors import SourceError
from kseq.packing.settings import ImageSettings
from kseq.sources.base import Source, SourceImage
from kseq.storage.compatibility import (
    class_numbers,
    common_field,
    dataset_classes,
    row_layouts,
    unite_classes,
)
from kseq.storage.fields import Field
from kseq.storage.index import Index

__all__ = ["AdaptedSource", "fit"]


@dataclass(frozen=True)
class AdaptedSource:
    """A source that fits a dataset.

    Attributes:
        source: The source, with the class numbers and the values that the dataset's samples have.
        fields: What each sample of the dataset holds, with the classes that are new.
        beside: The values that do not go into shards, for each such field the number of its place in `SourceImage.values`; of a
            label None.
    """

    source: Source
    fields: tuple[Field, ...]
    beside: dict[str, int | None]

    def values(self, field: Field, images: np.ndarray) -> list[np.ndarray]:
        """A field that does not go into shards, of some images of the source, `(n,)` int64."""
        place, found = self.beside[field.name], self.source.images
        chosen = (found[number] for number in images.tolist())
        values = [image.label if place is None else image.values[place] for image in chosen]
        return [np.asarray(value, field.dtype) for value in values]


def fit(source: Source, name: str, index: Index, settings: ImageSettings) -> AdaptedSource:
    """Make a source fit a dataset, before any image is read.

    Args:
        source: What is to be appended.
        name: What it is called, for messages.
        index: The dataset's.
        settings: How the dataset was packed.

    Raises:
        SourceError: Where the source lacks a field, has one too many, or one that holds something else.
    """
    its = {each.name: settings.stored(each) for each in source.fields}
    _check_stored(index)
    _check_names(name, list(its), index)
    fields = tuple(_fitted(each, its[each.name], index.path, name) for each in index.fields)
    stored = {each.name for each in index.stored_fields}
    for each in fields:
        if each.name not in stored and each.handler.follows_image:
            raise SourceError(
                f"{index.path}: field {each.name!r} lies beside the shards, and is moved along with its image: "
                f"{spelled_call('compact', index.path)} brings it into them"
            )
    classes = dataset_classes(fields, unite_classes(index.class_names, source.class_names))
    has_label = any(field.is_label for field in fields)
    labels = class_numbers(source.class_names, classes) if has_label else None
    wanted = {each.name: each for each in fields}
    others = [field for field in source.fields[1:] if not field.is_label]
    images = _renumbered(source, others, wanted, labels)
    places: dict[str, int | None] = {each.name: place for place, each in enumerate(others)}
    new = tuple(each if each.is_pixels else wanted[each.name] for each in source.fields)
    beside = {each.name: places.get(each.name) for each in fields if each.name not in stored}
    return AdaptedSource(replace(source, class_names=classes, images=images, fields=new), fields, beside)


def _check_stored(index: Index) -> None:
    """Raise SourceError where a field was replaced by values of another form: new shards hold what the old ones do."""
    stored = {each.name: each for each in index.stored_fields}
    for each in index.fields:
        then = stored.get(each.name, each)
        if row_layouts([each]) != row_layouts([then]):
            raise SourceError(
                f"{index.path}: field {each.name!r} is {each.describe()}, in its shards {then.describe()}: "
                f"{spelled_call('compact', index.path)} makes new ones"
            )


def _check_names(source: str, names: Sequence[str], index: Index) -> None:
    wanted = [each.name for each in index.fields]
    told_all = f"the samples of {index.path} hold {', '.join(wanted)}, those of {source} {', '.join(names)}"
    for name in (name for name in wanted if name not in names):
        raise SourceError(f"{source}: has no field {name!r}: {told_all}")
    for name in (name for name in names if name not in wanted):
        raise SourceError(f"{source}: has a field {name!r} too many: {told_all}")


def _fitted(field: Field, its: Field, path: str, source: str) -> Field:
    """The dataset's field once it has a source's values too: with the classes that are new."""
    if field.is_pixels:
        # Of what size encoded images are will be known when they are read.
        size = field.shape[:2] if field.encoded and its.encoded else its.shape[:2]
        common_field(field, replace(its, shape=(*size, *its.shape[2:])), path, source)
        return field
    if not field.handler.accepts(its):
        raise SourceError(f"{source}: field {field.name!r} is {its.describe()}, in {path} it is {field.describe()}")
    return replace(field, class_names=unite_classes(field.class_names, its.class_names))


def _renumbered(
    source: Source, others: Sequence[Field], wanted: dict[str, Field], labels: np.ndarray | None
) -> list[SourceImage]:
    """The images of a source with the class numbers and dtypes of a dataset."""
    numbers = [class_numbers(each.class_names, wanted[each.name].class_names) for each in others]

    def value(place: int, found: Any) -> Any:
        form = wanted[others[place].name]
        if form.is_pixels:
            return found
        shaped = np.asarray(found).reshape(-1) if form.is_ragged and np.ndim(found) == 0 else np.asarray(found)
        return form.handler.renumber(shaped, numbers[place]).astype(form.dtype, copy=False)

    def image(found: SourceImage) -> SourceImage:
        if found.rejection is not None:
            return found
        label = found.label if labels is None or found.label < 0 else int(labels[found.label])
        return found._replace(label=label, values=tuple(value(place, each) for place, each in enumerate(found.values)))

    return [image(each) for each in source.images]
