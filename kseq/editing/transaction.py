"""Changing a packed dataset: a new index is published in one step, and the one before stays for `undo`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kseq.arguments import path_text
from kseq.errors import ArgumentError, KseqError, WriteError
from kseq.storage.atomic import exchange, flush, link_or_copy, remove_file, remove_temporary, spare_name
from kseq.storage.index import Index
from kseq.storage.index_writer import write_index
from kseq.storage.layout import INDEX_NAME, LAST_INDEX_NAME, shard_name, shard_number
from kseq.storage.lock import locked

__all__ = ["Transaction", "UndoReport", "begin_transaction", "sweep", "undo"]


class Transaction:
    """A change under way.

    Attributes:
        index: What the dataset holds before it.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self._last = _last_index(index.path)

    @property
    def folder(self) -> str:
        """The dataset's folder, absolute."""
        return self.index.path

    def next_number(self) -> int:
        """The number for the file of a new shard: above all that this index and the last one name."""
        used = [number for each in (self.index, self._last) if each is not None for number in each.numbers.tolist()]
        return max(used, default=-1) + 1

    def publish(self, said: str, *, keep: bool = True, **changes: Any) -> Index:
        """Publish the change; readers that are at work go on with what they opened.

        The index before stays as `index.h5.1`, with the shards that it names. What only the one before that named goes.

        Args:
            said: One line for the history that the index keeps: what was done.
            keep: False: the index before goes too, and nothing can be undone.
            changes: What is new in the index, see `kseq.storage.index.Contents`.

        Raises:
            WriteError: Where the operating system refuses. The dataset is then as it was; or changed, where it was only what
                nobody needs any more that could not be removed.
        """
        folder = self.folder
        write_index(folder, self.index.contents(**changes, changes=(*self.index.changes, said)), keep_last=True)
        if not keep:
            remove_file(os.path.join(folder, LAST_INDEX_NAME))
        sweep(folder)
        return Index.open(folder)


@contextmanager
def begin_transaction(path: str | os.PathLike[str], *, sweeps: bool = True) -> Iterator[Transaction]:
    """A change of the dataset at `path`, which no other process changes meanwhile.

    Args:
        path: The dataset's folder.
        sweeps: Remove what a change that was killed may have left; False leaves that to `publish`, for a change that goes on
            from it.

    Raises:
        DatasetNotFoundError: Where there is no dataset.
        LockedError: Where another process changes it.
        WriteError: Where the operating system refuses.
    """
    folder = Index.open(path_text("dataset", path)).path
    with locked(folder):
        if sweeps:
            sweep(folder)
        yield Transaction(Index.open(folder))


@dataclass(frozen=True)
class UndoReport:
    """What `kseq.undo` did.

    Attributes:
        path: The dataset's folder.
        change: The change, as the dataset's history has it.
        taken_back: True if the change was taken back, False if it was made again.
    """

    path: str
    change: str
    taken_back: bool


def undo(path: str | os.PathLike[str]) -> UndoReport:
    """Take the last change of a dataset back; called again, it makes the change again.

    Raises:
        DatasetNotFoundError: Where there is no dataset.
        ArgumentError: Where there is nothing to take back.
        LockedError: Where another process changes it.
        WriteError: Where the operating system refuses.
    """
    with begin_transaction(path) as change:
        folder, now = change.folder, change.index
        last = _last_index(folder)
        # A change that was killed just before it was published leaves two of the same.
        if last is None or last.changes == now.changes:
            found = f"there is no {LAST_INDEX_NAME}" if last is None else f"{LAST_INDEX_NAME} is the same as {INDEX_NAME}"
            raise ArgumentError(f"{now.path}: {found}, so there is no change to take back")
        index, kept = (os.path.join(folder, name) for name in (INDEX_NAME, LAST_INDEX_NAME))
        try:
            if not exchange(index, kept):
                spare = spare_name(kept)
                link_or_copy(index, spare)
                os.replace(kept, index)
                os.replace(spare, kept)
            flush(folder)
        except OSError as error:
            raise WriteError(f"{index}: cannot be exchanged with {kept}: {error.strerror}") from error
        longer = max(now.changes, last.changes, key=len)
        return UndoReport(folder, longer[-1] if longer else "", longer == now.changes)


def sweep(folder: str) -> None:
    """Remove the shards that neither the index nor the last one names, and what was left half written.

    Where the last one cannot be read, that may be for the moment, and shards that only it may name stay.

    Raises:
        WriteError: Where the operating system refuses.
    """
    remove_temporary(folder)
    index, last, names = Index.open(folder), _last_index(folder), os.listdir(folder)
    if last is None and LAST_INDEX_NAME in names:
        return
    named = {shard_name(int(number)) for each in (index, last) if each is not None for number in each.numbers}
    for name in names:
        if shard_number(name) is not None and name not in named:
            remove_file(os.path.join(folder, name))


def _last_index(folder: str) -> Index | None:
    """The index before the last change; None where there is none, or it cannot be read, so that it would be of no use."""
    try:
        return Index.open(folder, LAST_INDEX_NAME)
    except KseqError:
        return None
