"""Where the images of some samples are cut, and how they are mirrored: the same for all that goes with an image."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from kseq.images.rectangle import Rectangle
from kseq.images.resize import Placement, placement
from kseq.training.augment import Crop, RandomFlip, draw
from kseq.training.image_spec import ImageSpec

__all__ = ["Transforms"]

# OpenCV's codes for mirrored (top to bottom, left to right).
_FLIP_CODES = {(True, False): 0, (False, True): 1, (True, True): -1}

# A first turn is keyed by the sample id alone, a later one by a number that no sample id reaches.
_TURN_BITS = 40


class Transforms:
    """Crops and flips of some samples in one epoch.

    Args:
        crop: How a box is cut out of each image, or None.
        flips: How each is mirrored, one after the other.
        seed: Draws both, together with the epoch, the sample id and its turn.
        epoch: Which.
        sample_ids: `(n,)` int64.
        turns: `(n,)` int64: which of its draws in the epoch each is, from 0; None for all 0.
    """

    def __init__(
        self,
        crop: Crop | None,
        flips: Sequence[RandomFlip],
        seed: int,
        epoch: int,
        sample_ids: np.ndarray,
        turns: np.ndarray | None = None,
    ) -> None:
        self.sample_ids = sample_ids
        self._drawn_for = sample_ids if turns is None else sample_ids + (turns << _TURN_BITS)
        self._crop = crop
        self._flips = flips
        self._seed = seed
        self._epoch = epoch

    @functools.cached_property
    def mirrored(self) -> np.ndarray:
        """`(n, 2)` bool: whether each image is mirrored top to bottom, and left to right."""
        mirrored = np.zeros((len(self.sample_ids), 2), bool)
        for place, flip in enumerate(self._flips, start=1):
            mirrored ^= flip.flips(draw(self._seed, self._epoch, place, self._drawn_for, flip.num_draws))
        return mirrored

    @functools.cached_property
    def flip_codes(self) -> list[int | None]:
        """OpenCV's code for each image: 0 top to bottom, 1 left to right, -1 both, None neither."""
        return [_FLIP_CODES.get((down, across)) for down, across in self.mirrored.tolist()]

    def crop_boxes(self, sizes: np.ndarray) -> np.ndarray:
        """`(n, 4)` int64: what the crop takes of images of these heights and widths, `(n, 2)` int64."""
        assert self._crop is not None
        return self._crop.boxes(sizes, self._draws)

    @functools.cached_property
    def _draws(self) -> np.ndarray:
        assert self._crop is not None
        return draw(self._seed, self._epoch, 0, self._drawn_for, self._crop.num_draws)

    def placements(self, sizes: np.ndarray, form: ImageSpec) -> list[Placement]:
        """How images of these heights and widths, `(n, 2)` int64, come into their form, before they are mirrored."""
        if self._crop is None:
            return [placement(height, width, form.height, form.width, form.fit) for height, width in sizes.tolist()]
        target = Rectangle(0, 0, form.height, form.width)
        return [Placement(box, target) for box in Rectangle(*self.crop_boxes(sizes).T).each()]
