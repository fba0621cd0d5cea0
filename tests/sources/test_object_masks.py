"""Masks from the outlines of objects: polygons, run lengths, crowds, LabelMe's shapes, COCO's panoptic PNGs; with crops too."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import kseq
from kseq.errors import ArgumentError, SourceError
from kseq.sources import annotated_images, object_masks
from kseq.sources.object_masks import fill_polygon
from kseq_tools.main import main
from tests.helpers.messages import assert_says, raises, refusal

HEIGHT, WIDTH = 12, 16
CAT, DOG = {"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}


def write_image(path: Path, orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(len(str(path))).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


def square(left: int, top: int, right: int, bottom: int) -> list[int]:
    return [left, top, right, top, right, bottom, left, bottom]


def runs(left: int, top: int, right: int, bottom: int) -> list[int]:
    """The run lengths of a rectangle, column after column."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[top:bottom, left:right] = 1
    flat = values.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    # Zeros come first, if only none of them.
    return [0] * int(flat[0]) + np.diff([0, *edges, flat.size]).tolist()


def compressed(counts: list[int]) -> str:
    """Run lengths as the text that the COCO API makes of them."""
    text = ""
    for number, count in enumerate(counts):
        value, more = count - (counts[number - 2] if number > 2 else 0), True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr((bits | (32 if more else 0)) + 48)
    return text


def annotation(number: int, category: int, segmentation: Any, **further: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 1, "category_id": category, "segmentation": segmentation, **further}


def write_coco(folder: Path, annotations: list[Any], orientation: int = 1, **image: Any) -> Path:
    write_image(folder / "1.png", orientation)
    entry = {"id": 1, "file_name": "1.png", "height": HEIGHT, "width": WIDTH} | image
    content = {"images": [entry], "annotations": annotations, "categories": [CAT, DOG]}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


def pack(source: Path, mask: str | dict[str, str] | None, **options: Any) -> tuple[kseq.PackReport, dict[str, np.ndarray]]:
    target = source.parent / f"packed-{len(list(source.parent.iterdir()))}"
    report = kseq.pack(source, target, workers=0, columns=kseq.Columns(mask=mask), **options)
    with kseq.ShardDataset(target) as dataset:
        return report, dataset[0]


FORMS = [
    [square(2, 3, 8, 9)],
    {"size": [HEIGHT, WIDTH], "counts": runs(2, 3, 8, 9)},
    {"size": [HEIGHT, WIDTH], "counts": compressed(runs(2, 3, 8, 9))},
    [square(2, 3, 5, 9), square(5, 3, 8, 9)],
]


@pytest.mark.parametrize("outline", FORMS)
def test_each_form_of_an_outline_becomes_the_same_pixels(tmp_path: Path, outline: Any) -> None:
    found = [annotation(1, 2, outline, bbox=[2, 3, 6, 6]), annotation(2, 1, [square(6, 7, 9, 10)], bbox=[6, 7, 3, 3])]
    path = write_coco(tmp_path, found)
    expected = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    expected[3:9, 2:8] = 2
    # The smaller one is on top.
    expected[7:10, 6:9] = 1
    _, sample = pack(path, "semantic")
    np.testing.assert_array_equal(sample["mask"], expected)
    assert sample["labels"].tolist() == [1, 0]
    _, sample = pack(path, {"objects": "instances"})
    np.testing.assert_array_equal(sample["objects"], np.choose(expected, [0, 2, 1]))
    assert sample["instance_ids"].tolist() == [1, 2]
    masks = kseq.instance_masks(sample["objects"], sample["instance_ids"])
    np.testing.assert_array_equal(masks[1], expected[:, :, 0] == 1)


