"""Batches that a model gets, kept while somebody looks at them: those of chosen settings, or of the user's own Sequence."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kseq.errors import ArgumentError, DamagedError
from kseq.training.batches import Batches
from kseq.training.batches_inside import BatchParts, num_image_bytes, open_again, read_parts
from kseq.viewing.batch_settings import Chosen
from kseq.viewing.opened import Opened

__all__ = ["ModelBatches", "ShownBatch"]

# So many settings stay open. Of batches, the last ones that take so many bytes together, and the last one in any case.
_KEPT_SETTINGS, _KEPT_BYTES = 2, 64 << 20

# A batch of more bytes than that is not made for a look.
_MOST_BYTES = 512 << 20

# Somebody looks at one batch, and perhaps at the next.
_FEW_WORKERS: dict[str, Any] = {"max_queue_size": 1, "idle_seconds": 5.0, "use_multiprocessing": False}


class ShownBatch(NamedTuple):
    """A batch that is looked at.

    Attributes:
        batches: What it is of.
        parts: The batch, and the values of its fields.
        sample_ids: `(n,)` int64.
        code: What makes such batches.
    """

    batches: Batches
    parts: BatchParts
    sample_ids: np.ndarray
    code: str


class ModelBatches:
    """Batches of a dataset, a few of which stay in memory until other ones are asked for.

    Args:
        opened: The dataset.
        reading: The arguments of `kseq.Batches` that say how files are read.
        own: The batches of the user, if there are any.
    """

    def __init__(self, opened: Opened, reading: Mapping[str, Any], own: Batches | None = None) -> None:
        self._opened = opened
        self._reading = reading
        self._own = own
        self._lock = threading.Lock()
        # Held while a batch is read, so that what twenty images of it need is read once.
        self._reading_lock = threading.Lock()
        self._settings: OrderedDict[str, Batches] = OrderedDict()
        self._batches: OrderedDict[tuple[str, int, int], ShownBatch] = OrderedDict()

    def read(self, chosen: Chosen | None, epoch: int, number: int) -> ShownBatch:
        """A batch of chosen settings; of the user's own batches for None.

        Raises:
            KseqError: As `kseq.Batches` raises it.
            Exception: Whatever a function of the user raises.
        """
        if chosen is None and self._own is None:
            raise ArgumentError("own: no Sequence was given")
        code = repr(self._own) if chosen is None else chosen.code
        key = code, epoch, number
        with self._reading_lock:
            known = self._batches.get(key)
            if known is None:
                batches = self._find(chosen, code)
                parts = read_parts(batches, epoch, number)
                known = self._batches[key] = ShownBatch(batches, parts, batches.sample_ids(epoch, number), code)
            self._batches.move_to_end(key)
            while len(self._batches) > 1 and sum(map(_num_bytes, self._batches.values())) > _KEPT_BYTES:
                self._batches.popitem(last=False)
        return known

    def close(self) -> None:
        """Let go of all batches; those that are being read are read to their end."""
        with self._lock:
            self._settings.clear()

    def _find(self, chosen: Chosen | None, code: str) -> Batches:
        with self._lock:
            if code not in self._settings:
                self._settings[code] = self._open(chosen)
                # Not closed: somebody may be reading from them, and who has them last lets go of their files.
                while len(self._settings) > _KEPT_SETTINGS:
                    self._settings.popitem(last=False)
            self._settings.move_to_end(code)
            return self._settings[code]

    def _open(self, chosen: Chosen | None) -> Batches:
        dataset = self._opened.dataset
        if chosen is None:
            assert self._own is not None
            # With workers of its own, so that a training that goes on with them is not disturbed.
            batches = open_again(self._own, **_FEW_WORKERS)
        else:
            one_rank = {"rank": 0, "world_size": 1}
            batches = Batches(dataset.path, **{**one_rank, **chosen.arguments, **self._reading, **_FEW_WORKERS})
        needed = num_image_bytes(batches)
        if needed > _MOST_BYTES:
            raise ArgumentError(
                f"batch_size={batches.batch_size}, input_shape={batches.input_shape}: the images of a batch take "
                f"{needed >> 20} MiB, shown are at most {_MOST_BYTES >> 20} MiB: choose fewer or smaller ones"
            )
        if batches.digest != dataset.digest:
            raise DamagedError(
                f"{dataset.path}: was changed meanwhile; if the Sequence was made of a ShardDataset, make it again"
            )
        return batches


def _num_bytes(shown: ShownBatch) -> int:
    return sum(values.nbytes for values in shown.parts.values.values() if isinstance(values, np.ndarray))
