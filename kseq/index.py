"""index.h5: what a dataset holds - its shards, fields, classes and splits."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kseq.errors import ArgumentError, DamagedError, DatasetNotFoundError, FormatError
from kseq.fields import Field, parse_fields, write_fields
from kseq.files import publishing
from kseq.format import (
    FORMAT_VERSION,
    INDEX_NAME,
    REJECTED_FORMS,
    Rejected,
    ShardEntry,
    arrays_digest,
    check_version,
    pack_rejected,
    pack_strings,
    read_rejected,
    read_strings,
    string_forms,
)
from kseq.hdf5 import ArrayForm, MappedFile, read_layout, write_file

__all__ = ["Index", "check_split_name", "write_index"]

_SPLIT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FORMS = {
    "shards/rows": ArrayForm("<u8", (None,)),
    "shards/bytes": ArrayForm("<u8", (None,)),
    "shards/digest": ArrayForm("|u1", (None, 16)),
    "splits/*": ArrayForm("<u8", (None,)),
    **string_forms("class_names", None),
    **REJECTED_FORMS,
}
_TABLES = ("shards/", "class_names/")
_TEXTS = ("dataset_id", "fields", "settings")


@dataclass(frozen=True)
class Index:
    """An opened index: its small tables in memory, its splits mapped.

    Attributes:
        path: The dataset's folder, absolute.
        dataset_id: 32 hexadecimal digits, the same in every shard.
        fields: What each sample holds.
        class_names: The class of each label number.
        starts: `(shards + 1,)` int64: the sample id at which each shard begins; the last is the total.
        num_bytes: `(shards,)` uint64: the size of each shard file.
        digests: `(shards, 16)` uint8: the digest of each shard's arrays.
        splits: Split name to `(n,)` uint64 sample ids, mapped from the file.
        settings: How it was packed, as JSON.
        digest: Of the index's arrays, and so of all that the dataset holds: 32 hexadecimal digits.
    """

    path: str
    dataset_id: str
    fields: tuple[Field, ...]
    class_names: tuple[str, ...]
    starts: np.ndarray
    num_bytes: np.ndarray
    digests: np.ndarray
    splits: Mapping[str, np.ndarray]
    settings: str
    digest: str
    _file: MappedFile

    @classmethod
    def open(cls, path: str) -> Index:
        """Open the index of the dataset in the folder `path`, in time proportional to its shards.

        Raises:
            DatasetNotFoundError: Where there is no dataset.
            DamagedError: Where the index is damaged.
            FormatError: Where it is of a newer format, or holds what is not allowed.
        """
        name = os.path.join(path, INDEX_NAME)
        if not os.path.isfile(name):
            raise DatasetNotFoundError(_why_not_found(path))
        layout = read_layout(name, _FORMS)
        check_version(name, layout, "index")
        file = MappedFile(name, layout)
        hashed = _with_texts(file.arrays, layout.attributes)
        found, expected = _tables_digest(hashed), layout.attributes.get("tables_digest")
        if found != expected:
            raise DamagedError(
                f"{name}: shards and class_names have digest {found}, expected is {expected}: bytes have changed"
            )
        rows = file.arrays["shards/rows"]
        if not rows.size == file.arrays["shards/bytes"].size == len(file.arrays["shards/digest"]):
            raise FormatError(f"{name}: the arrays under shards have different lengths")
        return cls(
            # Wherever the program goes meanwhile.
            path=os.path.abspath(path),
            dataset_id=str(layout.attributes.get("dataset_id")),
            fields=parse_fields(str(layout.attributes.get("fields")), name),
            class_names=tuple(os.fsdecode(each) for each in read_strings(file, "class_names")),
            starts=np.concatenate([[0], np.cumsum(rows, dtype=np.int64)]),
            num_bytes=file.arrays["shards/bytes"],
            digests=file.arrays["shards/digest"],
            splits={each[7:]: file.arrays[each] for each in file.arrays if each.startswith("splits/")},
            settings=str(layout.attributes.get("settings")),
            digest=str(layout.attributes.get("digest")),
            _file=file,
        )

    @property
    def num_samples(self) -> int:
        return int(self.starts[-1])

    @property
    def num_shards(self) -> int:
        return len(self.num_bytes)

    def entry(self, number: int) -> ShardEntry:
        """What the index says of one shard."""
        num_rows = int(self.starts[number + 1] - self.starts[number])
        return ShardEntry(number, num_rows, int(self.num_bytes[number]), self.digests[number].tobytes().hex())

    def rejected(self) -> list[Rejected]:
        """Every file that was found and not packed."""
        return read_rejected(self._file)

    def check_all(self) -> list[str]:
        """Read every byte of the index: one line for each thing that is not as it should be."""
        found = arrays_digest(_with_texts(self._file.arrays, self._file.attributes))
        if found == self.digest:
            return []
        return [f"{self._file.path}: the arrays have digest {found}, expected is {self.digest}: bytes have changed"]

    def check_ids(self, ids: np.ndarray) -> None:
        """Raise DamagedError unless all sample ids, read from a split, exist."""
        if ids.size and not int(ids.max()) < self.num_samples:
            raise DamagedError(
                f"{self._file.path}: a split holds sample id {int(ids.max())}, allowed is below {self.num_samples}"
            )


def _with_texts(arrays: Mapping[str, np.ndarray], attributes: Mapping[str, int | str]) -> dict[str, np.ndarray]:
    """The arrays of an index, and its JSON attributes as if they were arrays of bytes: what its digests stand for."""
    texts = {name: np.frombuffer(str(attributes.get(name)).encode(), np.uint8) for name in _TEXTS}
    return {**arrays, **texts}


def _tables_digest(hashed: Mapping[str, np.ndarray]) -> str:
    """Of all but the splits, checked at every opening: a row count that changed would shift all samples after it."""
    return arrays_digest({name: array for name, array in hashed.items() if name.startswith(_TABLES) or name in _TEXTS})


def _why_not_found(path: str) -> str:
    if not os.path.exists(path):
        return f"{path}: there is no such folder"
    if not os.path.isdir(path):
        return f"{path}: is a file, expected is the folder of a dataset"
    if any(name.startswith("shard-") for name in os.listdir(path)):
        return f"{path}: holds shards but no {INDEX_NAME}: its packing was not finished (kseq pack --resume goes on)"
    return f"{path}: holds no {INDEX_NAME}, so it is not a kseq dataset (kseq pack makes one)"


def check_split_name(name: str) -> None:
    """Raise ArgumentError unless a split may have this name."""
    if not _SPLIT_NAME.fullmatch(name) or name == "all":
        raise ArgumentError(f"split name {name!r}: allowed are letters, digits, _, - and ., and not 'all'")


def write_index(
    path: str,
    *,
    dataset_id: str,
    fields: Sequence[Field],
    class_names: Sequence[str],
    shards: Sequence[ShardEntry],
    splits: Mapping[str, np.ndarray],
    rejected: Sequence[Rejected],
    settings: str,
) -> None:
    """Publish `index.h5` in the folder `path`: from then on, there is a dataset.

    Args:
        path: The dataset's folder, with all its shards in place.
        dataset_id: 32 hexadecimal digits, as in the shards.
        fields: What each sample holds.
        class_names: The class of each label number.
        shards: One entry per shard, in order.
        splits: Split name to whole numbers, sample ids.
        rejected: The files that were left out.
        settings: How it was packed, as JSON.
    """
    arrays = {
        "shards/rows": np.array([each.num_rows for each in shards], "<u8"),
        "shards/bytes": np.array([each.num_bytes for each in shards], "<u8"),
        "shards/digest": np.frombuffer(bytes.fromhex("".join(each.digest for each in shards)), np.uint8).reshape(-1, 16),
        **{f"splits/{name}": np.asarray(ids, "<u8") for name, ids in sorted(splits.items())},
        **pack_strings("class_names", [os.fsencode(name) for name in class_names]),
        **pack_rejected(rejected),
    }
    attributes: dict[str, int | str] = {
        "format": "kseq index",
        "version": FORMAT_VERSION,
        "dataset_id": dataset_id,
        "fields": write_fields(tuple(fields)),
        "settings": settings,
    }
    hashed = _with_texts(arrays, attributes)
    attributes |= {"digest": arrays_digest(hashed), "tables_digest": _tables_digest(hashed)}
    with publishing(os.path.join(path, INDEX_NAME)) as temporary:
        write_file(temporary, attributes, arrays)
