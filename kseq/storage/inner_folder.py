"""Replacing a dataset inside its folder, where the folder cannot be renamed: it is a mount point, as containers have."""

from __future__ import annotations

import os
from dataclasses import replace

from kseq.errors import KseqError
from kseq.platforms.files import can_rename_folders_in_use, flush, mount_points, remove
from kseq.storage.atomic import link_or_copy, remove_file, remove_unused_file
from kseq.storage.index import Index
from kseq.storage.index_writer import write_index
from kseq.storage.layout import INDEX_NAME, LAST_INDEX_NAME, RESUME_RECORD_NAME, shard_name, shard_number

__all__ = ["is_fixed", "move_in", "remove_unnamed_shards"]


def is_fixed(folder: str) -> bool:
    """Whether it is known before that a folder cannot be renamed: it is a mount point, or its parent refuses new
    names, or the system renames no folder in which a file is open, such as the lock.

    Args:
        folder: A path without links, which exists.
    """
    if not can_rename_folders_in_use() or os.path.ismount(folder) or folder in mount_points():
        return True
    return not os.access(os.path.dirname(folder), os.W_OK | os.X_OK)


def move_in(new: str, target: str) -> None:
    """Replace the dataset in the folder `target`, if there is one, by the one in the folder `new`, where only an index stays.

    The shards are moved first, under numbers that the old dataset does not use; then a new index takes the place of the old
    one; then the old shards are removed. At each moment, `target` is the old dataset or the new one.

    Raises:
        OSError: If the operating system refuses.
        WriteError: The same.
    """
    index = Index.open(new)
    old_numbers = [number for name in os.listdir(target) if (number := shard_number(name)) is not None]
    new_numbers = {int(number) for number in index.numbers}
    first = max(old_numbers) + 1 - min(new_numbers) if new_numbers & set(old_numbers) else 0
    for number in sorted(new_numbers):
        path = os.path.join(new, shard_name(number))
        link_or_copy(path, os.path.join(target, shard_name(first + number)))
        # At once, so that copies, where there are no links, need the space of one shard.
        remove(path)
    flush(target)
    for name in (LAST_INDEX_NAME, RESUME_RECORD_NAME):
        remove_file(os.path.join(target, name))
    contents = index.contents()
    write_index(target, replace(contents, shards=[replace(shard, number=first + shard.number) for shard in contents.shards]))
    remove_unnamed_shards(target)


def remove_unnamed_shards(folder: str) -> None:
    """Remove the shards that neither the index nor the index before the last change names.

    On Windows, those that somebody has open stay until the next change. Nothing is removed if there is no index, or if one of
    the two cannot be read, perhaps only for the moment.

    Raises:
        WriteError: If the operating system refuses.
    """
    names = os.listdir(folder)
    try:
        indexes = [Index.open(folder, name) for name in (INDEX_NAME, LAST_INDEX_NAME) if name in names]
    except KseqError:
        return
    used = {shard_name(int(number)) for index in indexes for number in index.numbers}
    for name in names if INDEX_NAME in names else ():
        if shard_number(name) is not None and name not in used:
            remove_unused_file(os.path.join(folder, name))
