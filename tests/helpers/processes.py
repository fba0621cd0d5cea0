"""Running Python and the `kseq` command in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# What the fixture `run_python` is.
RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


def most_memory() -> int:
    """The most KiB of memory that this process had since its program began.

    `ru_maxrss` of Linux counts what was there before as well: a copy of the process that started it, which may be larger.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def kseq_command(*arguments: object) -> list[str | bytes]:
    """The words that run the `kseq` command with these arguments; paths may be bytes."""
    code = "import sys; from kseq_tools.main import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", code, *(word if isinstance(word, bytes) else str(word) for word in arguments)]
