"""The folder that a dataset is packed into: what may lie there, and how an old dataset gives way to a new one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from kseq.begun import BEGUN_NAME, Begun
from kseq.errors import ArgumentError, DatasetExistsError, KseqError, SourceError, WriteError
from kseq.files import exchange, flush, remove_file, remove_temporary
from kseq.format import INDEX_NAME, LAST_INDEX_NAME, shard_name, shard_number
from kseq.index import Index
from kseq.lock import LOCK_NAME, locked
from kseq.plan import Plan
from kseq.room import check_room
from kseq.shard import ShardReader

__all__ = ["begun", "check_apart", "check_target", "new_folder", "open_shard", "target_folder", "whole_shards"]

# What the names of the files begin with that make up a dataset.
_LASTING = (INDEX_NAME, "shard-")
_OURS = re.compile(r"index\.h5(\.\d+)?|\.kseq-(tmp-.*|plan|lock)", re.DOTALL)


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


def check_target(target: str, *, overwrite: bool, resume: bool) -> list[str]:
    """The files of a dataset, whole or not, that lie where one is to be packed.

    Raises:
        DatasetExistsError: Where something lies at `target` that may not be touched.
    """
    ours = [name for name in _look(target) if name != LOCK_NAME]
    if ours and not overwrite and not resume:
        state = "a dataset lies there" if INDEX_NAME in ours else "an unfinished packing lies there, --resume goes on with it"
        raise DatasetExistsError(f"{target}: {state} (--overwrite replaces it)")
    return ours


@contextmanager
def target_folder(target: str, *, overwrite: bool, resume: bool) -> Iterator[str]:
    """Gives the folder to pack into, which is this process's alone until the end of the block.

    To overwrite, that is a new folder beside the old dataset, which gives way at the end of the block and stays
    as it was if the block raises. A block that raises before it made a shard leaves nothing.

    Raises:
        DatasetExistsError: Where something lies at `target` that may not be touched.
        LockedError: Where another process packs there.
        WriteError: Where the operating system refuses.
    """
    _mend(target)
    if INDEX_NAME in _look(target):
        check_target(target, overwrite=overwrite, resume=resume)
    with _made_and_locked(target):
        ours = check_target(target, overwrite=overwrite, resume=resume)
        with (_giving_way if overwrite and ours else _in_place)(target) as folder:
            yield folder


@contextmanager
def _made_and_locked(target: str) -> Iterator[None]:
    """Makes a folder, if need be, and keeps it to this process; one that was made goes at the end, if nothing is in it."""
    is_new = not os.path.isdir(target)
    _make(target)
    try:
        with locked(target):
            yield
    finally:
        if is_new:
            with suppress(OSError):
                os.rmdir(target)


@contextmanager
def begun(folder: str, plan: Plan, arguments: Mapping[str, Any]) -> Iterator[set[int]]:
    """Gives the numbers of the shards that are in the folder already; for a resume, keeps there what the plan was made from.

    Args:
        folder: The folder to pack into.
        plan: What is to be packed.
        arguments: Those of `kseq.pack` that the plan's settings do not hold.

    Raises:
        DatasetExistsError: Where other images were packed there, or with other settings.
        WriteError: Where the operating system refuses, or the disk cannot hold what is to be made.
    """
    now = Begun.of(plan, arguments)
    shards = whole_shards(folder, plan, now)
    check_room(folder, plan, [number for number in range(plan.num_shards) if number not in shards])
    now.write(folder)
    try:
        yield shards
    except SourceError:
        # There was nothing to pack, so there is nothing to go on with.
        _empty(folder)
        raise
    remove_file(os.path.join(folder, BEGUN_NAME))


def _check_unchanged(folder: str, index: Index, plan: Plan) -> None:
    """Raise DatasetExistsError unless an index is the one that this very plan has made, and nothing was changed since."""
    if index.changes or os.path.exists(os.path.join(folder, LAST_INDEX_NAME)):
        change = index.changes[-1] if index.changes else "what was taken back"
        raise DatasetExistsError(
            f"{folder}: was changed since it was packed ({change}), so it cannot be resumed: --overwrite starts anew"
        )
    if index.dataset_id != plan.dataset_id:
        told = Begun.settings_told(json.loads(index.settings), json.loads(plan.settings.as_text()))
        raise _others(folder, f": {'; '.join(told)}" if told else "")


def whole_shards(folder: str, plan: Plan, now: Begun) -> set[int]:
    """The shards of this very plan that an earlier run published in a folder; they are whole, since publishing is atomic.

    Raises:
        DatasetExistsError: Where other images were packed there, or with other settings, or images have changed since.
    """
    names = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    numbers = {number for number in range(plan.num_shards) if shard_name(number) in names}
    found = {name for name in names if name.startswith(_LASTING)}
    if found and (then := Begun.read(folder)) is not None:
        told = then.differences(now, _in_shards(plan, numbers))
        if told:
            raise _others(folder, f": {'; '.join(told)}")
    try:
        if INDEX_NAME in names:
            _check_unchanged(folder, Index.open(folder), plan)
        for number in numbers:
            open_shard(plan, folder, number)
    except DatasetExistsError:
        raise
    except KseqError as error:
        raise DatasetExistsError(
            f"{error} (it was packed from other images or with other settings: --overwrite starts anew)"
        ) from error
    others = sorted(found - {INDEX_NAME} - {shard_name(number) for number in numbers})
    if others:
        raise _others(os.path.join(folder, others[0]), "")
    return numbers


def _others(path: str, told: str) -> DatasetExistsError:
    return DatasetExistsError(f"{path}: was packed from other images or with other settings{told} (--overwrite starts anew)")


def _in_shards(plan: Plan, numbers: set[int]) -> np.ndarray:
    """`(images,)` bool: which images of a plan lie in some shards."""
    packed = np.zeros(plan.shard_starts[-1], bool)
    for number in numbers:
        packed[plan.shard_starts[number] : plan.shard_starts[number + 1]] = True
    return packed


@contextmanager
def new_folder(target: str, *, overwrite: bool) -> Iterator[str]:
    """Gives a folder to make a dataset in, beside `target`; it becomes `target` at the end of the block.

    Until then, `target` is this process's alone. If the block raises, it goes, and what lay at `target` stays as it was.

    Raises:
        DatasetExistsError: Where something lies at `target` that may not be touched.
        LockedError: Where another process packs or changes a dataset there.
        WriteError: Where the operating system refuses.
    """
    target = os.path.normpath(target)
    _mend(target)
    _check_free(target, overwrite)
    with _made_and_locked(target):
        _check_free(target, overwrite)
        with _giving_way(target) as folder:
            yield folder


def _check_free(target: str, overwrite: bool) -> None:
    if not overwrite and any(name != LOCK_NAME for name in _look(target)):
        raise DatasetExistsError(f"{target}: a dataset lies there, or a part of one (--overwrite replaces it)")


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
    return shard_number(name) is not None or _OURS.fullmatch(name) is not None


@contextmanager
def _in_place(target: str) -> Iterator[str]:
    remove_temporary(target)
    try:
        yield target
    except BaseException:
        # That which is under way says what is wrong, whatever happens here.
        with suppress(KseqError, OSError):
            remove_temporary(target)
            if not any(name.startswith(_LASTING) for name in os.listdir(target)):
                _empty(target)
        raise


def _beside(target: str) -> tuple[str, str]:
    """Where a new dataset is made that is to replace one, and, where names cannot be exchanged, the old one goes."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".kseq-new-{name}"), os.path.join(folder, f".kseq-old-{name}")


