"""The arguments of a ShardSequence that the page offers: those that are plain values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kseq.errors import ArgumentError
from kseq.images.pixel_form import CHANNELS
from kseq.images.resize import INTERPOLATIONS
from kseq.ordering.epoch_order import REMAINDERS
from kseq.training.affine_augment import RandomAffine
from kseq.training.augment import Augmentation, CenterCrop, RandomFlip, RandomResizedCrop
from kseq.training.color_augment import ColorJitter, RandomErasing
from kseq.training.damaged_samples import ON_ERROR
from kseq.training.keras_layout import BOX_FORMATS
from kseq.viewing.opened import Opened
from kseq.viewing.requests import one_of, whole_number

__all__ = ["Chosen", "describe_settings", "read_settings"]


class Setting(NamedTuple):
    """One argument as a form has it. Where nothing is given, the argument is left out, but for those of a size.

    Attributes:
        name: Of the argument, and of the parameter of an address.
        title: What the form calls it.
        words: What can be chosen, to its title; None for a number or a text.
        least: Of a number; None for a text.
        most: Of a number.
        default: What the form shows when nothing was given.
        is_rare: Whether the form shows it only when asked to.
    """

    name: str
    title: str
    words: Mapping[str, str] | None = None
    least: int | None = None
    most: int = 0
    default: str = ""
    is_rare: bool = False


def _words(*names: str) -> dict[str, str]:
    """Texts to choose from, the first one by default."""
    return {"": names[0]} | {name: name for name in names[1:]}


_YES_OR_NO = {"": "no", "True": "yes"}

# What is no argument of its own name is read on its own below: split, the size, how other shapes are fitted.
_SETTINGS = (
    Setting("batch_size", "Batch size", least=1, most=256, default="32"),
    Setting("interpolation", "Interpolation", _words("bilinear", *sorted({*INTERPOLATIONS} - {"bilinear"}))),
    Setting("antialias", "Antialias", _YES_OR_NO),
    Setting("dtype", "dtype", _words("uint8", "float32", "float16")),
    Setting("scale", "Scale", {"": "1", "1 / 255": "1/255", "1 / 127.5": "1/127.5"}),
    Setting("shuffle", "Shuffle", {"": "as the split wants", "True": "yes", "False": "no", "block": "by blocks"}),
    Setting("seed", "Seed", least=0, most=1 << 31, default="0"),
    Setting("layout", "Layout", {"": "(inputs, targets)", "keras": "keras: one dict"}),
    Setting("bounding_box_format", "Boxes are", _words(*BOX_FORMATS), is_rare=True),
    Setting("label_mode", "Labels are", {"": "numbers", "categorical": "one-hot", "binary": "binary", "None": "left out"}),
    Setting("remainder", "Remainder", _words(*REMAINDERS), is_rare=True),
    Setting("balance", "Balance", {"": "no", "class": "classes"}, is_rare=True),
    Setting("color_mode", "Colours", {"": "as stored"} | {name: name for name in CHANNELS}, is_rare=True),
    Setting("data_format", "Channels", {"": "last", "channels_first": "first"}, is_rare=True),
    Setting("decode", "Decoding", _words("fast", "exact"), is_rare=True),
    Setting("inputs", "Inputs, by name", is_rare=True),
    Setting("targets", "Targets, by name", is_rare=True),
    Setting("sample_weight", "Weights, by name", is_rare=True),
    Setting("unmoved", "Numbers that stay, by name", is_rare=True),
    Setting("ragged", "Ragged", _YES_OR_NO, is_rare=True),
    Setting("pad_to", "Pad to", least=1, most=1 << 16, is_rare=True),
    Setting("epoch_size", "Epoch size", least=1, most=1 << 40, is_rare=True),
    Setting("on_error", "Damaged samples", {"": "end it"} | {name: name for name in ON_ERROR[1:]}, is_rare=True),
    Setting("rank", "Rank", least=0, most=1 << 16, is_rare=True),
    Setting("world_size", "World size", least=1, most=1 << 16, is_rare=True),
)

_FITS = ("stretch", "crop", "pad")
_MOST_PIXELS_A_SIDE = 2048

# What the page offers, in the order in which it is applied, as code too.
_AUGMENTATIONS: dict[str, tuple[str, Callable[[tuple[int, int]], Augmentation], str]] = {
    "crop": ("random crops", RandomResizedCrop, "kseq.RandomResizedCrop({size})"),
    "center": ("crop of the centre", CenterCrop, "kseq.CenterCrop({size})"),
    "flip": ("flips", lambda _: RandomFlip(), "kseq.RandomFlip()"),
    "affine": (
        "turns and shifts",
        lambda _: RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1)),
        "kseq.RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1))",
    ),
    "color": ("colours", lambda _: ColorJitter(0.3, 0.3, 0.3), "kseq.ColorJitter(0.3, 0.3, 0.3)"),
    "erase": ("erasing", lambda _: RandomErasing(), "kseq.RandomErasing()"),
}


def describe_settings(opened: Opened) -> dict[str, Any]:
    """What a form is made of: `settings`, `augmentations` and their titles, and the most pixels a side."""
    settings = [setting for setting in _SETTINGS if setting.name != "balance" or opened.label is not None]
    return {
        "settings": [setting._asdict() for setting in settings],
        "augmentations": {name: title for name, (title, _, _) in _AUGMENTATIONS.items()},
        "fits": _FITS,
        "most_pixels": _MOST_PIXELS_A_SIDE,
    }


class Chosen(NamedTuple):
    """Settings that were chosen.

    Attributes:
        arguments: Of `kseq.Batches`.
        code: The call that makes such a Sequence; the same for the same arguments.
    """

    arguments: dict[str, Any]
    code: str


def read_settings(opened: Opened, parameters: Mapping[str, str]) -> Chosen:
    """What an address asks for.

    Raises:
        ArgumentError: If a parameter is not allowed.
    """
    splits = ("all", *opened.dataset.splits)
    split = one_of(parameters, "split", "train" if "train" in splits else "all", splits)
    size = tuple(whole_number(parameters, side, 224, 1, _MOST_PIXELS_A_SIDE) for side in ("height", "width"))
    values: dict[str, tuple[Any, str]] = {"input_shape": ((*size, None), "")}
    fit = one_of(parameters, "fit", "stretch", _FITS)
    if fit != "stretch":
        values[f"{fit}_to_aspect_ratio"] = True, "True"
    for setting in _SETTINGS:
        text = parameters.get(setting.name, "")
        if text not in ("", setting.default):
            values[setting.name] = _read(setting, parameters, text)
    color_mode = values.get("color_mode", (None, ""))[0]
    channels = CHANNELS[color_mode] if color_mode else opened.image.shape[2]
    shape = (*size, channels)
    values["input_shape"] = shape, repr(shape)
    if values.get("rank") or values.get("world_size"):
        values = {"rank": (0, "0"), "world_size": (1, "1")} | values
    augment, code = _read_augment(parameters, (size[0], size[1]))
    if augment:
        values["augment"] = augment, code
    listed = ", ".join(f"{name}={code}" for name, (_, code) in values.items())
    arguments = {name: value for name, (value, _) in values.items()} | {"split": split}
    return Chosen(arguments, f"kseq.ShardSequence({opened.dataset.path!r}, {split!r}, {listed})")


def _read(setting: Setting, parameters: Mapping[str, str], text: str) -> tuple[Any, str]:
    """The value of an argument, and its code."""
    if setting.words is not None:
        word = one_of(parameters, setting.name, "", setting.words)
        return (_VALUES[word], word) if word in _VALUES else (word, repr(word))
    if setting.least is not None:
        number = whole_number(parameters, setting.name, None, setting.least, setting.most)
        return number, str(number)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or not all(re.fullmatch(r"[^\x00-\x1f]{1,200}", name) for name in names):
        raise ArgumentError(f"{setting.name}={text!r}: allowed are names of fields with commas between them")
    value: Any = names[0] if len(names) == 1 else names
    if len(names) > 1 and setting.name in ("inputs", "targets"):
        value = {name: name for name in names}
    return value, repr(value)


_VALUES: dict[str, Any] = {"True": True, "False": False, "None": None, "1 / 255": 1 / 255, "1 / 127.5": 1 / 127.5}


def _read_augment(parameters: Mapping[str, str], size: tuple[int, int]) -> tuple[list[Augmentation], str]:
    """The augmentations that an address names, in their order, and their code."""
    names = parameters.get("augment", "").split(",")
    wrong = [name for name in names if name and name not in _AUGMENTATIONS]
    if wrong:
        raise ArgumentError(f"augment={wrong[0]}: allowed are {', '.join(_AUGMENTATIONS)}")
    chosen = [made for name, made in _AUGMENTATIONS.items() if name in names]
    codes = ", ".join(code.format(size=size) for _, _, code in chosen)
    return [make(size) for _, make, _ in chosen], f"[{codes}]"
