"""Trains for many epochs, and looks whether memory, threads and open files stay as they are.

    KERAS_BACKEND=jax python -m tests.robustness.long_run --epochs 500

Prints what grew after the first epochs, in which libraries fill their caches, and ends with 1 if that is more than 1 MB in 100
epochs, or a thread, or a file. What leaks grows all the time: a pool of a library that takes a piece once does not count.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

import kseq
from tests.helpers.photos import write_numbered

# The first epochs fill caches.
_FIRST = 20
# Of so many epochs one after the other, the least memory counts.
_SPAN = 10
_MOST_MB_IN_100 = 1.0


class State(NamedTuple):
    """What a process has: memory in MB, threads of kseq and open files."""

    memory: float
    threads: int
    files: int

    @classmethod
    def now(cls) -> State:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        # Backends have pools that grow to a limit of their own.
        threads = sum(thread.name.startswith("kseq") for thread in threading.enumerate())
        return cls(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, threads, len(os.listdir("/proc/self/fd")))


class Watch(keras.callbacks.Callback):
    """Notes what the process has after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[State] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.states.append(State.now())


def train(folder: Path, epochs: int) -> list[State]:
    """What the process has after each epoch of a training with validation."""
    write_numbered(folder / "photos", {"a": 50, "b": 30, "c": 20})
    kseq.pack(
        folder / "photos", folder / "packed", images=kseq.ImageSettings("raw", (4, 4)), val=0.2, shard_bytes=800, workers=0
    )
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    watch = Watch()
    options: dict[str, Any] = {"batch_size": 16, "workers": 2, "read": "pread"}
    with (
        kseq.ShardSequence(folder / "packed", **options) as data,
        kseq.ShardSequence(folder / "packed", "val", **options) as val,
    ):
        model.fit(data, validation_data=val, epochs=epochs, verbose=0, callbacks=[watch])
    return watch.states


def growth(states: list[State]) -> State:
    """What grew from span to span: memory in 100 epochs by the median, threads and files from the first to the last span."""
    settled = states[_FIRST:]
    spans = [settled[start : start + _SPAN] for start in range(0, len(settled) - _SPAN + 1, _SPAN)]
    memory = np.diff([min(state.memory for state in span) for span in spans])
    threads, files = (
        max(getattr(state, name) for state in spans[-1]) - max(getattr(state, name) for state in spans[0])
        for name in ("threads", "files")
    )
    return State(100 / _SPAN * float(np.median(memory)), threads, files)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=500, metavar="N", help="how many (default: %(default)s)")
    epochs = parser.parse_args().epochs
    np.random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        grew = growth(train(Path(folder), epochs))
    print(
        f"{keras.backend.backend()}, {epochs} epochs: {grew.memory:+.2f} MB in 100 epochs, {grew.threads:+d} threads, "
        f"{grew.files:+d} files"
    )
    return int(grew.memory > _MOST_MB_IN_100 or grew.threads > 0 or grew.files > 0)


if __name__ == "__main__":
    sys.exit(main())
