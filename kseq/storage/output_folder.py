"""The folder that a dataset is written to: what may lie in it, and how a new dataset replaces an old one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kseq.arguments import is_url, shown_url, spelled
from kseq.errors import ArgumentError, DatasetExistsError, KseqError, WriteError
from kseq.platforms.files import exchange, flush, remove_folder, rename
from kseq.storage.atomic import remove_file, remove_temporary
from kseq.storage.inner_folder import is_fixed, move_in, remove_unnamed_shards
from kseq.storage.layout import (
    INDEX_NAME,
    INNER_FOLDER_NAME,
    LOCK_NAME,
    NEW_FOLDER_PREFIX,
    OLD_FOLDER_PREFIX,
    RESUME_RECORD_NAME,
    WRITING_RECORD_NAME,
    is_dataset_file,
    is_packed_file,
)
from kseq.storage.lock import locked

__all__ = ["check_apart", "check_target", "new_folder", "remove_dataset_files", "remove_inner_folder", "target_folder"]


def check_apart(source: str, target: str) -> None:
    """Raise ArgumentError if the source and the dataset are the same folder, or one is inside the other."""
    if not source or not target:
        raise ArgumentError("the path of the source or of the dataset is empty: give both")
    # A place may have several URLs: only what is certain is told.
    target_place, source_place = (_place(path) for path in (target, source))
    if target_place.startswith(source_place) or source_place.startswith(target_place):
        raise ArgumentError(
            f"{shown_url(target)}: is the same as the source {shown_url(source)}, or one is inside the other: take another "
            "folder"
        )


def check_target(target: str, *, overwrite: bool, resume: bool, copying: bool = False) -> list[str]:
    """The names of the files of a dataset, complete or not, that lie in the folder to write to.

    Args:
        target: The folder.
        overwrite: Whether what lies there may be replaced.
        resume: Whether an unfinished dataset that lies there is gone on with.
        copying: Whether a dataset is copied there, not packed.

    Raises:
        DatasetExistsError: If something lies at `target` that must not be changed.
    """
    names = _dataset_files(target)
    if WRITING_RECORD_NAME in names and INDEX_NAME not in names and not overwrite and not copying:
        raise DatasetExistsError(f"{target}: an unfinished copy lies there ({spelled('overwrite', True)} replaces it)")
    if names and not overwrite and not resume:
        unfinished = f"an unfinished packing lies there ({spelled('resume', True)} goes on with it, "
        state = "a dataset lies there (" if INDEX_NAME in names else unfinished
        raise DatasetExistsError(f"{target}: {state}{spelled('overwrite', True)} replaces it)")
    return names


def _place(path: str) -> str:
    """A path or a URL with a separator at its end, so that one begins with another if it is inside."""
    local = path.removeprefix("file://").removeprefix("local://")
    return f"{shown_url(path).rstrip('/')}/" if is_url(local) else os.path.join(os.path.realpath(local), "")


@contextmanager
def target_folder(target: str, *, overwrite: bool, resume: bool, copying: bool = False) -> Iterator[str]:
    """Yields the folder to write a dataset into, and locks `target` for this process until the end of the block.

    To overwrite a dataset, it is a new folder beside the old one, or inside the old one if that cannot be renamed, as a mount
    point. It replaces the old dataset at the end of the block. If the block raises, the old dataset stays as it was. A block
    that raises before it made a shard leaves nothing. The arguments are those of `check_target`.

    Raises:
        DatasetExistsError: If something lies at `target` that must not be changed.
        LockedError: If another process packs there.
        WriteError: If the operating system refuses.
    """
    _finish_replacing(target)
    if INDEX_NAME in _dataset_files(target):
        check_target(target, overwrite=overwrite, resume=resume, copying=copying)
    with _locked_folder(target):
        names = check_target(target, overwrite=overwrite, resume=resume, copying=copying)
        with (_replacing if overwrite and names else _packing_in_place)(target) as folder:
            yield folder


@contextmanager
def _locked_folder(target: str) -> Iterator[None]:
    """Lock a folder, and make it before if necessary; a new folder that is empty at the end is removed."""
    is_new = not os.path.isdir(target)
    _make_folder(target)
    try:
        with locked(target):
            yield
    finally:
        if is_new:
            with suppress(OSError):
                os.rmdir(target)


@contextmanager
def new_folder(target: str, *, overwrite: bool) -> Iterator[str]:
    """Yields a folder beside `target` to write a dataset to, which becomes `target` at the end of the block.

    If `target` cannot be renamed, as a mount point, the folder is inside, and what was written to it moves to `target`.
    Until then, `target` is locked for this process. If the block raises, the folder is removed, and what lies at `target` stays
    as it was.

    Raises:
        DatasetExistsError: If something lies at `target` that must not be changed.
        LockedError: If another process packs or changes a dataset there.
        WriteError: If the operating system refuses.
    """
    target = os.path.normpath(target)
    _finish_replacing(target)
    _check_free(target, overwrite)
    with _locked_folder(target):
        _check_free(target, overwrite)
        with _replacing(target) as folder:
            yield folder


def _check_free(target: str, overwrite: bool) -> None:
    if not overwrite and _dataset_files(target):
        raise DatasetExistsError(f"{target}: a dataset lies there, or a part of one ({spelled('overwrite', True)} replaces it)")


def _dataset_files(target: str) -> list[str]:
    """The names of the files of a dataset, complete or not, that lie at `target`; the lock is not among them.

    Raises:
        DatasetExistsError: If anything else lies there.
    """
    if not os.path.lexists(target):
        return []
    if not os.path.isdir(target):
        raise DatasetExistsError(f"{target}: is a file, expected is a folder to make")
    names = sorted(name for name in os.listdir(target) if name != LOCK_NAME and not _is_of_file_system(target, name))
    others = [name for name in names if not _is_ours(target, name)]
    if others:
        raise DatasetExistsError(f"{target}: holds {others[0]!r}, which is not kseq's: take a new folder")
    return names


def _is_of_file_system(folder: str, name: str) -> bool:
    """Whether a file system itself has made something: in its topmost folder, or for a removed file that is still open."""
    return name.startswith(".nfs") or (name == "lost+found" and is_fixed(os.path.realpath(folder)))


def _is_ours(folder: str, name: str) -> bool:
    """Whether kseq itself made what has this name in a dataset's folder."""
    return name == INNER_FOLDER_NAME if os.path.isdir(os.path.join(folder, name)) else is_dataset_file(name)


