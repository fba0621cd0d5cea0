"""Masks of the shapes that CVAT, VIA, Label Studio and Pascal VOC have, and what is said of what is in no mask."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.sources.brush_masks import brush_runs
from tests.helpers.messages import assert_says, refusal
from tests.sources.test_object_masks import (
    HEIGHT,
    WIDTH,
    annotation,
    pack,
    runs,
    square,
    write_coco,
    write_image,
    write_labelme,
    write_panoptic,
)


def row_runs(values: np.ndarray) -> list[int]:
    """The run lengths of zeros and ones in turn, row after row."""
    flat = values.ravel().astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    return [0] * int(flat[0]) + np.diff([0, *edges.tolist(), flat.size]).tolist()


def painted(values: np.ndarray) -> list[int]:
    """A mask as Label Studio writes it: runs of one value, and at odd places values one by one."""
    flat = np.repeat(values.ravel().astype(int) * 255, 4)
    bits = f"{flat.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    place = 0
    while place < flat.size:
        same = int(np.argmax(np.append(flat[place:], -1) != flat[place]))
        if place % 3 == 1:
            count = min(5, flat.size - place)
            bits += f"0{0:02b}{count - 1:03b}" + "".join(f"{value:08b}" for value in flat[place : place + count])
        else:
            count = same
            bits += f"1{3:02b}{count - 1:016b}{flat[place]:08b}"
        place += count
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def write_cvat(folder: Path, shapes: str) -> Path:
    write_image(folder / "1.png")
    image = f'<image id="0" name="1.png" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
    (folder / "annotations.xml").write_text(f"<annotations><version>1.1</version>{image}</annotations>")
    return folder


def write_via(folder: Path, shapes: list[dict[str, Any]]) -> Path:
    write_image(folder / "1.png")
    regions = [{"shape_attributes": shape, "region_attributes": {"label": "cat"}} for shape in shapes]
    (folder / "via.json").write_text(json.dumps({"1.png5": {"filename": "1.png", "size": 5, "regions": regions}}))
    return folder / "via.json"


def write_studio(folder: Path, values: list[dict[str, Any]]) -> Path:
    write_image(folder / "1.png")
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    results = [{"id": f"r{place}", **size, "value": {"labels": ["cat"], **value}} for place, value in enumerate(values)]
    (folder / "tasks.json").write_text(json.dumps([{"data": {"image": "1.png"}, "annotations": [{"result": results}]}]))
    return folder / "tasks.json"


def points(corners: list[int]) -> str:
    return ";".join(f"{x},{y}" for x, y in zip(corners[::2], corners[1::2], strict=True))


def percent(corners: list[int]) -> list[list[float]]:
    return [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in zip(corners[::2], corners[1::2], strict=True)]


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    covered = np.zeros((HEIGHT, WIDTH), bool)
    covered[top:bottom, left:right] = True
    return covered


def ellipse(x: float, y: float, across: float, down: float, degrees: float = 0) -> np.ndarray:
    """The pixels whose middles lie in an ellipse."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    turn = math.radians(degrees)
    right, below = columns - x, rows - y
    along = right * math.cos(turn) + below * math.sin(turn)
    aside = below * math.cos(turn) - right * math.sin(turn)
    return (along / across) ** 2 + (aside / down) ** 2 <= 1


TOP = square(2, 3, 8, 9)
LINE = [*TOP, *TOP[:2]]
TURNED = ellipse(8, 6, 6, 2, 30)
STROKE = rectangle(1, 2, 5, 4) | rectangle(9, 0, 16, 12)
SIDES = {"x": 100 * 2 / WIDTH, "y": 100 * 3 / HEIGHT, "width": 100 * 6 / WIDTH, "height": 100 * 6 / HEIGHT}
CENTRE = {"x": 50, "y": 50, "radiusX": 100 * 6 / WIDTH, "radiusY": 100 * 2 / HEIGHT}
X, Y = TOP[::2], TOP[1::2]


