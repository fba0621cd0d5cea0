"""Changing a packed dataset: a new index is published in one step, and the previous one stays for `kseq.undo`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kseq.arguments import path_text
from kseq.errors import KseqError
from kseq.storage.atomic import remove_file, remove_temporary
from kseq.storage.index import Index
from kseq.storage.index_writer import write_index
from kseq.storage.inner_folder import remove_unnamed_shards
from kseq.storage.layout import LAST_INDEX_NAME
from kseq.storage.lock import locked
from kseq.storage.output_folder import remove_inner_folder

__all__ = ["Transaction", "begin_transaction", "open_previous_index", "remove_leftovers"]


class Transaction:
    """A change of a dataset; no other process changes the dataset at the same time.

    Args:
        index: The index of the dataset.

    Attributes:
        index: The same: what the dataset holds before the change.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self._previous = open_previous_index(index.path)

    @property
    def folder(self) -> str:
        """The absolute path of the dataset's folder."""
        return self.index.path

    def next_shard_number(self) -> int:
        """The number in the file name of a new shard: above all numbers that this index and the previous one name."""
        numbers = self.index.numbers.tolist()
        if self._previous is not None:
            numbers += self._previous.numbers.tolist()
        return max(numbers, default=-1) + 1

    def publish(self, description: str, *, keep_previous: bool = True, **changes: Any) -> Index:
        """Publish the change; readers that are at work go on with the shards that they opened.

        The index before the change stays as `index.h5.1`, with the shards that it names. Shards that only the index before that
        one named are removed.

        Args:
            description: One line for the history in the index.
            keep_previous: False removes the index before the change too, so that nothing can be undone.
            changes: What is new in the index, see `kseq.storage.index.Contents`.

        Raises:
            WriteError: If the operating system refuses to write. The dataset is then as it was; or it is changed, if only files
                that nobody needs could not be removed.
        """
        folder = self.folder
        history = (*self.index.changes, description)
        write_index(folder, self.index.contents(**changes, changes=history), keep_last=True)
        if not keep_previous:
            remove_file(os.path.join(folder, LAST_INDEX_NAME))
        remove_leftovers(folder)
        return Index.open(folder)


@contextmanager
def begin_transaction(path: str | os.PathLike[str], *, keep_leftovers: bool = False) -> Iterator[Transaction]:
    """A change of the dataset at `path`, with the dataset locked until the end of the block.

    Args:
        path: The dataset's folder.
        keep_leftovers: Whether files of a change that was killed stay until `publish`, for a change that goes on with them.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        LockedError: If another process changes the dataset.
        WriteError: If the operating system refuses to write.
    """
    folder = Index.open(path_text("dataset", path)).path
    with locked(folder):
        if not keep_leftovers:
            remove_leftovers(folder)
        yield Transaction(Index.open(folder))


def remove_leftovers(folder: str) -> None:
    """Remove temporary files, what is left of an overwriting, and shards that neither the index nor the previous index names.

    If the previous index cannot be read, perhaps only for the moment, shards that it may name stay. On Windows, so do shards
    that somebody has open, until the next change.

    Raises:
        WriteError: If the operating system refuses.
    """
    remove_temporary(folder)
    remove_inner_folder(folder)
    remove_unnamed_shards(folder)


def open_previous_index(folder: str) -> Index | None:
    """The index before the last change; None if there is none, or if it cannot be read and so cannot be restored."""
    try:
        return Index.open(folder, LAST_INDEX_NAME)
    except KseqError:
        return None
