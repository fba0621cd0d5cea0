"""Some samples of a dataset, packed otherwise in a temporary folder, to be read as the dataset is."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import kseq
from kseq.training.batches_inside import dataset_of, open_again

from .disk import num_stored

__all__ = ["open_packed_sample"]

_MOST_SAMPLES = 256
_MOST_BYTES = 512 << 20
_GOLDEN = (5**0.5 - 1) / 2


@contextlib.contextmanager
def open_packed_sample(
    batches: kseq.Batches, images: kseq.ImageSettings, seconds: float, **changed: Any
) -> Iterator[kseq.Batches]:
    """Batches of the same arguments but some, of images of the dataset that are packed as `images` says.

    The folder lies beside the dataset, on its disk, where that can be; what is in memory of its files is given back, as far as
    the system allows. It is removed in the end.

    Args:
        batches: The batches.
        images: How images are packed.
        seconds: For so long images are packed; at least one is.
        changed: Other arguments of the batches.
    """
    dataset = dataset_of(batches)
    most = max(1, min(len(dataset), _MOST_SAMPLES, _MOST_BYTES * num_stored(dataset) // max(dataset.num_bytes, 1)))
    with _folder_near(os.fspath(dataset.path)) as folder:
        target = os.path.join(folder, "sample")
        count = kseq.pack(_samples(dataset, most, seconds), target, images=images, workers=0).num_samples
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


def _samples(dataset: kseq.ShardDataset, most: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Samples from all over a dataset, until it is time."""
    # The golden section leaves no part of the dataset out, wherever it ends.
    started = time.perf_counter()
    for number in range(most):
        yield {"image": dataset[int(number * _GOLDEN % 1 * len(dataset))]["image"], "label": number % 2}
        if time.perf_counter() - started >= seconds:
            return


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