@pytest.mark.parametrize(
    ("write", "shape", "expected", "slack"),
    [
        (write_cvat, f'<polygon label="cat" points="{points(TOP)}"/>', rectangle(2, 3, 8, 9), 0),
        (write_cvat, f'<polyline label="cat" points="{points(LINE)}"/>', rectangle(2, 3, 8, 9), 0),
        (write_cvat, '<box label="cat" xtl="2" ytl="3" xbr="8" ybr="9"/>', rectangle(2, 3, 8, 9), 0),
        (write_cvat, '<box label="cat" xtl="2" ytl="3" xbr="8" ybr="9" rotation="90"/>', rectangle(2, 3, 8, 9), 0),
        (write_cvat, '<ellipse label="cat" cx="8" cy="6" rx="6" ry="2" rotation="30"/>', TURNED, 4),
        (
            write_cvat,
            f'<mask label="cat" left="1" top="2" width="5" height="3" rle="{str(row_runs(STROKE[2:5, 1:6]))[1:-1]}"/>',
            rectangle(1, 2, 5, 4),
            0,
        ),
        (write_via, {"name": "polygon", "all_points_x": X, "all_points_y": Y}, rectangle(2, 3, 8, 9), 0),
        (write_via, {"name": "polyline", "all_points_x": LINE[::2], "all_points_y": LINE[1::2]}, rectangle(2, 3, 8, 9), 0),
        (write_via, {"name": "rect", "x": 2, "y": 3, "width": 6, "height": 6}, rectangle(2, 3, 8, 9), 0),
        (write_via, {"name": "circle", "cx": 8, "cy": 6, "r": 4}, ellipse(8, 6, 4, 4), 4),
        (write_via, {"name": "ellipse", "cx": 8, "cy": 6, "rx": 6, "ry": 2, "theta": math.radians(30)}, TURNED, 4),
        (write_studio, {"points": percent(TOP)}, rectangle(2, 3, 8, 9), 0),
        (write_studio, SIDES, rectangle(2, 3, 8, 9), 0),
        (write_studio, {**CENTRE, "rotation": 30}, TURNED, 4),
        (write_studio, {"format": "rle", "rle": painted(STROKE)}, STROKE, 0),
    ],
)
def test_a_shape_becomes_a_mask_and_the_box_around_it(
    tmp_path: Path, write: Callable[[Path, Any], Path], shape: Any, expected: np.ndarray, slack: int
) -> None:
    source = write(tmp_path / "source", [shape] if isinstance(shape, dict) else shape)
    report, sample = pack(source, "semantic")
    mask = sample["mask"][:, :, 0]
    assert np.count_nonzero((mask == 1) != expected) <= slack
    rows, columns = np.flatnonzero(expected.any(axis=1)), np.flatnonzero(expected.any(axis=0))
    around = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    # The box of a small mask of CVAT is its place; an ellipse reaches a little beyond the middles of its pixels.
    np.testing.assert_allclose(sample["boxes"][0], around, atol=1 + slack / 10)
    assert not report.image_notes
    assert pack(source, "instances")[1]["instances"].max() == 1
    unused = pack(source, None)[0].notes
    is_box = "rectangle" in "".join(report.notes) or 'rotation="90"' in str(shape)
    assert bool(unused) is not is_box
    if unused:
        assert_says(unused[0], source, "1 object has", "kseq.Columns(mask='semantic')")


@pytest.mark.parametrize(
    ("write", "shape"),
    [
        (write_cvat, f'<polyline label="cat" points="{points(TOP)}"/>'),
        (write_cvat, '<points label="cat" points="1,2"/>'),
        (write_via, {"name": "polyline", "all_points_x": X, "all_points_y": Y}),
        (write_via, {"name": "point", "cx": 1, "cy": 2}),
        (write_studio, {"imageDataURL": "data:image/png;base64,"}),
        (write_studio, {"x": 1, "y": 2, "width": 1, "keypointlabels": ["cat"]}),
    ],
)
def test_a_shape_without_an_inside_is_counted(tmp_path: Path, write: Callable[[Path, Any], Path], shape: Any) -> None:
    report, sample = pack(write(tmp_path / "source", [shape] if isinstance(shape, dict) else shape), "instances")
    assert not sample["instances"].any()
    assert report.boxes is not None
    assert list(report.boxes.left_out.values()) == [1]


def test_rectangles_say_that_their_boxes_are_the_mask(tmp_path: Path) -> None:
    source = write_cvat(tmp_path / "source", '<box label="cat" xtl="2" ytl="3" xbr="8" ybr="9"/>' * 2)
    assert_says(pack(source, "semantic")[0].notes[0], source, "2 objects are", "box")


def test_results_of_one_id_are_one_region_of_label_studio(tmp_path: Path) -> None:
    source = write_studio(tmp_path / "source", [SIDES, {"points": percent(TOP)}])
    (task,) = tasks = json.loads(source.read_text())
    first, second = task["annotations"][0]["result"]
    shape = {**first, "type": "rectangle", "value": SIDES}
    said = {**first, "type": "choices", "value": {**SIDES, "choices": ["blurred"]}}
    task["annotations"][0]["result"] = [shape, {**first, "type": "labels"}, said, second]
    source.write_text(json.dumps(tasks))
    report, sample = pack(source, None)
    assert (len(sample["boxes"]), report.rejected) == (2, [])
    second["to_name"], first["to_name"] = "left", "right"
    task["annotations"][0]["result"] = [first, second]
    tasks.append({"data": {"image": "2.png"}, "annotations": []})
    write_image(source.parent / "2.png")
    source.write_text(json.dumps(tasks))
    (rejected,) = pack(source, None)[0].rejected
    assert_says(rejected.reason, "task 1", "left", "right")


