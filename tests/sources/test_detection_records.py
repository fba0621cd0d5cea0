"""TFRecords as people have them: of the detection API, of TensorFlow Datasets, with files that name their classes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import SourceError
from kseq.sources.example_message import example_class
from tests.helpers.messages import assert_says, raises
from tests.helpers.records import detection, example, png, write_records

TWO = [(0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 0.9, 0.9)]
PIXELS = [[10, 20, 30, 40], [50, 50, 90, 90]]


def packed(source: Path, tmp_path: Path, **options: Any) -> tuple[kseq.PackReport, kseq.ShardDataset]:
    report = kseq.pack(source, tmp_path / "packed", workers=0, overwrite=True, **options)
    assert report.num_samples + len(report.rejected) == report.num_found
    return report, kseq.ShardDataset(tmp_path / "packed")


def objects(dataset: kseq.ShardDataset) -> list[tuple[list[list[float]], list[str]]]:
    """The boxes of each sample, and the names of their classes."""
    names = dataset.fields["labels"].class_names
    samples = [dataset[number] for number in range(len(dataset))]
    return [(sample["boxes"].tolist(), [names[label] for label in sample["labels"]]) for sample in samples]


def reasons(report: kseq.PackReport) -> dict[str, str]:
    return {rejected.path.decode(): rejected.reason for rejected in report.rejected}


def test_boxes_of_the_detection_api_are_read_wherever_the_records_with_boxes_lie(tmp_path: Path) -> None:
    empty, bare = detection([], text=[]), example({"image/encoded": [png()]})
    boxed = detection(TWO, text=["cat", "dog"])
    for number, records in enumerate([(boxed, empty, bare), (bare, empty, boxed)]):
        write_records(tmp_path / f"{number}" / "a.tfrecord", *records)
        _, dataset = packed(tmp_path / f"{number}" / "a.tfrecord", tmp_path)
        found = objects(dataset)
        assert found[2 * number] == (PIXELS, ["cat", "dog"])
        assert [boxes for boxes, _ in found].count([]) == 2


def test_what_kseq_exports_comes_back_with_its_numbers_boxes_and_splits(tmp_path: Path) -> None:
    images = {f"{number}.png": png((number, 0, 0), (90, 70)) for number in range(4)}
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)
    boxes = [[[1.25, 2, 30.1, 40]], [], [[3, 3, 9, 9], [5, 6, 7.7, 8]], [[0, 0, 90, 70]]]
    kinds = [["zebra"], [], ["ant", 'a "b" \\ é'], ["zebra"]]
    rows = [
        {"image": name, "boxes": box, "kinds": kind, "split": split}
        for name, box, kind, split in zip(images, boxes, kinds, ["train", "val", "train", "test"], strict=True)
    ]
    names = ["unused", "zebra", 'a "b" \\ é', "ant", "never"]
    columns = kseq.Columns(label="", boxes="boxes", box_labels="kinds", split="split")
    kseq.pack([{**row, "image": images[row["image"]]} for row in rows], tmp_path / "d", columns=columns, class_names=names)
    kseq.export(tmp_path / "d", tmp_path / "records", format="tfrecord")
    _, again = packed(tmp_path / "records", tmp_path)
    before = kseq.ShardDataset(tmp_path / "d")
    assert list(again.fields["labels"].class_names) == names
    for split in ("train", "val", "test"):
        old, new = kseq.ShardDataset(tmp_path / "d", split), kseq.ShardDataset(tmp_path / "packed", split)
        for number in range(len(old)):
            for field in ("boxes", "labels", "image"):
                np.testing.assert_array_equal(new[number][field], old[number][field])
    assert again.splits == before.splits


@pytest.mark.parametrize("suffix", ["-00000-of-00010", ".record", ".tfrec", ".tfrecords-00003-of-00010"])
def test_files_are_known_by_the_names_that_scripts_give_them(tmp_path: Path, suffix: str) -> None:
    for split in ("train", "val"):
        write_records(tmp_path / "records" / f"{split}{suffix}", detection(TWO, label=[3, 1], text=["cat", "dog"]))
    report, dataset = packed(tmp_path / "records", tmp_path)
    assert report.splits == {"train": 1, "val": 1}
    # The numbers of the records are in order, whatever the names are.
    assert dataset.fields["labels"].class_names == ("dog", "cat")


LABEL_MAP = """
item { name: "/m/1" id: 2 display_name: 'bird\\'s' keypoints { id: 5 label: "beak" } }  # a comment
item {
  id: 1
  name: 'dog'
}
item{id:3 name:'cat'}
"""


def test_a_label_map_names_numbers_and_says_which_classes_there_are(tmp_path: Path) -> None:
    write_records(tmp_path / "data" / "records" / "a.tfrecord", detection(TWO, label=[1, 3]), detection(TWO, label=[1, 7]))
    report, _ = packed(tmp_path / "data", tmp_path)
    assert report.boxes is not None
    assert report.boxes.class_names == ("1", "3", "7")
    (tmp_path / "data" / "label_map.pbtxt").write_text(LABEL_MAP)
    report, dataset = packed(tmp_path / "data" / "records", tmp_path)
    assert dataset.fields["labels"].class_names == ("dog", "bird's", "cat")
    assert objects(dataset) == [(PIXELS, ["dog", "cat"])]
    assert_says(reasons(report)["a.tfrecord/1"], "7", f"{tmp_path / 'data' / 'label_map.pbtxt'}")


def test_a_record_may_name_a_class_by_either_name_of_a_label_map(tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", detection(TWO, text=["/m/1", "bird's"]), detection(TWO, text=["dog", "cow"]))
    (tmp_path / "map.pbtxt").write_text(LABEL_MAP)
    (tmp_path / "graph.pbtxt").write_text('node { name: "x" op: "Const" }')
    report, dataset = packed(tmp_path / "a.tfrecord", tmp_path)
    assert objects(dataset) == [(PIXELS, ["bird's", "bird's"])]
    assert_says(reasons(report)["a.tfrecord/1"], "cow")


def test_a_label_map_of_other_records_is_not_used_and_said_so(tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", detection(TWO, label=[1, 2], text=["cow", "hen"]))
    (tmp_path / "label_map.pbtxt").write_text(LABEL_MAP)
    report, dataset = packed(tmp_path / "a.tfrecord", tmp_path)
    assert dataset.fields["labels"].class_names == ("cow", "hen")
    assert_says(report.notes[0], tmp_path / "label_map.pbtxt", "dog", "cow")
    (tmp_path / "label_map.pbtxt").write_text(LABEL_MAP + "item { id: 3 name: 'x' }")
    with raises(SourceError, tmp_path / "label_map.pbtxt", 3):
        packed(tmp_path / "a.tfrecord", tmp_path)


def test_sides_in_pixels_are_told_by_most_records_and_others_are_rejected(tmp_path: Path) -> None:
    pixels, shares = detection(PIXELS, text=["a", "b"]), detection(TWO, text=["a", "b"])
    write_records(tmp_path / "px.tfrecord", pixels, detection([]))
    report, dataset = packed(tmp_path / "px.tfrecord", tmp_path)
    assert objects(dataset)[0] == (PIXELS, ["a", "b"])
    assert_says(report.notes[0], "image/object/bbox/xmin")
    write_records(tmp_path / "mixed.tfrecord", pixels, shares, shares)
    report, dataset = packed(tmp_path / "mixed.tfrecord", tmp_path)
    assert objects(dataset) == [(PIXELS, ["a", "b"])] * 2
    assert_says(reasons(report)["mixed.tfrecord/0"], 90)


def test_a_fault_in_a_record_concerns_that_record(tmp_path: Path) -> None:
    records = {
        "short": detection(TWO, text=["a"]),
        "torn": example({"image/encoded": [png()], "image/object/bbox/xmin": [0.1]}),
        "turned": detection([(0.5, 0.1, 0.3, 0.2)], text=["a"]),
        "nan": detection([(float("nan"), 0.1, 0.3, 0.2)], text=["a"]),
        "nameless": detection(TWO, text=["a", ""]),
        "classless": detection(TWO),
        "broken": detection(TWO, b"\xff\xd8 no JPEG", text=["a", "a"]),
        "latin": detection(TWO, text=[b"caf\xe9", b"a"]),
        "junk": b"\xff junk",
    }
    write_records(tmp_path / "a.tfrecord", *records.values(), detection(TWO, text=["a", "b"]))
    report, dataset = packed(tmp_path / "a.tfrecord", tmp_path)
    assert objects(dataset) == [(PIXELS, ["a", "b"])]
    assert dataset.fields["labels"].class_names == ("a", "b")
    assert sorted(reasons(report)) == [f"a.tfrecord/{number}" for number in range(len(records))]
    with pytest.raises(kseq.errors.ImageError):
        packed(tmp_path / "a.tfrecord", tmp_path, on_error="fail")


def test_boxes_of_stored_pixels_are_turned_with_their_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = io.BytesIO()
    Image.new("RGB", (100, 50), (9, 9, 9)).save(data, "JPEG", exif=exif)
    said = {"image/height": [50], "image/width": [100]}
    as_stored = detection([(0.1, 0.2, 0.3, 0.4)], data.getvalue(), text=["a"], **said)
    upright = detection([(0.1, 0.2, 0.3, 0.4)], data.getvalue(), text=["a"])
    write_records(tmp_path / "a.tfrecord", as_stored, upright)
    _, dataset = packed(tmp_path / "a.tfrecord", tmp_path)
    assert dataset[0]["image"].shape == (100, 50, 3)
    assert [boxes for boxes, _ in objects(dataset)] == [[[30, 10, 40, 30]], [[5, 20, 15, 40]]]


def test_records_of_tensorflow_datasets_have_their_boxes_and_names(tmp_path: Path) -> None:
    folder = tmp_path / "voc" / "1.0.0"
    boxed = {"objects/bbox": [0.2, 0.1, 0.4, 0.3, 0.5, 0.5, 0.9, 0.9], "objects/label": [2, 0], "objects/is_crowd": [0, 1]}
    write_records(folder / "voc-train.tfrecord-00000-of-00001", example({"image": [png()], **boxed}))
    for name in ("features.json", "dataset_info.json"):
        (folder / name).write_text("{}")
    (folder / "objects-label.labels.txt").write_text("aeroplane\nbicycle\nbird\n")
    report, dataset = packed(folder, tmp_path)
    assert report.splits == {"train": 1}
    assert report.boxes is not None
    assert list(report.boxes.left_out.values()) == [1]
    assert objects(dataset) == [([[10, 20, 30, 40]], ["bird"])]
    assert dataset.fields["labels"].class_names == ("aeroplane", "bicycle", "bird")


def test_labels_of_records_have_the_names_that_a_file_or_a_text_says(tmp_path: Path) -> None:
    images = [{"image": [png()], "label": [label]} for label in (2, 0, -1)]
    write_records(tmp_path / "tfds" / "mnist-test.tfrecord-00000-of-00001", *map(example, images))
    (tmp_path / "tfds" / "label.labels.txt").write_text("zero\none\ntwo\n")
    report, dataset = packed(tmp_path / "tfds", tmp_path)
    assert report.class_names == ("zero", "one", "two")
    assert [dataset[number]["label"] for number in range(2)] == [2, 0]
    assert list(reasons(report)) == ["mnist-test.tfrecord-00000-of-00001/2"]
    (tmp_path / "tfds" / "label.labels.txt").unlink()
    (tmp_path / "tfds" / "labels.txt").write_text("0:daisy\n1:dandelion\n2:rose\n")
    assert packed(tmp_path / "tfds", tmp_path)[0].class_names == ("daisy", "dandelion", "rose")
    texts = [{"image/encoded": [png()], "image/class/label": [n], "image/class/text": [t]} for n, t in ((2, "ant"), (1, "bee"))]
    write_records(tmp_path / "text.tfrecord", *map(example, texts))
    assert packed(tmp_path / "text.tfrecord", tmp_path)[0].class_names == ("bee", "ant")
    cranes = [{**features, "image/class/text": ["crane"]} for features in texts]
    write_records(tmp_path / "crane.tfrecord", *map(example, cranes))
    report, _ = packed(tmp_path / "crane.tfrecord", tmp_path)
    assert report.class_names == ("1", "2")
    assert_says(report.notes[0], "crane")


def test_features_that_are_not_known_are_listed_with_the_command(tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", example({"pic": [png()], "kind": [3], "other": [1.0, 2.0]}))
    with raises(SourceError, tmp_path / "a.tfrecord", "pic", "kind (int64)", "other (2 float)", "image='pic'", "label='kind'"):
        packed(tmp_path / "a.tfrecord", tmp_path)
    report, _ = packed(tmp_path / "a.tfrecord", tmp_path, columns=kseq.Columns(image="pic", label="kind"))
    assert_says(report.notes[0], "other")
    write_records(tmp_path / "b.tfrecord", example({"image": [png()], "species": ["a"]}))
    with raises(SourceError, "species (bytes)", "label='species'"):
        packed(tmp_path / "b.tfrecord", tmp_path)


def test_several_labels_in_a_record_are_named_with_the_way_out(tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", *(example({"image": [png()], "label": labels}) for labels in ([1], [1, 2])))
    report, _ = packed(tmp_path / "a.tfrecord", tmp_path)
    assert_says(report.rejected[0].explanation, "[1, 2]", "label=''", "targets")
    columns = kseq.Columns(label="", targets={"tags": "label"}, kinds={"tags": "multi_label"})
    _, dataset = packed(tmp_path / "a.tfrecord", tmp_path, columns=columns)
    assert [dataset[number]["tags"].tolist() for number in range(2)] == [[0], [0, 1]]


def test_sequences_and_pixels_of_another_size_are_named(tmp_path: Path) -> None:
    sequence = example_class()()
    sequence.features.feature["image"].bytes_list.value.append(png())
    sequence.feature_lists = b"\n\0"
    write_records(tmp_path / "s.tfrecord", sequence.SerializeToString())
    with raises(SourceError, tmp_path / "s.tfrecord", "tf.train.SequenceExample"):
        packed(tmp_path / "s.tfrecord", tmp_path)
    sides = {"height": [6], "width": [5], "depth": [1], "label": [1]}
    write_records(tmp_path / "p.tfrecord", *(example({"image_raw": [bytes(count)], **sides}) for count in (30, 120)))
    report, dataset = packed(tmp_path / "p.tfrecord", tmp_path)
    assert dataset[0]["image"].shape[:2] == (6, 5)
    assert_says(reasons(report)["p.tfrecord/1"], 120, "6 x 5 x 1")


def test_classes_that_a_file_calls_alike_stay_apart_by_their_numbers(tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", *(example({"image": [png()], "label": [number]}) for number in (0, 1, 1, 2)))
    (tmp_path / "labels.txt").write_text("0:crane\n1:crane\n2:dog\n")
    report = kseq.pack(tmp_path / "a.tfrecord", tmp_path / "out", workers=0)
    assert (report.class_names, report.class_counts) == (("0", "1", "2"), {"train": [1, 2, 1]})
    assert any("crane" in note for note in report.notes)
