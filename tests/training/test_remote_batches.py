"""Batches of a dataset under a URL: those of the folder, from threads and processes, with shards fetched ahead in order."""

from __future__ import annotations

import pickle
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError, ReadError
from kseq.storage import remote_retries
from kseq.training import fetch_ahead
from tests.helpers.messages import assert_says, raises
from tests.helpers.stores import Store, folder_backend, serving

pytest.importorskip("aiohttp", reason="https:// needs aiohttp")


@pytest.fixture
def web(numbered: Path, second: Path, tmp_path: Path) -> Iterator[Store]:
    """A web server with the numbered dataset in `flowers` and the second one in `second`."""
    shutil.copytree(numbered, tmp_path / "web" / "flowers")
    shutil.copytree(second, tmp_path / "web" / "second")
    with serving(folder_backend(tmp_path / "web")) as store:
        yield store


@pytest.fixture(params=["cache", "ranges"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return {"cache_dir": tmp_path / "cache"} if request.param == "cache" else {"cache_bytes": 0}


def assert_same(one: kseq.Batches, other: kseq.Batches, epochs: int = 2) -> None:
    for epoch in range(epochs):
        for (images, labels), (other_images, other_labels) in zip(one.epoch(epoch), other.epoch(epoch), strict=True):
            np.testing.assert_array_equal(images, other_images)
            np.testing.assert_array_equal(labels, other_labels)


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("shuffle", [True, "block"])
def test_batches_are_those_of_the_folder(
    numbered: Path, web: Store, options: dict[str, Any], workers: int, shuffle: Any
) -> None:
    arguments: dict[str, Any] = {"batch_size": 9, "workers": workers, "shuffle": shuffle}
    with kseq.Batches(f"{web.url}/flowers", **options, **arguments) as remote, kseq.Batches(numbered, **arguments) as local:
        assert_same(remote, local)


@pytest.mark.slow
def test_worker_processes_share_the_cache(numbered: Path, web: Store, options: dict[str, Any], tmp_path: Path) -> None:
    secret = {"headers": {"X-Key": "pa55word"}}
    arguments: dict[str, Any] = {"batch_size": 16, "workers": 2, "use_multiprocessing": True}
    with (
        kseq.Batches(f"{web.url}/flowers", **options, storage_options=secret, **arguments) as remote,
        kseq.Batches(numbered, **arguments | {"use_multiprocessing": False}) as local,
    ):
        assert_same(remote, local)
        assert "pa55word" not in repr(remote)
        copy = pickle.loads(pickle.dumps(remote))
        assert_same(copy, local, epochs=1)
        copy.close()
    if "cache_dir" in options:
        shards = [request.name for request in web.requests if request.method == "GET" and request.name.startswith("shard")]
        assert sorted(shards) == sorted(path.name for path in numbered.glob("shard-*"))


def test_several_datasets_mix_urls_and_folders(numbered: Path, second: Path, web: Store, options: dict[str, Any]) -> None:
    with (
        kseq.Batches({f"{web.url}/flowers": 3, second: 1}, batch_size=10, **options) as remote,
        kseq.Batches({numbered: 3, second: 1}, batch_size=10) as local,
    ):
        assert_same(remote, local)


def test_shards_are_fetched_ahead_in_the_order_of_the_epoch(
    numbered: Path, web: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_ahead, "FETCHED_AT_ONCE", 1)
    names = sorted(path.name for path in numbered.glob("shard-*"))
    with kseq.Batches(
        f"{web.url}/flowers", "all", batch_size=5, shuffle=False, workers=1, max_queue_size=1, cache_dir=tmp_path / "cache"
    ) as batches:
        batches.batch(0, 0)
        deadline = time.monotonic() + 60
        while len({request.name for request in web.requests} & set(names)) < len(names):
            assert time.monotonic() < deadline, "nothing was fetched ahead"
            time.sleep(0.02)
        fetched = list(dict.fromkeys(request.name for request in web.requests if request.name in names))
        assert fetched == names


def test_where_a_run_goes_on_only_the_shards_that_are_left_are_fetched(numbered: Path, web: Store, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"shuffle": False, "workers": 1}
    # The samples of two shards, which batches of 5 do not divide.
    with kseq.Batches(numbered, "all", batch_size=32, **arguments) as before:
        state = before.state_dict(0, 1)
    left = sorted(path.name for path in numbered.glob("shard-*"))[2:]
    with kseq.Batches(f"{web.url}/flowers", "all", batch_size=5, cache_dir=tmp_path / "cache", **arguments) as batches:
        batches.load_state_dict(state)
        assert sum(len(labels) for _, labels in batches.epoch(0)) == 100 - 32
        assert sorted({request.name for request in web.requests if request.name.startswith("shard")}) == left


def test_a_small_cache_is_not_run_over_by_what_is_fetched_ahead(numbered: Path, web: Store, tmp_path: Path) -> None:
    sizes = [path.stat().st_size for path in numbered.glob("*.h5")]
    with (
        kseq.Batches(
            f"{web.url}/flowers", batch_size=5, shuffle="block", workers=2, cache_dir=tmp_path / "c", cache_bytes=4 * max(sizes)
        ) as remote,
        kseq.Batches(numbered, batch_size=5, shuffle="block") as local,
    ):
        assert_same(remote, local)


@pytest.mark.slow
@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_a_store_that_refuses_later_is_an_error_that_names_the_shard(
    web: Store, options: dict[str, Any], use_multiprocessing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_retries, "_FIRST_PAUSE", 0.01)
    web.harm = lambda request: "403" if request.name == "shard-00003.h5" else None
    arguments: dict[str, Any] = {"batch_size": 20, "workers": 2, "use_multiprocessing": use_multiprocessing}
    with (
        kseq.Batches(f"{web.url}/flowers", **options, **arguments) as batches,
        raises(ReadError, f"{web.url}/flowers/shard-00003.h5"),
    ):
        list(batches.epoch(0))


def test_a_full_shuffle_over_a_small_cache_is_warned_of(numbered: Path, web: Store, tmp_path: Path) -> None:
    size = 3 * max(path.stat().st_size for path in numbered.glob("*.h5"))
    arguments: dict[str, Any] = {"cache_dir": tmp_path / "c", "cache_bytes": size, "workers": 0}
    with pytest.warns(UserWarning) as warned, kseq.Batches(f"{web.url}/flowers", **arguments):
        pass
    assert_says(str(warned[0].message), f"{web.url}/flowers", f"cache_bytes={size}", "shuffle='block'")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kseq.Batches(f"{web.url}/flowers", **arguments, shuffle="block").close()


def test_arguments_of_urls_need_one(numbered: Path) -> None:
    with raises(ArgumentError, "cache_dir"):
        kseq.Batches(numbered, cache_dir="x")
    with raises(ArgumentError, "storage_options"):
        kseq.Batches(kseq.ShardDataset(numbered), storage_options={"key": "pa55word"})
