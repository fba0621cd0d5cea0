"""Changes of a packed dataset: published in one step, taken back by undo, kept out of each other's way."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.editing.transaction import begin_transaction
from kseq.errors import ArgumentError, DamagedError, DatasetExistsError, DatasetNotFoundError, LockedError, WriteError
from kseq.platforms.files import exchange
from kseq.storage.atomic import link_or_copy
from kseq.storage.index import Index
from kseq.storage.lock import locked
from kseq_tools.main import main
from tests.helpers.datasets import files
from tests.helpers.messages import raises


def make(packed: Path, number: int, keep: bool = True) -> None:
    with begin_transaction(packed) as change:
        change.publish(f"change {number}", dropped=np.array([number]), keep_previous=keep)


def test_undo_takes_a_change_back_and_makes_it_again(packed: Path) -> None:
    before = files(packed)
    make(packed, 1)
    after = files(packed)
    assert after["index.h5.1"] == before["index.h5"]
    assert Index.open(str(packed)).changes == ("change 1",)
    assert (kseq.undo(packed).change, kseq.undo(packed).taken_back) == ("change 1", False)
    assert files(packed) == after
    assert kseq.undo(packed).taken_back
    assert files(packed) == {**before, "index.h5.1": after["index.h5"]}


def test_undo_without_a_change_is_refused(packed: Path) -> None:
    before = files(packed)
    with raises(ArgumentError, "index.h5.1"):
        kseq.undo(packed)
    assert files(packed) == before


def test_history_grows_and_the_last_change_alone_can_be_taken_back(packed: Path) -> None:
    make(packed, 1)
    make(packed, 2)
    assert Index.open(str(packed)).changes == ("change 1", "change 2")
    kseq.undo(packed)
    assert Index.open(str(packed)).changes == ("change 1",)
    make(packed, 3)
    assert Index.open(str(packed)).changes == ("change 1", "change 3")


def test_a_change_that_is_not_to_be_taken_back_leaves_no_last_index(packed: Path) -> None:
    make(packed, 1)
    make(packed, 2, keep=False)
    assert not (packed / "index.h5.1").exists()


def test_readers_go_on_with_what_they_opened(packed: Path) -> None:
    dataset = kseq.ShardDataset(packed)
    make(packed, 7)
    assert len(dataset) == 100
    assert dataset[7]["image"][0, 0, 0] == 7
    assert len(kseq.ShardDataset(packed)) == 99


def test_what_was_opened_before_a_change_is_found_again_after_it(packed: Path) -> None:
    dataset = kseq.ShardDataset(packed, "train")
    chosen = pickle.dumps(dataset.where(label="b"))
    pickled, ids = pickle.dumps(dataset), dataset.sample_ids(range(80)).tolist()
    make(packed, 7)
    for data, count in ((pickled, 80), (chosen, 24)):
        again = pickle.loads(data)
        assert len(again) == count
        np.testing.assert_array_equal(again.read(range(count))["image"], pickle.loads(data).read(range(count))["image"])
    assert pickle.loads(pickled).sample_ids(range(80)).tolist() == ids
    make(packed, 8)
    with raises(DamagedError):
        pickle.loads(pickled)


def test_workers_that_start_after_a_change_read_what_was_opened_before(packed: Path) -> None:
    with kseq.ShardSequence(packed, "val", batch_size=5, workers=1, use_multiprocessing=True) as val:
        make(packed, int(val.sample_ids(0)[0]))
        for number in range(len(val)):
            assert val[number][0][:, 0, 0, 0].tolist() == val.sample_ids(number).tolist()


def test_shards_that_nobody_names_any_more_go_and_those_of_the_last_index_stay(packed: Path) -> None:
    extra = packed / "shard-00007.h5"
    shutil.copy(packed / "shard-00000.h5", extra)
    with begin_transaction(packed) as change:
        assert not extra.exists()
        assert change.next_shard_number() == 7
        shutil.copy(packed / "shard-00000.h5", extra)
        shards = change.index.contents().shards
        change.publish("more", shards=[*shards, replace(shards[0], number=7)])
    dataset = kseq.ShardDataset(packed)
    assert len(dataset) == 100 + shards[0].num_rows
    assert dataset[100]["image"][0, 0, 0] == 0
    kseq.undo(packed)
    assert extra.exists()
    make(packed, 1)
    assert not extra.exists()


def test_a_change_that_breaks_off_leaves_the_dataset_as_it_was(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(packed)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kseq.storage.index_writer.write_file", fail)
    with raises(WriteError, "index.h5", "No space left on device"):
        make(packed, 1)
    assert files(packed) == before


def test_a_change_that_cannot_be_flushed_leaves_the_one_before_to_be_undone(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(packed, 1)
    before = files(packed)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with raises(WriteError, "index.h5", "No space left on device"):
            make(packed, 2)
    assert files(packed) == before
    assert kseq.undo(packed).change == "change 1"


def test_a_change_that_was_killed_before_it_was_published_is_not_taken_back(packed: Path) -> None:
    make(packed, 1)
    pid = os.fork()
    if not pid:
        # It dies when the index before lies beside, and the new one has no name yet.
        os.replace = _dying(os.replace, iter([1, 0]))
        make(packed, 2)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert Index.open(str(packed)).changes == Index.open(str(packed), "index.h5.1").changes == ("change 1",)
    with raises(ArgumentError, "index.h5.1", "index.h5"):
        kseq.undo(packed)


def test_shards_that_only_an_unreadable_last_index_names_stay(packed: Path) -> None:
    extra = packed / "shard-00007.h5"
    with begin_transaction(packed) as change:
        shutil.copy(packed / "shard-00000.h5", extra)
        shards = change.index.contents().shards
        change.publish("more", shards=[*shards, replace(shards[0], number=7)])
    kseq.undo(packed)
    last = (packed / "index.h5.1").read_bytes()
    (packed / "index.h5.1").write_bytes(b"for the moment")
    with begin_transaction(packed):
        pass
    (packed / "index.h5.1").write_bytes(last)
    kseq.undo(packed)
    assert not kseq.verify(packed).damaged


def test_what_cannot_be_removed_is_said_in_one_line(packed: Path) -> None:
    (packed / ".kseq-tmp-folder").mkdir()
    with raises(WriteError, packed, os.strerror(errno.EISDIR)):
        make(packed, 1)


def test_two_changes_at_once_are_kept_apart(packed: Path) -> None:
    with locked(str(packed)), raises(LockedError, packed, os.getpid()):
        make(packed, 1)


def test_a_file_that_cannot_be_linked_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_bytes(b"one")
    link_or_copy(str(tmp_path / "a"), str(tmp_path / "b"))
    assert files(tmp_path) == {"a": b"one", "b": b"one"}


def test_what_a_killed_process_of_the_same_number_left_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "shard").write_bytes(b"of another dataset")
    os.link(tmp_path / "shard", tmp_path / f".kseq-tmp-{os.getpid()}-b")
    assert link_or_copy(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "shard").read_bytes() == b"of another dataset"


def test_undo_where_names_cannot_be_exchanged(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(packed)
    make(packed, 1)
    after = files(packed)
    monkeypatch.setattr("kseq.editing.undo.exchange", lambda *_: False)
    kseq.undo(packed)
    assert files(packed) == {**before, "index.h5.1": after["index.h5"]}


def test_a_kill_at_any_moment_of_an_undo_loses_neither_index(packed: Path) -> None:
    make(packed, 1)
    before = files(packed)
    if not exchange(str(packed / "index.h5"), str(packed / "index.h5.1")):
        pytest.skip("names cannot be exchanged here")
    names = ("rename", "replace", "link", "unlink", "fsync")
    for moment in range(20):
        pid = os.fork()
        if not pid:
            calls = iter(range(moment, -1, -1))
            for name in names:
                vars(os)[name] = _dying(getattr(os, name), calls)
            kseq.undo(packed)
            os._exit(0)
        ended = os.waitpid(pid, 0)[1]
        found = {files(packed)[name] for name in ("index.h5", "index.h5.1")}
        assert found == {before["index.h5"], before["index.h5.1"]}
        if not ended:
            return
    pytest.fail("an undo takes more calls than were tried")


def _dying(call: Callable[..., Any], calls: Iterator[int]) -> Callable[..., Any]:
    """The call; at the last of some calls, the process dies in its place."""

    def instead(*arguments: Any, **options: Any) -> Any:
        if not next(calls):
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)

    return instead


def test_a_changed_dataset_is_not_resumed_and_can_be_overwritten(tmp_path: Path) -> None:
    from tests.helpers.photos import write_numbered

    write_numbered(tmp_path / "photos", {"a": 5, "b": 5})
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    make(tmp_path / "packed", 1)
    before = files(tmp_path / "packed")
    with raises(DatasetExistsError, tmp_path / "packed", "change 1"):
        kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0, resume=True)
    assert files(tmp_path / "packed") == before
    kseq.undo(tmp_path / "packed")
    with raises(DatasetExistsError, tmp_path / "packed"):
        kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0, resume=True)
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0, overwrite=True)
    assert "index.h5.1" not in files(tmp_path / "packed")


def test_there_must_be_a_dataset(tmp_path: Path) -> None:
    with raises(DatasetNotFoundError, tmp_path, "index.h5"):
        make(tmp_path, 1)
    assert not files(tmp_path)


def test_the_command_says_what_it_took_back(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(packed, 1)
    assert main(["info", str(packed)]) == 0
    assert "dropped, but still there: 1 sample (kseq compact removes them)\n" in (shown := capsys.readouterr().out)
    assert "changed since it was packed:\n  change 1" in shown
    assert main(["undo", str(packed)]) == 0
    assert main(["undo", str(packed)]) == 0
    assert capsys.readouterr().out == f"{packed}: taken back: change 1\n{packed}: made again: change 1\n"