def test_painted_masks_are_those_of_label_studio() -> None:
    # As label-studio-converter 0.0.59 writes the mask of 5 x 4 pixels below.
    numbers = [0, 0, 0, 80, 57, 27, 254, 23, 0, 183, 255, 56, 5, 191, 252, 46, 0]
    expected = np.zeros((4, 5), bool)
    expected[1:3, 1:4] = True
    assert brush_runs(numbers, 4, 5) == row_runs(expected)
    for broken in ([], [0] * 4, numbers[:-3], [*numbers[:3], 81, *numbers[4:]], [300], "x", None):
        with pytest.raises((ValueError, TypeError)):
            brush_runs(broken, 4, 5)


@pytest.mark.parametrize("rle", ["0, 16", "5, a", "", "3, -1, 4"])
def test_a_mask_of_cvat_that_makes_no_sense_rejects_its_image(tmp_path: Path, rle: str) -> None:
    source = write_cvat(tmp_path / "source", f'<mask label="cat" left="1" top="2" width="5" height="3" rle="{rle}"/>')
    if not rle:
        assert_says(pack(source, "instances")[0].notes[0], "1 object has no outline")
        return
    message = refusal(source, tmp_path / "packed", columns=kseq.Columns(mask="instances"))
    assert_says(message, "1.png", "mask 1", "5 x 3")


HIDDEN = [annotation(1, 1, [square(2, 3, 8, 9)], bbox=[2, 3, 6, 6]), annotation(2, 1, [square(2, 3, 8, 9)], bbox=[2, 3, 6, 6])]
SHORT = {"size": [HEIGHT, WIDTH], "counts": runs(2, 3, 8, 9)[:-1]}


@pytest.mark.parametrize(
    ("outline", "word"),
    [
        ([[2, 3, 8, 3, 5, 3]], "no pixel"),
        ([[20, 3, 30, 3, 30, 9]], "outside"),
        (SHORT, "end"),
        (None, "others"),
    ],
)
def test_what_is_in_no_mask_is_a_note_of_its_image(tmp_path: Path, outline: Any, word: str) -> None:
    found = HIDDEN if outline is None else [annotation(1, 1, outline, bbox=[2, 3, 6, 6])]
    path = write_coco(tmp_path, found)
    report, sample = pack(path, "instances")
    assert len(sample["boxes"]) == len(found)
    (note,) = report.image_notes
    assert_says(note, word)
    assert_says(report.lines[0], "1 image", "1.png")
    target = tmp_path / f"packed-{len(list(tmp_path.iterdir())) - 1}"
    with kseq.ShardDataset(target) as dataset:
        assert any(note in line for line in dataset.packing_notes)
    if outline is SHORT:
        np.testing.assert_array_equal(sample["instances"][:, :, 0] == 1, rectangle(2, 3, 8, 9))


def test_run_lengths_that_are_too_long_reject_their_image_with_both_numbers(tmp_path: Path) -> None:
    counts = runs(2, 3, 8, 9)
    path = write_coco(tmp_path, [annotation(1, 1, {"size": [HEIGHT, WIDTH], "counts": [*counts, 7]}, bbox=[2, 3, 6, 6])])
    message = refusal(path, tmp_path / "packed", columns=kseq.Columns(mask="instances"))
    assert_says(message, "1.png", HEIGHT * WIDTH + 7, f"{WIDTH} x {HEIGHT}")


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"id": 301}, ["no pixel", "no segment"]), ({"bbox": None}, ["no segment"]), ({"id": "300"}, []), ({"id": 300.0}, [])],
)
def test_pixels_and_segments_that_differ_are_said(tmp_path: Path, changed: dict[str, Any], words: list[str]) -> None:
    path = write_panoptic(tmp_path, **{"bbox": [3, 2, 4, 3], **changed})
    report, _ = pack(path, "semantic", root=tmp_path / "images")
    assert len(report.image_notes) == len(words)
    for note, word in zip(report.image_notes, words, strict=True):
        assert_says(note, word)


def test_the_id_of_a_segment_must_be_a_number(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path, id="x", bbox=[3, 2, 4, 3])
    message = refusal(path, tmp_path / "packed", columns=kseq.Columns(mask="semantic"), root=tmp_path / "images")
    assert_says(message, "1.jpg", "'x'", "segment", "whole")


def test_a_circle_of_labelme_and_its_closed_line_are_masks(tmp_path: Path) -> None:
    corners = [[2, 3], [8, 3], [8, 9], [2, 9]]
    shapes = [{"label": "cat", "shape_type": "linestrip", "points": line} for line in (corners, [*corners, corners[0]])]
    report, sample = pack(write_labelme(tmp_path / "labelme", shapes), "semantic")
    np.testing.assert_array_equal(sample["mask"][:, :, 0] == 1, rectangle(2, 3, 8, 9))
    assert report.boxes is not None
    assert list(report.boxes.left_out.values()) == [1]
