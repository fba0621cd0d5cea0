"""What the arguments of a ShardSequence mean for one dataset, each checked against it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kseq.arguments import whole, whole_pair
from kseq.errors import ArgumentError
from kseq.images.codecs import CHANNELS
from kseq.images.formats import MAX_PIXELS
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.storage.fields import Field
from kseq.training.augment import Crop, RandomFlip
from kseq.training.sampling_argument import check_number_field, number_per_sample

__all__ = [
    "LabelEncoder",
    "check_flags",
    "check_scale",
    "check_weights",
    "choose_blocks",
    "choose_fit",
    "choose_shuffle",
    "find_fields",
    "image_shape",
    "is_padded",
    "label_encoder",
    "sort_augment",
]

LabelEncoder = Callable[[np.ndarray], np.ndarray]

# What a shuffle by blocks mixes fits into any memory; in so many blocks, a disk reads them as fast as any longer stretch.
_WINDOW_BYTES = 256 << 20
_WINDOW_BLOCKS = 64
# A block is mostly of one class: with so many blocks per class, a window holds most classes. Below the least size, an SSD
# would read notably slower too.
_BLOCKS_PER_CLASS = 2
_LEAST_BLOCK_BYTES = 256 << 10

_LABEL_MODES = ("int", "categorical", "binary", None)


def check_flags(**flags: Any) -> None:
    """Refuse switches that are neither on nor off: 'no' would count as yes."""
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
    dataset: ShardDataset, inputs: Mapping[str, str] | None, targets: Mapping[str, str] | None, label_mode: str | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Model input name to field name, and model output name to field name; the defaults name them like the fields.

    By default the inputs are the images, and the target is the label or, where there is none, whatever else a sample holds but
    its weight. A name `FIELD_mask` stands for where a field was padded.
    """
    for argument, given in (("inputs", inputs), ("targets", targets)):
        if given is not None and not _is_str_to_str(given):
            raise ArgumentError(f"{argument}={given!r}: allowed is a dict of the model's names to fields, or None")
    if label_mode is None and targets is not None:
        raise ArgumentError(f"label_mode=None gives no targets, found targets={dict(targets)}")
    fields = dataset.fields
    allowed = [*fields, *(f"{name}_mask" for name, each in fields.items() if is_padded(each))]
    found_inputs = _default_inputs(fields) if inputs is None else dict(inputs)
    found_targets = _default_targets(fields) if targets is None else dict(targets)
    for argument, names in (("inputs", found_inputs), ("targets", found_targets)):
        for name, field in names.items():
            if field not in allowed:
                raise ArgumentError(
                    f"{argument}={{{name!r}: {field!r}}}: {dataset.path} has no such field, it has {', '.join(allowed)}"
                )
    if not any(field in fields and fields[field].kind == "image" for field in found_inputs.values()):
        raise ArgumentError(f"inputs={found_inputs}: expected is at least one image field")
    return found_inputs, {} if label_mode is None else found_targets


def is_padded(field: Field) -> bool:
    """Whether samples of a batch are padded to one length, with an array `NAME_mask` beside them."""
    return field.is_ragged and field.kind not in ("multi_label", "text")


def _default_inputs(fields: Mapping[str, Field]) -> dict[str, str]:
    return {name: name for name, each in fields.items() if each.kind == "image"}


def _default_targets(fields: Mapping[str, Field]) -> dict[str, str]:
    if "label" in fields:
        return {"label": "label"}
    found = [name for name, each in fields.items() if each.kind not in ("image", "sample_weight")]
    masks = [f"{name}_mask" for name in found if is_padded(fields[name])]
    return {name: name for name in (*found, *masks)}


def _is_str_to_str(names: Any) -> bool:
    return isinstance(names, Mapping) and all(isinstance(each, str) for pair in names.items() for each in pair)


def label_encoder(dataset: ShardDataset, label_mode: str | None) -> LabelEncoder:
    """`(n,)` int32 labels to what Keras's loss of this mode wants (`keras.utils.image_dataset_from_directory`)."""
    num_classes = len(dataset.class_names)
    if label_mode not in _LABEL_MODES:
        raise ArgumentError(f"label_mode={label_mode!r}: allowed are {', '.join(map(repr, _LABEL_MODES))}")
    if label_mode == "binary":
        if num_classes != 2:
            raise ArgumentError(f"label_mode='binary' needs 2 classes, {dataset.path} has {num_classes}")
        return lambda labels: labels.astype(np.float32)[:, None]
    if label_mode == "categorical":
        one_hot = np.eye(num_classes, dtype=np.float32)
        return lambda labels: one_hot[labels]
    return lambda labels: labels


def check_weights(dataset: ShardDataset, targets: Mapping[str, str], sample_weight: Any) -> np.ndarray | str | None:
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


