"""Fixtures of the tests of editing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import kseq
from tests.helpers.photos import write_numbered


@pytest.fixture(scope="session")
def topical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 samples with several labels, boxes and their labels, text and numbers, and no class of their own."""
    root = tmp_path_factory.mktemp("topical")
    write_numbered(root / "photos", {"x": 30}, 8, 8)
    lines = []
    for number in range(30):
        boxes = [[0, 0, 1 + width, 2] for width in range(number % 3)]
        kinds = ["bee", "fly"][: number % 3]
        topics = ["garden", "summer", "weg"][number % 4 :]
        row = {"image": f"photos/x/{number:05d}.png", "topics": topics, "boxes": boxes, "kinds": kinds, "words": str(number)}
        lines.append(json.dumps({**row, "height": number}))
    (root / "all.jsonl").write_text("\n".join(lines))
    columns = kseq.Columns(label="", targets=["topics", "height"], boxes="boxes", box_labels="kinds", text="words")
    kseq.pack(
        root / "all.jsonl",
        root / "packed",
        columns=columns,
        images=kseq.ImageSettings("raw", (8, 8)),
        val=0.2,
        shard_bytes=2_000,
        workers=0,
    )
    return root / "packed"


@pytest.fixture
def objects(topical: Path, tmp_path: Path) -> Path:
    """A copy of that, to be changed."""
    return Path(shutil.copytree(topical, tmp_path / "objects"))