@contextmanager
def _packing_in_place(target: str) -> Iterator[str]:
    """Yields `target` itself; if the block raises before it made a shard, its files are removed."""
    remove_temporary(target)
    remove_inner_folder(target)
    # What an overwriting left that was killed at its very end. Of an unfinished packing all stays: it has no index.
    remove_unnamed_shards(target)
    try:
        yield target
    except BaseException:
        # The block's error says what is wrong; an error here must not hide it.
        with suppress(KseqError, OSError):
            remove_temporary(target)
            if not any(is_packed_file(name) for name in os.listdir(target)):
                remove_dataset_files(target)
        raise


def _neighbours(target: str) -> tuple[str, str]:
    """The folder for a new dataset that is to replace one, and the folder for the old dataset if names cannot be exchanged."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f"{NEW_FOLDER_PREFIX}{name}"), os.path.join(folder, f"{OLD_FOLDER_PREFIX}{name}")


@contextmanager
def _replacing(target: str) -> Iterator[str]:
    """Yields a new folder that replaces `target`, which exists and is locked, at the end of the block."""
    target = os.path.realpath(target)
    with (_replacing_inside if is_fixed(target) else _replacing_by_name)(target) as folder:
        yield folder


@contextmanager
def _replacing_inside(target: str) -> Iterator[str]:
    remove_temporary(target)
    remove_inner_folder(target)
    remove_unnamed_shards(target)
    new = os.path.join(target, INNER_FOLDER_NAME)
    _make_folder(new)
    try:
        yield new
        _move_in(new, target)
    finally:
        # What is wrong is said by the block's error.
        with suppress(KseqError, OSError):
            remove_inner_folder(target)
            remove_unnamed_shards(target)


def _move_in(new: str, target: str) -> None:
    try:
        move_in(new, target)
    except OSError as error:
        if isinstance(error, KseqError):
            raise
        raise WriteError(f"{target}: cannot be replaced by {new}: {error.strerror or error}") from error


@contextmanager
def _replacing_by_name(target: str) -> Iterator[str]:
    new, old = _neighbours(target)
    _remove_folder(new)
    _remove_folder(old)
    _make_folder(new)
    # So that the dataset is locked from the first moment that it has its name.
    with locked(new):
        try:
            yield new
        except BaseException:
            with suppress(KseqError, OSError):
                _remove_folder(new)
            raise
        _remove_folder(_replace(target, new, old))


def _replace(target: str, new: str, old: str) -> str:
    """Give the new folder the name `target`, or move what is in it there; returns the folder that is of no use now."""
    if exchange(new, target):
        old = new
    else:
        try:
            rename(target, old)
        except OSError:
            # Some refusals cannot be foreseen: of a mount point on a system that lists none, of somebody else's folder.
            return _move_in_and_clear(new, target)
    try:
        if old != new:
            rename(new, target)
        flush(os.path.dirname(new))
    except OSError as error:
        raise WriteError(f"{target}: cannot be replaced by {new}: {error.strerror}") from error
    return old


def _move_in_and_clear(new: str, target: str) -> str:
    try:
        _move_in(new, target)
    except KseqError:
        with suppress(KseqError, OSError):
            _remove_folder(new)
            remove_unnamed_shards(target)
        raise
    return new


def _finish_replacing(target: str) -> None:
    """Give a new dataset its name if a process was killed between the two renames of `_replace`."""
    new, old = _neighbours(os.path.realpath(target))
    if os.path.lexists(target) or not os.path.isdir(old) or INDEX_NAME not in _dataset_files(new):
        return
    # Refuses if the process is still alive.
    with locked(new):
        pass
    try:
        rename(new, target)
    except OSError as error:
        raise WriteError(f"{target}: {new} cannot take this name: {error.strerror}") from error


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder}: cannot be made: {error.strerror}") from error


def _remove_folder(folder: str) -> None:
    """Remove a folder that holds a dataset, complete or not, if it exists."""
    if os.path.isdir(folder):
        remove_dataset_files(folder)
        remove_temporary(folder)
        remove_file(os.path.join(folder, LOCK_NAME))
        try:
            remove_folder(folder)
        except OSError as error:
            raise WriteError(f"{folder}: cannot be removed: {error.strerror}") from error


def remove_inner_folder(folder: str) -> None:
    """Remove what a process left inside a folder if it was killed while it replaced the dataset there.

    Raises:
        WriteError: If the operating system refuses.
    """
    _remove_folder(os.path.join(folder, INNER_FOLDER_NAME))


def remove_dataset_files(folder: str) -> None:
    """Remove a dataset, complete or not, from its folder; the index first, so that nobody reads a part of it."""
    for name in _dataset_files(folder):
        if name in (RESUME_RECORD_NAME, WRITING_RECORD_NAME) or is_packed_file(name):
            remove_file(os.path.join(folder, name))
