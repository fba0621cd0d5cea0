"""How many images of a dataset are byte-identical copies of others, within a split and across splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kseq.arguments import spelled

__all__ = ["DuplicateCounts"]

# The order of splits where one is named before the other.
_FIRST_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DuplicateCounts:
    """Byte-identical images, as they were counted when a dataset was packed: by checksums of the images as they are stored.

    A sample with several images is a copy where all of them are.

    Attributes:
        num_copies: How many images are identical to an earlier one.
        num_contradictions: How many of these have another label, or other targets, than the first.
        within: Split name to how many of its images are identical to an earlier one of the same split; without zeros.
        across: `"train, val"` to how many images of the second split are identical to one of the first; without zeros.
    """

    num_copies: int
    num_contradictions: int
    within: dict[str, int]
    across: dict[str, int]

    @classmethod
    def of(
        cls, image_checksums: np.ndarray, row_checksums: np.ndarray, codes: np.ndarray, names: Mapping[int, str]
    ) -> DuplicateCounts:
        """Count the copies among some samples.

        Args:
            image_checksums: `(n,)` uint64: of the images of each sample.
            row_checksums: `(n,)` uint64: of all that is stored of it.
            codes: `(n,)`: the number of its split.
            names: The name of each split by its number.
        """
        ordered = np.sort(image_checksums)
        repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if not repeated.size:
            return cls(0, 0, {}, {})
        # The samples that have copies, and for each the number of its image among these.
        nearest = np.minimum(np.searchsorted(repeated, image_checksums), len(repeated) - 1)
        rows = np.flatnonzero(repeated[nearest] == image_checksums)
        image = nearest[rows]
        _, firsts = np.unique(image, return_index=True)
        differs = row_checksums[rows] != row_checksums[rows[firsts]][image]
        counts = {code: np.bincount(image[codes[rows] == code], minlength=len(repeated)) for code in names}
        order = sorted(names, key=lambda code: (*(names[code] != first for first in _FIRST_SPLITS), names[code]))
        within = {names[code]: int(np.maximum(counts[code] - 1, 0).sum()) for code in order}
        across = {
            f"{names[earlier]}, {names[later]}": int(counts[later][counts[earlier] > 0].sum())
            for position, earlier in enumerate(order)
            for later in order[position + 1 :]
        }
        return cls(len(rows) - len(repeated), int(differs.sum()), _without_zeros(within), _without_zeros(across))

    @property
    def lines(self) -> list[str]:
        """What a person should know, with the way out."""
        if not self.num_copies:
            return []
        drop, group = spelled("duplicates", "drop"), spelled("duplicates", "group")
        lines = [f"{_images(self.num_copies)} byte-identical to an earlier one ({drop} keeps the first of each)"]
        if self.num_contradictions:
            lines.append(f"of these, {self.num_contradictions:,} with another label or other targets than the first")
        for splits, count in self.across.items():
            first, second = splits.split(", ")
            lines.append(
                f"leak: {_images(count, f' of {second}')} byte-identical to images of {first} ({drop} keeps the first of each, "
                f"{group} keeps copies in one split where kseq draws the splits)"
            )
        return lines


def _images(count: int, whose: str = "") -> str:
    return f"{count:,} image{whose} is" if count == 1 else f"{count:,} images{whose} are"


def _without_zeros(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
