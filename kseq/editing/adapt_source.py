"""Adapting a source to a dataset that it is to be appended to: the same fields, the same class numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np

from kseq.arguments import spelled_call
from kseq.editing.missing_fields import describe_missing, describe_surplus
from kseq.errors import SourceError
from kseq.packing.settings import ImageSettings
from kseq.packing.stored_form import stored_field
from kseq.sources.base import ImageTable, Source
from kseq.sources.spooled_column import SpooledColumn
from kseq.storage.class_union import class_numbers, dataset_classes, unite_classes
from kseq.storage.compatibility import common_field, row_layouts
from kseq.storage.field_kinds import Instances, WideInstances
from kseq.storage.fields import Field
from kseq.storage.index import Index

__all__ = ["AdaptedSource", "adapt_source"]


@dataclass(frozen=True)
class AdaptedSource:
    """A source that fits a dataset.

    Attributes:
        source: The source, with the class numbers and the dtypes of the dataset.
        fields: What each sample of the dataset holds, with the classes that are new.
        beside: The fields that do not go into shards, each with its position in `SourceImage.values`; the label with None.
    """

    source: Source
    fields: tuple[Field, ...]
    beside: dict[str, int | None]

    def values(self, field: Field, numbers: np.ndarray) -> list[np.ndarray]:
        """The values of a field that does not go into shards.

        Args:
            field: The field.
            numbers: `(n,)` int64, rising: the numbers of some images of the source.
        """
        position = self.beside[field.name]
        images = self.source.images
        if position is None:
            return list(np.asarray(images.labels[numbers], field.dtype))
        is_asked = np.zeros(len(images), bool)
        is_asked[numbers] = True
        return [np.asarray(value, field.dtype) for value in compress(images.values[position], is_asked)]


def adapt_source(source: Source, name: str, index: Index, settings: ImageSettings) -> AdaptedSource:
    """Adapt a source to a dataset, before any image is read.

    Args:
        source: What is to be appended.
        name: The name of the source, for messages.
        index: The index of the dataset.
        settings: The image settings that the dataset was packed with.

    Raises:
        SourceError: If the source lacks a field, has one that the dataset lacks, or one that holds something else.
    """
    source = _widened(source, index)
    source_fields = {field.name: stored_field(field, settings) for field in source.fields}
    _check_stored_fields(index)
    _check_names(name, source, index)
    fields = tuple(_merge_field(field, source_fields[field.name], index.path, name) for field in index.fields)
    stored_names = {field.name for field in index.stored_fields}
    for field in fields:
        if field.name not in stored_names and field.handler.follows_image:
            raise SourceError(
                f"{index.path}: field {field.name!r} lies beside the shards, but is transformed along with its image: "
                f"{spelled_call('compact', index.path)} brings it into them"
            )
    classes = dataset_classes(fields, unite_classes(index.class_names, source.class_names))
    has_label = any(field.is_label for field in fields)
    label_numbers = class_numbers(source.class_names, classes) if has_label else None
    dataset_fields = {field.name: field for field in fields}
    other_fields = [field for field in source.fields[1:] if not field.is_label]
    images = _adapt_images(source, other_fields, dataset_fields, label_numbers)
    positions: dict[str, int | None] = {field.name: position for position, field in enumerate(other_fields)}
    adapted_fields = tuple(field if field.is_pixels else dataset_fields[field.name] for field in source.fields)
    beside = {field.name: positions.get(field.name) for field in fields if field.name not in stored_names}
    return AdaptedSource(replace(source, class_names=classes, images=images, fields=adapted_fields), fields, beside)


def _widened(source: Source, index: Index) -> Source:
    """The source with masks of instances of 16 bits where the dataset has such ones."""
    wide = {field.name for field in index.fields if field.kind == WideInstances.name}
    fields = [
        replace(field, kind=WideInstances.name, dtype=WideInstances.dtypes[0])
        if field.name in wide and field.kind == Instances.name
        else field
        for field in source.fields
    ]
    return replace(source, fields=tuple(fields))


def _check_stored_fields(index: Index) -> None:
    """Raise SourceError if a field was replaced by values of another form: new shards must hold what the old ones do."""
    stored_fields = {field.name: field for field in index.stored_fields}
    for field in index.fields:
        stored = stored_fields.get(field.name, field)
        if row_layouts([field]) != row_layouts([stored]):
            raise SourceError(
                f"{index.path}: field {field.name!r} is {field.describe()}, in its shards {stored.describe()}: "
                f"{spelled_call('compact', index.path)} brings the field into them"
            )


def _check_names(name: str, source: Source, index: Index) -> None:
    dataset_names, names = ([field.name for field in fields] for fields in (index.fields, source.fields))
    both = f"the samples of {index.path} hold {', '.join(dataset_names)}, those of {name} {', '.join(names)}"
    for field in (field for field in index.fields if field.name not in names):
        raise SourceError(f"{name}: has no field {field.name!r}: {both}: {describe_missing(field, source)}")
    for field in (field for field in source.fields if field.name not in dataset_names):
        raise SourceError(f"{name}: has a field {field.name!r} too many: {both}: {describe_surplus(field)}")


def _merge_field(field: Field, source_field: Field, path: str, source: str) -> Field:
    """The field of the dataset with the classes of the source.

    Raises:
        SourceError: If the source field holds something else.
    """
    if (field.kind, source_field.kind) == (Instances.name, WideInstances.name):
        raise SourceError(
            f"{source}: has an image of more than 255 objects, field {field.name!r} of {path} has room for 255: pack all of "
            "them anew, whose masks of instances are uint16 then, or append the other images alone"
        )
    if field.is_pixels:
        # The sizes of encoded images are known only when they are read.
        size = field.shape[:2] if field.encoded and source_field.encoded else source_field.shape[:2]
        common_field(field, replace(source_field, shape=(*size, *source_field.shape[2:])), path, source)
        return field
    if not field.handler.accepts(source_field):
        raise SourceError(f"{source}: field {field.name!r} is {source_field.describe()}, in {path} it is {field.describe()}")
    # Where one does not know which keypoints change places in a mirrored image, the other does, as in a merge.
    order = field.mirror_order or source_field.mirror_order
    if source_field.mirror_order not in ((), order):
        raise SourceError(
            f"{source}: field {field.name!r} has the mirror_order {source_field.mirror_order}, in {path} it is {order}: its "
            "points are others"
        )
    return replace(field, class_names=unite_classes(field.class_names, source_field.class_names), mirror_order=order)


def _adapt_images(
    source: Source, other_fields: Sequence[Field], dataset_fields: dict[str, Field], label_numbers: np.ndarray | None
) -> ImageTable:
    """The images of a source with the class numbers and dtypes of the dataset."""
    images, labels = source.images, source.images.labels
    if label_numbers is not None and len(label_numbers):
        labels = np.where((labels >= 0) & ~images.is_rejected, label_numbers[labels], labels).astype(np.int32)
    targets = [dataset_fields[field.name] for field in other_fields]
    values = [
        column if target.is_pixels else SpooledColumn(_adapt_values(field, target, column, images.is_rejected))
        for field, target, column in zip(other_fields, targets, images.values, strict=True)
    ]
    return replace(images, labels=labels, values=tuple(values))


def _adapt_values(field: Field, target: Field, values: Iterable[Any], is_rejected: np.ndarray) -> Iterator[Any]:
    """The values of a field in the form of the dataset."""
    numbers = class_numbers(field.class_names, target.class_names)
    for value, is_left_out in zip(values, is_rejected, strict=True):
        if is_left_out:
            yield value
            continue
        array = np.asarray(value)
        if target.is_ragged and array.ndim == 0:
            array = array.reshape(-1)
        yield target.handler.renumber(array, numbers).astype(target.dtype, copy=False)
