"""What the arguments of a ShardSequence mean for one dataset, each checked against it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kseq.arguments import spelled, whole, whole_pair
from kseq.errors import ArgumentError
from kseq.images.formats import MAX_PIXELS
from kseq.images.pixel_form import CHANNELS
from kseq.reading.dataset import ShardDataset
from kseq.storage.fields import Field
from kseq.training.albumentations_adapter import is_albumentations
from kseq.training.augment import Augmentation
from kseq.training.batch_functions import BatchFunction
from kseq.training.image_spec import ImageSpec
from kseq.training.mixing import CutMix, MixUp
from kseq.training.sample_functions import Compose
from kseq.training.sampling_argument import check_number_field, number_per_sample

__all__ = [
    "check_flags",
    "check_sample_weight",
    "check_scale",
    "choose_image_spec",
    "choose_pad_to",
    "choose_ragged",
    "find_fields",
    "sort_augment",
]


def check_flags(**flags: Any) -> None:
    """Refuse switches that are neither True nor False: 'no' would count as yes."""
    for name, value in flags.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ArgumentError(f"{name}={value!r}: allowed are True and False")


def check_scale(scale: Any) -> None:
    """Refuse what pixels cannot be multiplied by."""
    if scale is None:
        return
    if isinstance(scale, bool) or not isinstance(scale, numbers.Real) or not math.isfinite(scale):
        raise ArgumentError(f"scale={scale!r}: allowed is a finite number, such as 1 / 255, or None")


def find_fields(
    dataset: ShardDataset,
    inputs: str | Mapping[str, str] | None,
    targets: str | Mapping[str, str] | None,
    label_mode: str | None,
    *,
    all_targets: bool = False,
) -> tuple[dict[str, str], dict[str, str]]:
    """Model input name to field name, and model output name to field name.

    By default, the inputs are the images, and the target is the label or, without a label, all other fields but the sample
    weight (with `all_targets` also beside a label); models' names are then those of the fields, as they are where a field is
    named alone. `FIELD_mask` is the name of
    the array that says where a field is padded.

    Raises:
        ArgumentError: If a name is not allowed, or no input is an image, or `label_mode` goes with a label and there is none.
    """
    for argument, names in (("inputs", inputs), ("targets", targets)):
        if not (names is None or isinstance(names, str) or _is_str_to_str(names)):
            raise ArgumentError(
                f"{argument}={names!r}: allowed is the name of a field, a dict of the model's names to fields, or None; "
                f"the fields are {', '.join(_allowed_names(dataset.fields))}"
            )
    if label_mode is None and targets is not None:
        raise ArgumentError(f"label_mode=None gives no targets, found targets={targets!r}: leave one of the two out")
    fields = dataset.fields
    input_fields = _default_inputs(fields) if inputs is None else _checked_names(dataset, "inputs", inputs)
    target_fields = _default_targets(fields, all_targets) if targets is None else _checked_names(dataset, "targets", targets)
    images = [name for name, field in fields.items() if field.is_image]
    if not any(name in images for name in input_fields.values()):
        raise ArgumentError(f"inputs={inputs!r}: expected is at least one image, {dataset.path} has {', '.join(images)}")
    if label_mode in ("categorical", "binary") and not any(field.is_label for field in fields.values()):
        raise ArgumentError(f"label_mode={label_mode!r}: goes with a label, {dataset.path} has {', '.join(fields)}")
    return input_fields, {} if label_mode is None else target_fields


def _allowed_names(fields: Mapping[str, Field]) -> list[str]:
    return [*fields, *(f"{field.name}_mask" for field in fields.values() if field.handler.has_padding_mask)]


def _checked_names(dataset: ShardDataset, argument: str, names: str | Mapping[str, str]) -> dict[str, str]:
    """The model's name of each field; raises ArgumentError where there is no such field."""
    named = {names: names} if isinstance(names, str) else dict(names)
    allowed = _allowed_names(dataset.fields)
    for name, field_name in named.items():
        if field_name not in allowed:
            found = repr(names) if isinstance(names, str) else f"{{{name!r}: {field_name!r}}}"
            raise ArgumentError(f"{argument}={found}: {dataset.path} has no such field, it has {', '.join(allowed)}")
    return named


