"""The dataset as it is now, opened anew when somebody changes it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from kseq.arguments import is_url, path_or_url
from kseq.reading.dataset import ShardDataset
from kseq.storage.layout import INDEX_NAME
from kseq.training.batches import Batches
from kseq.viewing.measures import Measures
from kseq.viewing.model_batches import ModelBatches
from kseq.viewing.opened import Opened

__all__ = ["State", "WatchedDataset"]


class State(NamedTuple):
    """One state of a dataset, and what belongs to it: who answers a request takes all of it from the same one.

    Attributes:
        opened: The dataset.
        measures: What is measured of its images.
        batches: What a model gets of it.
    """

    opened: Opened
    measures: Measures
    batches: ModelBatches


class WatchedDataset:
    """A dataset that may change while it is looked at.

    Args:
        path: Its folder, or its URL.
        storage_options: Of a URL, see `kseq.ShardDataset`.
        own: Batches of it that the user has made.

    Attributes:
        path: As passed, a text.
        own_name: What the user's batches are, in a line; None if there are none.
        is_remote: Whether it lies under a URL, where nothing can be changed.

    Raises:
        KseqError: If it cannot be opened.
    """

    def __init__(
        self, path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None, own: Batches | None = None
    ) -> None:
        self.path = path_or_url("dataset", path)
        self.is_remote = is_url(self.path)
        self._options = storage_options
        self._own = own
        self.own_name = None if own is None else repr(own)
        self._lock = threading.Lock()
        self._stamp = self._read_stamp()
        opened = self._open()
        self._state = State(opened, Measures(opened), ModelBatches(opened, self._reading(), self._own))

    @property
    def name(self) -> str:
        """What people call the dataset: the last part of its path."""
        path = self._state.opened.dataset.path
        return os.path.basename(path.rstrip("/\\")) or path

    def now(self) -> State:
        """The dataset as it is; if it was changed, with new files open and nothing found out yet.

        Raises:
            KseqError: If it is there no more, or damaged.
        """
        with self._lock:
            stamp = self._read_stamp()
            if stamp != self._stamp or (stamp is None and not self.is_remote):
                opened, known = self._open(), self._state
                measures = known.measures
                if opened.shards_key != known.opened.shards_key:
                    # Other pixels. A relabelling leaves them as they are, and what was measured of them.
                    measures.close()
                    measures = Measures(opened)
                # Who still answers from the state before goes on with its files.
                self._state, self._stamp = State(opened, measures, ModelBatches(opened, self._reading(), self._own)), stamp
            return self._state

    def close(self) -> None:
        """End what runs in the background, and let go of the files."""
        with self._lock:
            self._state.measures.close()
            self._state.batches.close()
            self._state.opened.dataset.close()

    def _open(self) -> Opened:
        return Opened(ShardDataset(self.path, **self._reading()))

    def _reading(self) -> dict[str, Any]:
        """The arguments that say how files are read: not mapped, so that one that is cut short meanwhile is an error of one
        sample, and not the end of the process."""
        return {"storage_options": self._options} if self.is_remote else {"read": "pread"}

    def _read_stamp(self) -> tuple[int, int, int] | None:
        """Another one after each change, since a change replaces the index; None where there is none."""
        if self.is_remote:
            return None
        try:
            status = os.stat(os.path.join(self.path, INDEX_NAME))
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size
