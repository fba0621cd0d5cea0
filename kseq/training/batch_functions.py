"""Functions of the user over whole batches: what they get, and what they may return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.training.error_places import add_place
from kseq.training.mixing import CutMix, MixUp, RowsToMix, mix

__all__ = ["BatchFunction", "run_functions"]


@dataclass(frozen=True)
class BatchFunction:
    """A function of yours over a whole batch, for `augment`: it may change images, masks, boxes and labels together.

    A plain function in `augment` gets the images that are inputs. This one gets a dict of all fields that the batch holds, by
    their names in the dataset, and returns a dict of those that it changes. The functions in `augment` run one after the other
    in the process that trains, after all augmentations. What they draw at random is up to them.

    Args:
        function: Called with a dict of arrays, which it may change in place:

            - images `(n, height, width, channels)` uint8 in [0, 255], or of the dtype that is stored, and masks `(n, height,
              width, 1)` uint8, before `dtype`, `scale` and `data_format` apply;
            - boxes `(n, longest, 4)` float32, their labels `(n, longest)` int32, and all else that is padded, with
              `FIELD_mask`, `(n, longest)` bool, beside each (also with `ragged=True`);
            - labels as `label_mode` says, several labels `(n, classes)` float32, numbers float32, text `(n,)` str.

            Returns a dict of arrays with `n` rows each, in place of those of the same names; others stay as they are. Images
            must have the dtype that is stored unless `dtype` is a floating-point type. In place of text, `(n, length)` whole
            numbers may be returned, such as those of tokens.

    Raises:
        ArgumentError: If `function` cannot be called; when a batch is read, if it returns something that is not allowed.

    Examples:
        >>> def smooth(batch):
        ...     dark = batch["image"].mean(axis=(1, 2, 3)) < 40
        ...     return {"label": np.where(dark[:, None], 0.9 * batch["label"] + 0.05, batch["label"])}
        >>> kseq.ShardSequence("flowers", label_mode="categorical", augment=kseq.BatchFunction(smooth))
    """

    function: Callable[[dict[str, Any]], Mapping[str, Any]]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ArgumentError(f"BatchFunction function={self.function!r}: allowed is a function of a dict of arrays")


def run_functions(
    functions: Sequence[Callable[[np.ndarray], Any] | BatchFunction | MixUp | CutMix],
    values: Mapping[str, np.ndarray],
    images: Sequence[str],
    others: Sequence[str],
    *,
    numbers: Sequence[str] = (),
    rows: RowsToMix | None = None,
    dtype: str = "uint8",
) -> dict[str, np.ndarray]:
    """What some functions make of a batch, one after the other.

    Args:
        functions: Plain ones are called with each field of `images`.
        values: The fields of the batch by name, as `BatchFunction` says.
        images: The names of the images among them that a model sees.
        others: The names of the other pixels among them: masks, and images that a model learns and does not see.
        numbers: The names of what else is mixed.
        rows: Of which mixtures are drawn; None where there are none in `functions`.
        dtype: That of images in the end.

    Raises:
        ArgumentError: If a function returns something that is not allowed.
    """
    batch = dict(values)
    for function in functions:
        if isinstance(function, BatchFunction):
            name = _name(function.function)
            batch |= _checked_fields(name, _call(function.function, dict(batch)), batch, [*images, *others])
        elif isinstance(function, (MixUp, CutMix)):
            assert rows is not None
            batch |= mix(function, batch, [*images, *others], numbers, rows=rows, dtype=dtype)
        else:
            batch |= {
                image: _checked_images(_name(function), _call(function, batch[image]), len(batch[image])) for image in images
            }
    return batch


def _call(function: Callable[[Any], Any], value: Any) -> Any:
    try:
        return function(value)
    except Exception as error:
        add_place(error, f"in augment function {_name(function)}")
        raise


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _checked_images(name: str, answer: Any, count: int) -> np.ndarray:
    images = _in_native_order(np.asarray(answer))
    if images.ndim != 4 or len(images) != count or images.dtype.kind not in "uif":
        raise ArgumentError(
            f"augment function {name} gave {images.dtype} of shape {images.shape}, "
            f"expected are numbers of shape ({count}, height, width, channels)"
        )
    return images


def _checked_fields(name: str, answer: Any, batch: Mapping[str, np.ndarray], pixels: Sequence[str]) -> dict[str, np.ndarray]:
    if not isinstance(answer, Mapping):
        raise ArgumentError(
            f"augment function {name} gave a {type(answer).__name__}, expected is a dict of field names to arrays"
        )
    unknown = [field for field in answer if field not in batch]
    if unknown:
        raise ArgumentError(f"augment function {name} gave a field {unknown[0]!r}, the batch has {', '.join(batch)}")
    changed = {field: _checked_array(name, field, value, batch[field]) for field, value in answer.items()}
    for field in pixels:
        if field in changed and changed[field].ndim != 4:
            raise ArgumentError(
                f"augment function {name} gave {field} of shape {changed[field].shape}, "
                f"expected is ({len(batch[field])}, height, width, channels)"
            )
    merged = {**batch, **changed}
    for field, value in merged.items():
        is_filled = merged.get(f"{field}_mask")
        if is_filled is not None and is_filled.shape != value.shape[:2]:
            raise ArgumentError(
                f"augment function {name} gave {field} of shape {value.shape} and {field}_mask of shape {is_filled.shape}: "
                "the two must agree in the first two numbers"
            )
    return changed


def _checked_array(name: str, field: str, value: Any, before: np.ndarray) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArgumentError(f"augment function {name} gave no array for {field} ({error})") from error
    is_text = before.dtype.kind == "U"
    is_allowed = array.dtype.kind in ("U" if is_text else "buif") or (is_text and array.dtype.kind in "iu" and array.ndim > 1)
    if array.ndim == 0 or len(array) != len(before) or not is_allowed:
        raise ArgumentError(
            f"augment function {name} gave {array.dtype} of shape {array.shape} for {field}, "
            f"expected are {'texts, or whole numbers of shape (n, length),' if is_text else 'numbers'} of {len(before)} samples"
        )
    if before.dtype == np.bool_ and array.dtype != np.bool_:
        # 0 and 1, as a function in TensorFlow gives them, would pass for row numbers.
        if not np.isin(array, (0, 1)).all():
            raise ArgumentError(f"augment function {name} gave {field} other values than True and False, or 1 and 0")
        return array.astype(bool)
    return _in_native_order(array)


def _in_native_order(array: np.ndarray) -> np.ndarray:
    """The same values in the byte order of this machine: of another, PyTorch refuses them."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)
