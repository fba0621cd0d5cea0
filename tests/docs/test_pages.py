"""The code on the pages of the documentation: it runs, from top to bottom, in a folder with the files that it names."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import kseq
from kseq_tools.main import main
from tests.docs.example_data import write_example_data
from tests.docs.pages import DOCS, Block, all_pages, blocks_of, page_name
from tests.docs.run_page import PageRun
from tests.helpers.paths import CLOTHING
from tests.helpers.photos import write_numbered, write_photos
from tests.helpers.processes import RunPython

RUN_PAGE = "import sys; from pathlib import Path; from tests.docs.run_page import run_page; "
RUN_PAGE += "run_page(Path(sys.argv[1]), *sys.argv[2:])"
RUN_PAGES = "import json, sys; from pathlib import Path; from tests.docs.run_page import PageRun, run_pages; "
RUN_PAGES += "run_pages(Path(sys.argv[1]), [PageRun(*words) for words in json.loads(sys.argv[2])])"

# What a page's code must have reached at its end, beyond having run.
CHECKS = {
    "docs/tutorials/classify.md": """
accuracy, losses = history.history["val_accuracy"], history.history["loss"]
assert losses[-1] < 0.5 * losses[0], losses
assert accuracy[-1] > 2 / len(train.class_names), accuracy
""",
    "docs/tutorials/segment.md": """
assert history.history["val_overlap"][-1] > 0.8, history.history
""",
    "docs/tutorials/detect.md": """
assert hits > 0.6 * total, (hits, total)
""",
    "docs/tutorials/several-inputs.md": """
assert history.history["val_material_accuracy"][-1] > 0.9, history.history
assert history.history["val_height_mae"][-1] < 0.12, history.history
""",
}

# The tutorial whose network learns in every run of the tests; those of the other pages learn in a campaign.
LEARNS = "docs/tutorials/classify.md"

_WITH_CODE = [page for page in all_pages() if any(block.language in ("python", "console") for block in blocks_of(page))]
EXAMPLES = [page for page in _WITH_CODE if page.parent == DOCS / "examples"]

# What the network of an example must have learned: the name of a figure, and the bound of its last value.
LEARNED = {
    "captcha.md": "loss < 2.0",
    "cross-validation.md": "",
    "depth.md": "val_loss < 0.5",
    "fine-tuning.md": "",
    "image-classification.md": "val_accuracy > 0.8",
    "imbalanced.md": "",
    "keypoints.md": "val_loss < 0.015",
    "look-alikes.md": "val_loss < 1.5",
    "low-light.md": "val_loss < 40",
    "object-detection.md": "val_loss < 1.2",
    "segmentation.md": "val_accuracy > 0.85",
    "tagging.md": "val_binary_accuracy > 0.85",
    "volumes.md": "val_accuracy > 0.85",
}


def check_of(page: Path) -> str:
    """What a page must have reached at its end, as code."""
    bound = LEARNED.get(page.name, "") if page in EXAMPLES else ""
    if not bound:
        return CHECKS.get(page_name(page), "")
    name, _, limit = bound.partition(" ")
    return f"last = history.history['{name}'][-1]; assert last {limit}, ({page.name!r}, last)"


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages name, made once."""
    # Loads TensorFlow and other packages that write records, which takes seconds: not for tests that only look at pages.
    from tests.docs.workspace import write_workspace

    folder = tmp_path_factory.mktemp("workspace")
    write_workspace(folder)
    return folder


