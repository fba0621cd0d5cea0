"""The index of a dataset, as it is read: its shards, fields, classes, splits and columns."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseq.arguments import is_url, spelled_call
from kseq.errors import DamagedError, DatasetNotFoundError, FormatError, KseqError, ReadError
from kseq.images.pixel_form import CHANNELS
from kseq.platforms.files import can_replace_mapped_files
from kseq.storage.array_location import ArrayLocation
from kseq.storage.array_schema import ArraySchema
from kseq.storage.box_counts import BOX_FACTS, parse_facts
from kseq.storage.checksums import is_digest, sha256_hex
from kseq.storage.fields import Field, parse_fields
from kseq.storage.file_arrays import FileArrays
from kseq.storage.hdf5_reader import FileHeader, read_header
from kseq.storage.index_checks import check_counts, check_index
from kseq.storage.index_schema import (
    COLUMN_PREFIX,
    INDEX_SCHEMA,
    LENGTHS_PREFIX,
    SPLIT_PREFIX,
    contents_digest,
    name_in_shard,
    tables_digest,
)
from kseq.storage.layout import INDEX_KIND, INDEX_NAME, LAST_INDEX_NAME, WRITING_RECORD_NAME, shard_name, shard_number
from kseq.storage.notes import PACKING_NOTES, parse_lines
from kseq.storage.opener import DatasetFile, absolute_path, choose_read, opener_for
from kseq.storage.rejected import Rejected, read_rejected
from kseq.storage.remaining_ids import Remaining
from kseq.storage.remote_folder import RemoteFolder, open_remote_folder
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_schema import shard_schema
from kseq.storage.strings import parse_json, read_strings, read_text

__all__ = ["Contents", "Index"]

# Sums of so many are exact in every dtype that sample ids have; a damaged row count would pass it by far.
_MOST_SAMPLES = 1 << 48

# An index of a billion samples has gigabytes.
_HASHED_AT_ONCE = 1 << 20

# What settings must say, and may say of it.
_SETTINGS: dict[str, Collection[Any]] = {
    "encoding": ("keep", "jpeg", "raw"),
    "color_mode": tuple(CHANNELS),
    "quality": range(1, 101),
}


@dataclass(frozen=True)
class Contents:
    """All that an index says: `Index.contents` returns it, and `kseq.storage.index_writer.write_index` writes it.

    Attributes:
        dataset_id: 32 hexadecimal digits.
        fields: What each sample holds.
        class_names: The class of each label number.
        shards: One entry for each shard, in order.
        splits: Split name to `(n,)` sample ids.
        rejected: The files that were left out when the dataset was packed.
        settings: How it was packed, as JSON.
        stored_fields: What each row of a shard holds; None if that is `fields`.
        columns: Values that do not lie in the shards, or are no longer as they lie there: arrays of all samples, under their
            names in a shard (`NAME`, or `NAME/values` and `NAME/offsets`).
        dropped: `(n,)` sample ids that are out of all splits, each larger than the one before.
        changes: What was done to the dataset since it was packed, a line for each change.
        box_facts: What packing counted of boxes, see `kseq.storage.box_counts`.
        packing_notes: What was worth knowing when samples were packed, a line each.
    """

    dataset_id: str
    fields: Sequence[Field]
    class_names: Sequence[str]
    shards: Sequence[ShardEntry]
    splits: Mapping[str, np.ndarray]
    rejected: Sequence[Rejected]
    settings: str
    stored_fields: Sequence[Field] | None = None
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    dropped: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, "<u8"))
    changes: Sequence[str] = ()
    box_facts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    packing_notes: Sequence[str] = ()

    @property
    def num_samples(self) -> int:
        """How many sample ids there are."""
        return sum(shard.num_rows for shard in self.shards)


@dataclass(frozen=True)
class Index:
    """An opened index: its small tables in memory, its splits and columns mapped.

    Attributes:
        path: The dataset's folder, absolute.
        dataset_id: 32 hexadecimal digits, of the packing that began the dataset.
        fields: What each sample holds.
        stored_fields: What each row of a shard holds.
        class_names: The class of each label number.
        numbers: `(shards,)` uint64: the number in each shard's file name.
        starts: `(shards + 1,)` int64: the sample id at which each shard begins; the last is the total.
        num_bytes: `(shards,)` uint64: the size of each shard's file.
        digests: `(shards, DIGEST_BYTES)` uint8: the digest of each shard's arrays.
        splits: Split name to `(n,)` uint64 sample ids, mapped from the file.
        columns: As in `Contents`, mapped from the file.
        lengths: Name of each stored field whose samples differ in how many elements they have, to `(samples,)` uint32: how
            many; mapped from the file.
        dropped: `(n,)` uint64 sample ids that are out of all splits, mapped from the file.
        settings: How the dataset was packed, as JSON.
        changes: What was done to it since then, a line for each change.
        digest: Of the index's arrays, and so of all that the dataset holds: 32 hexadecimal digits.
        header: The structure of the file, with which another process opens it without parsing it.
        read: `"map"` or `"pread"`: how its shards are read. With `"pread"`, all that is mapped otherwise is read into memory.
        remote: The folder where it lies under a URL; None for a folder of this machine.
        file: All its arrays, as they lie in the file.
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
    lengths: Mapping[str, np.ndarray]
    dropped: np.ndarray
    settings: str
    changes: tuple[str, ...]
    digest: str
    header: FileHeader
    read: str
    remote: RemoteFolder | None
    file: FileArrays

    @classmethod
    def open(
        cls,
        path: str,
        name: str = INDEX_NAME,
        header: FileHeader | None = None,
        read: str = "auto",
        remote: RemoteFolder | None = None,
    ) -> Index:
        """Open the index of the dataset in the folder `path`, in time proportional to the number of its shards.

        Args:
            path: The folder, or its URL.
            name: The file in it.
            header: The `header` of this index from an earlier opening, so that nothing need be parsed.
            read: `"map"`, `"pread"` or `"auto"`, see `kseq.storage.opener.choose_read`.
            remote: The folder under a URL; None to read one without options and without a cache.

        Raises:
            DatasetNotFoundError: If there is no dataset.
            DamagedError: If the index is damaged, or another than `header` is of.
            FormatError: If it is of a newer format, or holds something that is not allowed.
            ReadError: If the operating system refuses to open, read or map it.
        """
        if remote is None and is_url(path):
            remote = open_remote_folder(path, cache_bytes=0)
        path = absolute_path(path) if remote is None else remote.files.url
        read = choose_read(path, read) if remote is None else remote.choose_read(read)
        file, header = _open_file(path, name, header, read, remote)
        arrays, attributes = file.arrays, header.attributes
        _check_digits(file.path, attributes)
        index = cls(
            path=path,
            dataset_id=str(attributes.get("dataset_id")),
            fields=parse_fields(read_text(arrays["fields"]), file.path),
            stored_fields=parse_fields(read_text(arrays["stored_fields"]), file.path),
            class_names=tuple(os.fsdecode(class_name) for class_name in read_strings(file, "class_names")),
            numbers=arrays["shards/number"],
            starts=_starts(file.path, arrays["shards/rows"]),
            num_bytes=arrays["shards/bytes"],
            digests=arrays["shards/digest"],
            splits={key.removeprefix(SPLIT_PREFIX): arrays[key] for key in arrays if key.startswith(SPLIT_PREFIX)},
            columns={name_in_shard(key): arrays[key] for key in arrays if key.startswith(COLUMN_PREFIX)},
            lengths={key.removeprefix(LENGTHS_PREFIX): arrays[key] for key in arrays if key.startswith(LENGTHS_PREFIX)},
            dropped=arrays["dropped"],
            settings=read_text(arrays["settings"]),
            changes=_parse_changes(file.path, read_text(arrays["changes"])),
            digest=str(attributes.get("digest")),
            header=header,
            read=read,
            remote=remote,
            file=file,
        )
        check_index(index)
        if remote is not None:
            remote.check_room(index.num_bytes)
        return index

    @classmethod
    def find(
        cls,
        path: str,
        digest: str,
        header: FileHeader | None = None,
        read: str = "auto",
        remote: RemoteFolder | None = None,
    ) -> Index:
        """Open the index with a known digest, although the dataset may have been changed once since.

        Args:
            path: The folder.
            digest: Of the index.
            header: Its `header`, so that nothing need be parsed.
            read: As in `open`.
            remote: As in `open`.

        Raises:
            DamagedError: If neither the index nor the one before the last change has that digest.
            KseqError: As `open` does.
        """
        for name in (INDEX_NAME, LAST_INDEX_NAME) if header is not None else ():
            # Another index than that of the header is as good as none: its digest is compared at the place the header names.
            with suppress(KseqError):
                return cls.open(path, name, header, read, remote)
        index = cls.open(path, read=read, remote=remote)
        if index.digest == digest:
            return index
        with suppress(KseqError):
            last = cls.open(path, LAST_INDEX_NAME, read=read, remote=remote)
            if last.digest == digest:
                return last
        raise DamagedError(
            f"{index.path}: has digest {index.digest}, expected is {digest}: it was packed again or changed meanwhile"
        )

    @functools.cached_property
    def shard_arrays(self) -> dict[str, ArraySchema]:
        """What each array of a shard is, in the order of the columns of `shards/offsets`."""
        return dict(sorted(shard_schema(self.stored_fields, None).items()))

    @property
    def num_samples(self) -> int:
        """How many sample ids there are, with those that were dropped."""
        return int(self.starts[-1])

    @property
    def num_shards(self) -> int:
        """How many shards there are."""
        return len(self.num_bytes)

    def file_sha256(self) -> tuple[str, int]:
        """The SHA-256 of the file of the index as it is now, in hexadecimal digits, and its size in bytes.

        Raises:
            ReadError: If the operating system refuses.
        """
        with _open_bytes(self.path, INDEX_NAME, "pread", self.remote) as file:
            num_bytes = file.num_bytes
            starts = range(0, num_bytes, _HASHED_AT_ONCE)
            return sha256_hex(file.read(start, min(start + _HASHED_AT_ONCE, num_bytes)) for start in starts), num_bytes

    @property
    def remaining(self) -> Remaining:
        """The sample ids that were not dropped.

        Raises:
            DamagedError: If the list of those that were dropped is not rising, or holds ids that do not exist.
        """
        dropped = self.dropped
        if dropped.size and (int(dropped[-1]) >= self.num_samples or not (dropped[1:] > dropped[:-1]).all()):
            raise DamagedError(f"{self.file.path}: dropped is not a rising list of sample ids below {self.num_samples}")
        return Remaining(self.num_samples, dropped)

    def shard_path(self, position: int) -> str:
        """The file of the shard at a position in the list of shards."""
        name = shard_name(int(self.numbers[position]))
        return os.path.join(self.path, name) if self.remote is None else self.remote.files.shown(name)

    def entry(self, position: int) -> ShardEntry:
        """What the index says of the shard at a position in the list of shards."""
        return ShardEntry(
            number=int(self.numbers[position]),
            num_rows=int(self.starts[position + 1] - self.starts[position]),
            num_bytes=int(self.num_bytes[position]),
            digest=self.digests[position].tobytes().hex(),
            digest_offset=int(self.file.arrays["shards/digest_offset"][position]),
            arrays=self._locations(position),
            lengths={name: array[self.starts[position] : self.starts[position + 1]] for name, array in self.lengths.items()},
        )

    def _locations(self, position: int) -> dict[str, ArrayLocation]:
        """Where each array of a shard lies in its file."""
        arrays = self.file.arrays
        offsets, lengths = arrays["shards/offsets"][position].tolist(), arrays["shards/lengths"][position].tolist()
        return {
            name: ArrayLocation(offset, schema.dtype, (length, *(side or 0 for side in schema.shape[1:])))
            for (name, schema), offset, length in zip(self.shard_arrays.items(), offsets, lengths, strict=True)
        }

    def parse_settings(self) -> dict[str, Any]:
        """How the dataset was packed: the image settings, by the names of their arguments.

        Raises:
            FormatError: If the text is not a JSON object with what messages and exports need of it.
        """
        settings = parse_json(self.settings, f"{self.file.path}: settings")
        if not isinstance(settings, dict) or any(settings.get(name) not in allowed for name, allowed in _SETTINGS.items()):
            raise FormatError(f"{self.file.path}: settings are not the image settings of a packing: {self.settings[:80]!r}")
        return settings

    def counts(self, field: str, ids: np.ndarray) -> np.ndarray:
        """`(n,)` int64: how many elements samples have, of a field of which that differs; no shard is opened.

        Args:
            field: The name of the field.
            ids: `(n,)` int64 sample ids.

        Raises:
            DamagedError: If the offsets of a column do not rise.
        """
        offsets = self.columns.get(f"{field}/offsets")
        if offsets is None:
            counts = self.lengths[field][ids].astype(np.int64)
            check_counts(self, field, ids, counts)
            return counts
        counts = offsets[ids + 1].astype(np.int64) - offsets[ids].astype(np.int64)
        if counts.size and (int(counts.min()) < 0 or int(counts.max()) > len(self.columns[f"{field}/values"])):
            raise DamagedError(f"{self.file.path}: offsets of the column {field} do not rise: bytes have changed")
        return counts

    def rejected(self) -> list[Rejected]:
        """Every file that was found and not packed."""
        return read_rejected(self.file)

    def box_facts(self) -> dict[str, int]:
        """What packing counted of boxes: those that it left out, and those that are remarkable."""
        return parse_facts(self.header.attributes.get(BOX_FACTS))

    def packing_notes(self) -> tuple[str, ...]:
        """What was worth knowing when samples were packed, a line each."""
        return parse_lines(self.header.attributes.get(PACKING_NOTES))

    def contents(self, **changes: Any) -> Contents:
        """All that the index says, with some attributes of `Contents` replaced."""
        contents = Contents(
            dataset_id=self.dataset_id,
            fields=self.fields,
            class_names=self.class_names,
            shards=[self.entry(position) for position in range(self.num_shards)],
            splits=self.splits,
            rejected=self.rejected(),
            settings=self.settings,
            stored_fields=self.stored_fields,
            columns=self.columns,
            dropped=self.dropped,
            changes=self.changes,
            box_facts=self.box_facts(),
            packing_notes=self.packing_notes(),
        )
        return dataclasses.replace(contents, **changes)

    def check_all(self) -> list[str]:
        """Read every byte of the index: one line for everything that is not as it should be."""
        digest = contents_digest(self.file.arrays)
        if digest == self.digest:
            return []
        return [f"{self.file.path}: the arrays have digest {digest}, expected is {self.digest}: bytes have changed"]

    def check_digest(self) -> None:
        """Raise DamagedError unless every byte is as it was written, so that a new index does not carry on a damage."""
        for line in self.check_all():
            raise DamagedError(line)

    def check_ids(self, ids: np.ndarray) -> None:
        """Raise DamagedError unless all sample ids, read from a split, exist."""
        if ids.size and not int(ids.max()) < self.num_samples:
            raise DamagedError(
                f"{self.file.path}: a split holds sample id {int(ids.max())}, allowed is below {self.num_samples}"
            )


