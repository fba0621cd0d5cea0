"""A folder at a URL is told as the same folder on this machine is: by the beginnings of its texts too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest

import kseq
from kseq.sources.registry import choose_format
from tests.helpers.messages import assert_says
from tests.sources.test_label_lists import PADDLE
from tests.sources.test_layouts import LAYOUTS
from tests.sources.test_yolo_layouts import write

ROBOFLOW = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,100,100,cat,1,2,30,40\n"
RUNS = "ImageId,EncodedPixels\na.png,1 3 10 5\n"
FOLDERS: dict[str, dict[str, str | None]] = {
    "lists": PADDLE,
    "tables of splits": {
        "train/a.png": None,
        "train/_annotations.csv": ROBOFLOW,
        "valid/a.png": None,
        "valid/_annotations.csv": ROBOFLOW,
    },
    **{name: files for name, (files, _) in LAYOUTS.items()},
}


def upload(root: Path, name: str) -> str:
    system = fsspec.filesystem("memory")
    for path in root.rglob("*"):
        if path.is_file():
            system.pipe(f"/{name}/{path.relative_to(root)}", path.read_bytes())
    return f"memory://{name}"


def outcome(source: Any, out: Path) -> tuple[Any, ...]:
    """What becomes of a source, without its place."""
    try:
        report = kseq.pack(source, out, overwrite=True, workers=0)
    except kseq.KseqError as error:
        return type(error), str(error).replace(str(source), "SOURCE")
    return report.class_names, report.splits, [note.replace(str(source), "SOURCE") for note in report.notes]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_at_a_url_is_told_as_the_same_folder_here(tmp_path: Path, name: str) -> None:
    root = write(tmp_path / "in", FOLDERS[name])
    url = upload(root, f"told {name}")
    assert outcome(url, tmp_path / "out") == outcome(root, tmp_path / "out")


def test_a_list_at_a_url_is_told_by_its_lines(tmp_path: Path) -> None:
    url = upload(write(tmp_path / "in", PADDLE), "told a list")
    report = kseq.pack(f"{url}/train_list.txt", tmp_path / "out", workers=0)
    assert (report.num_samples, report.class_names) == (3, ("pink rose", "iris"))


@pytest.mark.filterwarnings("error")
def test_what_is_told_while_a_source_at_a_url_is_read_names_the_url(tmp_path: Path) -> None:
    root = write(tmp_path / "in", FOLDERS["tables of splits"])
    assert choose_format(str(root), None).name == "csv"
    url = upload(root, "told warnings")
    with pytest.warns(UserWarning) as told:
        kseq.pack(url, tmp_path / "out", workers=0)
    for warning in told:
        assert_says(str(warning.message), url)
