"""Many epochs: memory, threads and open files stay as they are.

500 of them: `KERAS_BACKEND=jax python -m tests.robustness.long_run`.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory and open files are not told here")
@pytest.mark.campaign
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_nothing_grows_from_epoch_to_epoch(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.long_run", "--epochs", "100"],
        cwd=ROOT,
        env=dict(os.environ, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