def _open_file(
    path: str, name: str, known: FileHeader | None, read: str, remote: RemoteFolder | None
) -> tuple[FileArrays, FileHeader]:
    """The file of an index, after checking its format and the digest of its tables."""
    try:
        # A change replaces the index, which Windows refuses while it is mapped: there it is read into memory.
        how = read if can_replace_mapped_files() else "pread"
        with _open_bytes(path, name, how, remote) as opened:
            header = read_header(opened, INDEX_KIND, INDEX_SCHEMA) if known is None else known
            if known is not None:
                _check_is(opened, known)
            file = FileArrays(opened, header.num_bytes, header.locations)
            file.load()
    except DatasetNotFoundError as error:
        raise DatasetNotFoundError(_why_not_found(path, remote)) from error
    digest, expected = tables_digest(file.arrays), header.attributes.get("tables_digest")
    if digest != expected:
        raise DamagedError(f"{file.path}: its tables have digest {digest}, expected is {expected}: bytes have changed")
    return file, header


def _open_bytes(path: str, name: str, read: str, remote: RemoteFolder | None) -> DatasetFile:
    if remote is not None:
        return remote.open_index(name, _check_whole, read)
    return opener_for(path, read).open(os.path.join(path, name))


def _check_whole(file: DatasetFile) -> None:
    """Read all of an index, and raise DamagedError unless its arrays have its digest."""
    header = read_header(file, INDEX_KIND, INDEX_SCHEMA)
    digest, expected = contents_digest(FileArrays(file, header.num_bytes, header.locations).arrays), header.attributes["digest"]
    if digest != expected:
        raise DamagedError(f"{file.path}: the arrays have digest {digest}, expected is {expected}: bytes have changed")


