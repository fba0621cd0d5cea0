"""Samples as the page shows them: in a row, or one with all its fields."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kseq.errors import KseqError
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.checksums import checksum, format_checksum
from kseq.storage.fields import Field
from kseq.viewing.json_values import numbers_as_json
from kseq.viewing.opened import Opened

__all__ = ["describe_rows", "describe_sample", "describe_value", "drawn_shapes"]

# So much of a text is shown.
_MOST_TEXT = 10_000

# So many boxes or points of a sample are drawn.
_MOST_SHAPES = 2_000


def describe_sample(opened: Opened, sample_id: int) -> dict[str, Any]:
    """All that is known of a sample. What cannot be read of it is named in `problem`; the rest is still there.

    Returns:
        `id`, `source`, `splits`, `is_dropped`, `shard`, `row`, `problem` and `fields`: for each field its name, kind, form, and
        what `describe_value` says of its value.
    """
    samples = opened.locate(np.array([sample_id]))
    facts: dict[str, Any] = {"id": sample_id, "splits": opened.splits_of(np.array([sample_id]))[0], "problem": None}
    facts["is_dropped"] = bool(np.isin(sample_id, opened.dataset.dropped))
    try:
        reader, row = samples[0]
        facts |= {"shard": os.path.basename(samples.shard_paths()[0]), "row": row}
        facts["source"] = os.fsdecode(reader.source(row))
        reader.check_row(row)
    except KseqError as error:
        facts["problem"] = str(error)
    facts["fields"] = []
    for field in opened.reader.fields.values():
        entry = {"name": field.name, "kind": field.kind, "form": field.describe()}
        try:
            entry |= _describe_field(opened, samples, field)
        except KseqError as error:
            entry["problem"] = str(error)
            facts["problem"] = facts["problem"] or str(error)
        facts["fields"].append(entry)
    return facts


def _describe_field(opened: Opened, samples: LocatedSamples, field: Field) -> dict[str, Any]:
    if field.is_pixels:
        height, width = samples.sizes(field.name)[0].tolist()
        reader, row = samples[0]
        stored = reader.stored(field.name, row) if field.encoded else samples.values(field.name)[0]
        data = np.ascontiguousarray(stored)
        return {
            "is_pixels": True,
            "is_image": field.is_image,
            "height": height,
            "width": width,
            "num_bytes": data.nbytes,
            "hash": format_checksum(checksum(data)),
        }
    value = field.handler.value(samples.pieces(field.name)[0]) if field.is_ragged else samples.values(field.name)[0]
    return describe_value(field, value, field.handler.class_names(opened.dataset.class_names))


def describe_value(field: Field, value: Any, class_names: Sequence[str]) -> dict[str, Any]:
    """A value that is no pixels: `text`, or `numbers` with their `shape`, with `names` for numbers of classes, and `shapes`
    for what can be drawn over the image."""
    if isinstance(value, str):
        return {"text": value[:_MOST_TEXT]}
    array = np.asarray(value)
    described: dict[str, Any] = {"numbers": numbers_as_json(array), "shape": list(array.shape)}
    if field.handler.has_class_names:
        described["classes"] = array.reshape(-1)[:_MOST_SHAPES].tolist()
        described["names"] = [name_of(class_names, number) for number in described["classes"]]
    if field.handler.has_positions:
        described["shapes"] = drawn_shapes(field, array)
    return described


def name_of(class_names: Sequence[str], number: int) -> str:
    """The name of a class; of a number that stands for none, the number."""
    return class_names[number] if 0 <= number < len(class_names) else f"no class ({number})"


def drawn_shapes(field: Field, values: np.ndarray) -> dict[str, Any]:
    """What to draw of a field with positions: `boxes`, lists of x1, y1, x2, y2; or `points`, a list for each object of lists of
    x, y and whether the point is visible; in pixels. `num_left_out` says how many there are beyond what is drawn."""
    values = np.asarray(values, np.float64)
    left_out = max(0, len(values) - _MOST_SHAPES)
    values = values[:_MOST_SHAPES]
    if field.kind == "keypoints":
        points = values.reshape(-1, *values.shape[-2:]) if values.size else np.empty((0, 1, 2))
        is_seen = points[..., 2:] > 0 if points.shape[-1] == 3 else np.ones((*points.shape[:2], 1), bool)
        drawn = np.concatenate([points[..., :2], is_seen], axis=-1)
        return {"points": _finite(drawn), "num_left_out": left_out}
    return {"boxes": _finite(np.asarray(field.handler.as_boxes(values)).reshape(-1, 4)), "num_left_out": left_out}


def _finite(numbers: np.ndarray) -> Any:
    return np.nan_to_num(numbers, posinf=0, neginf=0).tolist()


def describe_rows(opened: Opened, ids: np.ndarray) -> list[dict[str, Any]]:
    """What the grid shows of samples: `id`, `class`, `splits` and `source` of each."""
    splits = opened.splits_of(ids)
    names = opened.dataset.class_names
    labels = [None] * len(ids) if opened.labels is None else opened.labels[ids].tolist()
    try:
        sources = [os.fsdecode(source) for source in opened.locate(ids).sources()]
    except KseqError:
        # A damaged shard: the samples are shown as such, one by one.
        sources = [""] * len(ids)
    return [
        {
            "id": sample_id,
            "class": None if label is None else name_of(names, label),
            "splits": sample_splits,
            "source": source,
        }
        for sample_id, label, sample_splits, source in zip(ids.tolist(), labels, splits, sources, strict=True)
    ]
