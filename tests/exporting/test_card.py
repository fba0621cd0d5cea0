"""Cards of datasets: what they say, and that mlcroissant finds no fault with the metadata."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError, DatasetExistsError, DatasetNotFoundError
from kseq_tools.main import main
from tests.helpers.datasets import publish
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import photo

NAMES = ["<script>alert(1)</script>", "a|b", "[x](http://x)", "new\nline", "**bold** _x_", "ünter 😀", "unused"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples with a field of each kind, and classes whose names are Markdown, HTML or JSON."""
    root = tmp_path_factory.mktemp("card")
    lines = []
    for number in range(12):
        Image.fromarray(photo(number, 20 + number, 30)).save(root / f"{number}.jpg")
        Image.fromarray(np.full((20 + number, 30), number, np.uint8)).save(root / f"{number}.png")
        row = {
            "image": f"{number}.jpg",
            "label": f"c{number % 6}",
            "outline": f"{number}.png",
            "boxes": [[1.5, 2, 20.1, 15]] * (number % 3),
            "kinds": ["bee"] * (number % 3),
            "topics": ["garden", "sun"][: number % 3],
            "height": number,
            "vector": [number, 0.1],
            "words": f"line {number}",
            "part": ["train", "val"][number % 2],
        }
        lines.append(json.dumps(row))
    lines.append(json.dumps({**row, "image": "gone.jpg"}))
    (root / "all.jsonl").write_text("\n".join(lines))
    columns = kseq.Columns(
        mask="outline", boxes="boxes", box_labels="kinds", text="words", targets=["topics", "height", "vector"], split="part"
    )
    kseq.pack(root / "all.jsonl", root / "packed", columns=columns, workers=0)
    publish(root / "packed", "renamed | by hand", class_names=tuple(NAMES))
    return root / "packed"


def validated(path: Path, caplog: pytest.LogCaptureFixture) -> tuple[Any, list[str]]:
    """The dataset of mlcroissant, and its warnings."""
    if importlib.util.find_spec("mlcroissant") is None:
        pytest.skip("mlcroissant is not installed")
    import mlcroissant

    with caplog.at_level(logging.WARNING, "absl"):
        dataset = mlcroissant.Dataset(jsonld=str(path))
    return dataset, [record.getMessage() for record in caplog.records if record.name == "absl"]


def test_mlcroissant_validates_the_metadata_without_a_warning(
    packed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = kseq.card(
        packed,
        tmp_path / "card",
        name="Bees",
        description="Bees in gardens.",
        license="CC-BY-4.0",
        url="https://example.org/bees",
        creator="Nobody",
        citation="Nobody (2026): Bees.",
        version="1.2.0",
        date="2026-01-31",
    )
    assert report.not_stated == ()
    dataset, warnings = validated(tmp_path / "card" / "croissant.json", caplog)
    assert warnings == []
    assert dataset.metadata.ctx.conforms_to.value.endswith("/1.1")
    assert [record["classes-of-label/name"] for record in dataset.records("classes-of-label")] == NAMES
    splits = {record["splits/name"]: record["splits/samples"] for record in dataset.records("splits")}
    assert splits == kseq.ShardDataset(packed).splits
    (index, _) = dataset.metadata.distribution
    assert index.sha256 == hashlib.sha256((packed / "index.h5").read_bytes()).hexdigest()
    assert index.content_url == "https://example.org/bees/index.h5"
    fields = {field.name: field for field in dataset.metadata.record_sets[0].fields}
    assert fields.keys() == kseq.ShardDataset(packed).fields.keys()
    assert fields["boxes"].array_shape_tuple == (-1, 4)
    assert fields["vector"].array_shape_tuple == (2,)


def test_what_nobody_states_is_only_a_warning(packed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = kseq.card(packed, tmp_path / "card")
    assert report.not_stated == ("description", "license", "url", "creator", "citation", "date")
    _, warnings = validated(tmp_path / "card" / "croissant.json", caplog)
    assert all("is recommended" in line for line in " ".join(warnings).split("  -  ")[1:])


def test_the_card_says_how_many_there_are_of_what_and_how_they_were_packed(packed: Path, tmp_path: Path) -> None:
    report = kseq.card(packed, tmp_path / "card", license="https://example.org/licence")
    card = (tmp_path / "card" / "README.md").read_text()
    dataset = kseq.ShardDataset(packed)
    assert report.digest == dataset.digest
    for line in (
        "| samples | 12 |",
        "| image, height x width | 20 to 31 (half are below 26) x 30 to 30 (half are below 30) pixels |",
        f"| digest | `{dataset.digest}` |",
        "| train | 6 |",
        "| train | 6 | 2 |",
        "| 1 | a\\|b | 0 | 2 |",
        "| 6 | unused | 0 | 0 |",
        "| 0 | bee | 6 | 6 |",
        "| encoding | keep |",
        "- renamed \\| by hand",
        "license: other",
        'license_link: "https://example.org/licence"',
    ):
        assert line in card.splitlines()
    assert "gone.jpg" not in card
    assert "Left out when it was packed: 1 file." in card


def test_names_are_text_on_the_card_and_neither_markdown_nor_html(packed: Path, tmp_path: Path) -> None:
    kseq.card(packed, tmp_path / "card", name="<b>", description="# no heading\n\n| no table")
    card = (tmp_path / "card" / "README.md").read_text()
    assert "<script" not in card
    assert "# &lt;b&gt;" in card
    assert "[x]" not in card
    assert "\n# no" not in card and "\n|no" not in card
    assert "\\*\\*bold" in card


def test_what_is_refused_before_anything_is_written(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with raises(DatasetExistsError, "there"):
        kseq.card(packed, tmp_path / "there")
    with raises(DatasetNotFoundError, tmp_path / "gone"):
        kseq.card(tmp_path / "gone", tmp_path / "out")
    with raises(ArgumentError, "version='2'"):
        kseq.card(packed, tmp_path / "out", version="2")
    with raises(ArgumentError, "date='31.1.2026'"):
        kseq.card(packed, tmp_path / "out", date="31.1.2026")
    with raises(ArgumentError, "license=' '"):
        kseq.card(packed, tmp_path / "out", license=" ")
    with raises(ArgumentError, packed):
        kseq.card(packed, packed / "card")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_command_says_what_nobody_has_stated(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(packed), str(tmp_path / "card"), "--license", "MIT", "--date", "2026-01-31"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert_says(first, tmp_path / "card", "README.md", "croissant.json", kseq.ShardDataset(packed).digest)
    assert_says(second, "--description", "--url", "--creator", "--citation")
    assert "--license" not in second


def test_a_card_of_a_url_is_that_of_its_folder(packed: Path, tmp_path: Path) -> None:
    for name, path in {"local": packed, "remote": f"file://{packed}"}.items():
        kseq.card(path, tmp_path / name)
    for name in ("README.md", "croissant.json"):
        assert (tmp_path / "local" / name).read_text() == (tmp_path / "remote" / name).read_text()