def test_crowds_are_left_to_losses_to_ignore(tmp_path: Path) -> None:
    crowd = annotation(2, 1, {"size": [HEIGHT, WIDTH], "counts": runs(0, 0, 6, 6)}, bbox=[0, 0, 6, 6], iscrowd=1)
    path = write_coco(tmp_path, [annotation(1, 1, [square(2, 3, 8, 9)], bbox=[2, 3, 6, 6]), crowd])
    report, sample = pack(path, "semantic")
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:6, :6] = 255
    expected[3:9, 2:8] = 1
    np.testing.assert_array_equal(sample["mask"][:, :, 0], expected)
    assert report.boxes is not None
    assert len(sample["boxes"]) == 1
    _, sample = pack(path, "instances")
    np.testing.assert_array_equal(sample["instances"][:, :, 0], expected == 1)
    # The outline of one covers nothing.
    line = annotation(3, 1, [[1, 1, 2, 2]], bbox=[1, 1, 1, 1], iscrowd=1)
    (tmp_path / "line").mkdir()
    path = write_coco(tmp_path / "line", [annotation(1, 1, [square(2, 3, 8, 9)], bbox=[2, 3, 6, 6]), line])
    np.testing.assert_array_equal(pack(path, "semantic")[1]["mask"][:, :, 0], expected == 1)


def test_outlines_that_no_mask_is_asked_for_are_said(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [annotation(1, 1, [square(2, 3, 8, 9)], bbox=[2, 3, 6, 6])])
    report, sample = pack(path, None)
    assert "mask" not in sample
    assert_says(report.notes[0], path, "1 object has", "kseq.Columns(mask='semantic')", "kseq.Columns(mask='instances')")


@pytest.mark.parametrize("outline", [[[]], [[1, 2, 3, 4]], [5, 6]])
def test_polygons_of_two_corners_are_no_outline(tmp_path: Path, outline: Any) -> None:
    path = write_coco(tmp_path, [annotation(1, 1, outline, bbox=[2, 3, 6, 6])])
    report, sample = pack(path, "instances")
    assert_says(report.notes[0], "1 object has no outline")
    assert not sample["instances"].any()


def test_an_object_without_an_outline_is_background_and_counted(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [annotation(1, 1, [], bbox=[2, 3, 6, 6]), annotation(2, 1, [square(0, 0, 2, 2)])])
    report, sample = pack(path, "semantic")
    assert int((sample["mask"] > 0).sum()) == 4
    assert_says(report.notes[0], "1 object has no outline")


@pytest.mark.parametrize(
    "outline",
    [
        {"size": [3, 3], "counts": [9]},
        [["a", 1, 2, 3, 4, 5]],
        [[1, 2, 3]],
        {"size": [HEIGHT, WIDTH], "counts": "~"},
        # Several masks, of which an object has one.
        [{"size": [HEIGHT, WIDTH], "counts": runs(2, 3, 8, 9)}, {"size": [HEIGHT, WIDTH], "counts": runs(9, 3, 12, 9)}],
    ],
)
def test_an_outline_that_makes_no_sense_rejects_its_image(tmp_path: Path, outline: Any) -> None:
    path = write_coco(tmp_path, [annotation(1, 1, outline, bbox=[2, 3, 6, 6])])
    message = refusal(path, tmp_path / "packed", columns=kseq.Columns(mask="semantic"))
    assert_says(message, "1.png", "outline")


def test_a_mask_is_turned_with_an_image_that_is_stored_on_its_side(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [annotation(1, 1, [square(0, 0, 4, 2)], bbox=[0, 0, 4, 2])], orientation=6)
    _, sample = pack(path, "semantic", images=kseq.ImageSettings("raw", (WIDTH, HEIGHT)))
    expected = np.zeros((WIDTH, HEIGHT), np.uint8)
    expected[:4, -2:] = 1
    np.testing.assert_array_equal(sample["mask"][:, :, 0], expected)
    assert sample["boxes"].tolist() == [[HEIGHT - 2, 0, HEIGHT, 4]]


def test_classes_that_are_left_out_are_background(tmp_path: Path) -> None:
    found = [
        annotation(1, 1, [square(0, 0, 4, 2)], bbox=[0, 0, 4, 2]),
        annotation(2, 2, [square(8, 8, 9, 9)], bbox=[8, 8, 1, 1]),
    ]
    path = write_coco(tmp_path, found)
    for options in ({"without_class": ["cat"]}, {"class_names": ["dog"]}):
        _, sample = pack(path, "semantic", **options)
        assert (sample["mask"].max(), int((sample["mask"] > 0).sum())) == (1, 1)
        _, sample = pack(path, "instances", **options)
        assert sample["instance_ids"].tolist() == [2]


