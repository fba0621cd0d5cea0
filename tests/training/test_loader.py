"""Reading in threads and processes: the same batches, none overwritten, nothing left behind, no hang."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq import workers
from kseq.errors import ArgumentError, ClosedError, DamagedError, DatasetNotFoundError
from kseq.ordering.epoch_order import Order
from kseq.processes import ProcessPool
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.field_kinds import Image
from kseq.storage.index import Index
from kseq.training.batch_maker import BatchMaker
from kseq.training.image_spec import ImageSpec
from kseq.training.loader import Loader
from kseq.training.read_ahead import Drawn
from tests.helpers.messages import raises
from tests.helpers.photos import is_shared, numbers_of
from tests.helpers.processes import RunPython

# Processes take a second or more to start.
THREADS_OR_PROCESSES = [False, pytest.param(True, marks=pytest.mark.slow)]


def make_loader(
    path: Path,
    count: int = 2,
    processes: bool = False,
    ahead: int = 3,
    batch_size: int = 16,
    order: Order | None = None,
    **options: Any,
) -> Loader:
    dataset = kseq.ShardDataset(path)
    maker = BatchMaker(dataset, ["image", "label"], ImageSpec(4, 4))
    order = Order(len(dataset), batch_size, shuffle=True, seed=2) if order is None else order
    return Loader(maker, order, workers=count, use_multiprocessing=processes, max_queue_size=ahead, **options)


@pytest.fixture
def loader(numbered: Path) -> Iterator[Loader]:
    loader = make_loader(numbered)
    yield loader
    loader.close()


def ahead_of(loader: Loader) -> list[tuple[int, int]]:
    """The epochs and numbers of the batches that were begun ahead and not asked for yet."""
    return sorted((reader.epoch, number) for reader in loader._readers for number in list(reader.pending))


def still_shared(names: set[str]) -> set[str]:
    """Those of the names that another process could still map."""
    return {name for name in names if is_shared(name)}


@pytest.mark.parametrize(
    ("count", "processes"), [(0, False), (1, False), (2, False), (4, False), pytest.param(2, True, marks=pytest.mark.slow)]
)
def test_batches_are_the_same_for_any_workers(numbered: Path, count: int, processes: bool) -> None:
    loader = make_loader(numbered, count, processes)
    asked = [(0, number) for number in range(7)] + [(3, 5), (1, 2), (3, 6), (0, 0), (0, 1), (9, 4)]
    for epoch, number in asked:
        arrays = loader.batch(epoch, number)
        ids = loader.sample_ids(epoch, number)
        assert numbers_of(arrays["image"]).tolist() == ids.tolist()
        assert arrays["label"].tolist() == (np.searchsorted([50, 80], ids, side="right")).tolist()
    loader.close()


@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_batches_that_are_held_are_never_written_to(numbered: Path, processes: bool) -> None:
    loader = make_loader(numbered, 2, processes)
    held = [
        (loader.batch(epoch, number)["image"], loader.sample_ids(epoch, number)) for epoch in range(6) for number in range(7)
    ]
    views = [(loader.batch(9, number)["image"][1:2, :1], loader.sample_ids(9, number)[1]) for number in range(5)]
    for epoch in range(10, 16):
        for number in range(7):
            loader.batch(epoch, number)
    for images, ids in held:
        assert numbers_of(images).tolist() == ids.tolist()
    for view, number in views:
        assert numbers_of(view).tolist() == [number]
    loader.close()


def test_workers_are_not_sent_which_samples_a_selection_has(numbered: Path, second: Path) -> None:
    whole = kseq.ShardDataset(numbered)
    chosen = whole.take(np.tile(np.arange(100), 1000))
    for dataset, number in ((chosen, 99), (chosen.concat(kseq.ShardDataset(second)), 120)):
        maker = BatchMaker(dataset, ["image"], ImageSpec(4, 4))
        pickled = pickle.dumps(maker)
        assert len(pickled) < 4000
        ids = np.array([3, number])
        found, expected = ({"image": np.zeros((2, 4, 4, 3), np.uint8)} for _ in range(2))
        pickle.loads(pickled).fill(found, 0, ids, 0)
        maker.fill(expected, 0, ids, 0)
        np.testing.assert_array_equal(found["image"], expected["image"])
        assert expected["image"].any()


def test_what_images_are_like_is_worked_out_once(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = BatchMaker(kseq.ShardDataset(numbered), ["image", "label"], ImageSpec(4, 4))
    monkeypatch.setattr(Image, "image_spec", None)
    ids = np.arange(20)
    arrays = {name: np.empty(spec.shape, spec.dtype) for name, spec in maker.specs(ids).items()}
    maker.fill(arrays, 0, ids, 0)
    assert maker.least_rows(20) > 0
    assert numbers_of(arrays["image"]).tolist() == ids.tolist()


def test_reads_ahead_in_sequence_and_no_further_than_asked(loader: Loader) -> None:
    loader.batch(0, 0)
    assert ahead_of(loader) == [(0, 1), (0, 2), (0, 3)]
    loader.batch(0, 1)
    assert ahead_of(loader) == [(0, 2), (0, 3), (0, 4)]


def test_does_not_read_ahead_out_of_sequence_nor_past_the_epoch(loader: Loader) -> None:
    loader.batch(0, 4)
    assert not ahead_of(loader)
    loader.batch(0, 5)
    assert ahead_of(loader) == [(0, 6)]
    loader.batch(0, 2)
    assert ahead_of(loader) == [(0, 6)]
    loader.batch(0, 6)
    assert not ahead_of(loader)


def count_fills(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The epoch and the first sample of each batch that is begun."""
    begin, begun = loader._begin, []

    def note_and_begin(epoch: int, drawn: Drawn) -> Any:
        begun.append((epoch, int(drawn.sample_ids[0])))
        return begin(epoch, drawn)

    monkeypatch.setattr(loader, "_begin", note_and_begin)
    return begun


