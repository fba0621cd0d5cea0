"""TFRecords of features, written without TensorFlow, which takes seconds to import."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from kseq.sources.example_message import example_class
from kseq.sources.tfrecord import frame_record

SIDES = ("xmin", "ymin", "xmax", "ymax")


def png(colour: tuple[int, int, int] = (9, 9, 9), size: tuple[int, int] = (100, 100), **options: Any) -> bytes:
    """A PNG of one colour; `size` is width and height."""
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG", **options)
    return data.getvalue()


def example(features: dict[str, Sequence[Any]]) -> bytes:
    """A `tf.train.Example`; the kind of a feature follows from its values."""
    message = example_class()()
    for name, values in features.items():
        kind = next((kinds[type(value)] for value in values for kinds in [_KINDS]), "bytes_list")
        texts = [value.encode() if isinstance(value, str) else value for value in values]
        getattr(message.features.feature[name], kind).value.extend(texts)
    written: bytes = message.SerializeToString()
    return written


_KINDS = {bytes: "bytes_list", str: "bytes_list", float: "float_list", int: "int64_list"}


def detection(boxes: Sequence[Sequence[float]], image: bytes | None = None, **more: Sequence[Any]) -> bytes:
    """An Example of the detection API; `text` and `label` are the classes of the boxes, other names are features."""
    columns = list(zip(*boxes, strict=True)) or [()] * 4
    features: dict[str, Sequence[Any]] = {"image/encoded": [png() if image is None else image]}
    features |= {f"image/object/bbox/{side}": list(map(float, column)) for side, column in zip(SIDES, columns, strict=True)}
    classes = {f"image/object/class/{name}": more.pop(name) for name in ("text", "label") if name in more}
    return example({**features, **classes, **more})


def write_records(path: Path, *records: bytes) -> Path:
    """A TFRecord file, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(frame_record, records)))
    return path
