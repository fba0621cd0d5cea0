"""Images that are the same or nearly so: found by what was measured of them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseq.display.eye_pixels import as_rgb
from kseq.errors import KseqError
from kseq.reading.reduced_images import read_reduced
from kseq.viewing.features import COARSE_EDGES, mirror_coarse_edges
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

# Two shirts of one form before one background differ in colour alone. The colours of both, at so many pixels a side, must point
# the same way, but where one of the two has hardly any, as a gray copy. Measured: copies with other saturation, brightness or
# hue, 0.97 and more; the two shirts 0.81.
_COLOR_SIDE, _LEAST_COLOR, _LEAST_COSINE = 8, 3.0, 0.92

# So many pairs are compared so, and so many small images kept meanwhile.
_MOST_PAIRS, _KEPT_IMAGES = 50_000, 4_000

# So many groups are shown, and so many images of each.
_MOST_GROUPS, _MOST_IN_GROUP = 300, 24


class Group(NamedTuple):
    """Images that look alike.

    Attributes:
        ids: Their sample ids, rising.
        is_same: Whether the stored bytes of all are the same.
        is_mirrored: Whether some are found only as the mirror images of others.
    """

    ids: list[int]
    is_same: bool
    is_mirrored: bool


def find_groups(opened: Opened, measures: Measures) -> list[Group]:
    """Groups of two and more images that look alike, the largest first; each image is in one group at most."""
    links = _Links()
    measured = np.flatnonzero(measures.states == MEASURED).astype(np.uint32)
    for one, other in _same_pairs(measures.stored_hashes, measured):
        links.join(one, other)
    clear = measured[measures.contrast[measured] >= _LEAST_CONTRAST]
    del measured
    small, num_compared, mirrored_ids = _SmallImages(opened), 0, set()
    for is_mirrored in (False, True):
        for ones, others in _likely_pairs(measures, clear, is_mirrored=is_mirrored):
            for one, other in zip(ones.tolist(), others.tolist(), strict=True):
                if not links.are_joined(one, other) and num_compared < _MOST_PAIRS:
                    num_compared += 1
                    if small.are_alike(one, other, is_mirrored=is_mirrored):
                        links.join(one, other)
                        mirrored_ids |= {one, other} if is_mirrored else set()
    groups = [
        Group(sorted(ids), len(set(measures.stored_hashes[ids].tolist())) == 1, not mirrored_ids.isdisjoint(ids))
        for ids in links.groups()
    ]
    return sorted(groups, key=lambda group: (-len(group.ids), group.ids))


def _likely_pairs(measures: Measures, ids: np.ndarray, *, is_mirrored: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of ids that are worth a comparison of pixels, in parts; of images and mirror images, each pair once at least."""
    count = len(ids)
    most_bits = _MOST_BITS if count <= _MANY else _MOST_BITS_OF_MANY
    looks = np.empty(2 * count if is_mirrored else count, np.uint64)
    for first_id in range(0, count, _PART):
        some = measures.looks[ids[first_id : first_id + _PART]]
        looks[first_id : first_id + len(some)] = some
        if is_mirrored:
            looks[count + first_id : count + first_id + len(some)] = mirror_looks(some)
    for first, second in _near_pairs(looks, most_bits):
        if is_mirrored:
            # An image and the mirror image of another one, once; and none with its own.
            first, second = np.minimum(first, second), np.maximum(first, second)
            wanted = (first < count) & (second >= count) & (first + count < second)
            first, second = first[wanted], second[wanted] - count
        ones, others = ids[first], ids[second]
        edges = measures.features[ones[:, None], COARSE_EDGES].astype(np.int16)
        other_edges = measures.features[others[:, None], COARSE_EDGES].astype(np.int16)
        if is_mirrored:
            other_edges = mirror_coarse_edges(other_edges)
        is_near = np.abs(edges - other_edges).mean(axis=1) <= _MOST_DIFFERENCE
        yield ones[is_near], others[is_near]


_MIRRORED_BYTES = np.array([int(f"{255 - number:08b}"[::-1], 2) for number in range(256)], np.uint8)


