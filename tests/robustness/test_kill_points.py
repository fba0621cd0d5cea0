"""SIGKILL at many points of a packing, of its resume, and of an overwriting.

Thousands of them: `python -m tests.robustness.kill_points`.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has OpenCV loaded: safe on Linux"),
]


# A process of its own: this one has threads, which a fork must not have.
def run(*options: str) -> int:
    """How many runs were killed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.kill_points", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"([\d,]+) kills: every dataset is as if nothing had happened\n", done.stdout)
    assert found, done.stdout
    return int(found[1].replace(",", ""))


def test_killed_at_40_points_and_again_amid_the_resume_it_ends_in_the_same_bytes() -> None:
    assert run("--points", "40") >= 40 + 8


# In parts, so that none takes long.
@pytest.mark.campaign
@pytest.mark.parametrize("part", ["0", "1", "2", "3", "4", "5"])
def test_killed_at_300_points_and_again_amid_the_resume_it_ends_in_the_same_bytes(part: str) -> None:
    assert run("--points", "300", "--part", part, "6") >= 50 + 10


@pytest.mark.parametrize("place", ["--overwrite", "--inside"])
@pytest.mark.parametrize("points", [20, pytest.param(60, marks=pytest.mark.campaign)])
def test_an_overwriting_killed_at_any_point_leaves_the_old_dataset_or_the_new_one(points: int, place: str) -> None:
    assert run("--points", str(points), place) == points
