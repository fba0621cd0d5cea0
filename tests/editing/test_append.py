"""Appending: as if the new images had been packed with the others, and never half."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError, DatasetNotFoundError, ImageError, LockedError, SourceError, WorkerDiedError
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.lock import locked
from kseq_tools.main import main
from tests.helpers.datasets import files, numbers_and_classes, publish
from tests.helpers.messages import raises
from tests.helpers.photos import numbered_pixels, write_numbered, write_photos

HEIGHT = Field("height", "numbers", False, "<f4", ())
TOPICS = Field("topics", "multi_label", False, "<i4", (None,), ("garden", "summer"))


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 numbered images, classes aa, b and d, twice as large as those of the dataset."""
    folder = tmp_path_factory.mktemp("more") / "more"
    write_numbered(folder, {"aa": 10, "b": 20, "d": 10}, 8, 8)
    return folder


def append(path: Path, source: Any, **options: Any) -> kseq.AppendReport:
    return kseq.append(path, source, **{"workers": 0, "shard_bytes": 800, **options})


def expected() -> list[tuple[int, str]]:
    return [(number, "aa" if number < 10 else "b" if number < 30 else "d") for number in range(40)]


def test_new_samples_come_after_the_others_packed_as_those_were(packed: Path, more: Path) -> None:
    before, old = numbers_and_classes(packed), files(packed)
    report = append(packed, more)
    assert (report.num_found, report.num_samples, report.num_known, report.new_class_names) == (40, 40, 0, ("aa", "d"))
    assert (report.splits, report.num_shards) == ({"train": 40}, Index.open(str(packed)).num_shards - 7)
    assert report.num_shards > 1
    dataset = kseq.ShardDataset(packed)
    assert dataset.class_names == ("a", "b", "c", "aa", "d")
    assert dataset.fields["image"].shape == (4, 4, 3)
    assert numbers_and_classes(packed) == before + expected()
    assert numbers_and_classes(packed, "train")[80:] == expected()
    assert dataset.splits == {"train": 120, "val": 20}
    assert dataset.source(100) == "aa/00000.png"
    assert dataset.changes == ("append more: 40 samples",)
    assert kseq.verify(packed).damaged == []
    assert {name: data for name, data in files(packed).items() if name in old and name != "index.h5"} == {
        name: data for name, data in old.items() if name != "index.h5"
    }
    kseq.undo(packed)
    assert numbers_and_classes(packed) == before


def test_shares_and_split_folders_go_to_the_splits_of_these_names(packed: Path, more: Path, tmp_path: Path) -> None:
    report = append(packed, more, val=0.1, test=0.2, seed=3)
    assert report.splits == {"train": 28, "val": 4, "test": 8}
    assert kseq.ShardDataset(packed).splits == {"train": 108, "val": 24, "test": 8}
    assert Index.open(str(packed)).changes == ("append more (val 0.1, test 0.2, seed 3): 40 samples",)
    write_numbered(tmp_path / "folders/valid", {"c": 3})
    append(packed, tmp_path / "folders")
    assert numbers_and_classes(packed, "val")[24:] == [(0, "c"), (1, "c"), (2, "c")]
    with raises(ArgumentError, "val"):
        append(packed, tmp_path / "folders", val=0.2)


