"""Packing on executors that are given: threads, processes of every kind, a Dask cluster; and what goes wrong with them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import ArgumentError, ImageError
from kseq_tools.main import main
from tests.helpers.datasets import files
from tests.helpers.messages import Parts, assert_says, raises
from tests.helpers.photos import write_photos
from tests.helpers.processes import kseq_command

OPTIONS: dict[str, Any] = {"val": 0.2, "shard_bytes": 3_000}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    write_photos(folder, {"cat": 60, "dog": 60})
    (folder / "cat/broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


@pytest.fixture(scope="module")
def local(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    target = tmp_path_factory.mktemp("local") / "packed"
    kseq.pack(source, target, workers=0, **OPTIONS)
    return files(target)


def processes(method: str) -> Callable[[], Executor]:
    return lambda: ProcessPoolExecutor(2, multiprocessing.get_context(method))


def loky() -> Executor:
    executor: Executor = pytest.importorskip("loky", reason="loky is not among the packages of the tests").ProcessPoolExecutor(
        2
    )
    return executor


@pytest.mark.parametrize(
    "start",
    [
        lambda: ThreadPoolExecutor(3),
        *(
            pytest.param(start, marks=pytest.mark.slow)
            for start in (processes("fork"), processes("spawn"), processes("forkserver"), loky)
        ),
    ],
    ids=["threads", "fork", "spawn", "forkserver", "loky"],
)
def test_the_bytes_are_those_of_a_local_run_and_the_executor_goes_on(
    source: Path, local: dict[str, bytes], tmp_path: Path, start: Callable[[], Executor]
) -> None:
    seen: list[int] = []
    with start() as executor:
        kseq.pack(source, tmp_path / "packed", executor=executor, progress=lambda done, _: seen.append(done), **OPTIONS)
        assert executor.submit(os.getpid).result() > 0
    assert files(tmp_path / "packed") == local
    assert seen == sorted(seen)
    assert seen[-1] == 121


@pytest.mark.slow
def test_paths_may_be_relative(source: Path, local: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=os.chdir, initargs=("/",)) as executor:
        monkeypatch.chdir(source.parent)
        kseq.pack(source.name, os.path.relpath(tmp_path / "packed"), executor=executor, **OPTIONS)
    assert files(tmp_path / "packed") == local


def test_warnings_are_as_before(source: Path, tmp_path: Path) -> None:
    import warnings

    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as executor:
        kseq.pack(source, tmp_path / "packed", executor=executor, **OPTIONS)
    assert warnings.filters == before


def test_on_error_fail_stops_at_a_broken_image(source: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor, raises(ImageError, "cat/broken.jpg"):
        kseq.pack(source, tmp_path / "packed", executor=executor, on_error="fail", **OPTIONS)
    assert not list((tmp_path / "packed").glob(".kseq-tmp-*"))


@pytest.mark.parametrize(
    "start",
    [lambda: ThreadPoolExecutor(2), pytest.param(processes("spawn"), marks=pytest.mark.slow)],
    ids=["threads", "processes"],
)
def test_an_interrupted_run_ends_soon_and_can_be_resumed(
    source: Path, local: dict[str, bytes], tmp_path: Path, start: Callable[[], Executor]
) -> None:
    stopped: list[float] = []

    def interrupt(done: int, total: int) -> None:
        if 0 < done < total:
            stopped.append(time.monotonic())
            raise KeyboardInterrupt

    with start() as executor:
        with pytest.raises(KeyboardInterrupt):
            kseq.pack(source, tmp_path / "packed", executor=executor, progress=interrupt, **OPTIONS)
        assert time.monotonic() - stopped[0] < 60
        # Tasks that the executor still held return at once.
        assert executor.submit(os.getpid).result(60) > 0
        assert not list((tmp_path / "packed").glob(".kseq-tmp-*"))
        assert not (tmp_path / "packed/index.h5").exists()
        assert kseq.pack(source, tmp_path / "packed", executor=executor, resume=True, **OPTIONS).num_resumed > 0
    assert files(tmp_path / "packed") == local


class Strange(Executor):
    """Hands on what it is given, changed."""

    def __init__(self, task: Callable[[Any], Any] = lambda task: task, beacon: str = "") -> None:
        self._task = task
        self._beacon = beacon

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future:
        future: Future = Future()
        try:
            pickled, beacon = args
            future.set_result(fn(pickle.dumps(self._task(pickle.loads(pickled))), beacon + self._beacon))
        except Exception as error:
            future.set_exception(error)
        return future


def test_workers_that_do_not_see_the_dataset_are_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.packing.executor_runner._VISIBLE_WITHIN", 0.01)
    monkeypatch.setattr("kseq.packing.executor_runner._CHECK_INTERVAL", 0.01)
    with raises(ArgumentError, socket.gethostname(), tmp_path / "packed"):
        kseq.pack(source, tmp_path / "packed", executor=Strange(beacon="-elsewhere"), **OPTIONS)


def test_workers_that_do_not_see_the_source_are_refused(source: Path, tmp_path: Path) -> None:
    elsewhere = Strange(lambda task: replace(task, source=replace(task.source, root="/nowhere")))
    with raises(ArgumentError, socket.gethostname(), "/nowhere"):
        kseq.pack(source, tmp_path / "packed", executor=elsewhere, **OPTIONS)


class Broken(Executor):
    """Breaks at the third task."""

    def __init__(self) -> None:
        self.tasks = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future:
        self.tasks += 1
        if self.tasks > 2:
            raise BrokenExecutor("is broken")
        future: Future = Future()
        future.set_result(fn(*args))
        return future


@pytest.mark.slow
def test_what_a_broken_executor_leaves_is_built_here(source: Path, local: dict[str, bytes], tmp_path: Path) -> None:
    broken = Broken()
    kseq.pack(source, tmp_path / "packed", executor=broken, **OPTIONS)
    assert broken.tasks == 3
    assert files(tmp_path / "packed") == local


class Failing(Executor):
    """Runs each task, and fails to hand on the result of the second, as Dask does where a worker dies just then."""

    def __init__(self) -> None:
        self.tasks = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future:
        self.tasks += 1
        future: Future = Future()
        result = fn(*args)
        if self.tasks == 2:
            future.set_exception(ValueError("not enough values to unpack"))
        else:
            future.set_result(result)
        return future


@pytest.mark.slow
def test_a_shard_whose_result_the_executor_loses_is_built_here_with_a_line(
    source: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="ValueError: not enough values") as said:
        kseq.pack(source, tmp_path / "packed", executor=Failing(), **OPTIONS)
    assert len(said) == 1
    assert files(tmp_path / "packed") == local


def shut_down() -> Executor:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    return executor


class NoFutures(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        return 7


@pytest.mark.parametrize(
    ("executor", "words"),
    [
        (shut_down(), ("executor",)),
        ("localhost:8786", ("'str'", "'submit'")),
        (NoFutures(), ("int", "Future", "get_executor")),
    ],
)
def test_what_is_no_executor_is_refused(source: Path, tmp_path: Path, executor: Any, words: Parts) -> None:
    with raises(ArgumentError, *words):
        kseq.pack(source, tmp_path / "packed", executor=executor, **OPTIONS)


def test_workers_and_executor_exclude_each_other(source: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor, raises(ArgumentError, "workers=", "executor="):
        kseq.pack(source, tmp_path / "packed", workers=2, executor=executor, **OPTIONS)


@contextmanager
def cluster_with_nannies() -> Iterator[tuple[str, int]]:
    """A Dask cluster of two worker processes, each with a nanny that starts another; its address, and a worker's process."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        yield cluster.scheduler_address, cluster.workers[0].pid


