"""SIGKILL at hundreds of points of a packing, its resume, and an overwriting.

Thousands of them: `python tests/robustness/kill_points.py`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has OpenCV loaded: safe on Linux")


# A process of its own: this one has threads, which a fork must not have.
def run(*options: str) -> int:
    """How many runs were killed."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("kill_points.py"), *options],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"([\d,]+) kills: every dataset is as if nothing had happened\n", done.stdout)
    assert found, done.stdout
    return int(found[1].replace(",", ""))


# In parts, so that none takes long.
@pytest.mark.parametrize("part", ["0", "1", "2", "3", "4", "5"])
def test_killed_at_300_points_and_again_amid_the_resume_it_ends_in_the_same_bytes(part: str) -> None:
    assert run("--points", "300", "--part", part, "6") >= 50 + 10


def test_an_overwriting_killed_at_any_point_leaves_the_old_dataset_or_the_new_one() -> None:
    assert run("--points", "60", "--overwrite") == 60
