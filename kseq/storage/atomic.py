"""Writes files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from kseq.errors import DatasetExistsError, KseqError, WriteError
from kseq.platforms.files import flush, remove, remove_unless_in_use, rename, replace
from kseq.platforms.stop_signals import stopping_once
from kseq.storage.layout import TEMPORARY_PREFIX

__all__ = [
    "copy_into",
    "link_or_copy",
    "publishing",
    "publishing_folder",
    "remove_file",
    "remove_half_written",
    "remove_temporary",
    "remove_unused_file",
    "spare_name",
]

_COPY_BYTES = 1 << 20


def spare_name(path: str) -> str:
    """A temporary name in the folder of `path` that nobody else uses; a file that is left under it counts as half written."""
    folder, name = os.path.split(os.path.abspath(path))
    # Process ids would not do: they may be equal on several machines, and are in containers.
    return os.path.join(folder, f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{name}")


@contextmanager
def publishing(path: str) -> Iterator[str]:
    """Publish a file: yields a temporary path in the folder of `path`, and renames the file that the block writes there.

    The file is flushed to the disk and renamed to `path`, and the folder is flushed. If the block raises or writes no file,
    `path` stays as it was. Files beside the temporary file whose names begin with its name are removed. Flushing is tried once:
    after a failure, the system may have dropped the data, and a second try would succeed without writing them.

    Raises:
        WriteError: If the operating system refuses.
    """
    temporary = spare_name(path)
    folder = os.path.dirname(temporary)
    try:
        try:
            yield temporary
            if os.path.exists(temporary):
                flush(temporary)
                _rename(temporary, path)
        finally:
            remove_temporary(folder, os.path.basename(temporary))
    except KseqError:
        raise
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error


def _rename(temporary: str, path: str) -> None:
    """Rename a file within its folder, and wait until its name is on the disk."""
    is_new = not os.path.exists(path)
    replace(temporary, path)
    try:
        flush(os.path.dirname(temporary))
    except OSError:
        # A new file whose name may be lost in a crash must not count as published.
        if is_new:
            remove(path)
        raise


@contextmanager
def publishing_folder(path: str) -> Iterator[str]:
    """Publish a folder: yields an empty folder beside `path`, and renames it to `path`, or removes it if the block raises.

    The block itself flushes the files in the folder to the disk.

    Raises:
        DatasetExistsError: If something lies at `path`.
        WriteError: If the operating system refuses.
    """
    parent, name = os.path.split(os.path.abspath(path))
    temporary = spare_name(path)
    if os.path.lexists(path):
        raise DatasetExistsError(f"{path}: exists already, expected is a folder to make, such as {os.path.join(path, 'NAME')}")
    # Who presses Ctrl-C twice would else leave the folder.
    with stopping_once():
        try:
            os.makedirs(temporary)
            yield temporary
            flush(temporary)
            rename(temporary, os.path.join(parent, name))
            flush(parent)
        except KseqError:
            raise
        except OSError as error:
            raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_temporary(folder: str, prefix: str = TEMPORARY_PREFIX) -> None:
    """Remove half written files from `folder`: all of them, or those whose names begin with `prefix`.

    Raises:
        WriteError: If the operating system refuses.
    """
    _remove_files(folder, lambda name: name.startswith(prefix))


def copy_into(target: BinaryIO, offset: int, source_path: str, start: int, end: int) -> None:
    """Copy the bytes from `start` up to `end` of a file into an open file, to `offset`."""
    with open(source_path, "rb") as source:
        source.seek(start)
        target.seek(offset)
        while start < end and (piece := source.read(min(_COPY_BYTES, end - start))):
            target.write(piece)
            start += len(piece)


def link_or_copy(source_path: str, target_path: str, *, copy: bool = False) -> bool:
    """Give a file a second name (a hard link), or copy it if the file system has no hard links.

    Args:
        source_path: The file.
        target_path: Its second name. A file that has this name already is replaced.
        copy: Copy it in any case.

    Returns:
        Whether it has two names now.
    """
    spare = spare_name(target_path)
    try:
        is_linked = not copy and _try_link(source_path, spare)
        if not is_linked:
            shutil.copyfile(source_path, spare)
            flush(spare)
        replace(spare, target_path)
        return is_linked
    finally:
        with suppress(FileNotFoundError):
            remove(spare)


def _try_link(source_path: str, target_path: str) -> bool:
    try:
        os.link(source_path, target_path)
    except OSError:
        return False
    return True


def remove_half_written(path: str) -> None:
    """Remove files that processes left when they died while writing `path`, or a file whose name begins with its name.

    Raises:
        WriteError: If the operating system refuses.
    """
    folder, name = os.path.split(os.path.abspath(path))
    _remove_files(folder, lambda file_name: file_name.startswith(TEMPORARY_PREFIX) and f"-{name}" in file_name)


def _remove_files(folder: str, is_removed: Callable[[str], bool]) -> None:
    try:
        for name in filter(is_removed, os.listdir(folder)):
            with suppress(FileNotFoundError):
                remove(os.path.join(folder, name))
    except FileNotFoundError:
        # The folder has been removed, with everything in it.
        return
    except OSError as error:
        raise WriteError(f"{folder}: half written files cannot be removed: {error.strerror}") from error


def remove_file(path: str) -> None:
    """Remove a file, if it exists.

    Raises:
        WriteError: If the operating system refuses.
    """
    _remove_with(remove, path)


def remove_unused_file(path: str) -> None:
    """Remove a file, if it exists; on Windows, leave one that somebody has open.

    Raises:
        WriteError: If the operating system refuses.
    """
    _remove_with(remove_unless_in_use, path)


def _remove_with(call: Callable[[str], None], path: str) -> None:
    try:
        with suppress(FileNotFoundError):
            call(path)
    except OSError as error:
        raise WriteError(f"{path}: cannot be removed: {error.strerror}") from error
