"""Labels that do not go with the image: how much more a sample is like another class than like its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["oddness"]

# Samples are taken in parts of so many.
_PART = 4096

# What is added to the variance of each feature, of 255: features that never differ say nothing.
_LEAST_VARIANCE = 25.0


def oddness(features: np.ndarray, labels: np.ndarray, is_known: np.ndarray, num_classes: int) -> np.ndarray:
    """`(n,)` float32: for each sample, by how much the likeliest other class is likelier than its own; low for typical samples.

    It is a linear discriminant: each class is a normal distribution around its mean, with one covariance for all. Samples of
    which nothing is known, or whose class has fewer than two, get the lowest value.

    Args:
        features: `(n, m)` uint8.
        labels: `(n,)` whole numbers in [0, num_classes), of those samples of which features are known.
        is_known: `(n,)` bool: which samples have features.
        num_classes: How many classes there are.
    """
    lowest = np.float32(-np.inf)
    scores = np.full(len(features), lowest, np.float32)
    num_features = features.shape[1]
    counts = np.bincount(labels[is_known], minlength=num_classes).astype(np.float64)
    used = counts >= 2
    if used.sum() < 2:
        return scores
    sums, squares = np.zeros((num_classes, num_features)), np.zeros((num_features, num_features))
    for rows in _parts(is_known):
        part = features[rows].astype(np.float64)
        np.add.at(sums, labels[rows], part)
        squares += part.T @ part
    means = sums / np.maximum(counts, 1)[:, None]
    within = (squares - (means * counts[:, None]).T @ means) / counts.sum()
    inverse = np.linalg.pinv(within + _LEAST_VARIANCE * np.eye(num_features))
    weights = means @ inverse
    offsets = -0.5 * (weights * means).sum(axis=1)
    offsets[~used] = -np.inf
    for rows in _parts(is_known):
        likelihood = features[rows].astype(np.float32) @ weights.T.astype(np.float32) + offsets.astype(np.float32)
        places = np.arange(len(rows)), labels[rows]
        own = likelihood[places]
        likelihood[places] = -np.inf
        scores[rows] = np.where(np.isfinite(own), likelihood.max(axis=1) - own, lowest)
    return scores


def _parts(is_known: np.ndarray) -> Iterator[np.ndarray]:
    """The positions of what is known, in parts."""
    for first in range(0, len(is_known), _PART):
        rows = np.flatnonzero(is_known[first : first + _PART]) + first
        if len(rows):
            yield rows