@pytest.fixture(scope="session")
def example_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the examples name, made once."""
    folder = tmp_path_factory.mktemp("example_data")
    write_example_data(folder)
    return folder


Run = Callable[[list[Path], bool], None]


@pytest.fixture
def run(
    workspace: Path,
    example_data: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    run_python: RunPython,
) -> Run:
    """Runs pages in one process, as TensorFlow takes long to load: whole and with their checks, or cut short."""
    # Not in the home of whoever runs the tests.
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))

    def run_all(pages: list[Path], whole: bool) -> None:
        runs = []
        for page in pages:
            is_whole = whole or page_name(page) == LEARNS
            folder = example_data if page in EXAMPLES else workspace
            runs.append(PageRun(str(page), check_of(page) if is_whole else "", str(folder), not is_whole))
        done = run_python(RUN_PAGES, tmp_path, json.dumps(runs), backend="tensorflow", lean=False, timeout=900)
        failures = json.loads(done.stdout.splitlines()[-1])
        assert list(failures) == list(map(str, pages))
        assert not any(failures.values()), "\n".join(f"{page}\n{failure}" for page, failure in failures.items() if failure)

    return run_all


def _trains(page: Path) -> bool:
    """Whether a page is one whose network must learn, or which shows a whole training."""
    return page in EXAMPLES or page_name(page) in ("README.md", *CHECKS)


def test_it_is_said_of_each_example_what_its_network_must_learn() -> None:
    assert sorted(LEARNED) == sorted(page.name for page in EXAMPLES)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_the_code_of_the_readme_the_tutorials_and_the_examples_runs(run: Run) -> None:
    run([page for page in _WITH_CODE if _trains(page)], False)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_the_code_of_every_other_page_runs(run: Run) -> None:
    run([page for page in _WITH_CODE if not _trains(page)], True)


@pytest.mark.campaign
@pytest.mark.timeout(1000)
def test_the_networks_of_the_tutorials_and_the_examples_learn(run: Run) -> None:
    run([page for page in _WITH_CODE if _trains(page) and page_name(page) != LEARNS], True)


@pytest.mark.campaign
@pytest.mark.skipif(not CLOTHING.is_dir(), reason=f"the photos are not at {CLOTHING}")
@pytest.mark.timeout(1800)
def test_the_network_of_the_tutorial_learns_real_photos_as_well_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_python: RunPython
) -> None:
    (tmp_path / "clothing-dataset-small").symlink_to(CLOTHING)
    write_photos(tmp_path / "photos", {"daisy": 10, "rose": 10})
    monkeypatch.chdir(tmp_path)
    check = "assert history.history['val_accuracy'][-1] > 0.6 and accuracy > 0.55, (history.history, accuracy)"
    run_python(RUN_PAGE, DOCS / "tutorials" / "classify.md", check, backend="tensorflow", timeout=1700)


@pytest.mark.parametrize(
    ("splits", "options", "expected"),
    [
        (["train", "validation", "test"], [], {"train": 20, "val": 20, "test": 20}),
        (["train", "test"], ["--val"], {"train": 18, "val": 2, "test": 20}),
        ([""], ["--val", "--test"], {"train": 16, "val": 2, "test": 2}),
    ],
)
def test_the_tutorial_has_a_command_for_each_layout(
    splits: list[str], options: list[str], expected: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (DOCS / "tutorials" / "classify.md").read_text()
    commands = [shlex.split(command) for command in re.findall(r"`(kseq pack photos dataset[^`]*)`", page)]
    (command,) = [words for words in commands if [word for word in words if word.startswith("--")] == options]
    for split in splits:
        write_numbered(tmp_path / "photos" / split, {"daisy": 10, "rose": 10})
    monkeypatch.chdir(tmp_path)
    assert main([*command[1:], "--workers", "0"]) == 0
    assert kseq.ShardDataset("dataset").splits == expected


@pytest.mark.parametrize("page", all_pages(), ids=page_name)
def test_every_block_of_a_page_is_of_a_known_language(page: Path) -> None:
    known = {"python", "py", "console", "text", "csv", "json", "yaml"}
    assert {block.language for block in blocks_of(page)} <= known


@pytest.mark.parametrize("page", all_pages(), ids=page_name)
def test_no_line_of_code_is_wider_than_a_page(page: Path) -> None:
    assert [line for block in blocks_of(page) for line in block.code.splitlines() if len(line) > 100] == []


# Pages with code for several machines, for a store elsewhere, of other loaders, for packages that kseq does not install, or for
# objects with outlines, which no page packs.
_ELSEWHERE = (
    "docs/how-to/augment.md",
    "docs/how-to/clusters.md",
    "docs/how-to/migrate.md",
    "docs/how-to/remote.md",
    "docs/how-to/several-processes.md",
    "docs/how-to/targets.md",
    "docs/how-to/train.md",
)


def _blocks_elsewhere() -> list[tuple[Path, Block]]:
    return [(page, block) for page in all_pages() for block in blocks_of(page) if block.language == "py"]


@pytest.mark.parametrize(("page", "block"), _blocks_elsewhere(), ids=lambda value: getattr(value, "name", ""))
def test_blocks_that_are_not_run_compile_and_need_what_is_not_here(page: Path, block: Block) -> None:
    compile(block.code, str(page), "exec")
    assert page_name(page) in _ELSEWHERE
