"""Breaks trainings off on each backend, by kills and other faults, starts them again, and prints what they survived.

Some go on on another number of ranks.

For the repository, whose tests it runs: `python tools/soak.py --kills 100 --minutes 60`.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the campaign with the arguments of the command line; its exit code is 1 if a run was not as it should be."""
    if not (_ROOT / "tests" / "robustness" / "kill_training.py").is_file():
        print(f"{_ROOT}: has no tests: run soak.py in a checkout of the repository", file=sys.stderr)
        return 2
    sys.path.insert(0, str(_ROOT))
    code: int = runpy.run_module("tests.robustness.kill_training")["main"]()
    return code


if __name__ == "__main__":
    sys.exit(main())