MANY = 300


def write_many(folder: Path) -> Path:
    """An image with more objects than 8 bits number: the last are a pixel each, the others lie one upon the other."""
    places = [(number % WIDTH, number // WIDTH % HEIGHT) for number in range(MANY)]
    found = [annotation(number, 1, [square(x, y, x + 1, y + 1)], bbox=[x, y, 1, 1]) for number, (x, y) in enumerate(places)]
    return write_coco(folder, found)


@pytest.mark.parametrize("encoding", ["keep", "raw"])
def test_more_than_255_objects_are_numbered_in_16_bits(tmp_path: Path, encoding: str) -> None:
    options = {} if encoding == "keep" else {"images": kseq.ImageSettings("raw", (HEIGHT, WIDTH))}
    report, sample = pack(write_many(tmp_path), "instances", **options)
    expected = np.arange(1, HEIGHT * WIDTH + 1).reshape(HEIGHT, WIDTH)
    expected = np.where(expected + HEIGHT * WIDTH <= MANY, expected + HEIGHT * WIDTH, expected)
    np.testing.assert_array_equal(sample["instances"][:, :, 0], expected)
    assert (sample["instances"].dtype, sample["instance_ids"].max()) == (np.uint16, MANY)
    assert_says(report.notes[0], "300", "255", "uint16")
    for augment in ([], [kseq.RandomFlip()], [kseq.RandomResizedCrop((HEIGHT, WIDTH))], [kseq.RandomAffine(degrees=90)]):
        target = tmp_path / f"packed-{len(list(tmp_path.iterdir())) - 1}"
        with kseq.Batches(target, "train", batch_size=1, augment=augment, seed=1) as batches:
            numbers = batches.batch(0, 0)[1]["instances"]
            assert numbers.dtype == np.uint16
            assert set(np.unique(numbers)) <= {0, *np.unique(expected).tolist()}
            assert augment or np.array_equal(numbers[0, :, :, 0], expected)


def test_instances_of_8_and_of_16_bits_are_appended_where_there_is_room(tmp_path: Path) -> None:
    many, few = write_many(tmp_path / "many"), write_coco(tmp_path / "few", [annotation(1, 1, [square(0, 0, 4, 2)])])
    columns = kseq.Columns(mask="instances")
    kseq.pack(many, tmp_path / "wide", workers=0, columns=columns)
    kseq.append(tmp_path / "wide", few, workers=0, columns=columns)
    with kseq.ShardDataset(tmp_path / "wide") as dataset:
        assert [dataset[number]["instances"].max() for number in range(2)] == [MANY, 1]
    kseq.pack(few, tmp_path / "narrow", workers=0, columns=columns)
    with raises(SourceError, tmp_path / "narrow", many, "255", "instances"):
        kseq.append(tmp_path / "narrow", many, workers=0, columns=columns)
    for first, second in (("wide", "narrow"), ("narrow", "wide")):
        with raises(
            ArgumentError, tmp_path / "wide", tmp_path / "narrow", 8, 16, f"kseq.append('{tmp_path / 'wide'}', 'SOURCE')"
        ):
            kseq.merge([tmp_path / first, tmp_path / second], tmp_path / "merged")
    # A table has no outlines to draw, and the column of masks makes no instances.
    (tmp_path / "few" / "table.csv").write_text("image,drawn\n1.png,1.png\n")
    for name, kind in (("narrow", "instances"), ("wide", "wide_instances")):
        targets, kinds = {"instances": "COLUMN"}, {"instances": kind}
        with raises(SourceError, f"kseq.Columns(targets={targets})", f"kseq.Columns(kinds={kinds})"):
            kseq.append(tmp_path / name, tmp_path / "few" / "table.csv", workers=0, columns=kseq.Columns(label=""))
        told = kseq.Columns(label="", targets={"instances": "drawn"}, kinds=kinds)
        with raises(SourceError, "'boxes'"):
            kseq.append(tmp_path / name, tmp_path / "few" / "table.csv", workers=0, columns=told)


def test_more_objects_than_16_bits_number_reject_their_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (object_masks, annotated_images):
        monkeypatch.setattr(module, "MOST_OBJECTS", 299)
    path = write_many(tmp_path)
    message = refusal(path, tmp_path / "packed", columns=kseq.Columns(mask="instances"))
    assert_says(message, "300", "299", "kseq.Columns(mask='semantic')")
    assert pack(path, "semantic")[0].num_samples == 1


def test_instances_follow_their_image_and_their_boxes_into_a_batch(tmp_path: Path) -> None:
    found = [
        annotation(1, 1, [square(0, 0, 4, 4)], bbox=[0, 0, 4, 4]),
        annotation(2, 2, [square(8, 4, 12, 8)], bbox=[8, 4, 4, 4]),
    ]
    path = write_coco(tmp_path, found)
    kseq.pack(path, tmp_path / "packed", workers=0, columns=kseq.Columns(mask="instances"))
    with kseq.Batches(tmp_path / "packed", "train", batch_size=1, augment=[kseq.RandomFlip()], seed=1) as batches:
        flips = 0
        for epoch in range(8):
            _, targets = batches.batch(epoch, 0)
            masks = kseq.instance_masks(targets["instances"], targets["instance_ids"])[0]
            for mask, (left, top, right, bottom) in zip(masks, targets["boxes"][0].astype(int), strict=True):
                expected = np.zeros_like(mask)
                expected[top:bottom, left:right] = 1
                np.testing.assert_array_equal(mask, expected)
            flips += int(targets["boxes"][0, 0, 0] != 0)
        assert 0 < flips < 8
    crop = kseq.RandomResizedCrop((4, 4))
    with kseq.Batches(tmp_path / "packed", "train", batch_size=1, augment=[crop], seed=1) as batches:
        for epoch in range(8):
            _, targets = batches.batch(epoch, 0)
            ids = targets["instance_ids"][0]
            assert set(ids[ids > 0].tolist()) <= set(np.unique(targets["instances"]).tolist())


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("format", ["folder", "webdataset", "tfrecord", "huggingface"])
def test_instances_survive_an_export(tmp_path: Path, format: str, is_wide: bool) -> None:
    few = [annotation(1, 1, [square(0, 0, 4, 4)], bbox=[0, 0, 4, 4])]
    path = write_many(tmp_path) if is_wide else write_coco(tmp_path, few)
    kseq.pack(path, tmp_path / "packed", workers=0, columns=kseq.Columns(mask="instances"))
    words = shlex.split(kseq.export(tmp_path / "packed", tmp_path / "out", format=format).pack_command)
    words[words.index("DATASET")] = str(tmp_path / "again")
    assert main([*words[1:], "--workers", "0"]) == 0
    with kseq.ShardDataset(tmp_path / "packed") as before, kseq.ShardDataset(tmp_path / "again") as after:
        assert {name: field.kind for name, field in before.fields.items()} == {
            name: field.kind for name, field in after.fields.items()
        }
        for name, value in before[0].items():
            np.testing.assert_array_equal(after[0][name], value)


def write_panoptic(folder: Path, **segment: Any) -> Path:
    write_image(folder / "images" / "1.jpg")
    ids = np.zeros((HEIGHT, WIDTH), np.int64)
    ids[:6], ids[2:5, 3:7] = 70_000, 300
    pixels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    (folder / "panoptic_val").mkdir()
    Image.fromarray(pixels).save(folder / "panoptic_val" / "1.png")
    segments = [{"id": 70_000, "category_id": 2, "bbox": [0, 0, 16, 6], "iscrowd": 0}, {"id": 300, "category_id": 1} | segment]
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": segments}],
        "categories": [CAT | {"isthing": 1}, DOG | {"isthing": 0}],
    }
    (folder / "panoptic_val.json").write_text(json.dumps(content))
    return folder / "panoptic_val.json"


def test_panoptic_segments_become_masks(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path, bbox=[3, 2, 4, 3])
    options: dict[str, Any] = {"root": tmp_path / "images"}
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:6], expected[2:5, 3:7] = 2, 1
    _, sample = pack(path, "semantic", **options)
    np.testing.assert_array_equal(sample["mask"][:, :, 0], expected)
    _, sample = pack(path, "instances", **options)
    np.testing.assert_array_equal(sample["instances"][:, :, 0], np.choose(expected, [0, 2, 1]))
    assert sample["labels"].tolist() == [1, 0]
    (tmp_path / "folder").mkdir()
    report, sample = pack(write_panoptic(tmp_path / "folder", bbox=[3, 2, 4, 3]).parent, "semantic")
    np.testing.assert_array_equal(sample["mask"][:, :, 0], expected)
    assert not report.notes
    assert_says(refusal(tmp_path / "folder", tmp_path / "packed"), "panoptic", "kseq.Columns(mask='semantic')")
    zipped = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path / "folder"))
    assert "unpack" in refusal(zipped, tmp_path / "packed", columns=kseq.Columns(mask="semantic"))
    assert_says(refusal(path, tmp_path / "packed", **options), path, "panoptic", "kseq.Columns(mask='semantic')")
    (tmp_path / "panoptic_val" / "1.png").unlink()
    assert_says(refusal(path, tmp_path / "packed", columns=kseq.Columns(mask="semantic"), **options), "1.png", "panoptic_val")