def sort_augment(augment: Any) -> tuple[Crop | None, list[RandomFlip], list[Callable[[np.ndarray], Any]]]:
    """The crop, the flips and the functions over a batch among what was given, in that order or mixed up to there."""
    given = list(augment) if isinstance(augment, Sequence) and not isinstance(augment, str) else [augment]
    crops = [each for each in given if isinstance(each, Crop)]
    flips = [each for each in given if isinstance(each, RandomFlip)]
    functions = [each for each in given if not isinstance(each, (Crop, RandomFlip))]
    if len(crops) > 1:
        raise ArgumentError(f"augment has {len(crops)} crops, allowed is one")
    for each in functions:
        if not callable(each) or isinstance(each, type):
            raise ArgumentError(f"augment has {each!r}: allowed are kseq's crops and flips, and functions over a batch")
    if functions and given[-len(functions) :] != functions:
        raise ArgumentError(
            "augment has a crop or flip after a function: crops and flips happen at decoding, functions come after them"
        )
    return crops[0] if crops else None, flips, functions


def choose_blocks(
    dataset: ShardDataset, block_size: int | None, window: int | None, shuffle: bool | str = "block"
) -> tuple[int, int]:
    """Samples per block and per window of `shuffle="block"`.

    Where they are open, a window is of 256 MiB, and at least of 64 blocks. It is made of 64 blocks of 4 MiB, or of two blocks
    per class, where there are many classes, as long as a block stays at 256 KiB or more.

    Raises:
        ArgumentError: Where one of them is no whole number of 1 or more, or is given for another shuffle.
    """
    for name, value in (("block_size", block_size), ("window", window)):
        if value is not None and shuffle != "block":
            raise ArgumentError(f"{name}={value!r}: goes with shuffle='block', found shuffle={shuffle!r}")
    collection = sample_reader(dataset).collection
    num_bytes = max(collection.num_bytes, 1)
    in_window = _WINDOW_BYTES * collection.num_samples // num_bytes
    if block_size is None:
        least = -(-_LEAST_BLOCK_BYTES * collection.num_samples // num_bytes)
        blocks = max(_WINDOW_BLOCKS, _BLOCKS_PER_CLASS * len(dataset.class_names))
        block_size = max(1, min(least, in_window // _WINDOW_BLOCKS), in_window // blocks)
    block_size = whole("block_size", block_size, 1)
    if window is None:
        window = max(_WINDOW_BLOCKS, in_window // block_size) * block_size
    return block_size, whole("window", window, 1)


def image_shape(
    dataset: ShardDataset, image: Field, input_shape: Sequence[int] | None, color_mode: str | None, crop: Crop | None
) -> tuple[int, int, str]:
    """Height, width and colour mode of the images of every batch.

    Raises:
        ArgumentError: Where the arguments contradict each other, or leave open which size it is to be.
    """
    color_mode = image.color_mode if color_mode is None else color_mode
    if color_mode not in tuple(CHANNELS):
        raise ArgumentError(f"color_mode={color_mode!r}: allowed are {', '.join(CHANNELS)}")
    if input_shape is not None:
        _check_input_shape(input_shape, color_mode)
        if crop is not None and tuple(input_shape[:2]) != crop.size:
            raise ArgumentError(
                f"input_shape={tuple(input_shape)}, but the crop in augment gives {crop.size}: leave one of the two out"
            )
        return input_shape[0], input_shape[1], color_mode
    if crop is not None:
        return *crop.size, color_mode
    height, width, _ = image.shape
    if height is None or width is None:
        raise ArgumentError(
            f"{dataset.path}: its images differ in size: give input_shape=(height, width, {CHANNELS[color_mode]}), "
            "or a crop such as augment=kseq.RandomResizedCrop(224)"
        )
    return height, width, color_mode


def _check_input_shape(input_shape: Sequence[int], color_mode: str) -> None:
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else input_shape
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise ArgumentError(f"input_shape={shape!r}: expected are three numbers, (height, width, channels)")
    height, width = whole_pair("input_shape", shape[:2])
    if height * width > MAX_PIXELS:
        raise ArgumentError(f"input_shape={shape}: has {height * width} pixels, allowed are {MAX_PIXELS}")
    if shape[2] != CHANNELS[color_mode]:
        raise ArgumentError(
            f"input_shape={shape}: color_mode {color_mode!r} gives {CHANNELS[color_mode]} channels, found {shape[2]}"
        )


def choose_fit(crop_to_aspect_ratio: bool, pad_to_aspect_ratio: bool) -> str:
    """How an image meets another aspect ratio, from Keras's two switches."""
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ArgumentError("crop_to_aspect_ratio and pad_to_aspect_ratio exclude each other: give one of the two")
    return "crop" if crop_to_aspect_ratio else "pad" if pad_to_aspect_ratio else "stretch"


def choose_shuffle(shuffle: Any, is_train: bool, is_drawn: bool) -> Any:
    """Whether, and how, to shuffle: where it is open, what is trained on, and what is drawn by a law of its own.

    Raises:
        ArgumentError: Where a law is to draw block by block.
    """
    if isinstance(shuffle, str) and is_drawn:
        raise ArgumentError(f"shuffle={shuffle!r}: with balance, weights or shares, allowed are True and False")
    return is_train or is_drawn if shuffle is None else shuffle
