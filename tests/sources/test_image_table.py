"""Tables of samples: sequences of `SourceImage` in a few bytes each."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.sources import table_files
from kseq.sources.base import ImageTable, SourceImage
from kseq.sources.registry import open_source
from kseq.sources.spooled_column import BLOCK_ROWS


def images(count: int) -> list[SourceImage]:
    return [
        SourceImage(
            b"%d.jpg" % number,
            number % 5 - 1,
            (None, "train", "val")[number % 3],
            number,
            None if number % 7 else "is broken",
            None if number % 2 else f"group {number // 10}",
            (("masks", number), number) if number % 7 else (),
            None if number % 11 else ("file", number),
        )
        for number in range(count)
    ]


def expected(rows: list[SourceImage]) -> list[SourceImage]:
    """Rejected samples may have no values: a table has None in place of each."""
    return [row if row.values else row._replace(values=(None, None)) for row in rows]


@pytest.mark.parametrize("count", [1, 20, BLOCK_ROWS + 3])
def test_a_table_is_the_sequence_of_its_samples(count: int) -> None:
    rows = images(count + 1)[1:]
    table = ImageTable.of(iter(rows))
    assert (len(table), list(table)) == (count, expected(rows))
    assert table == expected(rows)
    assert table[0] == expected(rows)[0]
    assert table[-1] == expected(rows)[-1]
    part = table[count // 3 : count // 2]
    assert list(part) == list(part[:]) == expected(rows)[count // 3 : count // 2]
    assert list(part[1:4]) == expected(rows)[count // 3 : count // 2][1:4]
    with pytest.raises(IndexError):
        table[count]


def test_a_table_without_samples_is_empty() -> None:
    assert list(ImageTable.of([])) == []


def test_a_table_is_cut_into_pieces_that_hold_their_own_rows_alone() -> None:
    rows = images(BLOCK_ROWS + 50)
    table = ImageTable.of(rows)
    pieces = list(table.cut([10, 0, BLOCK_ROWS, 40]))
    assert [row for piece in pieces for row in piece] == expected(rows)
    assert [len(piece) for piece in pieces] == [10, 0, BLOCK_ROWS, 40]
    pickled = pickle.dumps(pieces[0])
    assert len(pickled) < 6000
    assert list(pickle.loads(pickled)) == expected(rows)[:10]


def test_some_samples_are_found_by_their_numbers() -> None:
    rows = images(2 * BLOCK_ROWS)
    is_chosen = np.zeros(len(rows), bool)
    is_chosen[[3, BLOCK_ROWS, 2 * BLOCK_ROWS - 1]] = True
    found = list(ImageTable.of(rows).where(is_chosen))
    assert found == [(number, expected(rows)[number]) for number in np.flatnonzero(is_chosen).tolist()]


def write_table(path: Path, count: int) -> Path:
    rows = (f"folder/image-{number:06d}.jpg,class {number % 10},{number / 7:.3f},g{number // 3}\n" for number in range(count))
    path.write_text("image,label,age,who\n" + "".join(rows))
    return path


def peak_bytes(path: Path) -> int:
    tracemalloc.start()
    try:
        columns = kseq.Columns(targets="age", group="who")
        source = open_source(str(path), None, columns, None, None)
        assert len(source.images)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.campaign
def test_a_table_takes_less_memory_than_its_file_has_bytes(tmp_path: Path) -> None:
    few, many = (write_table(tmp_path / f"{count}.csv", count) for count in (20_000, 120_000))
    more = peak_bytes(many) - peak_bytes(few)
    # Tuples of Python took 600 bytes a row.
    assert more / 100_000 < 60


def test_rows_of_a_table_may_lie_in_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> list[Any]:
        source = open_source(str(tmp_path / "t.csv"), None, kseq.Columns(targets="age", group="who"), None, None)
        return [source.class_names, *source.images]

    write_table(tmp_path / "t.csv", 25)
    together = read()
    monkeypatch.setattr(table_files, "BLOCK_ROWS", 3)
    assert read() == together
