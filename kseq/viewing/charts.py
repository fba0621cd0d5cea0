"""Numbers for charts: classes, sizes, bytes, brightness, colours, boxes, and what packing left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kseq.errors import KseqError
from kseq.reading.described_values import name_of
from kseq.storage.box_counts import LEFT_OUT, REMARKS
from kseq.storage.rejected import count_reasons
from kseq.viewing.measures import MEASURED, Measures
from kseq.viewing.opened import PART, Opened

__all__ = ["count_boxes", "describe_dataset_charts"]

# So many bars a histogram has, so many rejected files are listed, and so many points a scatter plot has.
_BARS, _MOST_REJECTED, _MOST_POINTS = 24, 200, 1500


def describe_dataset_charts(opened: Opened, measures: Measures) -> dict[str, Any]:
    """What the page draws: `classes`, `histograms`, `scatter`, `boxes` (if samples have any), `rejected`."""
    ids = opened.remaining
    heights, widths = opened.sizes[ids].T
    histograms = [
        _histogram("Height", "pixels", heights),
        _histogram("Width", "pixels", widths),
        _histogram("Width by height", "", widths / np.maximum(heights, 1)),
        _histogram("Bytes of an image", "bytes", opened.num_bytes[ids]),
    ]
    known = ids[measures.states[ids] == MEASURED]
    if len(known):
        histograms += [
            _histogram("Brightness", "of 255", measures.brightness[known]),
            _histogram("Contrast", "of 255", measures.contrast[known]),
            *(_histogram(name, "of 255", measures.colors[known, number]) for number, name in enumerate(_COLORS)),
        ]
    chosen = ids[:: max(1, len(ids) // _MOST_POINTS)]
    return {
        "classes": opened.keep_latest("classes", 0, lambda: _count_classes(opened)),
        "histograms": histograms,
        "scatter": opened.sizes[chosen][:, ::-1].tolist(),
        "boxes": opened.keep_latest("boxes", 0, lambda: count_boxes(opened)),
        "rejected": _describe_rejected(opened),
    }


_COLORS = ("Red", "Green", "Blue")


def _count_classes(opened: Opened) -> dict[str, Any]:
    names, splits = list(opened.dataset.class_names), opened.dataset.splits
    labels = opened.labels
    if labels is None:
        return {"names": [], "splits": splits, "counts": {}}
    chosen = {name: labels[opened.dataset.split_ids(name)] for name in splits} if splits else {"all": labels[opened.remaining]}
    counts = {name: np.bincount(split[split >= 0], minlength=len(names)).tolist() for name, split in chosen.items()}
    return {"names": names, "splits": splits or {"all": len(opened.remaining)}, "counts": counts}


def _histogram(title: str, unit: str, values: np.ndarray) -> dict[str, Any]:
    """A histogram with its edges, and the middle and the ends of the values; bars for each number where there are few."""
    least, most = float(values.min()), float(values.max())
    is_whole = values.dtype.kind in "iu"
    span = most - least
    bars = _BARS
    if is_whole and span < _BARS:
        bars, least, most = int(span) + 1, least - 0.5, most + 0.5
    counts, edges = np.histogram(values, bars, (least, most if most > least else least + 1))
    return {
        "title": title,
        "unit": unit,
        "counts": counts.tolist(),
        "edges": edges.tolist(),
        "median": float(np.median(values)),
        "least": float(values.min()),
        "most": float(values.max()),
    }


def count_boxes(opened: Opened) -> dict[str, Any] | None:
    """Boxes of each image and of each class; None if samples have no boxes."""
    fields = opened.reader.fields
    boxes = next((field for field in fields.values() if field.kind == "boxes"), None)
    if boxes is None:
        return None
    labels = next(
        (field for field in fields.values() if field.handler.leader == "boxes" and field.handler.has_class_names), None
    )
    per_image = opened.counts(boxes)[opened.remaining]
    per_class: list[dict[str, Any]] = []
    if labels is not None:
        counts = np.zeros(len(labels.class_names) + 1, np.int64)
        for first in range(0, len(opened.remaining), PART):
            pieces = opened.locate(opened.remaining[first : first + PART]).pieces(labels.name)
            numbers = np.concatenate(pieces) if pieces else np.empty(0, np.int64)
            is_class = (numbers >= 0) & (numbers < len(labels.class_names))
            counts += np.bincount(np.where(is_class, numbers, len(labels.class_names)), minlength=len(counts))
        per_class = [
            {"name": name_of(labels.class_names, number), "count": count}
            for number, count in enumerate(counts.tolist())
            if number < len(labels.class_names) or count
        ]
    return {
        "per_image": _histogram("Boxes of an image", "boxes", per_image),
        "per_class": per_class,
        "facts": _describe_box_facts(opened),
    }


def _describe_box_facts(opened: Opened) -> list[tuple[str, int]]:
    """Why boxes were left out when the dataset was packed, and what is remarkable of the others, each with their number."""
    try:
        counts = opened.dataset.box_counts()
    except KseqError:
        # Of a damaged shard, whose samples are told of one by one.
        return []
    if counts is None:
        return []
    left_out = [(f"left out: {LEFT_OUT[reason]}", count) for reason, count in counts.left_out.items()]
    return left_out + [(REMARKS[remark], count) for remark, count in counts.remarks.items()]


def _describe_rejected(opened: Opened) -> dict[str, Any]:
    rejected = opened.dataset.rejected()
    listed: Sequence[Any] = [[os.fsdecode(file.path), file.explanation] for file in rejected[:_MOST_REJECTED]]
    return {"count": len(rejected), "reasons": list(count_reasons(rejected).items()), "files": listed}
