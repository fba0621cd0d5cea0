"""Which fields of a batch follow their image when it is cropped and flipped, and what is refused where one cannot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.storage.field_kinds import Keypoints, Numbers
from kseq.storage.field_kinds.base import is_number
from kseq.storage.fields import Field
from kseq.training.albumentations_adapter import is_albumentations
from kseq.training.albumentations_adapter import moves_pixels as transform_moves
from kseq.training.augment import Augmentation, RandomFlip, moves_pixels
from kseq.training.sample_functions import Compose

__all__ = ["check_moves", "choose_orders", "choose_unmoved", "looks_like_positions", "target_images"]

# Words in the names of numbers that lie somewhere in an image.
_POSITION_WORDS = re.compile(
    r"(?:^|_)(?:(?:key)?points?|landmarks?|joints?|poses?|corners?|coords?|coordinates?|depths?|heat(?:maps?)?|disparity|flow|"
    r"polygons?|b?box(?:es)?)\d*(?:_|$)"
)

# Layers of Keras that move pixels: as a function over the images of a batch, they leave everything else where it was.
_MOVING_LAYERS = {
    *("AugMix", "CenterCrop", "RandAugment", "RandomCrop", "RandomElasticTransform", "RandomFlip", "RandomPerspective"),
    *("RandomRotation", "RandomShear", "RandomTranslation", "RandomZoom"),
}


def choose_orders(fields: Mapping[str, Field], mirror_pairs: Any) -> dict[str, np.ndarray]:
    """Field name to `(points,)` int64: which point takes the place of each in a mirrored image, where that is known.

    Args:
        fields: Those of a batch.
        mirror_pairs: The argument: field name to pairs of point numbers, left and right; or such pairs, for the only field of
            keypoints; or None, for what the dataset knows.

    Raises:
        ArgumentError: If it is anything else.
    """
    ordered = {name: field.handler for name, field in fields.items() if isinstance(field.handler, Keypoints)}
    stored = {name: np.array(fields[name].mirror_order) for name in ordered if fields[name].mirror_order}
    orders = {name: np.arange(1) for name, handler in ordered.items() if handler.num_points == 1} | stored
    if mirror_pairs is None:
        return orders
    if not isinstance(mirror_pairs, Mapping):
        if len(ordered) != 1:
            raise ArgumentError(
                f"mirror_pairs={mirror_pairs!r}: allowed is a dict of field names to pairs, the fields of keypoints are "
                f"{', '.join(ordered) or 'none'}"
            )
        mirror_pairs = dict.fromkeys(ordered, mirror_pairs)
    for name, pairs in mirror_pairs.items():
        if name not in ordered:
            raise ArgumentError(
                f"mirror_pairs names {name!r}, the fields of keypoints of the batch are {', '.join(ordered) or 'none'}"
            )
        orders[name] = _order(name, pairs, ordered[name].num_points)
    return orders


def _order(name: str, pairs: Any, num_points: int) -> np.ndarray:
    order = np.arange(num_points)
    try:
        listed = np.asarray(pairs, object).reshape(-1, 2).tolist()
    except ValueError:
        listed = [[None, None]]
    numbers = [number for pair in listed for number in pair]
    are_right = all(is_number(number, "iu") and 0 <= number < num_points for number in numbers)
    if not are_right or len(set(numbers)) < len(numbers):
        raise ArgumentError(
            f"mirror_pairs[{name!r}]={pairs!r}: allowed are pairs of point numbers in [0, {num_points}), each at most once"
        )
    for left, right in listed:
        order[left], order[right] = right, left
    return order


def choose_unmoved(fields: Mapping[str, Field], unmoved: Any) -> frozenset[str]:
    """The fields of numbers that the user says do not lie in the image.

    Raises:
        ArgumentError: If it is neither the name of a field of numbers of the batch nor a list of such names.
    """
    names = [unmoved] if isinstance(unmoved, str) else unmoved
    numbers = [name for name, field in fields.items() if isinstance(field.handler, Numbers)]
    if not isinstance(names, Sequence) or not all(isinstance(name, str) and name in numbers for name in names):
        raise ArgumentError(f"unmoved={unmoved!r}: allowed are fields of numbers of the batch: {', '.join(numbers) or 'none'}")
    return frozenset(names)


def target_images(fields: Mapping[str, Field], inputs: Mapping[str, str]) -> frozenset[str]:
    """The images of a batch that a model learns and does not see: what only changes colours leaves them as they are."""
    return frozenset(name for name, field in fields.items() if field.is_image and name not in inputs.values())


def check_moves(
    fields: Mapping[str, Field],
    augmentations: Sequence[Augmentation],
    composed: Sequence[Compose],
    functions: Sequence[Any],
    *,
    targets: frozenset[str],
    orders: Mapping[str, np.ndarray],
    unmoved: frozenset[str],
) -> None:
    """Refuse what would move the images of a batch, and leave a part of its samples where it was.

    Args:
        fields: Those of a batch.
        augmentations: What is done to each image.
        composed: What is done to each sample.
        functions: What is done to a batch.
        targets: As `target_images` says.
        orders: As `choose_orders` says.
        unmoved: As `choose_unmoved` says.

    Raises:
        ArgumentError: If numbers look like positions, left and right of keypoints are not known, or a layer of Keras would move
            images alone.
    """
    parts = [part for compose in composed for part in compose.functions if is_albumentations(part) and transform_moves(part)]
    moving = next((part for part in [*augmentations, *parts] if part in parts or moves_pixels(part)), None)
    flip = next((augmentation for augmentation in augmentations if isinstance(augmentation, RandomFlip)), None)
    for name, field in fields.items():
        if moving is not None and name not in unmoved and looks_like_positions(field):
            raise ArgumentError(
                f"augment has {_name(moving)}, which moves pixels, and field {name} is {field.describe()}, which would stay as "
                f"it is: pack points as keypoints (kinds={{{name!r}: 'keypoints'}}), numbers of pixels, such as depth, as a "
                f"map (kinds={{{name!r}: 'map'}}), classes of pixels as a mask; unmoved={name!r} says that they do not lie in "
                "the image"
            )
        if flip is not None and isinstance(field.handler, Keypoints) and name not in orders:
            raise ArgumentError(
                f"augment has RandomFlip, and which of the {field.handler.num_points} points of {name} are left and right is "
                f"not known: give mirror_pairs={{{name!r}: [(0, 1), ...]}}, or [] if none change places"
            )
    followers = [name for name, field in fields.items() if name in targets or _follows(field)]
    for function in functions:
        layer = type(getattr(function, "__self__", function))
        if followers and layer.__name__ in _MOVING_LAYERS and layer.__module__.split(".")[0] == "keras":
            raise ArgumentError(
                f"augment has the layer {layer.__name__}, which as a function gets the images alone, and moves them without "
                f"{', '.join(followers)}: give an augmentation of kseq, or a kseq.BatchFunction over all fields"
            )


def _follows(field: Field) -> bool:
    return field.handler.has_positions or (field.is_pixels and not field.is_image)


def looks_like_positions(field: Field) -> bool:
    """Whether a field holds numbers that seem to lie somewhere in the image."""
    is_numbers = isinstance(field.handler, Numbers)
    return is_numbers and (len(field.shape) > 1 or (field.shape != () and bool(_POSITION_WORDS.search(field.name))))


def _name(augmentation: Any) -> str:
    return type(augmentation).__name__
