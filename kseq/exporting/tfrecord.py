"""TFRecord files of `tf.train.Example`, written without TensorFlow.

The rules:

- Features have the names of TensorFlow's own data sets and its detection API: `image/encoded`, `image/format` (`jpeg` or
  `png`), `image/height`, `image/width`, `image/filename` (the source), `image/class/label`, `image/class/text`. Of several
  images, each is the feature called like its field.
- Boxes are `image/object/bbox/xmin`, `ymin`, `xmax` and `ymax`, in shares of the width and the height; their classes
  `image/object/class/label` and `image/object/class/text`. Since shares are rounded, `boxes` has them once more, as JSON in
  pixels. Class numbers are kseq's, from 0.
- Height, width and boxes are those of the upright image; TensorFlow decodes a JPEG as it lies, whatever its EXIF says.
- The mask is `image/segmentation/class/encoded`, and its `format` is beside it, as for DeepLab.
- Other fields are features of their names: numbers and vectors as lists of numbers, labels as lists of class names, text as
  bytes; numbers in other shapes as JSON.
- Files are called `train-000000.tfrecord` and so on, as `webdataset.py` beside this says; raw pixels
  are PNG here too.

Source: the comments in `tensorflow/core/example/feature.proto`; `object_detection/core/standard_fields.py` and DeepLab's
`build_data.py` in github.com/tensorflow/models.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kseq.exporting.exported_samples import Exported, Picture, Sample
from kseq.exporting.rolling_files import RollingWriter
from kseq.sources.tf_example import example_class
from kseq.sources.tfrecord import frame_record
from kseq.storage.fields import Field

__all__ = ["RecordsWriter"]

_BOX, _CLASS, _MASK = "image/object/bbox", "image/object/class", "image/segmentation/class"
_SIDES = ("xmin", "ymin", "xmax", "ymax")

# Which of its lists a feature has, and the values in it.
_Values = tuple[str, Sequence[Any]]


class RecordsWriter(RollingWriter):
    """Writes samples into TFRecord files.

    Args:
        folder: An empty folder.
        exported: Where the samples are from.
        file_bytes: About how large each file is.

    Raises:
        ArgumentError: Where google-crc32c or protobuf is not installed.
    """

    def __init__(self, folder: str, exported: Exported, file_bytes: int) -> None:
        # Before anything is written.
        frame_record(b"")
        columns = {name: _feature_name(each, exported.fields) for name, each in exported.fields.items()}
        super().__init__(folder, ".tfrecord", lambda path: _RecordFile(path, exported), file_bytes, columns)


def _feature_name(field: Field, fields: Mapping[str, Field]) -> str:
    """The feature that `kseq pack` reads a field from."""
    if field.kind == "image":
        return "image/encoded" if sum(each.kind == "image" for each in fields.values()) == 1 else field.name
    names = {"mask": f"{_MASK}/encoded", "label": "image/class/text", "labels": f"{_CLASS}/text"}
    return names.get(field.kind, field.name)


class _RecordFile:
    def __init__(self, path: str, exported: Exported) -> None:
        self._exported = exported
        self._example = example_class()
        self._file = open(path, "wb")  # noqa: SIM115  # see close

    def add(self, sample: Sample) -> int:
        features = self._of_pictures(sample)
        for name, value in sample.values.items():
            features |= self._of_value(self._exported.fields[name], value, sample)
        example = self._example()
        for name, (kind, values) in features.items():
            # Of none too: that there is such a feature is said by its name.
            getattr(example.features.feature[name], kind).value.extend(values)
        self._file.write(frame_record(example.SerializeToString(deterministic=True)))
        return self._file.tell()

    def _of_pictures(self, sample: Sample) -> dict[str, _Values]:
        fields = self._exported.fields
        first = next(iter(sample.pictures.values()))
        features: dict[str, _Values] = {
            "image/filename": _bytes([sample.source]),
            "image/format": _bytes([_format_name(first)]),
            "image/height": _whole([first.height]),
            "image/width": _whole([first.width]),
        }
        for name, picture in sample.pictures.items():
            features[_feature_name(fields[name], fields)] = _bytes([picture.data])
            if fields[name].kind == "mask":
                features[f"{_MASK}/format"] = _bytes([_format_name(picture)])
        return features

    def _of_value(self, field: Field, value: np.ndarray, sample: Sample) -> dict[str, _Values]:
        told = self._exported.told(field.name, value)
        if field.kind == "label":
            return {"image/class/label": _whole([int(value)]), "image/class/text": _bytes([os.fsencode(told)])}
        if field.kind == "labels":
            names = _bytes([os.fsencode(each) for each in told])
            return {f"{_CLASS}/label": _whole(value.tolist()), f"{_CLASS}/text": names}
        if field.kind == "multi_label":
            return {field.name: _bytes([os.fsencode(each) for each in told])}
        if field.kind == "text":
            return {field.name: _bytes([value.tobytes()])}
        if field.kind == "boxes":
            picture = next(iter(sample.pictures.values()))
            shares = value / np.array([picture.width, picture.height] * 2, np.float32)
            sides = {f"{_BOX}/{side}": _numbers(column) for side, column in zip(_SIDES, shares.T, strict=True)}
            return {**sides, field.name: _bytes([json.dumps(told).encode()])}
        # A list where reading it back gives the same shape.
        is_plain = field.shape == () or (len(field.shape) == 1 and (field.shape[0] or 0) > 1)
        return {field.name: _numbers(value.reshape(-1)) if is_plain else _bytes([json.dumps(told).encode()])}

    def close(self) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())


def _format_name(picture: Picture) -> bytes:
    """What TensorFlow's own scripts call a format: `jpeg` or `png`."""
    return picture.format.name.lower().encode()


def _bytes(values: Sequence[bytes]) -> _Values:
    return "bytes_list", values


def _whole(values: Sequence[int]) -> _Values:
    return "int64_list", values


def _numbers(values: np.ndarray) -> _Values:
    return ("float_list" if values.dtype.kind == "f" else "int64_list"), values.tolist()
