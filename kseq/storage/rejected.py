"""The files that were left out of a packing, as a shard or an index lists them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kseq.storage.hdf5 import MappedFile
from kseq.storage.strings import pack_strings, read_strings, string_schema

__all__ = ["REJECTED_SCHEMA", "Rejected", "count_reasons", "pack_rejected", "read_rejected"]

# How the reasons for the rows of a table begin; and after what there is nothing of this file alone.
_ROW = re.compile(r"^row \d+ ")

_TELLS_ALL = "cannot be read: "


@dataclass(frozen=True)
class Rejected:
    """A file that was found and not packed: its path as bytes, and why."""

    path: bytes
    reason: str

    @property
    def kind(self) -> str:
        """The reason without what is of this file alone, such as its row: what to count by."""
        words = _ROW.sub("", self.reason)
        return words if _TELLS_ALL in words else words.partition(": ")[0]


REJECTED_SCHEMA = {**string_schema("rejected_path", None), **string_schema("rejected_reason", None)}


def pack_rejected(rejected: Sequence[Rejected]) -> dict[str, np.ndarray]:
    """The rejected files as arrays; `read_rejected` reads them back."""
    paths = pack_strings("rejected_path", [each.path for each in rejected])
    return paths | pack_strings("rejected_reason", [each.reason.encode(errors="backslashreplace") for each in rejected])


def read_rejected(file: MappedFile) -> list[Rejected]:
    """The rejected files that a shard or an index lists."""
    paths, reasons = read_strings(file, "rejected_path"), read_strings(file, "rejected_reason")
    return [Rejected(path, reason.decode(errors="replace")) for path, reason in zip(paths, reasons, strict=True)]


def count_reasons(rejected: Sequence[Rejected]) -> dict[str, int]:
    """Why files were left out, without what is of one file alone, and how many; the most frequent first."""
    return dict(Counter(each.kind for each in rejected).most_common())
