"""A list of augmentations, drawn for some samples and applied to their images, masks and boxes alike."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import whole, whole_pair
from kseq.errors import ArgumentError
from kseq.images.movement import Movement
from kseq.images.rectangle import Rectangle
from kseq.images.resize import Placement, placement, resize
from kseq.ordering.permutation import hash_key, uniform
from kseq.training.augment import Augmentation, overrides
from kseq.training.error_places import add_place
from kseq.training.image_spec import ImageSpec

__all__ = ["AugmentationList", "Transforms", "draw", "sample_keys"]

# A first turn is keyed by the sample id alone, a later one by a number that no sample id reaches.
_TURN_BITS = 40


def draw(seed: int, epoch: int, position: int, sample_ids: np.ndarray, count: int) -> np.ndarray:
    """`(n, count)` float64 in [0, 1) for the augmentation at `position` in the list, the same in any worker or rank."""
    # Apart from the key of the order, which is hash_key(seed, epoch).
    return uniform(hash_key(seed, epoch, 1 + position), sample_ids, count)


def sample_keys(sample_ids: np.ndarray, turns: np.ndarray | None) -> np.ndarray:
    """`(n,)` int64: what the draws for samples are keyed by, within an epoch.

    Args:
        sample_ids: `(n,)` int64.
        turns: `(n,)` int64: how often each sample came before in the epoch; None for 0.
    """
    return sample_ids if turns is None else sample_ids + (turns << _TURN_BITS)


class _Step(NamedTuple):
    """One step of a list.

    Attributes:
        augmentation: What is applied.
        position: The position in the list that its draws are keyed by.
        size: `(height, width)` of what it cuts out; None if it cuts nothing.
    """

    augmentation: Augmentation
    position: int
    size: tuple[int, int] | None

    def overrides(self, *methods: str) -> bool:
        """Whether the class of the augmentation overrides one of some methods."""
        return overrides(self.augmentation, *methods)


class AugmentationList:
    """Augmentations in the order in which they are applied; picklable if they are.

    Args:
        augmentations: In the order in which the user lists them.
        seed: Draws their parameters, together with the epoch, the sample id and the turn.

    Attributes:
        crops_at_decoding: Whether the first one cuts a box, so that no more than this box is decoded.
        size: `(height, width)` of the images after the last crop; None without a crop.

    Raises:
        ArgumentError: If an augmentation has a `size` or `num_draws` that is not allowed.
    """

    def __init__(self, augmentations: Sequence[Augmentation] = (), seed: int = 0) -> None:
        self._steps = _in_order(_numbered(augmentations))
        self._seed = seed
        sizes = [step.size for step in self._steps if step.size is not None]
        self.crops_at_decoding = bool(self._steps) and self._steps[0].size is not None
        self.size = sizes[-1] if sizes else None

    def __len__(self) -> int:
        return len(self._steps)

    def drawn(self, epoch: int, sample_ids: np.ndarray, turns: np.ndarray | None = None) -> Transforms:
        """The same, drawn for some samples.

        Args:
            epoch: The epoch.
            sample_ids: `(n,)` int64.
            turns: `(n,)` int64: how often each sample came before in the epoch; None for 0.
        """
        return Transforms(self._steps, self._seed, epoch, sample_keys(sample_ids, turns))


def _numbered(augmentations: Sequence[Augmentation]) -> list[_Step]:
    """The first crop has position 0, the others count from 1."""
    first_crop = next((number for number, step in enumerate(augmentations) if step.size is not None), None)
    others = iter(range(1, len(augmentations) + 1))
    steps = []
    for number, augmentation in enumerate(augmentations):
        whole(f"{_name(augmentation)} num_draws", augmentation.num_draws, 0)
        size = None if augmentation.size is None else whole_pair(f"{_name(augmentation)} size", augmentation.size)
        step = _Step(augmentation, 0 if number == first_crop else next(others), size)
        if size is not None and not step.overrides("cut"):
            raise ArgumentError(f"{_name(augmentation)} has a size, but no method cut, which says what becomes of that size")
        steps.append(step)
    return steps


def _in_order(steps: Sequence[_Step]) -> tuple[_Step, ...]:
    """Each crop before the augmentations that precede it and commute with it."""
    ordered: list[_Step] = []
    for step in steps:
        end = len(ordered)
        if step.size is not None:
            while end and ordered[end - 1].augmentation.commutes_with_crops and ordered[end - 1].size is None:
                end -= 1
        ordered.insert(end, step)
    return tuple(ordered)


# The methods that those of some roles call by default.
_DEFAULTS = {"target_image": ("apply_to_image",), "map": ("apply_to_mask",)}

# What is done to the pixels of one sample, with what was drawn for it.
_Apply = Callable[[Any, Any], Any]


class Transforms:
    """What a list of augmentations does to some samples in one epoch; made anew for each fill.

    Args:
        steps: The augmentations in their order.
        seed: Draws their parameters.
        epoch: The epoch.
        keys: `(n,)` int64: one for each sample, made of its id and turn.
    """

    def __init__(self, steps: tuple[_Step, ...], seed: int, epoch: int, keys: np.ndarray) -> None:
        self._steps = steps
        self._seed = seed
        self._epoch = epoch
        self._keys = keys
        self._drawn: dict[int, np.ndarray] = {}
        self._parameters: dict[int, Any] = {}

    def first_cut(self, sizes: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """`(n, 4)` int64: the box that the first augmentation cuts out of each image, and the height and width it gets.

        Args:
            sizes: `(n, 2)` int64: height and width of the stored images.
        """
        first = self._steps[0]
        assert first.size is not None
        return self._cut(first, sizes), first.size

    def pixel_chain(self, sizes: np.ndarray | None, spec: ImageSpec, role: str) -> Chain:
        """What is done to pixels after decoding.

        Args:
            sizes: `(n, 2)` int64: height and width of the stored images; None if no augmentation cuts.
            spec: Says how cut boxes are resized.
            role: `"image"`, `"target_image"`, `"mask"` or `"map"`.
        """
        method = f"apply_to_{role}"
        changing = (method, *_DEFAULTS.get(role, ()))
        chain = Chain()
        for number, step in enumerate(self._steps):
            if step.size is not None:
                assert sizes is not None
                # A crop that comes first was made at decoding.
                if number:
                    boxes = Rectangle(*self._cut(step, sizes).T).to_list()
                    chain.add(functools.partial(_cut_pixels, step.size, spec.interpolation, spec.antialias), boxes)
                sizes = np.broadcast_to(np.array(step.size, np.int64), sizes.shape)
            if step.overrides(*changing):
                chain.add(functools.partial(_apply_to_pixels, getattr(step.augmentation, method)), self._parameters_of(step))
        return chain

    def movements(self, sizes: np.ndarray, spec: ImageSpec | None) -> Callable[[int], list[Movement]]:
        """By which steps each image is moved, by its number; boxes and points in it move along.

        Args:
            sizes: `(n, 2)` int64: height and width of the stored images.
            spec: Says how the images come to their size if no augmentation cuts; None if they keep theirs.
        """
        makers: list[Callable[[int], Movement | None]] = []
        if spec is not None and all(step.size is None for step in self._steps):
            placements = [placement(height, width, spec.height, spec.width, spec.fit) for height, width in sizes.tolist()]
            makers.append(functools.partial(_placed, placements, (spec.height, spec.width)))
            sizes = np.broadcast_to(np.array([spec.height, spec.width]), sizes.shape)
        for step in self._steps:
            if step.size is not None:
                target = Rectangle(0, 0, *step.size)
                placements = [Placement(box, target) for box in Rectangle(*self._cut(step, sizes).T).to_list()]
                makers.append(functools.partial(_placed, placements, step.size))
                sizes = np.broadcast_to(np.array(step.size, np.int64), sizes.shape)
            if step.overrides("apply_to_points", "apply_to_boxes"):
                makers.append(functools.partial(_moved, step.augmentation, self._parameters_of(step), sizes.tolist()))
        return lambda number: [movement for make in makers if (movement := make(number)) is not None]

    def _draws_of(self, step: _Step) -> np.ndarray:
        if step.position not in self._drawn:
            count = step.augmentation.num_draws
            self._drawn[step.position] = draw(self._seed, self._epoch, step.position, self._keys, count)
        return self._drawn[step.position]

    def _parameters_of(self, step: _Step) -> Any:
        if step.position not in self._parameters:
            parameters: Any = _call(step.augmentation.parameters, self._draws_of(step))
            # Not by numpy's shape, which lists of arrays and None have none of.
            is_listed = isinstance(parameters, Sequence) or (isinstance(parameters, np.ndarray) and parameters.ndim > 0)
            if not is_listed or len(parameters) != len(self._keys):
                raise ArgumentError(
                    f"{_name(step.augmentation)}.parameters gave {_describe(parameters)}, "
                    f"expected is a sequence of {len(self._keys)}, one for each sample"
                )
            self._parameters[step.position] = parameters
        return self._parameters[step.position]

    def _cut(self, step: _Step, sizes: np.ndarray) -> np.ndarray:
        boxes: Any = _call(step.augmentation.cut, sizes, self._draws_of(step))
        if not isinstance(boxes, np.ndarray) or boxes.shape != (len(sizes), 4) or boxes.dtype.kind not in "iu":
            raise ArgumentError(
                f"{_name(step.augmentation)}.cut gave {_describe(boxes)}, expected are whole numbers of shape ({len(sizes)}, 4)"
            )
        # Sums of narrow integers would wrap.
        boxes = boxes.astype(np.int64, copy=False)
        corners, extents = boxes[:, :2], boxes[:, 2:]
        if not ((corners >= 0) & (extents >= 1) & (corners + extents <= sizes)).all():
            outside = ((corners < 0) | (extents < 1) | (corners + extents > sizes)).any(axis=1)
            number = int(np.argmax(outside))
            raise ArgumentError(
                f"{_name(step.augmentation)}.cut gave the box {boxes[number].tolist()} (top, left, height, width), "
                f"expected is a box inside its image of {sizes[number, 0]} x {sizes[number, 1]} pixels"
            )
        return boxes


class Chain:
    """Steps that the pixels of each sample go through, one after the other."""

    def __init__(self) -> None:
        self._links: list[tuple[_Apply, Sequence[Any]]] = []

    def __bool__(self) -> bool:
        return bool(self._links)

    def add(self, apply: _Apply, parameters: Sequence[Any]) -> None:
        """Append a step that is called with pixels and the sample's parameters, unless these are None."""
        self._links.append((apply, parameters))

    def run(self, number: int, value: Any) -> Any:
        """What becomes of the pixels of sample `number`."""
        for apply, parameters in self._links:
            chosen = parameters[number]
            if chosen is not None:
                value = apply(value, chosen)
        return value


