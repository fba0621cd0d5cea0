"""Every file of `tests/bad_data` is refused as its README says, within a limit of memory and of time."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.helpers.messages import assert_says
from tests.helpers.paths import ROOT
from tests.helpers.processes import RunPython

FOLDER = ROOT / "tests" / "bad_data"
ROWS = re.findall(r"^\| `([^`]+)` \| .+ \| `(\w+)` (.+) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)

EXERCISE = """
import sys, tempfile, zipfile
from pathlib import Path
if sys.platform == "linux":
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from tests.helpers.hostile import exercise
for path in sorted(Path(sys.argv[1]).glob("*.zip")):
    print("begins", path.stem, flush=True)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        archive.extractall(folder + "/dataset")
        for refusal in exercise(Path(folder) / "dataset", Path(folder) / "scratch"):
            print("refusal", path.stem, refusal, flush=True)
"""


@pytest.fixture(scope="module")
def refusals(run_python: RunPython) -> dict[str, list[str]]:
    """What is refused of each dataset."""
    lines = run_python(EXERCISE, FOLDER, timeout=120).stdout.splitlines()
    found: dict[str, list[str]] = {line.split()[1]: [] for line in lines if line.startswith("begins")}
    for line in (line for line in lines if line.startswith("refusal")):
        _, name, text = line.split(" ", 2)
        found[name].append(text)
    return found


def test_the_readme_names_every_file() -> None:
    assert sorted(name for name, _, _ in ROWS) == sorted(path.stem for path in FOLDER.glob("*.zip"))
    assert len(ROWS) > 20


@pytest.mark.slow
@pytest.mark.parametrize(("name", "family", "words"), ROWS, ids=[name for name, _, _ in ROWS])
def test_it_is_refused_as_the_readme_says(refusals: dict[str, list[str]], name: str, family: str, words: str) -> None:
    said = [text for text in refusals[name] if f" {family}: " in text]
    assert said, refusals[name]
    assert_says(said[0], *words.split())
    assert all(str(Path("dataset")) in text for text in said)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_none_ends_the_process(refusals: dict[str, list[str]]) -> None:
    assert len(refusals) == len(ROWS)
