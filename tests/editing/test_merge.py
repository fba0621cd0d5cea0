"""Merging: one dataset of several, whose files it shares and whose fate it does not."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
import kseq.editing.merge
from kseq.editing.transaction import begin_transaction
from kseq.errors import (
    ArgumentError,
    DamagedError,
    DatasetExistsError,
    DatasetNotFoundError,
    FormatError,
    LockedError,
    ReadError,
    WriteError,
)
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.index_writer import write_index
from kseq.storage.output_folder import new_folder
from kseq_tools.main import main
from tests.helpers.datasets import files, numbers_and_classes, publish
from tests.helpers.messages import raises
from tests.helpers.photos import numbered_pixels, write_numbered, write_photos

HEIGHT = Field("height", "numbers", False, "<f4", ())
TOPICS = Field("topics", "multi_label", False, "<i4", (None,), ("garden", "summer"))


@pytest.fixture
def first(numbered: Path, tmp_path: Path) -> Path:
    """A copy of the numbered dataset, classes a, b, c."""
    return Path(shutil.copytree(numbered, tmp_path / "first"))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 30 samples in 2 shards, classes b, c, d, with a split test."""
    root = tmp_path_factory.mktemp("others")
    write_numbered(root / "photos", {"b": 10, "c": 10, "d": 10})
    kseq.pack(root / "photos", root / "packed", images=kseq.ImageSettings("raw", (4, 4)), test=0.2, shard_bytes=800, workers=0)
    return root / "packed"


@pytest.fixture
def second(others: Path, tmp_path: Path) -> Path:
    """A copy of that, to be changed."""
    return Path(shutil.copytree(others, tmp_path / "second"))


def test_samples_follow_each_other_and_classes_go_by_their_names(first: Path, second: Path, tmp_path: Path) -> None:
    report = kseq.merge([first, second], tmp_path / "both")
    both = kseq.ShardDataset(tmp_path / "both")
    assert both.class_names == report.class_names == ("a", "b", "c", "d")
    assert numbers_and_classes(tmp_path / "both") == numbers_and_classes(first) + numbers_and_classes(second)
    assert numbers_and_classes(tmp_path / "both", "train") == numbers_and_classes(first, "train") + numbers_and_classes(
        second, "train"
    )
    assert numbers_and_classes(tmp_path / "both", "val") == numbers_and_classes(first, "val")
    assert numbers_and_classes(tmp_path / "both", "test") == numbers_and_classes(second, "test")
    assert report.splits == both.splits == {"train": 104, "val": 20, "test": 6}
    assert (report.num_samples, report.num_shards, report.num_linked) == (130, 9, 9)
    assert report.num_bytes == sum(map(len, files(tmp_path / "both").values()))
    assert kseq.verify(tmp_path / "both").damaged == []
    assert Index.open(str(tmp_path / "both")).changes == ("merge first + second",)


