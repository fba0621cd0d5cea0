"""The core of kseq, run by a Python that lacks what Windows or macOS lacks: it gives the same datasets and batches.

That is no proof for Windows and macOS themselves. `test_windows_python.py`, beside this, has Windows's own Python run it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.photos import write_numbered

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="takes away what Linux has")]

CORE = Path(__file__).with_name("core_run.py")
LACKING = ROOT / "tests" / "helpers" / "other_system"


def run_core(photos: Path, work: Path, system: str | None) -> dict[str, Any]:
    """The facts that the core prints."""
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="jax", PYTHONPATH=str(ROOT))
    if system is not None:
        environment |= {"KSEQ_SYSTEM": system, "PYTHONPATH": os.pathsep.join(map(str, (LACKING, ROOT)))}
    words = [sys.executable, CORE, photos, work, "--fit"]
    # In a process group of its own: what others have open does not matter.
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=500, check=False, start_new_session=True
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_numbered(folder, {"cat": 40, "dog": 40})
    return folder


@pytest.fixture(scope="module")
def expected(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_core(photos, tmp_path_factory.mktemp("plain") / "work", None)


@pytest.mark.parametrize(
    "system", ["windows", *(pytest.param(system, marks=pytest.mark.campaign) for system in ("macos", "bare"))]
)
def test_the_core_does_the_same_on_a_system_that_lacks_much(
    photos: Path, expected: dict[str, Any], tmp_path: Path, system: str
) -> None:
    assert run_core(photos, tmp_path / "work", system) == expected
