"""Labels that do not go with the image: how much more a sample is like another class than like its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["oddness"]

# Samples are taken in parts of so many.
_PART = 4096

# What is added to the variance of each feature, of 255: features that never differ say nothing.
_LEAST_VARIANCE = 25.0

# The covariance of few samples is moved towards that of features that know nothing of each other: half the way where there are
# so many times as many features as samples. Measured on photos: wrong labels come earlier, of 150 samples and of 4,000.
_FEATURES_PER_SAMPLE = 5


def oddness(features: np.ndarray, labels: np.ndarray, is_known: np.ndarray, num_classes: int) -> np.ndarray:
    """`(n,)` float32: for each sample, by how much the likeliest other class is likelier than its own; low for typical samples.

    It is a linear discriminant: each class is a normal distribution around its mean, with one covariance for all; the mean of a
    sample's own class is that of the others in it, so that no sample speaks for its own label. Samples of which nothing is
    known, or whose class has fewer than two, get the lowest value.

    Args:
        features: `(n, m)` uint8.
        labels: `(n,)` whole numbers in [0, num_classes), of those samples of which features are known.
        is_known: `(n,)` bool: which samples have features.
        num_classes: How many classes there are.
    """
    scores = np.full(len(features), -np.inf, np.float32)
    counts = np.bincount(labels[is_known], minlength=num_classes).astype(np.float64)
    if (counts >= 2).sum() < 2:
        return scores
    means, inverse = _fit(features, labels, is_known, counts)
    weights = means @ inverse
    offsets = (weights * means).sum(axis=1)
    offsets[counts < 2] = np.inf
    for rows in _parts(is_known):
        part = features[rows].astype(np.float64)
        # Squares of the distances of Mahalanobis from the mean of each class.
        distances = ((part @ inverse) * part).sum(axis=1)[:, None] - 2 * part @ weights.T + offsets
        places = np.arange(len(rows)), labels[rows]
        count = counts[labels[rows]]
        own = distances[places] * (count / np.maximum(count - 1, 1)) ** 2
        distances[places] = np.inf
        scores[rows] = np.where(np.isfinite(own), own - distances.min(axis=1), -np.inf) / 2
    return scores


def _fit(features: np.ndarray, labels: np.ndarray, is_known: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each class, and the inverse of the covariance that all share."""
    num_features = features.shape[1]
    sums, squares = np.zeros((len(counts), num_features)), np.zeros((num_features, num_features))
    for rows in _parts(is_known):
        part = features[rows].astype(np.float64)
        np.add.at(sums, labels[rows], part)
        squares += part.T @ part
    means = sums / np.maximum(counts, 1)[:, None]
    within = (squares - (means * counts[:, None]).T @ means) / counts.sum()
    share = num_features / (num_features + _FEATURES_PER_SAMPLE * counts.sum())
    same = np.eye(num_features) * (share * np.trace(within) / num_features + _LEAST_VARIANCE)
    return means, np.linalg.inv((1 - share) * within + same)


def _parts(is_known: np.ndarray) -> Iterator[np.ndarray]:
    """The positions of what is known, in parts."""
    for first in range(0, len(is_known), _PART):
        rows = np.flatnonzero(is_known[first : first + _PART]) + first
        if len(rows):
            yield rows
