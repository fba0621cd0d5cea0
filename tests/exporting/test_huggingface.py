"""Exports for Hugging Face: `datasets.load_dataset` reads the folder, and kseq packs it again with the same class numbers."""

from __future__ import annotations

import gc
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import yaml
from PIL import Image

import kseq
from kseq.exporting import huggingface
from kseq.exporting.yaml_text import yaml_lines
from kseq.reading.dataset import sample_reader
from tests.exporting.test_export import checksums, pack_again
from tests.helpers.datasets import publish
from tests.helpers.photos import FAST_DCT, photo

CLASSES = ["zebra", " ant ", "nan", "ünter|weg", "- no: #1", 'the "cat"\n', "null", "12", "never"]
# Of boxes and of several labels: other classes, and one that no sample has.
KINDS = ["wasp", "a|b", " [1]", "absent", "[1]"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples with boxes, labels and numbers, of classes whose names and numbers are odd, in splits whose names are."""
    root = tmp_path_factory.mktemp("odd")
    lines = []
    for number in range(24):
        Image.fromarray(photo(number, 20 + number % 3, 30)).save(root / f"{number}.jpg", quality=95)
        Image.fromarray(np.full((20 + number % 3, 30), number, np.uint8)).save(root / f"{number}.png")
        row = {
            "image": f"{number}.jpg",
            "label": f"c{number % 8}",
            "outline": f"{number}.png",
            "boxes": [[1.5, 2, 20.1, 15 + step] for step in range(number % 3)],
            "kinds": [f"k{(number + step) % 3}" for step in range(number % 3)],
            "topics": [f"k{step}" for step in range(number % 3)],
            "height": number,
            "vector": [number, 0.1],
            "matrix": [[1, 2.5], [number, 4]],
            "some": [0.5] * (number % 3),
            "words": f"line {number}\n",
        }
        lines.append(json.dumps(row))
    (root / "all.jsonl").write_text("\n".join(lines))
    targets = ["topics", "height", "vector", "matrix", "some"]
    columns = kseq.Columns(
        mask="outline", boxes="boxes", box_labels="kinds", text="words", targets=targets, kinds={"topics": "multi_label"}
    )
    kseq.pack(root / "all.jsonl", root / "packed", columns=columns, workers=0)
    fields = kseq.ShardDataset(root / "packed").fields
    named = [
        field if not field.class_names else kseq.Field(**{**_facts(field), "class_names": tuple(KINDS)})
        for field in fields.values()
    ]
    folds = {
        "train": np.arange(2, 9),
        "val": np.array([1, 0]),
        "fold0-train": np.arange(9, 15),
        "fold0.train": np.arange(15, 20),
    }
    publish(root / "packed", class_names=tuple(CLASSES), fields=tuple(named), splits=folds)
    return root / "packed"


def _facts(field: kseq.Field) -> dict[str, Any]:
    return {name: getattr(field, name) for name in ("name", "kind", "encoded", "dtype", "shape", "class_names", "mirror_order")}


def load(folder: Path, tmp_path: Path, **arguments: Any) -> Any:
    return datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), **arguments)


def check_sample(found: dict[str, Any], dataset: kseq.ShardDataset, number: int) -> None:
    """A row of `datasets` holds what a sample of kseq does."""
    sample = dataset[number]
    assert found.keys() == sample.keys()
    for name, field in dataset.fields.items():
        value = found[name]
        if field.is_pixels:
            pixels = np.asarray(value).reshape(sample[name].shape)
            # They decode a JPEG with another library.
            assert np.abs(pixels.astype(int) - sample[name]).max() <= (FAST_DCT if field.is_image else 0)
        elif field.kind == "text":
            assert value == sample[name]
        else:
            np.testing.assert_array_equal(np.asarray(value, sample[name].dtype).reshape(sample[name].shape), sample[name])


def test_load_dataset_gives_the_splits_the_pixels_and_all_values(odd: Path, tmp_path: Path) -> None:
    report = kseq.export(odd, tmp_path / "out", format="huggingface", file_bytes=6000)
    found = load(tmp_path / "out", tmp_path)
    names = {"train": "train", "val": "val", "fold0-train": "fold0_train", "fold0.train": "fold0.train"}
    assert {split: len(found[split]) for split in found} == {
        "train": 7,
        "val": 2,
        "fold0_train": 6,
        "fold0.train": 5,
        "rest": 4,
    }
    assert len(list((tmp_path / "out").glob("train-*.parquet"))) > 1
    assert report.num_files == len(list((tmp_path / "out").iterdir()))
    for split, hub_name in names.items():
        dataset = kseq.ShardDataset(odd, split)
        # Samples lie in the order of their ids.
        order = np.argsort(dataset.sample_ids(np.arange(len(dataset))))
        for row, number in zip(found[hub_name], order.tolist(), strict=True):
            check_sample(row, dataset, number)
    features = found["train"].features
    assert features["label"].names == CLASSES
    assert features["labels"].feature.names == features["topics"].feature.names == KINDS
    assert isinstance(features["image"], datasets.Image)
    assert found["val"].cast_column("image", datasets.Image(decode=False))[0]["image"]["path"].endswith(".jpg")


def test_the_card_and_the_files_describe_the_same_features(odd: Path, tmp_path: Path) -> None:
    kseq.export(odd, tmp_path / "out", format="huggingface")
    card = (tmp_path / "out" / "README.md").read_text()
    facts = yaml.safe_load(card.split("---\n")[1])
    in_card = datasets.Features._from_yaml_list(facts["dataset_info"]["features"])
    for path in (tmp_path / "out").glob("*.parquet"):
        assert datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(path)) == in_card
    assert sum(split["num_examples"] for split in facts["dataset_info"]["splits"]) == 24
    assert kseq.ShardDataset(odd).digest in card
    # Without the card, the files alone tell as much.
    (tmp_path / "out" / "README.md").unlink()
    found = load(tmp_path / "out", tmp_path, data_files={"train": str(tmp_path / "out" / "train-*.parquet")})
    assert found["train"].features == in_card


def test_packing_the_folder_gives_every_class_its_number_again(odd: Path, tmp_path: Path) -> None:
    report = kseq.export(odd, tmp_path / "out", format="huggingface")
    pack_again(report, tmp_path / "again")
    before, after = kseq.ShardDataset(odd), kseq.ShardDataset(tmp_path / "again")
    assert after.class_names == before.class_names
    assert after.fields == before.fields
    # A sample in no split goes to train, and folds count for what they are called like.
    assert sorted(sums_of_all(after)) == sorted(sums_of_all(before))
    assert "--class-names" not in report.pack_command
    # Without options, too: the files say what their columns are.
    kseq.pack(tmp_path / "out", tmp_path / "plain", workers=0)
    plain = kseq.ShardDataset(tmp_path / "plain")
    assert (plain.digest, plain.fields) == (after.digest, after.fields)
    kseq.pack(next((tmp_path / "out").glob("train-*")), tmp_path / "one", workers=0)
    assert kseq.ShardDataset(tmp_path / "one").fields == before.fields
    # Who names columns means these.
    kseq.pack(tmp_path / "out", tmp_path / "few", columns=kseq.Columns(label="label"), workers=0)
    assert list(kseq.ShardDataset(tmp_path / "few").fields) == ["image", "label"]


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"[]",
        b'{"columns": 3}',
        b'{"columns": {"image": 3}}',
        b'{"columns": {"x": "y"}}',
        b'{"columns": {"text": "lost"}}',
        b"\xff",
    ],
)
def test_a_description_of_columns_that_makes_no_sense_is_none(odd: Path, tmp_path: Path, metadata: bytes) -> None:
    kseq.export(odd, tmp_path / "out", format="huggingface", split="train")
    (path,) = (tmp_path / "out").glob("*.parquet")
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.replace_schema_metadata({**table.schema.metadata, b"kseq": metadata}), path)
    kseq.pack(tmp_path / "out", tmp_path / "again", workers=0)
    assert list(kseq.ShardDataset(tmp_path / "again").fields) == ["image", "label"]


@pytest.mark.parametrize("names", [["front"], ["left", "right"], ["path"]])
def test_images_of_any_name_are_packed_again_without_an_option(tmp_path: Path, names: list[str]) -> None:
    lines = []
    for number in range(4):
        for name in names:
            Image.fromarray(photo(number, 20, 30)).save(tmp_path / f"{name}{number}.png")
        points = [[[number, 2.5], [3, 4]]] * (number % 3)
        lines.append(
            json.dumps(
                {**{name: f"{name}{number}.png" for name in names}, "points": points, "depth": f"{names[0]}{number}.npy"}
            )
        )
        np.save(tmp_path / f"{names[0]}{number}.npy", np.full((20, 30), number + 0.5, np.float32))
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    columns = kseq.Columns(
        image={name: name for name in names},
        label="",
        targets={"points": "points", "depth": "depth"},
        kinds={"points": "keypoints", "depth": "map"},
    )
    settings = kseq.ImageSettings("raw", (20, 30))
    kseq.pack(tmp_path / "all.jsonl", tmp_path / "packed", columns=columns, images=settings, workers=0)
    kseq.export(tmp_path / "packed", tmp_path / "out", format="huggingface")
    kseq.pack(tmp_path / "out", tmp_path / "again", images=settings, workers=0)
    assert kseq.ShardDataset(tmp_path / "again").fields == kseq.ShardDataset(tmp_path / "packed").fields
    assert checksums(tmp_path / "again") == checksums(tmp_path / "packed")
    row = load(tmp_path / "out", tmp_path, split="train")[1]
    assert row["points"] == [[[1, 2.5], [3, 4]]]
    np.testing.assert_array_equal(np.load(io.BytesIO(row["depth"])).reshape(20, 30), np.full((20, 30), 1.5, np.float32))


def sums_of_all(dataset: kseq.ShardDataset) -> list[int]:
    """The checksum of each sample."""
    samples = sample_reader(dataset).locate(np.arange(len(dataset)))
    return [int(reader.array("checksum")[row]) for reader, row in samples]


def test_of_a_split_the_card_is_about_that_split(odd: Path, tmp_path: Path) -> None:
    kseq.export(odd, tmp_path / "out", format="huggingface", split="fold0-train")
    assert {split: len(rows) for split, rows in load(tmp_path / "out", tmp_path).items()} == {"fold0_train": 6}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "fold0\\-train" in card
    assert "| val |" not in card


def test_numbers_for_each_pixel_are_arrays_of_numpy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos" / "a").mkdir(parents=True)
    for number in range(3):
        np.save(tmp_path / "photos" / "a" / f"{number}.npy", rng.integers(0, 1 << 16, (8, 9, 5), np.uint16))
    settings = kseq.ImageSettings("raw", (8, 9), dtype="uint16", channels=5)
    kseq.pack(tmp_path / "photos", tmp_path / "packed", images=settings, workers=0)
    report = kseq.export(tmp_path / "packed", tmp_path / "out", format="huggingface")
    rows = load(tmp_path / "out", tmp_path, split="train")
    for number, sample in enumerate(kseq.ShardDataset(tmp_path / "packed")):
        np.testing.assert_array_equal(np.load(io.BytesIO(rows[number]["image"])), sample["image"])
    pack_again(report, tmp_path / "again")
    assert checksums(tmp_path / "again") == checksums(tmp_path / "packed")


def test_text_that_is_not_utf8_is_bytes(tmp_path: Path, numbered: Path) -> None:
    shutil.copytree(numbered, tmp_path / "packed")
    texts = ["plain"] * 99 + ["odd \udcff"]
    rows = [{"id": number, "title": text} for number, text in enumerate(texts)]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kseq.add_field(tmp_path / "packed", "title", tmp_path / "more.jsonl", kind="text")
    report = kseq.export(tmp_path / "packed", tmp_path / "out", format="huggingface")
    found = load(tmp_path / "out", tmp_path)
    assert {row["title"] for split in found for row in found[split]} == {b"plain", b"odd \xff"}
    pack_again(report, tmp_path / "again")
    again = kseq.ShardDataset(tmp_path / "again")
    assert {again.stored_bytes(number, "title") for number in range(100)} == {b"plain", b"odd \xff"}


def test_a_row_group_is_written_as_soon_as_it_is_full(
    packed_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that memory stays bounded, however large files are."""
    monkeypatch.setattr(huggingface, "_GROUP_BYTES", 20_000)
    kseq.export(packed_photos, tmp_path / "out", format="huggingface", split="train")
    (path,) = (tmp_path / "out").glob("*.parquet")
    metadata = pyarrow.parquet.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    train = kseq.ShardDataset(packed_photos, "train")
    largest = max(len(train.stored_bytes(number)) for number in range(len(train)))
    assert len(groups) > 2
    assert max(group.total_byte_size for group in groups) < 20_000 + largest + 5_000
    assert sum(group.num_rows for group in groups) == len(train)


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, "b": ["x", 2, {"c": "d", "e": []}], "f": {}},
        {name: name for name in [*CLASSES, "true", "a: b", "a #b", "\x00\x7f\x85\u2028\ufeff", "😀", "~", "-", "1e3", "0x1"]},
        {"tail ": [" head", "", "'", '"', "\\", "%", "@", "`", "|", ">", "&a", "*a", "!t", "? a", "y"]},
    ],
)
def test_yaml_is_read_as_it_was_written(value: Any) -> None:
    assert yaml.safe_load("\n".join(yaml_lines(value))) == value


@pytest.mark.parametrize("where", ["_write_group", "close"])
def test_an_interrupt_while_a_file_is_closed_prints_nothing(
    numbered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    printed: list[object] = []

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: printed.append(unraisable.exc_value))
    monkeypatch.setattr(huggingface._ParquetFile, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        kseq.export(numbered, tmp_path / "out", format="huggingface")
    gc.collect()
    assert printed == []
    assert list(tmp_path.iterdir()) == []
