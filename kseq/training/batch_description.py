"""A batch as people look at it: its arrays, its rows with their targets, and its images as eyes take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kseq.display.json_values import numbers_as_json
from kseq.errors import ArgumentError
from kseq.reading.described_values import describe_value, name_of
from kseq.storage.fields import Field
from kseq.training.batches_inside import BatchParts
from kseq.training.image_spec import ImageSpec

__all__ = ["describe_batch", "shown_pixels"]

# Of a label that is shared by several classes, those with less are not named.
_LEAST_SHARE = 0.01


def describe_batch(parts: BatchParts, sample_ids: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """A batch: `rows` with sample ids and targets, what its `arrays` are like, which `images` and `masks` it has, and their
    `size`, height and width."""
    rows: list[dict[str, Any]] = [{"id": sample_id, "targets": []} for sample_id in sample_ids.tolist()]
    images = [name for name in parts.values if name in parts.fields and parts.fields[name].is_image]
    masks = [name for name in parts.values if name in parts.fields and parts.fields[name].is_pixels and name not in images]
    for name, field in parts.fields.items():
        if name in parts.values and not field.is_pixels:
            for row, described in zip(rows, _describe_targets(field, parts, class_names), strict=False):
                row["targets"].append({"name": name, "kind": field.kind, **described})
    for row, weight in zip(rows, _row_weights(parts.batch, len(rows)), strict=False):
        row["weight"] = weight
    return {
        "rows": rows,
        "arrays": [_describe_array(name, values) for name, values in _flatten("", parts.batch)],
        "images": images,
        "masks": masks,
        "size": list(_channels_last(parts.values[images[0]], parts.spec).shape[1:3]),
        "is_stretched": any(_is_stretched(parts.values[name], parts.spec) for name in images),
    }


def shown_pixels(parts: BatchParts, row: int, name: str) -> tuple[Field, np.ndarray]:
    """An image or a mask of a batch: its field, and `(height, width, channels)` uint8.

    These are the very values of the batch, if they are bytes or were bytes before they were scaled; others, those of maps among
    them, are stretched from the least of the batch to the largest.

    Raises:
        ArgumentError: If the batch has no such row or field.
    """
    field = parts.fields.get(name)
    if field is None or name not in parts.values or not field.is_pixels:
        raise ArgumentError(f"field={name}: a batch has no such pixels")
    values = parts.values[name]
    if not 0 <= row < len(values):
        raise ArgumentError(f"row={row}: the batch has {len(values)}")
    pixels = np.asarray(_channels_last(values, parts.spec)[row])
    if pixels.dtype == np.uint8:
        return field, pixels
    is_stretched = _is_stretched(values, parts.spec) if field.is_image else values.dtype.kind == "f"
    least, most = _ends(values) if is_stretched else (0.0, 0.0)
    numbers = np.nan_to_num(pixels.astype(np.float64), nan=least, posinf=most, neginf=least)
    if is_stretched:
        numbers = (numbers - least) * (255 / ((most - least) or 1))
    elif field.is_image:
        numbers /= parts.spec.scale or 1
    return field, np.clip(np.rint(numbers), 0, 255).astype(np.uint8)


def _channels_last(values: np.ndarray, spec: ImageSpec) -> np.ndarray:
    return np.moveaxis(values, 1, -1) if spec.data_format == "channels_first" else values


def _is_stretched(values: np.ndarray, spec: ImageSpec) -> bool:
    """Whether the pixels of a batch were more than bytes that were scaled: they are stored as others, or a function has made
    other numbers of them."""
    if values.dtype == np.uint8 or not values.size:
        return False
    if spec.stored_dtype != "uint8":
        return True
    scale = spec.scale or 1.0
    ends = [end / scale for end in _ends(values)]
    return min(ends) < -1 or max(ends) > 256


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The least and the largest of the numbers that are finite; zeros if none is."""
    if values.dtype.kind != "f":
        return float(values.min()), float(values.max())
    is_finite = np.isfinite(values)
    if not is_finite.any():
        return 0.0, 0.0
    return float(values.min(where=is_finite, initial=np.inf)), float(values.max(where=is_finite, initial=-np.inf))


