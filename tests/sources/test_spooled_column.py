"""Columns that are in memory or in a file: they read like lists."""

from __future__ import annotations

import os
import pickle
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kseq.errors import WriteError
from kseq.sources import spooled_column
from kseq.sources.spooled_column import BLOCK_ROWS, SpooledColumn, blocks_of
from tests.helpers.messages import raises


@pytest.fixture(params=["in memory", "in a file"])
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets columns stay in memory, or go to a file from the first block on."""
    monkeypatch.setattr(spooled_column, "_BYTES_IN_MEMORY", 0 if request.param == "in a file" else 1 << 30)


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("count", [0, 1, BLOCK_ROWS, 2 * BLOCK_ROWS + 5])
def test_a_column_reads_like_a_list(count: int) -> None:
    values = [b"%d" % number for number in range(count)]
    column = SpooledColumn(values[: count // 3])
    for value in values[count // 3 : count // 2]:
        column.append(value)
    column.extend(iter(values[count // 2 :]))
    assert (len(column), list(column)) == (count, values)
    for start, stop in ((0, count), (count // 2, count), (count // 3, count // 2), (count, count)):
        assert list(column.rows(start, stop)) == values[start:stop] == column[start:stop]
    assert column[::-1] == values[::-1]
    assert [value for block in blocks_of(column) for value in block] == values
    for row in {0, count // 2, count - 1, -1} if count else ():
        assert column[row] == values[row]
    with pytest.raises(IndexError):
        column[count]
    assert list(pickle.loads(pickle.dumps(column))) == values


@pytest.mark.usefixtures("limit")
def test_arrays_are_columns_of_their_rows() -> None:
    array = np.arange(2 * (BLOCK_ROWS + 7), dtype=np.float32).reshape(-1, 2)
    np.testing.assert_array_equal(np.array(list(SpooledColumn.of_array(array))), array)
    numbers = list(SpooledColumn.of_array(array[:, 0]))
    assert {type(number) for number in numbers} == {np.float32}


def test_values_that_cannot_be_pickled_are_kept() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    values = [threading.Lock(), nested, *range(BLOCK_ROWS)]
    column = SpooledColumn(values)
    assert column[0] is values[0]
    assert column[1] is nested
    assert column[2:] == values[2:]


@pytest.mark.usefixtures("limit")
def test_threads_read_a_column_at_once() -> None:
    column = SpooledColumn(str(number) for number in range(10 * BLOCK_ROWS))
    wrong: list[int] = []

    def read(start: int) -> None:
        for row in range(start, len(column), 3 * BLOCK_ROWS - 1):
            if column[row] != str(row):
                wrong.append(row)

    threads = [threading.Thread(target=read, args=(start,)) for start in range(0, 8 * BLOCK_ROWS, BLOCK_ROWS // 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_column_whose_values_are_gone_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(spooled_column, "_BYTES_IN_MEMORY", 0)
    column = SpooledColumn(range(3 * BLOCK_ROWS))
    descriptors = len(os.listdir("/proc/self/fd"))
    assert os.listdir(tmp_path) == []
    del column
    assert len(os.listdir("/proc/self/fd")) == descriptors - 1


def test_a_temporary_folder_that_takes_nothing_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    monkeypatch.setattr(spooled_column, "_BYTES_IN_MEMORY", 0)
    with raises(WriteError, tmp_path / "none", "TMPDIR"):
        SpooledColumn(range(2 * BLOCK_ROWS))


def test_a_system_whose_folders_take_no_file_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/gone"])
    monkeypatch.setattr(spooled_column, "_BYTES_IN_MEMORY", 0)
    with raises(WriteError, "temporary folder", "/gone", "TMPDIR"):
        SpooledColumn(range(2 * BLOCK_ROWS))
