"""What notebooks show of datasets, batches and reports: it is small and escaped, never raises, and moves nothing."""

from __future__ import annotations

import dataclasses
import html.parser
import itertools
import json
import re
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.display.html import frame
from kseq.display.tile_strip import make_strip
from kseq.display.tiles import Tile
from kseq.errors import tell, warn
from kseq.storage.report import Report
from kseq.training.batches_inside import open_again
from tests.helpers.messages import raises
from tests.helpers.photos import photo, write_numbered
from tests.helpers.viewing import HOSTILE_CLASS, HOSTILE_FILE, ask_json, pack_hostile, pack_objects

# What a notebook keeps of one output.
MOST_BYTES = 200_000
VOID = {"meta", "img", "br"}


class _Reader(html.parser.HTMLParser):
    """Elements and texts; fails where an element is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] != "style":
            self.text += data + " "


def read(shown: Any) -> _Reader:
    """The HTML of an object; it is well formed, small, and does and loads nothing."""
    text = shown._repr_html_()
    # As a message to a browser, and as a file.
    json.dumps(text).encode()
    assert len(text.encode()) < MOST_BYTES
    reader = _Reader()
    reader.feed(text)
    assert reader.open == []
    assert not reader.tags & {"script", "img", "iframe", "link", "object", "base", "form"}
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    addresses = [value for name, value in reader.attributes if name in ("href", "src", "xlink:href")]
    assert all(value and re.fullmatch(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", value) for value in addresses)
    return reader


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_objects(tmp_path_factory.mktemp("objects"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_hostile(tmp_path_factory.mktemp("hostile"))


def test_a_dataset_shows_its_samples_fields_classes_and_splits(objects: Path) -> None:
    shown = read(kseq.ShardDataset(objects, "train"))
    for part in ("train", "4 samples", "mask", "boxes", "height", "cup", "plate", "60 x 80", "kseq view"):
        assert part in shown.text
    # A picture for each sample, with its boxes over it.
    assert len([name for name, _ in shown.attributes if name == "href"]) == 4
    assert ("stroke", "rgb(61, 158, 245)") in shown.attributes or "rect" in shown.tags
    assert {"svg", "rect", "table"} <= shown.tags


@pytest.mark.parametrize("name", ["it's mine", "$(x) `y`", "new\nline", "-rf", "<b> & co"])
def test_a_command_that_is_shown_is_what_a_shell_takes(
    numbered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copytree(numbered, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with kseq.ShardDataset(name) as dataset, kseq.Viewer(name) as viewer:
        said = (
            next(line for line in read(dataset).text.split("  ") if line.startswith("kseq view"))
            .removeprefix("kseq view ")
            .strip()
        )
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with raises(kseq.errors.ArgumentError, f"kseq view {said}"):
            dataset.show()
        assert ask_json(viewer, "about")["path_word"] == said
    done = subprocess.run(["bash", "-c", f"cd -- {said} && ls"], capture_output=True, timeout=60, check=True)
    assert b"index.h5" in done.stdout


def test_many_classes_and_folds_are_folded(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {f"class {number:03}": 1 for number in range(250)})
    report = kseq.pack(tmp_path / "photos", tmp_path / "packed", images=kseq.ImageSettings("raw", (2, 2)), workers=0)
    kseq.split(tmp_path / "packed", folds=5)
    for shown in (report, kseq.ShardDataset(tmp_path / "packed"), kseq.ShardDataset(tmp_path / "packed").counts()):
        found = read(shown)
        assert "details" in found.tags
        assert "that are not shown" in found.text
    assert "250 classes: class 000" in repr(kseq.ShardDataset(tmp_path / "packed"))
    assert len(str(report)) < 1500


def test_class_names_and_sources_are_never_markup(hostile: Path) -> None:
    for shown in (
        kseq.ShardDataset(hostile),
        kseq.Batches(hostile, "all", batch_size=4),
        kseq.ShardDataset(hostile).counts(),
    ):
        assert HOSTILE_CLASS in read(shown).text


def test_texts_that_are_no_utf8_and_very_long_ones_are_shown(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    names = ["\udcff.png", f"{'x' * 200}.png", "a\u202e.png", f"{HOSTILE_FILE.replace('/', '')}"]
    rows = []
    for number, name in enumerate(names):
        Image.fromarray(photo(number, 6, 5)).save(tmp_path / "photos" / name)
        rows.append({"path": name, "words": f"</p><b>\x07{'y' * 30_000}"})
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "t.jsonl").write_text(lines)
    columns = kseq.Columns(image="path", targets=["words"])
    report = kseq.pack(tmp_path / "t.jsonl", tmp_path / "packed", columns=columns, root=tmp_path / "photos", workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert report.num_samples + len(report.rejected) == 4
    assert "</p><b>" in read(dataset).text
    read(report)
    assert all(line.isprintable() for line in [repr(dataset), *str(report).splitlines()])


@pytest.mark.parametrize("of", [kseq.ShardDataset, kseq.Batches, lambda path: kseq.ShardSequence(path)])
def test_a_damaged_dataset_shows_what_is_wrong(of: Callable[[Path], Any], packed: Path) -> None:
    shown = of(packed)
    shard = sorted(packed.glob("shard-*.h5"))[0]
    data = bytearray(shard.read_bytes())
    data[200:-1] = bytes(len(data) - 201)
    shard.write_bytes(data)
    assert shard.name in read(shown).text


def test_a_closed_dataset_and_closed_batches_say_so(numbered: Path) -> None:
    for shown in (kseq.ShardDataset(numbered), kseq.Batches(numbered), kseq.ShardSequence(numbered)):
        shown.close()
        assert "closed" in read(shown).text
        assert "closed" in repr(shown)


def test_a_batch_is_shown_as_the_model_gets_it(objects: Path) -> None:
    batches = kseq.Batches(
        objects,
        "all",
        batch_size=4,
        input_shape=(40, 40, 3),
        crop_to_aspect_ratio=True,
        augment=[kseq.RandomFlip(), kseq.ColorJitter(0.2)],
        targets={name: name for name in ("mask", "boxes", "labels", "height")},
        seed=3,
    )
    shown = read(batches)
    for part in ("Batch 0 of epoch 0", "2 batches of 4", "not shuffled", "40 x 40", "25 %", "RandomFlip", "ColorJitter", "cup"):
        assert part in shown.text
    assert "4 x 40 x 40 x 3" in shown.text
    fitted = {
        "nothing is resized": {"input_shape": (60, 80, 3)},
        "33 %": {"input_shape": (40, 40, 3)},
        "padded": {"input_shape": (40, 40, 3), "pad_to_aspect_ratio": True},
        "RandomResizedCrop": {"augment": [kseq.RandomResizedCrop(24)]},
    }
    for part, arguments in fitted.items():
        assert part in read(kseq.Batches(objects, "all", targets="height", **arguments)).text


def test_the_least_common_forms_of_batches_are_shown(objects: Path, numbered: Path) -> None:
    cases: list[kseq.Batches] = [
        kseq.Batches(objects, "all", layout="keras"),
        kseq.Batches(numbered, label_mode=None, data_format="channels_first", dtype="float32", scale=1 / 255),
        kseq.Batches(numbered, label_mode="categorical", augment=[kseq.MixUp(0.4)]),
        kseq.Batches(numbered, global_batch_size=12, rank=1, world_size=3),
        kseq.Batches(numbered, "val", batch_size=7, remainder="pad"),
    ]
    for batches in cases:
        shown = read(batches)
        assert "Batch 0 of epoch 0" in shown.text
        assert "Error" not in shown.text
    assert "rank 1 of 3" in read(cases[3]).text


@pytest.mark.parametrize(
    "arguments",
    [{}, {"ragged": ["text"]}, {"augment": kseq.BatchFunction(lambda fields: {"text": np.arange(4).reshape(2, 2)})}],
    ids=["bytes", "str", "numbers"],
)
def test_texts_of_a_batch_are_shown_as_they_are(tmp_path: Path, arguments: dict[str, Any]) -> None:
    samples = [{"image": photo(number, 8, 8), "text": "<i>rosé</i>" * number} for number in (1, 2)]
    kseq.pack(samples, tmp_path / "packed", columns=kseq.Columns(text="text"), workers=0)
    shown = read(kseq.Batches(tmp_path / "packed", "all", targets="text", **arguments))
    assert "Error" not in shown.text
    assert ("[0, 1]" if "augment" in arguments else "<i>rosé</i><i>rosé</i>") in shown.text


def test_a_look_moves_neither_epoch_nor_pass_and_keeps_no_buffers(numbered: Path, recwarn: pytest.WarningsRecorder) -> None:
    with kseq.ShardSequence(numbered, batch_size=8) as plain, kseq.ShardSequence(numbered, batch_size=8) as looked:
        for _ in range(2):
            for number, (first, second) in enumerate(itertools.zip_longest(plain, looked)):
                np.testing.assert_array_equal(first[0], second[0])
                if number in (0, 4, 9):
                    assert f"of epoch {looked.epoch}" in read(looked).text
            assert plain.epoch == looked.epoch
        state = looked.state_dict()
        read(looked)
        assert looked.state_dict() == state
        assert plain.batches._loader.__dict__.keys() == looked.batches._loader.__dict__.keys()
        # After a state was loaded, the batch that comes next.
        looked.load_state_dict(looked.batches.state_dict(4, 3))
        assert "Batch 3 of epoch 4" in read(looked).text
        assert (looked.epoch, looked._passes.start) == (4, 3)
    assert not recwarn.list


def test_a_look_repeats_no_warning_and_takes_none_from_other_threads(numbered: Path) -> None:
    told = []

    def augment(images: np.ndarray) -> np.ndarray:
        # Another thread, while this one looks.
        thread = threading.Thread(target=lambda: warnings.warn("of another thread", stacklevel=1))
        thread.start()
        thread.join()
        return images

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: told.append(str(message))
        with kseq.Batches(numbered, batch_size=8, rank=0, world_size=3, augment=[augment]) as batches:
            assert "are left out" in told.pop()
            read(batches)

        def look() -> list[str]:
            tell("told before")
            warn("warned before", 1)
            return ["seen"]

        assert "seen" in frame("a look", look)
        assert set(told) == {"of another thread"}
        look()
    assert told[-2:] == ["told before", "warned before"]


def test_a_function_that_fails_is_shown_as_text_and_other_ranks_are_not_told(numbered: Path) -> None:
    def fail(images: np.ndarray) -> np.ndarray:
        raise ValueError("<b>no such colour</b>")

    with kseq.Batches(numbered, augment=[fail]) as batches:
        assert "<b>no such colour</b>" in read(batches).text


def test_samples_of_noise_stay_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 150, (12, 400, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 150, (12, 400, 2))], axis=2).astype(np.float32)
    images = rng.integers(0, 256, (12, 300, 300, 3)).astype(np.uint8)
    samples = [{"image": image, "boxes": drawn} for image, drawn in zip(images, boxes, strict=True)]
    kseq.pack(samples, tmp_path / "packed", columns=kseq.Columns(boxes="boxes"), workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert "400 boxes, 60 of them drawn" in read(dataset).text
    read(kseq.Batches(dataset, "all", batch_size=12))


def test_a_strip_of_large_pictures_is_compressed_until_it_is_small() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (20, 200, 200, 3)).astype(np.uint8)
    assert len(make_strip([Tile(pixels) for pixels in noise])) < 150_000


def test_a_look_goes_on_where_the_batches_do(numbered: Path) -> None:
    with kseq.Batches(numbered, batch_size=8) as batches, kseq.Batches(numbered, batch_size=12) as before:
        # Of another size than the batch before: these begin with the sample that comes next.
        epoch, number = batches.load_state_dict(before.state_dict(4, 3))
        with open_again(batches, workers=0) as looked:
            np.testing.assert_array_equal(looked.sample_ids(epoch, number), batches.sample_ids(epoch, number))


def test_reports_say_what_was_done(source: Path, tmp_path: Path) -> None:
    (source / "cat" / "<b>broken<b>.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (source / "dog" / "empty.jpg").write_bytes(b"")
    packed = kseq.pack(source, tmp_path / "packed", val=0.2, workers=0)
    shown = read(packed)
    for part in ("cat", "dog", "train", "val", "left out: 2 files", "is empty"):
        assert part in shown.text
    assert {"svg", "rect"} <= shown.tags
    assert re.search(r"^  samples: 30$", str(packed), re.MULTILINE)
    assert re.search(r"^  splits: train 24, val 6$", str(packed), re.MULTILINE)
    reports = [
        packed,
        kseq.split(packed.path, folds=3),
        kseq.drop(packed.path, where=["label=cat"]),
        kseq.undo(packed.path),
        kseq.rename_class(packed.path, "cat", HOSTILE_CLASS),
        kseq.verify(packed.path),
        kseq.compact(packed.path),
        kseq.copy(packed.path, tmp_path / "copy"),
        kseq.drop(tmp_path / "copy", where=["label=dog"]),
        kseq.merge([packed.path, tmp_path / "copy"], tmp_path / "merged"),
        kseq.export(packed.path, tmp_path / "files"),
    ]
    for report in reports:
        name = type(report).__name__
        assert name in read(report).text
        assert str(report).startswith(f"{name}: {report.path}")
        # Each number is said.
        for field in dataclasses.fields(report):
            if field.name in ("num_samples", "num_shards", "num_dropped"):
                assert f"{getattr(report, field.name):,}" in str(report)


@pytest.mark.parametrize("name", [name for name in kseq.__all__ if name.endswith("Report")])
def test_every_report_can_be_read(name: str) -> None:
    assert issubclass(getattr(kseq, name), Report)


def test_a_verified_dataset_that_is_damaged_says_where(packed: Path) -> None:
    assert "nothing is damaged" in str(kseq.verify(packed))
    shard = sorted(packed.glob("shard-*.h5"))[2]
    shard.unlink()
    report = kseq.verify(packed)
    assert shard.name in str(report)
    assert shard.name in read(report).text


def test_a_url_is_not_asked_for_images_by_a_look(numbered: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="file:// needs fsspec")
    shutil.copytree(numbered, tmp_path / "there")
    with kseq.ShardDataset(f"file://{tmp_path}/there", cache_dir=tmp_path / "cache") as dataset:
        assert "show()" in read(dataset).text
        assert "train 80" in read(dataset).text
        with kseq.Batches(dataset) as batches:
            assert "show()" in read(batches).text
    assert not [path for path in (tmp_path / "cache").rglob("*.h5") if path.parent.name != "indexes"]
