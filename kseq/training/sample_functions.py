"""Functions of the user over whole samples: what they get, and what they may return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kseq.arguments import whole_pair
from kseq.errors import ArgumentError
from kseq.images.bounding_boxes import move_boxes
from kseq.ordering.permutation import hash_each, hash_key
from kseq.storage.field_kinds import Boxes, Text
from kseq.storage.fields import Field
from kseq.training.albumentations_adapter import AlbumentationsAdapter, is_albumentations
from kseq.training.error_places import add_place

__all__ = ["Compose", "SampleFunctions", "last_size"]

# Their draws are keyed apart from those of augmentations, whose positions in the list are small, and of mixtures.
_POSITION = 1 << 21


class Compose:
    """Functions of yours over whole samples, for `augment`: each changes the image, masks, boxes and all else of one sample.

    Functions are called one after the other, in the threads or processes that read, after all augmentations of the list and
    before functions over a batch. They may be transforms of Albumentations, as they are: these get the images, masks, boxes and
    keypoints of the sample. Boxes then follow the rule of kseq's augmentations: a box stays, clipped, if its centre is in the
    image, and takes its label and its keypoints along if it goes; thresholds of a `bbox_params` apply besides. Keypoints that
    leave the image get visibility 0, and change places in a mirrored image as `mirror_pairs` says.

    What is drawn depends on the seed, the epoch, the sample and its turn in the epoch alone: a function takes its chance from
    the generator that it gets, and transforms of Albumentations are seeded for every sample.

    Args:
        functions: One or a list of functions and transforms. A function is called with two arguments, and returns a dict of the
            fields that it changes (also in place), each of the form in which it came:

            - a dict of the fields of the batch by their names in the dataset: images `(height, width, channels)` and masks
              `(height, width, 1)` uint8; boxes `(count, 4)` float32 in pixels, their labels `(count,)` int32, keypoints as they
              are stored, numbers, the label as its class number, text as `str`, which cannot be changed;
            - a `numpy.random.Generator`.
        size: Height and width of the images after the functions, or one number for both. They then get images of their stored
            size, or of the last crop before them. None: images keep the size of the batch.

    Raises:
        ArgumentError: If an argument is not allowed; when a batch is read, if a function returns what is not allowed.

    Examples:
        >>> def darken(sample, rng):
        ...     return {"image": (sample["image"] * rng.uniform(0.5, 1)).astype("uint8")}
        >>> kseq.ShardSequence("flowers", "train", augment=kseq.Compose(darken))
        >>> kseq.ShardSequence("flowers", "train", augment=kseq.Compose(A.HorizontalFlip(p=0.5)))
    """

    def __init__(self, functions: Any, size: int | Sequence[int] | None = None) -> None:
        listed = list(functions) if isinstance(functions, (list, tuple)) else [functions]
        for function in listed:
            if isinstance(function, type) or not callable(function):
                raise ArgumentError(
                    f"Compose has {function!r}: allowed are functions of a sample and a generator, and transforms of "
                    "Albumentations"
                )
        if not listed:
            raise ArgumentError("Compose has no function: allowed are one and more")
        self.functions = tuple(listed)
        self.size = None if size is None else whole_pair("Compose size", (size, size) if np.ndim(size) == 0 else size)


def last_size(composed: Sequence[Compose]) -> tuple[int, int] | None:
    """`(height, width)` of images after some functions; None if they keep theirs."""
    return next((compose.size for compose in reversed(composed) if compose.size is not None), None)


class SampleFunctions:
    """The functions over samples in `augment`, for the fields of a batch; picklable if they are.

    Args:
        composed: Those of the list, in their order.
        seed: Draws what they do, together with the epoch and the keys of samples.
        fields: Those of a batch.
        target_images: The images that a model learns and does not see.
        orders: Field name to `(points,)` int64: which keypoint takes the place of each in a mirrored image.
        class_names: Those of the label.

    Attributes:
        size: `(height, width)` of images after them; None if they keep theirs.
    """

    def __init__(
        self,
        composed: Sequence[Compose],
        seed: int,
        fields: Mapping[str, Field],
        target_images: frozenset[str],
        orders: Mapping[str, np.ndarray],
        class_names: Sequence[str],
    ) -> None:
        self.size = last_size(composed)
        self._seed, self._fields = seed, dict(fields)
        numbered = {name: field.handler for name, field in fields.items() if field.handler.has_class_names}
        self._num_classes = {name: len(handler.class_names(class_names)) for name, handler in numbered.items()}
        self._steps: list[Any] = []
        for function in (function for compose in composed for function in compose.functions):
            if is_albumentations(function):
                self._steps.append(AlbumentationsAdapter(function, self._fields, target_images, orders))
            else:
                self._steps.append(function)

    def __bool__(self) -> bool:
        return bool(self._steps)

    def seeds(self, epoch: int, keys: np.ndarray) -> list[int]:
        """A seed for each sample, below 2**64.

        Args:
            epoch: The epoch.
            keys: `(n,)` int64: of the samples, as `kseq.training.transforms.sample_keys` makes them.
        """
        return hash_each(hash_key(self._seed, epoch, _POSITION), keys.astype(np.uint64)).tolist()

    def run(self, sample: Mapping[str, np.ndarray], seed: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
        """What becomes of a sample.

        Args:
            sample: Field name to its value in memory of its own.
            seed: As `seeds` says.
            size: Height and width that its images must have in the end.

        Raises:
            ArgumentError: If a function returns what is not allowed.
        """
        values, rng = dict(sample), np.random.default_rng(seed)
        for step in self._steps:
            if isinstance(step, AlbumentationsAdapter):
                values |= _call(step.name, step.run, values, rng)
            else:
                values = self._run_function(step, values, rng)
        self._check_sizes(values, size)
        return values

    def _run_function(self, function: Callable[..., Any], values: dict[str, np.ndarray], rng: Any) -> dict[str, np.ndarray]:
        name = getattr(function, "__name__", type(function).__name__)
        readable = {
            key: self._fields[key].handler.value(value) if isinstance(self._fields[key].handler, Text) else value
            for key, value in values.items()
        }
        answer = _call(name, function, readable, rng)
        if not isinstance(answer, Mapping):
            raise ArgumentError(f"{name} gave a {type(answer).__name__}, expected is a dict of field names to arrays")
        for key, value in answer.items():
            if key not in values:
                raise ArgumentError(f"{name} gave a field {key!r}, the sample has {', '.join(values)}")
            if not isinstance(self._fields[key].handler, Text):
                values[key] = _checked(name, self._fields[key], value, values[key])
                self._check_classes(name, key, values[key])
            elif value != readable[key]:
                raise ArgumentError(f"{name} gave another text for {key}: a kseq.BatchFunction may change it")
        return self._without_boxes_outside(name, values)

    def _check_classes(self, name: str, key: str, numbers: np.ndarray) -> None:
        count = self._num_classes.get(key)
        if count is not None and numbers.size and not 0 <= numbers.min() <= numbers.max() < count:
            raise ArgumentError(
                f"{name} gave class numbers from {numbers.min()} to {numbers.max()} for {key}, allowed are [0, {count})"
            )

    def _without_boxes_outside(self, name: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The sample without boxes whose centre is outside of the image, and what describes them; the others clipped."""
        boxes = next((key for key, field in self._fields.items() if isinstance(field.handler, Boxes)), None)
        counts = {
            key: len(values[key]) for key, field in self._fields.items() if key == boxes or field.handler.leader == "boxes"
        }
        if boxes is None or len(set(counts.values())) > 1:
            if len(set(counts.values())) > 1:
                found = ", ".join(f"{count} of {key}" for key, count in counts.items())
                raise ArgumentError(f"{name} gave {found}: expected are as many")
            return values
        height, width = next(values[key].shape[:2] for key, field in self._fields.items() if field.is_image)
        moved, stay = move_boxes(values[boxes], lambda points: points, height, width)
        return values | {key: values[key][stay] for key in counts} | {boxes: moved}

    def _check_sizes(self, values: Mapping[str, np.ndarray], size: tuple[int, int]) -> None:
        for key, field in self._fields.items():
            if field.is_pixels and values[key].shape[:2] != size:
                raise ArgumentError(
                    f"Compose gave {key} of {values[key].shape[0]} x {values[key].shape[1]} pixels, expected are {size[0]} x "
                    f"{size[1]}: let the last transform give that size, and say it in kseq.Compose(..., size=(height, width))"
                )