def choose_ragged(fields: Mapping[str, Field], ragged: Any) -> frozenset[str]:
    """The fields that leave a batch as lists: all that differ in length, or those that are named.

    Args:
        fields: Those of a batch.
        ragged: The argument: True, False, the name of a field, or a list of names.

    Raises:
        ArgumentError: If it is anything else, or names a field whose samples do not differ in length.
    """
    padded = [name for name, field in fields.items() if field.handler.is_padded]
    if isinstance(ragged, (bool, np.bool_)):
        return frozenset(padded if ragged else ())
    names = [ragged] if isinstance(ragged, str) else ragged
    if not isinstance(names, Collection) or isinstance(names, (Mapping, bytes)) or not all(isinstance(n, str) for n in names):
        raise ArgumentError(f"ragged={ragged!r}: allowed are True, False, the name of a field, and a list of names")
    for name in names:
        _check_padded(f"ragged={ragged!r}", name, padded)
    return frozenset(names)


def choose_pad_to(fields: Mapping[str, Field], pad_to: Any, ragged: Collection[str]) -> dict[str, int]:
    """Field name to how many elements every batch has room for, of the fields for which that is decided.

    Args:
        fields: Those of a batch.
        pad_to: The argument: a number for all fields that obey it, a dict of fields to numbers, or None.
        ragged: The fields that leave as lists.

    Raises:
        ArgumentError: If it is anything else, or there is nothing to pad.
    """
    if pad_to is None:
        return {}
    padded = [name for name, field in fields.items() if field.handler.is_padded and name not in ragged]
    if isinstance(pad_to, Mapping):
        for name in pad_to:
            _check_padded(f"pad_to={dict(pad_to)}", name, padded)
        return {name: whole(f"pad_to[{name!r}]", length, 1) for name, length in pad_to.items()}
    length = whole("pad_to", pad_to, 1)
    obedient = [name for name in padded if fields[name].handler.obeys_pad_to]
    if not obedient:
        raise ArgumentError(
            f"pad_to={length}: goes with fields that are padded to a number of elements, such as boxes; "
            f"the batch has {', '.join(fields)}" + (f" (of a text: pad_to={{{padded[0]!r}: {length}}})" if padded else "")
        )
    return dict.fromkeys(obedient, length)


def _check_padded(argument: str, name: Any, padded: Sequence[str]) -> None:
    if name not in padded:
        raise ArgumentError(
            f"{argument}: {name!r} is no field of the batch whose samples differ in length and are padded, "
            f"those are {', '.join(padded) or 'none'}"
        )


def _default_inputs(fields: Mapping[str, Field]) -> dict[str, str]:
    return {name: name for name, field in fields.items() if field.is_image}


def _default_targets(fields: Mapping[str, Field], all_targets: bool) -> dict[str, str]:
    if "label" in fields and not all_targets:
        return {"label": "label"}
    names = [name for name, field in fields.items() if field.handler.is_default_target]
    masks = [f"{name}_mask" for name in names if fields[name].handler.has_padding_mask]
    return {name: name for name in (*names, *masks)}


def _is_str_to_str(names: Any) -> bool:
    return isinstance(names, Mapping) and all(isinstance(name, str) for pair in names.items() for name in pair)


def check_sample_weight(dataset: ShardDataset, targets: Mapping[str, str], sample_weight: Any) -> np.ndarray | str | None:
    """`(samples of the split,)` float32, the name of a field that holds a number for each sample, or None."""
    if sample_weight is None:
        return None
    if not targets:
        raise ArgumentError("sample_weight goes with targets, found none (label_mode=None or targets={})")
    if isinstance(sample_weight, str):
        check_number_field("sample_weight", dataset, sample_weight)
        return sample_weight
    weights = number_per_sample("sample_weight", sample_weight, len(dataset)).astype(np.float32)
    if not np.isfinite(weights).all():
        raise ArgumentError("sample_weight: allowed is one finite number per sample of the split")
    return weights


def sort_augment(
    augment: Any,
) -> tuple[list[Augmentation], list[Compose], list[Callable[[np.ndarray], Any] | BatchFunction | MixUp | CutMix]]:
    """The augmentations in the argument `augment`, the functions over samples, and those over a batch, which follow them.

    Raises:
        ArgumentError: If it holds anything else, or an augmentation after a function.
    """
    listed = list(augment) if isinstance(augment, Sequence) and not isinstance(augment, str) else [augment]
    augmentations = [entry for entry in listed if isinstance(entry, Augmentation)]
    composed = [entry for entry in listed if isinstance(entry, Compose)]
    functions = [entry for entry in listed if not isinstance(entry, (Augmentation, Compose))]
    for function in functions:
        if is_albumentations(function):
            raise ArgumentError(f"augment has {type(function).__name__} of Albumentations: give kseq.Compose of it")
        if isinstance(function, type) or not (callable(function) or isinstance(function, (BatchFunction, MixUp, CutMix))):
            raise ArgumentError(
                f"augment has {function!r}: allowed are kseq.Augmentation objects such as kseq.RandomFlip(), functions over a "
                "batch of images, kseq.Compose, kseq.BatchFunction, kseq.MixUp and kseq.CutMix"
            )
    if listed != [*augmentations, *composed, *functions]:
        raise ArgumentError(
            "augment has an augmentation after a function: list augmentations first, which happen while images are read, then "
            "kseq.Compose, then functions over a batch"
        )
    return augmentations, composed, functions