def _describe_targets(field: Field, parts: BatchParts, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """What each sample of a batch holds in a field that is no pixels."""
    names = field.handler.class_names(class_names)
    values = parts.values[field.name]
    is_per_class = field.is_label or field.kind == "multi_label"
    if is_per_class and isinstance(values, np.ndarray) and values.ndim == 2 and values.shape[1] == len(names) > 1:
        return [{"text": _shares_in_words(row, names)} for row in values.astype(np.float64)]
    if field.is_label:
        values = np.rint(np.asarray(values).reshape(len(values), -1)[:, 0]).astype(np.int64)
    return [describe_value(field, value, names) for value in _unpadded(field, values, parts.values.get(f"{field.name}_mask"))]


def _shares_in_words(shares: np.ndarray, names: Sequence[str]) -> str:
    """The classes of a label that is one-hot, of several classes, or shared by several: `rose 0.7, daisy 0.3`."""
    order = np.argsort(-shares, kind="stable")
    chosen = [number for number in order.tolist() if abs(shares[number]) >= _LEAST_SHARE]
    is_whole = all(shares[number] == 1 for number in chosen)
    words = [name_of(names, number) + ("" if is_whole else f" {shares[number]:.3g}") for number in chosen]
    return ", ".join(words) or "none"


def _unpadded(field: Field, values: Any, mask: Any) -> list[Any]:
    """The values of a field in a batch, sample by sample, without what fills up the rows."""
    if isinstance(values, list):
        return values
    values = np.asarray(values)
    if field.kind == "text":
        # The padding is 0. Other numbers are what a function made of the texts.
        is_stored = values.dtype == np.uint8 and values.ndim == 2
        return [field.handler.value(np.trim_zeros(row, "b")) for row in values] if is_stored else list(values)
    values = field.handler.readable_value(values, None if mask is None else np.asarray(mask))
    if mask is None or len(values) != len(mask):
        return list(values)
    return [row[is_element] for row, is_element in zip(values, np.asarray(mask), strict=True)]


def _row_weights(batch: Any, count: int) -> list[Any]:
    """The weight of each row, if there is one."""
    weights = batch.get("sample_weight") if isinstance(batch, dict) else batch[2] if is_triple(batch) else None
    if weights is None or isinstance(weights, Mapping):
        return []
    rows: list[Any] = numbers_as_json(np.asarray(weights).reshape(count, -1)[:, 0]) if count else []
    return rows


def is_triple(batch: Any) -> bool:
    """Whether a batch has sample weights beside inputs and targets."""
    return isinstance(batch, tuple) and len(batch) == 3


def _flatten(name: str, values: Any) -> Iterator[tuple[str, Any]]:
    """The arrays of a batch with their names."""
    if isinstance(values, tuple):
        for part, value in zip(("inputs", "targets", "sample weights"), values, strict=False):
            yield from _flatten(part, value)
    elif isinstance(values, Mapping):
        for part, value in values.items():
            yield from _flatten(f"{name}/{part}" if name else str(part), value)
    else:
        yield name or "inputs", values


def _describe_array(name: str, values: Any) -> dict[str, Any]:
    """What an array of a batch is like: its dtype, shape, ends and mean; of a list of arrays, how many there are."""
    if isinstance(values, list):
        return {"name": name, "dtype": "list", "shape": [len(values)]}
    array = np.asarray(values)
    facts: dict[str, Any] = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size and array.dtype.kind in "buif":
        found = {"least": array.min(), "most": array.max(), "mean": array.mean(dtype=np.float64)}
        facts |= {key: numbers_as_json(np.asarray(value, np.float64)) for key, value in found.items()}
    return facts
