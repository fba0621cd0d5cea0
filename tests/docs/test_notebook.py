"""The notebook of the documentation: it runs in a kernel of its own, as a person would run it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import DOCS

nbclient = pytest.importorskip("nbclient", reason="notebooks are run by nbclient")
nbformat = pytest.importorskip("nbformat", reason="notebooks are read by nbformat")
pytest.importorskip("ipykernel", reason="notebooks run in ipykernel")

NOTEBOOK = DOCS / "notebooks" / "first-look.ipynb"

# In the same kernel, at the end: a packing that is interrupted, as the button of a notebook interrupts it.
INTERRUPTED = """
import os, signal
def stop(done, total):
    if done > 100:
        os.kill(os.getpid(), signal.SIGINT)
kseq.pack(draw_shapes(200), "stopped", shard_bytes=100_000, workers=0, progress=stop)
"""
# A bar that begins at once.
WITH_BAR = """
import kseq.display.progress_bar as bar
bar._DELAY = 0
kseq.verify("shapes")
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel that is this Python, with folders of its own."""
    folder = tmp_path / "jupyter" / "kernels" / "tests"
    folder.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "tests", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    return folder.name


def outputs_of(cell: Any, kind: str) -> list[str]:
    return [output["data"][kind] for output in cell["outputs"] if kind in output.get("data", {})]


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 10_000
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in notebook["cells"] if "outputs" in cell)
    assert f"notebooks/{NOTEBOOK.name}" in (DOCS / "how-to" / "notebooks.md").read_text()


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_says(kernel: str, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook["cells"] += [nbformat.v4.new_code_cell(code) for code in (WITH_BAR, INTERRUPTED)]
    notebook["cells"][-1]["metadata"]["tags"] = ["raises-exception"]
    (tmp_path / "work").mkdir()
    resources = {"metadata": {"path": str(tmp_path / "work")}}
    nbclient.NotebookClient(notebook, kernel_name=kernel, timeout=300, startup_timeout=120, resources=resources).execute()
    *shown, with_bar, interrupted = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    pages = [page for cell in shown for page in outputs_of(cell, "text/html")]
    assert [
        part for part in ("PackReport", "ShardDataset", "ShardSequence", "Batches") if not any(part in p for p in pages)
    ] == []
    assert all(len(page) < 200_000 for page in pages)
    assert not any("Error" in page for page in pages)
    assert len([picture for cell in shown for picture in outputs_of(cell, "image/png")]) == 2
    # Nothing else is printed, but a bar where the machine is slow.
    printed = [output["text"] for cell in shown for output in cell["outputs"] if output["output_type"] == "stream"]
    # Matplotlib tells where it takes long to list the fonts of this machine.
    assert [text for text in printed if text.strip() and "images/s" not in text and "font cache" not in text] == []
    assert "200/200" in str(with_bar["outputs"])
    assert interrupted["outputs"][-1]["ename"] == "KeyboardInterrupt"
    assert "resume=True" in interrupted["outputs"][-1]["evalue"]