def _cut_pixels(size: tuple[int, int], interpolation: str, antialias: bool, pixels: np.ndarray, box: Rectangle) -> np.ndarray:
    out = np.empty((*size, pixels.shape[2]), pixels.dtype)
    resize(box.crop(pixels), out, interpolation, antialias)
    return out


def _apply_to_pixels(method: Callable[[np.ndarray, Any], Any], pixels: np.ndarray, parameters: Any) -> np.ndarray:
    changed = _call(method, pixels, parameters)
    if changed is pixels:
        return pixels
    if isinstance(changed, np.ndarray) and pixels.shape[2] == 1 and changed.shape == pixels.shape[:2]:
        # OpenCV drops a channel axis of length 1.
        changed = changed[..., None]
    if not isinstance(changed, np.ndarray) or changed.shape != pixels.shape or changed.dtype != pixels.dtype:
        raise ArgumentError(f"{method.__qualname__} gave {_describe(changed)}, expected is {_describe(pixels)}")
    return np.ascontiguousarray(changed)


def _placed(placements: Sequence[Placement], size: tuple[int, int], number: int) -> Movement:
    return Movement.of_placement(placements[number], *size)


def _moved(
    augmentation: Augmentation, parameters: Sequence[Any], sizes: Sequence[tuple[int, int]], number: int
) -> Movement | None:
    """How an augmentation moves an image; None if it leaves it as it is."""
    chosen, size = parameters[number], sizes[number]
    if chosen is None:
        return None
    return Movement(
        functools.partial(_apply_to_points, augmentation, chosen, size),
        functools.partial(_apply_to_boxes, augmentation, chosen, size),
        *size,
    )


