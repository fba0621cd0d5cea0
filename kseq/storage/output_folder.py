"""The folder that a dataset is made in: what may lie there, and how an old dataset gives way to a new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kseq.arguments import spelled
from kseq.errors import ArgumentError, DatasetExistsError, KseqError, WriteError
from kseq.storage.atomic import exchange, flush, remove_file, remove_temporary
from kseq.storage.layout import (
    INDEX_NAME,
    LOCK_NAME,
    NEW_FOLDER_PREFIX,
    OLD_FOLDER_PREFIX,
    RESUME_RECORD_NAME,
    is_dataset_file,
    is_packed_file,
)
from kseq.storage.lock import locked

__all__ = ["check_apart", "check_target", "new_folder", "remove_dataset_files", "target_folder"]


def check_apart(source: str, target: str) -> None:
    """Raise ArgumentError where the source and the dataset are the same, or one lies in the other."""
    if not source or not target:
        raise ArgumentError("the path of the source or of the dataset is empty: give both")
    inner, outer = os.path.realpath(target), os.path.realpath(source)
    if os.path.commonpath([inner, outer]) in (inner, outer):
        raise ArgumentError(f"{target}: is the same as the source {source}, or one lies in the other: take a folder apart")


def check_target(target: str, *, overwrite: bool, resume: bool) -> list[str]:
    """The files of a dataset, whole or not, that lie where one is to be packed.

    Raises:
        DatasetExistsError: Where something lies at `target` that may not be touched.
    """
    ours = [name for name in _look(target) if name != LOCK_NAME]
    if ours and not overwrite and not resume:
        unfinished = f"an unfinished packing lies there ({spelled('resume', True)} goes on with it, "
        state = "a dataset lies there (" if INDEX_NAME in ours else unfinished
        raise DatasetExistsError(f"{target}: {state}{spelled('overwrite', True)} replaces it)")
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
        raise DatasetExistsError(f"{target}: a dataset lies there, or a part of one ({spelled('overwrite', True)} replaces it)")


def _look(target: str) -> list[str]:
    """The files of a dataset, whole or not, that lie at `target`; nothing else may."""
    if not os.path.lexists(target):
        return []
    if not os.path.isdir(target):
        raise DatasetExistsError(f"{target}: is a file, expected is a folder to make")
    names = sorted(os.listdir(target))
    others = [name for name in names if not is_dataset_file(name) or os.path.isdir(os.path.join(target, name))]
    if others:
        raise DatasetExistsError(f"{target}: holds {others[0]!r}, which is not kseq's: take a new folder")
    return names


@contextmanager
def _in_place(target: str) -> Iterator[str]:
    remove_temporary(target)
    try:
        yield target
    except BaseException:
        # That which is under way says what is wrong, whatever happens here.
        with suppress(KseqError, OSError):
            remove_temporary(target)
            if not any(is_packed_file(name) for name in os.listdir(target)):
                remove_dataset_files(target)
        raise


def _beside(target: str) -> tuple[str, str]:
    """Where a new dataset is made that is to replace one, and, where names cannot be exchanged, the old one goes."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f"{NEW_FOLDER_PREFIX}{name}"), os.path.join(folder, f"{OLD_FOLDER_PREFIX}{name}")


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
        remove_dataset_files(folder)
        remove_temporary(folder)
        remove_file(os.path.join(folder, LOCK_NAME))
        try:
            os.rmdir(folder)
        except OSError as error:
            raise WriteError(f"{folder}: cannot be removed: {error.strerror}") from error


def remove_dataset_files(folder: str) -> None:
    """Remove a dataset, whole or not, from its folder; the index first, so that nobody reads a part of it."""
    for name in _look(folder):
        if name == RESUME_RECORD_NAME or is_packed_file(name):
            remove_file(os.path.join(folder, name))