@contextmanager
def cluster_without_nannies() -> Iterator[tuple[str, int]]:
    """The same, whose workers nobody starts again."""
    from distributed import Client, LocalCluster

    words = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None) as cluster:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, *words]
        workers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
        try:
            with Client(cluster) as client:
                client.wait_for_workers(2, timeout=100)
            yield cluster.scheduler_address, workers[0].pid
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


@pytest.mark.slow
@pytest.mark.parametrize("start", [cluster_with_nannies, cluster_without_nannies])
def test_a_dask_worker_that_is_killed_is_survived(
    source: Path, local: dict[str, bytes], tmp_path: Path, start: Callable[[], Any]
) -> None:
    with start() as (address, process):
        words = ["pack", source, tmp_path / "packed", "--val", "0.2", "--shard-bytes", "3000", "--dask", address]
        packing = subprocess.Popen(kseq_command(*words), stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 100
        while len(list(tmp_path.glob("packed/shard-*.h5"))) < 5:
            assert packing.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process, signal.SIGKILL)
        was_under_way = not (tmp_path / "packed/index.h5").exists()
        printed, _ = packing.communicate(timeout=200)
    assert was_under_way
    assert (packing.returncode, "120 images packed" in printed) == (0, True)
    assert files(tmp_path / "packed") == local


def test_an_address_where_no_scheduler_answers_is_one_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kseq_tools.console.dask_cluster._ANSWERS_WITHIN", 1)
    assert main(["pack", str(source), str(tmp_path / "packed"), "--dask", "127.0.0.1:9"]) == 1
    assert_says(capsys.readouterr().err, "kseq", "--dask 127.0.0.1:9", "1 s")
    assert not (tmp_path / "packed").exists()


def test_without_distributed_dask_is_one_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["pack", str(source), str(tmp_path / "packed"), "--dask", "127.0.0.1:9"]) == 1
    assert_says(capsys.readouterr().err, "--dask", "distributed", "pip install 'kseq[dask]'")
