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

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kseq.exporting.exported_samples import Exported, Sample
from kseq.exporting.rolling_files import RollingWriter
from kseq.sources.tf_example import example_class
from kseq.sources.tfrecord import frame_record
from kseq.storage.field_kinds import ImageDescription
from kseq.storage.fields import Field

__all__ = ["RecordsWriter"]

_FORMATS = {".jpg": "jpeg", ".png": "png"}

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
        is_only_image = _has_one_image(exported.fields)
        columns = {name: field.handler.feature_name(is_only_image) for name, field in exported.fields.items()}
        super().__init__(folder, ".tfrecord", lambda path: _RecordFile(path, exported), file_bytes, columns)


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
        first = next(iter(sample.pictures.values()))
        features: dict[str, _Values] = {
            "image/filename": _feature([sample.source]),
            "image/format": _feature([_FORMATS[first.suffix].encode()]),
            "image/height": _feature(np.array([first.height])),
            "image/width": _feature(np.array([first.width])),
        }
        image = self._describe_image(sample)
        for name, picture in sample.pictures.items():
            of_picture = self._exported.fields[name].handler.picture_features(picture.data, _FORMATS[picture.suffix], image)
            features |= {feature: _feature(data) for feature, data in of_picture.items()}
        return features

    def _of_value(self, field: Field, value: np.ndarray, sample: Sample) -> dict[str, _Values]:
        names = field.handler.class_names(self._exported.class_names)
        features = field.handler.features(value, names, self._describe_image(sample))
        return {feature: _feature(values) for feature, values in features.items()}

    def _describe_image(self, sample: Sample) -> ImageDescription:
        first = next(iter(sample.pictures.values()))
        return ImageDescription(first.height, first.width, _has_one_image(self._exported.fields))

    def close(self) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())


def _has_one_image(fields: Mapping[str, Field]) -> bool:
    return sum(field.is_image for field in fields.values()) == 1


def _feature(values: np.ndarray | Sequence[bytes]) -> _Values:
    if not isinstance(values, np.ndarray):
        return "bytes_list", values
    return ("float_list" if values.dtype.kind == "f" else "int64_list"), values.tolist()
