"""What the files of the format share: the version, the names, digests, and how byte strings are stored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from kseq.errors import DamagedError, FormatError
from kseq.hdf5 import ArrayForm, Layout, MappedFile

__all__ = [
    "FORMAT_VERSION",
    "INDEX_NAME",
    "LAST_INDEX_NAME",
    "REJECTED_FORMS",
    "SHARD_PREFIX",
    "Rejected",
    "ShardEntry",
    "arrays_digest",
    "check_version",
    "count_reasons",
    "digest_of_hashes",
    "hash_array",
    "pack_rejected",
    "pack_strings",
    "pack_text",
    "read_rejected",
    "read_string",
    "read_strings",
    "read_text",
    "shard_name",
    "shard_number",
    "string_forms",
]

# How the reasons for the rows of a table begin; and after what there is nothing of this file alone.
_ROW = re.compile(r"^row \d+ ")
_TELLS_ALL = "cannot be read: "

# Raised by one with every change that an older reader would misread.
FORMAT_VERSION = 1

INDEX_NAME = "index.h5"
# The one before the last change.
LAST_INDEX_NAME = "index.h5.1"

SHARD_PREFIX = "shard-"
_SHARD_NAME = re.compile(r"shard-(\d{5,})\.h5")


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


@dataclass(frozen=True)
class ShardEntry:
    """What the index says of one shard: enough to tell whether a file is that shard.

    Attributes:
        number: That of its file, see `shard_name`; which place it has among the shards is another matter.
        num_rows: How many samples it holds.
        num_bytes: The size of its file.
        digest: Of its arrays.
    """

    number: int
    num_rows: int
    num_bytes: int
    digest: str


def shard_name(number: int) -> str:
    """The file name of a shard: `shard-00000.h5` and so on."""
    return f"{SHARD_PREFIX}{number:05d}.h5"


def shard_number(name: str) -> int | None:
    """The number of the shard whose file is called so; None where the name is no shard's."""
    match = _SHARD_NAME.fullmatch(name)
    return int(match[1]) if match and shard_name(int(match[1])) == name else None


def check_version(path: str, layout: Layout, kind: str) -> None:
    """Check that a file says it is a kseq `kind` ("shard", "index") of the version that this code reads.

    Raises:
        FormatError: Where it does not.
    """
    found, version = layout.attributes.get("format"), layout.attributes.get("version")
    if found != f"kseq {kind}":
        raise FormatError(f"{path}: attribute format is {found!r}, expected is 'kseq {kind}'")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        hint = " (a newer kseq wrote it: update this one)" if newer else ""
        raise FormatError(f"{path}: format version is {version}, this kseq reads version {FORMAT_VERSION}{hint}")


def pack_strings(group: str, strings: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Byte strings as the two arrays of a group: all of them in a row, and where each begins."""
    offsets = np.zeros(len(strings) + 1, "<u8")
    np.cumsum([len(string) for string in strings], out=offsets[1:])
    return {f"{group}/bytes": np.frombuffer(b"".join(strings), np.uint8), f"{group}/offsets": offsets}


def pack_text(text: str) -> np.ndarray:
    """`(n,)` uint8: a text as an array, since an attribute holds 64 KiB at most."""
    return np.frombuffer(text.encode(errors="surrogateescape"), np.uint8)


def read_text(array: np.ndarray) -> str:
    """The text that `pack_text` made an array of."""
    return array.tobytes().decode(errors="surrogateescape")


def string_forms(group: str, count: int | None) -> dict[str, ArrayForm]:
    """What the arrays of a group of `count` byte strings must be; None for any count."""
    length = None if count is None else count + 1
    return {f"{group}/bytes": ArrayForm("|u1", (None,)), f"{group}/offsets": ArrayForm("<u8", (length,))}


def read_string(file: MappedFile, group: str, number: int) -> np.ndarray:
    """`(n,)` uint8: one byte string of a group, as a view of the file.

    Raises:
        DamagedError: Where its offsets do not lie in the bytes.
    """
    return read_piece(file, f"{group}/bytes", f"{group}/offsets", number)


def read_piece(file: MappedFile, flat: str, offsets: str, number: int) -> np.ndarray:
    """`(n, ...)`: what belongs to one row of an array of all rows' elements, as a view of the file.

    Raises:
        DamagedError: Where the row's offsets do not lie in that array.
    """
    elements: np.ndarray = file.arrays[flat]
    start, end = file.arrays[offsets][number : number + 2].tolist()
    if not start <= end <= len(elements):
        raise DamagedError(
            f"{file.path}: {offsets} of row {number} are {start} and {end}, allowed is rising and at most {len(elements)}"
        )
    return elements[start:end]


def read_strings(file: MappedFile, group: str) -> list[bytes]:
    """All byte strings of a group."""
    count = file.arrays[f"{group}/offsets"].size - 1
    return [read_string(file, group, number).tobytes() for number in range(count)]


REJECTED_FORMS = {**string_forms("rejected_path", None), **string_forms("rejected_reason", None)}


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


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The digest of a file's arrays, 32 hexadecimal digits."""
    return digest_of_hashes({name: (each.dtype.str, each.shape, hash_array(each)) for name, each in arrays.items()})


def hash_array(array: np.ndarray) -> bytes:
    """XXH3-128 of the elements of an array."""
    return xxhash.xxh3_128_digest(array)


def digest_of_hashes(hashes: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> str:
    """The digest of a file whose arrays have these dtypes, shapes and XXH3-128s.

    It is the XXH3-128 of, for each array in the order of the names: the line `NAME DTYPE SHAPE`, such as
    `image |u1 (8, 224, 224, 3)`, a newline, and the array's own XXH3-128.
    """
    total = xxhash.xxh3_128()
    for name, (dtype, shape, digest) in sorted(hashes.items()):
        total.update(f"{name} {dtype} {shape}\n".encode())
        total.update(digest)
    return total.hexdigest()
