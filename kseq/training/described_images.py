"""What the images of a batch are like, and what becomes of those that are stored, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kseq.images.resize import crop_to_ratio
from kseq.training.augment import Augmentation
from kseq.training.image_spec import ImageSpec

__all__ = ["describe_images"]

# So much of a call is shown.
_LONGEST_CALL = 120


def describe_images(spec: ImageSpec, augment: Sequence[Any], sizes: np.ndarray) -> list[str]:
    """A line for the form of images, one for how they are fitted into it, and one for what is drawn anew each time.

    Args:
        spec: What they are like.
        augment: What is done to them.
        sizes: `(n, 2)`: height and width of the stored images of a batch.
    """
    scale = "" if spec.scale is None else f", stored numbers times {spec.scale:.6g}"
    colors = spec.color_mode or f"{spec.num_channels} channels"
    height, width = spec.height, spec.width
    lines = [f"images of {height} x {width}, {colors}, {spec.dtype}, {spec.data_format}{scale}"]
    cropping = [entry for entry in augment if isinstance(entry, Augmentation) and getattr(entry, "size", None) is not None]
    lines.append(f"cropped by {_call(cropping[0])}" if cropping else _describe_fit(spec, sizes))
    others = [_call(entry) for entry in augment if entry not in cropping[:1]]
    return [*lines, f"then {', '.join(others)}"] if others else lines


def _describe_fit(spec: ImageSpec, sizes: np.ndarray) -> str:
    """What becomes of images of other sizes, by those of a batch."""
    target = spec.height, spec.width
    if (sizes == target).all():
        return "stored at this size: nothing is resized or cropped"
    how = f"{spec.interpolation}{', antialiased' if spec.antialias else ''}"
    heights, widths = np.maximum(sizes.astype(np.float64), 1).T
    if spec.fit == "crop":
        kept = [
            (box.height * box.width) / (height * width)
            for height, width in sizes.tolist()
            for box in [crop_to_ratio(height, width, *target)]
        ]
        return f"cropped to the aspect ratio, which cuts off up to {_percent(1 - min(kept))} of an image here, then {how}"
    # How much wider an image gets, compared with its height.
    ratios = (widths / heights) / (spec.width / spec.height)
    most = float(np.maximum(ratios, 1 / ratios).max())
    if spec.fit == "pad":
        return f"resized whole, {how}, and padded with 0, which is up to {_percent(1 - 1 / most)} of an image here"
    if most < 1.005:
        return f"resized whole, {how}: nothing is cropped"
    return (
        f"resized whole, {how}: nothing is cropped, sides are stretched against each other by up to {_percent(most - 1)} here"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _call(entry: Any) -> str:
    """What is done to images, as code where it says so itself, else its name."""
    text = repr(entry)
    if " at 0x" in text or not isinstance(text, str):
        text = getattr(entry, "__name__", type(entry).__name__)
    return text if len(text) <= _LONGEST_CALL else f"{text[: _LONGEST_CALL - 1]}…"
