"""Which samples the grid shows, and in which order."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kseq.errors import ArgumentError
from kseq.viewing.measures import BROKEN, MEASURED, Measures
from kseq.viewing.odd_labels import oddness
from kseq.viewing.odd_shapes import box_oddness, size_oddness
from kseq.viewing.opened import PART, Opened

__all__ = ["MEASURED_ORDERS", "ORDERS", "Query", "select"]

# The orders that need more than what the index and the shards say at once.
MEASURED_ORDERS = {
    "darkest": "darkest first",
    "brightest": "brightest first",
    "flattest": "least contrast first",
    "colorful": "most colourful first",
    "odd": "least like its class first",
    "broken": "cannot be decoded, first",
}
ORDERS = {
    "packed": "as packed",
    "random": "random",
    "smallest": "fewest pixels first",
    "largest": "most pixels first",
    "widest": "widest first",
    "tallest": "tallest first",
    "lightest": "fewest bytes first",
    "heaviest": "most bytes first",
    "odd-size": "oddest size first",
    "odd-box": "oddest box first",
    "fewest-boxes": "fewest boxes first",
    "most-boxes": "most boxes first",
    **MEASURED_ORDERS,
}


@dataclass(frozen=True)
class Query:
    """What the user asks for.

    Attributes:
        split: The name of a split; empty for all samples.
        class_number: The class that samples must have; None for any.
        conditions: Conditions as text, as `kseq drop --where` takes them, all of which must hold.
        source: Part of the source that samples must have, in any case of letters; empty for any.
        order: One of `ORDERS`.
        seed: Draws the random order.
    """

    split: str = ""
    class_number: int | None = None
    conditions: tuple[str, ...] = ()
    source: str = ""
    order: str = "packed"
    seed: int = 0


def select(opened: Opened, measures: Measures, query: Query) -> np.ndarray:
    """`(n,)`: the sample ids that a query asks for, in its order.

    Raises:
        ArgumentError: If a condition or a split does not go with the dataset.
    """
    chosen = opened.keep(
        ("chosen", query.split, query.class_number, query.conditions, query.source), lambda: _choose(opened, query)
    )
    if query.order == "packed":
        return chosen
    progress = measures.stage if query.order in MEASURED_ORDERS else 0
    return opened.keep((query, progress), lambda: _arrange(opened, measures, query, chosen))


def _choose(opened: Opened, query: Query) -> np.ndarray:
    """The ids of the samples that fit, in the order in which they were packed."""
    ids = opened.dataset.split_ids(query.split) if query.split else opened.remaining
    ids = np.sort(ids)
    if query.class_number is not None:
        if opened.labels is None or not 0 <= query.class_number < len(opened.dataset.class_names):
            raise ArgumentError(f"class={query.class_number}: there is no such class")
        ids = ids[opened.labels[ids] == query.class_number]
    if query.conditions:
        ids = _where(opened, ids, query.conditions)
    if query.source:
        ids = ids[_have_source(opened, ids, query.source)]
    return ids.astype(opened.remaining.dtype)


def _where(opened: Opened, ids: np.ndarray, conditions: tuple[str, ...]) -> np.ndarray:
    """The samples for which all conditions hold, looked at in parts, so that boxes of a million samples fit into memory."""
    parts = []
    for first in range(0, max(len(ids), 1), PART):
        part = ids[first : first + PART]
        chosen = opened.dataset.take(np.searchsorted(opened.remaining, part)).where(*conditions)
        parts.append(chosen.sample_ids(np.arange(len(chosen))))
    return np.concatenate(parts)


def _have_source(opened: Opened, ids: np.ndarray, text: str) -> np.ndarray:
    """`(n,)` bool: which samples have a source with a text in it."""
    wanted = text.casefold()
    found = np.zeros(len(ids), bool)
    for first in range(0, len(ids), PART):
        sources = opened.locate(ids[first : first + PART]).sources()
        found[first : first + len(sources)] = [wanted in os.fsdecode(source).casefold() for source in sources]
    return found


def _arrange(opened: Opened, measures: Measures, query: Query, ids: np.ndarray) -> np.ndarray:
    if query.order == "random":
        return np.random.default_rng(query.seed).permutation(ids)
    if query.order in MEASURED_ORDERS:
        # Those of which nothing is known yet are left out.
        known = BROKEN if query.order == "broken" else MEASURED
        ids = ids[measures.states[ids] == known]
    if query.order == "broken":
        return ids
    key = _KEYS[query.order](opened, measures, ids)
    return ids[np.argsort(key, kind="stable")]


Key = Callable[[Opened, Measures, np.ndarray], np.ndarray]


def _num_pixels(opened: Opened, _: Measures, ids: np.ndarray) -> np.ndarray:
    return opened.sizes[ids].prod(axis=1, dtype=np.int64)


def _height_by_width(opened: Opened, _: Measures, ids: np.ndarray) -> np.ndarray:
    sizes = opened.sizes[ids]
    return (sizes[:, 0] / sizes[:, 1]).astype(np.float32)


def _odd_sizes(opened: Opened, _: Measures, ids: np.ndarray) -> np.ndarray:
    return opened.keep_latest("size-oddness", 0, lambda: size_oddness(opened))[ids]


def _odd_boxes(opened: Opened, _: Measures, ids: np.ndarray) -> np.ndarray:
    if not any(field.kind == "boxes" for field in opened.reader.fields.values()):
        raise ArgumentError("order: samples have no boxes")
    return opened.keep_latest("box-oddness", 0, lambda: box_oddness(opened))[ids]


def _num_boxes(opened: Opened, _: Measures, ids: np.ndarray) -> np.ndarray:
    field = next((field for field in opened.reader.fields.values() if field.kind == "boxes"), None)
    if field is None:
        raise ArgumentError("order: samples have no boxes")
    return opened.keep_latest("counts", 0, lambda: opened.counts(field))[ids]


def _colorfulness(_: Opened, measures: Measures, ids: np.ndarray) -> np.ndarray:
    colors = measures.colors[ids]
    return colors.max(axis=1).astype(np.int16) - colors.min(axis=1)


def _oddness(opened: Opened, measures: Measures, ids: np.ndarray) -> np.ndarray:
    labels = opened.labels
    if labels is None:
        raise ArgumentError("order: samples have no label")
    scores = opened.keep_latest(
        "oddness",
        measures.stage,
        lambda: oddness(
            measures.features, labels, (measures.states == MEASURED) & (labels >= 0), len(opened.dataset.class_names)
        ),
    )
    return scores[ids]


def _falling(key: Key) -> Key:
    return lambda opened, measures, ids: -key(opened, measures, ids).astype(np.float64)


_KEYS: dict[str, Key] = {
    "smallest": _num_pixels,
    "largest": _falling(_num_pixels),
    "widest": _height_by_width,
    "tallest": _falling(_height_by_width),
    "lightest": lambda opened, measures, ids: opened.num_bytes[ids],
    "heaviest": _falling(lambda opened, measures, ids: opened.num_bytes[ids]),
    "odd-size": _falling(_odd_sizes),
    "odd-box": _falling(_odd_boxes),
    "fewest-boxes": _num_boxes,
    "most-boxes": _falling(_num_boxes),
    "darkest": lambda opened, measures, ids: measures.brightness[ids],
    "brightest": _falling(lambda opened, measures, ids: measures.brightness[ids]),
    "flattest": lambda opened, measures, ids: measures.contrast[ids],
    "colorful": _falling(_colorfulness),
    "odd": _falling(_oddness),
}
