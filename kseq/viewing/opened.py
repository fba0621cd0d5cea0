"""One state of a dataset, and what was found out about it."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np

from kseq.errors import ArgumentError, KseqError
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.fields import Field

__all__ = ["Opened"]

Result = TypeVar("Result")

# Samples are looked at in parts of so many, so that what is found out of a million takes no memory for a million at once.
PART = 1 << 14

# So many selections are kept: each takes 4 bytes a sample, 8 where there are more than four thousand million.
_KEPT = 6


class Opened:
    """An open dataset as it was when it was opened.

    Args:
        dataset: All its samples.

    Attributes:
        dataset: As passed.
        reader: Reads samples by sample id.
        num_ids: How many sample ids there are, those of dropped samples included.
        image: The first image field.
        label: The field of each sample's class, if there is one.
        drawn: The fields that are drawn over thumbnails, such as boxes, and their labels; none where nothing has a place.
    """

    def __init__(self, dataset: ShardDataset) -> None:
        self.dataset = dataset
        self.reader = sample_reader(dataset)
        self.num_ids = self.reader.collection.num_samples
        fields = self.reader.fields
        images = [field for field in fields.values() if field.is_image]
        if not images:
            raise ArgumentError(f"{dataset.path}: has no image to be shown, it has {', '.join(fields)}")
        self.image = images[0]
        self.label = next((field for field in fields.values() if field.is_label), None)
        has_places = any(field.handler.has_positions for field in fields.values())
        self.drawn = [
            field for field in fields.values() if field.handler.has_positions or (has_places and field.kind == "labels")
        ]
        self._kept: OrderedDict[Any, Future] = OrderedDict()
        self._latest: dict[str, tuple[int, Future]] = {}
        self._lock = threading.Lock()

    @functools.cached_property
    def digest(self) -> str:
        """What this state is told by: 32 hexadecimal digits."""
        return self.dataset.digest

    @property
    def shards_key(self) -> tuple[str, bytes]:
        """Equal for two states that have the same pixels under the same sample ids."""
        (index,) = self.reader.collection.indexes
        return index.dataset_id, index.digests.tobytes()

    def field(self, name: str) -> Field:
        """A field by name; the image for an empty one.

        Raises:
            ArgumentError: If there is no such field.
        """
        if name and name not in self.reader.fields:
            raise ArgumentError(f"field={name}: has no such field, it has {', '.join(self.reader.fields)}")
        return self.reader.fields[name] if name else self.image

    def locate(self, ids: np.ndarray) -> LocatedSamples:
        """Samples by sample id."""
        return self.reader.locate(np.asarray(ids, np.int64))

    def keep_latest(self, name: str, stage: int, make: Callable[[], Result]) -> Result:
        """What `make` returns, made once for a stage of what it depends on, and kept until another stage is asked for."""
        with self._lock:
            known = self._latest.get(name)
            result: Future = Future() if known is None or known[0] != stage else known[1]
            self._latest[name] = stage, result
            is_first = known is None or known[1] is not result
        return self._finish(result, make if is_first else None, lambda: self._latest.pop(name, None))

    def keep(self, key: Any, make: Callable[[], Result]) -> Result:
        """What `make` returns, made once as long as it is among the last few asked for; who asks meanwhile waits for it."""
        with self._lock:
            result = self._kept.get(key)
            is_first = result is None
            if result is None:
                result = self._kept[key] = Future()
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
        return self._finish(result, make if is_first else None, lambda: self._kept.pop(key, None))

    def _finish(self, result: Future, make: Callable[[], Result] | None, forget: Callable[[], Any]) -> Result:
        """What a future stands for, made here and now or waited for; without the lock, as who asks for something else need not
        wait. What fails is made again when it is asked for again."""
        if make is not None:
            try:
                result.set_result(make())
            except BaseException as error:
                with self._lock:
                    forget()
                result.set_exception(error)
        found: Result = result.result()
        return found

    @functools.cached_property
    def labels(self) -> np.ndarray | None:
        """`(num_ids,)` int32: the class of each sample, -1 where it is the number of no class or cannot be read; None if
        samples have no label."""
        if self.label is None:
            return None
        name, count = self.label.name, len(self.dataset.class_names)
        labels = self._of_all(lambda samples: samples.values(name), np.full(self.num_ids, -1, np.int32))
        labels[labels >= count] = -1
        return labels

    @functools.cached_property
    def remaining(self) -> np.ndarray:
        """`(n,)`: the ids of all samples that were not dropped, in the order in which they were packed."""
        return self._compact(self.dataset.sample_ids(np.arange(len(self.dataset))))

    @functools.cached_property
    def split_bits(self) -> dict[str, np.ndarray]:
        """Split name to a bit for each sample id, eight in a byte: whether it is in the split."""
        bits = {}
        for name in self.dataset.splits:
            is_in = np.zeros(self.num_ids, bool)
            is_in[self.dataset.split_ids(name)] = True
            bits[name] = np.packbits(is_in)
        return bits

    def splits_of(self, ids: np.ndarray) -> list[list[str]]:
        """The names of the splits that each of some samples is in."""
        names: list[list[str]] = [[] for _ in range(len(ids))]
        for name, bits in self.split_bits.items():
            for position in np.flatnonzero(bits[ids >> 3] >> (7 - (ids & 7)) & 1).tolist():
                names[position].append(name)
        return names

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """`(num_ids, 2)` uint32: height and width of each sample's image; 0 where they cannot be read."""
        name = self.image.name
        return self._of_all(lambda samples: samples.sizes(name), np.zeros((self.num_ids, 2), np.uint32))

    @functools.cached_property
    def num_bytes(self) -> np.ndarray:
        """`(num_ids,)` uint32: how many bytes each sample's image takes as it is stored; 0 where that cannot be read."""
        height, width, channels = self.image.shape
        if not self.image.encoded:
            count = (height or 0) * (width or 0) * (channels or 0) * np.dtype(self.image.dtype).itemsize
            return np.broadcast_to(np.uint32(count), (self.num_ids,))
        offsets = f"{self.image.name}/offsets"
        return self._of_all(
            lambda samples: np.diff(samples[0][0].loaded(offsets).astype(np.int64)),
            np.zeros(self.num_ids, np.uint32),
            whole=True,
        )

    def counts(self, field: Field) -> np.ndarray:
        """`(num_ids,)` uint32: how many elements each sample has in a field whose samples differ in length."""
        return self._of_all(lambda samples: samples.counts(field.name), np.zeros(self.num_ids, np.uint32))

    def _of_all(self, read: Callable[[LocatedSamples], np.ndarray], found: np.ndarray, *, whole: bool = False) -> np.ndarray:
        """What `read` returns of all samples, in `found`; what it has stays for shards that cannot be read.

        Args:
            read: Gets some samples of one shard.
            found: `(num_ids, ...)`.
            whole: Whether it gets all samples of a shard at once.
        """
        (index,) = self.reader.collection.indexes
        for start, end in zip(index.starts[:-1].tolist(), index.starts[1:].tolist(), strict=True):
            step = max(1, end - start) if whole else PART
            for first in range(start, end, step):
                ids = np.arange(first, min(first + step, end))
                with contextlib.suppress(KseqError):
                    found[ids] = read(self.locate(ids))
        return found

    def _compact(self, ids: np.ndarray) -> np.ndarray:
        return ids.astype(np.uint32) if self.num_ids < 1 << 32 else ids
