"""The last step of a batch: from filled arrays to what models and losses want."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.storage.field_kinds import LabelEncoder
from kseq.storage.fields import Field
from kseq.training.batch_functions import BatchFunction, run_functions
from kseq.training.image_spec import ImageSpec
from kseq.training.mixing import CutMix, MixUp, RowsToMix
from kseq.training.stage_times import ASSEMBLE, AUGMENT, Stopwatch

__all__ = ["FieldEncoder"]


class FieldEncoder:
    """Makes of filled arrays what models and losses want.

    Args:
        fields: What the samples hold.
        encode_label: Encodes `(n,)` int32 labels.
        spec: What images are like in the end.
        functions: Called with each batch, one after the other. With functions, images come in
            in the dtype that is stored, channels last.
        ragged: The names of the fields whose samples become lists of arrays, instead of padded arrays.
        target_images: The images that a model learns and does not see: plain functions do not get them.

    Attributes:
        mixes: Whether there are mixtures among the functions.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        encode_label: LabelEncoder,
        spec: ImageSpec,
        functions: Sequence[Callable[[np.ndarray], Any] | BatchFunction | MixUp | CutMix],
        ragged: Collection[str],
        target_images: Collection[str] = (),
    ) -> None:
        self._fields = fields
        self._encode_label = encode_label
        self._spec = spec
        self._functions = functions
        self._ragged = ragged
        self._target_images = target_images
        self.mixes = any(isinstance(function, (MixUp, CutMix)) for function in functions)

    def encode(self, arrays: Mapping[str, np.ndarray], watch: Stopwatch, rows: RowsToMix | None = None) -> dict[str, Any]:
        """The values of a batch, by the names of its arrays: fields, and `NAME_mask` of those that are padded.

        Args:
            arrays: As `kseq.training.batch_maker.BatchMaker` fills them.
            watch: Times the functions apart.
            rows: Of which mixtures are drawn; needed if `mixes`.

        Returns:
            Images as the spec says; masks `(n, height, width, 1)` uint8, or channels first; maps as masks, in the dtype and
            with the channels that are stored; labels as `label_mode` says; several labels `(n, classes)` float32, zeros and
            ones; numbers float32; boxes `(n, longest, 4)` float32 and their labels `(n, longest)` int32, padded with 0 and -1;
            text `(n, longest)` uint8, its bytes in UTF-8, padded with 0, or `(n,)` str where it is ragged; weights `(n,)`
            float32.

        Raises:
            ArgumentError: If a function returns something that is not allowed.
        """
        handlers = {name: self._fields[name].handler for name in arrays if name in self._fields}
        values: dict[str, Any] = {
            name: handler.batch_value(arrays[name], self._encode_label) for name, handler in handlers.items()
        }
        padded = [name for name, handler in handlers.items() if handler.has_padding_mask]
        values |= {f"{name}_mask": arrays[f"{name}_mask"] for name in padded}
        readable = handlers if self._functions else [name for name in handlers if name in self._ragged]
        values |= {name: handlers[name].readable_value(values[name], arrays.get(f"{name}_mask")) for name in readable}
        if self._functions:
            values = self._run_functions(values, watch, rows)
            values |= {
                name: handler.model_value(values[name]) for name, handler in handlers.items() if name not in self._ragged
            }
        ragged = [name for name in padded if name in self._ragged]
        return values | {name: _without_padding(values[name], values[f"{name}_mask"]) for name in ragged}

    def _run_functions(self, values: Mapping[str, np.ndarray], watch: Stopwatch, rows: RowsToMix | None) -> dict[str, Any]:
        images = [name for name, field in self._fields.items() if name in values and field.is_image]
        others = [name for name, field in self._fields.items() if name in values and field.is_pixels and not field.is_image]
        seen = [name for name in images if name not in self._target_images]
        unseen = [name for name in images if name in self._target_images]
        numbers = [
            name for name, field in self._fields.items() if name in values and field.handler.blends and not field.is_pixels
        ]
        watch.lap(ASSEMBLE)
        changed = run_functions(
            self._functions, values, seen, [*unseen, *others], numbers=numbers, rows=rows, dtype=self._spec.dtype
        )
        watch.lap(AUGMENT)
        changed |= {name: self._converted(changed[name]) for name in images}
        if self._spec.data_format == "channels_first":
            changed |= {name: np.moveaxis(changed[name], -1, 1) for name in others}
        return changed

    def _converted(self, images: np.ndarray) -> np.ndarray:
        """`(n, height, width, channels)` numbers as the spec says."""
        if self._spec.dtype.startswith("uint") and images.dtype != self._spec.dtype:
            raise ArgumentError(
                f"a function in augment gave {images.dtype}, which does not fit into dtype={self._spec.dtype!r}: "
                "give dtype='float32'"
            )
        moved = images if self._spec.data_format == "channels_last" else np.moveaxis(images, -1, 1)
        out = np.empty(moved.shape, self._spec.dtype)
        self._spec.convert(images, out)
        return out


def _without_padding(rows: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    return [row[is_element] for row, is_element in zip(rows, mask, strict=True)]
