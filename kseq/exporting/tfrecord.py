"""TFRecord files of `tf.train.Example`, written without TensorFlow.

The rules:

- Features have the names of TensorFlow's own data sets and its detection API: `image/encoded`, `image/format` (`jpeg`, `png` or
  `npy`), `image/height`, `image/width`, `image/filename` (the source), `image/class/label`, `image/class/text`. Of several
  images, each is the feature with the name of its field.
- Boxes are `image/object/bbox/xmin`, `ymin`, `xmax` and `ymax`, as fractions of the width and the height; their classes are
  `image/object/class/label` and `image/object/class/text`. Since fractions are rounded, the feature `boxes` has the boxes once
  more, as JSON in pixels. Class numbers are kseq's, from 0; `label_map.pbtxt` has the names of all, those without a box too.
- Height, width and boxes are those of the upright image; TensorFlow ignores the EXIF orientation when it decodes a JPEG.
- The mask, whatever its field is called, is `image/segmentation/class/encoded`, with its `format` beside it, as for DeepLab.
- Other fields are features with the names of the fields: numbers and vectors as lists of numbers, labels as lists of class
  names, text as bytes, numbers in other shapes as JSON.
- Files are named as at the top of `kseq/exporting/webdataset.py`: `train-000000.tfrecord` and so on. Raw pixels become PNG, or
  `.npy` if they have more than 8 bits or other channels than colours.

Source: the comments in `tensorflow/core/example/feature.proto`; `object_detection/core/standard_fields.py` and DeepLab's
`build_data.py` in github.com/tensorflow/models.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kseq.exporting.exported_samples import ExportedSample, ExportedSamples
from kseq.exporting.rolling_files import RollingWriter
from kseq.exporting.writer import ExportFormat, close_durably
from kseq.sources.example_message import example_class
from kseq.sources.tfrecord import frame_record
from kseq.storage.box_counts import box_class_names
from kseq.storage.field_kinds import ImageDescription

__all__ = ["TFRECORD", "TFRecordWriter"]


_LABEL_MAP = "label_map.pbtxt"

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
        has_one_image = samples.has_one_image
        columns = {name: field.handler.feature_name(has_one_image) for name, field in samples.fields.items()}
        super().__init__(folder, ".tfrecord", lambda path: _RecordFile(path, samples), file_bytes, columns)
        box_classes = box_class_names(samples.fields.values())
        if box_classes:
            with open(os.path.join(folder, _LABEL_MAP), "w", encoding="utf-8", newline="\n") as file:
                file.writelines(_label_map_items(box_classes))


TFRECORD = ExportFormat("tfrecord", TFRecordWriter, has_file_bytes=True)


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
        example = self._example()
        for name, (kind, values) in self._features(sample).items():
            # A feature without values is written too: its name says that samples have such a field.
            getattr(example.features.feature[name], kind).value.extend(values)
        self._file.write(frame_record(example.SerializeToString(deterministic=True)))
        return self._file.tell()

    def _features(self, sample: ExportedSample) -> dict[str, _Feature]:
        """Feature name to values, of all fields of a sample."""
        fields, class_names = self._samples.fields, self._samples.class_names
        first = next(iter(sample.images.values()))
        description = ImageDescription(first.height, first.width, self._samples.has_one_image)
        features: dict[str, _Feature] = {
            "image/filename": ("bytes_list", [sample.source]),
            "image/format": ("bytes_list", [first.format.encode()]),
            "image/height": ("int64_list", [first.height]),
            "image/width": ("int64_list", [first.width]),
        }
        for name, image in sample.images.items():
            of_image = fields[name].handler.image_features(image.data, image.format, description)
            features |= {feature: _feature(values) for feature, values in of_image.items()}
        for name, value in sample.values.items():
            handler = fields[name].handler
            of_value = handler.features(value, handler.class_names(class_names), description)
            features |= {feature: _feature(values) for feature, values in of_value.items()}
        return features

    def close(self) -> None:
        close_durably(self._file)


def _label_map_items(names: Sequence[str]) -> Iterator[str]:
    return (f"item {{\n  id: {number}\n  name: {_quoted(name)}\n}}\n" for number, name in enumerate(names))


def _quoted(text: str) -> str:
    """A text as a label map has it."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r"}
    return f'"{"".join(escapes.get(character, character) for character in text)}"'


def _feature(values: np.ndarray | Sequence[bytes]) -> _Feature:
    if not isinstance(values, np.ndarray):
        return "bytes_list", values
    return ("float_list" if values.dtype.kind == "f" else "int64_list"), values.tolist()
