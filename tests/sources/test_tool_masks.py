"""Masks of the shapes that CVAT, VIA, Label Studio and Pascal VOC have, and what is said of what is in no mask."""

from __future__ import annotations

import base64
import io
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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


# The sum of the second is 7 in 64 bits.
@pytest.mark.parametrize(
    ("counts", "total"), [([*runs(2, 3, 8, 9), 7], HEIGHT * WIDTH + 7), ([2**62] * 4 + [7], f"{2**64 + 7:,}")]
)
def test_run_lengths_that_are_too_long_reject_their_image_with_both_numbers(
    tmp_path: Path, counts: list[int], total: int | str
) -> None:
    path = write_coco(tmp_path, [annotation(1, 1, {"size": [HEIGHT, WIDTH], "counts": counts}, bbox=[2, 3, 6, 6])])
    message = refusal(path, tmp_path / "packed", columns=kseq.Columns(mask="instances"))
    assert_says(message, "1.png", total, f"{WIDTH} x {HEIGHT}")


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


@pytest.mark.parametrize("name", ["\ud800.png", "\0.png"])
def test_a_png_of_segments_with_a_name_that_no_file_can_have_concerns_its_image(tmp_path: Path, name: str) -> None:
    path = write_panoptic(tmp_path, bbox=[3, 2, 4, 3])
    content = json.loads(path.read_text())
    write_image(tmp_path / "images" / "2.jpg")
    content["images"].append({**content["images"][0], "id": 2, "file_name": "2.jpg"})
    content["annotations"].append({**content["annotations"][0], "image_id": 2, "file_name": name})
    path.write_text(json.dumps(content))
    report, _ = pack(path, "semantic", root=tmp_path / "images")
    assert report.num_samples == 1
    assert [found.path for found in report.rejected] == [b"2.jpg"]
    assert_says(report.rejected[0].reason, "PNG", "path")


def test_a_circle_of_labelme_and_its_closed_line_are_masks(tmp_path: Path) -> None:
    corners = [[2, 3], [8, 3], [8, 9], [2, 9]]
    shapes = [{"label": "cat", "shape_type": "linestrip", "points": line} for line in (corners, [*corners, corners[0]])]
    report, sample = pack(write_labelme(tmp_path / "labelme", shapes), "semantic")
    np.testing.assert_array_equal(sample["mask"][:, :, 0] == 1, rectangle(2, 3, 8, 9))
    assert report.boxes is not None
    assert list(report.boxes.left_out.values()) == [1]


