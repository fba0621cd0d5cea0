"""The table of samples: as a file, and for SQL."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import pytest

import kseq
from kseq_tools.console.sample_listing import sample_table
from kseq_tools.main import main
from tests.helpers.messages import assert_says
from tests.helpers.photos import write_numbered

pq = pytest.importorskip("pyarrow.parquet", reason="tables of samples need the extra `sql`")


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Six samples with fields of several kinds, one of them called like a column, and one dropped."""
    write_numbered(tmp_path / "photos", {"a": 6})
    lines = ["image,label,split,id,vector,tags,caption,boxes,kinds"]
    for number in range(6):
        split, boxes = ("val" if number == 5 else "train"), '"[[0, 0, 2, 2]]",bee' if number else '"[]",'
        tags = "x|y" if number % 2 else "x"
        lines.append(
            f'photos/a/{number:05d}.png,k{number % 2},{split},{number * 10},"[0.5, {number}]",{tags},word {number},{boxes}'
        )
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    kseq.pack(
        tmp_path / "table.csv",
        tmp_path / "packed",
        columns=kseq.Columns(
            targets={"id": "id", "vector": "vector", "tags": "tags"},
            text="caption",
            boxes="boxes",
            box_labels="kinds",
            split="split",
        ),
        workers=0,
    )
    kseq.drop(tmp_path / "packed", ids=[2])
    return tmp_path / "packed"


def test_a_parquet_file_has_every_field_but_pixels(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "samples.parquet"
    assert main(["info", str(packed), "--samples", "--to", str(target)]) == 0
    assert_says(capsys.readouterr().out, str(target), "5 samples")
    rows = pq.read_table(target).to_pylist()
    assert [row["id"] for row in rows] == [0, 1, 3, 4, 5]
    assert rows[1] == {
        "id": 1, "split": "train", "label": "k1", "source": "photos/a/00001.png", "id_field": 10, "vector": [0.5, 1.0],
        "tags": ["x", "y"], "text": "word 1", "boxes": [[0.0, 0.0, 2.0, 2.0]], "labels": ["bee"],
    }  # fmt: skip
    assert (rows[0]["boxes"], rows[0]["labels"], rows[-1]["split"]) == ([], [], "val")


def test_a_csv_file_is_the_listing(packed: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    target = tmp_path / "samples.csv"
    target.write_text("old")
    assert main(["info", str(packed), "--samples", "--to", str(target)]) == 0
    capsysbinary.readouterr()
    assert main(["info", str(packed), "--samples"]) == 0
    assert target.read_bytes() == capsysbinary.readouterr().out
    with target.open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["k0", "k1", "k1", "k0", "k1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "photos", "samples.csv", "table.csv"]


def test_the_parts_of_a_large_dataset_are_one_table(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kseq.ShardDataset(packed) as dataset:
        whole = sample_table(dataset)
        monkeypatch.setattr("kseq_tools.console.sample_listing._ROWS_AT_ONCE", 2)
        assert sample_table(dataset).equals(whole)


def test_names_that_are_not_utf_8_have_escapes_in_parquet(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 1})
    os.rename(tmp_path / "photos/a/00000.png", os.fsencode(tmp_path) + b"/photos/a/\xff.png")
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert sample_table(dataset).to_pylist()[0]["source"] == r"a/\udcff.png"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--to", "x.csv"], ("--to", "--samples")),
        (["--samples", "--to", "x.xlsx"], ("x.xlsx", ".csv", ".parquet")),
        (["--samples", "--to", "nowhere/x.csv"], ("nowhere/x.csv", os.strerror(2))),
        (["--samples", "--to", "nowhere/x.parquet"], ("nowhere/x.parquet",)),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(
    words: list[str], parts: tuple[str, ...], packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(packed.parent)
    assert main(["info", "packed", *words]) == 1
    assert_says(capsys.readouterr().err, *parts)


def sql(packed: Path, *words: str) -> int:
    pytest.importorskip("duckdb", reason="`kseq sql` needs the extra `sql`")
    return main(["sql", str(packed), *words])


def test_sql_counts_and_prints_a_table(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = (
        "select label, count(*) as n, avg(id_field) as mean from samples where list_contains(tags, 'x') group by 1 order by 1"
    )
    assert sql(packed, query) == 0
    assert capsys.readouterr().out == "label  n  mean\nk0     2    20\nk1     3    30\n"


def test_sql_prints_so_many_rows_and_says_so(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sql(packed, "select id from samples", "--rows", "2") == 0
    assert capsys.readouterr().out.splitlines()[3] == "... 3 more rows (--rows 0 prints all, --json too)"
    assert sql(packed, "select id from samples", "--rows", "0") == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_sql_as_json_keeps_columns_of_one_name(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sql(packed, "select 1 as a, 2 as a_2, 3 as a, 4 as a", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row == {"a": 1, "a_2": 2, "a_3": 3, "a_4": 4}


def test_sql_lets_no_control_character_through(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sql(packed, "select chr(27) || '[2J' as x from samples limit 1") == 0
    assert capsys.readouterr().out == "x\n\\x1b[2J\n"


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("select lable from samples", ("lable", "id, split, label, source, id_field")),
        ("selekt", ("syntax error",)),
        ("", ("select * from samples",)),
        ("-- nothing", ("select * from samples",)),
    ],
)
def test_a_query_that_is_refused_is_one_line(
    query: str, parts: tuple[str, ...], packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sql(packed, query) == 1
    line = capsys.readouterr().err
    assert line.startswith("kseq: QUERY: ") and line.count("\n") == 1
    assert_says(line, *parts)


@pytest.mark.parametrize("package", ["pyarrow", "duckdb"])
def test_without_its_packages_the_query_says_which_extra_brings_them(
    numbered: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["sql", str(numbered), "select 1"]) == 1
    assert_says(capsys.readouterr().err, package, "pip install 'kseq[sql]'")
