"""Files that were left out of a packing, as a shard or an index lists them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kseq.arguments import spelled
from kseq.errors import DamagedError
from kseq.images.pixel_form import MOST_CHANNELS, settings_of_numbers
from kseq.storage.file_arrays import FileArrays
from kseq.storage.strings import pack_strings, read_strings, string_schema

__all__ = ["REJECTED_SCHEMA", "Rejected", "count_reasons", "pack_rejected", "read_rejected", "with_remedy"]

# A reason that concerns a row of a table begins with its number.
_ROW = re.compile(r"^row \d+ ")

# After a colon come details of one file, except in these reasons: there comes what the operating system says, which is a kind.
_READ_FAILURE = "cannot be read: "

# Reasons are kept in shards, for any caller, so the argument that helps is named only where a reason is shown.
_TOO_LARGE = re.compile(r"has more pixels than the \d+ allowed: \d+ x \d+$")
_ENCODING = re.compile(r"(^|^row \d+ )(has a label that )?is not UTF-8: |is not UTF-8 and declares no other encoding$")
_SEVERAL_LABELS = re.compile(r"(^|^row \d+ )has several labels: ")
# Two files that a name may mean, in one folder or in two.
_SEVERAL = re.compile(r"is not there, is it '([^']*)' or '([^']*)'")
# Numbers that the dtype of the packing does not hold; channels that are no colours, of which the second group says how many.
_NUMBERS = re.compile(r"does not hold$")
# Numbers that are no colours of 8 bits: their dtype, height, width and number of channels.
_SHAPED = re.compile(r"is (\w+) of shape \((\d+), (\d+)(?:, (\d+))?\), (allowed is uint8|for which there is no rule)")
_CHANNELS = re.compile(r"of shape \((\d+, )*(\d+)\), allowed are numbers of .*1, 3 or 4\)")
_LINK = re.compile(r"(is|lies behind) a link (to a folder|out of the source's folder)$")


@dataclass(frozen=True)
class Rejected:
    """A file that was found and not packed.

    Attributes:
        path: Its path, or its name in the source, as bytes.
        reason: Why it was not packed.
    """

    path: bytes
    reason: str

    @property
    def explanation(self) -> str:
        """The reason, and the argument of a packing that would let the file in, where one would."""
        return with_remedy(self.reason)

    @property
    def kind(self) -> str:
        """The reason without the details of this file, such as its row: what to count by."""
        reason = _ROW.sub("", self.reason)
        return reason if _READ_FAILURE in reason else reason.partition(": ")[0]


REJECTED_SCHEMA = {**string_schema("rejected_path", None), **string_schema("rejected_reason", None)}


def pack_rejected(rejected: Sequence[Rejected]) -> dict[str, np.ndarray]:
    """The rejected files as arrays; `read_rejected` reads them back."""
    paths = pack_strings("rejected_path", [file.path for file in rejected])
    return paths | pack_strings("rejected_reason", [file.reason.encode(errors="backslashreplace") for file in rejected])


def read_rejected(file: FileArrays) -> list[Rejected]:
    """The rejected files that a shard or an index lists."""
    paths, reasons = read_strings(file, "rejected_path"), read_strings(file, "rejected_reason")
    if len(paths) != len(reasons):
        raise DamagedError(
            f"{file.path}: lists {len(paths)} rejected_path and {len(reasons)} rejected_reason, allowed are as many"
        )
    return [Rejected(path, reason.decode(errors="replace")) for path, reason in zip(paths, reasons, strict=True)]


def with_remedy(reason: str) -> str:
    """A reason, and the argument of a packing that would let the file in, where one would."""
    if _TOO_LARGE.search(reason):
        return f"{reason} ({spelled('images.max_pixels')} allows more)"
    if _ENCODING.search(reason):
        return f"{reason} ({spelled('text_encoding')} says how the text is encoded)"
    if _SEVERAL_LABELS.search(reason):
        return f"{reason} ({spelled('columns.label', '')} {spelled('columns.targets')} packs several)"
    several = _SEVERAL.search(reason)
    if several is not None:
        is_suffix = several[1].rpartition(".")[0] == several[2].rpartition(".")[0]
        return f"{reason} ({spelled('suffix' if is_suffix else 'root')} says which)"
    shaped = _SHAPED.search(reason)
    if shaped is not None and int(shaped[4] or 1) <= MOST_CHANNELS:
        settings = settings_of_numbers(shaped[1], (int(shaped[2]), int(shaped[3])), int(shaped[4] or 1))
        return f"{reason} ({spelled('images', **settings)} keeps its numbers)"
    if _NUMBERS.search(reason):
        return f"{reason} ({spelled('images', encoding='raw', dtype='float32')} keeps its numbers)"
    count = _CHANNELS.search(reason)
    if count is not None:
        return f"{reason} ({spelled('images.channels', int(count[2]))} takes all channels)"
    return f"{reason} ({spelled('follow_links', True)} follows it)" if _LINK.search(reason) else reason


def count_reasons(rejected: Sequence[Rejected]) -> dict[str, int]:
    """How many files were left out for each kind of reason, the most frequent first."""
    return dict(Counter(file.kind for file in rejected).most_common())
