"""What the page shows of the batches that a model gets: any plain argument, and the user's own Sequence."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import numbered_pixels
from tests.helpers.viewing import ask, ask_json, change, pack_objects

pytest.importorskip("starlette", reason="the page of `kseq view` needs the extra `view`")
pytest.importorskip("uvicorn", reason="the page of `kseq view` needs the extra `view`")


@pytest.fixture(scope="module")
def viewer(numbered: Path) -> Iterator[kseq.Viewer]:
    with kseq.Viewer(numbered, read_only=True) as viewer:
        yield viewer


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kseq.Viewer]:
    with kseq.Viewer(pack_objects(tmp_path_factory.mktemp("objects")), read_only=True) as viewer:
        yield viewer


def pixels_of(viewer: kseq.Viewer, **parameters: Any) -> np.ndarray:
    answer = ask(viewer, "api/batch-image", **parameters)
    assert answer.status == 200, answer.body
    return np.asarray(Image.open(io.BytesIO(answer.body)))


@pytest.mark.parametrize(
    "parameters",
    [
        {"label_mode": "categorical", "balance": "class", "epoch_size": 40, "remainder": "pad"},
        {"dtype": "float16", "scale": "1 / 127.5", "shuffle": "block", "interpolation": "area", "antialias": "True"},
        {"color_mode": "grayscale", "data_format": "channels_first", "decode": "exact", "on_error": "skip"},
        {"color_mode": "rgba", "shuffle": "False", "rank": 1, "world_size": 3, "remainder": "drop", "label_mode": "None"},
        {"augment": "affine,erase,color,flip,center", "fit": "pad", "seed": 7, "inputs": "image", "targets": "label"},
    ],
)
def test_the_code_that_is_shown_makes_the_batches_that_are_shown(viewer: kseq.Viewer, parameters: dict[str, Any]) -> None:
    wanted = {"batch_size": 6, "height": 8, "width": 10, "number": 1, **parameters}
    batch = ask_json(viewer, "batch", **wanted)
    arguments = re.fullmatch(r"kseq\.ShardSequence(\(.*\))", batch["code"])
    assert arguments
    # In a process of one rank, that is what makes another one: the arguments are the same.
    with eval(f"kseq.Batches{arguments[1]}", {"kseq": kseq}) as batches:
        made = batches.batch(0, 1)
        images = made[0] if isinstance(made, tuple) else made
        assert [row["id"] for row in batch["rows"]] == batches.sample_ids(0, 1).tolist()
        assert batch["arrays"][0]["shape"] == list(images.shape)
        assert batch["arrays"][0]["dtype"] == str(images.dtype)
        assert batch["arrays"][0]["mean"] == pytest.approx(float(images.mean(dtype=np.float64)))
        assert len(pixels_of(viewer, row=2, **wanted)) == 8


def test_one_dict_for_the_layers_of_keras_is_listed_part_by_part(objects: kseq.Viewer) -> None:
    settings = {"split": "all", "batch_size": 6, "height": 60, "width": 80, "layout": "keras", "shuffle": "False"}
    batch = ask_json(objects, "batch", bounding_box_format="rel_xywh", **settings)
    shapes = {array["name"]: array["shape"] for array in batch["arrays"]}
    assert shapes["images"] == [6, 60, 80, 3]
    assert shapes["segmentation_masks"] == [6, 60, 80, 1]
    assert shapes["bounding_boxes/boxes"] == [6, 2, 4]
    assert shapes["bounding_boxes/labels"] == [6, 2]
    boxes = {target["name"]: target for target in batch["rows"][1]["targets"]}
    # Drawn in pixels, whatever the format.
    assert boxes["boxes"]["shapes"]["boxes"] == [[20, 10, 50, 30], [5, 5, 15, 25]]
    assert boxes["labels"]["names"] == ["cup", "plate"]
    assert pixels_of(objects, row=1, field="mask", **settings).shape == (60, 80, 4)


def test_ragged_boxes_and_numbers_that_are_none_are_shown(tmp_path: Path) -> None:
    folder = pack_objects(tmp_path)
    with kseq.Viewer(folder, read_only=True) as viewer:
        batch = ask_json(viewer, "batch", split="all", batch_size=6, shuffle="False", ragged="True", pad_to="")
        assert len(next(one for one in batch["rows"][1]["targets"] if one["name"] == "boxes")["shapes"]["boxes"]) == 2
        assert {"name": "targets/boxes", "dtype": "list", "shape": [6]} in batch["arrays"]

    def spoil(images: np.ndarray) -> np.ndarray:
        return images.astype(np.float32) * np.nan

    with kseq.Viewer(kseq.Batches(folder, dtype="float32", augment=[spoil]), read_only=True) as viewer:
        batch = ask_json(viewer, "batch", own="1")
        assert batch["arrays"][0]["mean"] is None
        assert ask(viewer, "api/batch-image", own="1").status == 200


@pytest.mark.parametrize(
    ("parameters", "parts"),
    [
        ({"scale": "1 / 255"}, ("scale", "float32")),
        ({"scale": "__import__('os')"}, ("scale", "1 / 255")),
        ({"bounding_box_format": "xywh"}, ("bounding_box_format", "xywh", "keras")),
        ({"targets": "nothing"}, ("nothing",)),
        ({"targets": "\x00"}, ("targets",)),
        ({"pad_to": "0"}, ("pad_to", 1)),
        ({"own": "1"}, ("own",)),
        ({"batch_size": 256, "height": 2048, "width": 2048}, ("batch_size", 256, 512)),
    ],
)
def test_settings_that_make_no_sense_are_one_line(
    viewer: kseq.Viewer, parameters: dict[str, Any], parts: tuple[Any, ...]
) -> None:
    answer = ask(viewer, "api/batch", **parameters)
    assert answer.status == 400
    assert_says(answer.json["error"], *parts)


def test_the_batches_of_ones_own_sequence_are_shown_with_its_functions(packed: Path) -> None:
    def halve(images: np.ndarray) -> np.ndarray:
        return images // 2

    own = kseq.Batches(packed, "val", batch_size=5, shuffle=False, augment=[halve], workers=1)
    with kseq.Viewer(own) as viewer:
        assert ask_json(viewer, "about")["own_batches"] == repr(own)
        batch = ask_json(viewer, "batch", own="1", number=1)
        assert batch["code"] == repr(own)
        assert [row["id"] for row in batch["rows"]] == own.sample_ids(0, 1).tolist()
        number = batch["rows"][2]["id"]
        assert np.array_equal(pixels_of(viewer, own="1", number=1, row=2), numbered_pixels(number) // 2)
        # The user may close theirs, and labels may change: the page goes on with the dataset as it is.
        own.close()
        assert change(viewer, "relabel", ids=[number], **{"class": "c"}).status == 200
        assert ask_json(viewer, "batch", own="1", number=1)["rows"][2]["targets"][0]["names"] == ["c"]


def test_numbers_that_are_no_bytes_are_stretched_and_one_hot_labels_are_named(packed: Path) -> None:
    def standardize(images: np.ndarray) -> np.ndarray:
        return (images.astype(np.float32) - 127) * 10

    own = kseq.Batches(packed, "val", batch_size=4, dtype="float32", augment=[standardize], label_mode="categorical")
    with own, kseq.Viewer(own) as viewer:
        batch = ask_json(viewer, "batch", own="1")
        assert batch["is_stretched"]
        assert not ask_json(viewer, "batch", dtype="float32")["is_stretched"]
        shown = pixels_of(viewer, own="1", row=0)
        images, labels = own.batch(0, 0)
        span = images.max() - images.min()
        assert np.array_equal(shown, np.rint((images[0] - images.min()) * (255 / span)).astype(np.uint8))
        assert batch["rows"][0]["targets"][0]["text"] == ["a", "b", "c"][int(labels[0].argmax())]


def test_a_function_that_fails_is_one_line(packed: Path) -> None:
    def fail(images: np.ndarray) -> np.ndarray:
        raise RuntimeError("no such\nluck")

    with kseq.Batches(packed, augment=[fail]) as own, kseq.Viewer(own) as viewer:
        answer = ask(viewer, "api/batch", own="1")
        assert answer.status == 500
        assert_says(answer.json["error"], "RuntimeError", "luck")


def test_many_settings_at_once_do_not_close_each_other(viewer: kseq.Viewer) -> None:
    def look(number: int) -> int:
        return ask(viewer, "api/batch", batch_size=4, height=4, width=1 + number % 7, number=number % 3).status

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(look, range(40))) == [200] * 40


def test_a_sequence_of_several_datasets_is_refused(packed: Path, numbered: Path) -> None:
    with kseq.Batches({packed: 0.5, numbered: 0.5}) as own, raises(ArgumentError, "several"):
        kseq.Viewer(own)


@pytest.mark.slow
def test_a_shard_sequence_is_shown_as_its_batches_are(packed: Path) -> None:
    with kseq.ShardSequence(packed, "val", batch_size=5) as sequence, kseq.Viewer(sequence) as viewer:
        ids = [row["id"] for row in ask_json(viewer, "batch", own="1", epoch=2)["rows"]]
        assert ids == sequence.sample_ids(0, epoch=2).tolist()


def test_a_sequence_of_what_is_no_more_is_one_line(packed: Path, tmp_path: Path) -> None:
    with kseq.ShardDataset(packed, "val") as dataset, kseq.Batches(dataset) as own, kseq.Viewer(own) as viewer:
        assert ask(viewer, "api/batch", own="1").status == 200
        kseq.drop(packed, ids=[0])
        answer = ask(viewer, "api/batch", own="1")
        assert answer.status == 500
        assert_says(answer.json["error"], packed)
