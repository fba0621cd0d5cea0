"""How many boxes each split of a dataset has, and how many of each class."""

from __future__ import annotations

import numpy as np

from kseq.reading.concatenated import ConcatenatedDatasets
from kseq.storage.box_counts import BoxCounts, add_facts, box_class_names, box_field, count_labels
from kseq.storage.fields import Field

__all__ = ["count_boxes"]

_COUNTED_AT_ONCE = 1 << 14


def count_boxes(collection: ConcatenatedDatasets) -> BoxCounts | None:
    """The boxes of some datasets, added up; None if samples have none.

    Raises:
        DamagedError: If a shard is damaged, or a split is not what it must be.
    """
    fields = list(collection.fields.values())
    boxes = box_field(fields)
    if boxes is None:
        return None
    labels = next((field for field in fields if field.kind == "labels"), None)
    lengths: dict[str, list[np.ndarray]] = {}
    class_counts: dict[str, np.ndarray] = {}
    for index, first_id in zip(collection.indexes, collection.id_starts.tolist(), strict=False):
        for name, ids in index.splits.items():
            index.check_ids(ids)
            lengths.setdefault(name, []).append(index.counts(boxes.name, ids.astype(np.int64)))
            counts = np.zeros((1, 0), np.int64) if labels is None else _count_classes(collection, ids, first_id, labels)
            class_counts[name] = counts[0] + class_counts.get(name, 0)
    return BoxCounts.of(
        box_class_names(fields),
        {name: np.concatenate(counts) for name, counts in lengths.items()},
        class_counts,
        add_facts(index.box_facts() for index in collection.indexes),
    )


def _count_classes(collection: ConcatenatedDatasets, ids: np.ndarray, first_id: int, labels: Field) -> np.ndarray:
    """`(1, classes)`: how many boxes of each class some samples of one dataset have."""
    num_classes = len(labels.class_names)
    counts = np.zeros((1, num_classes), np.int64)
    array = labels.handler.row_arrays[0]
    assert array.offsets is not None
    for start in range(0, len(ids), _COUNTED_AT_ONCE):
        shards, rows = collection.locate(ids[start : start + _COUNTED_AT_ONCE].astype(np.int64) + first_id)
        pieces = collection.shards.pieces(array.name, array.offsets, shards, rows)
        numbers = np.concatenate(pieces) if pieces else np.empty(0, np.int32)
        counts += count_labels(numbers, np.zeros(len(numbers), np.int8), 1, num_classes)
    return counts