@pytest.mark.parametrize("epochs", [(0, 0), (0, 1), (3, 3, 4, 4)])
def test_passes_side_by_side_are_all_read_ahead_and_nothing_is_begun_in_vain(
    loader: Loader, epochs: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = count_fills(loader, monkeypatch)
    for number in range(7):
        for epoch in epochs:
            assert numbers_of(loader.batch(epoch, number)["image"]).tolist() == loader.sample_ids(epoch, number).tolist()
        if number == 4:
            assert {epoch for epoch, _ in ahead_of(loader)} == set(epochs)
            assert len(ahead_of(loader)) == 2 * len(epochs)
    assert len(begun) == 7 * len(epochs)


def test_a_look_at_the_beginning_is_read_for_the_pass_that_follows(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = count_fills(loader, monkeypatch)
    for number in (0, 1, *range(7)):
        loader.batch(0, number)
    assert len(begun) == 7 + 2


def test_reading_gets_ahead_step_by_step(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = count_fills(loader, monkeypatch)
    monkeypatch.setattr(loader._readers, "_depth", 6)
    found = []
    for number in range(7):
        loader.batch(0, number)
        found.append(len(begun))
    # Each call begins three more, until as many are begun as may wait.
    assert found == [4, 7, 7, 7, 7, 7, 7]


def test_one_more_pass_than_are_read_ahead_takes_nothing_from_the_others(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = count_fills(loader, monkeypatch)
    for number in range(7):
        for epoch in range(6):
            assert numbers_of(loader.batch(epoch, number)["image"]).tolist() == loader.sample_ids(epoch, number).tolist()
    assert len(begun) == 7 * 6


def test_what_was_begun_for_a_pass_that_broke_off_is_dropped_in_the_end(loader: Loader) -> None:
    loader.batch(0, 0)
    for epoch in range(1, 12):
        for number in range(7):
            loader.batch(epoch, number)
    assert not ahead_of(loader)


@pytest.mark.slow
def test_many_threads_at_once_get_what_they_ask_for(loader: Loader) -> None:
    def read(number: int) -> bool:
        epoch, batch_number = divmod(number, 7)
        return (
            numbers_of(loader.batch(epoch, batch_number)["image"]).tolist() == loader.sample_ids(epoch, batch_number).tolist()
        )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, np.random.default_rng(0).permutation(700).tolist()))


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux alone")
@pytest.mark.parametrize("niceness", [0, 7])
@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_whoever_reads_stands_back_by_as_much_as_is_said(numbered: Path, processes: bool, niceness: int) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    loader = make_loader(numbered, processes=processes, niceness=niceness)
    loader.batch(0, 0)
    if processes:
        readers = [child.pid for child in multiprocessing.active_children()]
    else:
        readers = [thread.native_id for thread in threading.enumerate() if thread.name.startswith("kseq_")]
    assert readers
    ending = time.monotonic() + 60
    # One of the processes may still be starting.
    while {os.getpriority(os.PRIO_PROCESS, reader or 0) for reader in readers} != {min(before + niceness, 19)}:
        assert time.monotonic() < ending
        time.sleep(0.01)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    loader.close()


def test_buffers_are_used_again(loader: Loader) -> None:
    addresses = set()
    for epoch in range(20):
        for number in range(7):
            addresses.add(loader.batch(epoch, number)["image"].__array_interface__["data"][0])
            assert min(addresses) % 64 == 0
    assert len(addresses) <= 3 + 3


def test_a_buffer_is_not_used_again_while_a_worker_may_still_write_to_it(
    numbered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = make_loader(numbered, 2, True)
    parts: list[Future] = []

    def submit(*_: object) -> Future:
        parts.append(Future())
        return parts[-1]

    monkeypatch.setattr(loader._pool, "submit", submit)
    place = loader._begin(0, loader.samples(0, 0)).arrays["image"].__array_interface__["data"][0]
    assert loader._begin(0, loader.samples(0, 1)).arrays["image"].__array_interface__["data"][0] != place
    for part in parts:
        part.set_result(None)
    del part
    parts.clear()
    gc.collect()
    assert place in {
        loader._begin(0, loader.samples(0, number)).arrays["image"].__array_interface__["data"][0] for number in (2, 3)
    }
    loader.close()


def damage(path: Path, tmp_path: Path) -> Path:
    """A copy of a dataset with one bit flipped in the pixels of its last sample."""
    import shutil

    import h5py

    copy = tmp_path / "damaged"
    shutil.copytree(path, copy)
    last = sorted(copy.glob("shard-*.h5"))[-1]
    with h5py.File(last, "r+") as file:
        file["image"][-1, 0, 0, 0] ^= 1
    return copy


@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_an_error_of_a_worker_reaches_the_caller_and_the_rest_goes_on(numbered: Path, tmp_path: Path, processes: bool) -> None:
    loader = make_loader(damage(numbered, tmp_path), 2, processes)
    good = bad = 0
    for number in range(7):
        if 99 in loader.sample_ids(0, number):
            with raises(DamagedError, "shard-00006.h5", "row 3"):
                loader.batch(0, number)
            bad += 1
        else:
            assert numbers_of(loader.batch(0, number)["image"]).tolist() == loader.sample_ids(0, number).tolist()
            good += 1
    assert (good, bad) == (6, 1)
    loader.close()


@pytest.mark.slow
def test_a_worker_that_cannot_open_the_dataset_says_why(
    numbered: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import shutil

    moved = Path(shutil.copytree(numbered, tmp_path / "moved"))
    loader = make_loader(moved, 2, True)
    moved.rename(tmp_path / "elsewhere")
    with raises(DatasetNotFoundError, "moved"):
        loader.batch(0, 0)
    loader.close()
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_workers_that_are_killed_while_they_rest_are_replaced_without_a_word(numbered: Path) -> None:
    loader = make_loader(numbered, 2, True, ahead=1)
    loader.batch(0, 3)
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    assert numbers_of(loader.batch(0, 1)["image"]).tolist() == loader.sample_ids(0, 1).tolist()
    loader.close()


def flip_byte_of_a_sample(packed: Path) -> None:
    """Change a stored byte of the sample 18, without which it has another checksum."""
    location = Index.open(str(packed)).entry(1).arrays["image"]
    with open(packed / "shard-00001.h5", "r+b") as file:
        file.seek(location.offset + 2 * 48)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_the_buffer_of_a_batch_that_failed_comes_back_without_a_collection_of_garbage(
    packed: Path, processes: bool, count: int
) -> None:
    flip_byte_of_a_sample(packed)
    loader = make_loader(packed, count, processes)
    bad = next(number for number in range(7) if 18 in loader.sample_ids(0, number))
    gc.collect()
    gc.disable()
    try:
        for _ in range(30):
            for number in range(7):
                if number == bad:
                    with pytest.raises(DamagedError, match="checksum"):
                        loader.batch(0, number)
                else:
                    loader.batch(0, number)
        assert len(loader._buffers._all_blocks()) <= 10
    finally:
        gc.enable()
        loader.close()


@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_what_failed_ahead_is_read_again_once_the_trouble_is_over(packed: Path, processes: bool) -> None:
    loader = make_loader(packed, 2, processes, ahead=5)
    moved = packed.rename(packed.with_name("gone"))
    with pytest.raises(DatasetNotFoundError):
        loader.batch(0, 0)
    # The batches behind it have failed, too.
    time.sleep(0.5)
    moved.rename(packed)
    for number in range(7):
        assert numbers_of(loader.batch(0, number)["image"]).tolist() == loader.sample_ids(0, number).tolist()
    loader.close()


@pytest.mark.slow
def test_what_workers_compared_once_is_not_compared_again_by_those_that_replace_them(packed: Path) -> None:
    loader = make_loader(packed, 2, True, ahead=1)
    for number in range(7):
        loader.batch(0, number)
    flip_byte_of_a_sample(packed)
    old_workers = multiprocessing.active_children()
    for worker in old_workers:
        worker.kill()
        worker.join()
    assert sum(len(loader.batch(1, number)["label"]) for number in range(7)) == 100
    assert old_workers
    assert not set(multiprocessing.active_children()) & set(old_workers)
    loader.close()
    fresh = make_loader(packed, 2, True)
    with raises(DamagedError, "shard-00001.h5", "row 2", "checksum"):
        for number in range(7):
            fresh.batch(0, number)
    fresh.close()


@pytest.mark.slow
def test_what_this_process_compared_is_not_compared_again_by_workers(packed: Path) -> None:
    dataset = kseq.ShardDataset(packed)
    dataset.read(range(100))
    flip_byte_of_a_sample(packed)
    maker = BatchMaker(dataset, ["image", "label"], ImageSpec(4, 4))
    loader = Loader(maker, Order(100, 16), workers=2, use_multiprocessing=True)
    assert sum(len(loader.batch(0, number)["label"]) for number in range(7)) == 100
    loader.close()


def test_workers_compare_for_themselves_where_the_memory_of_the_flags_is_gone(packed: Path) -> None:
    pickled = pickle.dumps(BatchMaker(kseq.ShardDataset(packed), ["image"], ImageSpec(4, 4)))
    gc.collect()
    maker = pickle.loads(pickled)
    flip_byte_of_a_sample(packed)
    with raises(DamagedError, "row 2", "checksum"):
        maker.fill({"image": np.empty((1, 4, 4, 3), np.uint8)}, 0, np.array([18]), 0)


@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_idle_workers_end_by_themselves_and_their_memory_is_free(numbered: Path, processes: bool) -> None:
    threads = set(threading.enumerate())
    loader = make_loader(numbered, 2, processes, idle_seconds=0.3)
    held = [loader.batch(0, number) for number in [0, 1, 2, 3, 4, 5] * 2]
    del held
    assert len(loader._buffers._idle) > loader._depth + 2
    deadline = time.monotonic() + 60
    while set(threading.enumerate()) - threads or multiprocessing.active_children():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while len(loader._buffers._idle) > loader._depth + 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert numbers_of(loader.batch(0, 1)["image"]).tolist() == loader.sample_ids(0, 1).tolist()
    loader.close()


@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_close_leaves_no_thread_no_process_no_memory(numbered: Path, processes: bool) -> None:
    threads = set(threading.enumerate())
    loader = make_loader(numbered, 2, processes)
    held, expected = loader.batch(0, 0)["image"], loader.sample_ids(0, 0).tolist()
    names = set(loader._buffers._blocks)
    assert bool(names) == processes
    loader.close()
    assert not [thread for thread in set(threading.enumerate()) - threads if thread.name != "kseq-idle"]
    assert not multiprocessing.active_children()
    assert not still_shared(names)
    assert numbers_of(held).tolist() == expected
    with pytest.raises(ClosedError):
        loader.batch(0, 1)


def outcome(call: Callable[[], object]) -> object:
    """What a call returns, or the error it ends with."""
    try:
        return call()
    except Exception as error:
        return error


@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_a_batch_that_close_overtakes_starts_no_workers(
    numbered: Path, monkeypatch: pytest.MonkeyPatch, processes: bool
) -> None:
    threads = set(threading.enumerate())
    loader = make_loader(numbered, 2, processes)
    loader.batch(0, 0)
    samples = loader.samples(3, 2)
    begun, closed = threading.Event(), threading.Event()

    def wait_for_close(epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        begun.set()
        assert closed.wait(60)
        return samples

    monkeypatch.setattr(loader, "samples", wait_for_close)
    with ThreadPoolExecutor(1) as caller:
        future = caller.submit(loader.batch, 3, 2)
        assert begun.wait(60)
        loader.close()
        closed.set()
        with raises(ClosedError, "packed"):
            future.result(60)
    assert not multiprocessing.active_children()
    assert not [thread for thread in set(threading.enumerate()) - threads if thread.name != "kseq-idle"]


def test_batches_begun_ahead_while_close_runs_are_not_kept(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = loader._begin

    def begin_and_close(epoch: int, drawn: Drawn) -> object:
        begun = begin(epoch, drawn)
        if not (drawn.sample_ids == loader.sample_ids(0, 0)).all():
            loader.close()
        return begun

    monkeypatch.setattr(loader, "_begin", begin_and_close)
    loader.batch(0, 0)
    assert not ahead_of(loader)


def test_who_waits_for_a_batch_that_close_drops_is_told_that_it_was_closed(
    numbered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = make_loader(numbered, 1)
    fill, go_on, filling = loader._maker.fill, threading.Event(), threading.Event()

    def wait_and_fill(*arguments: Any) -> Any:
        filling.set()
        assert go_on.wait(60)
        return fill(*arguments)

    monkeypatch.setattr(loader._maker, "fill", wait_and_fill)
    with ThreadPoolExecutor(3) as callers:
        first = callers.submit(loader.batch, 0, 0)
        assert filling.wait(60)
        while (0, 3) not in ahead_of(loader):
            time.sleep(0.01)
        second = callers.submit(loader.batch, 0, 1)
        while (0, 1) in ahead_of(loader):
            time.sleep(0.01)
        closing = callers.submit(loader.close)
        with raises(ClosedError, "packed"):
            second.result(60)
        go_on.set()
        closing.result(60)
        assert numbers_of(first.result(60)["image"]).tolist() == make_loader(numbered).sample_ids(0, 0).tolist()


@pytest.mark.parametrize(
    ("processes", "times"),
    [(False, 5), pytest.param(False, 30, marks=pytest.mark.slow), pytest.param(True, 3, marks=pytest.mark.slow)],
)
def test_threads_that_read_while_it_is_closed_end_with_closed_error_and_leave_nothing(
    numbered: Path, processes: bool, times: int
) -> None:
    threads = set(threading.enumerate())

    def read_on(loader: Loader) -> None:
        for epoch in range(10_000):
            for number in range(7):
                loader.batch(epoch, number)

    for turn in range(times):
        loader = make_loader(numbered, 2, processes)
        with ThreadPoolExecutor(3) as callers:
            reading = [callers.submit(outcome, functools.partial(read_on, loader)) for _ in range(3)]
            time.sleep(0.01 * (turn % 4) + 0.5 * processes)
            loader.close()
            assert {type(future.result(60)) for future in reading} == {ClosedError}
        assert not ahead_of(loader)
        assert not multiprocessing.active_children()
        assert not [thread for thread in set(threading.enumerate()) - threads if thread.name != "kseq-idle"]


@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_a_pool_takes_no_task_after_close(processes: bool) -> None:
    pool = workers.WorkerPool(1, processes=processes)
    assert pool.submit(int).result(60) == 0
    pool.close()
    with pytest.raises(ClosedError):
        pool.submit(int)
    assert pool._executor is None


def test_threads_of_a_forked_child_start_the_workers_once(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    loader.batch(0, 0)
    start, starts = loader._start, []

    def start_slowly() -> None:
        starts.append(None)
        time.sleep(0.2)
        start()

    monkeypatch.setattr(loader, "_start", start_slowly)
    child = os.fork()
    if child == 0:
        with ThreadPoolExecutor(4) as callers:
            found = list(callers.map(lambda number: numbers_of(loader.batch(1, number)["image"]).tolist(), range(4)))
        os._exit(0 if found == [loader.sample_ids(1, number).tolist() for number in range(4)] and len(starts) == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0


def note_what_is_asked_for(loader: Loader, monkeypatch: pytest.MonkeyPatch, seconds: float = 0) -> list[int]:
    """Sample ids, in the order in which the disk is asked for them; each request takes so long."""
    asked: list[int] = []

    def note(samples: LocatedSamples) -> None:
        asked.extend(samples.sample_ids.tolist())
        time.sleep(seconds)

    monkeypatch.setattr(LocatedSamples, "will_need", note)
    return asked


def test_close_waits_for_a_piece_of_what_is_asked_for_ahead_and_drops_the_rest(
    numbered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = make_loader(numbered, 1, order=Order(100, 2, "block", block_size=5, window=40))
    asked = note_what_is_asked_for(loader, monkeypatch, 0.3)
    loader.batch(0, 0)
    loader.close()
    assert 0 < len(asked) <= 8


def test_an_epoch_that_is_begun_anywhere_asks_for_the_window_of_its_first_batch_and_for_each_sample_once(
    numbered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = make_loader(numbered, 1, order=Order(100, 4, "block", block_size=5, window=20))
    asked = note_what_is_asked_for(loader, monkeypatch)
    loader.batch(3, 12)
    loader._advance.submit(int).result(60)
    assert set(asked) >= {sample for number in range(12, 15) for sample in loader.sample_ids(3, number).tolist()}
    for number in range(13, 25):
        loader.batch(3, number)
    loader._advance.submit(int).result(60)
    assert len(asked) == len(set(asked)) == 60
    # Numbers in an order of Keras's own: nothing more than at the beginning of an epoch.
    asked.clear()
    for number in (17, 2, 21, 9, 5):
        loader.batch(4, number)
    loader._advance.submit(int).result(60)
    assert len(asked) <= 50
    # A jump, and in sequence from there: the new place is asked for.
    for number in (0, 1, 20, 21):
        loader.batch(5, number)
    loader._advance.submit(int).result(60)
    assert set(asked) >= set(loader.sample_ids(5, 21).tolist())
    loader.close()


@pytest.mark.slow
def test_a_forked_child_that_reads_closes_the_buffers_of_its_parent(numbered: Path) -> None:
    loader = make_loader(numbered, 2, True)
    loader.batch(0, 0)
    labels = {name.partition("#")[2] for name in loader._buffers._blocks}
    assert labels
    for reader in loader._readers:
        for pending in reader.pending.values():
            pending.wait(lambda filling, _: filling.result())
    del reader, pending
    child = os.fork()
    if child == 0:
        loader.batch(0, 3)
        links = [outcome(functools.partial(os.readlink, f"/proc/self/fd/{entry}")) for entry in os.listdir("/proc/self/fd")]
        left = {f"/memfd:{label} (deleted)" for label in labels} & set(map(str, links))
        loader.close()
        os._exit(len(left))
    assert os.waitpid(child, 0)[1] == 0
    loader.close()


@pytest.mark.slow
def test_a_sequence_that_is_dropped_closes_itself(numbered: Path) -> None:
    sequence = kseq.ShardSequence(numbered, batch_size=16, workers=2, use_multiprocessing=True)
    sequence[0]
    assert multiprocessing.active_children()
    del sequence
    gc.collect()
    deadline = time.monotonic() + 60
    while multiprocessing.active_children():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_sequence_that_is_dropped_last_by_one_of_its_own_workers_closes_itself(numbered: Path) -> None:
    threads = set(threading.enumerate())
    started, go_on = threading.Event(), threading.Event()

    def hold(images: np.ndarray) -> np.ndarray:
        return images

    sequence = kseq.ShardSequence(numbered, batch_size=16, workers=1, augment=hold)
    loader, errors = sequence.batches._loader, []

    def keep(held: list[Any]) -> None:
        started.set()
        assert go_on.wait(60)
        try:
            held.clear()
        except BaseException as error:
            errors.append(error)

    held = [sequence]
    loader._pool.submit(keep, held)
    assert started.wait(60)
    del sequence
    go_on.set()
    deadline = time.monotonic() + 60
    while not loader._closed or [thread for thread in set(threading.enumerate()) - threads if thread.name != "kseq-idle"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not errors
    with pytest.raises(ClosedError):
        loader.batch(0, 0)


HOLD = """
import os, signal, sys, kseq
os.environ.setdefault("KERAS_BACKEND", "jax")
from kseq.training.batch_maker import BatchMaker
from kseq.training.image_spec import ImageSpec
from kseq.training.loader import Loader
from kseq.ordering.epoch_order import Order
from kseq.processes import ProcessPool
import multiprocessing
dataset = kseq.ShardDataset(sys.argv[1])
loader = Loader(BatchMaker(dataset, ["image", "label"], ImageSpec(4, 4)), Order(100, 16), workers=2, use_multiprocessing=True)
held = loader.batch(0, 0)
print(*[child.pid for child in multiprocessing.active_children()], *loader._buffers._blocks, flush=True)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "interrupt":
    # A program that was started in the background by a shell ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["exit", "interrupt", "kill"])
def test_nothing_stays_in_shared_memory_however_the_program_ends(numbered: Path, run_python: RunPython, end: str) -> None:
    printed = run_python(HOLD, numbered, end, check=False).stdout.split()
    children, names = [int(word) for word in printed if word.isdigit()], {word for word in printed if not word.isdigit()}
    assert len(children) == 2
    assert names
    deadline = time.monotonic() + 60
    while still_shared(names) or any(is_running(pid) for pid in children):
        assert time.monotonic() < deadline, (still_shared(names), children)
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_works_in_a_fork_while_the_parent_reads(loader: Loader) -> None:
    stop = threading.Event()

    def read_on() -> None:
        while not stop.is_set():
            for number in range(7):
                loader.batch(0, number)

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        for epoch in range(8):
            child = os.fork()
            if child == 0:
                right = numbers_of(loader.batch(epoch, 1)["image"]).tolist() == loader.sample_ids(epoch, 1).tolist()
                os._exit(0 if right else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        reader.join()


@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_a_batch_that_a_forked_child_holds_is_not_written_to(numbered: Path, processes: bool) -> None:
    loader = make_loader(numbered, 2, processes)
    loader.batch(0, 0)
    images, labels = loader.batch(0, 1).values()
    ids = loader.sample_ids(0, 1).tolist()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)
        right = numbers_of(images).tolist() == ids and labels.tolist() == np.searchsorted([50, 80], ids, side="right").tolist()
        # The child may go on reading, and write to what it holds.
        images[:] = 255
        right = right and numbers_of(loader.batch(0, 2)["image"]).tolist() == loader.sample_ids(0, 2).tolist()
        os._exit(0 if right else 1)
    kept = images[3:4]
    del images, labels
    for epoch in range(1, 5):
        for number in range(7):
            found = numbers_of(loader.batch(epoch, number)["image"]).tolist()
            assert found == loader.sample_ids(epoch, number).tolist()
    os.write(writing, b".")
    assert os.waitpid(child, 0)[1] == 0
    assert numbers_of(kept).tolist() == ids[3:4]
    os.close(reading)
    os.close(writing)
    loader.close()


@pytest.mark.slow
def test_workers_unmap_buffers_that_are_gone(objects_of_many_lengths: Path) -> None:
    dataset = kseq.ShardDataset(objects_of_many_lengths)
    maker = BatchMaker(dataset, ["image", "trace"], ImageSpec(4, 4))
    with_processes = {"workers": 2, "use_multiprocessing": True, "max_queue_size": 2}
    loader = Loader(maker, Order(len(dataset), 4, shuffle=True), **with_processes)
    for epoch in range(4):
        for number in range(10):
            loader.batch(epoch, number)
    mapped = [
        sum("/memfd:kseq" in line for line in Path(f"/proc/{worker.pid}/maps").read_text().splitlines())
        for worker in multiprocessing.active_children()
    ]
    # Two ahead, the one that is asked for, and one that was let go.
    assert max(mapped) <= len(loader._buffers.names()) + 1 <= 6
    loader.close()


@pytest.fixture(scope="module")
def objects_of_many_lengths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(8)
    lengths = rng.integers(1000, 100_000, 40).tolist()
    samples = ({"image": np.zeros((4, 4, 3), np.uint8), "trace": rng.random(length).tolist()} for length in lengths)
    target = tmp_path_factory.mktemp("lengths") / "packed"
    kseq.pack(samples, target, columns=kseq.Columns(targets=["trace"]), images=kseq.ImageSettings("raw", (4, 4)), workers=0)
    return target


@pytest.mark.parametrize("count", [0, 2])
def test_a_batch_that_cannot_be_begun_disturbs_none_before_it(objects_of_many_lengths: Path, count: int) -> None:
    counts = [len(trace) for trace in kseq.ShardDataset(objects_of_many_lengths).read(range(40))["trace"]]
    longest = max(counts)
    with kseq.Batches(
        objects_of_many_lengths, "all", targets="trace", pad_to=longest - 1, batch_size=4, workers=count, shuffle=True
    ) as batches:
        assert counts.index(longest) in batches.sample_ids(0, 7)
        for number in range(len(batches)):
            if longest in [counts[position] for position in batches.sample_ids(0, number)]:
                with raises(ArgumentError, f"has {longest} elements"):
                    batches.batch(0, number)
            else:
                assert len(batches.batch(0, number)[0]) == 4


_shared_loader: Loader | None = None


def _remember(loader: Loader) -> None:
    global _shared_loader
    _shared_loader = loader


def _read_in_pool(number: int) -> list[int]:
    assert _shared_loader is not None
    return numbers_of(_shared_loader.batch(0, number)["image"]).tolist()


@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_works_in_a_fork_pool_of_the_user(numbered: Path, processes: bool) -> None:
    loader = make_loader(numbered, 2, processes)
    expected = [loader.sample_ids(0, number).tolist() for number in range(7)]
    with multiprocessing.get_context("fork").Pool(2, _remember, (loader,)) as pool:
        assert pool.map(_read_in_pool, range(7)) == expected
    loader.close()


@pytest.mark.slow
def test_a_sequence_works_in_a_spawn_pool_of_the_user(numbered: Path, run_python: RunPython, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, sys, kseq\n"
        "def first(sequence, number):\n"
        "    return sequence[number][0][:, 0, 0, 0].tolist()\n"
        "if __name__ == '__main__':\n"
        "    sequence = kseq.ShardSequence(sys.argv[1], batch_size=16, use_multiprocessing=True, workers=2)\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        found = pool.starmap(first, [(sequence, number) for number in range(5)])\n"
        "    assert found == [sequence.sample_ids(number).tolist() for number in range(5)], found\n"
    )
    run_python(
        f"import runpy, sys; sys.argv[1:] = [{str(numbered)!r}]; runpy.run_path({str(script)!r}, run_name='__main__')",
        backend="jax",
    )


@pytest.mark.slow
def test_a_plain_script_may_use_processes_without_a_guard(numbered: Path, tmp_path: Path) -> None:
    import sys

    script = tmp_path / "plain.py"
    script.write_text(
        "import sys, kseq\n"
        "with kseq.ShardSequence(sys.argv[1], batch_size=16, workers=2, use_multiprocessing=True) as sequence:\n"
        "    print(sum(len(images) for images, _ in sequence))\n"
    )
    done = subprocess.run(
        [sys.executable, script, numbered],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert done.stdout.splitlines()[-1:] == ["80"], done.stderr


def test_workers_load_no_keras(numbered: Path) -> None:
    with ProcessPool(1) as pool:
        loaded = pool.submit(_loaded_after_filling, pickle.dumps(make_loader(numbered, 0)._maker)).result()
    assert loaded == []


def _loaded_after_filling(pickled: bytes) -> list[str]:
    import sys

    maker = pickle.loads(pickled)
    arrays = {name: np.empty(spec.shape, spec.dtype) for name, spec in maker.specs(np.arange(4)).items()}
    maker.fill(arrays, 0, np.arange(4), 0)
    return [name for name in ("keras", "tensorflow", "jax", "torch") if name in sys.modules]


@pytest.mark.parametrize("option", [{"niceness": -1}, {"niceness": 20}, {"idle_seconds": 0}, {"idle_seconds": "5"}])
def test_refuses_niceness_and_seconds_that_make_no_sense(numbered: Path, option: dict[str, Any]) -> None:
    ((name, value),) = option.items()
    with raises(ArgumentError, f"{name}={value!r}"):
        make_loader(numbered, **option)


@pytest.mark.parametrize(("count", "ahead"), [(-1, 10), (1, 0)])
def test_refuses_numbers_that_make_no_sense(numbered: Path, count: int, ahead: int) -> None:
    with raises(ArgumentError, f"workers={count}" if count < 0 else f"max_queue_size={ahead}"):
        make_loader(numbered, count, ahead=ahead)


GROWTH = """
import gc, os, sys
import keras, kseq
def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
train = kseq.ShardSequence(sys.argv[1], "train", input_shape=(64, 64, 3), batch_size=16, augment=kseq.RandomResizedCrop(64))
model = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Rescaling(1 / 255), keras.layers.GlobalAveragePooling2D(),
                          keras.layers.Dense(2, activation="softmax")])
model.compile("sgd", "sparse_categorical_crossentropy")
model.fit(train, epochs=2, verbose=0)
before = resident()
model.fit(train, epochs=18, verbose=0)
print(before, resident())
"""


@pytest.mark.campaign
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is not told here")
def test_memory_after_twenty_epochs_is_that_after_two(packed_photos: Path, run_python: RunPython) -> None:
    before, after = map(int, run_python(GROWTH, packed_photos, backend="torch").stdout.split()[-2:])
    assert after < 1.05 * before
