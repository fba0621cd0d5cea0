"""Files that name samples: lists and tables, by sample id and by source."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kseq
from kseq.editing.sample_lists import SampleList, read_sample_list
from kseq.errors import DamagedError, SourceError
from kseq.reading.shard_cache import ShardCache
from kseq.storage.index import Index
from kseq.storage.index_writer import write_index
from tests.helpers.messages import Parts, raises
from tests.helpers.photos import write_numbered


@pytest.fixture(scope="module")
def index(numbered: Path) -> Index:
    """Of 100 samples: 0 to 49 come from a/00000.png and so on, 50 to 79 from b, the rest from c."""
    return Index.open(str(numbered))


def source(number: int) -> str:
    return f"{'a' if number < 50 else 'b' if number < 80 else 'c'}/{number:05d}.png"


def read(index: Index, path: Path, content: str | bytes, **options: Any) -> SampleList:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogateescape"))
    return read_sample_list(index, path, **options)


def test_a_list_of_numbers_is_one_of_sample_ids(index: Index, tmp_path: Path) -> None:
    found = read(index, tmp_path / "bad.txt", "3\r\n\n 17 \n3\n99")
    assert found.ids.dtype == np.int64
    assert (found.ids.tolist(), list(found.rows), found.columns, found.num_unknown) == ([3, 17, 3, 99], [1, 3, 4, 5], {}, 0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_other_list_is_one_of_sources(index: Index, tmp_path: Path, encoding: str) -> None:
    text = "".join(f"{source(number)}\r\n" for number in (99, 0, 50))
    assert read(index, tmp_path / "bad", text.encode(encoding)).ids.tolist() == [99, 0, 50]


def test_a_list_may_come_through_a_pipe_and_a_table_may_not(index: Index, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, "".join(f"{source(number)}\n" for number in range(100)).encode())
    os.close(writing)
    assert read_sample_list(index, f"/dev/fd/{reading}").ids.tolist() == list(range(100))
    os.close(reading)
    os.mkfifo(tmp_path / "t.csv")
    with raises(SourceError, "t.csv"):
        read_sample_list(index, tmp_path / "t.csv")


def test_an_empty_list_names_nothing(index: Index, tmp_path: Path) -> None:
    for content in ("", "\n\n"):
        assert read(index, tmp_path / "bad.txt", content).ids.shape == (0,)


@pytest.mark.slow
@settings(max_examples=30)
@given(ids=st.lists(st.integers(0, 99), min_size=1, max_size=20), by=st.sampled_from(["id", "source", "path", "both"]))
def test_tables_of_all_kinds_name_the_samples_of_their_rows(
    index: Index, tmp_path_factory: pytest.TempPathFactory, ids: list[int], by: str
) -> None:
    tmp_path = tmp_path_factory.mktemp("table")
    both = {"id": ids, "source": [source(number) for number in ids], "path": [source(number) for number in ids]}
    naming = {name: cells for name, cells in both.items() if name == by or (by == "both" and name != "path")}
    columns = {**naming, "height": [number / 2 for number in ids], "id2": ["x"] * len(ids)}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (tmp_path / "t.csv").write_text("\n".join([",".join(columns), *(",".join(map(str, row.values())) for row in rows)]))
    (tmp_path / "t.tsv").write_text("\n".join(["\t".join(columns), *("\t".join(map(str, row.values())) for row in rows)]))
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    for end in ("csv", "tsv", "jsonl", "parquet"):
        found = read_sample_list(index, tmp_path / f"t.{end}")
        assert found.ids.tolist() == ids
        assert list(found.rows) == list(range(1, len(ids) + 1))
        assert sorted(found.columns) == ["height", "id2"]
        assert [float(column) for column in found.columns["height"]] == columns["height"]
        assert list(read_sample_list(index, tmp_path / f"t.{end}", ["id2"]).columns) == ["id2"]


def test_unknown_sources_may_be_left_out_and_are_counted(index: Index, tmp_path: Path) -> None:
    content = f"path,score\nz.png,1\n{source(7)},2\na/z.png,3\n{source(8)},4\n"
    found = read(index, tmp_path / "t.csv", content, missing_ok=True)
    assert (found.ids.tolist(), list(found.rows), found.num_unknown) == ([7, 8], [2, 4], 2)
    assert list(found.columns["score"]) == ["2", "4"]
    with raises(SourceError, "row 1", "'z.png'"):
        read_sample_list(index, tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("l.txt", "3\n100\n", ("row 2", "'100'", 0, 99)),
        ("l.txt", "9" * 20, (0, 99)),
        ("l.txt", "9" * 5000, ()),
        ("l.txt", "-1\n", ("row 1", "'-1'")),
        ("l.txt", "3\na/00000.png\n", ("row 1", "'3'")),
        ("l.txt", "./a/00000.png\n", ("row 1", "'./a/00000.png'")),
        ("l.txt", b"\xff\xfe\x00", ()),
        ("t.csv", "id\n3\n100\n", ("row 2", "'100'")),
        ("t.csv", "id,path\n,a\n", ("row 1", "''")),
        ("t.csv", "id\n1.0\n", ("row 1", "'1.0'")),
        ("t.csv", f"id,path\n3,{source(3)}\n4,{source(3)}\n", ("row 2", "'a/00003.png'", "sample 4")),
        ("t.csv", "path\n\nx\n", ("row 1", "'x'")),
        ("t.csv", "name,kind\n3,4\n", ()),
        ("t.csv", "id,id\n3,4\n", (2, "'id'")),
        ("t.csv", "id,kind\n3\n", ("row 1", 1, 2)),
        ("t.csv", "", ("empty",)),
        ("t.jsonl", '{"id": 3}\n{"id": true}', ("row 2",)),
        ("t.jsonl", '{"id": 3}\n{"id": -1}', ("row 2", -1)),
        ("t.jsonl", '{"id": 3}\n{"kind": 1}', ("row 2",)),
        ("t.jsonl", '{"path": ["a"]}', ("row 1",)),
        ("t.parquet", "id\n3\n", ()),
    ],
)
def test_rows_that_name_no_sample_are_refused(
    index: Index, tmp_path: Path, name: str, content: str | bytes, words: Parts
) -> None:
    with raises(SourceError, tmp_path / name, *words):
        read(index, tmp_path / name, content)


def test_files_that_cannot_be_read_are_named(index: Index, tmp_path: Path) -> None:
    for name, reason in (("none.txt", errno.ENOENT), ("none.csv", errno.ENOENT), ("", errno.EISDIR)):
        with raises(SourceError, tmp_path / name, os.strerror(reason)):
            read_sample_list(index, tmp_path / name)


def test_a_sample_named_twice_is_refused_where_it_must_not_be(index: Index, tmp_path: Path) -> None:
    content = f"path\n{source(7)}\n{source(8)}\n{source(7)}\n"
    assert read(index, tmp_path / "t.csv", content).ids.tolist() == [7, 8, 7]
    with raises(SourceError, "row 3", "sample 7", "row 1"):
        read_sample_list(index, tmp_path / "t.csv", once=True)


def test_columns_that_are_wanted_must_be_there(index: Index, tmp_path: Path) -> None:
    with raises(SourceError, 0, "'height'", "id", "label"):
        read(index, tmp_path / "t.csv", "id,label\n3,rose\n", columns=["height"])
    with raises(SourceError, "'height'"):
        read(index, tmp_path / "t.txt", "3\n", columns=["height"])


@pytest.fixture
def doubled(numbered: Path, tmp_path: Path) -> Path:
    """The numbered dataset twice over, so that every source has two samples, 100 apart."""
    path = Path(shutil.copytree(numbered, tmp_path / "doubled"))
    contents = Index.open(str(path)).contents()
    write_index(str(path), Index.open(str(path)).contents(shards=[*contents.shards, *contents.shards]))
    return path


def test_a_source_of_several_samples_is_refused_until_all_but_one_are_dropped(doubled: Path, tmp_path: Path) -> None:
    index = Index.open(str(doubled))
    with raises(SourceError, "row 1", "'a/00003.png'", 3, 103):
        read(index, tmp_path / "l.txt", source(3))
    assert read(index, tmp_path / "t.csv", f"id,path\n103,{source(3)}\n").ids.tolist() == [103]
    for dropped, found in (([3], 103), ([103], 3), ([3, 103], 3)):
        write_index(str(doubled), index.contents(dropped=np.array(dropped)))
        assert read(Index.open(str(doubled)), tmp_path / "l.txt", source(3)).ids.tolist() == [found]


def test_any_file_name_finds_its_sample(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 4})
    names = [b"caf\xe9.png", b'a, "b".png', "ü\u2028.png".encode(), b"two\nlines.png"]
    for number, name in enumerate(names):
        os.rename(tmp_path / f"photos/a/{number:05d}.png", os.path.join(os.fsencode(tmp_path), b"photos/a", name))
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    index, dataset = Index.open(str(tmp_path / "packed")), kseq.ShardDataset(tmp_path / "packed")
    sources = [dataset.source(number) for number in range(4)]
    lines = [entry for entry in sources if "\n" not in entry]
    found = read(index, tmp_path / "l.txt", "\n".join(lines))
    assert [sources[number] for number in found.ids] == lines
    found = read(index, tmp_path / "t.jsonl", "\n".join(json.dumps({"source": entry}) for entry in sources))
    assert found.ids.tolist() == [0, 1, 2, 3]


def test_offsets_of_sources_that_are_broken_are_named(numbered: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(numbered, tmp_path / "packed"))
    with h5py.File(path / "shard-00000.h5", "r+") as file:
        file["source/offsets"][1] = 10**6
    with raises(DamagedError, "shard-00000.h5", "source/bytes"):
        read(Index.open(str(path)), tmp_path / "l.txt", source(99))


def test_rows_in_any_order_are_found_in_one_pass(doubled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    get = ShardCache.get
    monkeypatch.setattr(ShardCache, "get", lambda self, number: asked.append(number) or get(self, number))
    index = Index.open(str(doubled))
    write_index(str(doubled), index.contents(dropped=np.arange(100)))
    index = Index.open(str(doubled))
    ids = random.Random(0).sample(range(100, 200), 100)
    assert read(index, tmp_path / "l.txt", "\n".join(source(number - 100) for number in ids)).ids.tolist() == ids
    assert asked == list(range(index.num_shards))
