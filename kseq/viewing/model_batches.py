"""What a model gets: batches of `kseq.Batches` with settings from the page, and their images as anyone can see them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kseq.errors import ArgumentError, DamagedError
from kseq.storage.fields import Field
from kseq.training.affine_augment import RandomAffine
from kseq.training.augment import Augmentation, CenterCrop, RandomFlip, RandomResizedCrop
from kseq.training.batches import Batches, fields_by_name
from kseq.training.color_augment import ColorJitter, RandomErasing
from kseq.viewing.opened import Opened
from kseq.viewing.requests import one_of, whole_number
from kseq.viewing.sample_page import describe_value

__all__ = ["ModelBatches", "read_settings"]

_DTYPES = ("uint8", "float32", "float16")
_INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic")
_FITS = ("stretch", "crop", "pad")
_SHUFFLES = ("default", "true", "false", "block")
_REMAINDERS = ("keep", "drop", "pad")
_BALANCES = ("none", "class")
_SCALES = {"1": None, "1/255": 1 / 255}

# What the page offers, in the order in which it is applied, as code too.
_AUGMENTATIONS: dict[str, tuple[Callable[[tuple[int, int]], Augmentation], str]] = {
    "crop": (RandomResizedCrop, "kseq.RandomResizedCrop({size})"),
    "center": (CenterCrop, "kseq.CenterCrop({size})"),
    "flip": (lambda _: RandomFlip(), "kseq.RandomFlip()"),
    "affine": (
        lambda _: RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1)),
        "kseq.RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1))",
    ),
    "color": (lambda _: ColorJitter(0.3, 0.3, 0.3), "kseq.ColorJitter(0.3, 0.3, 0.3)"),
    "erase": (lambda _: RandomErasing(), "kseq.RandomErasing()"),
}

# So many settings stay open, and so many batches in memory.
_KEPT_SETTINGS, _KEPT_BATCHES = 2, 2

# Somebody looks at one batch, and perhaps at the next.
_FEW_WORKERS: dict[str, Any] = {"max_queue_size": 1, "idle_seconds": 5.0}


def read_settings(opened: Opened, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `kseq.Batches` that an address asks for.

    Raises:
        ArgumentError: If a parameter is not allowed.
    """
    splits = ("all", *opened.dataset.splits)
    fit = one_of(parameters, "fit", "stretch", _FITS)
    dtype = one_of(parameters, "dtype", "uint8", _DTYPES)
    shuffle = one_of(parameters, "shuffle", "default", _SHUFFLES)
    balance = one_of(parameters, "balance", "none", _BALANCES)
    height = whole_number(parameters, "height", 224, 1, 2048)
    width = whole_number(parameters, "width", 224, 1, 2048)
    _, _, channels = opened.image.shape
    settings: dict[str, Any] = {
        "split": one_of(parameters, "split", "train" if "train" in splits else "all", splits),
        "batch_size": whole_number(parameters, "size", 32, 1, 256),
        "input_shape": (height, width, channels),
        "interpolation": one_of(parameters, "interpolation", "bilinear", _INTERPOLATIONS),
        "dtype": dtype,
        "seed": whole_number(parameters, "seed", 0, 0, 2**31),
        "remainder": one_of(parameters, "remainder", "keep", _REMAINDERS),
    }
    if fit != "stretch":
        settings[f"{fit}_to_aspect_ratio"] = True
    if parameters.get("antialias") == "1":
        settings["antialias"] = True
    if dtype != "uint8":
        settings["scale"] = _SCALES[one_of(parameters, "scale", "1", _SCALES)]
    if shuffle != "default":
        settings["shuffle"] = {"true": True, "false": False, "block": "block"}[shuffle]
    if balance != "none":
        settings["balance"] = balance
    augment = [make((height, width)) for make, _ in _chosen(parameters)]
    if augment:
        settings["augment"] = augment
    return settings


