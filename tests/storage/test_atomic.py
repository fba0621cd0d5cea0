"""Publishing: a file appears whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kseq.errors import WriteError
from kseq.storage.atomic import publishing, remove_temporary
from tests.helpers.messages import raises


def test_publishing_shows_the_whole_file_or_none(tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    with publishing(str(target)) as temporary:
        Path(temporary).write_text("new")
        Path(f"{temporary}.stream").write_text("beside")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_publishing_leaves_the_old_file_where_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    target.write_text("old")
    with pytest.raises(RuntimeError), publishing(str(target)) as temporary:
        Path(temporary).write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_file_whose_name_may_not_be_on_the_disk_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_for_folders(path: str) -> None:
        if os.path.isdir(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("kseq.storage.atomic.flush", fail_for_folders)
    with raises(WriteError, tmp_path / "a.h5", os.strerror(errno.EIO)), publishing(str(tmp_path / "a.h5")) as temporary:
        Path(temporary).write_text("new")
    assert not list(tmp_path.iterdir())


def test_publishing_names_the_file_that_cannot_be_written(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "a.h5"
    with raises(WriteError, target, os.strerror(errno.ENOENT)), publishing(str(target)) as temporary:
        Path(temporary).write_text("x")


def test_only_temporary_files_are_removed(tmp_path: Path) -> None:
    for name in (".kseq-tmp-1-a.h5", ".kseq-tmp-1-a.h5.image", "a.h5", "tmp"):
        (tmp_path / name).touch()
    remove_temporary(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "tmp"]
