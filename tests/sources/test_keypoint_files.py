"""Keypoints of COCO and of YOLO poses: values, counts, which are left and right, and faults."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import kseq
from kseq.errors import ArgumentError, SourceError
from kseq.sources.point_names import mirror_order
from kseq.storage.fields import Field
from tests.helpers.messages import Parts, assert_says, raises

NAMES = ["nose", "left_eye", "right_eye"]
POINTS = [10, 11, 2, 7.5, 9, 1, 0, 0, 0]
PERSON = {"id": 1, "name": "person", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}
ANNOTATION = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 6, 10, 12], "keypoints": POINTS, "num_keypoints": 2}


def write_image(path: Path, size: tuple[int, int] = (40, 30), orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (len(str(path)), 80, 40)).save(path, exif=exif)


def write_coco(folder: Path, annotations: list[Any], categories: Any = (PERSON,), size: Any = (40, 30)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number in (1, 2):
        if not (folder / f"{number}.png").exists():
            write_image(folder / f"{number}.png")
        entry: dict[str, Any] = {"id": number, "file_name": f"{number}.png"}
        images.append(entry | ({} if size is None else {"width": size[0], "height": size[1]}))
    content = {"images": images, "annotations": annotations, "categories": list(categories)}
    (folder / "person_keypoints.json").write_text(json.dumps(content))
    return folder / "person_keypoints.json"


def pack(source: Path, **options: Any) -> tuple[Any, dict[str, dict[str, np.ndarray]], Field | None]:
    """The report, the sample of each file, and the field of keypoints."""
    target = source.parent / f"packed-{len(list(source.parent.iterdir()))}"
    report = kseq.pack(source, target, workers=0, **options)
    with kseq.ShardDataset(target) as dataset:
        samples = {dataset.source(row): sample for row, sample in enumerate(dataset)}
        return report, samples, dataset.fields.get("keypoints")


def test_keypoints_of_coco_go_with_their_boxes(tmp_path: Path) -> None:
    plain = {"id": 2, "image_id": 1, "category_id": 2, "bbox": [1, 1, 5, 5]}
    other = {**ANNOTATION, "id": 3, "keypoints": [], "num_keypoints": 0}
    crowd = {**ANNOTATION, "id": 4, "iscrowd": 1}
    categories = [PERSON, {"id": 2, "name": "dog"}]
    report, samples, field = pack(write_coco(tmp_path, [ANNOTATION, plain, other, crowd], categories))
    assert field is not None
    assert (field.shape, field.mirror_order) == ((None, 3, 3), (0, 2, 1))
    nothing = [[0, 0, 0]] * 3
    assert samples["1.png"]["keypoints"].tolist() == [[[10, 11, 2], [7.5, 9, 1], [0, 0, 0]], nothing, nothing]
    assert samples["1.png"]["boxes"].shape == (3, 4)
    assert samples["2.png"]["keypoints"].shape == (0, 3, 3)
    assert report.notes == ()


def test_a_file_without_keypoints_has_no_such_field(tmp_path: Path) -> None:
    _, _, field = pack(write_coco(tmp_path, [{**ANNOTATION, "keypoints": []}]))
    assert field is None


def test_categories_of_other_numbers_of_points_are_told(tmp_path: Path) -> None:
    hand = {"id": "2", "name": "hand", "keypoints": ["thumb", "palm"]}
    of_hand = {"id": 2, "image_id": 1, "category_id": 2, "bbox": [1, 1, 5, 5], "keypoints": [2, 2, 2, 3, 3, 2]}
    path = write_coco(tmp_path, [ANNOTATION, of_hand], [PERSON, hand])
    report, samples, field = pack(path)
    assert field is None
    assert_says(" ".join(report.notes), path, 2, "class_names")
    _, samples, field = pack(path, class_names=["hand"])
    assert field is not None
    assert (field.shape, field.mirror_order) == ((None, 2, 3), ())
    assert samples["1.png"]["keypoints"].tolist() == [[[2, 2, 2], [3, 3, 2]]]


def test_points_outside_of_the_image_count_as_not_labelled(tmp_path: Path) -> None:
    outside = {**ANNOTATION, "keypoints": [-3, 11, 2, 7, 31, 1, 40, 30, 2]}
    report, samples, _ = pack(write_coco(tmp_path / "a", [outside]))
    assert samples["1.png"]["keypoints"].tolist() == [[[0, 0, 0], [0, 0, 0], [40, 30, 2]]]
    assert_says(" ".join(report.notes), 2)
    # Where the file does not say the size, the rule of the kind is met at packing.
    report, samples, _ = pack(write_coco(tmp_path / "b", [outside], size=None))
    assert list(samples) == ["2.png"]
    assert_says(report.rejected[0].reason, re.compile("visibility"))


@pytest.mark.parametrize(
    ("keypoints", "words"),
    [
        ([1, 2, 2], (3,)),
        ("abc", ("abc",)),
        ([1, 2, 5, 1, 1, 2, 1, 1, 2], (5,)),
        ([1, 2, 2, 1, float("nan"), 2, 1, 1, 2], ("nan",)),
        ([[1, 2, 2], [1, 1, 2], [1, 1, 2]], ("annotation 2",)),
    ],
)
def test_keypoints_that_make_no_sense_reject_their_image(tmp_path: Path, keypoints: Any, words: Parts) -> None:
    fault = {**ANNOTATION, "id": 2, "image_id": 2, "keypoints": keypoints}
    report, samples, _ = pack(write_coco(tmp_path, [ANNOTATION, fault]))
    assert list(samples) == ["1.png"]
    assert_says(report.rejected[0].reason, *words)


def test_keypoints_turn_with_the_pixels_that_they_were_drawn_on(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", (40, 30), orientation=6)
    _, samples, _ = pack(write_coco(tmp_path, [ANNOTATION]))
    # A quarter turn clockwise: x is what was left of the height.
    assert samples["1.png"]["keypoints"].tolist() == [[[19, 10, 2], [21, 7.5, 1], [0, 0, 0]]]
    assert samples["1.png"]["boxes"].tolist() == [[12, 5, 24, 15]]


def test_a_mirrored_image_exchanges_left_and_right_by_their_names(tmp_path: Path) -> None:
    source = write_coco(tmp_path, [ANNOTATION])
    kseq.pack(source, tmp_path / "packed", workers=0)
    flip = kseq.RandomFlip()
    options: dict[str, Any] = {"shuffle": False, "workers": 0, "augment": flip, "input_shape": (30, 40, 3)}
    with kseq.ShardSequence(tmp_path / "packed", "all", **options) as sequence:
        targets = [sequence[0][1]]
    with kseq.Batches(tmp_path / "packed", "all", **options) as batches:
        found = {str(batches.batch(epoch, 0)[1]["keypoints"][0, 0].tolist()) for epoch in range(8)}
    assert found == {
        "[[10.0, 11.0, 2.0], [7.5, 9.0, 1.0], [0.0, 0.0, 0.0]]",
        "[[30.0, 11.0, 2.0], [0.0, 0.0, 0.0], [32.5, 9.0, 1.0]]",
    }
    assert set(targets[0]) == {"boxes", "labels", "keypoints", "boxes_mask", "labels_mask", "keypoints_mask"}
    with kseq.Batches(tmp_path / "packed", "all", **options, mirror_pairs=[]) as batches:
        seen = {str(batches.batch(epoch, 0)[1]["keypoints"][0, 0].tolist()) for epoch in range(8)}
    # The argument says otherwise than the names.
    assert "[[30.0, 11.0, 2.0], [32.5, 9.0, 1.0], [0.0, 0.0, 0.0]]" in seen


def test_packing_again_and_appending_keep_what_is_left_and_right(tmp_path: Path) -> None:
    first = write_coco(tmp_path / "a", [ANNOTATION])
    kseq.pack(first, tmp_path / "packed", workers=0)
    write_image(tmp_path / "b" / "1.png", (40, 30))
    second = write_coco(tmp_path / "b", [{**ANNOTATION, "keypoints": [1, 1, 2] * 3}], [{"id": 1, "name": "person"}])
    kseq.append(tmp_path / "packed", second, workers=0)
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert dataset.fields["keypoints"].mirror_order == (0, 2, 1)
        assert len(dataset) == 4
    kseq.pack(second, tmp_path / "other", workers=0)
    report = kseq.merge([tmp_path / "other", tmp_path / "packed"], tmp_path / "merged")
    assert report is not None
    with kseq.ShardDataset(tmp_path / "merged") as dataset:
        assert dataset.fields["keypoints"].mirror_order == (0, 2, 1)
    person = {**PERSON, "keypoints": ["left_eye", "right_eye", "nose"]}
    kseq.pack(write_coco(tmp_path / "c", [ANNOTATION], [person]), tmp_path / "third", workers=0)
    with raises(ArgumentError, "third", "mirror_order", "(1, 0, 2)", "(0, 2, 1)"):
        kseq.merge([tmp_path / "packed", tmp_path / "third"], tmp_path / "refused")


def test_an_append_learns_what_is_left_and_right_and_undo_forgets_it(tmp_path: Path) -> None:
    nameless = write_coco(tmp_path / "a", [ANNOTATION], [{"id": 1, "name": "person"}])
    kseq.pack(nameless, tmp_path / "packed", workers=0)
    named = write_coco(tmp_path / "b", [{**ANNOTATION, "keypoints": [1, 1, 2] * 3}])
    kseq.append(tmp_path / "packed", named, workers=0)
    kseq.verify(tmp_path / "packed")
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert dataset.fields["keypoints"].mirror_order == (0, 2, 1)
    person = {**PERSON, "keypoints": ["left_eye", "right_eye", "nose"]}
    others = write_coco(tmp_path / "c", [{**ANNOTATION, "keypoints": [2, 2, 2] * 3}], [person])
    with raises(SourceError, "person_keypoints.json", "mirror_order", "(1, 0, 2)", "(0, 2, 1)"):
        kseq.append(tmp_path / "packed", others, workers=0)
    kseq.undo(tmp_path / "packed")
    kseq.verify(tmp_path / "packed")
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert dataset.fields["keypoints"].mirror_order == ()


# YOLO poses.

YAML = "names: [person]\nkpt_shape: [3, 3]\n"
POSE = "0 0.5 0.5 0.2 0.4 0.45 0.4 2 0.55 0.6 1 0 0 0\n"


def write_yolo(folder: Path, yaml: str, text: str = POSE) -> Path:
    write_image(folder / "images" / "a.png", (100, 50))
    write_image(folder / "images" / "b.png", (100, 50))
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text(text)
    (folder / "data.yaml").write_text(yaml)
    return folder


@pytest.mark.parametrize(
    ("more", "order"),
    [
        ("", ()),
        ("flip_idx: [0, 2, 1]\n", (0, 2, 1)),
        ("flip_idx: []\n", ()),
        ("kpt_names:\n  0: [nose, left_eye, right_eye]\n", (0, 2, 1)),
        ("kpt_names: [nose, left_eye]\n", ()),
    ],
)
@pytest.mark.parametrize("is_zip", [False, True])
def test_keypoints_of_poses_are_packed_in_pixels(tmp_path: Path, more: str, order: tuple[int, ...], is_zip: bool) -> None:
    source = write_yolo(tmp_path / "y", YAML + more)
    if is_zip:
        with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
            for path in sorted(source.rglob("*.*")):
                archive.write(path, path.relative_to(source).as_posix())
        source = tmp_path / "y.zip"
    _, samples, field = pack(source)
    assert field is not None
    assert (field.shape, field.mirror_order) == ((None, 3, 3), order)
    np.testing.assert_allclose(samples["images/a.png"]["keypoints"], [[[45, 20, 2], [55, 30, 1], [0, 0, 0]]], atol=1e-4)
    assert samples["images/b.png"]["keypoints"].shape == (0, 3, 3)


def test_points_of_poses_outside_and_lines_of_boxes_alone(tmp_path: Path) -> None:
    text = "0 0.5 0.5 0.2 0.4 1.05 0.4 2 1 1 1 0.2 0.2 0\n0 0.5 0.5 0.2 0.2\n"
    report, samples, _ = pack(write_yolo(tmp_path / "y", YAML, text))
    assert samples["images/a.png"]["keypoints"].tolist() == [[[0, 0, 0], [100, 50, 1], [0, 0, 0]], [[0, 0, 0]] * 3]
    assert_says(" ".join(note for note in report.notes if "keypoint" in note), 1)


def test_points_of_two_numbers_have_no_visibility(tmp_path: Path) -> None:
    flat = "0 0.5 0.5 0.2 0.4 0.45 0.4 0.55 0.6\n"
    _, samples, field = pack(write_yolo(tmp_path / "y", "names: [person]\nkpt_shape: [2, 2]\n", flat))
    assert field is not None
    assert field.shape == (None, 2, 2)
    np.testing.assert_allclose(samples["images/a.png"]["keypoints"], [[[45, 20], [55, 30]]], atol=1e-4)


@pytest.mark.parametrize(
    ("yaml", "text", "words"),
    [
        (YAML, "0 0.5 0.5 0.2 0.4 0.45 0.4 2\n", ("line 1", 7, 13)),
        (YAML, "0 0.5 0.5 0.2 0.4 0.45 0.4 3 0.55 0.6 1 0 0 0\n", ("line 1", 3)),
        (YAML, "0 0.5 0.5 0.2 0.4 45 20 2 55 30 1 0 0 0\n", ("line 1",)),
        (YAML, POSE + "0 0.5 0.5\n", ("line 2", 2)),
        ("names: [person]\nkpt_shape: [2, 2]\n", "0 0.5 0.5 0.2 0.2\n", ("line 1", 4, 8)),
    ],
)
def test_a_bad_line_of_a_pose_rejects_its_image(tmp_path: Path, yaml: str, text: str, words: Parts) -> None:
    report, samples, _ = pack(write_yolo(tmp_path / "y", yaml, text))
    assert list(samples) == ["images/b.png"]
    assert_says(report.rejected[0].reason, "labels/a.txt", *words)


def test_a_flip_idx_that_is_none_is_refused(tmp_path: Path) -> None:
    with raises(SourceError, "data.yaml", "flip_idx", "[0, 3)"):
        pack(write_yolo(tmp_path / "y", YAML + "flip_idx: [0, 2, 2]\n"))


# Oriented boxes.

CORNERS = "0 0.3 0.2 0.7 0.4 0.6 0.8 0.2 0.6\n"


def test_corners_of_oriented_boxes_go_with_the_upright_ones(tmp_path: Path) -> None:
    report, samples, _ = pack(write_yolo(tmp_path / "y", "names: [ship, car]\n", CORNERS + CORNERS.replace("0", "1", 1)))
    corners = [[30, 10], [70, 20], [60, 40], [20, 30]]
    np.testing.assert_allclose(samples["images/a.png"]["corners"], [corners, corners], atol=1e-4)
    np.testing.assert_allclose(samples["images/a.png"]["boxes"][0], [20, 10, 70, 40], atol=1e-4)
    assert samples["images/b.png"]["corners"].shape == (0, 4, 2)
    assert_says(" ".join(report.notes), 2, "corners")
    _, chosen, _ = pack(tmp_path / "y", class_names=["car"])
    assert chosen["images/a.png"]["corners"].shape == (1, 4, 2)


def test_corners_move_with_their_images_and_run_the_same_way_round(tmp_path: Path) -> None:
    kseq.pack(write_yolo(tmp_path / "y", "names: [ship]\n", CORNERS), tmp_path / "packed", workers=0)
    options: dict[str, Any] = {"shuffle": False, "workers": 0, "input_shape": (50, 100, 3), "augment": kseq.RandomFlip()}
    with kseq.Batches(tmp_path / "packed", "all", **options) as batches:
        found = {str(np.rint(batches.batch(epoch, 0)[1]["corners"][0, 0]).astype(int).tolist()) for epoch in range(8)}
    assert found == {"[[30, 10], [70, 20], [60, 40], [20, 30]]", "[[30, 20], [70, 10], [80, 30], [40, 40]]"}
    crop = kseq.CenterCrop((20, 20))
    with kseq.Batches(tmp_path / "packed", "all", **options | {"augment": crop, "input_shape": None}) as batches:
        _, found_there = batches.batch(0, 0)
    # Corners go on outside of the image.
    np.testing.assert_allclose(found_there["corners"][0, 0], [[-10, -5], [30, 5], [20, 25], [-20, 15]], atol=1e-3)


@pytest.mark.parametrize("other", ["0 0.5 0.5 0.2 0.2\n", "0 0.1 0.2 0.5 0.2 0.5 0.6\n"])
def test_where_some_objects_have_no_corners_none_are_packed(tmp_path: Path, other: str) -> None:
    _, samples, _ = pack(write_yolo(tmp_path / "y", "names: [ship]\n", CORNERS + other))
    assert set(samples["images/a.png"]) == {"image", "boxes", "labels"}


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["left_eye", "right_eye", "nose"], (1, 0, 2)),
        (["Right Ear", "Left Ear"], (1, 0)),
        (["eye_l", "eye_r", "chin"], (1, 0, 2)),
        (["l.eye", "r.eye"], (1, 0)),
        (["leftEye", "rightEye"], (1, 0)),
        (["left_eye", "nose"], ()),
        (["nose", "chin"], ()),
        (["left_eye", "left_eye", "right_eye"], ()),
        ([], ()),
    ],
)
def test_names_tell_left_from_right(names: list[str], order: tuple[int, ...]) -> None:
    assert mirror_order(names) == order


def test_an_order_that_is_none_is_refused() -> None:
    with raises(ArgumentError, "mirror_order", "[0, 3)"):
        Field("keypoints", "keypoints", False, "<f4", (3, 2), (), (0, 1, 1))
    with raises(ArgumentError, "mirror_order"):
        Field("boxes", "boxes", False, "<f4", (None, 4), (), (0, 1, 2, 3))
