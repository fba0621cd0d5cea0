"""A cache of local copies that processes share: a file is fetched once, taken over, checked, and goes when room is needed."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from kseq.errors import ArgumentError, DamagedError, WriteError
from kseq.storage import remote_cache
from kseq.storage.remote_cache import FileCache, choose_cache
from tests.helpers.messages import raises
from tests.helpers.paths import ROOT


class Files:
    """What is fetched: files of so many bytes."""

    def __init__(self, num_bytes: int = 100) -> None:
        self.num_bytes = num_bytes
        self.fetched: list[tuple[str, int]] = []
        self.wrong: set[str] = set()

    def fetch(self, cache: FileCache, name: str) -> Path:
        def get(path: str, start: int) -> None:
            self.fetched.append((name, start))
            with open(path, "r+b" if os.path.exists(path) else "wb") as file:
                file.seek(start)
                file.write(b"x" * (self.num_bytes - start))

        def check(path: str) -> None:
            data = Path(path).read_bytes()
            if data != b"x" * self.num_bytes or name in self.wrong:
                raise DamagedError(f"{name}: {data[:10]!r}")

        return Path(cache.fetch(f"data/{name}", self.num_bytes, get, check))


def test_a_file_is_fetched_once(tmp_path: Path) -> None:
    files, cache = Files(), FileCache(str(tmp_path / "cache"))
    path = files.fetch(cache, "a")
    assert path.read_bytes() == b"x" * 100
    assert files.fetch(cache, "a") == path
    assert files.fetched == [("a", 0)]
    assert cache.has("data/a", 100)
    assert not cache.has("data/b", 100)
    assert [file.name for file in path.parent.iterdir()] == ["a.kseq-copy.h5"]


def test_many_threads_fetch_a_file_once(tmp_path: Path) -> None:
    files, cache = Files(), FileCache(str(tmp_path))
    threads = [threading.Thread(target=files.fetch, args=(cache, name)) for name in "abc" * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(files.fetched) == [("a", 0), ("b", 0), ("c", 0)]


def test_what_a_dead_process_left_is_gone_on_with(tmp_path: Path) -> None:
    files, cache = Files(), FileCache(str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.kseq-copy.h5.100.part").write_bytes(b"x" * 60)
    files.fetch(cache, "a")
    assert files.fetched == [("a", 60)]


def test_what_a_dead_process_left_wrong_is_fetched_anew(tmp_path: Path) -> None:
    files, cache = Files(), FileCache(str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.kseq-copy.h5.100.part").write_bytes(b"?" * 60)
    assert files.fetch(cache, "a").read_bytes() == b"x" * 100
    assert files.fetched == [("a", 60), ("a", 0)]


def test_a_wrong_file_gets_no_name(tmp_path: Path) -> None:
    files, cache = Files(), FileCache(str(tmp_path))
    files.wrong.add("a")
    with raises(DamagedError, "a"):
        files.fetch(cache, "a")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_copy_of_another_size_is_fetched_anew(tmp_path: Path) -> None:
    files, cache = Files(), FileCache(str(tmp_path))
    files.fetch(cache, "a").write_bytes(b"x" * 99)
    assert files.fetch(cache, "a").stat().st_size == 100
    assert len(files.fetched) == 2


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    files, cache = Files(), FileCache(str(tmp_path), 250)
    paths = {}
    for age, name in enumerate("ab"):
        paths[name] = files.fetch(cache, name)
        os.utime(paths[name], (time.time() - 100 + age,) * 2)
    files.fetch(cache, "a")
    paths["c"] = files.fetch(cache, "c")
    assert [name for name, path in paths.items() if path.exists()] == ["a", "c"]


def test_what_is_not_a_copy_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    others = [tmp_path / "flowers" / name for name in ("shard-00000.h5", "index.h5", "index.h5.1", "x.part")]
    for file in others:
        file.write_bytes(b"mine" * 100)
        os.utime(file, (0, 0))
    files, cache = Files(), FileCache(str(tmp_path), 150)
    files.fetch(cache, "a")
    files.fetch(cache, "b")
    assert all(file.exists() for file in others)
    assert [cache.has(f"data/{name}", 100) for name in "ab"] == [False, True]


def test_what_others_left_long_ago_is_gone_on_with_though_there_is_no_room(tmp_path: Path) -> None:
    files, cache = Files(), FileCache(str(tmp_path), 120)
    part = tmp_path / "data" / "a.kseq-copy.h5.100.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 60)
    os.utime(part, (0, 0))
    files.fetch(cache, "a")
    assert files.fetched == [("a", 60)]


def test_who_waits_for_another_removes_nothing(tmp_path: Path) -> None:
    files, cache = Files(), FileCache(str(tmp_path), 250)
    old, begun, go_on = files.fetch(cache, "old"), threading.Event(), threading.Event()

    def get(path: str, start: int) -> None:
        Path(path).write_bytes(b"x" * 90)
        begun.set()
        assert go_on.wait(60)
        Path(path).write_bytes(b"x" * 100)

    threads = [threading.Thread(target=cache.fetch, args=("data/a", 100, get, lambda path: None)) for _ in range(2)]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    time.sleep(0.3)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert old.exists()


class Gauge:
    """Fetches files of which a part arrives at a time, and notes how many bytes the folder has held or was to hold."""

    def __init__(self, cache: FileCache) -> None:
        self.cache = cache
        self.most = 0
        self._lock = threading.Lock()
        self._under_way: dict[str, int] = {}

    def fetch(self, name: str, num_bytes: int = 100) -> None:
        def get(path: str, start: int) -> None:
            self._note(path, num_bytes)
            for part in range(10):
                Path(path).write_bytes(b"x" * (num_bytes * (part + 1) // 10))
                time.sleep(0.005)
                self._note()

        def open_copy(path: str) -> bytes:
            self._under_way.pop(path)
            return Path(path).read_bytes()

        assert self.cache.open(f"data/{name}", num_bytes, get, lambda path: None, open_copy) == b"x" * num_bytes

    def _note(self, path: str = "", num_bytes: int = 0) -> None:
        with self._lock:
            if path:
                # By the name that the copy will have: between the change of its name and its opening it must not count twice.
                self._under_way[path.removesuffix(f".{num_bytes}.part")] = num_bytes
            sizes = {}
            for file in Path(self.cache.folder).rglob("*.kseq-copy.h5"):
                # Another thread may remove it meanwhile.
                with suppress(FileNotFoundError):
                    sizes[str(file)] = file.stat().st_size
            self.most = max(self.most, sum({**sizes, **self._under_way}.values()))

    def fetch_together(self, *files: tuple[str, int]) -> None:
        threads = [threading.Thread(target=self.fetch, args=file, daemon=True) for file in files]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("limit", [100, 250, 1000])
def test_what_is_fetched_at_once_stays_below_the_limit(tmp_path: Path, limit: int) -> None:
    gauge = Gauge(FileCache(str(tmp_path), limit))
    gauge.fetch_together(*((str(number), 100) for number in range(12)))
    assert limit - 100 < gauge.most <= limit


def test_a_file_larger_than_the_limit_is_fetched_alone(tmp_path: Path) -> None:
    gauge = Gauge(FileCache(str(tmp_path), 250))
    gauge.fetch_together(("large", 400), *((str(number), 100) for number in range(6)), ("larger", 500))
    assert gauge.most == 500


def test_what_fails_leaves_its_room_to_others(tmp_path: Path) -> None:
    files, cache = Files(), FileCache(str(tmp_path), 100)
    files.wrong.add("a")
    with raises(DamagedError, "a"):
        files.fetch(cache, "a")
    assert files.fetch(cache, "b").exists()


def test_what_others_fetch_counts_with_the_size_that_it_will_have(tmp_path: Path) -> None:
    files, cache = Files(), FileCache(str(tmp_path), 1000)
    kept = [files.fetch(cache, name) for name in "abc"]
    for age, path in enumerate(kept):
        os.utime(path, (time.time() - 100 + age,) * 2)
    part = tmp_path / "data" / "d.kseq-copy.h5.700.part"
    part.write_bytes(b"x" * 10)
    files.fetch(cache, "e")
    assert [path.exists() for path in kept] == [False, True, True]
    # Nobody has written to it for a long time.
    os.utime(part, (time.time() - 1000,) * 2)
    files.fetch(cache, "f")
    assert [path.exists() for path in kept] == [False, True, True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_does_not_wait_for_what_its_parent_fetches(tmp_path: Path) -> None:
    cache, begun, go_on = FileCache(str(tmp_path), 150), threading.Event(), threading.Event()

    def get(path: str, start: int) -> None:
        begun.set()
        assert go_on.wait(60)
        Path(path).write_bytes(b"x" * 100)

    thread = threading.Thread(target=cache.fetch, args=("data/a", 100, get, lambda path: None))
    thread.start()
    assert begun.wait(60)
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            os._exit(0 if Files().fetch(cache, "b").exists() else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go_on.set()
    thread.join(60)


def test_a_mapped_copy_outlives_its_removal(tmp_path: Path) -> None:
    import numpy as np

    files, cache = Files(), FileCache(str(tmp_path), 150)
    mapped = np.memmap(files.fetch(cache, "a"), np.uint8, "r")
    files.fetch(cache, "b")
    assert not cache.has("data/a", 100)
    assert bytes(mapped) == b"x" * 100


def disk_has(monkeypatch: pytest.MonkeyPatch, *, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10_000, 10_000 - free, free))


def test_a_nearly_full_disk_loses_the_copies_that_nobody_used_in_the_last_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, cache = Files(), FileCache(str(tmp_path))
    paths = {name: files.fetch(cache, name) for name in "abc"}
    for name, minutes in {"a": 300, "b": 200, "c": 50}.items():
        os.utime(paths[name], (time.time() - 60 * minutes,) * 2)
    disk_has(monkeypatch, free=300)
    files.fetch(cache, "d")
    assert [name for name, path in paths.items() if path.exists()] == ["c"]


def test_on_a_disk_that_others_filled_what_is_in_use_stays_while_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, cache = Files(), FileCache(str(tmp_path))
    disk_has(monkeypatch, free=150)
    for name in "abab":
        files.fetch(cache, name)
    assert files.fetched == [("a", 0), ("b", 0)]
    disk_has(monkeypatch, free=50)
    files.fetch(cache, "c")
    assert [cache.has(f"data/{name}", 100) for name in "abc"] == [False, True, True]


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with raises(WriteError, tmp_path, "cache_dir", "cache_bytes"):
        Files().fetch(FileCache(str(tmp_path)), "a")


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with raises(WriteError, tmp_path / "cache", "cache_dir"):
        Files().fetch(FileCache(str(tmp_path / "cache")), "a")


def test_where_there_are_no_locks_each_fetches_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_cache, "lock_file", lambda descriptor: False)
    files, cache = Files(), FileCache(str(tmp_path))
    assert files.fetch(cache, "a").read_bytes() == b"x" * 100
    assert files.fetch(cache, "a")
    assert len(files.fetched) == 1


def test_who_stands_still_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_cache, "_PATIENCE", 0.3)
    files, cache = Files(), FileCache(str(tmp_path))
    (tmp_path / "data").mkdir()
    with open(tmp_path / "data" / "a.kseq-copy.h5.100.part", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert files.fetch(cache, "a").read_bytes() == b"x" * 100


_SLOW = """
import sys, time
from kseq.storage.remote_cache import FileCache

