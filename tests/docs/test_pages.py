"""The code on the pages of the documentation: it runs, from top to bottom, in a folder with the files that it names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.pages import Block, all_pages, blocks_of, page_name
from tests.docs.workspace import write_workspace
from tests.helpers.paths import ROOT
from tests.helpers.processes import RunPython

RUN_PAGE = "import sys; from pathlib import Path; from tests.docs.run_page import run_page; "
RUN_PAGE += "run_page(Path(sys.argv[1]), *sys.argv[2:])"

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

_WITH_CODE = [page for page in all_pages() if any(block.language in ("python", "console") for block in blocks_of(page))]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages name, made once."""
    folder = tmp_path_factory.mktemp("workspace")
    write_workspace(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", _WITH_CODE, ids=page_name)
def test_the_code_of_a_page_runs(
    page: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_python: RunPython
) -> None:
    shutil.copytree(workspace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run_python(RUN_PAGE, page, CHECKS.get(page_name(page), ""), backend="tensorflow")


@pytest.mark.parametrize("page", all_pages(), ids=page_name)
def test_every_block_of_a_page_is_of_a_known_language(page: Path) -> None:
    known = {"python", "py", "console", "text", "csv", "json", "yaml"}
    assert {block.language for block in blocks_of(page)} <= known


@pytest.mark.parametrize("page", all_pages(), ids=page_name)
def test_no_line_of_code_is_wider_than_a_page(page: Path) -> None:
    assert [line for block in blocks_of(page) for line in block.code.splitlines() if len(line) > 100] == []


def _cluster_blocks() -> list[tuple[Path, Block]]:
    return [(page, block) for page in all_pages() for block in blocks_of(page) if block.language == "py"]


@pytest.mark.parametrize(("page", "block"), _cluster_blocks(), ids=lambda value: getattr(value, "name", ""))
def test_blocks_that_are_not_run_compile_and_need_a_cluster(page: Path, block: Block) -> None:
    compile(block.code, str(page), "exec")
    assert page == ROOT / "docs/how-to/clusters.md"
