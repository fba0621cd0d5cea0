"""SIGKILL for workers that read and pack.

A thousand of them: `python -m tests.robustness.kill_workers`.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT


@pytest.mark.parametrize("kills", [pytest.param(8, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.campaign)])
def test_workers_that_are_killed_at_any_moment_spoil_no_sample_and_nothing_hangs(kills: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.kill_workers", "--kills", str(kills)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills // 2} kills of readers" in done.stdout
    assert f"{kills // 2} kills of packers" in done.stdout
    assert done.stdout.endswith("no hang and no wrong sample\n")
