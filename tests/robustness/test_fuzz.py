"""Datasets with changed bytes and forged numbers: nothing but a KseqError comes of them.

An hour of it: `python -m tests.robustness.fuzz --minutes 60`.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process"),
]


def run(*options: str) -> int:
    """How many cases were run, none of which ended in anything unexpected."""
    command = [sys.executable, "-m", "tests.robustness.fuzz", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    found = re.search(r"^([\d,]+) cases: 0 findings$", done.stdout, re.MULTILINE)
    assert done.returncode == 0 and found, done.stdout + done.stderr
    return int(found[1].replace(",", ""))


def test_nothing_unexpected_comes_of_40_changed_datasets() -> None:
    assert run("--cases", "40") == 40


@pytest.mark.campaign
def test_nothing_unexpected_comes_of_a_minute_of_changed_datasets() -> None:
    assert run("--minutes", "1", "--first", "1000") > 0
