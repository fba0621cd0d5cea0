"""Taking the last change of a packed dataset back."""

from __future__ import annotations

import os
from dataclasses import dataclass

from kseq.editing.transaction import begin_transaction, open_previous_index
from kseq.errors import ArgumentError, WriteError
from kseq.platforms.files import exchange, flush, replace
from kseq.storage.atomic import link_or_copy, spare_name
from kseq.storage.layout import INDEX_NAME, LAST_INDEX_NAME
from kseq.storage.report import Report

__all__ = ["UndoReport", "undo"]


@dataclass(frozen=True)
class UndoReport(Report):
    """What `kseq.undo` did.

    Attributes:
        path: The dataset's folder.
        change: The change, as the dataset's history has it.
        taken_back: True if the change was taken back, False if it was made again.
    """

    path: str
    change: str
    taken_back: bool


def undo(dataset: str | os.PathLike[str]) -> UndoReport:
    """Take the last change of a dataset back; called again, make the change again.

    Args:
        dataset: The dataset's folder.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        ArgumentError: If there is no change to take back.
        LockedError: If another process changes the dataset.
        WriteError: If the operating system refuses to write.
    """
    with begin_transaction(dataset) as change:
        folder, current, previous = change.folder, change.index, open_previous_index(change.folder)
        # A change that was killed just before it was published leaves two equal indexes.
        if previous is None or previous.changes == current.changes:
            reason = f"there is no {LAST_INDEX_NAME}" if previous is None else f"{LAST_INDEX_NAME} is the same as {INDEX_NAME}"
            raise ArgumentError(f"{folder}: {reason}, so there is no change to take back")
        _exchange(folder)
        longer = max(current.changes, previous.changes, key=len)
        return UndoReport(folder, longer[-1] if longer else "", longer == current.changes)


def _exchange(folder: str) -> None:
    """Let the index and the previous index change places."""
    current, previous = os.path.join(folder, INDEX_NAME), os.path.join(folder, LAST_INDEX_NAME)
    try:
        if not exchange(current, previous):
            spare = spare_name(previous)
            link_or_copy(current, spare)
            replace(previous, current)
            replace(spare, previous)
        flush(folder)
    except OSError as error:
        raise WriteError(f"{current}: cannot be exchanged with {previous}: {error.strerror}") from error
