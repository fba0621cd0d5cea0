"""How long `kseq.split` takes on a simulated dataset, and how much memory: `python -m kseq_tools.bench.splits FOLDER`.

The folder is made anew, with sparse shards. Labels lie in the shards, each of which has to be opened for them, or with
`--column` in the index, as those of a dataset do that were changed.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

import kseq
from kseq.storage.index import Index
from kseq.storage.index_writer import write_index

from .scale import make_sparse

_SAMPLED_EVERY = 0.05


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a line for each split."""
    parser = argparse.ArgumentParser(prog="kseq_tools.bench.splits", description="Measure kseq.split on a simulated dataset.")
    parser.add_argument("folder", help="folder to make the dataset in; it must not exist")
    parser.add_argument("--shards", type=int, default=10_000, metavar="N", help="shards (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=10_000, metavar="N", help="samples of each (default: %(default)s)")
    parser.add_argument("--column", action="store_true", help="labels of 1,000 classes in the index, not zeros in the shards")
    parser.add_argument("--folds", type=int, default=0, metavar="N", help="measure so many folds too (default: none)")
    arguments = parser.parse_args(argv)
    make_sparse(arguments.folder, arguments.shards, arguments.rows)
    if arguments.column:
        _put_labels(arguments.folder)
    print(
        f"{arguments.shards * arguments.rows:,} samples, labels in {'the index' if arguments.column else 'shards'}", flush=True
    )
    for stratify in (True, False):
        draw = partial(kseq.split, arguments.folder, val=0.2, test=0.1, stratify=stratify)
        print(f"val=0.2, test=0.1, stratify={stratify}: {_measured(draw)}", flush=True)
    if arguments.folds:
        print(f"folds={arguments.folds}: {_measured(partial(kseq.split, arguments.folder, folds=arguments.folds))}", flush=True)
    return 0


def _put_labels(folder: str) -> None:
    index = Index.open(folder)
    # Neighbours are of other classes, and each class is about as large.
    labels = (np.arange(index.num_samples) * 2_654_435_761 % 1000).astype("<i4")
    names = [f"class {number}" for number in range(1000)]
    write_index(folder, index.contents(class_names=names, columns={"label": labels}))


def _measured(call: Callable[[], object]) -> str:
    with _peak_of_memory() as peak:
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return f"{wall:.1f} s, {cpu:.1f} s of one core, at most {peak[0]:,} MiB beside mapped files"


@contextmanager
def _peak_of_memory() -> Iterator[list[int]]:
    """A list of one number: how many MiB the process had at most that are no file's, once the block has ended."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(_SAMPLED_EVERY):
            with open("/proc/self/status") as file:
                peak[0] = max(peak[0], *(int(line.split()[1]) >> 10 for line in file if line.startswith("RssAnon")), 0)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
