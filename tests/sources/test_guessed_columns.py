"""Columns, channels and sizes that packing has to guess: what is refused, and what is said in one line."""

from __future__ import annotations

import json
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError, SourceError
from kseq.sources.class_numbers import number_classes
from kseq.sources.point_names import describe_outside
from kseq_tools.main import main
from tests.helpers.messages import assert_says, raises, refusal
from tests.helpers.photos import write_numbered


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["cat|dog", "cat", "dog"], "cat|dog"),
        (["cat dog", "cat", "dog"], "cat dog"),
        (["a;b", "b;c", "a;c", "a;b;c"], "a;b"),
        (["clear primary", "clear water", "primary water", "water clear primary", "x clear", "x water", "x primary"] * 2, None),
        (["golden retriever", "tabby cat"], None),
        (["red rose", "white rose", "red tulip", "white tulip", "blue rose", "blue tulip"], None),
        (["New York, NY", "Boston, MA"], None),
        (["|", "cat"], None),
    ],
)
def test_classes_that_look_like_several_labels_are_said_in_one_line(cells: list[str], expected: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names, _ = number_classes("kind", cells, None)
    assert set(names) == set(cells)
    assert len(caught) == (expected is not None)
    if expected is not None:
        assert_says(str(caught[0].message), "kind", repr(expected), "kseq.Columns(label='', targets={'tags': 'kind'})")


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        (["['cat', 'dog']", "['cat']"], ("\"['cat', 'dog']\"", "kseq.Columns(label='', targets={'tags': 'kind'})")),
        (['{"name": "cat"}', "dog"], ('\'{"name": "cat"}\'',)),
        (["NA", "None", "cat"], ("'NA', 'None'", "without_class=['NA', 'None']")),
        (["0.5", "1", "2.25"], ("'0.5'", "kseq.Columns(label='', targets=['kind'])")),
        (["0,5", "1,25"], ("'0,5'",)),
        (["1.0", "2.0"], ()),
        (["0.5", "1", "x"], ()),
        (["cat", "n.a.", "a-b"], ()),
    ],
)
def test_classes_that_look_like_none_are_said_in_one_line(cells: list[str], parts: tuple[str, ...]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        number_classes("kind", cells, None)
    assert len(caught) == bool(parts)
    if parts:
        assert_says(str(caught[0].message), "kind", *parts)


def test_lists_of_python_are_lists_of_labels(tmp_path: Path) -> None:
    table = write_table(tmp_path, "tags", ["['cat', 'dog']", "['dog']", "[open"])
    kseq.pack(table, tmp_path / "packed", workers=0, columns=kseq.Columns(label="", targets="tags"))
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert [dataset[row]["tags"].tolist() for row in range(3)] == [[1, 2], [2], [0]]


def write_table(folder: Path, column: str, cells: list[Any], name: str = "t.jsonl") -> Path:
    write_numbered(folder, {"a": len(cells)})
    rows = [{"image": f"a/{number:03}.png", column: cell} for number, cell in enumerate(cells)]
    paths = sorted(path.relative_to(folder) for path in (folder / "a").iterdir())
    rows = [{**row, "image": str(path)} for row, path in zip(rows, paths, strict=True)]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


@pytest.mark.parametrize("cells", [["d0.npy", "d1.npy"], ["m/a.PNG", ""], [["a.tif", "b.tif"], "c.tif"]])
def test_a_target_of_paths_is_no_column_of_labels(tmp_path: Path, cells: list[Any]) -> None:
    table = write_table(tmp_path, "depth", cells)
    message = refusal(table, tmp_path / "packed", columns=kseq.Columns(label="", targets="depth"))
    assert_says(message, "depth", "kseq.Columns(kinds={'depth': 'map'})", "kseq.Columns(mask=)")
    kinds = kseq.Columns(label="", targets="depth", kinds={"depth": "multi_label"})
    assert kseq.pack(table, tmp_path / "packed", workers=0, columns=kinds).num_samples == 2


def test_a_label_of_paths_is_no_column_of_classes(tmp_path: Path) -> None:
    table = write_table(tmp_path, "label", ["m/0.png", "m/1.png"])
    message = refusal(table, tmp_path / "packed")
    assert_says(message, "'m/0.png'", "kseq.Columns(label='', mask='label')", "class_names=")
    class_names = ["m/0.png", "m/1.png"]
    assert kseq.pack(table, tmp_path / "packed", workers=0, class_names=class_names).num_samples == 2
    table.write_text(table.read_text().replace("m/0.png", ".png").replace("m/1.png", ".jpg"))
    assert kseq.pack(table, tmp_path / "packed", workers=0, overwrite=True).class_names == (".jpg", ".png")


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


@pytest.mark.parametrize("source", ["pair", "generator", "npz", "csv"])
def test_raw_pixels_of_arrays_keep_the_size_that_all_have(tmp_path: Path, source: str) -> None:
    images, labels = pixels(4, 6, 5, 1), np.arange(4) % 2
    if source == "npz":
        np.savez(tmp_path / "a.npz", images=images, labels=labels)
    rows = ["label," + ",".join(f"pixel{number}" for number in range(30))]
    rows += [",".join(map(str, [label, *image.ravel()])) for image, label in zip(images, labels, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    given: dict[str, Any] = {"pair": (images, labels), "generator": iter(zip(images, labels, strict=True))}
    options: dict[str, Any] = {"shape": (6, 5)} if source == "csv" else {}
    settings = kseq.ImageSettings("raw", color_mode="grayscale")
    where = given.get(source, tmp_path / f"a.{source}")
    kseq.pack(where, tmp_path / "packed", workers=0, images=settings, **options)
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert dataset.settings["image_size"] == [6, 5]
        np.testing.assert_array_equal(dataset.read(range(4))["image"], images)


def test_raw_pixels_of_arrays_of_several_sizes_need_one(tmp_path: Path) -> None:
    samples = [(pixels(6, 5, 3), 0), (pixels(5, 6, 3), 1)]
    with raises(ArgumentError, "image_size=(224, 224)"):
        kseq.pack(iter(samples), tmp_path / "packed", workers=0, images=kseq.ImageSettings("raw"))


def test_channels_that_are_left_out_are_said(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile", reason="a TIFF file of 4 channels is written by tifffile")
    (tmp_path / "tiff" / "a").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "tiff" / "a" / "0.tif", pixels(8, 8, 4), photometric="rgb", extrasamples=[0])
    report = kseq.pack(tmp_path / "tiff", tmp_path / "one", workers=0)
    assert report.image_notes == {"has 4 channels, of which the first 3 are taken": 1}
    report = kseq.pack((pixels(2, 8, 8, 4), np.arange(2)), tmp_path / "two", workers=0)
    assert report.image_notes == {"has a fourth channel, which is taken for alpha and left out": 2}
    images = kseq.ImageSettings("raw", channels=4)
    assert not kseq.pack((pixels(2, 8, 8, 4), np.arange(2)), tmp_path / "three", workers=0, images=images).image_notes


POINTS = [[[1, 2], [3, 4], [5, 6]], [[2, 2], [4, 4], [6, 6]]]


def test_the_pairs_of_keypoints_of_a_table_survive_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path, "face", POINTS)
    columns = kseq.Columns(label="", targets="face", kinds={"face": "keypoints"}, mirror_pairs={"face": [(0, 2)]})
    kseq.pack(table, tmp_path / "packed", workers=0, columns=columns)
    for format in ("folder", "webdataset", "tfrecord", "huggingface"):
        report = kseq.export(tmp_path / "packed", tmp_path / format, format=format)
        words = shlex.split(report.pack_command)
        # Parquet files say what their columns are.
        assert format == "huggingface" or words[words.index("--mirror-pairs") + 1] == "face=0:2"
        words[words.index("DATASET")] = str(tmp_path / f"{format}-packed")
        assert main([*words[1:], "--workers", "0"]) == 0
        with kseq.ShardDataset(tmp_path / f"{format}-packed") as dataset:
            assert dataset.fields["face"].mirror_order == (2, 1, 0)


@pytest.mark.parametrize(("said", "order"), [("none", (0, 1, 2)), ("0:1", (1, 0, 2))])
def test_the_command_takes_pairs_of_keypoints(tmp_path: Path, said: str, order: tuple[int, ...]) -> None:
    table = write_table(tmp_path, "face", POINTS)
    words = ["pack", str(table), str(tmp_path / "packed"), "--label", "", "--target", "face=face:keypoints", "--workers", "0"]
    assert main([*words, "--mirror-pairs", f"face={said}"]) == 0
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert dataset.fields["face"].mirror_order == order


@pytest.mark.parametrize(
    "pairs", [{"other": [(0, 1)]}, {"face": [(0, 0)]}, {"face": [(0, 1), (1, 2)]}, {"face": [0]}, {"face": [(-1, 0)]}, 3]
)
def test_pairs_of_no_keypoints_are_refused(pairs: Any) -> None:
    with raises(ArgumentError, "mirror_pairs="):
        kseq.Columns(label="", targets="face", kinds={"face": "keypoints"}, mirror_pairs=pairs)


def test_a_pair_of_a_point_that_is_not_there_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path, "face", POINTS)
    columns = kseq.Columns(label="", targets="face", kinds={"face": "keypoints"}, mirror_pairs={"face": [(0, 3)]})
    assert_says(refusal(table, tmp_path / "packed", SourceError, columns=columns), "(0, 3)", "face", "[0, 3)")


def test_one_keypoint_is_no_keypoints() -> None:
    assert "1 keypoint lies" in describe_outside(1)
    assert "2 keypoints lie" in describe_outside(2)
