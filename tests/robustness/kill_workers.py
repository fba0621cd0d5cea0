"""Kills worker processes that read or pack, again and again, and looks whether every sample is still right and nothing hangs.

    python -m tests.robustness.kill_workers --kills 1000

Half of the kills go to workers of `ShardSequence(use_multiprocessing=True)`, half to workers of `kseq.pack`: SIGKILL, to a
worker drawn at random, after a pause drawn at random, so that it hits starts, tasks and rests alike. A batch whose worker died
is made again, and a line with the signal tells of it; a packing that gives up is resumed. Every batch must hold its samples,
every dataset the bytes of one that nobody disturbed. A step that takes longer than two minutes is a hang: all stacks are
printed, and the program ends.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import kseq
from kseq.errors import WorkerDiedError
from tests.helpers.photos import numbers_of, write_numbered, write_photos

# A step that takes so many seconds hangs.
_HANG = 120
# So many kills of one packing: some more could hit one shard, or one image, as often as counts for its own fault.
_KILLS_PER_PACKING = 4
_LONGEST_PAUSE = 0.8


class WrongSampleError(Exception):
    """A batch or a dataset is not what it must be."""


class Killer:
    """A thread that kills child processes of this one.

    Args:
        seed: Of its draws.

    Attributes:
        kills: How many it has killed.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._progress = threading.Event()
        self.kills = 0

    def note_progress(self, *_: Any) -> None:
        """Say that some work was done since the last kill, and so that nothing hangs."""
        faulthandler.dump_traceback_later(_HANG, exit=True)
        self._progress.set()

    @contextlib.contextmanager
    def at_work(self, most: int) -> Iterator[None]:
        """Kill up to so many processes until the end of the block."""
        done = threading.Event()
        thread = threading.Thread(target=self._kill, args=(self.kills + most, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _kill(self, until: int, done: threading.Event) -> None:
        while self.kills < until and not done.wait(self._random.uniform(0, _LONGEST_PAUSE)):
            # Most deaths come after some work was done: else, on a busy machine, no worker would live to do any.
            if self._random.random() < 0.75 and not self._progress.wait(0.1):
                continue
            self._progress.clear()
            children = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
            if children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._random.choice(children), signal.SIGKILL)
                    self.kills += 1


def kill_readers(folder: Path, kills: int) -> Counter[str]:
    """Read while workers are killed; returns how many batches were read, and how many lines told of a death."""
    write_numbered(folder / "numbered", {"a": 50, "b": 30, "c": 20})
    kseq.pack(folder / "numbered", folder / "read", images=kseq.ImageSettings("raw", (4, 4)), shard_bytes=800, workers=0)
    killer, counts = Killer(1), Counter[str]()
    killer.note_progress()
    options: dict[str, Any] = {"batch_size": 16, "shuffle": False, "workers": 2, "use_multiprocessing": True}
    with (
        warnings.catch_warnings(record=True) as told,
        kseq.ShardSequence(folder / "read", **options) as sequence,
        killer.at_work(kills),
    ):
        warnings.simplefilter("always")
        while killer.kills < kills:
            for number in range(len(sequence)):
                images, labels = sequence[number]
                counts["batches"] += 1
                killer.note_progress()
                expected = sequence.sample_ids(number)
                is_right = np.array_equal(numbers_of(images), expected)
                if not is_right or labels.tolist() != [0 if i < 50 else 1 if i < 80 else 2 for i in expected]:
                    raise WrongSampleError(f"batch {number} holds {numbers_of(images)}, expected is {expected}")
                # So that some deaths come while the workers rest.
                time.sleep(0.01 * (number % 3))
    lines = [str(warning.message) for warning in told]
    # On a busy machine, a batch whose worker starts anew may take so long that this is told too.
    if unnamed := [line for line in lines if "SIGKILL" not in line and "waits for batch" not in line]:
        raise WrongSampleError(f"the signal is not named: {unnamed[0]}")
    counts["lines that told of a death"] = len(lines)
    counts["kills of readers"] = killer.kills
    return counts


def kill_packers(folder: Path, kills: int) -> Counter[str]:
    """Pack while workers are killed; returns how many packings there were, and how many of them gave up and were resumed."""
    write_photos(folder / "photos", {"cat": 60, "dog": 40})
    options: dict[str, Any] = {"images": kseq.ImageSettings("jpeg", (64, 64)), "shard_bytes": 12_000, "workers": 2}
    kseq.pack(folder / "photos", folder / "fresh", **options)
    expected = _files(folder / "fresh")
    killer, counts = Killer(2), Counter[str]()
    killer.note_progress()
    while killer.kills < kills:
        resume, progress = False, _Progress(killer)
        with killer.at_work(min(_KILLS_PER_PACKING, kills - killer.kills)):
            while True:
                try:
                    kseq.pack(folder / "photos", folder / "packed", resume=resume, progress=progress, **options)
                    break
                except WorkerDiedError:
                    counts["packings that gave up"] += 1
                    resume = True
        counts["packings"] += 1
        if _files(folder / "packed") != expected:
            raise WrongSampleError(f"packing {counts['packings']}: {sorted(_files(folder / 'packed'))} are not as expected")
        shutil.rmtree(folder / "packed")
    counts["kills of packers"] = killer.kills
    return counts


class _Progress:
    """Tells the killer when more images are packed than before."""

    def __init__(self, killer: Killer) -> None:
        self._killer = killer
        self._most = 0

    def __call__(self, done: int, _: int) -> None:
        if done > self._most:
            self._most = done
            self._killer.note_progress()


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kills", type=int, default=1000, metavar="N", help="how many workers are killed (default: %(default)s)"
    )
    arguments = parser.parse_args()
    readers = arguments.kills // 2
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        counts = kill_readers(Path(folder), readers) + kill_packers(Path(folder), arguments.kills - readers)
    faulthandler.cancel_dump_traceback_later()
    print(", ".join(f"{count:,} {what}" for what, count in counts.items()))
    print("no hang and no wrong sample")


if __name__ == "__main__":
    main()