def write_labelme(folder: Path, shapes: list[Any]) -> Path:
    write_image(folder / "1.png")
    content = {"shapes": shapes, "imagePath": "1.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    (folder / "1.json").write_text(json.dumps(content))
    return folder


def test_shapes_of_labelme_become_masks(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.array([[255, 0], [255, 255]], np.uint8)).save(buffer, "PNG")
    shapes = [
        {"label": "cat", "shape_type": "polygon", "points": [[1, 1], [4, 1], [4, 4], [1, 4]]},
        {"label": "dog", "shape_type": "rectangle", "points": [[9, 6], [6, 2]]},
        {"label": "cat", "shape_type": "circle", "points": [[12, 8], [12, 11]]},
        {
            "label": "dog",
            "shape_type": "mask",
            "points": [[0, 8], [1, 9]],
            "mask": base64.b64encode(buffer.getvalue()).decode(),
        },
    ]
    source = write_labelme(tmp_path / "labelme", shapes)
    mask = pack(source, "semantic")[1]["mask"][:, :, 0]
    np.testing.assert_array_equal(mask[1:4, 1:4], 1)
    np.testing.assert_array_equal(mask[2:6, 6:9], 2)
    np.testing.assert_array_equal(mask[8:10, :2], [[2, 0], [2, 2]])
    assert 24 <= int((mask[5:, 9:] == 1).sum()) <= 32
    assert_says(pack(source, None)[0].notes[0], "3 objects have", "kseq.Columns(mask='instances')")


def write_yolo(folder: Path, lines: list[str]) -> Path:
    write_image(folder / "images" / "train" / "1.png")
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "labels" / "train" / "1.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    return folder


def shares(*corners: int) -> str:
    sides = (WIDTH, HEIGHT)
    return " ".join(str(corner / sides[number % 2]) for number, corner in enumerate(corners))


@pytest.mark.parametrize("zipped", [False, True])
def test_outlines_of_yolo_become_masks(tmp_path: Path, zipped: bool) -> None:
    five = [2, 3, 5, 3, 8, 3, 8, 9, 2, 9]
    lines = [f"1 {shares(*five)}", f"0 {shares(*square(6, 7, 9, 10))}", "0 0.9 0.1 0.05 0.05"]
    source = write_yolo(tmp_path / "yolo", lines)
    if zipped:
        source = Path(shutil.make_archive(str(tmp_path / "zip" / "yolo"), "zip", source))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:9, 2:8] = 2
    expected[7:10, 6:9] = 1
    report, sample = pack(source, "semantic")
    np.testing.assert_array_equal(sample["mask"][:, :, 0], expected)
    assert "1 object has no outline" in "\n".join(report.notes)
    assert report.boxes is not None
    assert "outline" not in " ".join(report.boxes.lines)
    _, sample = pack(source, "instances", class_names=["cat"])
    np.testing.assert_array_equal(sample["instances"][:, :, 0], np.choose(expected, [0, 2, 1]))
    assert sample["instance_ids"].tolist() == [2, 3]
    _, sample = pack(source, "semantic", class_names=["cat"])
    assert int((sample["mask"] > 0).sum()) == 9
    report, sample = pack(source, None)
    assert set(sample) == {"image", "boxes", "labels"}
    assert_says("\n".join(report.notes).splitlines()[-1], "2 objects have", "kseq.Columns(mask='semantic')")


