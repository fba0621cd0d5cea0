"""Merging several datasets to a new one."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from kseq.arguments import path_text, spelled
from kseq.editing.merged_index import merge_contents
from kseq.errors import ArgumentError, DamagedError, FormatError, KseqError, ReadError, WriteError
from kseq.storage.atomic import link_or_copy
from kseq.storage.index import Index
from kseq.storage.index_writer import write_index
from kseq.storage.layout import INDEX_NAME, shard_name
from kseq.storage.output_folder import check_apart, new_folder
from kseq.storage.report import Report
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_reader import ShardReader

__all__ = ["MergeReport", "merge"]


@dataclass(frozen=True)
class MergeReport(Report):
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
    """Make a new dataset of all samples of other datasets, in the order given.

    The shards of the new dataset are hard links to the files of the others, which need no space, or copies where the file
    system has no hard links. Changing or removing one of the datasets does not affect the others.

    Sample ids count on from dataset to dataset, splits of the same name are joined, and dropped samples stay dropped. Classes
    are matched by their names: those of the first dataset keep their numbers, new ones follow. The image settings are those
    of the first dataset. Images are not read; `kseq.verify` tells whether they are whole.

    Args:
        datasets: The folders of at least two datasets whose samples hold the same fields.
        out: The folder to make.
        copy: Copy the shards in any case.
        overwrite: Replace a dataset at `out`, once the new one is whole.

    Raises:
        ArgumentError: If the datasets do not go together, or one is given twice.
        DatasetNotFoundError: If there is no dataset.
        DatasetExistsError: If something lies at `out`.
        DamagedError: If bytes of an index have changed, or a shard is not what its index says.
        LockedError: If another process makes or changes a dataset at `out`.
        WriteError: If the operating system refuses to write.
    """
    started = time.monotonic()
    if isinstance(datasets, (str, bytes, os.PathLike)) or not isinstance(datasets, Sequence) or len(datasets) < 2:
        raise ArgumentError(f"{spelled('datasets', datasets)}: allowed are the folders of at least two")
    target = path_text("out", out)
    indexes = list(map(Index.open, [path_text("datasets", path) for path in datasets]))
    _check_different(indexes, target)
    contents = merge_contents(indexes)
    with new_folder(target, overwrite=overwrite) as folder:
        num_linked = _bring_shards(indexes, contents.shards, folder, copy=copy)
        write_index(folder, contents)
    return MergeReport(
        path=target,
        num_samples=contents.num_samples - len(contents.dropped),
        num_shards=len(contents.shards),
        num_linked=num_linked,
        num_bytes=sum(entry.num_bytes for entry in contents.shards) + os.path.getsize(os.path.join(target, INDEX_NAME)),
        class_names=tuple(contents.class_names),
        splits={name: len(ids) for name, ids in contents.splits.items()},
        seconds=time.monotonic() - started,
    )


def _check_different(indexes: Sequence[Index], target: str) -> None:
    """Raise ArgumentError if two datasets are the same, or one of them lies at the target."""
    paths: dict[str, str] = {}
    for index in indexes:
        index.check_digest()
        check_apart(index.path, target)
        if index.digest in paths:
            same = paths[index.digest]
            raise ArgumentError(f"{index.path}: {'is given twice' if same == index.path else f'holds the same as {same}'}")
        paths[index.digest] = index.path


def _bring_shards(indexes: Sequence[Index], entries: Sequence[ShardEntry], folder: str, *, copy: bool) -> int:
    """Link or copy all shards to the new folder. Returns the number of links."""
    shards = ((index, number) for index in indexes for number in range(index.num_shards))
    num_linked = 0
    for entry, (index, number) in zip(entries, shards, strict=True):
        source, path = index.shard_path(number), os.path.join(folder, shard_name(entry.number))
        try:
            num_linked += link_or_copy(source, path, copy=copy)
            # The file must be the shard that the index means, and not one that has replaced it meanwhile.
            ShardReader(path, index.stored_fields, entry).check_structure()
        except FileNotFoundError as error:
            raise ReadError(f"{source}: is not there any more: {index.path} was changed meanwhile") from error
        except (DamagedError, FormatError) as error:
            # The message names the file that the caller knows.
            raise type(error)(str(error).replace(path, source)) from error
        except KseqError:
            raise
        except OSError as error:
            raise WriteError(f"{path}: cannot be made of {source}: {error.strerror or error}") from error
    return num_linked