def get(path, start):
    print(start, flush=True)
    with open(path, "r+b" if start else "wb") as file:
        file.seek(start)
        file.write(b"x" * 40)
        file.flush()
        print("half", flush=True)
        time.sleep(float(sys.argv[2]))
        file.write(b"x" * (60 - start))

FileCache(sys.argv[1]).fetch("data/a", 100, get, lambda path: None)
"""


@pytest.mark.slow
def test_a_killed_process_loses_its_lock_and_the_next_goes_on(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _SLOW, str(tmp_path), "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in range(2)] == ["0", "half"]
        files, done = Files(), threading.Event()

        def fetch() -> None:
            files.fetch(FileCache(str(tmp_path)), "a")
            done.set()

        threading.Thread(target=fetch, daemon=True).start()
        assert not done.wait(0.5), "another process has the lock"
        process.kill()
        assert done.wait(60)
    assert files.fetched == [("a", 40)]


def test_the_arguments_choose_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert choose_cache(None, None) == FileCache(str(tmp_path / "kseq"))
    assert choose_cache(tmp_path / "other", 10) == FileCache(str(tmp_path / "other"), 10)
    assert choose_cache(None, 0) is None
    monkeypatch.chdir(tmp_path)
    assert choose_cache("here", None) == FileCache(str(tmp_path / "here"))
    for wrong in ({"cache_dir": 3}, {"cache_dir": "s3://bucket/x"}):
        with raises(ArgumentError, "cache_dir"):
            choose_cache(wrong["cache_dir"], None)
    for number in (-1, 1.5, "much"):
        with raises(ArgumentError, "cache_bytes"):
            choose_cache(None, number)
    with raises(ArgumentError, "cache_dir", "cache_bytes"):
        choose_cache(tmp_path, 0)
