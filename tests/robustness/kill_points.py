"""Kills a packing at many points, and its resume at others, and looks whether what comes out is what it would have been.

    python -m tests.robustness.kill_points --points 10000

A run is a forked child that packs a dozen tiny photos into several shards and counts the lines of kseq that it runs; at the
count that is its turn it kills itself with SIGKILL. The points lie evenly over the whole run; at every second of them the
resume is killed as well. `--overwrite` does the same to runs that replace a dataset: after each kill, the old dataset or the
new one must be there, whole. `--inside` does it to a folder that cannot be renamed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kseq
from kseq.storage import output_folder
from tests.helpers.photos import write_photos

SHARD_BYTES = 6_000
_LIBRARY = os.path.dirname(kseq.__file__)
# A prime, so that second kills fall everywhere.
_STRIDE = 7919


class WrongEndError(Exception):
    """What was left is not what must be left."""


def _count_lines(call: Callable[[], Any], stop_at: int | None) -> int:
    """Run something; returns how many lines of kseq it ran, unless it killed itself at one of them."""
    count = 0

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if event == "call":
            return trace if frame.f_code.co_filename.startswith(_LIBRARY) else None
        if event == "line":
            if count == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return count


def _in_child(call: Callable[[], Any]) -> bool:
    """Whether a forked child came to its end; False if it was killed."""
    child = os.fork()
    if child == 0:
        try:
            call()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise WrongEndError(f"a child ended with status {status}")
    return True


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _samples(folder: Path) -> list[tuple[str, bytes]]:
    """Source and stored bytes of all samples."""
    with kseq.ShardDataset(folder) as dataset:
        return [(dataset.source(number), dataset.stored_bytes(number)) for number in range(len(dataset))]


class Killer:
    """Packs, kills and compares, in a folder of its own.

    Args:
        folder: Where there is nothing yet.

    Attributes:
        kills: How many runs were killed.
    """

    def __init__(self, folder: Path) -> None:
        self._photos, self._fresh, self._target = folder / "photos", folder / "fresh", folder / "packed"
        self._old = folder / "old"
        self.kills = 0
        write_photos(self._photos, {"cat": 8, "dog": 4})
        self._pack(self._fresh)
        self._expected = _files(self._fresh)
        self._pack(self._old, images=kseq.ImageSettings("jpeg"))
        self._old_files = _files(self._old)

    def _pack(self, target: Path, **options: Any) -> None:
        kseq.pack(self._photos, target, **{"val": 0.25, "shard_bytes": SHARD_BYTES, "workers": 0, **options})

    def _count(self, **options: Any) -> int:
        count = _count_lines(lambda: self._pack(self._target, **options), None)
        shutil.rmtree(self._target)
        return count

    def resumed(self, points: int, part: int, parts: int) -> None:
        """Kill packings at some of so many points, half of them again amid their resume."""
        total = self._count()
        for point in range(part, points, parts):
            stop_at = point * total // points
            self._kill(stop_at)
            # A resume has less to do: some come to their end before.
            if point // parts % 2:
                self._kill(point * _STRIDE % total, resume=True)
            self._pack(self._target, resume=True)
            self._check(f"line {stop_at} of {total}", self._target, self._expected)
            shutil.rmtree(self._target)

    def overwritten(self, points: int, part: int, parts: int) -> None:
        """Kill packings that replace a dataset at some of so many points."""
        shutil.copytree(self._old, self._target)
        total = self._count(overwrite=True)
        for point in range(part, points, parts):
            shutil.copytree(self._old, self._target)
            stop_at = point * total // points
            self._kill(stop_at, overwrite=True)
            found = {name: data for name, data in _files(self._target).items() if name != ".kseq-lock"}
            if found not in (self._old_files, self._expected):
                raise WrongEndError(
                    f"line {stop_at} of {total}: neither the old dataset nor the new one is there, but {sorted(found)}"
                )
            self._pack(self._target, overwrite=True)
            self._check(f"line {stop_at} of {total}", self._target, self._expected)
            shutil.rmtree(self._target)

    def overwritten_inside(self, points: int, part: int, parts: int) -> None:
        """Kill packings that replace a dataset in a folder that cannot be renamed."""
        output_folder.is_fixed = lambda _: True
        old, new = _samples(self._old), _samples(self._fresh)
        shutil.copytree(self._old, self._target)
        total = self._count(overwrite=True)
        for point in range(part, points, parts):
            shutil.copytree(self._old, self._target)
            stop_at = point * total // points
            self._kill(stop_at, overwrite=True)
            if _samples(self._target) not in (old, new):
                raise WrongEndError(f"line {stop_at} of {total}: neither the old dataset nor the new one is there")
            # A change, or another overwriting, clears away what the killed one left.
            if point // parts % 2:
                self._pack(self._target, overwrite=True)
            else:
                kseq.split(self._target, val=0.5)
                kseq.undo(self._target)
            is_new = _samples(self._target) == new
            names = set(_files(self._target)) - {"index.h5.1"}
            if len(names) != len(self._expected if is_new else self._old_files) or not (is_new or point // parts % 2 == 0):
                raise WrongEndError(f"line {stop_at} of {total}: {sorted(names)} are left")
            shutil.rmtree(self._target)

    def _kill(self, stop_at: int, **options: Any) -> None:
        self.kills += not _in_child(lambda: _count_lines(lambda: self._pack(self._target, **options), stop_at))

    def _check(self, place: str, target: Path, expected: dict[str, bytes]) -> None:
        if _files(target) != expected:
            raise WrongEndError(f"{place}: {sorted(_files(target))} differ from a run that was not killed")
        beside = {path.name for path in target.parent.iterdir()}
        if beside != {"photos", "fresh", "old", "packed"}:
            raise WrongEndError(f"{place}: {sorted(beside)} lie there")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--points", type=int, default=10_000, metavar="N", help="how many runs are killed (default: %(default)s)"
    )
    parser.add_argument(
        "--part", type=int, nargs=2, default=(0, 1), metavar=("K", "N"), help="only every Nth of these points, from the Kth on"
    )
    parser.add_argument("--overwrite", action="store_true", help="kill runs that replace a dataset")
    parser.add_argument("--inside", action="store_true", help="kill runs that replace a dataset inside its folder")
    arguments = parser.parse_args()
    # In memory, where there is some: thousands of flushes take their time on a disk.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        killer = Killer(Path(folder))
        overwritten = killer.overwritten if arguments.overwrite else killer.resumed
        (killer.overwritten_inside if arguments.inside else overwritten)(arguments.points, *arguments.part)
    print(f"{killer.kills:,} kills: every dataset is as if nothing had happened")


if __name__ == "__main__":
    main()
