"""Some samples of a dataset, packed otherwise in a temporary folder, to be read as the dataset is."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import kseq
from kseq.training.batches_inside import dataset_of, open_again

from .disk import num_stored

__all__ = ["open_packed_sample"]

_MOST_SAMPLES = 256
_MOST_BYTES = 512 << 20


@contextlib.contextmanager
def open_packed_sample(batches: kseq.Batches, images: kseq.ImageSettings, **changed: Any) -> Iterator[kseq.Batches]:
    """Batches of the same arguments but some, of images of the dataset that are packed as `images` says.

    The folder lies beside the dataset, on its disk, where that can be; what is in memory of its files is given back, as far as
    the system allows. It is removed in the end.
    """
    dataset = dataset_of(batches)
    count = max(1, min(len(dataset), _MOST_SAMPLES, _MOST_BYTES * num_stored(dataset) // max(dataset.num_bytes, 1)))
    with _folder_near(os.fspath(dataset.path)) as folder:
        target = os.path.join(folder, "sample")
        step = len(dataset) / count
        samples = ({"image": dataset[int(number * step)]["image"], "label": number % 2} for number in range(count))
        kseq.pack(samples, target, images=images, workers=0)
        _give_back(target)
        others: dict[str, Any] = {"targets": None, "inputs": None, "label_mode": "int", "sample_weight": None, "balance": None}
        others |= {"sampling_weights": None, "epoch_size": None, "split": "all", "option": None, "shuffle": True}
        # Whole batches of the same size, however few samples there are.
        others |= {
            "batch_size": min(batches.batch_size, count),
            "remainder": "drop",
            "layout": None,
            "ragged": False,
            "pad_to": None,
        }
        with open_again(batches, dataset=target, **{**others, **changed}) as opened:
            yield opened


@contextlib.contextmanager
def _folder_near(path: str) -> Iterator[str]:
    near = os.path.dirname(os.path.abspath(path))
    place = near if os.path.isdir(near) and os.access(near, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=".kseq-doctor-", dir=place) as folder:
        yield folder


def _give_back(folder: str) -> None:
    """Let the files come from the disk again when they are read."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with contextlib.suppress(AttributeError, OSError), open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