def _check_is(file: DatasetFile, known: FileHeader) -> None:
    """Raise DamagedError unless a file is the index that a header is of: of its size, and with its digest where that lies."""
    digest, offset = str(known.attributes["digest"]), known.attribute_offsets["digest"]
    if file.num_bytes != known.num_bytes or file.read(offset, offset + len(digest)) != digest.encode():
        raise DamagedError(f"{file.path}: is not the index with digest {digest}: it was changed meanwhile")


def _check_digits(path: str, attributes: Mapping[str, int | str]) -> None:
    """Raise FormatError unless the attributes that hold hexadecimal digits do."""
    for name in ("dataset_id", "digest"):
        if not is_digest(attributes.get(name)):
            raise FormatError(f"{path}: attribute {name} is {attributes.get(name)!r}, allowed are 32 hexadecimal digits")


def _starts(path: str, rows: np.ndarray) -> np.ndarray:
    """`(shards + 1,)` int64: the sample id at which each shard begins; the last is the total."""
    if rows.sum(dtype=np.float64) > _MOST_SAMPLES:
        raise DamagedError(f"{path}: its shards have {rows.sum(dtype=np.float64):.0f} rows, allowed are {_MOST_SAMPLES}")
    return np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])


def _parse_changes(path: str, text: str) -> tuple[str, ...]:
    changes = parse_json(text, f"{path}: changes")
    if not isinstance(changes, list) or not all(isinstance(change, str) for change in changes):
        raise FormatError(f"{path}: changes is not a list of texts: {text[:80]!r}")
    return tuple(changes)


def _why_not_found(path: str, remote: RemoteFolder | None) -> str:
    try:
        names = opener_for(path).names(path) if remote is None else _remote_names(remote)
    except DatasetNotFoundError as error:
        return str(error)
    if WRITING_RECORD_NAME in names:
        return f"{path}: holds no {INDEX_NAME}: copying was not finished ({spelled_call('copy')}, made again, goes on)"
    if any(shard_number(name) is not None for name in names):
        return (
            f"{path}: holds shards but no {INDEX_NAME}: packing was not finished ({spelled_call('pack', resume=True)} goes on)"
        )
    if remote is not None:
        return f"{path}: holds no {INDEX_NAME}, so it is not a kseq dataset"
    return f"{path}: holds no {INDEX_NAME}, so it is not a kseq dataset ({spelled_call('pack')} makes one)"


def _remote_names(remote: RemoteFolder) -> list[str]:
    # A web server need not be able to list a folder.
    with suppress(ReadError):
        return list(remote.files.list())
    return []
