"""Libraries in C that tests preload into a process, which change what its calls do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT


def build_library(name: str, folder: Path) -> Path:
    """tests/helpers/NAME.c, built; the test is skipped where that cannot be."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler cc, or no preloading of libraries as Linux has it")
    path = folder / f"{name}.so"
    source = ROOT / f"tests/helpers/{name}.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, source, "-ldl"], check=True, timeout=120)
    return path
