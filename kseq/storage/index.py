"""index.h5: what a dataset holds - its shards, fields, classes and splits."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kseq.arguments import spelled_call
from kseq.errors import ArgumentError, DamagedError, DatasetNotFoundError, FormatError, KseqError
from kseq.storage.atomic import flush, link_or_copy, publishing
from kseq.storage.checksums import arrays_digest
from kseq.storage.fields import Field, parse_fields, write_fields
from kseq.storage.hdf5 import ArraySchema, MappedFile, read_file_header, write_file
from kseq.storage.layout import FORMAT_VERSION, INDEX_NAME, LAST_INDEX_NAME, ShardEntry, check_version, shard_name
from kseq.storage.rejected import REJECTED_SCHEMA, Rejected, pack_rejected, read_rejected
from kseq.storage.strings import pack_strings, pack_text, read_strings, read_text, string_schema

__all__ = ["Contents", "Index", "Remaining", "check_split_name", "column_schema", "write_index"]

_SPLIT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FORMS = {
    "shards/number": ArraySchema("<u8", (None,)),
    "shards/rows": ArraySchema("<u8", (None,)),
    "shards/bytes": ArraySchema("<u8", (None,)),
    "shards/digest": ArraySchema("|u1", (None, 16)),
    "splits/*": ArraySchema("<u8", (None,)),
    "dropped": ArraySchema("<u8", (None,)),
    **{name: ArraySchema("|u1", (None,)) for name in ("fields", "stored_fields", "settings", "changes")},
    **string_schema("class_names", None),
    **REJECTED_SCHEMA,
}
# Of these, `tables_digest` is compared at every opening: a row count that changed would shift all samples after it.
_TABLES = ("shards/", "class_names/", "fields", "stored_fields", "settings", "changes")
# These say where things lie and how they came to be, not what a dataset holds.
_OUTSIDE_DIGEST = ("shards/number", "changes")


class Remaining:
    """The sample ids that were not dropped, in order, computed for just the places asked for.

    Args:
        num_samples: How many sample ids there are.
        dropped: `(n,)` sample ids, each larger than the one before.
    """

    def __init__(self, num_samples: int, dropped: np.ndarray) -> None:
        self.size = num_samples - len(dropped)
        # How many remain before each that was dropped.
        self._before = dropped.astype(np.int64) - np.arange(len(dropped))

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        """`(n,)` int64: the sample ids at some places, `(n,)` int64 in [0, size)."""
        ids: np.ndarray = places + np.searchsorted(self._before, places, side="right")
        return ids


@dataclass(frozen=True)
class Contents:
    """All that an index says; `write_index` writes it, `Index.contents` gives it back.

    Attributes:
        dataset_id: 32 hexadecimal digits.
        fields: What each sample holds.
        class_names: The class of each label number.
        shards: One entry for each shard, in order.
        splits: Split name to `(n,)` sample ids.
        rejected: The files that were left out when it was packed.
        settings: How it was packed, as JSON.
        stored_fields: What each row of a shard holds; None for the same as `fields`.
        columns: What does not lie in the shards, or is no longer as it lies there: arrays of all samples, called as in a shard
            (`NAME`, or `NAME/values` and `NAME/offsets`).
        dropped: `(n,)` sample ids that are out of all splits, each larger than the one before.
        changes: What was done to it since it was packed, a line for each time.
    """

    dataset_id: str
    fields: Sequence[Field]
    class_names: Sequence[str]
    shards: Sequence[ShardEntry]
    splits: Mapping[str, np.ndarray]
    rejected: Sequence[Rejected]
    settings: str
    stored_fields: Sequence[Field] | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    dropped: np.ndarray = field(default_factory=lambda: np.empty(0, "<u8"))
    changes: Sequence[str] = ()

    @property
    def num_samples(self) -> int:
        """How many sample ids there are."""
        return sum(each.num_rows for each in self.shards)


@dataclass(frozen=True)
class Index:
    """An opened index: its small tables in memory, its splits and columns mapped.

    Attributes:
        path: The dataset's folder, absolute.
        dataset_id: 32 hexadecimal digits, of the packing that began it.
        fields: What each sample holds.
        stored_fields: What each row of a shard holds.
        class_names: The class of each label number.
        numbers: `(shards,)` uint64: the number of each shard's file.
        starts: `(shards + 1,)` int64: the sample id at which each shard begins; the last is the total.
        num_bytes: `(shards,)` uint64: the size of each shard file.
        digests: `(shards, 16)` uint8: the digest of each shard's arrays.
        splits: Split name to `(n,)` uint64 sample ids, mapped from the file.
        columns: As `Contents` has them, mapped from the file.
        dropped: `(n,)` uint64 sample ids that are out of all splits, mapped from the file.
        settings: How it was packed, as JSON.
        changes: What was done to it since then.
        digest: Of the index's arrays, and so of all that the dataset holds: 32 hexadecimal digits.
    """

    path: str
    dataset_id: str
    fields: tuple[Field, ...]
    stored_fields: tuple[Field, ...]
    class_names: tuple[str, ...]
    numbers: np.ndarray
    starts: np.ndarray
    num_bytes: np.ndarray
    digests: np.ndarray
    splits: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]
    dropped: np.ndarray
    settings: str
    changes: tuple[str, ...]
    digest: str
    _file: MappedFile

    @classmethod
    def open(cls, path: str, name: str = INDEX_NAME) -> Index:
        """Open the index of the dataset in the folder `path`, in time proportional to its shards.

        Args:
            path: The folder.
            name: Of the file in it.

        Raises:
            DatasetNotFoundError: Where there is no dataset.
            DamagedError: Where the index is damaged.
            FormatError: Where it is of a newer format, or holds what is not allowed.
        """
        file_name = os.path.join(path, name)
        if not os.path.isfile(file_name):
            raise DatasetNotFoundError(_why_not_found(path))
        layout = read_file_header(file_name, {**_FORMS, "columns/*": None})
        check_version(file_name, layout.attributes, "index")
        file = MappedFile(file_name, layout)
        found, expected = _tables_digest(file.arrays), layout.attributes.get("tables_digest")
        if found != expected:
            raise DamagedError(f"{file_name}: its tables have digest {found}, expected is {expected}: bytes have changed")
        fields = parse_fields(read_text(file.arrays["fields"]), file_name)
        rows = file.arrays["shards/rows"]
        opened = cls(
            # Wherever the program goes meanwhile.
            path=os.path.abspath(path),
            dataset_id=str(layout.attributes.get("dataset_id")),
            fields=fields,
            stored_fields=parse_fields(read_text(file.arrays["stored_fields"]), file_name),
            class_names=tuple(os.fsdecode(each) for each in read_strings(file, "class_names")),
            numbers=file.arrays["shards/number"],
            starts=np.concatenate([[0], np.cumsum(rows, dtype=np.int64)]),
            num_bytes=file.arrays["shards/bytes"],
            digests=file.arrays["shards/digest"],
            splits={each[7:]: file.arrays[each] for each in file.arrays if each.startswith("splits/")},
            columns={_in_shard(each): file.arrays[each] for each in file.arrays if each.startswith("columns/")},
            dropped=file.arrays["dropped"],
            settings=read_text(file.arrays["settings"]),
            changes=tuple(json.loads(read_text(file.arrays["changes"]))),
            digest=str(layout.attributes.get("digest")),
            _file=file,
        )
        opened._check_forms()
        return opened

    @classmethod
    def find(cls, path: str, digest: str) -> Index:
        """Open the very index that had a digest, though a change of the dataset may have come meanwhile.

        Raises:
            DamagedError: Where neither the index nor the one before the last change is that.
            KseqError: As `open` does.
        """
        opened = cls.open(path)
        if opened.digest == digest:
            return opened
        with suppress(KseqError):
            last = cls.open(path, LAST_INDEX_NAME)
            if last.digest == digest:
                return last
        raise DamagedError(
            f"{opened.path}: has digest {opened.digest}, expected is {digest}: it was packed again or changed meanwhile"
        )

    def _check_forms(self) -> None:
        """Raise FormatError unless tables and columns are as long as they must be, and hold what the fields say."""
        shards = {f"shards/{name}": len(self._file.arrays[f"shards/{name}"]) for name in ("number", "rows", "bytes", "digest")}
        if len(set(shards.values())) != 1:
            raise FormatError(f"{self._file.path}: the arrays under shards have different lengths: {shards}")
        stored = {each.name for each in self.stored_fields}
        wanted: dict[str, ArraySchema] = {}
        for each in self.fields:
            forms = column_schema(each, self.num_samples)
            if each.name not in stored or any(name in self.columns for name in forms):
                wanted |= forms
        for name in {**wanted, **self.columns}:
            array = self.columns.get(name)
            form = wanted.get(name)
            if array is None or form is None or not form.allows(array.dtype, array.shape):
                found = "missing" if array is None else f"{array.dtype} {array.shape}"
                raise FormatError(f"{self._file.path}: the column {name!r} is {found}, expected is {form or 'none'}")

    @property
    def num_samples(self) -> int:
        """How many sample ids there are, with those that were dropped."""
        return int(self.starts[-1])

    @property
    def num_shards(self) -> int:
        return len(self.num_bytes)

    @property
    def remaining(self) -> Remaining:
        """The sample ids that were not dropped.

        Raises:
            DamagedError: Where the list of those that were is not what it must be.
        """
        dropped = self.dropped
        if dropped.size and (int(dropped[-1]) >= self.num_samples or not (dropped[1:] > dropped[:-1]).all()):
            raise DamagedError(f"{self._file.path}: dropped is not a rising list of sample ids below {self.num_samples}")
        return Remaining(self.num_samples, dropped)

    def shard_path(self, place: int) -> str:
        """The file of the shard at a place, counted from 0."""
        return os.path.join(self.path, shard_name(int(self.numbers[place])))

    def entry(self, place: int) -> ShardEntry:
        """What the index says of the shard at a place."""
        num_rows = int(self.starts[place + 1] - self.starts[place])
        return ShardEntry(int(self.numbers[place]), num_rows, int(self.num_bytes[place]), self.digests[place].tobytes().hex())

    def rejected(self) -> list[Rejected]:
        """Every file that was found and not packed."""
        return read_rejected(self._file)

    def contents(self, **changes: Any) -> Contents:
        """All that it says, with some of it replaced."""
        contents = Contents(
            dataset_id=self.dataset_id,
            fields=self.fields,
            class_names=self.class_names,
            shards=[self.entry(place) for place in range(self.num_shards)],
            splits=self.splits,
            rejected=self.rejected(),
            settings=self.settings,
            stored_fields=self.stored_fields,
            columns=self.columns,
            dropped=self.dropped,
            changes=self.changes,
        )
        return replace(contents, **changes)

    def check_all(self) -> list[str]:
        """Read every byte of the index: one line for each thing that is not as it should be."""
        found = _digest(self._file.arrays)
        if found == self.digest:
            return []
        return [f"{self._file.path}: the arrays have digest {found}, expected is {self.digest}: bytes have changed"]

    def check_digest(self) -> None:
        """Raise DamagedError unless every byte is as it was written, so that a new index does not carry on what has changed."""
        for line in self.check_all():
            raise DamagedError(line)

    def check_ids(self, ids: np.ndarray) -> None:
        """Raise DamagedError unless all sample ids, read from a split, exist."""
        if ids.size and not int(ids.max()) < self.num_samples:
            raise DamagedError(
                f"{self._file.path}: a split holds sample id {int(ids.max())}, allowed is below {self.num_samples}"
            )


def column_schema(each: Field, num_samples: int) -> dict[str, ArraySchema]:
    """What the arrays of a column must be, by the names that they have in a shard; columns are never images."""
    return {} if each.is_pixels else each.handler.schema(num_samples)


def _in_index(name: str) -> str:
    """What the array of a column is called in the index, where groups nest one deep."""
    return f"columns/{name.replace('/', '.')}"


def _in_shard(name: str) -> str:
    """What an array of the index would be called in a shard."""
    return name.removeprefix("columns/").replace(".", "/")


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    return arrays_digest({name: array for name, array in arrays.items() if name not in _OUTSIDE_DIGEST})


def _tables_digest(arrays: Mapping[str, np.ndarray]) -> str:
    return arrays_digest({name: array for name, array in arrays.items() if name.startswith(_TABLES)})


def _why_not_found(path: str) -> str:
    if not os.path.exists(path):
        return f"{path}: there is no such folder"
    if not os.path.isdir(path):
        return f"{path}: is a file, expected is the folder of a dataset"
    if any(name.startswith("shard-") for name in os.listdir(path)):
        return (
            f"{path}: holds shards but no {INDEX_NAME}: packing was not finished ({spelled_call('pack', resume=True)} goes on)"
        )
    return f"{path}: holds no {INDEX_NAME}, so it is not a kseq dataset ({spelled_call('pack')} makes one)"


def check_split_name(name: str) -> None:
    """Raise ArgumentError unless a split may have this name."""
    if not _SPLIT_NAME.fullmatch(name) or name == "all":
        raise ArgumentError(f"split name {name!r}: allowed are letters, digits, _, - and ., and not 'all'")


def write_index(path: str, contents: Contents, *, keep_last: bool = False) -> None:
    """Publish `index.h5` in the folder `path`: from then on, there is a dataset of these contents.

    Args:
        path: The folder; all shards must be in place.
        contents: What the index is to say.
        keep_last: The index that lies there now stays, as `index.h5.1`.

    Raises:
        WriteError: Where the operating system refuses.
    """
    shards = contents.shards
    stored = contents.fields if contents.stored_fields is None else contents.stored_fields
    arrays = {
        "shards/number": np.array([each.number for each in shards], "<u8"),
        "shards/rows": np.array([each.num_rows for each in shards], "<u8"),
        "shards/bytes": np.array([each.num_bytes for each in shards], "<u8"),
        "shards/digest": np.frombuffer(bytes.fromhex("".join(each.digest for each in shards)), np.uint8).reshape(-1, 16),
        "fields": pack_text(write_fields(tuple(contents.fields))),
        "stored_fields": pack_text(write_fields(tuple(stored))),
        "settings": pack_text(contents.settings),
        "changes": pack_text(json.dumps(list(contents.changes))),
        "dropped": np.asarray(contents.dropped, "<u8"),
        **{f"splits/{name}": np.asarray(ids, "<u8") for name, ids in sorted(contents.splits.items())},
        **{_in_index(name): column for name, column in sorted(contents.columns.items())},
        **pack_strings("class_names", [os.fsencode(name) for name in contents.class_names]),
        **pack_rejected(contents.rejected),
    }
    attributes: dict[str, int | str] = {
        "format": "kseq index",
        "version": FORMAT_VERSION,
        "dataset_id": contents.dataset_id,
        "digest": _digest(arrays),
        "tables_digest": _tables_digest(arrays),
    }
    with publishing(os.path.join(path, INDEX_NAME)) as temporary:
        write_file(temporary, attributes, arrays)
        if keep_last:
            # First: where the disk refuses this, the one before the last change is to stay as well.
            flush(temporary)
            link_or_copy(os.path.join(path, INDEX_NAME), os.path.join(path, LAST_INDEX_NAME))
