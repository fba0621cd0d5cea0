"""Which keypoints are left and right, from their names; and how a note counts keypoints."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kseq.arguments import counted

__all__ = ["describe_outside", "mirror_order"]

_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}


def mirror_order(names: Sequence[str]) -> tuple[int, ...]:
    """For each point the number of that which takes its place in a mirrored image.

    A name has a side if it has `left` or `right`, or `l` or `r` as a word, as in `left_eye` and `eye_r`.

    Args:
        names: Of the points, in their order.

    Returns:
        `(points,)`; empty if no name has a side, or one with a side has no counterpart.
    """
    plain = [name.lower() for name in names]
    mirrored = [re.sub("left|right|(?<![a-z])[lr](?![a-z])", lambda found: _SIDES[found[0]], name) for name in plain]
    if plain == mirrored or len(set(plain)) < len(plain) or set(plain) != set(mirrored):
        return ()
    return tuple(map(plain.index, mirrored))


def describe_outside(count: int) -> str:
    """What becomes of so many keypoints that lie outside of their image."""
    return counted(
        count,
        "keypoint lies outside of its image and counts as not labelled",
        "keypoints lie outside of their image and count as not labelled",
    )
