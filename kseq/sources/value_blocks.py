"""Blocks of Python values as a few numpy arrays: small, quick to store, and the same bytes for the same values.

A value of a usual type comes back as it was: None, bool, int, float, str, bytes, numpy's arrays and numbers, and tuples of
these. (An array without dimensions comes back as a number of numpy.) Values of other types are pickled one by one.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from kseq.storage.checksums import Digest

__all__ = ["Block", "add_block", "block_of_array", "decode", "encode", "stored_sizes"]

_WHOLE_DTYPES = {0: ("<u1", "<u2", "<u4", "<u8"), 1: ("<i1", "<i2", "<i4", "<i8")}
_MOST_TYPES = 255
# So many texts tell whether a block has few different ones.
_PROBED = 256


class Block(NamedTuple):
    """Some values as arrays.

    Attributes:
        form: One of the forms in `_DECODERS`.
        length: How many values there are.
        parts: What the form needs: arrays, bytes, texts, types, and blocks of the parts of values.
    """

    form: str
    length: int
    parts: tuple[Any, ...] = ()


def encode(values: Sequence[Any]) -> Block:
    """A block of some values.

    Raises:
        Exception: Whatever pickle raises at a value of another type that it cannot take.
    """
    types = list(dict.fromkeys(map(type, values)))
    if len(types) == 1:
        return _encode_alike(types[0], values)
    if len(types) > _MOST_TYPES:
        return _pickle_each(values)
    numbers = {kind: number for number, kind in enumerate(types)}
    codes = np.fromiter((numbers[type(value)] for value in values), np.uint8, len(values))
    blocks = (_encode_alike(kind, [value for value in values if type(value) is kind]) for kind in types)
    return Block("mixed", len(values), (codes, *blocks))


def block_of_array(array: np.ndarray) -> Block:
    """A block of the rows of an array; those of an array of one dimension are numbers of numpy."""
    return Block("rows", len(array), (array,))


def _encode_alike(kind: type, values: Sequence[Any]) -> Block:
    """A block of values of one type."""
    count = len(values)
    if kind is type(None):
        return Block("none", count)
    block: Block | None = None
    if (encoder := _ENCODERS.get(kind)) is not None:
        block = encoder(values)
    elif issubclass(kind, np.generic):
        block = _encode_arrays(values)
    elif issubclass(kind, tuple):
        block = _encode_tuples(kind, values)
    elif issubclass(kind, str):
        block = _encode_texts_of_class(kind, values)
    return _pickle_each(values) if block is None else block


def _encode_whole_numbers(values: Sequence[int]) -> Block | None:
    least, most = min(values), max(values)
    # The sign takes a bit.
    bits = max(most.bit_length(), (-least - 1).bit_length() if least < 0 else 0) + (least < 0)
    dtype = next((dtype for dtype in _WHOLE_DTYPES[least < 0] if bits <= 8 * np.dtype(dtype).itemsize), None)
    return None if dtype is None else Block("numbers", len(values), (np.array(values, dtype),))


def _encode_texts(values: Sequence[str]) -> Block:
    """Texts as numbers of the distinct ones if there are few of these, else one after the other."""
    probe = values[:: len(values) // _PROBED + 1]
    numbers: dict[str, int] = {}
    if 2 * len(set(probe)) <= len(probe):
        numbers = {text: number for number, text in enumerate(dict.fromkeys(values))}
    if numbers and 2 * len(numbers) <= len(values):
        codes = np.fromiter(map(numbers.__getitem__, values), np.min_scalar_type(len(numbers)), len(values))
        return Block("names", len(values), (codes, tuple(numbers)))
    return _join_texts(values)


def _encode_texts_of_class(kind: type[str], values: Sequence[str]) -> Block | None:
    """None if the class makes its texts of more than a text."""
    texts = list(map(str.__str__, values))
    try:
        is_made_of_text = kind(texts[0]) == values[0]
    except Exception:
        # Whatever a class of somebody else raises.
        return None
    return Block("text of a class", len(texts), (kind, _encode_texts(texts))) if is_made_of_text else None


def _join_texts(values: Sequence[str]) -> Block:
    # Each surrogate on its own, so that any text comes back.
    return Block("text", len(values), ("".join(values).encode("utf-8", "surrogatepass"), _lengths(values)))


def _encode_bytes(values: Sequence[bytes]) -> Block:
    return Block("bytes", len(values), (b"".join(values), _lengths(values)))


def _lengths(values: Sequence[Any]) -> np.ndarray:
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    return lengths.astype(np.min_scalar_type(int(lengths.max(initial=0))))


def _encode_arrays(values: Sequence[Any]) -> Block | None:
    dtype, shapes = values[0].dtype, {value.shape for value in values}
    if dtype.kind not in "biufc" or any(value.dtype != dtype for value in values):
        return None
    if len(shapes) == 1:
        return Block("rows", len(values), (np.array(values, dtype),))
    if () in shapes or len({shape[1:] for shape in shapes}) > 1:
        return None
    return Block("pieces", len(values), (np.concatenate(values), _lengths(values)))


def _encode_tuples(kind: type, values: Sequence[tuple[Any, ...]]) -> Block | None:
    if len(set(map(len, values))) > 1 or (kind is not tuple and not hasattr(kind, "_make")):
        return None
    return Block("tuples", len(values), (kind, *map(encode, zip(*values, strict=True))))


def _pickle_each(values: Sequence[Any]) -> Block:
    pickled = [pickle.dumps(value, protocol=4) for value in values]
    return Block("objects", len(values), _encode_bytes(pickled).parts)


_ENCODERS: dict[type, Callable[[Any], Block | None]] = {
    bool: lambda values: Block("numbers", len(values), (np.array(values, bool),)),
    int: _encode_whole_numbers,
    float: lambda values: Block("numbers", len(values), (np.array(values, np.float64),)),
    str: _encode_texts,
    bytes: _encode_bytes,
    np.ndarray: _encode_arrays,
}


def decode(block: Block) -> list[Any]:
    """The values of a block."""
    values: list[Any] = _DECODERS[block.form](block.length, *block.parts)
    return values


def _decode_mixed(count: int, codes: np.ndarray, *blocks: Block) -> list[Any]:
    values = [iter(decode(block)) for block in blocks]
    return [next(values[code]) for code in codes.tolist()]


def _cut(data: Any, lengths: np.ndarray) -> list[Any]:
    return [data[start:end] for start, end in pairwise(accumulate(lengths.tolist(), initial=0))]


def _decode_tuples(count: int, kind: Any, *blocks: Block) -> list[Any]:
    if not blocks:
        return [kind()] * count
    rows = zip(*map(decode, blocks), strict=True)
    return list(rows) if kind is tuple else list(map(kind._make, rows))


_DECODERS: dict[str, Callable[..., list[Any]]] = {
    "none": lambda count: [None] * count,
    "mixed": _decode_mixed,
    "numbers": lambda count, array: array.tolist(),
    "names": lambda count, codes, names: list(map(names.__getitem__, codes.tolist())),
    "text": lambda count, data, lengths: _cut(data.decode("utf-8", "surrogatepass"), lengths),
    "text of a class": lambda count, kind, block: list(map(kind, decode(block))),
    "bytes": lambda count, data, lengths: _cut(data, lengths),
    "rows": lambda count, array: list(array),
    "pieces": lambda count, array, lengths: _cut(array, lengths),
    "tuples": _decode_tuples,
    "objects": lambda count, data, lengths: list(map(pickle.loads, _cut(data, lengths))),
}


def stored_sizes(block: Block) -> np.ndarray:
    """`(count,)` int64: how many bytes each of the values has that are bytes or arrays; 0 for other values."""
    sizes = np.zeros(block.length, np.int64)
    if block.form == "mixed":
        codes, *blocks = block.parts
        for code, part in enumerate(blocks):
            sizes[codes == code] = stored_sizes(part)
    elif block.form == "bytes":
        sizes[:] = block.parts[1]
    elif block.form == "rows":
        sizes[:] = block.parts[0].nbytes // max(block.length, 1)
    elif block.form == "pieces":
        array, lengths = block.parts
        sizes[:] = lengths * np.int64(array.nbytes // max(len(array), 1))
    return sizes


def add_block(digest: Digest, block: Block) -> None:
    """Add a block to a digest, so that blocks of other values give another digest."""
    digest.update(f"{block.form} {block.length} {len(block.parts)}:".encode())
    for part in block.parts:
        _add_part(digest, part)


def _add_part(digest: Digest, part: Any) -> None:
    if isinstance(part, Block):
        add_block(digest, part)
    elif isinstance(part, np.ndarray):
        digest.update(f"{part.dtype.str} {part.shape}:".encode())
        digest.update(np.ascontiguousarray(part))
    elif isinstance(part, tuple):
        add_block(digest, _join_texts(part))
    else:
        data = part if isinstance(part, bytes) else part.__qualname__.encode()
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
