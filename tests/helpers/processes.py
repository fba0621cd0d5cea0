"""Running Python and the `kseq` command in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

# What the fixture `run_python` is.
RunPython = Callable[..., "subprocess.CompletedProcess[str]"]

# Keras loads these where they are installed, for what is no matter of kseq, and they take a third of the time in which it is
# loaded. After this line a process has none of them, as after `pip install "kseq[tensorflow]"`.
LEAN = "import sys; sys.modules.update(dict.fromkeys(['matplotlib', 'pandas', 'sklearn']))\n"


def kseq_command(*arguments: object) -> list[str | bytes]:
    """The words that run the `kseq` command with these arguments; paths may be bytes."""
    code = "import sys; from kseq_tools.main import main; sys.exit(main())"
    return [sys.executable, "-c", code, *(word if isinstance(word, bytes) else str(word) for word in arguments)]
