"""How the arrays of a batch leave: each field as models and losses want it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.storage.fields import Field
from kseq.training.image_spec import ImageSpec

__all__ = ["FieldEncoder"]


class FieldEncoder:
    """Encodes batches.

    Args:
        fields: What the samples hold.
        encode_label: What becomes of `(n,)` int32 labels.
        form: The form in which images leave.
        functions: Called with each batch of images, one after the other.
        ragged: Whether fields whose samples differ in length leave as lists of arrays, instead of padded.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        encode_label: Callable[[np.ndarray], np.ndarray],
        form: ImageSpec,
        functions: Sequence[Callable[[np.ndarray], Any]],
        ragged: bool,
    ) -> None:
        self._fields = fields
        self._encode_label = encode_label
        self._form = form
        self._functions = functions
        self._ragged = ragged

    def encode(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The values of a batch, by the names of its arrays: fields, and `NAME_mask` of those that are padded.

        Args:
            arrays: As `kseq.training.batch_maker.BatchMaker` fills them.

        Returns:
            Images in their form; masks `(n, height, width, 1)` uint8; labels as `label_mode` says; several labels
            `(n, classes)` float32, zeros and ones; numbers float32; boxes `(n, longest, 4)` float32 and their labels
            `(n, longest)` int32, padded with 0 and -1; text `(n,)` str; weights `(n,)` float32.
        """
        return {name: self._encode(name, array, arrays) for name, array in arrays.items()}

    def _encode(self, name: str, array: np.ndarray, arrays: Mapping[str, np.ndarray]) -> Any:
        field = self._fields.get(name)
        if field is None:
            return array
        if field.kind == "label":
            return self._encode_label(array)
        if field.kind == "image":
            return self._augment(array) if self._functions else array
        if field.kind == "text":
            counts = arrays[f"{name}_mask"].sum(axis=1).tolist()
            texts = [row[:count].tobytes().decode(errors="replace") for row, count in zip(array, counts, strict=True)]
            return np.array(texts, np.str_)
        value = array.astype(np.float32, copy=False) if field.kind == "numbers" else array
        if self._ragged and field.is_ragged and field.kind != "multi_label":
            return [row[there] for row, there in zip(value, arrays[f"{name}_mask"], strict=True)]
        return value

    def _augment(self, array: np.ndarray) -> np.ndarray:
        images = array
        for function in self._functions:
            images = np.asarray(function(images))
        if images.ndim != 4 or len(images) != len(array) or images.dtype.kind not in "uif":
            raise ArgumentError(
                f"an augment function gave {images.dtype} of shape {images.shape}, "
                f"expected are numbers of shape ({len(array)}, height, width, channels)"
            )
        if self._form.dtype == "uint8" and images.dtype != np.uint8:
            raise ArgumentError(
                f"an augment function gave {images.dtype}, which does not fit into dtype='uint8': give dtype='float32'"
            )
        moved = images if self._form.data_format == "channels_last" else np.moveaxis(images, -1, 1)
        out = np.empty(moved.shape, self._form.dtype)
        self._form.convert(images, out)
        return out