def png_text(values: np.ndarray, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray((values * 255).astype(np.uint8))
    if mode == "RGBA":
        image = Image.merge("RGBA", [Image.new("L", image.size, 255)] * 3 + [image])
    image.save(buffer, "PNG")
    return buffer.getvalue()


def supervisely(shape: dict[str, Any]) -> Any:
    size = {"height": HEIGHT, "width": WIDTH}
    return {"description": "", "tags": [], "size": size, "objects": [{"classTitle": "cat", **shape}]}


def darwin(*shapes: dict[str, Any]) -> Any:
    item = {"name": "1.png", "slots": [{"type": "image", "height": HEIGHT, "width": WIDTH}]}
    box = {"bounding_box": {"x": 2, "y": 3, "w": 6, "h": 6}}
    return {"version": "2.0", "item": item, "annotations": [{"id": "a", "name": "cat", **box, **shape} for shape in shapes]}


def superannotate(shape: dict[str, Any]) -> Any:
    return {"metadata": {"name": "1.png", "height": HEIGHT, "width": WIDTH}, "instances": [{"className": "cat", **shape}]}


def datumaro(shape: dict[str, Any]) -> Any:
    items = [{"id": "1", "annotations": [{"label_id": 0, **shape}], "image": {"path": "1.png", "size": [HEIGHT, WIDTH]}}]
    return {"info": {}, "categories": {"label": {"labels": [{"name": "cat"}]}}, "items": items}


def pairs(corners: list[int]) -> list[list[int]]:
    return [list(pair) for pair in zip(corners[::2], corners[1::2], strict=True)]


def dense(values: np.ndarray) -> list[int]:
    """The raster layer of Darwin: a value and how often it comes, row after row."""
    counts = row_runs(values)
    return [number for place, count in enumerate(counts) if count for number in (7 * (place % 2), count)]


BITMAP = {"origin": [1, 2], "data": base64.b64encode(zlib.compress(png_text(STROKE[2:4, 1:5]))).decode()}
CLEAR = {"origin": [1, 2], "data": base64.b64encode(zlib.compress(png_text(STROKE[2:4, 1:5], "RGBA"))).decode()}
HOLE = rectangle(2, 3, 8, 9) & ~rectangle(4, 5, 6, 7)
LAYER = {"id": "l", "raster_layer": {"dense_rle": dense(STROKE), "mask_annotation_ids_mapping": {"a": 7}}}
ROUND = {"center": {"x": 8, "y": 6}, "radius": {"x": 6, "y": 2}, "angle": math.radians(30)}
PATH = [{"x": x, "y": y} for x, y in pairs(TOP)]
CORNERS = {f"{side}{place}": value for place, (x, y) in enumerate(pairs(TOP), 1) for side, value in (("x", x), ("y", y))}
ALL_RUNS = {"size": [HEIGHT, WIDTH], "counts": runs(2, 3, 8, 9)}


@pytest.mark.parametrize(
    ("content", "expected", "slack"),
    [
        (supervisely({"geometryType": "bitmap", "bitmap": BITMAP}), rectangle(1, 2, 5, 4), 0),
        (supervisely({"geometryType": "bitmap", "bitmap": CLEAR}), rectangle(1, 2, 5, 4), 0),
        (
            supervisely(
                {"geometryType": "polygon", "points": {"exterior": pairs(TOP), "interior": [pairs(square(4, 5, 6, 7))]}}
            ),
            HOLE,
            0,
        ),
        (
            supervisely({"geometryType": "rectangle", "points": {"exterior": [[8, 3], [2, 9]], "interior": []}}),
            rectangle(2, 3, 8, 9),
            0,
        ),
        (darwin({"polygon": {"paths": [PATH]}}), rectangle(2, 3, 8, 9), 0),
        (darwin({"polygon": {"path": PATH}}), rectangle(2, 3, 8, 9), 0),
        (darwin({"ellipse": ROUND}), TURNED, 4),
        (darwin({"mask": {}}, LAYER), STROKE, 0),
        (darwin({}), rectangle(2, 3, 8, 9), 0),
        (superannotate({"type": "polygon", "points": TOP, "exclude": [square(4, 5, 6, 7)]}), HOLE, 0),
        (superannotate({"type": "ellipse", "cx": 8, "cy": 6, "rx": 6, "ry": 2, "angle": 30}), TURNED, 4),
        (superannotate({"type": "rbbox", "points": CORNERS}), rectangle(2, 3, 8, 9), 0),
        (datumaro({"type": "polygon", "points": TOP}), rectangle(2, 3, 8, 9), 0),
        (datumaro({"type": "mask", "rle": ALL_RUNS}), rectangle(2, 3, 8, 9), 0),
        (datumaro({"type": "ellipse", "points": [2, 4, 14, 8]}), ellipse(8, 6, 6, 2), 4),
    ],
)
def test_shapes_of_other_tools_become_masks(tmp_path: Path, content: Any, expected: np.ndarray, slack: int) -> None:
    write_image(tmp_path / "source" / "1.png")
    (tmp_path / "source" / "1.png.json").write_text(json.dumps(content))
    report, sample = pack(tmp_path / "source", "semantic")
    assert np.count_nonzero((sample["mask"][:, :, 0] == 1) != expected) <= slack
    rows, columns = np.flatnonzero(expected.any(axis=1)), np.flatnonzero(expected.any(axis=0))
    np.testing.assert_allclose(sample["boxes"][0], [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=slack / 8)
    assert report.boxes is not None
    assert (report.rejected, report.boxes.left_out) == ([], {})


def test_outlines_of_other_tools_that_no_mask_is_asked_for_are_said(tmp_path: Path) -> None:
    write_image(tmp_path / "source" / "1.png")
    (tmp_path / "source" / "1.png.json").write_text(json.dumps(darwin({"polygon": {"paths": [PATH]}})))
    assert_says(pack(tmp_path / "source", None)[0].notes[-1], "1 object has", "kseq.Columns(mask='instances')")


def test_polygons_of_voc_are_masks_and_lists_of_segmentation_are_splits(tmp_path: Path) -> None:
    corners = "".join(f"<x{place}>{x}</x{place}><y{place}>{y}</y{place}>" for place, (x, y) in enumerate(pairs(TOP), 1))
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>8</xmax><ymax>9</ymax></bndbox>"
    source = tmp_path / "source"
    for name, split in {"1": "train", "2": "val"}.items():
        write_image(source / "JPEGImages" / f"{name}.png")
        found = f"<object><name>cat</name>{box}<polygon>{corners}</polygon></object>"
        for path, text in {
            f"Annotations/{name}.xml": f"<annotation><filename>{name}.png</filename>{found}</annotation>",
            f"ImageSets/Segmentation/{split}.txt": name,
        }.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_text(text)
    report, sample = pack(source, "semantic")
    np.testing.assert_array_equal(sample["mask"][:, :, 0] == 1, rectangle(2, 3, 8, 9))
    assert report.splits == {"train": 1, "val": 1}
    assert_says(pack(source, None)[0].notes[-1], "2 objects have", "kseq.Columns(mask='semantic')")


def test_a_project_of_via_3_is_read(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png")
    regions = {
        "a": {"vid": "1", "z": [], "xy": [7, *TOP], "av": {"1": "1"}},
        "b": {"vid": "1", "z": [], "xy": [2, 10, 1, 2, 3], "av": {"1": "0"}},
        "c": {"vid": "1", "z": [1.5], "xy": [], "av": {"1": "0"}},
    }
    content = {
        "project": {"pid": "x", "vid_list": ["1"]},
        "attribute": {"1": {"aname": "animal", "options": {"0": "cat", "1": "dog"}}},
        "file": {"1": {"fid": "1", "fname": "1.png", "type": 2}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": regions,
    }
    (tmp_path / "project.json").write_text(json.dumps(content))
    report, sample = pack(tmp_path / "project.json", "semantic")
    expected = 2 * rectangle(2, 3, 8, 9) + rectangle(10, 1, 12, 4)
    np.testing.assert_array_equal(sample["mask"][:, :, 0], expected)
    assert report.boxes is not None
    assert (report.boxes.class_names, list(report.boxes.left_out.values())) == (("cat", "dog"), [1])
    # Of several options, some are no text.
    content["attribute"] = {"1": {"aname": "animal", "options": {"0": ["cat"], "1": {"dog": 1}}}}
    content["metadata"] = {"a": {"vid": "1", "z": [], "xy": [7, *TOP], "av": {"1": "0,1"}}}
    (tmp_path / "project.json").write_text(json.dumps(content))
    assert len(pack(tmp_path / "project.json", None)[1]["boxes"]) == 1


@pytest.mark.parametrize(("value", "count"), [("0", 1), (0.0, 1), (False, 1), ("1", 0), (1, 0), (True, 0)])
def test_a_crowd_is_said_by_a_number_or_its_text(tmp_path: Path, value: Any, count: int) -> None:
    crowd = annotation(1, 1, [{"size": [HEIGHT, WIDTH], "counts": runs(2, 3, 8, 9)}], bbox=[2, 3, 6, 6], iscrowd=value)
    _, sample = pack(write_coco(tmp_path, [crowd]), "semantic")
    assert len(sample["boxes"]) == count
    np.testing.assert_array_equal(sample["mask"][:, :, 0], rectangle(2, 3, 8, 9) * (1 if count else 255))


def test_an_image_that_lies_in_its_json_alone_is_named(tmp_path: Path) -> None:
    source = write_labelme(tmp_path / "labelme", [])
    content = json.loads((source / "1.json").read_text()) | {"imagePath": "2.png", "imageData": "aaaa"}
    (source / "2.json").write_text(json.dumps(content))
    (rejected,) = pack(source, None)[0].rejected
    assert rejected.path == b"2.json"
    assert_says(rejected.reason, "imageData", "2.png")


def test_tags_of_cvat_are_counted(tmp_path: Path) -> None:
    source = write_cvat(tmp_path / "source", f'<polygon label="cat" points="{points(TOP)}"/><tag label="night"/>')
    assert_says(pack(source, "semantic")[0].notes[0], source, "1 tag")


def test_polygons_of_one_group_of_labelme_are_one_object(tmp_path: Path) -> None:
    shapes = [
        {"label": label, "shape_type": "polygon", "points": pairs(corners), "group_id": group}
        for label, corners, group in [("cat", TOP, 1), ("cat", square(9, 3, 12, 9), 1), ("dog", square(0, 0, 1, 1), 1)]
    ]
    report, sample = pack(write_labelme(tmp_path / "labelme", shapes), "instances")
    expected = rectangle(2, 3, 8, 9) + rectangle(9, 3, 12, 9) + 2 * rectangle(0, 0, 1, 1)
    np.testing.assert_array_equal(sample["instances"][:, :, 0], expected)
    assert sample["boxes"].tolist() == [[2, 3, 12, 9], [0, 0, 1, 1]]
    assert report.boxes is not None
    assert list(report.boxes.remarks.values()) == [1]
    # So is their outline, where none is packed.
    report, sample = pack(tmp_path / "labelme", None)
    assert report.boxes is not None
    assert (len(sample["boxes"]), list(report.boxes.remarks.values())) == (2, [2, 1])
    assert_says(report.notes[0], "2 objects have")


def test_a_polygon_of_an_old_file_of_labelme_is_an_outline_that_is_not_packed(tmp_path: Path) -> None:
    report, _ = pack(write_labelme(tmp_path / "labelme", [{"label": "cat", "points": pairs(TOP)}]), None)
    assert_says(report.notes[0], "1 object has an outline", "kseq.Columns(mask='semantic')")


@pytest.mark.parametrize("tool", ["via", "labelstudio"])
def test_of_several_labels_the_first_is_taken_and_counted(tmp_path: Path, tool: str) -> None:
    if tool == "via":
        source = write_via(tmp_path, [{"name": "rect", "x": 2, "y": 3, "width": 6, "height": 6}])
        content = json.loads(source.read_text())
        content["1.png5"]["regions"][0]["region_attributes"] = {"type": {"cat": True, "dog": True, "cow": False}}
        source.write_text(json.dumps(content))
    else:
        source = write_studio(tmp_path, [{**SIDES, "labels": ["cat", "dog"]}])
    report, _ = pack(source, None)
    assert report.boxes is not None
    assert (report.boxes.class_names, list(report.boxes.remarks.values())) == (("cat",), [1])


def test_predictions_of_label_studio_that_are_not_read_are_counted(tmp_path: Path) -> None:
    source = write_studio(tmp_path, [SIDES])
    tasks = json.loads(source.read_text())
    tasks[0]["predictions"] = tasks[0].pop("annotations")
    source.write_text(json.dumps([{**tasks[0], "annotations": []}]))
    assert_says(pack(source, None)[0].notes[0], "1 task has")


@pytest.mark.parametrize(
    "outline", [{"file": "1.png"}, {"row_runs": [1]}, {"polygons": [[0, 0, 1, 1, 2, 2]]}, {"png": "", "left": 0}]
)
def test_a_coco_file_has_no_other_form_of_outline(tmp_path: Path, outline: dict[str, Any]) -> None:
    path = write_coco(tmp_path, [annotation(1, 1, outline, bbox=[2, 3, 6, 6])])
    assert_says(refusal(path, tmp_path / "packed", columns=kseq.Columns(mask="semantic")), "1.png", "outline")


def test_corners_may_be_pairs(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [annotation(1, 1, [[[20, 3], [30, 3], [30, 9]]], bbox=[2, 3, 6, 6])])
    assert_says(next(iter(pack(path, "semantic")[0].image_notes)), "outside")


@pytest.mark.parametrize("number", [math.nan, math.inf, 1e300])
@pytest.mark.parametrize("kind", ["polygon", "rectangle", "circle", "linestrip"])
def test_a_shape_of_numbers_that_are_none_rejects_its_image(tmp_path: Path, kind: str, number: float) -> None:
    shapes = [
        {"label": "cat", "shape_type": kind, "points": [[1, 1], [number, 3], [5, 6], [1, 1]][: 2 if kind == "circle" else 4]}
    ]
    assert_says(refusal(write_labelme(tmp_path / "labelme", shapes), tmp_path / "packed"), "1.png", "1.json", "shape 1")


HUGE = 10**400


@pytest.mark.parametrize(
    ("write", "shapes"),
    [
        (write_via, [{"name": "polygon", "all_points_x": [HUGE, 1, 2], "all_points_y": [1, 2, 3]}]),
        (write_studio, [{"points": [[HUGE, 1], [2, 3], [4, 5]]}]),
        (write_coco, [annotation(1, 1, [TOP], bbox=[2, 3, HUGE, 6], area=HUGE)]),
    ],
)
def test_a_whole_number_that_no_float_holds_rejects_its_image(
    tmp_path: Path, write: Callable[[Path, Any], Path], shapes: Any
) -> None:
    assert_says(refusal(write(tmp_path, shapes), tmp_path / "packed"), "1.png")


def test_a_turned_box_of_voc_that_reaches_far_out_keeps_its_image(tmp_path: Path) -> None:
    write_image(tmp_path / "source" / "1.png")
    turned = "<robndbox><cx>1e30</cx><cy>5</cy><w>1e30</w><h>2</h><angle>0</angle></robndbox>"
    (tmp_path / "source" / "1.xml").write_text(f"<annotation><object><name>a</name>{turned}</object></annotation>")
    report, sample = pack(tmp_path / "source", None)
    assert report.boxes is not None
    assert (len(sample["boxes"]), list(report.boxes.left_out.values())) == (0, [1])


FAULTY = {
    "Datumaro": (datumaro({"type": "polygon", "points": TOP}), "items", {"annotations": [{"label_id": 9}], "id": "2.png"}),
    "VoTT": (
        {"assets": {"a": {"asset": {"name": "1.png"}, "regions": []}}},
        "assets",
        {"asset": {"name": "2.png"}, "regions": [{"tags": ["cat"], "boundingBox": {"left": "x"}}]},
    ),
    "FiftyOne": (
        {"classes": ["cat"], "labels": {"1": [{"label": 0, "bounding_box": [0.1, 0.1, 0.5, 0.5]}]}},
        "labels",
        [{"label": 9, "bounding_box": []}],
    ),
    "BDD100K": (
        {"frames": [{"name": "1.png", "labels": [{"category": "cat", "box2d": {"x1": 1, "y1": 1, "x2": 3, "y2": 3}}]}]},
        "frames",
        {"name": "2.png", "labels": [5]},
    ),
}


@pytest.mark.parametrize("tool", FAULTY)
def test_a_fault_in_a_file_of_many_images_rejects_the_image_of_its_entry_alone(tmp_path: Path, tool: str) -> None:
    content, key, faulty = FAULTY[tool]
    content = json.loads(json.dumps(content))
    if isinstance(content[key], dict):
        content[key]["2"] = faulty
    else:
        content[key].append(faulty)
    for name in ("1.png", "2.png"):
        write_image(tmp_path / "source" / name)
    (tmp_path / "source" / "all.json").write_text(json.dumps(content))
    report, _ = pack(tmp_path / "source", None)
    assert report.num_samples == 1
    assert [found.path for found in report.rejected] == [b"2.png"]
    assert_says(report.rejected[0].reason, "all.json", "entry 2", tool)


def test_a_line_of_a_manifest_that_is_nested_too_deep_is_rejected_alone(tmp_path: Path) -> None:
    write_image(tmp_path / "source" / "1.png")
    line = {
        "source-ref": "s3://b/1.png",
        "boxes": {"annotations": [{"class_id": 0, "left": 1, "top": 1, "width": 3, "height": 3}]},
    }
    (tmp_path / "source" / "all.manifest").write_text(json.dumps(line) + "\n" + "[" * 100_000)
    report, _ = pack(tmp_path / "source", None)
    assert report.num_samples == 1
    assert [found.path for found in report.rejected] == [b"all.manifest (2)"]


def test_a_mask_is_drawn_on_an_image_of_the_size_that_it_says_alone(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [annotation(1, 1, [TOP], bbox=[2, 3, 6, 6])], height=10**30)
    message = refusal(path, tmp_path / "packed", columns=kseq.Columns(mask="semantic"))
    assert_says(message, "1.png", f"{WIDTH} x {HEIGHT}", f"{WIDTH} x {10**30}")
