"""Images that are the same or nearly so: found by what was measured of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseq.display.eye_pixels import as_rgb
from kseq.errors import KseqError
from kseq.reading.reduced_images import read_reduced
from kseq.viewing.features import COARSE_EDGES
from kseq.viewing.measures import MEASURED, Measures
from kseq.viewing.opened import Opened
from kseq.viewing.sample_page import describe_rows

__all__ = ["Group", "describe_groups", "find_groups"]

# Of 64 bits, so many may differ. Two numbers that differ in at most n bits are equal in one of n + 1 bands of bits at least.
_MOST_BITS, _MOST_BITS_OF_MANY = 5, 3
_MANY = 200_000

# In a band, an image is compared with so many others at most that agree in it.
_MOST_NEIGHBOURS = 1000

# So many are compared with their neighbours at once.
_PART = 1 << 16

# An image of less contrast looks like any other of its kind.
_LEAST_CONTRAST = 6

# Those whose coarse edges differ by no more than so much on average are compared pixel by pixel, in gray at so many pixels a
# side. Measured on photos: copies that were saved anew, made six times smaller, gray or brighter differ by 0.2 to 3.4, of two
# photos one pair in twenty by less than 4.5. Copies correlate at 0.995 and more, photos of several clothes before one cloth at
# less than 0.95.
_MOST_DIFFERENCE, _SIDE, _LEAST_CORRELATION = 4.5, 32, 0.98

# So many pairs are compared so, and so many small images kept meanwhile.
_MOST_PAIRS, _KEPT_IMAGES = 50_000, 4_000

# So many groups are shown, and so many images of each.
_MOST_GROUPS, _MOST_IN_GROUP = 300, 24


class Group(NamedTuple):
    """Images that look alike.

    Attributes:
        ids: Their sample ids, rising.
        is_same: Whether the stored bytes of all are the same.
    """

    ids: list[int]
    is_same: bool


def find_groups(opened: Opened, measures: Measures) -> list[Group]:
    """Groups of two and more images that look alike, the largest first; each image is in one group at most."""
    links = _Links()
    measured = np.flatnonzero(measures.states == MEASURED).astype(np.uint32)
    for one, other in _same_pairs(measures.stored_hashes, measured):
        links.join(one, other)
    clear = measured[measures.contrast[measured] >= _LEAST_CONTRAST]
    del measured
    looks = measures.looks[clear]
    small = _SmallImages(opened)
    num_compared = 0
    for first, second in _near_pairs(looks, _MOST_BITS if len(looks) <= _MANY else _MOST_BITS_OF_MANY):
        ones, others = clear[first], clear[second]
        edges, other_edges = (measures.features[ids[:, None], COARSE_EDGES] for ids in (ones, others))
        difference = np.abs(edges.astype(np.int16) - other_edges).mean(axis=1)
        is_near = difference <= _MOST_DIFFERENCE
        for one, other in zip(ones[is_near].tolist(), others[is_near].tolist(), strict=True):
            if not links.are_joined(one, other) and num_compared < _MOST_PAIRS:
                num_compared += 1
                if small.are_alike(one, other):
                    links.join(one, other)
    groups = [Group(sorted(ids), len(set(measures.stored_hashes[ids].tolist())) == 1) for ids in links.groups()]
    return sorted(groups, key=lambda group: (-len(group.ids), group.ids))


class _SmallImages:
    """Images at a small size, the last ones that were asked for."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._read = functools.lru_cache(_KEPT_IMAGES)(self._read_one)

    def _read_one(self, sample_id: int) -> np.ndarray | None:
        try:
            samples = self._opened.locate(np.array([sample_id]))
            pixels = as_rgb(read_reduced(samples, 0, self._opened.image, 2 * _SIDE))
        except (KseqError, MemoryError):
            return None
        gray = cv2.cvtColor(cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        centered = gray.astype(np.float32) - gray.mean()
        return centered / (np.linalg.norm(centered) or 1)

    def are_alike(self, one: int, other: int) -> bool:
        """Whether two images have nearly the same pixels, but for colour, brightness and contrast."""
        first, second = self._read(one), self._read(other)
        return first is not None and second is not None and float((first * second).sum()) >= _LEAST_CORRELATION


def _same_pairs(hashes: np.ndarray, ids: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ids of neighbours among those with the same hash."""
    order = np.argsort(hashes[ids], kind="stable").astype(np.uint32)
    ids = ids[order]
    del order
    same = np.flatnonzero(hashes[ids[1:]] == hashes[ids[:-1]])
    yield from zip(ids[same].tolist(), ids[same + 1].tolist(), strict=True)


def _near_pairs(looks: np.ndarray, most_bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of numbers that differ in at most `most_bits` bits, in parts; a pair may come several times."""
    edges = np.linspace(0, 64, most_bits + 2).astype(int)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        # Numbers are long, and of a million there are many: what is made of all of them is small.
        keys = ((looks >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)).astype(np.uint16)
        order = np.argsort(keys, kind="stable").astype(np.uint32)
        keys = keys[order]
        for first in range(0, len(order), _PART):
            candidates = np.arange(first, min(first + _PART, len(order)))
            for step in range(1, _MOST_NEIGHBOURS + 1):
                candidates = candidates[candidates < len(order) - step]
                candidates = candidates[keys[candidates] == keys[candidates + step]]
                if not len(candidates):
                    break
                num_bits = _count_bits(looks[order[candidates]] ^ looks[order[candidates + step]])
                near = candidates[num_bits <= most_bits]
                if len(near):
                    yield order[near], order[near + step]


_BITS = np.array([bin(number).count("1") for number in range(1 << 16)], np.uint8)


def _count_bits(numbers: np.ndarray) -> np.ndarray:
    """How many bits of each uint64 are 1."""
    counts: np.ndarray = _BITS[numbers.view(np.uint16).reshape(-1, 4)].sum(axis=1, dtype=np.uint8)
    return counts


class _Links:
    """Numbers that were joined, and the groups that they form."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def join(self, one: int, other: int) -> None:
        """Let two numbers, and all that they are joined with, be of one group."""
        first, second = self._find(one), self._find(other)
        self._parents[max(first, second)] = min(first, second)

    def are_joined(self, one: int, other: int) -> bool:
        """Whether two numbers are of one group already."""
        return self._find(one) == self._find(other)

    def _find(self, number: int) -> int:
        self._parents.setdefault(number, number)
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def groups(self) -> list[list[int]]:
        """The groups of two and more."""
        members: dict[int, list[int]] = {}
        for number in list(self._parents):
            members.setdefault(self._find(number), []).append(number)
        return [ids for ids in members.values() if len(ids) > 1]


def describe_groups(opened: Opened, measures: Measures) -> dict[str, Any]:
    """Groups of lookalikes without dropped samples; those that are in different splits first, then other labels."""
    is_left = np.zeros(opened.num_ids, bool)
    is_left[opened.remaining] = True
    groups = []
    for group in find_groups(opened, measures):
        ids = [sample_id for sample_id in group.ids if is_left[sample_id]]
        if len(ids) < 2:
            continue
        splits = {tuple(names) for names in opened.splits_of(np.array(ids))}
        labels = set() if opened.labels is None else set(opened.labels[ids].tolist())
        groups.append((len(splits) > 1, len(labels) > 1, group.is_same, ids))
    groups.sort(key=lambda group: (not group[0], not group[1], not group[2], -len(group[3]), group[3]))
    return {
        "num_groups": len(groups),
        "num_leaks": sum(group[0] for group in groups),
        "num_disagreeing": sum(group[1] for group in groups),
        "groups": [
            {
                "is_leak": is_leak,
                "disagrees": disagrees,
                "is_same": is_same,
                "count": len(ids),
                "rows": describe_rows(opened, np.array(ids[:_MOST_IN_GROUP])),
            }
            for is_leak, disagrees, is_same, ids in groups[:_MOST_GROUPS]
        ],
    }
