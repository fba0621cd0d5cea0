"""Each format is called by one name, and is loaded when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kseq.sources.formats import SOURCE_FORMATS, load_format, load_formats
from kseq.sources.registry import choose_format
from tests.sources.test_yolo_layouts import write

# Prints which sources a packing has loaded.
LOADED = """
import sys, kseq
kseq.pack(sys.argv[1], sys.argv[2], workers=0)
print(*sorted(name.rpartition(".")[2] for name in sys.modules if name.startswith("kseq.sources.")))
"""


def test_formats_are_known_by_their_own_names() -> None:
    assert tuple(known.name for known in load_formats()) == SOURCE_FORMATS
    assert load_format("csv") is load_formats()[SOURCE_FORMATS.index("csv")]


@pytest.mark.parametrize(
    ("more", "loads_others"), [({"README.md": "", "LICENSE": "", "train/notes.html": ""}, False), ({"a.json": "{}"}, True)]
)
def test_a_plain_folder_loads_no_other_format(tmp_path: Path, more: dict[str, str | bytes | None], loads_others: bool) -> None:
    source = write(tmp_path / "in", {"train/cat/0.png": None, "train/dog/1.png": None, **more})
    run = [sys.executable, "-c", LOADED, source, tmp_path / "out"]
    loaded = subprocess.run(run, check=True, capture_output=True, text=True, timeout=60).stdout.split()
    assert "folder" in loaded
    assert ("coco_folder" in loaded, "tfrecord" in loaded, "voc" in loaded) == (loads_others,) * 3


@pytest.mark.parametrize("document", ["README", "readme.roboflow.txt", "LICENSE.txt", "a/b.pdf", "Thumbs.db", "index.html"])
def test_documents_beside_images_do_not_matter(tmp_path: Path, document: str) -> None:
    files = {"7/images/7.png": None, "7/masks/0.png": None, document: "text"}
    assert choose_format(str(write(tmp_path / "cells", files)), None).name == "objectpngs"
    assert choose_format(str(write(tmp_path / "in", {"cat/0.png": None, document: "text"})), None).name == "folder"
    assert (
        choose_format(str(write(tmp_path / "yolo", {"x/0.png": None, "x/0.txt": "0 .5 .5 .1 .1", document: ""})), None).name
        == "yolo"
    )