def _apply_to_points(augmentation: Augmentation, parameters: Any, size: tuple[int, int], points: np.ndarray) -> np.ndarray:
    moved: Any = _call(augmentation.apply_to_points, points, parameters, *size)
    if not isinstance(moved, np.ndarray) or moved.shape != points.shape or moved.dtype.kind not in "iuf":
        raise ArgumentError(
            f"{_name(augmentation)}.apply_to_points gave {_describe(moved)}, expected are numbers of shape {points.shape}"
        )
    return moved.astype(np.float32, copy=False)


def _apply_to_boxes(
    augmentation: Augmentation, parameters: Any, size: tuple[int, int], boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if not len(boxes):
        return boxes, np.ones(0, bool)
    answer: Any = _call(augmentation.apply_to_boxes, boxes, parameters, *size)
    moved, stay = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
    is_right = (
        isinstance(moved, np.ndarray)
        and isinstance(stay, np.ndarray)
        and (stay.shape, stay.dtype) == (boxes.shape[:1], bool)
        and moved.shape == (np.count_nonzero(stay), 4)
        and moved.dtype.kind in "iuf"
    )
    if not is_right:
        raise ArgumentError(
            f"{_name(augmentation)}.apply_to_boxes gave {_describe(moved)} and {_describe(stay)}, expected are numbers of "
            f"shape (m, 4) for the boxes that stay, and bool of shape {boxes.shape[:1]} that is True for these m"
        )
    kept: Any = stay
    return moved.astype(np.float32, copy=False), kept


def _call(method: Callable[..., Any], *values: Any) -> Any:
    """What a method of an augmentation returns; an error that it raises is named after it."""
    try:
        return method(*values)
    except Exception as error:
        add_place(error, f"in {getattr(method, '__qualname__', repr(method))}")
        raise


def _name(augmentation: Augmentation) -> str:
    return type(augmentation).__name__


def _describe(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