def write_object(path: Path, left: int, top: int, right: int, bottom: int) -> None:
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[top:bottom, left:right] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def test_a_png_for_each_object_becomes_a_mask_and_boxes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("aa", "bb", "cc"):
        write_image(source / name / "images" / f"{name}.png")
    write_object(source / "aa" / "masks" / "x.png", 2, 3, 8, 9)
    write_object(source / "aa" / "masks" / "y.png", 6, 7, 9, 10)
    write_object(source / "bb" / "masks" / "z.png", 0, 0, 0, 0)
    (source / "cc" / "masks").mkdir()
    (source / "cc" / "masks" / "w.png").write_bytes(b"no image")
    write_object(source / "dd" / "masks" / "v.png", 0, 0, 1, 1)
    report, sample = pack(source, "instances")
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:9, 2:8], expected[7:10, 6:9] = 1, 2
    np.testing.assert_array_equal(sample["instances"][:, :, 0], expected)
    assert sample["boxes"].tolist() == [[2, 3, 8, 9], [6, 7, 9, 10]]
    assert [os.fsdecode(rejected.path) for rejected in report.rejected] == ["cc/images/cc.png"]
    assert_says(report.rejected[0].reason, "w.png")
    assert_says(report.notes[0], source, "1 image has")
    assert_says(report.notes[1], source, "1 PNG of an object has")
    assert_says(pack(source, None)[0].notes[0], "2 objects have", "kseq.Columns(mask='semantic')")


