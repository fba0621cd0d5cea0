"""Merging: several datasets to a new one, whose shards are theirs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kseq.arguments import path_text, spelled, spelled_call
from kseq.editing.columns import Piece, joined
from kseq.errors import ArgumentError, DamagedError, FormatError, KseqError, ReadError, WriteError
from kseq.storage.atomic import link_or_copy
from kseq.storage.checksums import Digest
from kseq.storage.compatibility import (
    check_same_names,
    class_numbers,
    common_field,
    dataset_classes,
    row_layouts,
    unite_classes,
)
from kseq.storage.fields import Field
from kseq.storage.index import Contents, Index
from kseq.storage.index_schema import column_schema
from kseq.storage.index_writer import write_index
from kseq.storage.layout import INDEX_NAME, shard_name
from kseq.storage.output_folder import check_apart, new_folder
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_reader import ShardReader

__all__ = ["MergeReport", "merge"]


@dataclass(frozen=True)
class MergeReport:
    """What `kseq.merge` made.

    Attributes:
        path: The new dataset's folder.
        num_samples: How many samples the new dataset has, without dropped samples.
        num_shards: How many shards it has.
        num_linked: How many of the shards are hard links to files of the merged datasets; the others are copies.
        num_bytes: The size of all its files, in bytes.
        class_names: The class name of each label number.
        splits: Split name to the number of its samples.
        seconds: How long it took.
    """

    path: str
    num_samples: int
    num_shards: int
    num_linked: int
    num_bytes: int
    class_names: tuple[str, ...] = field(repr=False)
    splits: dict[str, int]
    seconds: float


def merge(
    datasets: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, copy: bool = False, overwrite: bool = False
) -> MergeReport:
    """Make a new dataset of all samples of others, in the order given.

    Its shards are second names of their files (hard links), which take no room; where that cannot be, copies. Changing or
    removing any of the datasets does not touch the others.

    Sample ids count on from dataset to dataset, splits of the same name are joined, what was dropped stays dropped. Classes go
    by their names: those of the first dataset keep their numbers, new ones follow. How it was packed is the first's. Images are
    not read: whether they are whole, `kseq.verify` tells.

    Args:
        datasets: The folders of at least two datasets whose samples hold the same fields.
        out: The folder to make.
        copy: Copy in any case.
        overwrite: Replace a dataset that lies there, once the new one is whole.

    Raises:
        ArgumentError: Where they do not go together, or one is given twice.
        DatasetNotFoundError: Where there is no dataset.
        DatasetExistsError: Where something lies at `out` already.
        DamagedError: Where an index's bytes have changed, or a shard is not what its index says.
        LockedError: Where another process makes or changes a dataset at `out`.
        WriteError: Where the disk refuses.
    """
    started = time.monotonic()
    if isinstance(datasets, (str, bytes, os.PathLike)) or not isinstance(datasets, Sequence) or len(datasets) < 2:
        raise ArgumentError(f"{spelled('datasets', datasets)}: allowed are the folders of at least two")
    target = path_text("out", out)
    indexes = [Index.open(path_text("datasets", each)) for each in datasets]
    _check_each(indexes, target)
    contents = _united(indexes)
    with new_folder(target, overwrite=overwrite) as folder:
        linked = _bring(indexes, contents.shards, folder, copy)
        write_index(folder, contents)
    return MergeReport(
        path=target,
        num_samples=contents.num_samples - len(contents.dropped),
        num_shards=len(contents.shards),
        num_linked=linked,
        num_bytes=sum(each.num_bytes for each in contents.shards) + os.path.getsize(os.path.join(target, INDEX_NAME)),
        class_names=tuple(contents.class_names),
        splits={name: len(ids) for name, ids in contents.splits.items()},
        seconds=time.monotonic() - started,
    )


def _check_each(indexes: Sequence[Index], target: str) -> None:
    seen: dict[str, str] = {}
    for each in indexes:
        each.check_digest()
        check_apart(each.path, target)
        if each.digest in seen:
            other = seen[each.digest]
            raise ArgumentError(f"{each.path}: {'is given twice' if other == each.path else f'holds the same as {other}'}")
        seen[each.digest] = each.path


def _united(indexes: Sequence[Index]) -> Contents:
    """What the index of all of them is to say."""
    fields, stored = _common_fields(indexes)
    classes = dataset_classes(fields, unite_classes(*(each.class_names for each in indexes)))
    starts = np.cumsum([0, *(each.num_samples for each in indexes)]).astype("<u8")
    names = sorted({name for each in indexes for name in each.splits})
    none = np.empty(0, "<u8")
    splits = {
        name: np.concatenate([each.splits.get(name, none) + start for each, start in zip(indexes, starts, strict=False)])
        for name in names
    }
    entries = [each.entry(place) for each in indexes for place in range(each.num_shards)]
    return Contents(
        dataset_id=Digest(b"".join(bytes.fromhex(each.digest) for each in indexes)).hexdigest(),
        fields=fields,
        class_names=classes,
        shards=[replace(entry, number=number) for number, entry in enumerate(entries)],
        splits=splits,
        rejected=[rejected for each in indexes for rejected in each.rejected()],
        settings=indexes[0].settings,
        stored_fields=stored,
        columns=_columns(indexes, fields, classes),
        dropped=np.concatenate([each.dropped + start for each, start in zip(indexes, starts, strict=False)]),
        changes=[f"merge {' + '.join(os.path.basename(each.path) for each in indexes)}"],
    )


def _common_fields(indexes: Sequence[Index]) -> tuple[list[Field], list[Field]]:
    """What each sample holds, and what each row of a shard does.

    Raises:
        ArgumentError: Where the datasets do not go together.
    """
    first, *others = indexes
    fields = {each.name: each for each in first.fields}
    stored = {each.name: each for each in first.stored_fields}
    for other in others:
        its = {each.name: each for each in other.fields}
        check_same_names(fields, its, first.path, other.path)
        for name, each in fields.items():
            classes = unite_classes(each.class_names, its[name].class_names)
            fields[name] = replace(common_field(each, its[name], first.path, other.path), class_names=classes)
        _check_stored(first, other)
        stored = {each.name: common_field(stored[each.name], each, first.path, other.path) for each in other.stored_fields}
    return list(fields.values()), [replace(each, class_names=fields[name].class_names) for name, each in stored.items()]


def _check_stored(first: Index, other: Index) -> None:
    if row_layouts(first.stored_fields) == row_layouts(other.stored_fields):
        return
    mine, its = ([each.name for each in index.stored_fields] for index in (first, other))
    for lacking, names, having, others in ((other, its, first, mine), (first, mine, other, its)):
        for name in (name for name in others if name not in names):
            raise ArgumentError(
                f"{lacking.path}: field {name!r} lies beside its shards, in {having.path} in them: "
                f"{spelled_call('compact', lacking.path)} brings it into them"
            )
    raise ArgumentError(
        f"{other.path}: its shards hold {', '.join(its)}, those of {first.path} {', '.join(mine)}, allowed is the same order"
    )


def _columns(indexes: Sequence[Index], fields: Sequence[Field], classes: Sequence[str]) -> dict[str, np.ndarray]:
    """What cannot be read from the shards of all: where one has a column, or counts its classes otherwise."""
    columns: dict[str, np.ndarray] = {}
    for each in fields:
        numbers = [_class_numbers(index, each, classes) for index in indexes]
        are_columns = [_has_column(index, each) for index in indexes]
        if any(are_columns) or any(found is not None for found in numbers):
            columns |= joined(each, _pieces(indexes, each, numbers))
    return columns


def _class_numbers(index: Index, field: Field, classes: Sequence[str]) -> np.ndarray | None:
    own = next(each for each in index.fields if each.name == field.name)
    return class_numbers(own.handler.class_names(index.class_names), field.handler.class_names(classes))


def _has_column(index: Index, field: Field) -> bool:
    return any(name in index.columns for name in column_schema(field, index.num_samples))


def _pieces(indexes: Sequence[Index], field: Field, numbers: Sequence[np.ndarray | None]) -> Iterator[Piece]:
    """A field of all datasets: from the index where it is a column, else from each shard."""
    for index, its in zip(indexes, numbers, strict=True):
        if _has_column(index, field):
            yield Piece(index.path, index.columns.__getitem__, its)
            continue
        for place in range(index.num_shards):
            yield Piece(index.shard_path(place), _open(index, place).array, its)


def _open(index: Index, place: int) -> ShardReader:
    return ShardReader(index.shard_path(place), index.stored_fields, index.entry(place))


def _bring(indexes: Sequence[Index], entries: Sequence[ShardEntry], folder: str, copy: bool) -> int:
    """Give all shards their names in the new dataset; how many are links."""
    found = ((index, place) for index in indexes for place in range(index.num_shards))
    linked = 0
    for entry, (index, place) in zip(entries, found, strict=True):
        its, path = index.shard_path(place), os.path.join(folder, shard_name(entry.number))
        try:
            linked += link_or_copy(its, path, copy=copy)
            # The very shard that its index means, and not one that has come in its place meanwhile.
            ShardReader(path, index.stored_fields, entry)
        except FileNotFoundError as error:
            raise ReadError(f"{its}: is not there any more: {index.path} was changed meanwhile") from error
        except (DamagedError, FormatError) as error:
            # Under the name by which it is known.
            raise type(error)(str(error).replace(path, its)) from error
        except KseqError:
            raise
        except OSError as error:
            raise WriteError(f"{path}: cannot be made of {its}: {error.strerror or error}") from error
    return linked