@contextmanager
def _giving_way(target: str) -> Iterator[str]:
    target = os.path.realpath(target)
    new, old = _beside(target)
    _clear(new)
    _clear(old)
    _make(new)
    # So that it is locked under its later name from the first moment on.
    with locked(new):
        try:
            yield new
        except BaseException:
            with suppress(KseqError, OSError):
                _clear(new)
            raise
        try:
            if exchange(new, target):
                old = new
            else:
                if os.path.lexists(target):
                    os.rename(target, old)
                os.rename(new, target)
            flush(os.path.dirname(new))
        except OSError as error:
            raise WriteError(f"{target}: cannot be replaced by {new}: {error.strerror}") from error
        _clear(old)


def _mend(target: str) -> None:
    """Give a new dataset its name, if its packing was killed between the two renames of an overwriting."""
    new, old = _beside(os.path.realpath(target))
    if os.path.lexists(target) or not os.path.isdir(old) or INDEX_NAME not in _look(new):
        return
    with locked(new):
        pass
    try:
        os.rename(new, target)
    except OSError as error:
        raise WriteError(f"{target}: {new} cannot take this name: {error.strerror}") from error


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder}: cannot be made: {error.strerror}") from error


def _clear(folder: str) -> None:
    """Remove a folder that holds a dataset, whole or not."""
    if os.path.isdir(folder):
        _empty(folder)
        remove_temporary(folder)
        remove_file(os.path.join(folder, LOCK_NAME))
        try:
            os.rmdir(folder)
        except OSError as error:
            raise WriteError(f"{folder}: cannot be removed: {error.strerror}") from error


def _empty(folder: str) -> None:
    """Remove a dataset, whole or not, from its folder; the index first, so that nobody reads a part of it."""
    for name in _look(folder):
        if name == BEGUN_NAME or name.startswith(_LASTING):
            remove_file(os.path.join(folder, name))
