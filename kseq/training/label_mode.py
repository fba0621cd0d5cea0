"""Label modes: how class numbers leave in a batch, as themselves, one-hot, or as one number for two classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kseq.errors import ArgumentError
from kseq.reading.dataset import ShardDataset

__all__ = ["LabelEncoder", "label_encoder"]

_LABEL_MODES = ("int", "categorical", "binary", None)
LabelEncoder = Callable[[np.ndarray], np.ndarray]


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
        one_hot = np.eye(num_classes, dtype=np.float32)
        return lambda labels: one_hot[labels]
    return lambda labels: labels
