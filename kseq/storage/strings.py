"""Byte strings and texts as arrays of a file: the bytes of all, one string after the other, and the offset of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from kseq.errors import DamagedError, FormatError, one_line
from kseq.storage.array_schema import ArraySchema
from kseq.storage.file_arrays import FileArrays

__all__ = ["pack_strings", "pack_text", "parse_json", "read_piece", "read_string", "read_strings", "read_text", "string_schema"]


def pack_strings(group: str, strings: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Byte strings as the two arrays of a group.

    Returns:
        `GROUP/bytes`: the bytes of all, one string after the other; and `GROUP/offsets`, `(strings + 1,)` uint64: where each
        begins, and the last ends.
    """
    offsets = np.zeros(len(strings) + 1, "<u8")
    np.cumsum([len(string) for string in strings], out=offsets[1:])
    return {f"{group}/bytes": np.frombuffer(b"".join(strings), np.uint8), f"{group}/offsets": offsets}


def pack_text(text: str) -> np.ndarray:
    """`(n,)` uint8: a text as an array, since an attribute holds 64 KiB at most."""
    return np.frombuffer(text.encode(errors="surrogateescape"), np.uint8)


def read_text(array: np.ndarray) -> str:
    """The text that `pack_text` made an array of."""
    return array.tobytes().decode(errors="surrogateescape")


def parse_json(text: str, where: str) -> Any:
    """What a JSON text of a file says.

    Args:
        text: The text.
        where: What it is, for messages: the path of the file, and the name of the array.

    Raises:
        FormatError: If it is no JSON, or nests deeper than Python follows.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is not JSON ({one_line(error)}): {text[:80]!r}") from error


def string_schema(group: str, count: int | None) -> dict[str, ArraySchema]:
    """What the arrays of a group of `count` byte strings must be; None allows any count."""
    length = None if count is None else count + 1
    return {f"{group}/bytes": ArraySchema("|u1", (None,)), f"{group}/offsets": ArraySchema("<u8", (length,))}


def read_string(file: FileArrays, group: str, number: int) -> np.ndarray:
    """`(n,)` uint8: one byte string of a group, as a view of the file.

    Raises:
        DamagedError: If its offsets do not lie in the bytes.
    """
    return read_piece(file, f"{group}/bytes", f"{group}/offsets", number)


def read_piece(file: FileArrays, flat: str, offsets: str, row: int) -> np.ndarray:
    """`(n, ...)`: the elements of one row, as a view of the file.

    Args:
        file: The file.
        flat: The name of the array that holds the elements of all rows, one row after the other.
        offsets: The name of the array that says where those of each row begin.
        row: The row.

    Raises:
        DamagedError: If the offsets of the row do not lie in the array.
    """
    elements: np.ndarray = file.arrays[flat]
    start, end = file.arrays[offsets][row : row + 2].tolist()
    if not start <= end <= len(elements):
        raise DamagedError(
            f"{file.path}: {offsets} of row {row} are {start} and {end}, allowed is rising and at most {len(elements)}"
        )
    return elements[start:end]


def read_strings(file: FileArrays, group: str) -> list[bytes]:
    """All byte strings of a group."""
    count = file.arrays[f"{group}/offsets"].size - 1
    return [read_string(file, group, number).tobytes() for number in range(count)]