def choose_image_spec(
    dataset: ShardDataset,
    image: Field,
    cut_size: tuple[int, int] | None,
    *,
    input_shape: Sequence[int] | None,
    data_format: str,
    color_mode: str | None,
    dtype: str | None,
    scale: float | None,
    crop_to_aspect_ratio: bool,
    pad_to_aspect_ratio: bool,
    interpolation: str,
    antialias: bool,
    decode: str,
) -> ImageSpec:
    """What the images of every batch are like, from the arguments of `ShardSequence`.

    Args:
        dataset: Where the samples are.
        image: Its first image field.
        cut_size: Height and width after the last crop in `augment`; None without a crop.

    Raises:
        ArgumentError: If the arguments contradict each other, or leave the size of the images open.
    """
    color_mode, channels = _choose_channels(dataset, image, color_mode)
    height, width = _choose_size(dataset, image, input_shape, color_mode, channels, cut_size)
    fit = _choose_fit(crop_to_aspect_ratio, pad_to_aspect_ratio)
    stored_dtype = np.dtype(image.dtype).name
    return ImageSpec(
        height,
        width,
        color_mode,
        data_format,
        stored_dtype if dtype is None else dtype,
        scale,
        fit,
        interpolation,
        antialias,
        decode,
        None if color_mode in CHANNELS else channels,
        stored_dtype,
    )


def _choose_channels(dataset: ShardDataset, image: Field, color_mode: Any) -> tuple[str | None, int]:
    """The colour mode of the images of a batch, None if they have channels that are no colours; and how many channels."""
    stored = image.shape[2] or 0
    if color_mode is None and image.color_mode is None:
        return None, stored
    chosen: Any = image.color_mode if color_mode is None else color_mode
    if chosen not in tuple(CHANNELS):
        raise ArgumentError(f"color_mode={chosen!r}: allowed are {', '.join(CHANNELS)}")
    if image.color_mode is None:
        raise ArgumentError(
            f"color_mode={chosen!r}: the images of {dataset.path} have {stored} channels, which are no colours: leave it out"
        )
    return chosen, CHANNELS[chosen]


def _choose_size(
    dataset: ShardDataset,
    image: Field,
    input_shape: Sequence[int] | None,
    color_mode: str | None,
    channels: int,
    cut_size: tuple[int, int] | None,
) -> tuple[int, int]:
    if input_shape is not None:
        _check_input_shape(input_shape, color_mode, channels)
        if cut_size is not None and tuple(input_shape[:2]) != cut_size:
            given = spelled("input_shape", tuple(input_shape))
            raise ArgumentError(f"{given}, but the last crop in augment gives {cut_size}: leave one of the two out")
        return input_shape[0], input_shape[1]
    if cut_size is not None:
        return cut_size
    height, width, _ = image.shape
    if height is None or width is None:
        raise ArgumentError(
            f"{dataset.path}: its images differ in size: give height, width and channels, such as "
            f"{spelled('input_shape', (224, 224, channels))}, or a crop in {spelled('augment')}, such as RandomResizedCrop(224)"
        )
    return height, width


def _check_input_shape(input_shape: Sequence[int], color_mode: str | None, channels: int) -> None:
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else input_shape
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise ArgumentError(f"{spelled('input_shape', shape)}: expected are three numbers, (height, width, channels)")
    height, width = whole_pair("input_shape", shape[:2])
    if height * width > MAX_PIXELS:
        raise ArgumentError(f"{spelled('input_shape', shape)}: has {height * width} pixels, allowed are {MAX_PIXELS}")
    if shape[2] != channels:
        given = f"color_mode {color_mode!r} gives {channels}" if color_mode else f"the stored images have {channels}"
        raise ArgumentError(f"{spelled('input_shape', shape)}: {given} channels, found {shape[2]}")


def _choose_fit(crop_to_aspect_ratio: bool, pad_to_aspect_ratio: bool) -> str:
    """How an image of another aspect ratio is resized, from Keras's two switches."""
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ArgumentError("crop_to_aspect_ratio and pad_to_aspect_ratio exclude each other: give one of the two")
    return "crop" if crop_to_aspect_ratio else "pad" if pad_to_aspect_ratio else "stretch"
