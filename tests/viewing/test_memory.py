"""A million samples in the viewer: its memory."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import kseq
from tests.helpers.processes import RunPython

pytest.importorskip("uvicorn", reason="the page of `kseq view` needs the extra `view`")

# Looks at everything as ten tabs do, and prints after each look the most memory that the process ever had, in MiB, and what it
# has then of its own and of files. Measuring a million images takes minutes, so their measures are made up; that they are
# looked for is tested elsewhere.
_LOOK = """
import sys
import numpy as np
import kseq
from tests.helpers.memory import peak_kib, resident_kib
from tests.helpers.viewing import ask, ask_json

def note(look):
    own, of_files = (kib // 1024 for kib in resident_kib())
    print(f"{look}: {peak_kib() // 1024} ({own} + {of_files})", flush=True)

note("start")
with kseq.Viewer(sys.argv[1], read_only=True) as viewer:
    opened, measures, _ = viewer._watched.now()
    measures._is_closed = True
    rng = np.random.default_rng(0)
    for first in range(0, opened.num_ids, 1 << 14):
        part = slice(first, first + (1 << 14))
        for array in (measures.brightness, measures.contrast, measures.colors, measures.features):
            array[part] = rng.integers(0, 256, array[part].shape, np.uint8)
        for array in (measures.stored_hashes, measures.looks):
            array[part] = rng.integers(0, 1 << 63, array[part].shape, np.uint64)
        measures.states[part] = 1
    measures._done = opened.num_ids
    note("measures")
    about = ask_json(viewer, "about")
    assert about["num_samples"] == 1_000_000
    for order in about["orders"]:
        rows = ask_json(viewer, "rows", order=order, start=500_000, count=48)["rows"]
        if rows:
            ask(viewer, "api/thumbs", ids=",".join(str(row["id"]) for row in rows), side=160)
        note(order)
    for where in ("label=3", "label=1,2", "label>2"):
        ask(viewer, "api/rows", where=where, split="train", source="7")
        note(where)
    assert ask_json(viewer, "lookalikes")["num_measured"] == 1_000_000
    note("lookalikes")
    ask_json(viewer, "charts")
    note("charts")
    for epoch in range(3):
        ask_json(viewer, "batch", epoch=epoch, height=8, width=8)
        note(f"batch of epoch {epoch}")
print(peak_kib() // 1024)
"""


@pytest.mark.campaign
@pytest.mark.timeout(1200)
def test_a_million_samples_take_less_than_300_megabytes(tmp_path: Path, run_python: RunPython) -> None:
    numbers = np.arange(1_000_000)
    images = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8).reshape(-1, 1, 1, 3)
    np.savez(tmp_path / "many.npz", images=images, labels=numbers % 7)
    kseq.pack(tmp_path / "many.npz", tmp_path / "packed", images=kseq.ImageSettings("raw", (1, 1)), val=0.1)
    done = run_python(_LOOK, tmp_path / "packed", timeout=900)
    print(done.stdout, file=sys.stderr)
    peak = int(done.stdout.split()[-1])
    assert peak < 300, "; ".join(done.stdout.splitlines())