def mirror_looks(looks: np.ndarray) -> np.ndarray:
    """`(n,)` uint64: the looks of the mirror images, from those of images: places change sides, and brighter is darker."""
    mirrored: np.ndarray = _MIRRORED_BYTES[looks.view(np.uint8)].view(np.uint64)
    return mirrored


class _Small(NamedTuple):
    """An image at a small size.

    Attributes:
        gray: `(_SIDE, _SIDE)` float32: of mean 0 and length 1.
        colors: `(_COLOR_SIDE, _COLOR_SIDE, 2)` float32: how far from gray, in two directions; of length 1.
        is_colored: Whether it is not gray.
    """

    gray: np.ndarray
    colors: np.ndarray
    is_colored: bool

    def mirrored(self) -> _Small:
        """Its mirror image."""
        return _Small(self.gray[:, ::-1], self.colors[:, ::-1], self.is_colored)


class _SmallImages:
    """Images at a small size, the last ones that were asked for."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._read = functools.lru_cache(_KEPT_IMAGES)(self._read_one)

    def _read_one(self, sample_id: int) -> _Small | None:
        try:
            samples = self._opened.locate(np.array([sample_id]))
            pixels = as_rgb(read_reduced(samples, 0, self._opened.image, 2 * _SIDE))
        except (KseqError, MemoryError):
            return None
        small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        tiny = cv2.resize(small, (_COLOR_SIDE, _COLOR_SIDE), interpolation=cv2.INTER_AREA)
        colors = cv2.cvtColor(tiny, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.float32) - 128
        is_colored = float(np.abs(colors).mean()) >= _LEAST_COLOR
        return _Small(_of_length_1(gray.astype(np.float32) - gray.mean()), _of_length_1(colors), is_colored)

    def are_alike(self, one: int, other: int, *, is_mirrored: bool) -> bool:
        """Whether two images, or one and the mirror image of the other, have nearly the same pixels, but for brightness,
        contrast and strength of colour."""
        first, second = self._read(one), self._read(other)
        if first is None or second is None:
            return False
        if is_mirrored:
            second = second.mirrored()
        if float((first.gray * second.gray).sum()) < _LEAST_CORRELATION:
            return False
        has_colors = first.is_colored and second.is_colored
        return not has_colors or float((first.colors * second.colors).sum()) >= _LEAST_COSINE


def _of_length_1(values: np.ndarray) -> np.ndarray:
    unit: np.ndarray = values / (np.linalg.norm(values) or 1)
    return unit


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
        keys, order = _sorted_bits(looks, low, high)
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
        # Before those of the next bits are made.
        del keys, order


def _sorted_bits(looks: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """`(n,)` uint32: some bits of each number, in order; and `(n,)` uint32: the positions of the numbers, in this order."""
    # Of millions of long numbers, what is made of all of them is small: they are sorted in place, with their positions.
    both = np.arange(len(looks), dtype=np.uint64)
    for first in range(0, len(looks), _PART):
        part = slice(first, first + _PART)
        both[part] |= ((looks[part] >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)) << np.uint64(32)
    both.sort()
    halves = both.view(np.uint32).reshape(-1, 2)
    lows, highs = (0, 1) if sys.byteorder == "little" else (1, 0)
    return halves[:, highs], halves[:, lows]


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
        groups.append((len(splits) > 1, len(labels) > 1, group.is_same, group.is_mirrored, ids))
    groups.sort(key=lambda group: (not group[0], not group[1], not group[2], group[3], -len(group[4]), group[4]))
    return {
        "num_groups": len(groups),
        "num_leaks": sum(group[0] for group in groups),
        "num_disagreeing": sum(group[1] for group in groups),
        "groups": [
            {
                "is_leak": is_leak,
                "disagrees": disagrees,
                "is_same": is_same,
                "is_mirrored": is_mirrored,
                "count": len(ids),
                "rows": describe_rows(opened, np.array(ids[:_MOST_IN_GROUP])),
            }
            for is_leak, disagrees, is_same, is_mirrored, ids in groups[:_MOST_GROUPS]
        ],
    }