def _chosen(parameters: Mapping[str, str]) -> list[tuple[Callable[[tuple[int, int]], Augmentation], str]]:
    """The augmentations that an address names, in their order."""
    names = parameters.get("augment", "").split(",")
    wrong = [name for name in names if name and name not in _AUGMENTATIONS]
    if wrong:
        raise ArgumentError(f"augment={wrong[0]}: allowed are {', '.join(_AUGMENTATIONS)}")
    return [_AUGMENTATIONS[name] for name in _AUGMENTATIONS if name in names]


def as_code(settings: Mapping[str, Any], path: str) -> str:
    """The call that makes a Sequence with the settings that `read_settings` returned; the same for the same ones."""
    arguments = [repr(path), repr(settings["split"])]
    for name, value in settings.items():
        if name == "augment":
            height, width, _ = settings["input_shape"]
            codes = {type(make((height, width))): code.format(size=(height, width)) for make, code in _AUGMENTATIONS.values()}
            arguments.append(f"augment=[{', '.join(codes[type(augmentation)] for augmentation in value)}]")
        elif name == "scale":
            arguments += ["scale=1 / 255"] if value else []
        elif name != "split" and (name, value) not in _DEFAULTS:
            arguments.append(f"{name}={value!r}")
    return f"kseq.ShardSequence({', '.join(arguments)})"


_DEFAULTS = [("interpolation", "bilinear"), ("dtype", "uint8"), ("seed", 0), ("remainder", "keep"), ("batch_size", 32)]


