"""Augmentations of images, masks and boxes: the base class, crops, flips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from kseq.arguments import whole_pair
from kseq.errors import ArgumentError
from kseq.images.bounding_boxes import flip_boxes, move_boxes

__all__ = [
    "Augmentation",
    "CenterCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "check_value",
    "moves_pixels",
    "number_in",
    "number_pair",
    "overrides",
    "rising_pair",
]

_FLIPS = ("horizontal", "vertical", "horizontal_and_vertical")
_ATTEMPTS = 10

# OpenCV's codes for mirrored (top to bottom, left to right).
_FLIP_CODES = {(True, False): 0, (False, True): 1, (True, True): -1}


class Augmentation:
    """Base class of what is done to every image of a batch, and to the masks and boxes that go with it.

    Write your own as a subclass with some of the methods below, and give it in `augment`. kseq applies the augmentations in the
    order of the list. If the list has a crop, the augmentations before it get images of their stored size, and those after it
    images of the size of the crop; without a crop, images have the size of the batch.

    - If pixels move, override `apply_to_image`, `apply_to_mask` and `apply_to_points`: what is not overridden stays as it is.
      Keypoints and the corners of boxes follow `apply_to_points`.
      An augmentation that only changes colours overrides `apply_to_image` alone.
    - To cut a box out of each image, set `size` and override `cut`. kseq then cuts and resizes images, masks and boxes itself,
      and decodes no more of a JPEG than the box if no other augmentation comes first.
    - Take chance from `draws` alone. kseq makes them from the seed, the epoch, the sample id, the sample's turn in the epoch,
      and the position of the augmentation in the list (a crop counts as position 0, all others count from 1). A sample then
      changes in the same way for any batch size, any number of workers and any rank.
    - Several threads call the methods of one object at once: do not change the object in them. For worker processes, the object
      must be picklable, and its class must be in a module that they can import.

    Attributes:
        num_draws: How many numbers each sample gets in `draws`.
        size: `(height, width)` in pixels of the images after `cut`; None for an augmentation that cuts nothing.
        commutes_with_crops: True if a crop that follows in the list may be applied first, so that no more than its box is
            decoded. Use it for changes of single pixels, such as brightness. For flips, it means that the box is drawn in the
            image as it is stored.

    Examples:
        >>> class Rotation(kseq.Augmentation):
        ...     num_draws = 1
        ...
        ...     def __init__(self, degrees):
        ...         self.degrees = degrees
        ...
        ...     def parameters(self, draws):
        ...         return (2 * draws[:, 0] - 1) * self.degrees
        ...
        ...     def matrix(self, degrees, height, width):
        ...         # In OpenCV's coordinates, where whole numbers are the centres of pixels.
        ...         return cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
        ...
        ...     def apply_to_image(self, pixels, degrees):
        ...         height, width, _ = pixels.shape
        ...         return cv2.warpAffine(pixels, self.matrix(degrees, height, width), (width, height))
        ...
        ...     def apply_to_mask(self, pixels, degrees):
        ...         height, width, _ = pixels.shape
        ...         return cv2.warpAffine(
        ...             pixels, self.matrix(degrees, height, width), (width, height), flags=cv2.INTER_NEAREST
        ...         )
        ...
        ...     def apply_to_points(self, points, degrees, height, width):
        ...         return cv2.transform(points[None] - 0.5, self.matrix(degrees, height, width))[0] + 0.5
        >>> kseq.ShardSequence("flowers", augment=[kseq.RandomResizedCrop(224), Rotation(10)])
    """

    num_draws: int = 0
    size: tuple[int, int] | None = None
    commutes_with_crops: bool = False

    def check_dtype(self, dtype: str) -> None:
        """Refuse images of a dtype that do not go with the arguments; called once, when batches are made.

        Args:
            dtype: In which images are stored, and given to `apply_to_image`: `"uint8"`, `"uint16"` or `"float32"`.

        Raises:
            ArgumentError: If an argument has a value that such images cannot have.
        """

    def cut(self, sizes: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The box that is cut out of each image and resized to `size`; called only if `size` is set.

        Args:
            sizes: `(n, 2)` int64: height and width of each image, in pixels.
            draws: `(n, num_draws)` float64 in [0, 1).

        Returns:
            `(n, 4)` whole numbers: top, left, height and width of each box, which lies inside its image.
        """
        raise NotImplementedError(f"{type(self).__name__} sets size, so it needs a method cut")

    def parameters(self, draws: np.ndarray) -> Sequence[Any] | np.ndarray:
        """What the `apply_to_...` methods get for each sample; by default the draws of the sample, `(num_draws,)` float64.

        Args:
            draws: `(n, num_draws)` float64 in [0, 1), the same that `cut` gets.

        Returns:
            A sequence of `n` parameters, one for each sample; None for a sample that stays as it is.
        """
        return draws

    def apply_to_image(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Change an image, after `cut`.

        Args:
            pixels: `(height, width, channels)` uint8, RGB, grayscale or RGBA in [0, 255], C-contiguous. Images that were packed
                as uint16 or float32, or with other channels, come as they are stored. It may be changed in place.
            parameters: Those of the sample, as `parameters` gives them.

        Returns:
            Pixels of the same shape and dtype: `pixels` itself, or a new array. Of one channel, `(height, width)` is allowed
            too, as OpenCV gives it.
        """
        return pixels

    def apply_to_mask(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Change a mask as its image is changed, without mixing its values: take the nearest.

        Args:
            pixels: `(height, width, 1)` uint8, or of a map `(height, width, channels)` float32 or float16, C-contiguous. It may
                be changed in place.
            parameters: Those of the sample, as `parameters` gives them.

        Returns:
            Pixels of the same shape and dtype: `pixels` itself, or a new array. Of one channel, `(height, width)` is allowed
            too, as OpenCV gives it.
        """
        return pixels

    def apply_to_map(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Change a map, such as depth, as its image is changed; what is computed between its pixels is interpolated linearly.

        By default, a map is given to `apply_to_mask`, and so are maps whose numbers must not be mixed (`"nearest_map"`) always.

        Args:
            pixels: `(height, width, channels)` float32 or float16, C-contiguous, with NaN where there is no number. It may be
                changed in place.
            parameters: Those of the sample, as `parameters` gives them.

        Returns:
            As `apply_to_mask`.
        """
        return self.apply_to_mask(pixels, parameters)

    def apply_to_target_image(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Change an image that the model learns and does not see, such as the clear image of a blurred one.

        By default, such an image moves as the others do, and keeps its colours: it is given to `apply_to_image` if the
        augmentation moves pixels (overrides `apply_to_mask` or `apply_to_points`), and stays as it is otherwise.

        Args:
            pixels: As in `apply_to_image`.
            parameters: Those of the sample, as `parameters` gives them.

        Returns:
            As `apply_to_image`.
        """
        return self.apply_to_image(pixels, parameters) if overrides(self, "apply_to_mask", "apply_to_points") else pixels

    def apply_to_points(self, points: np.ndarray, parameters: Any, height: int, width: int) -> np.ndarray:
        """Say where points of an image go, as its pixels move. Keypoints and the corners of boxes follow them.

        Args:
            points: `(n, 2)` float32: x and y in pixels from the left and upper edge of the image, so that the centre of the
                first pixel is at 0.5, 0.5.
            parameters: Those of the sample, as `parameters` gives them.
            height: Of the image, in pixels.
            width: Of the image, in pixels.

        Returns:
            `(n, 2)` numbers: where they go, which may be outside of the image.
        """
        return points

    def apply_to_boxes(self, boxes: np.ndarray, parameters: Any, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Move the boxes of an image as its pixels move; other elements with a position move as boxes without area.

        By default, a box becomes the smallest upright box around its four corners, moved by `apply_to_points`. It stays if its
        centre is in the image, and is clipped to the image. Override this to let other boxes stay.

        Args:
            boxes: `(n, 4)` float32, n > 0: x1, y1, x2, y2 in pixels from the left and upper edge of the image.
            parameters: Those of the sample, as `parameters` gives them.
            height: Of the image, in pixels.
            width: Of the image, in pixels.

        Returns:
            `(m, 4)` numbers: the boxes that stay, moved; and `(n,)` bool: which of the boxes stay. The labels of the others go
            as well.
        """
        return move_boxes(boxes, lambda points: self.apply_to_points(points, parameters, height, width), height, width)


def overrides(augmentation: Augmentation, *methods: str) -> bool:
    """Whether the class of an augmentation overrides one of some methods; those of the base class change nothing."""
    return any(getattr(type(augmentation), method) is not getattr(Augmentation, method) for method in methods)


def moves_pixels(augmentation: Augmentation) -> bool:
    """Whether an augmentation crops images, or moves what is in them."""
    return augmentation.size is not None or overrides(augmentation, "apply_to_mask", "apply_to_map", "apply_to_points")


def number_in(name: str, value: Any, least: float, most: float) -> float:
    """An argument that is a number in a range.

    Raises:
        ArgumentError: If it is not.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not least <= number <= most:
        raise ArgumentError(f"{name}={value!r}: allowed are numbers in [{least:g}, {most:g}]")
    return number


def number_pair(name: str, pair: Any, least: float, most: float) -> tuple[float, float]:
    """An argument that is two numbers in a range.

    Raises:
        ArgumentError: If it is not.
    """
    if not isinstance(pair, (Sequence, np.ndarray)) or isinstance(pair, str) or len(pair) != 2:
        raise ArgumentError(f"{name}={pair!r}: allowed are two numbers")
    first, second = pair
    return number_in(name, first, least, most), number_in(name, second, least, most)


def check_value(name: str, value: float, dtype: str) -> None:
    """Raise ArgumentError unless images of a dtype can have a value."""
    kind = np.dtype(dtype)
    if kind.kind == "u" and not (0 <= value <= np.iinfo(kind).max and value == round(value)):
        raise ArgumentError(f"{name}={value!r}: allowed for images of {dtype} are whole numbers in [0, {np.iinfo(kind).max}]")


def rising_pair(name: str, pair: Any, most: float) -> tuple[float, float]:
    """An argument that is two numbers above 0, the second no less than the first.

    Raises:
        ArgumentError: If it is not.
    """
    low, high = number_pair(name, pair, 0, most)
    if not 0 < low <= high:
        raise ArgumentError(f"{name}={pair!r}: allowed are two rising numbers above 0, up to {most:g}")
    return low, high


def _check_size(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    return whole_pair(f"{name} size", (size, size) if np.ndim(size) == 0 else size)


def _check_rising(name: str, pair: Sequence[float], most: float) -> tuple[float, float]:
    try:
        low, high = map(float, pair)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 < low <= high <= most:
        raise ArgumentError(f"RandomResizedCrop {name}={pair!r}: allowed are two rising numbers above 0, up to {most:g}")
    return low, high


class RandomResizedCrop(Augmentation):
    """A box of random area and aspect ratio, resized to one size.

    The crop of "Inception" training (C. Szegedy et al., "Going deeper with convolutions", 2015): the area is drawn evenly from
    `scale`, the logarithm of the aspect ratio evenly from that of `ratio`. Of ten such boxes the first that fits into the image
    is taken; if none fits, the largest centred box whose aspect ratio is in `ratio`.

    Args:
        size: Side in pixels, or `(height, width)`.
        scale: Least and greatest area, as parts of the image's area, in (0, 1].
        ratio: Least and greatest width / height.

    Raises:
        ArgumentError: If an argument is not allowed.
    """

    num_draws = 4 * _ATTEMPTS
    size: tuple[int, int]

    def __init__(
        self,
        size: int | Sequence[int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = _check_size("RandomResizedCrop", size)
        self.scale = _check_rising("scale", scale, 1.0)
        self.ratio = _check_rising("ratio", ratio, 1e6)

    def cut(self, sizes: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The box of each image: see `Augmentation.cut`."""
        height, width = sizes[:, :1], sizes[:, 1:]
        area, ratio, down, right = draws.reshape(len(sizes), _ATTEMPTS, 4).transpose(2, 0, 1)
        target = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratios = np.exp(low + ratio * (high - low))
        box_width = np.rint(np.sqrt(target * ratios))
        box_height = np.rint(np.sqrt(target / ratios))
        fits = (box_width >= 1) & (box_width <= width) & (box_height >= 1) & (box_height <= height)
        top = np.floor(down * (height - box_height + 1))
        left = np.floor(right * (width - box_width + 1))
        first = np.argmax(fits, axis=1)
        chosen = np.stack([top, left, box_height, box_width], axis=2)[np.arange(len(sizes)), first]
        return np.where(fits.any(axis=1)[:, None], chosen, self._central(sizes)).astype(np.int64)

    def _central(self, sizes: np.ndarray) -> np.ndarray:
        height, width = sizes[:, 0], sizes[:, 1]
        box_height = np.clip(np.rint(width / self.ratio[0]), 1, height)
        box_width = np.clip(np.rint(height * self.ratio[1]), 1, width)
        return np.stack([(height - box_height) // 2, (width - box_width) // 2, box_height, box_width], axis=1)


class CenterCrop(Augmentation):
    """The centre of each image, `size` pixels, as `keras.layers.CenterCrop` cuts it.

    From an image with fewer rows or columns, it takes the largest centred box of the same aspect ratio, resized.

    Args:
        size: Side in pixels, or `(height, width)`.

    Raises:
        ArgumentError: If the size is not allowed.
    """

    size: tuple[int, int]

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _check_size("CenterCrop", size)

    def cut(self, sizes: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The box of each image: see `Augmentation.cut`."""
        height, width = sizes[:, 0], sizes[:, 1]
        target_height, target_width = self.size
        fits = (height >= target_height) & (width >= target_width)
        box_height = np.where(fits, target_height, np.clip(width * target_height // target_width, 1, height))
        box_width = np.where(fits, target_width, np.clip(height * target_width // target_height, 1, width))
        return np.stack([(height - box_height) // 2, (width - box_width) // 2, box_height, box_width], axis=1)


@dataclass(frozen=True)
class RandomFlip(Augmentation):
    """Mirrors each image or not, at even odds.

    Args:
        mode: `"horizontal"` (left and right change places), `"vertical"`, or `"horizontal_and_vertical"` (each of the two at
            even odds), as in `keras.layers.RandomFlip`.

    Raises:
        ArgumentError: If the mode is not allowed.
    """

    mode: str = "horizontal"

    num_draws = 2
    commutes_with_crops = True

    def __post_init__(self) -> None:
        if not isinstance(self.mode, str) or self.mode not in _FLIPS:
            raise ArgumentError(f"RandomFlip mode={self.mode!r}: allowed are {', '.join(_FLIPS)}")

    def parameters(self, draws: np.ndarray) -> list[int | None]:
        """OpenCV's code for each image: 0 top to bottom, 1 left to right, -1 both; None for an image that is not mirrored."""
        mirrored = (draws < 0.5) & np.array(["vertical" in self.mode, "horizontal" in self.mode])
        return [_FLIP_CODES.get((down, across)) for down, across in mirrored.tolist()]

    def apply_to_image(self, pixels: np.ndarray, parameters: int) -> np.ndarray:
        """Mirror an image in place: see `Augmentation.apply_to_image`."""
        # OpenCV drops a channel axis of length 1, so that it gets none.
        view = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        if view.dtype == np.float16:
            # Not every OpenCV knows it.
            view = view.view(np.uint16)
        cv2.flip(view, parameters, dst=view)
        return pixels

    def apply_to_mask(self, pixels: np.ndarray, parameters: int) -> np.ndarray:
        """Mirror a mask in place: see `Augmentation.apply_to_mask`."""
        return self.apply_to_image(pixels, parameters)

    def apply_to_points(self, points: np.ndarray, parameters: int, height: int, width: int) -> np.ndarray:
        """Mirror points of an image: see `Augmentation.apply_to_points`."""
        down, across = parameters <= 0, parameters != 0
        mirrored: np.ndarray = np.array([width if across else 0, height if down else 0], np.float32) + points * np.array(
            [-1 if across else 1, -1 if down else 1], np.float32
        )
        return mirrored

    def apply_to_boxes(self, boxes: np.ndarray, parameters: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Mirror the boxes of an image, all of which stay: see `Augmentation.apply_to_boxes`."""
        return flip_boxes(boxes, parameters <= 0, parameters != 0, height, width), np.ones(len(boxes), bool)
