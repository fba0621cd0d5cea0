"""Boxes and sizes that are unlike the others: what was drawn, turned or scaled wrongly stands out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from kseq.errors import KseqError
from kseq.storage.fields import Field
from kseq.viewing.opened import PART, Opened

__all__ = ["box_oddness", "size_oddness", "unlikeness"]

# Of a class with fewer boxes, nobody knows what is usual: they are compared with all.
_LEAST_OF_CLASS = 20

# Of sizes, so many or a few more tell what is usual.
_MOST_COMPARED = 1 << 17

# As if at least so much of a logarithm, or of the image's side, were the usual difference: where nearly all are the same, small
# differences are no news.
_LEAST_SPREAD = 0.05

# The median of absolute differences, of a normal distribution, is so many standard deviations.
_MAD = 0.6745


def box_oddness(opened: Opened) -> np.ndarray:
    """`(num_ids,)` float32: how unlike the boxes of its class the oddest box of each sample is, in its form, its size and its
    place in the image; -inf for samples without a box.

    Raises:
        StopIteration: If samples have no boxes.
    """
    field = next(field for field in opened.reader.fields.values() if field.kind == "boxes")
    owners, classes, facts = _describe_boxes(opened, field)
    height, width = np.maximum(opened.sizes[owners].astype(np.float32), 1).T
    scores = np.full(opened.num_ids, -np.inf, np.float32)
    # A box around what fills an image has the form of the image; one around something small has not.
    np.maximum.at(scores, owners, unlikeness(facts, classes, np.log(width / height)))
    return scores


def size_oddness(opened: Opened) -> np.ndarray:
    """`(num_ids,)` float32: how unlike the others' the height and width of each image are; -inf where they are not known."""
    # Of millions, a part tells what is usual, and the others are looked at part by part: memory is for the page.
    some = _describe_sizes(opened.sizes[:: len(opened.sizes) // _MOST_COMPARED + 1])
    scores = np.full(len(opened.sizes), -np.inf, np.float32)
    usual = _usual(some[np.isfinite(some).all(axis=1)])
    for first in range(0, len(scores), PART):
        facts = _describe_sizes(opened.sizes[first : first + PART])
        is_known = np.isfinite(facts).all(axis=1)
        scores[first : first + PART][is_known] = _distances(facts[is_known], usual)
    return scores


def _describe_sizes(sizes: np.ndarray) -> np.ndarray:
    """`(n, 2)` float32: how large images are, and of which form; not finite where their size is not known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(np.asarray(sizes, np.float32))
        return np.stack([logarithms.sum(axis=1) / 2, logarithms[:, 1] - logarithms[:, 0]], axis=1)


def unlikeness(facts: np.ndarray, classes: np.ndarray, cause: np.ndarray | None = None) -> np.ndarray:
    """`(n,)` float32: how far each row of facts is from the usual one of its class, in usual differences.

    Usual is the median, and the usual difference the median of all differences from it: neither knows of a few odd ones.

    Args:
        facts: `(n, m)`.
        classes: `(n,)` whole numbers, -1 for none.
        cause: `(n,)`: a number on which facts may depend; what a straight line says of them by it is taken off. None for none.
    """
    scores = np.zeros(len(facts), np.float32)
    if not len(facts):
        return scores
    order = np.argsort(classes, kind="stable")
    counts = np.unique(classes, return_counts=True)[1]
    by_class = np.split(order, np.cumsum(counts)[:-1])
    for of_class in (rows for rows in by_class if len(rows) >= _LEAST_OF_CLASS):
        rows = facts[of_class] if cause is None else _without_cause(facts[of_class], cause[of_class])
        scores[of_class] = _distances(rows, _usual(rows))
    few = np.concatenate([rows for rows in by_class if len(rows) < _LEAST_OF_CLASS] or [order[:0]])
    if len(few):
        all_rows = facts if cause is None else _without_cause(facts, cause)
        scores[few] = _distances(all_rows[few], _usual(all_rows))
    return scores


def _without_cause(facts: np.ndarray, cause: np.ndarray) -> np.ndarray:
    """Facts less what a straight line says of them, by the method of least squares."""
    offset = cause - cause.mean()
    slopes = offset @ facts / max(float(offset @ offset), 1e-9)
    rest: np.ndarray = facts - offset[:, None] * slopes
    return rest


def _usual(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle of rows, and how far from it they usually are."""
    if not len(rows):
        return np.zeros(rows.shape[1], np.float32), np.ones(rows.shape[1], np.float32)
    middle = np.median(rows, axis=0)
    return middle, np.maximum(np.median(np.abs(rows - middle), axis=0) / _MAD, _LEAST_SPREAD)


def _distances(rows: np.ndarray, usual: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How far rows are from the middle of others, in usual distances."""
    middle, spread = usual
    distances: np.ndarray = np.sqrt((((rows - middle) / spread) ** 2).sum(axis=1))
    return distances


def _describe_boxes(opened: Opened, field: Field) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all boxes: the sample id, the class (that of the box, or else of the sample), and what it is like."""
    fields = opened.reader.fields.values()
    labels = next((one for one in fields if one.handler.leader == "boxes" and one.kind == "labels"), None)
    parts = list(_read_parts(opened, field, labels))
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4), np.float32)
    owners, classes, boxes = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if labels is None and opened.labels is not None:
        classes = opened.labels[owners]
    height, width = np.maximum(opened.sizes[owners].astype(np.float32), 1).T
    left, top, right, bottom = boxes.T.astype(np.float32)
    across, down = np.maximum(right - left, 0.5), np.maximum(bottom - top, 0.5)
    share = np.log(across * down / (width * height)) / 2
    places = (left + right) / (2 * width), (top + bottom) / (2 * height)
    return owners, classes, np.stack([np.log(across / down), share, *places], axis=1)


def _read_parts(opened: Opened, field: Field, labels: Field | None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for first in range(0, len(opened.remaining), PART):
        ids = opened.remaining[first : first + PART].astype(np.int64)
        # Samples of a damaged shard are left out here; they are told of one by one.
        with contextlib.suppress(KseqError):
            samples = opened.locate(ids)
            pieces = samples.pieces(field.name)
            owners = np.repeat(ids, [len(piece) for piece in pieces])
            if not len(owners):
                continue
            classes = np.full(len(owners), -1, np.int64)
            if labels is not None:
                classes = np.concatenate(samples.pieces(labels.name)).astype(np.int64)
            yield owners, classes, np.concatenate(pieces)
