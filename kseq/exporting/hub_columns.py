"""The columns of Parquet files as Hugging Face's package `datasets` has them: type, feature and cells of each field.

A feature is described twice, as `datasets` does: beside the schema of each file, and in the card of the folder. A list is
called `Sequence` there, as versions before 4 call it and later ones still read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kseq.exporting.exported_samples import ExportedSample, ExportedSamples
from kseq.sources.arrow_files import load_pyarrow
from kseq.storage.field_kinds import ClassNumbers, FieldKind, Text
from kseq.storage.fields import Field

__all__ = ["HubColumn", "hub_column"]

# The key of the metadata of a schema under which `datasets` looks for the features.
METADATA_KEY = b"huggingface"


class _Feature(NamedTuple):
    """What the values of a column are.

    Attributes:
        arrow_type: The type of pyarrow.
        in_schema: The feature as the metadata of a schema have it.
        in_card: The feature as the card has it.
    """

    arrow_type: Any
    in_schema: dict[str, Any]
    in_card: dict[str, Any]


class HubColumn(NamedTuple):
    """The column of a field.

    Attributes:
        name: Its name, that of the field.
        feature: What its values are.
        cell: Gives the cell of a sample, as pyarrow takes it.
        is_large: Whether cells hold files, which are neither compressed nor kept in a dictionary.
    """

    name: str
    feature: _Feature
    cell: Callable[[ExportedSample], Any]
    is_large: bool


def hub_column(field: Field, samples: ExportedSamples) -> HubColumn:
    """The column that a field of samples becomes."""
    name, handler = field.name, field.handler
    if field.is_pixels:
        if handler.fits_png:
            return HubColumn(name, _image(), lambda sample: _image_cell(sample, name), is_large=True)
        return HubColumn(name, _value("binary"), lambda sample: sample.images[name].data, is_large=True)
    if isinstance(handler, ClassNumbers):
        classes = _class_label(handler.class_names(samples.class_names))

        def numbers(sample: ExportedSample) -> Any:
            handler.check_classes(sample.values[name], len(handler.class_names(samples.class_names)))
            return sample.values[name].tolist()

        return HubColumn(name, _lists(classes, field.shape), numbers, is_large=False)
    if isinstance(handler, Text):
        # Arrow's text is UTF-8. Bytes that are not stay bytes, in all samples alike.
        if samples.are_utf8(name):
            return HubColumn(name, _value("string"), lambda sample: sample.values[name].tobytes().decode(), is_large=False)
        return HubColumn(name, _value("binary"), lambda sample: sample.values[name].tobytes(), is_large=False)
    if type(handler).as_json is not FieldKind.as_json:
        # A kind with a form of its own, which only it reads again.
        return HubColumn(name, _value("string"), lambda sample: _json_cell(samples, sample, name), is_large=False)
    plain = _lists(_value(np.dtype(field.dtype).name), field.shape)
    return HubColumn(name, plain, lambda sample: sample.values[name].tolist(), is_large=False)


def _image_cell(sample: ExportedSample, name: str) -> dict[str, Any]:
    # The path says only where the image came from: whoever finds bytes reads no file.
    return {"bytes": sample.images[name].data, "path": os.fsdecode(sample.source).encode(errors="replace").decode()}


def _json_cell(samples: ExportedSamples, sample: ExportedSample, name: str) -> str:
    return json.dumps(samples.json_value(name, sample.values[name]))


def _image() -> _Feature:
    pyarrow = load_pyarrow()
    struct = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    return _Feature(struct, {"_type": "Image"}, {"dtype": "image"})


def _value(dtype: str) -> _Feature:
    """Of numbers, text or bytes; `dtype` as numpy and pyarrow call it."""
    arrow_type = load_pyarrow().type_for_alias(dtype)
    return _Feature(arrow_type, {"dtype": dtype, "_type": "Value"}, {"dtype": dtype})


def _class_label(names: Sequence[str]) -> _Feature:
    in_card = {"class_label": {"names": {str(number): name for number, name in enumerate(names)}}}
    return _Feature(load_pyarrow().int64(), {"names": list(names), "_type": "ClassLabel"}, {"dtype": in_card})


def _lists(feature: _Feature, shape: Sequence[int | None]) -> _Feature:
    """Lists of a feature, nested as a shape says; a length of None differs between samples."""
    for length in reversed(shape):
        fixed = {} if length is None else {"length": length}
        arrow_type = load_pyarrow().list_(feature.arrow_type, -1 if length is None else length)
        in_schema = {"feature": feature.in_schema, **fixed, "_type": "Sequence"}
        in_card = {"sequence": feature.in_card.get("dtype", feature.in_card), **fixed}
        feature = _Feature(arrow_type, in_schema, in_card)
    return feature
