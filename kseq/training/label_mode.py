"""Label modes: how class numbers leave in a batch, as themselves, one-hot, or as one number for two classes."""

from __future__ import annotations

import numpy as np

from kseq.errors import ArgumentError
from kseq.reading.dataset import ShardDataset
from kseq.storage.field_kinds import LabelEncoder

__all__ = ["label_encoder"]

_LABEL_MODES = ("int", "categorical", "binary", None)


def label_encoder(dataset: ShardDataset, label_mode: str | None) -> LabelEncoder:
    """`(n,)` int32 labels to what Keras's loss of this mode wants (`keras.utils.image_dataset_from_directory`)."""
    num_classes = len(dataset.class_names)
    if not (label_mode is None or isinstance(label_mode, str)) or label_mode not in _LABEL_MODES:
        raise ArgumentError(f"label_mode={label_mode!r}: allowed are {', '.join(map(repr, _LABEL_MODES))}")
    if label_mode == "binary":
        if num_classes != 2:
            raise ArgumentError(f"label_mode='binary' needs 2 classes, {dataset.path} has {num_classes}")
        return lambda labels: labels.astype(np.float32)[:, None]
    if label_mode == "categorical":
        return lambda labels: _one_hot(labels, num_classes)
    return lambda labels: labels


def _one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    rows = np.zeros((len(labels), num_classes), np.float32)
    rows[np.arange(len(labels)), labels] = 1
    return rows
