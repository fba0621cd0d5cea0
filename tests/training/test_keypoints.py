"""Keypoints go where the image goes: at packing, and in every crop, flip and resize of a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError
from kseq_tools.main import main
from tests.helpers.augmentations import Brighten, RandomRotation
from tests.helpers.messages import raises

HEIGHT, WIDTH, COUNT = 60, 90, 6
# The middles of three bright spots in red, green and blue: a left one, a right one, and one between them.
SPOTS = [[20.5, 12.5], [60.5, 20.5], [41.5, 44.5]]
PAIRS = [(0, 1)]


def write_points(folder: Path, cells: list[Any] | None = None) -> Path:
    """Dark images with three spots each, which are shifted from image to image, and a table of their middles."""
    rows = []
    for number in range(COUNT):
        image = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
        points = [[x + number, y] for x, y in SPOTS]
        for channel, (x, y) in enumerate(points):
            image[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5, channel] = 220
        Image.fromarray(image).save(folder / f"{number}.png")
        rows.append({"image": f"{number}.png", "at": cells[number] if cells else [[*point, 2] for point in points]})
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "table.jsonl"


def pack_points(table: Path, target: Path, **options: Any) -> Path:
    columns = kseq.Columns(targets={"points": "at"}, kinds={"points": "keypoints"})
    kseq.pack(table, target, **({"columns": columns, "workers": 0} | options))
    return target


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return pack_points(write_points(tmp_path), tmp_path / "packed")


def batch(path: Path, **arguments: Any) -> tuple[np.ndarray, np.ndarray]:
    with kseq.Batches(path, "all", shuffle=False, targets="points", workers=0, **arguments) as batches:
        images, points = batches.batch(3, 0)
        return images, points


def middle(channel: np.ndarray) -> list[float]:
    """x and y of the middle of the bright pixels."""
    rows, columns = np.nonzero(channel > 120)
    return [columns.mean() + 0.5, rows.mean() + 0.5]


def assert_points_agree(images: np.ndarray, points: np.ndarray, slack: float) -> int:
    """Points that are visible lie in the middle of their spots, whose channels say which is which; returns their count."""
    visible = 0
    for image, of_image in zip(images, points, strict=True):
        for channel, (x, y, visibility) in enumerate(of_image.tolist()):
            if visibility == 2:
                is_whole = 10 <= x <= image.shape[1] - 10 and 10 <= y <= image.shape[0] - 10
                visible += is_whole
                if is_whole:
                    np.testing.assert_allclose([x, y], middle(image[..., channel]), atol=slack)
            else:
                assert (x, y, visibility) == (0, 0, 0)
    return visible


def test_points_are_packed_as_they_are_and_leave_in_pixels_of_the_batch(packed: Path) -> None:
    with kseq.ShardDataset(packed) as dataset:
        assert dataset.fields["points"].shape == (3, 3)
        assert dataset.read([1])["points"].tolist() == [[[21.5, 12.5, 2], [61.5, 20.5, 2], [42.5, 44.5, 2]]]
    images, points = batch(packed, input_shape=(120, 90, 3))
    assert points.dtype == np.float32
    assert points[1].tolist() == [[21.5, 25, 2], [61.5, 41, 2], [42.5, 89, 2]]
    assert assert_points_agree(images, points, 1) == 18


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_points_follow_the_image_when_packing_resizes(tmp_path: Path, resize: str) -> None:
    images = kseq.ImageSettings("raw", (80, 80), resize=resize)
    path = pack_points(write_points(tmp_path), tmp_path / "packed", images=images)
    assert assert_points_agree(*batch(path), 1) >= 12


@pytest.mark.parametrize(
    "augment",
    [kseq.RandomResizedCrop(64, (0.5, 1)), kseq.CenterCrop(50), RandomRotation(30), [RandomRotation(20), kseq.CenterCrop(50)]],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_points_follow_augmentations(packed: Path, augment: Any, workers: int) -> None:
    arguments = {"augment": augment} | ({"input_shape": (HEIGHT, WIDTH, 3)} if isinstance(augment, RandomRotation) else {})
    assert assert_points_agree(*batch(packed, **arguments), 1.2) >= 6


@pytest.mark.parametrize("mode", ["horizontal", "vertical", "horizontal_and_vertical"])
def test_left_and_right_change_places_in_a_mirrored_image_alone(packed: Path, mode: str) -> None:
    _, plain = batch(packed)
    _, points = batch(packed, augment=kseq.RandomFlip(mode), mirror_pairs={"points": PAIRS})
    found = set()
    for before, after in zip(plain, points, strict=True):
        across = bool(np.isclose(after[2, 0], WIDTH - before[2, 0]))
        down = bool(np.isclose(after[2, 1], HEIGHT - before[2, 1]))
        moved = before.copy()
        moved[:, 0] = WIDTH - before[:, 0] if across else before[:, 0]
        moved[:, 1] = HEIGHT - before[:, 1] if down else before[:, 1]
        # Upside down and left to right is a turn: no mirror.
        np.testing.assert_allclose(after, moved[[1, 0, 2]] if across != down else moved, atol=1e-4)
        found.add((across, down))
    assert len(found) >= 2


def test_without_pairs_points_keep_their_numbers(packed: Path) -> None:
    images, points = batch(packed, augment=kseq.RandomFlip(), mirror_pairs=[])
    assert assert_points_agree(images, points, 1e-4) == 18


def test_a_mirror_without_left_and_right_is_refused(packed: Path) -> None:
    with raises(ArgumentError, "RandomFlip", "points", 3, "mirror_pairs"):
        batch(packed, augment=kseq.RandomFlip())

    class Mirror(RandomRotation):
        def apply_to_points(self, points: np.ndarray, degrees: float, height: int, width: int) -> np.ndarray:
            return np.stack([width - points[:, 0], points[:, 1]], axis=1)

    with raises(ArgumentError, "mirrors", "points", "mirror_pairs"):
        batch(packed, augment=Mirror(3))


@pytest.mark.parametrize(
    "pairs", [{"points": [(0, 3)]}, {"points": [(0, 1), (1, 2)]}, {"points": "ab"}, [(0, 1, 2)], {"at": []}]
)
def test_pairs_that_make_no_sense_are_refused(packed: Path, pairs: Any) -> None:
    with raises(ArgumentError, "mirror_pairs"):
        batch(packed, augment=kseq.RandomFlip(), mirror_pairs=pairs)


def test_points_without_visibility_go_on_outside_of_the_image(tmp_path: Path) -> None:
    path = pack_points(write_points(tmp_path, [[[2, 30], [80, 30.5]]] * COUNT), tmp_path / "packed")
    _, points = batch(path, augment=kseq.CenterCrop(30))
    assert points[0].tolist() == [[-28, 15], [50, 15.5]]


def test_points_with_a_visibility_lose_it_outside_of_the_image(packed: Path) -> None:
    # Rows 15 to 44 and columns 30 to 59 are left.
    _, points = batch(packed, augment=kseq.CenterCrop(30))
    assert points[0].tolist() == [[0, 0, 0], [0, 0, 0], [11.5, 29.5, 2]]


def test_objects_leave_with_their_boxes(tmp_path: Path) -> None:
    table = write_points(tmp_path)
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    boxes = [[8, 5, 28, 25], [50, 15, 70, 30]]
    objects = [[[20, 10, 2], [28, 20, 1]], [[60, 20, 2], [0, 0, 0]]]
    rows = [{**row, "boxes": boxes[: number % 3], "at": objects[: number % 3]} for number, row in enumerate(rows)]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = kseq.Columns(targets={"points": "at"}, kinds={"points": "keypoints"}, boxes="boxes")
    path = pack_points(table, tmp_path / "packed", columns=columns)
    with kseq.ShardDataset(path) as dataset:
        assert dataset.fields["points"].shape == (None, 2, 3)
    _, points = batch(path)
    assert points.shape == (6, 2, 2, 3)
    assert points[2].tolist() == objects
    # The left third is cropped away, and the first box with it.
    with kseq.Batches(path, "all", shuffle=False, augment=kseq.CenterCrop((60, 50)), ragged=True, workers=0) as batches:
        values = batches.batch(0, 0)[1]
    assert values["boxes"][2].tolist() == [[30, 15, 50, 30]]
    assert values["points"][2].tolist() == [[[40, 20, 2], [0, 0, 0]]]
    images = kseq.ImageSettings("raw", (30, 25), resize="crop")
    stored = pack_points(table, tmp_path / "resized", columns=columns, images=images)
    assert kseq.ShardDataset(stored).read([2])["points"][0].tolist() == [[[20, 10, 2], [0, 0, 0]]]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ([[120, 4, 2], [1, 1, 2], [5, 5, 2]], "its points point 0 is 120, 4"),
        ([[12, 4, 3], [1, 1, 2], [5, 5, 2]], "its points point 0 is 12, 4"),
        ([[0.5, 0.4, 2], [0.1, 1, 2], [0.2, 0.3, 1]], "shares of the image"),
        ([[1, 2, 2], [1, 2, 2]], "shapes"),
        ([1, 2, 3, 4, 5, 6], "has keypoints"),
        ([[1, None, 2]], "has keypoints"),
        (None, "are missing"),
    ],
)
def test_what_are_no_keypoints_is_left_out_with_the_reason(tmp_path: Path, cell: Any, reason: str) -> None:
    cells = [[[10, 20, 2], [30, 20, 2], [0, 0, 0]]] * COUNT
    table = write_points(tmp_path, [*cells[:2], cell, *cells[3:]])
    if reason == "shapes":
        with raises(kseq.KseqError, reason, "points"):
            pack_points(table, tmp_path / "packed")
        return
    pack_points(table, tmp_path / "packed")
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        (left_out,) = dataset.rejected()
        assert left_out.path == b"2.png"
        assert reason in left_out.reason
        assert len(dataset) == COUNT - 1


def test_the_command_packs_exports_and_describes_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--target", "points=at", "--kind", "points=keypoints", "--workers", "0"]
    assert main(["pack", str(write_points(tmp_path)), str(tmp_path / "packed"), *options]) == 0
    assert main(["info", str(tmp_path / "packed")]) == 0
    assert "points: float32, 3 x 3, x, y in pixels" in capsys.readouterr().out
    report = kseq.export(tmp_path / "packed", tmp_path / "out", format="webdataset")
    assert "--kind points=keypoints" in report.pack_command


def test_brightness_leaves_points_and_needs_no_pairs(packed: Path) -> None:
    _, points = batch(packed, augment=Brighten(40))
    np.testing.assert_array_equal(points, batch(packed)[1])
