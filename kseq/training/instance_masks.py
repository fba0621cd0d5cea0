"""A mask for each object of a batch, from the map of object numbers and the numbers of the boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kseq.errors import ArgumentError

__all__ = ["instance_masks"]


def instance_masks(instances: Any, instance_ids: Any) -> np.ndarray:
    """A mask for each box, of what `kseq pack --mask instances` made.

    Args:
        instances: `(n, height, width, 1)` whole numbers: the number of the object of each pixel, 0 for none; of one sample
            without the first axis.
        instance_ids: `(n, longest)` whole numbers: that of each box, 0 for the padding behind the last; of one sample
            `(boxes,)`.

    Returns:
        `(n, longest, height, width)` uint8: 1 where the object of the box is, else 0; of padding, 0 everywhere. Of one sample
        `(boxes, height, width)`.

    Raises:
        ArgumentError: If the shapes do not go together.
    """
    numbers, ids = np.asarray(instances), np.asarray(instance_ids)
    if numbers.ndim not in (3, 4) or numbers.shape[-1] != 1 or numbers.shape[:-3] != ids.shape[:-1]:
        raise ArgumentError(
            f"instances of shape {numbers.shape} and instance_ids of shape {ids.shape}: allowed are (n, height, width, 1) and "
            "(n, longest), or of one sample (height, width, 1) and (boxes,)"
        )
    boxes = ids[..., None, None]
    masks: np.ndarray = (numbers[..., None, :, :, 0] == boxes) & (boxes > 0)
    return masks.astype(np.uint8)
