"""The folder that a dataset is packed into: what may lie there, and how an old dataset gives way to a new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from kseq.errors import ArgumentError, DatasetExistsError, KseqError, SourceError, WriteError
from kseq.files import TEMPORARY_PREFIX, remove_temporary
from kseq.format import INDEX_NAME, LAST_INDEX_NAME, shard_name
from kseq.index import Index
from kseq.plan import Plan
from kseq.shard import ShardReader

__all__ = ["check_apart", "new_folder", "open_shard", "target_folder"]


def check_apart(source: str, target: str) -> None:
    """Raise ArgumentError where the source and the dataset are the same, or one lies in the other."""
    if not source or not target:
        raise ArgumentError(f"source={source!r}, dataset={target!r}: allowed are paths that are not empty")
    inner, outer = os.path.realpath(target), os.path.realpath(source)
    if os.path.commonpath([inner, outer]) in (inner, outer):
        raise ArgumentError(f"{target}: is the same as the source {source}, or one lies in the other: take a folder apart")


def open_shard(plan: Plan, folder: str, number: int) -> ShardReader:
    """A shard of this very plan.

    Raises:
        KseqError: Where there is none, or another.
    """
    reader = ShardReader(os.path.join(folder, shard_name(number)), plan.fields())
    reader.check_origin(plan.dataset_id, number)
    return reader


@contextmanager
def target_folder(target: str, plan: Plan, *, overwrite: bool, resume: bool) -> Iterator[tuple[str, set[int]]]:
    """Gives the folder to pack into, and the numbers of the shards that are in it already.

    To overwrite, that is a new folder beside the old dataset, which gives way at the end of the block and stays
    as it was if the block raises.

    Raises:
        DatasetExistsError: Where something lies at `target` that may not be touched.
        WriteError: Where the operating system refuses.
    """
    target = os.path.normpath(target)
    ours = _look(target)
    if overwrite and ours:
        with _giving_way(target) as folder:
            yield folder, set()
        return
    if ours and not resume:
        state = "a dataset lies there" if INDEX_NAME in ours else "an unfinished packing lies there, --resume goes on with it"
        raise DatasetExistsError(f"{target}: {state} (--overwrite replaces it)")
    _make(target)
    remove_temporary(target)
    shards = _whole_shards(target, plan)
    try:
        yield target, shards
    except SourceError:
        # There was nothing to pack, so there is nothing to go on with.
        _clear(target)
        raise


@contextmanager
def new_folder(target: str, *, overwrite: bool) -> Iterator[str]:
    """Gives a folder to make a dataset in, beside `target`; it becomes `target` at the end of the block.

    If the block raises, it goes, and what lay at `target` stays as it was.

    Raises:
        DatasetExistsError: Where something lies at `target` that may not be touched.
        WriteError: Where the operating system refuses.
    """
    target = os.path.normpath(target)
    if _look(target) and not overwrite:
        raise DatasetExistsError(f"{target}: a dataset lies there, or a part of one (--overwrite replaces it)")
    with _giving_way(target) as folder:
        yield folder


def _look(target: str) -> list[str]:
    """The files of a dataset, whole or not, that lie at `target`; nothing else may."""
    if not os.path.lexists(target):
        return []
    if not os.path.isdir(target):
        raise DatasetExistsError(f"{target}: is a file, expected is a folder to make")
    names = sorted(os.listdir(target))
    others = [name for name in names if not _is_ours(name) or os.path.isdir(os.path.join(target, name))]
    if others:
        raise DatasetExistsError(f"{target}: holds {others[0]!r}, which is not kseq's: take a new folder")
    return names


def _is_ours(name: str) -> bool:
    return (
        name in (INDEX_NAME, LAST_INDEX_NAME)
        or name.startswith(TEMPORARY_PREFIX)
        or (name.startswith("shard-") and name.endswith(".h5"))
    )


@contextmanager
def _giving_way(target: str) -> Iterator[str]:
    new, old = f"{target}.new", f"{target}.old"
    _clear(new)
    _clear(old)
    _make(new)
    try:
        yield new
    except BaseException:
        _clear(new)
        raise
    try:
        if os.path.lexists(target):
            os.rename(target, old)
        os.rename(new, target)
    except OSError as error:
        raise WriteError(f"{target}: cannot be replaced by {new}: {error.strerror}") from error
    _clear(old)


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder}: cannot be made: {error.strerror}") from error


def _clear(folder: str) -> None:
    """Remove a folder that holds a dataset, whole or not; the index first, so that nobody reads a part of it."""
    names = _look(folder)
    try:
        for name in names:
            os.unlink(os.path.join(folder, name))
        if os.path.isdir(folder):
            os.rmdir(folder)
    except OSError as error:
        raise WriteError(f"{folder}: cannot be removed: {error.strerror}") from error


def _check_unchanged(target: str, index: Index, plan: Plan) -> None:
    """Raise DatasetExistsError unless an index is the one that this very plan has made, and nothing was changed since."""
    if index.changes:
        raise DatasetExistsError(
            f"{target}: was changed since it was packed ({index.changes[-1]}), so it cannot be resumed: --overwrite starts anew"
        )
    if index.dataset_id != plan.dataset_id:
        raise DatasetExistsError(
            f"{os.path.join(target, INDEX_NAME)}: was packed from other images or with other settings: --overwrite starts anew"
        )


def _whole_shards(target: str, plan: Plan) -> set[int]:
    """The shards of this very plan that an earlier run published; they are whole, since publishing is atomic."""
    names = set(os.listdir(target))
    numbers = {number for number in range(plan.num_shards) if shard_name(number) in names}
    others = sorted(names - {INDEX_NAME} - {shard_name(number) for number in numbers})
    try:
        for number in numbers:
            open_shard(plan, target, number)
        if INDEX_NAME in names:
            _check_unchanged(target, Index.open(target), plan)
    except DatasetExistsError:
        raise
    except KseqError as error:
        raise DatasetExistsError(
            f"{error} (it was packed from other images or with other settings: --overwrite starts anew)"
        ) from error
    if others:
        raise DatasetExistsError(
            f"{os.path.join(target, others[0])}: was packed from other images or with other settings: --overwrite starts anew"
        )
    return numbers
