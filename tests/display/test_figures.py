"""Figures of matplotlib: samples and batches, and what is said where there is no matplotlib or no window."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.display.montage import make_montage
from kseq.display.tiles import Tile
from kseq.errors import ArgumentError, OutOfRangeError, WriteError
from kseq.training.batch_look import draw_batch
from tests.helpers.messages import raises
from tests.helpers.processes import RunPython
from tests.helpers.viewing import pack_hostile, pack_objects

matplotlib = pytest.importorskip("matplotlib", reason="figures need the extra `notebook`")
matplotlib.use("agg")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_objects(tmp_path_factory.mktemp("objects"))


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_samples_are_shown_with_their_boxes(objects: Path, tmp_path: Path) -> None:
    dataset = kseq.ShardDataset(objects)
    dataset.show([0, 3], path=tmp_path / "two.png")
    dataset.show(path=tmp_path / "all.png")
    kseq.ShardDataset(objects, "val").show([1], path=tmp_path / "one.svg")
    assert picture(tmp_path / "all.png").shape[0] > picture(tmp_path / "two.png").shape[0]
    # The colour of the boxes of the first class.
    is_box = (np.abs(picture(tmp_path / "two.png").astype(int) - [61, 158, 245]) < 12).all(axis=2)
    assert is_box.sum() > 100
    assert matplotlib.pyplot.get_fignums() == []


def test_a_batch_is_shown_and_the_pass_is_not_moved(objects: Path, tmp_path: Path) -> None:
    with kseq.ShardSequence(objects, "all", batch_size=4, shuffle=True, targets="height") as sequence:
        first = iter(sequence)
        next(first)
        sequence.show(1, path=tmp_path / "batch.png")
        sequence.show(1, epoch=5, path=tmp_path / "later.png")
        sequence.batches.show(5, 1, rows=1, path=tmp_path / "row.png")
        assert len(next(first)[0]) == 2
        assert sequence.epoch == 0
    shown, later = picture(tmp_path / "batch.png"), picture(tmp_path / "later.png")
    assert (shown != later).any()


def test_hostile_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    hostile = pack_hostile(tmp_path)
    kseq.rename_class(hostile, "plain", "$\\frac{1}{x$")
    kseq.ShardDataset(hostile).show(path=tmp_path / "all.png")
    assert picture(tmp_path / "all.png").size


@pytest.mark.parametrize(
    ("arguments", "error", "parts"),
    [
        ({}, ArgumentError, ("path='samples.png'", "kseq view")),
        ({"path": "x.nothing"}, ArgumentError, ("path='x.nothing'",)),
        ({"path": "missing/x.png"}, WriteError, ("missing/x.png",)),
        ({"positions": [], "path": "x.png"}, ArgumentError, (64,)),
        ({"positions": [0] * 65, "path": "x.png"}, ArgumentError, (65, 64)),
        ({"positions": [6], "path": "x.png"}, OutOfRangeError, (6,)),
        ({"path": 3}, ArgumentError, ("path=3",)),
    ],
)
def test_refuses_what_cannot_be_shown(
    objects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict, error: type[Exception], parts: tuple
) -> None:
    monkeypatch.chdir(tmp_path)
    with raises(error, *parts):
        kseq.ShardDataset(objects).show(**arguments)
    with raises(OutOfRangeError, 9):
        kseq.Batches(objects, "all", targets="height").show(0, 9, path="x.png")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_way_out_is_named(objects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with raises(ArgumentError, "matplotlib", "kseq[notebook]", f"kseq view {objects}"):
        kseq.ShardDataset(objects).show([0])
    with raises(ArgumentError, "matplotlib", "kseq[notebook]"):
        kseq.Batches(objects, "all", targets="height").show()


def test_importing_kseq_loads_no_matplotlib_and_no_ipython(run_python: RunPython) -> None:
    code = "import sys, kseq, kseq.training.batches, kseq_tools.main\n"
    code += "print([n for n in ('matplotlib', 'IPython', 'tensorboard', 'wandb') if n in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


def test_a_picture_of_a_batch_has_a_tile_for_each_row(objects: Path) -> None:
    with kseq.Batches(objects, "all", batch_size=6, targets="height") as batches:
        few, many = draw_batch(batches, 0, 0, 3), draw_batch(batches, 0, 0, 6)
    assert few.dtype == np.uint8
    assert few.shape[2] == 3
    assert many.shape[0] > few.shape[0]
    broken = make_montage([Tile.broken("cannot be read: \u65e5\u672c"), Tile(np.zeros((20, 10, 3), np.uint8), ("\u65e5",) * 5)])
    assert broken.shape[2] == 3
