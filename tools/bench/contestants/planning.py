"""Plans the packing of a table; prints seconds, those of the processor, and the most memory that the process ever had."""

from __future__ import annotations

import json
import resource
import sys
import time

import kseq
from kseq.packing.plan import make_plan
from kseq.sources.registry import open_source


def main() -> None:
    with open(sys.argv[1]) as file:
        job = json.load(file)
    columns = kseq.Columns(split="split", targets="age" if job["targets"] else None)
    started, busy = time.perf_counter(), time.process_time()
    make_plan(open_source(job["source"], None, columns, None, None), kseq.ImageSettings(), {})
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    print(json.dumps({"s": seconds, "s of the processor": busy, "MB": _most_kilobytes() * 1024 / 1e6}), flush=True)


def _most_kilobytes() -> int:
    """The most memory that this program ever had. `ru_maxrss` of Linux counts what had the process before: a fork of the one
    that started it, which may be larger."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