@pytest.mark.slow
def test_worker_processes_make_the_same_bytes(packed: Path, more: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(packed, tmp_path / "other"))
    calls: list[tuple[int, int]] = []
    append(packed, more, val=0.1)
    append(other, more, val=0.1, workers=2, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (40, 40)
    assert files(other) == files(packed)


def test_an_iterable_can_be_appended(packed: Path) -> None:
    before = numbers_and_classes(packed)
    append(packed, ({"image": numbered_pixels(number), "label": "c"} for number in (300, 301)))
    assert numbers_and_classes(packed) == [*before, (300, "c"), (301, "c")]
    assert Index.open(str(packed)).changes == ("append the iterable: 2 samples",)
    assert not [name for name in os.listdir(packed.parent) if name.startswith(".kseq-tmp-")]


def test_what_cannot_be_packed_is_left_out_and_listed(packed: Path, more: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(more, tmp_path / "some"))
    (folder / "b/broken.png").write_bytes(b"\x89PNG broken")
    before = files(packed)
    with raises(ImageError, "broken.png"):
        append(packed, folder, on_error="fail")
    assert files(packed)["index.h5"] == before["index.h5"]
    report = append(packed, folder)
    assert (report.num_found, report.num_samples, [rejection.path for rejection in report.rejected]) == (
        41,
        40,
        [b"b/broken.png"],
    )
    assert kseq.ShardDataset(packed).rejected() == report.rejected
    assert sorted(numbers_and_classes(packed)[100:]) == expected()
    shutil.rmtree(folder)
    (folder / "b").mkdir(parents=True)
    (folder / "b/broken.png").write_bytes(b"\x89PNG broken")
    before = files(packed)
    with raises(SourceError, folder, 1, "b/broken.png"):
        append(packed, folder)
    assert files(packed) == before


def test_encoded_images_may_differ_in_size_from_then_on(tmp_path: Path) -> None:
    write_photos(tmp_path / "one", {"dog": 1})
    write_photos(tmp_path / "more", {"cat": 5})
    kseq.pack(tmp_path / "one", tmp_path / "packed", images=kseq.ImageSettings("jpeg", quality=80), workers=0)
    assert kseq.ShardDataset(tmp_path / "packed").fields["image"].shape == (40, 50, 3)
    append(tmp_path / "packed", tmp_path / "more")
    kseq.pack(tmp_path / "more", tmp_path / "alone", images=kseq.ImageSettings("jpeg", quality=80), workers=0)
    dataset, alone = kseq.ShardDataset(tmp_path / "packed"), kseq.ShardDataset(tmp_path / "alone")
    assert dataset.fields["image"].shape == Index.open(dataset.path).stored_fields[0].shape == (None, None, 3)
    assert [dataset.stored_bytes(number + 1) for number in range(5)] == [alone.stored_bytes(number) for number in range(5)]
    assert kseq.verify(tmp_path / "packed").damaged == []


def test_all_samples_a_second_time_are_refused_unless_asked_for(packed: Path, more: Path) -> None:
    append(packed, more)
    before = files(packed)
    with raises(ArgumentError, "more", 40, packed, "again=True"):
        append(packed, more)
    assert files(packed) == before
    assert append(packed, more, again=True).num_known == 40
    publish(packed, dropped=np.arange(100, 180))
    assert append(packed, more).num_known == 0


def table(folder: Path, name: str, rows: list[str], head: str) -> Path:
    """A CSV of numbered images, and masks as large."""
    folder.mkdir(exist_ok=True)
    lines = []
    for number, row in enumerate(rows):
        Image.fromarray(numbered_pixels(number, 10, 8)).save(folder / f"{name}{number}.png")
        Image.new("L", (8, 10), number).save(folder / f"{name}{number}.mask.png")
        lines.append(f"{name}{number}.png,{name}{number}.mask.png,{row}")
    path = folder / f"{name}.csv"
    path.write_text("\n".join([f"image,mask,{head}", *lines]))
    return path


OPTIONS: dict[str, Any] = {
    "columns": kseq.Columns(
        mask="mask", boxes="boxes", box_labels="kinds", text="text", sample_weight="weight", targets=["topics", "size"]
    ),
}
HEAD = "boxes,kinds,text,weight,topics,size"


@pytest.mark.parametrize("resized", [False, True])
def test_masks_boxes_and_other_targets_are_as_if_packed_together(tmp_path: Path, resized: bool) -> None:
    one = ['"[[1, 2, 3, 4]]","[""bee""]",one,1,garden|summer,0.5', "[],[],,0.5,,1.5"]
    two = ['"[[0, 0, 8, 10], [1, 1, 2, 2]]","[""fly"", ""bee""]",two,2,winter|garden,3', "[],[],three,0,summer,4"]
    settings: dict[str, Any] = {"images": kseq.ImageSettings("raw", (20, 4))} if resized else {}
    kseq.pack(table(tmp_path, "one", one, HEAD), tmp_path / "packed", workers=0, **settings, **OPTIONS)
    append(tmp_path / "packed", table(tmp_path, "two", two, HEAD), **OPTIONS)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    values = dataset.read(range(4))
    assert dataset.fields["labels"].class_names == ("bee", "fly")
    assert dataset.fields["topics"].class_names == ("garden", "summer", "winter")
    assert [label.tolist() for label in values["labels"]] == [[0], [], [1, 0], []]
    assert [value.tolist() for value in values["topics"]] == [[0, 1], [], [2, 0], [1]]
    assert values["boxes"][2].tolist() == [
        [0, 0, 4, 20] if resized else [0, 0, 8, 10],
        [0.5, 2, 1, 4] if resized else [1, 1, 2, 2],
    ]
    assert (values["text"], values["sample_weight"].tolist()) == (["one", "", "two", "three"], [1, 0.5, 2, 0])
    assert values["size"].tolist() == [0.5, 1.5, 3, 4]
    assert [int(value[0, 0, 0]) for value in values["mask"]] == [0, 1, 0, 1]
    assert kseq.verify(tmp_path / "packed").damaged == []


def with_columns(packed: Path) -> None:
    """Adds a height and topics beside the shards, and another label in place of theirs."""
    columns = {
        "height": np.arange(100).astype("<f4"),
        "label": np.full(100, 2, "<i4"),
        "topics/values": np.arange(100).astype("<i4") % 2,
        "topics/offsets": np.arange(101).astype("<u8"),
    }
    publish(packed, fields=(*Index.open(str(packed)).fields, HEIGHT, TOPICS), columns=columns)


def test_columns_get_the_values_of_new_samples(packed: Path, tmp_path: Path) -> None:
    with_columns(packed)
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows = []
    for number in range(4):
        name = "broken.png" if number == 1 else f"{number}.png"
        if number != 1:
            Image.fromarray(numbered_pixels(number)).save(tmp_path / name)
        row = {"image": name, "label": "d" if number else "b", "height": number, "topics": ["winter", "garden"][:number]}
        rows.append(json.dumps(row))
    (tmp_path / "more.jsonl").write_text("\n".join(rows))
    report = append(packed, tmp_path / "more.jsonl", columns=kseq.Columns(targets={"height": "height", "topics": "topics"}))
    assert (report.num_samples, report.new_class_names) == (3, ("d",))
    dataset = kseq.ShardDataset(packed)
    assert numbers_and_classes(packed)[98:] == [(98, "c"), (99, "c"), (0, "b"), (2, "d"), (3, "d")]
    assert dataset.values("height").tolist() == [*range(100), 0, 2, 3]
    assert dataset.fields["topics"].class_names == ("garden", "summer", "winter")
    assert [sample.tolist() for sample in dataset.values("topics")[98:]] == [[0], [1], [], [2, 0], [2, 0]]
    assert kseq.verify(packed).damaged == []
    kseq.compact(packed)
    assert numbers_and_classes(packed)[98:] == [(98, "c"), (99, "c"), (0, "b"), (2, "d"), (3, "d")]
    assert [value.tolist() for value in kseq.ShardDataset(packed).values("topics")[98:]] == [[0], [1], [], [2, 0], [2, 0]]
    append(packed, tmp_path / "more.jsonl", columns=kseq.Columns(targets={"height": "height", "topics": "topics"}), again=True)
    assert kseq.ShardDataset(packed).values("height").tolist() == [*range(100), 0, 2, 3, 0, 2, 3]
    assert kseq.verify(packed).damaged == []


def test_a_label_that_was_added_later_is_read_from_the_source_too(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"image": "0.png", "height": 1}\n{"image": "1.png", "height": 2}')
    (tmp_path / "two.jsonl").write_text('{"image": "2.png", "height": 3, "label": "b"}')
    for number in range(3):
        Image.fromarray(numbered_pixels(number)).save(tmp_path / f"{number}.png")
    packed = tmp_path / "packed"
    kseq.pack(tmp_path / "one.jsonl", packed, columns=kseq.Columns(targets={"height": "height"}), workers=0)
    label = Field("label", "label", False, "<i4", ())
    fields = (*Index.open(str(packed)).fields, label)
    publish(packed, fields=fields, columns={"label": np.zeros(2, "<i4")}, class_names=("a",))
    for _ in range(2):
        append(packed, tmp_path / "two.jsonl", columns=kseq.Columns(targets={"height": "height"}), again=True)
        kseq.compact(packed)
    assert numbers_and_classes(packed) == [(0, "a"), (1, "a"), (2, "b"), (2, "b")]
    assert kseq.ShardDataset(packed).values("height").tolist() == [1, 2, 3, 3]
    assert kseq.verify(packed).damaged == []


def test_another_schema_is_refused_before_an_image_is_read(packed: Path, tmp_path: Path) -> None:
    before = files(packed)
    # No image is there: whoever read one would reject it, and say that nothing can be packed.
    source = tmp_path / "more.jsonl"
    source.write_text('{"image": "0.png", "label": "a", "height": 1.5}\n{"image": "1.png", "label": "b", "height": 2.5}')
    with raises(SourceError, "more.jsonl", "'height'", "image", "label"):
        append(packed, source, columns=kseq.Columns(targets={"height": "height"}))
    with raises(SourceError, "more.jsonl", "'label'", "image", "label", "kseq.Columns(label='COLUMN')"):
        append(packed, source, columns=kseq.Columns(label="", targets={"height": "height"}))
    assert files(packed) == before
    publish(packed, fields=(*Index.open(str(packed)).fields, HEIGHT), columns={"height": np.zeros(100, "<f4")})
    with raises(SourceError, "more.jsonl", "'height'", "kseq.Columns(targets={'height': 'COLUMN'})"):
        append(packed, source)
    source.write_text('{"image": "0.png", "label": "a", "height": "high"}')
    with raises(SourceError, "'height'", "multi_label", "int32", "float32", "numbers"):
        append(packed, source, columns=kseq.Columns(targets={"height": "height"}))
    source.write_text('{"image": "0.png", "label": "a", "height": [1, 2]}')
    with raises(SourceError, "'height'", "int64", 2, "numbers", "float32"):
        append(packed, source, columns=kseq.Columns(targets={"height": "height"}))


OBJECTS = [
    {"image_id": 0, "category_id": 1, "bbox": [0, 0, 4, 2], "segmentation": [[0, 0, 4, 0, 4, 2, 0, 2]]},
    {"image_id": 0, "category_id": 2, "bbox": [4, 4, 4, 2], "segmentation": [[4, 4, 8, 4, 8, 6, 4, 6]]},
]


def write_objects(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    Image.new("RGB", (8, 8), (len(folder.name), 0, 0)).save(folder / "0.png")
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    content = {"images": [{"id": 0, "file_name": "0.png"}], "annotations": OBJECTS, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


@pytest.mark.parametrize("mask", ["semantic", "instances", {"things": "semantic"}, {"things": "instances"}])
def test_the_argument_that_draws_the_masks_of_the_dataset_is_named(tmp_path: Path, mask: Any) -> None:
    first, more = write_objects(tmp_path / "a", ["cat", "dog"]), write_objects(tmp_path / "more", ["dog", "cat"])
    columns, target = kseq.Columns(mask=mask), tmp_path / "packed"
    kseq.pack(first, target, workers=0, columns=columns)
    with raises(SourceError, more, f"kseq.Columns(mask={mask!r})"):
        append(target, more)
    append(target, more, columns=columns)
    with kseq.ShardDataset(target) as dataset:
        name = next(name for name, field in dataset.fields.items() if field.is_pixels and not field.is_image)
        assert dataset[1]["labels"].tolist() == [1, 0]
        values = dataset[1][name][[0, 4], [0, 4], 0].tolist()
        assert values == ([1, 2] if name == "instances" or "instances" in str(mask) else [2, 1])


def test_boxes_beside_the_shards_need_compact(packed: Path, tmp_path: Path) -> None:
    boxes = Field("boxes", "boxes", False, "<f4", (None, 4))
    columns = {"boxes/values": np.zeros((0, 4), "<f4"), "boxes/offsets": np.zeros(101, "<u8")}
    publish(packed, fields=(*Index.open(str(packed)).fields, boxes), columns=columns)
    Image.fromarray(numbered_pixels(5, 8, 8)).save(tmp_path / "0.png")
    (tmp_path / "more.jsonl").write_text('{"image": "0.png", "label": "a", "boxes": [[2, 2, 4, 4]]}')
    with raises(SourceError, "'boxes'", "kseq.compact"):
        append(packed, tmp_path / "more.jsonl", columns=kseq.Columns(boxes="boxes"))
    kseq.compact(packed)
    append(packed, tmp_path / "more.jsonl", columns=kseq.Columns(boxes="boxes"))
    assert kseq.ShardDataset(packed)[100]["boxes"].tolist() == [[1, 1, 2, 2]]


def test_without_a_label_the_classes_stay_those_of_the_first_field(tmp_path: Path) -> None:
    rows = []
    for number, (topic, place) in enumerate([("a|b", "in"), ("c|a", "out|up")]):
        Image.fromarray(numbered_pixels(number)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{topic},{place}")
        (tmp_path / f"{number}.csv").write_text(f"image,topics,places\n{rows[-1]}\n")
        order = ["topics", "places"] if number == 0 else ["places", "topics"]
        targets = {name: name for name in order}
        if number == 0:
            kseq.pack(tmp_path / "0.csv", tmp_path / "packed", columns=kseq.Columns(targets=targets), workers=0)
        else:
            append(tmp_path / "packed", tmp_path / "1.csv", columns=kseq.Columns(targets=targets))
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert dataset.class_names == dataset.fields["topics"].class_names == ("a", "b", "c")
    assert dataset.fields["places"].class_names == ("in", "out", "up")
    assert [sample.tolist() for sample in dataset.values("topics")] == [[0, 1], [2, 0]]
    assert [sample.tolist() for sample in dataset.values("places")] == [[0], [1, 2]]


def test_a_field_that_another_kind_of_values_replaced_needs_compact(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(numbered_pixels(number)).save(tmp_path / f"{number}.png")
    rows = [f'{{"image": "{number}.png", "label": "a", "height": {number}}}' for number in range(3)]
    (tmp_path / "first.jsonl").write_text("\n".join(rows[:2]))
    (tmp_path / "values.csv").write_text("id,height\n0,0.5\n1,1.5\n")
    (tmp_path / "more.jsonl").write_text(rows[2].replace(": 2}", ": 2.5}"))
    packed, targets = tmp_path / "packed", {"height": "height"}
    kseq.pack(tmp_path / "first.jsonl", packed, columns=kseq.Columns(targets=targets), workers=0)
    kseq.add_field(packed, "height", tmp_path / "values.csv", replace=True)
    with raises(SourceError, "'height'", "float32", "int64", "kseq.compact", "numbers"):
        append(packed, tmp_path / "more.jsonl", columns=kseq.Columns(targets=targets))
    kseq.compact(packed)
    append(packed, tmp_path / "more.jsonl", columns=kseq.Columns(targets=targets))
    assert kseq.ShardDataset(packed).values("height").tolist() == [0.5, 1.5, 2.5]


def test_what_does_not_make_sense_is_refused_and_nothing_written(packed: Path, more: Path, tmp_path: Path) -> None:
    before = files(packed)
    with raises(ArgumentError, "on_error='stop'"):
        append(packed, more, on_error="stop")
    with raises(ArgumentError, "val=2", 0, 1):
        append(packed, more, val=2)
    with raises(ArgumentError, packed):
        append(packed, packed)
    with raises(SourceError, tmp_path / "nowhere"):
        append(packed, tmp_path / "nowhere")
    with pytest.raises(DatasetNotFoundError):
        append(tmp_path / "nowhere", more)
    with locked(str(packed)), pytest.raises(LockedError):
        append(packed, more)
    assert files(packed) == before


def killed(path: Path, seconds: float, *arguments: Any, **options: Any) -> None:
    """An append in a process of its own, killed after some seconds."""
    pid = os.fork()
    if not pid:
        append(path, *arguments, **options)
        os._exit(0)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.slow
def test_an_append_that_is_killed_leaves_the_dataset_as_it_was_and_can_be_resumed(
    packed: Path, more: Path, tmp_path: Path
) -> None:
    before = files(packed)
    whole = Path(shutil.copytree(packed, tmp_path / "whole"))
    started = time.monotonic()
    append(whole, more, val=0.1, shard_bytes=300)
    seconds = time.monotonic() - started
    chance = random.Random(0)
    resumed: list[int] = []
    # How long it takes is another matter each time: as often as it takes to kill one amid its shards.
    while len(resumed) < 3 or (not any(resumed) and len(resumed) < 50):
        killed(packed, chance.uniform(0.2, 1) * seconds, more, val=0.1, shard_bytes=300)
        if (packed / "index.h5.1").exists():
            kseq.undo(packed)
            (packed / "index.h5.1").unlink()
        now = files(packed)
        assert now["index.h5"] == before["index.h5"]
        assert len(kseq.ShardDataset(packed)) == 100
        assert kseq.verify(packed).damaged == []
        other = Path(shutil.copytree(packed, tmp_path / f"other{len(resumed)}"))
        resumed.append(append(other, more, val=0.1, shard_bytes=300, resume=True).num_resumed)
        assert files(other) == files(whole)
    assert any(resumed), resumed
    append(packed, more, val=0.1, shard_bytes=300)
    assert files(packed) == files(whole)


def test_the_spool_of_a_killed_append_goes_with_the_next_change(packed: Path) -> None:
    around = sorted(os.listdir(packed.parent))
    pid = os.fork()
    if not pid:

        def samples() -> Iterator[dict[str, Any]]:
            for number in range(1000):
                yield {"image": numbered_pixels(number), "label": "a"}
            os.kill(os.getpid(), signal.SIGKILL)

        append(packed, samples())
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert any(name.startswith(".kseq-tmp-") for name in os.listdir(packed))
    publish(packed)
    assert not any(name.startswith(".kseq-tmp-") for name in os.listdir(packed))
    assert sorted(os.listdir(packed.parent)) == around


def test_what_a_killed_append_left_is_of_no_use_to_another(packed: Path, more: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(packed, tmp_path / "other"))
    append(other, more)
    for name in ("shard-00007.h5", "shard-00008.h5"):
        shutil.copy(other / name, packed / name)
    left = Path(shutil.copytree(packed, tmp_path / "left"))
    same = Path(shutil.copytree(packed, tmp_path / "same"))
    assert append(same, more, resume=True).num_resumed == 2
    assert append(packed, more, val=0.1, resume=True).num_resumed == 0
    assert kseq.verify(packed).damaged == []
    again = Path(shutil.copytree(more, tmp_path / "again" / "more"))
    rewritten = again / "aa" / "00000.png"
    os.utime(rewritten, ns=(0, rewritten.stat().st_mtime_ns + 1))
    assert append(Path(shutil.copytree(left, tmp_path / "third")), again, resume=True).num_resumed == 0
    publish(left, dropped=np.array([0]))
    assert not (left / "shard-00007.h5").exists()
    shutil.copy(other / "shard-00007.h5", left / "shard-00007.h5")
    assert append(left, more, resume=True).num_resumed == 0
    assert kseq.verify(left).damaged == []


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error_and_can_be_resumed(packed: Path, more: Path) -> None:
    import multiprocessing

    def kill_one(done: int, total: int) -> None:
        if 0 < done < total and multiprocessing.active_children():
            child = multiprocessing.active_children()[0].pid
            assert child is not None
            os.kill(child, signal.SIGKILL)

    before = numbers_and_classes(packed)
    with pytest.raises(WorkerDiedError):
        append(packed, more, workers=1, progress=kill_one)
    assert numbers_and_classes(packed) == before
    append(packed, more, resume=True)
    assert numbers_and_classes(packed) == before + expected()


def test_the_command_says_what_came_out(packed: Path, more: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["append", str(packed), str(more), "--workers", "0", "--val", "0.1"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "\nb       24 -> 42    6 -> 8\n" in shown
    assert "\nd         0 -> 9    0 -> 1\n" in shown
    assert f"\n40 images appended to {packed}: 1 new shard, " in shown
    assert "\nnew classes: aa, d\n" in shown
    assert main(arguments) == 1
    assert "kseq: append more (val 0.1, seed 0): all 40 samples are in" in capsys.readouterr().err
    assert main([*arguments, "--again"]) == 0
    assert "40 of the images were in the dataset already\n" in capsys.readouterr().out
