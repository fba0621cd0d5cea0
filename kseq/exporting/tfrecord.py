"""TFRecord files of `tf.train.Example`, written without TensorFlow.

The rules:

- Features have the names of TensorFlow's own data sets and its detection API: `image/encoded`, `image/format` (`jpeg` or
  `png`), `image/height`, `image/width`, `image/filename` (the source), `image/class/label`, `image/class/text`. Of several
  images, each is the feature with the name of its field.
- Boxes are `image/object/bbox/xmin`, `ymin`, `xmax` and `ymax`, as fractions of the width and the height; their classes are
  `image/object/class/label` and `image/object/class/text`. Since fractions are rounded, the feature `boxes` has the boxes once
  more, as JSON in pixels. Class numbers are kseq's, from 0.
- Height, width and boxes are those of the upright image; TensorFlow ignores the EXIF orientation when it decodes a JPEG.
- The mask is `image/segmentation/class/encoded`, with its `format` beside it, as for DeepLab.
- Other fields are features with the names of the fields: numbers and vectors as lists of numbers, labels as lists of class
  names, text as bytes, numbers in other shapes as JSON.
- Files are named as at the top of `kseq/exporting/webdataset.py`: `train-000000.tfrecord` and so on. Raw pixels become PNG.

Source: the comments in `tensorflow/core/example/feature.proto`; `object_detection/core/standard_fields.py` and DeepLab's
`build_data.py` in github.com/tensorflow/models.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kseq.exporting.exported_samples import ExportedSample, ExportedSamples, ImageFile
from kseq.exporting.rolling_files import RollingWriter
from kseq.exporting.writer import ExportFormat, close_durably
from kseq.sources.tf_example import example_class
from kseq.sources.tfrecord import frame_record
from kseq.storage.fields import Field

__all__ = ["TFRECORD", "TFRecordWriter"]

_BOX, _CLASS, _MASK = "image/object/bbox", "image/object/class", "image/segmentation/class"
_SIDES = ("xmin", "ymin", "xmax", "ymax")

# The list of a feature, and the values in the list.
_Feature = tuple[str, Sequence[Any]]


class TFRecordWriter(RollingWriter):
    """Writes samples into TFRecord files.

    Args:
        folder: An empty folder.
        samples: The samples that will be written.
        file_bytes: About how large each file is to be, in bytes.

    Raises:
        ArgumentError: If google-crc32c or protobuf is not installed.
    """

    def __init__(self, folder: str, samples: ExportedSamples, file_bytes: int) -> None:
        # A missing package is an error before anything is written.
        frame_record(b"")
        columns = {name: _feature_name(field, samples) for name, field in samples.fields.items()}
        super().__init__(folder, ".tfrecord", lambda path: _RecordFile(path, samples), file_bytes, columns)


TFRECORD = ExportFormat("tfrecord", TFRecordWriter, has_file_bytes=True)


def _feature_name(field: Field, samples: ExportedSamples) -> str:
    """The feature that `kseq pack` reads a field from."""
    if field.kind == "image":
        return "image/encoded" if samples.has_one_image else field.name
    names = {"mask": f"{_MASK}/encoded", "label": "image/class/text", "labels": f"{_CLASS}/text"}
    return names.get(field.kind, field.name)


class _RecordFile:
    """A TFRecord file, open for writing.

    Args:
        path: The file to make.
        samples: The samples that will be written.
    """

    def __init__(self, path: str, samples: ExportedSamples) -> None:
        self._samples = samples
        self._example = example_class()
        self._file = open(path, "wb")  # noqa: SIM115  # see close

    def add(self, sample: ExportedSample) -> int:
        features = self._image_features(sample)
        for name, value in sample.values.items():
            features |= self._value_features(self._samples.fields[name], value, sample)
        example = self._example()
        for name, (kind, values) in features.items():
            # A feature without values is written too: its name says that samples have such a field.
            getattr(example.features.feature[name], kind).value.extend(values)
        self._file.write(frame_record(example.SerializeToString(deterministic=True)))
        return self._file.tell()

    def _image_features(self, sample: ExportedSample) -> dict[str, _Feature]:
        fields = self._samples.fields
        first = next(iter(sample.images.values()))
        features: dict[str, _Feature] = {
            "image/filename": _bytes([sample.source]),
            "image/format": _bytes([_format_name(first)]),
            "image/height": _whole_numbers([first.height]),
            "image/width": _whole_numbers([first.width]),
        }
        for name, image in sample.images.items():
            features[_feature_name(fields[name], self._samples)] = _bytes([image.data])
            if fields[name].kind == "mask":
                features[f"{_MASK}/format"] = _bytes([_format_name(image)])
        return features

    def _value_features(self, field: Field, value: np.ndarray, sample: ExportedSample) -> dict[str, _Feature]:
        json_value = self._samples.json_value(field.name, value)
        if field.kind == "label":
            return {"image/class/label": _whole_numbers([int(value)]), "image/class/text": _bytes([os.fsencode(json_value)])}
        if field.kind == "labels":
            names = _bytes([os.fsencode(name) for name in json_value])
            return {f"{_CLASS}/label": _whole_numbers(value.tolist()), f"{_CLASS}/text": names}
        if field.kind == "multi_label":
            return {field.name: _bytes([os.fsencode(name) for name in json_value])}
        if field.kind == "text":
            return {field.name: _bytes([value.tobytes()])}
        if field.kind == "boxes":
            image = next(iter(sample.images.values()))
            fractions = value / np.array([image.width, image.height] * 2, np.float32)
            sides = {f"{_BOX}/{side}": _numbers(column) for side, column in zip(_SIDES, fractions.T, strict=True)}
            return {**sides, field.name: _bytes([json.dumps(json_value).encode()])}
        # A list of numbers only where reading it gives the same shape.
        is_list = field.shape == () or (len(field.shape) == 1 and (field.shape[0] or 0) > 1)
        return {field.name: _numbers(value.reshape(-1)) if is_list else _bytes([json.dumps(json_value).encode()])}

    def close(self) -> None:
        close_durably(self._file)


def _format_name(image: ImageFile) -> bytes:
    """What TensorFlow's own scripts call a format: `jpeg` or `png`."""
    return image.format.name.lower().encode()


def _bytes(values: Sequence[bytes]) -> _Feature:
    return "bytes_list", values


def _whole_numbers(values: Sequence[int]) -> _Feature:
    return "int64_list", values


def _numbers(values: np.ndarray) -> _Feature:
    return ("float_list" if values.dtype.kind == "f" else "int64_list"), values.tolist()