class ModelBatches:
    """Batches of a dataset, a few of which stay in memory until other ones are asked for.

    Args:
        opened: The dataset.
        reading: The arguments of `kseq.Batches` that say how files are read.
    """

    def __init__(self, opened: Opened, reading: Mapping[str, Any]) -> None:
        self._opened = opened
        self._reading = reading
        self._lock = threading.Lock()
        # Held while a batch is read, so that what twenty images of it need is read once.
        self._reading_lock = threading.Lock()
        self._settings: OrderedDict[str, Batches] = OrderedDict()
        self._batches: OrderedDict[tuple[str, int, int], Any] = OrderedDict()

    def describe(self, settings: Mapping[str, Any], epoch: int, number: int) -> dict[str, Any]:
        """A batch: its `rows` with sample ids and targets, and what its arrays are like.

        Raises:
            KseqError: As `kseq.Batches` raises it.
        """
        batches = self._find(settings)
        inputs, targets, weights = self._parts(settings, epoch, number)
        ids = batches.sample_ids(epoch, number)
        rows: list[dict[str, Any]] = [{"id": sample_id, "targets": []} for sample_id in ids.tolist()]
        for name, values in targets.items():
            field = self._opened.reader.fields.get(name)
            if field is None or field.is_pixels:
                # Masks of padding say which elements of another array there are; those of pixels are drawn.
                continue
            names = field.handler.class_names(self._opened.dataset.class_names)
            for row, value in zip(rows, _unpadded(field, values, targets.get(f"{name}_mask")), strict=True):
                row["targets"].append({"name": name, "kind": field.kind, **describe_value(field, value, names)})
        if weights is not None:
            for row, weight in zip(rows, np.asarray(weights).reshape(len(rows), -1)[:, 0].tolist(), strict=True):
                row["weight"] = weight
        arrays = {**inputs, **targets} | ({} if weights is None else {"sample weights": weights})
        return {
            "num_batches": batches.num_batches,
            "num_samples": batches.num_samples,
            "code": as_code(settings, self._opened.dataset.path),
            "rows": rows,
            "arrays": [_describe_array(name, values) for name, values in arrays.items()],
            "images": [name for name in inputs if self._opened.reader.fields[name].is_image],
            "masks": [
                name for name in targets if name in self._opened.reader.fields and self._opened.reader.fields[name].is_pixels
            ],
            "input_shape": list(batches.input_shape),
        }

    def pixels(self, settings: Mapping[str, Any], epoch: int, number: int, row: int, name: str) -> tuple[Field, np.ndarray]:
        """An image or a mask of a batch: its field, and `(height, width, channels)` uint8 with the very values of the batch.

        Raises:
            ArgumentError: If the batch has no such row or field.
        """
        inputs, targets, _ = self._parts(settings, epoch, number)
        arrays = {**inputs, **targets}
        field = self._opened.reader.fields.get(name)
        if field is None or name not in arrays or not field.is_pixels:
            raise ArgumentError(f"field={name}: a batch has no such pixels")
        if not 0 <= row < len(arrays[name]):
            raise ArgumentError(f"row={row}: the batch has {len(arrays[name])}")
        values = np.asarray(arrays[name][row])
        if values.dtype != np.uint8:
            shown = np.nan_to_num(values.astype(np.float32) / (settings.get("scale") or 1))
            values = np.clip(np.rint(shown), 0, 255).astype(np.uint8)
        return field, values

    def close(self) -> None:
        """End the workers of all batches."""
        with self._reading_lock, self._lock:
            for batches in self._settings.values():
                batches.close()
            self._settings.clear()
            self._batches.clear()

    def _parts(self, settings: Mapping[str, Any], epoch: int, number: int) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """The inputs, the targets and the weights of a batch, by the names of their fields."""
        key = as_code(settings, ""), epoch, number
        with self._reading_lock:
            batches, batch = self._find(settings), self._batches.get(key)
            if batch is None:
                batch = self._batches[key] = batches.batch(epoch, number)
                while len(self._batches) > _KEPT_BATCHES:
                    self._batches.popitem(last=False)
        inputs, targets, *weights = batch if isinstance(batch, tuple) else (batch, {})
        input_fields, target_fields = fields_by_name(batches)
        return _by_field(inputs, input_fields), _by_field(targets, target_fields), weights[0] if weights else None

    def _find(self, settings: Mapping[str, Any]) -> Batches:
        key = as_code(settings, "")
        with self._lock:
            if key not in self._settings:
                self._settings[key] = self._open(settings)
                while len(self._settings) > _KEPT_SETTINGS:
                    self._settings.popitem(last=False)[1].close()
            self._settings.move_to_end(key)
            return self._settings[key]

    def _open(self, settings: Mapping[str, Any]) -> Batches:
        dataset = self._opened.dataset
        batches = Batches(dataset.path, **settings, **self._reading, rank=0, world_size=1, **_FEW_WORKERS)
        if batches.digest != dataset.digest:
            batches.close()
            raise DamagedError(f"{dataset.path}: was changed meanwhile")
        return batches


def _by_field(values: Any, fields: Mapping[str, str]) -> dict[str, Any]:
    """The arrays of a batch by the names of their fields; alone, an array has no name."""
    named = values if isinstance(values, dict) else dict.fromkeys(fields, values)
    return {fields[name]: array for name, array in named.items() if name in fields}


def _unpadded(field: Field, values: Any, mask: Any) -> list[Any]:
    """The values of a field in a batch, sample by sample, without what fills up the rows."""
    values = field.handler.readable_value(np.asarray(values), None if mask is None else np.asarray(mask))
    if field.kind == "multi_label":
        return [np.flatnonzero(row) for row in values]
    if mask is None or len(values) != len(mask) or isinstance(values[0], str):
        return list(values)
    return [row[is_element] for row, is_element in zip(values, np.asarray(mask), strict=True)]


def _describe_array(name: str, values: Any) -> dict[str, Any]:
    """What an array of a batch is like: its dtype, shape, ends and mean."""
    array = np.asarray(values)
    facts: dict[str, Any] = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size:
        numbers = array.astype(np.float64)
        facts |= {"least": float(numbers.min()), "most": float(numbers.max()), "mean": float(numbers.mean())}
    return facts
