"""Makes the calls of a packing that write to the disk fail, one after the other, and checks what each failure leaves.

Run by tests/robustness/test_disk.py with faults.c preloaded: python -m tests.helpers.faults FOLDER writes|flushes
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import kseq
from kseq_tools.main import main
from tests.helpers.datasets import files
from tests.helpers.photos import write_photos

LIBRARY = ctypes.CDLL(None)
SHARD_BYTES = 6_000


class Faults:
    """One fault after the other.

    Args:
        folder: Where there is nothing yet.
        flushes: Only calls of fsync fail.
    """

    def __init__(self, folder: Path, flushes: bool) -> None:
        self._photos, self._target = folder / "photos", folder / "packed"
        self._flushes = flushes
        write_photos(self._photos, {"cat": 4, "dog": 2})
        kseq.pack(self._photos, folder / "fresh", val=0.25, shard_bytes=SHARD_BYTES, workers=0)
        self._expected = files(folder / "fresh")

    def run(self) -> int:
        """Returns how many calls there are; each failed once."""
        at = 0
        while not self._succeeds(at):
            left = files(self._target)
            assert not [name for name in left if name.startswith(".kseq-tmp") or name.endswith("lock")], (at, sorted(left))
            shards = {name: data for name, data in left.items() if name != ".kseq-plan"}
            assert shards.items() <= self._expected.items(), (at, sorted(left))
            self._begin(-1)
            kseq.pack(self._photos, self._target, val=0.25, shard_bytes=SHARD_BYTES, workers=0, resume=True)
            assert files(self._target) == self._expected, at
            assert LIBRARY.faults_flushed_again() == 0, at
            shutil.rmtree(self._target)
            at += 1
        return at

    def _begin(self, at: int) -> None:
        folder = os.fsencode(self._target)
        self._kept: Any = folder
        LIBRARY.faults_begin(folder, ctypes.c_long(at), errno.EIO, int(self._flushes))

    def _succeeds(self, at: int) -> bool:
        self._begin(at)
        words = ["--val", "0.25", "--shard-bytes", str(SHARD_BYTES), "--workers", "0"]
        before, (read, write) = os.dup(2), os.pipe()
        os.dup2(write, 2)
        code = main(["pack", str(self._photos), str(self._target), *words])
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(write)
        with open(read) as file:
            said = file.read()
        if code == 0:
            assert LIBRARY.faults_calls() <= at, (at, "a call failed, and nothing was said")
            return True
        reason = re.escape(os.strerror(errno.EIO))
        assert re.fullmatch(rf"kseq: {re.escape(str(self._target))}\S*: [^\n]*: {reason}\n", said), (at, said)
        assert code == 1, at
        return False


if __name__ == "__main__":
    count = Faults(Path(sys.argv[1]), sys.argv[2] == "flushes").run()
    print(f"{count} calls", file=sys.stderr)