def _call(name: str, function: Callable[..., Any], *values: Any) -> Any:
    try:
        return function(*values)
    except Exception as error:
        add_place(error, f"in {name}")
        raise


def _checked(name: str, field: Field, value: Any, before: np.ndarray) -> np.ndarray:
    """A value that a function gave for a field, as it goes into a batch."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArgumentError(f"{name} gave no array for {field.name} ({error})") from error
    if field.is_pixels:
        if array.ndim == 2 and before.shape[2] == 1:
            # OpenCV drops a channel axis of length 1.
            array = array[..., None]
        if array.ndim != 3 or array.shape[2] != before.shape[2] or array.dtype != before.dtype:
            raise _wrong(name, field, array, f"{before.dtype} of shape (height, width, {before.shape[2]})")
        return np.ascontiguousarray(array)
    shape = (len(array), *before.shape[1:]) if field.is_ragged and array.ndim else before.shape
    kinds = "iu" if before.dtype.kind in "iu" else "iuf"
    if array.shape != shape or array.dtype.kind not in kinds or not np.isfinite(array).all():
        raise _wrong(name, field, array, f"{before.dtype} of shape {('any number', *shape[1:]) if field.is_ragged else shape}")
    return array.astype(before.dtype, copy=False)


def _wrong(name: str, field: Field, array: np.ndarray, expected: str) -> ArgumentError:
    return ArgumentError(f"{name} gave {array.dtype} of shape {array.shape} for {field.name}, expected are {expected}")