def test_without_a_label_the_classes_are_those_of_the_first_field(tmp_path: Path) -> None:
    for number, order in enumerate((("topics", "places"), ("places", "topics"))):
        Image.fromarray(numbered_pixels(number)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.csv").write_text(f"image,size\n{number}.png,{number}\n")
        (tmp_path / f"more{number}.csv").write_text(f"id,topics,places\n0,{'a|b' if number == 0 else 'c'},in|out\n")
        kseq.pack(
            tmp_path / f"{number}.csv", tmp_path / f"d{number}", columns=kseq.Columns(targets={"size": "size"}), workers=0
        )
        for name in order:
            kseq.add_field(tmp_path / f"d{number}", name, tmp_path / f"more{number}.csv", column=name)
    report = kseq.merge([tmp_path / "d0", tmp_path / "d1"], tmp_path / "both")
    dataset = kseq.ShardDataset(tmp_path / "both")
    assert dataset.class_names == report.class_names == dataset.fields["topics"].class_names == ("a", "b", "c")
    assert [sample.tolist() for sample in dataset.values("topics")] == [[0, 1], [2]]


def test_shards_are_links_and_no_change_of_one_dataset_touches_another(first: Path, second: Path, tmp_path: Path) -> None:
    kseq.merge([first, second], tmp_path / "both")
    assert os.path.samefile(first / "shard-00003.h5", tmp_path / "both/shard-00003.h5")
    assert os.path.samefile(second / "shard-00001.h5", tmp_path / "both/shard-00008.h5")
    before, whole = (files(first), files(second)), numbers_and_classes(tmp_path / "both")
    publish(tmp_path / "both", dropped=np.arange(50))
    kseq.compact(tmp_path / "both", undo=False)
    assert (files(first), files(second)) == before
    publish(first, dropped=np.arange(0, 100, 2))
    kseq.compact(first, undo=False)
    shutil.rmtree(second)
    assert numbers_and_classes(tmp_path / "both") == whole[50:]
    assert kseq.verify(tmp_path / "both").damaged == []


def test_copies_are_made_where_asked_for_and_where_there_are_no_links(
    first: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kseq.merge([first, second], tmp_path / "copied", copy=True).num_linked == 0
    assert not os.path.samefile(first / "shard-00003.h5", tmp_path / "copied/shard-00003.h5")

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert kseq.merge([first, second], tmp_path / "both").num_linked == 0
    assert files(tmp_path / "both") == files(tmp_path / "copied")


def test_datasets_whose_classes_begin_alike_need_no_column(first: Path, second: Path, tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 3, "b": 2})
    kseq.pack(tmp_path / "photos", tmp_path / "third", images=kseq.ImageSettings("raw", (4, 4)), workers=0)
    kseq.merge([first, tmp_path / "third"], tmp_path / "both")
    assert not Index.open(str(tmp_path / "both")).columns
    kseq.merge([tmp_path / "both", second], tmp_path / "all")
    assert list(Index.open(str(tmp_path / "all")).columns) == ["label"]
    assert numbers_and_classes(tmp_path / "all") == numbers_and_classes(first) + numbers_and_classes(
        tmp_path / "third"
    ) + numbers_and_classes(second)


def test_a_column_of_one_is_a_column_of_all_and_what_was_dropped_stays_so(first: Path, second: Path, tmp_path: Path) -> None:
    publish(second, columns={"label": np.full(30, 2, "<i4")}, dropped=np.array([3, 29]))
    kseq.merge([first, second], tmp_path / "both")
    dataset = kseq.ShardDataset(tmp_path / "both")
    assert numbers_and_classes(tmp_path / "both") == numbers_and_classes(first) + [
        (number, "d") for number in range(30) if number not in (3, 29)
    ]
    assert dataset.dropped.tolist() == [103, 129]
    kseq.compact(tmp_path / "both")
    assert numbers_and_classes(tmp_path / "both") == numbers_and_classes(first) + [
        (number, "d") for number in range(30) if number not in (3, 29)
    ]
    assert kseq.verify(tmp_path / "both").damaged == []


def test_fields_that_lie_beside_the_shards_of_all_are_joined(first: Path, second: Path, tmp_path: Path) -> None:
    for path, count, names in ((first, 100, ("garden", "summer")), (second, 30, ("winter", "garden"))):
        topics = {
            "topics/values": (np.arange(count) % 2).astype("<i4"),
            "topics/offsets": np.arange(count + 1).astype("<u8"),
            "height": np.arange(count).astype("<f4"),
        }
        named = Field("topics", "multi_label", False, "<i4", (None,), names)
        publish(path, fields=(*Index.open(str(path)).fields, HEIGHT, named), columns=topics)
    kseq.merge([first, second], tmp_path / "both")
    dataset = kseq.ShardDataset(tmp_path / "both")
    assert dataset.fields["topics"].class_names == ("garden", "summer", "winter")
    assert [sample.tolist() for sample in dataset.values("topics")] == [[n % 2] for n in range(100)] + [[2], [0]] * 15
    assert dataset.values("height").tolist() == [*range(100), *range(30)]
    assert kseq.verify(tmp_path / "both").damaged == []


def test_encoded_images_of_other_sizes_go_together(photos: Path, packed_photos: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "one", {"dog": 1})
    kseq.pack(tmp_path / "one", tmp_path / "other", images=kseq.ImageSettings("jpeg"), workers=0)
    assert kseq.ShardDataset(tmp_path / "other").fields["image"].shape == (40, 50, 3)
    report = kseq.merge([tmp_path / "other", packed_photos], tmp_path / "both")
    dataset = kseq.ShardDataset(tmp_path / "both")
    assert (report.num_samples, dataset.fields["image"].shape) == (61, (None, None, 3))
    assert dataset.stored_bytes(1) == kseq.ShardDataset(packed_photos).stored_bytes(0)
    assert kseq.verify(tmp_path / "both").damaged == []


def test_the_id_and_the_digest_come_from_the_parts_alone(first: Path, second: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        kseq.merge([first, second], tmp_path / name)
    kseq.merge([second, first], tmp_path / "three")
    one, two, three = (Index.open(str(tmp_path / name)) for name in ("one", "two", "three"))
    assert (one.dataset_id, one.digest) == (two.dataset_id, two.digest)
    assert three.dataset_id != one.dataset_id


def test_datasets_that_do_not_go_together_are_refused_in_one_line(
    first: Path, second: Path, packed_photos: Path, tmp_path: Path
) -> None:
    before = sorted(os.listdir(tmp_path))
    with raises(ArgumentError, "'image'", 3, "image", "first"):
        kseq.merge([first, packed_photos], tmp_path / "both")
    write_numbered(tmp_path / "photos", {"a": 3})
    for options, found in (({"image_size": (8, 8)}, "8 x 8, 3 channels"), ({"color_mode": "grayscale"}, "4 x 4, 1 channel")):
        settings: dict[str, Any] = {"image_size": (4, 4), **options}
        images = kseq.ImageSettings("raw", **settings)
        kseq.pack(tmp_path / "photos", tmp_path / "third", images=images, workers=0, overwrite=True)
        with raises(ArgumentError, "'image'", found, "third", "image", "first", "4 x 4", 3):
            kseq.merge([first, tmp_path / "third"], tmp_path / "both")
    publish(second, fields=(*Index.open(str(second)).fields, HEIGHT), columns={"height": np.zeros(30, "<f4")})
    with raises(ArgumentError, first, "'height'", second):
        kseq.merge([first, second], tmp_path / "both")
    assert sorted(set(os.listdir(tmp_path)) - {"photos", "third"}) == before


def test_a_field_beside_the_shards_of_one_and_in_those_of_another_needs_compact(
    first: Path, second: Path, tmp_path: Path
) -> None:
    for path, count in ((first, 100), (second, 30)):
        publish(path, fields=(*Index.open(str(path)).fields, HEIGHT), columns={"height": np.arange(count).astype("<f4")})
    kseq.compact(first)
    with raises(ArgumentError, second, "'height'", "kseq.compact"):
        kseq.merge([first, second], tmp_path / "both")
    with raises(ArgumentError, second, "'height'"):
        kseq.merge([second, first], tmp_path / "both")
    kseq.compact(second)
    kseq.merge([first, second], tmp_path / "both")
    assert kseq.ShardDataset(tmp_path / "both").values("height").tolist() == [*range(100), *range(30)]


def test_the_same_dataset_twice_and_one_alone_are_refused(first: Path, second: Path, tmp_path: Path) -> None:
    with raises(ArgumentError, first):
        kseq.merge([first, second, first], tmp_path / "both")
    shutil.copytree(first, tmp_path / "copy")
    with raises(ArgumentError, tmp_path / "copy", first):
        kseq.merge([first, tmp_path / "copy"], tmp_path / "both")
    for wrong in ([first], [], str(first)):
        with raises(ArgumentError):
            kseq.merge(wrong, tmp_path / "both")
    with pytest.raises(DatasetNotFoundError):
        kseq.merge([first, tmp_path / "nowhere"], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_what_lies_there_gives_way_only_when_asked(first: Path, second: Path, numbered: Path, tmp_path: Path) -> None:
    both = Path(shutil.copytree(numbered, tmp_path / "both"))
    publish(both, dropped=np.array([1]))
    before = files(both)
    with raises(DatasetExistsError, both, "overwrite=True"):
        kseq.merge([first, second], both)
    with raises(ArgumentError, first):
        kseq.merge([first, second], first, overwrite=True)
    assert files(both) == before
    kseq.merge([first, second], both, overwrite=True)
    assert numbers_and_classes(both) == numbers_and_classes(first) + numbers_and_classes(second)
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith("both")) == ["both"]


def test_what_was_merged_can_be_changed_at_once(first: Path, second: Path, tmp_path: Path) -> None:
    kseq.merge([first, second], tmp_path / "both")
    assert ".kseq-lock" not in os.listdir(tmp_path / "both")
    kseq.compact(tmp_path / "both")


def test_a_dataset_that_another_changes_is_not_replaced(first: Path, second: Path, numbered: Path, tmp_path: Path) -> None:
    both = Path(shutil.copytree(numbered, tmp_path / "both"))
    with begin_transaction(both) as under_way:
        with raises(LockedError, both, os.getpid()):
            kseq.merge([first, second], both, overwrite=True)
        under_way.publish("a change")
    assert kseq.ShardDataset(both).changes == ("a change",)


def test_of_two_merges_to_one_folder_the_second_stops(first: Path, second: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    with new_folder(str(both), overwrite=False):
        for overwrite in (False, True):
            with raises(LockedError, both, os.getpid()):
                kseq.merge([first, second], both, overwrite=overwrite)
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]


def test_a_shard_that_is_not_the_one_meant_stops_it_and_leaves_nothing(others: Path, second: Path, tmp_path: Path) -> None:
    publish(second, dropped=np.array([0]))
    data = (second / "shard-00001.h5").read_bytes()
    for wrong in ((second / "shard-00000.h5").read_bytes(), data[:-1]):
        (second / "shard-00001.h5").write_bytes(wrong)
        with raises((DamagedError, FormatError), "second/shard-00001.h5"):
            kseq.merge([others, second], tmp_path / "both")
    (second / "shard-00001.h5").unlink()
    with raises(ReadError, "shard-00001.h5", second):
        kseq.merge([others, second], tmp_path / "both")
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith("both")) == []


def test_a_disk_that_cannot_hold_the_copies_is_said_in_one_line(
    first: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", fail)
    with raises(WriteError, "shard-00000.h5", "first/shard-00000.h5", "No space left on device"):
        kseq.merge([first, second], tmp_path / "both", copy=True)
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]


def test_a_killed_merge_leaves_nothing_that_passes_for_a_dataset(first: Path, second: Path, tmp_path: Path) -> None:
    pid = os.fork()
    if not pid:
        # The child dies when all is linked, at the index.
        kseq.editing.merge.write_index = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        kseq.merge([first, second], tmp_path / "both")
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert sorted(entry for entry in os.listdir(tmp_path) if "both" in entry) == [".kseq-new-both", "both"]
    for name in (".kseq-new-both", "both"):
        with pytest.raises(DatasetNotFoundError):
            kseq.ShardDataset(tmp_path / name)
    kseq.merge([first, second], tmp_path / "both")
    assert sorted(entry for entry in os.listdir(tmp_path) if "both" in entry) == ["both"]


def test_a_merged_dataset_is_not_resumed(first: Path, second: Path, tmp_path: Path) -> None:
    kseq.merge([first, second], tmp_path / "both")
    write_numbered(tmp_path / "photos", {"a": 3})
    with pytest.raises(DatasetExistsError):
        kseq.pack(tmp_path / "photos", tmp_path / "both", resume=True, workers=0)


def test_the_command_says_what_came_out(first: Path, second: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "both")
    assert main(["merge", str(first), str(second), out]) == 0
    shown = capsys.readouterr().out
    assert f"\n130 samples of 2 datasets in {out}: 9 shards, 9 of them links, " in shown
    assert "\nd          8    0     2\n" in shown
    assert main(["merge", str(first), str(second), out]) == 1
    assert main(["merge", str(first), str(second), out, "--copy", "--overwrite"]) == 0
    assert ": 9 shards, copies, " in capsys.readouterr().out


def test_an_index_with_broken_offsets_is_not_carried_on(first: Path, second: Path, tmp_path: Path) -> None:
    for path, count in ((first, 100), (second, 30)):
        index = Index.open(str(path))
        offsets = np.arange(count + 1).astype("<u8")
        offsets[7] = count * (path == second) + 7
        columns = {"topics/values": np.zeros(count, "<i4"), "topics/offsets": offsets}
        write_index(str(path), index.contents(fields=(*index.fields, TOPICS), columns=columns))
    with raises(DamagedError, second, "topics/offsets", 0, 30):
        kseq.merge([first, second], tmp_path / "both")