def test_a_mask_of_objects_goes_with_outlines_alone(tmp_path: Path) -> None:
    write_image(tmp_path / "photos" / "a" / "1.png")
    with raises(ArgumentError, "kseq.Columns(mask='instances')", "coco", "labelme"):
        kseq.pack(tmp_path / "photos", tmp_path / "packed", columns=kseq.Columns(mask="instances"))
    with raises(ArgumentError, "(2, 3)", "(4, 4, 1)"):
        kseq.instance_masks(np.zeros((4, 4, 1)), np.zeros((2, 3)))


def test_polygons_are_filled_as_the_coco_api_fills_them() -> None:
    rng, digest = np.random.default_rng(0), hashlib.sha256()
    for _ in range(200):
        height, width, count = rng.integers((1, 1, 3), (60, 60, 9)).tolist()
        points = np.round((rng.random((count, 2)) * 1.3 - 0.15) * (width, height), 2)
        digest.update(fill_polygon(points, height, width).astype(np.uint8).tobytes())
    # That of the masks that pycocotools 2.0.11 makes of the same polygons.
    assert digest.hexdigest()[:16] == "dca96cd6950fc224"


def test_a_polygon_covers_the_pixels_that_the_coco_api_gives_it() -> None:
    # As pycocotools 2.0.11 gives them.
    expected = ["0000000000", "0011000000", "0011111000", "0011111110", "0111111000", "0011100000", "0000000000", "0000000000"]
    points = np.array([[2.6, 0.8], [9.1, 3.4], [3.2, 6.6], [1.4, 4.5]])
    assert ["".join(map(str, row)) for row in fill_polygon(points, 8, 10).astype(int).tolist()] == expected
