"""Datasets under URLs: the same samples as on a disk, each shard fetched once, and what fails is named."""

from __future__ import annotations

import errno
import itertools
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError, DamagedError, DatasetNotFoundError, KseqError, ReadError, WriteError
from kseq.reading.dataset import sample_reader
from kseq.storage import remote_retries
from kseq.storage.shard_reader import ShardReader
from tests.helpers.messages import raises
from tests.helpers.objects import pack_objects, write_objects
from tests.helpers.paths import ROOT
from tests.helpers.processes import RunPython, kseq_command
from tests.helpers.stores import (
    BUCKET,
    KEY,
    SECRET,
    Store,
    always,
    first,
    folder_backend,
    forwarding_backend,
    hub_backend,
    needs_s3,
    s3_options,
    s3_server,
    serving,
    upload,
)

pytest.importorskip("aiohttp", reason="https:// needs aiohttp")

Options = dict[str, Any]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, masks, boxes and their labels, as they are, in several shards."""
    root = tmp_path_factory.mktemp("objects")
    pack_objects(write_objects(root), root / "packed")
    return root / "packed"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Store]:
    """A web server of a folder that is empty at first: `tmp_path / "web"`."""
    (tmp_path / "web").mkdir()
    with serving(folder_backend(tmp_path / "web")) as store:
        yield store


@pytest.fixture
def publish(web: Store, tmp_path: Path) -> Callable[[Path], str]:
    """Copies a dataset to the web server, and returns its URL."""

    def copy(dataset: Path) -> str:
        target = tmp_path / "web" / "flowers"
        shutil.copytree(dataset, target)
        return f"{web.url}/flowers"

    return copy


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_retries, "_FIRST_PAUSE", 0.01)


@pytest.fixture(params=["cache", "ranges", "pread cache"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> Options:
    """The ways to read: by copies, mapped or not, and by ranges."""
    if request.param == "ranges":
        return {"cache_bytes": 0}
    return {"cache_dir": tmp_path / "cache", "read": "pread" if request.param == "pread cache" else "auto"}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(np.array_equal(one, other)) and np.asarray(one).dtype == np.asarray(other).dtype


def shards_of(dataset: Path) -> list[str]:
    return sorted(path.name for path in dataset.glob("shard-*.h5"))


@pytest.mark.parametrize("kind", ["numbered", "packed_photos", "objects"])
def test_samples_are_those_of_the_folder(
    kind: str, publish: Callable[[Path], str], options: Options, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    local, remote = kseq.ShardDataset(folder), kseq.ShardDataset(publish(folder), **options)
    assert (len(remote), remote.digest, remote.splits, remote.num_bytes) == (
        *(len(local), local.digest, local.splits, local.num_bytes),
    )
    rng = np.random.default_rng(0)
    for _ in range(4):
        positions = rng.integers(0, len(local), rng.integers(1, 30))
        one, two = local.read(positions), remote.read(positions)
        assert one.keys() == two.keys()
        assert all(same(one[name], two[name]) for name in one)
    assert same(local[3]["image"], remote[3]["image"])
    assert list(local.sources()) == list(remote.sources())
    assert local.counts() == remote.counts()
    assert local.stored_bytes(5) == remote.stored_bytes(5)
    for name, field in local.fields.items():
        if not field.is_pixels:
            assert same(local.values(name), remote.values(name))


def test_selections_and_concatenations_are_those_of_the_folders(
    numbered: Path, second: Path, publish: Callable[[Path], str], options: Options
) -> None:
    def select(dataset: kseq.ShardDataset) -> list[Any]:
        both = dataset.where("label=b").concat(kseq.ShardDataset(second))
        values = both.read(range(len(both)))
        return [values["image"], values["label"], both.digest, list(both.sources())]

    assert same(select(kseq.ShardDataset(publish(numbered), "val", **options)), select(kseq.ShardDataset(numbered, "val")))


def test_a_shard_is_fetched_when_its_first_sample_is_needed(
    numbered: Path, web: Store, publish: Callable[[Path], str], tmp_path: Path
) -> None:
    dataset = kseq.ShardDataset(publish(numbered), cache_dir=tmp_path / "cache")
    assert {request.name for request in web.requests} == {"index.h5"}
    dataset[0]
    assert [name for name in shards_of(numbered) if web.named(name)] == ["shard-00000.h5"]
    web.requests.clear()
    dataset[1]
    assert web.requests == []


def test_a_warm_cache_asks_only_whether_the_index_is_the_same(
    numbered: Path, web: Store, publish: Callable[[Path], str], tmp_path: Path
) -> None:
    url = publish(numbered)
    kseq.ShardDataset(url, cache_dir=tmp_path / "cache").read(range(100))
    web.requests.clear()
    kseq.ShardDataset(url, cache_dir=tmp_path / "cache").read(range(100))
    assert [(request.method, request.name) for request in web.requests] == [("HEAD", "index.h5")]


def test_a_dataset_that_was_packed_again_is_fetched_again(
    numbered: Path, second: Path, publish: Callable[[Path], str], tmp_path: Path
) -> None:
    url, cache = publish(numbered), tmp_path / "cache"
    kseq.ShardDataset(url, cache_dir=cache).read(range(100))
    shutil.rmtree(tmp_path / "web" / "flowers")
    publish(second)
    dataset = kseq.ShardDataset(url, cache_dir=cache)
    assert dataset.digest == kseq.ShardDataset(second).digest
    assert same(dataset.read(range(24))["image"], kseq.ShardDataset(second).read(range(24))["image"])


def test_ranges_of_a_batch_come_in_one_go(packed_photos: Path, web: Store, publish: Callable[[Path], str]) -> None:
    dataset = kseq.ShardDataset(publish(packed_photos), cache_bytes=0)
    web.requests.clear()
    web.pause = 0.5
    dataset.read(np.random.default_rng(1).permutation(len(dataset))[:16])
    gets = [request for request in web.requests if request.method == "GET"]
    # One for each sample, or fewer where samples are neighbours; besides those that open shards.
    assert 1 < len(gets) <= 16 + 2 * len(shards_of(packed_photos))
    # Of two requests one after the other, the second one comes when the first one has been answered.
    times = sorted(request.time for request in gets)
    assert sum(later - earlier < 0.4 for earlier, later in itertools.pairwise(times)) >= len(gets) // 2


def test_a_sample_without_a_cache_is_one_request(packed_photos: Path, web: Store, publish: Callable[[Path], str]) -> None:
    dataset = kseq.ShardDataset(publish(packed_photos), cache_bytes=0)
    dataset[0], dataset[20]
    web.requests.clear()
    dataset[5], dataset[25]
    assert len(web.requests) <= 2


@pytest.mark.parametrize(("verify", "expected"), [("first", [0, 100, 0]), ("always", [100, 100, 100]), ("never", [0, 0, 0])])
def test_what_was_compared_when_its_shard_was_fetched_is_not_compared_again(
    numbered: Path,
    publish: Callable[[Path], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verify: str,
    expected: list[int],
) -> None:
    url, checked = publish(numbered), list[int]()
    plain = ShardReader.check_row
    monkeypatch.setattr(ShardReader, "check_row", lambda reader, row: (checked.append(row), plain(reader, row))[1])

    def count(dataset: kseq.ShardDataset) -> int:
        checked.clear()
        dataset.read(range(100))
        return len(checked)

    # Others may have written to the copies since they were fetched.
    cold, warm = (kseq.ShardDataset(url, cache_dir=tmp_path / "cache", verify=verify) for _ in range(2))
    assert [count(cold), count(warm), count(warm)] == expected


def test_damaged_bytes_in_the_store_are_found(
    packed: Path, web: Store, publish: Callable[[Path], str], options: Options
) -> None:
    location = kseq.ShardDataset(packed)
    shard = packed / "shard-00000.h5"
    data = bytearray(shard.read_bytes())
    position = bytes(data).index(location.stored_bytes(3))
    data[position] ^= 1
    shard.write_bytes(data)
    dataset = kseq.ShardDataset(publish(packed), **options)
    with raises(DamagedError, f"{web.url}/flowers/shard-00000.h5"):
        dataset[3]
    assert not list(packed.parent.glob("cache/*/shard-00000*"))


@pytest.mark.parametrize("how", ["shorter", "longer", "gone", "exchanged"])
def test_a_shard_that_is_not_the_index_s_is_named(
    packed: Path, web: Store, publish: Callable[[Path], str], options: Options, how: str, tmp_path: Path
) -> None:
    url = publish(packed)
    shard = tmp_path / "web" / "flowers" / "shard-00001.h5"
    data = shard.read_bytes()
    if how == "gone":
        shard.unlink()
    elif how == "exchanged":
        shutil.copy(shard.parent / "shard-00002.h5", shard)
    else:
        shard.write_bytes(data[:-2000] if how == "shorter" else data + bytes(8))
    dataset = kseq.ShardDataset(url, **options, storage_options={"deadline": 5})
    if how == "longer":
        # Its samples lie where the index says.
        assert same(dataset.read(range(100))["image"], kseq.ShardDataset(packed).read(range(100))["image"])
        return
    with raises((DamagedError, DatasetNotFoundError, ReadError), f"{url}/shard-00001.h5"):
        dataset.read(range(100))


def test_a_copy_that_was_changed_is_fetched_again(
    numbered: Path, web: Store, publish: Callable[[Path], str], tmp_path: Path
) -> None:
    url, cache = publish(numbered), tmp_path / "cache"
    kseq.ShardDataset(url, cache_dir=cache).read(range(100))
    (copy,) = cache.glob("*/shard-00000-*.h5")
    (other,) = cache.glob("*/shard-00001-*.h5")
    copy.write_bytes(other.read_bytes()[: copy.stat().st_size].ljust(copy.stat().st_size, b"\0"))
    dataset = kseq.ShardDataset(url, cache_dir=cache)
    assert same(dataset.read(range(100))["image"], kseq.ShardDataset(numbered).read(range(100))["image"])


def test_a_small_cache_serves_all_and_stays_small(numbered: Path, publish: Callable[[Path], str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    sizes = [path.stat().st_size for path in numbered.glob("shard-*.h5")]
    index = (numbered / "index.h5").stat().st_size
    most = index + 3 * max(sizes)
    dataset = kseq.ShardDataset(publish(numbered), cache_dir=cache, cache_bytes=most)
    local = kseq.ShardDataset(numbered)
    for seed in range(3):
        positions = np.random.default_rng(seed).permutation(100)
        assert same(dataset.read(positions)["image"], local.read(positions)["image"])
        assert sum(path.stat().st_size for path in cache.rglob("*.h5")) <= most + 8 * max(sizes)
    with raises(ArgumentError, "cache_bytes", max(sizes)):
        kseq.ShardDataset(dataset.path, cache_dir=cache, cache_bytes=max(sizes) - 1)


@pytest.mark.parametrize("harm", ["cut", "reset", "503", "shorter"])
def test_requests_that_fail_are_repeated(
    numbered: Path, web: Store, publish: Callable[[Path], str], options: Options, harm: str
) -> None:
    url = publish(numbered)
    web.harm = first(3, harm)
    dataset = kseq.ShardDataset(url, **options)
    web.harm = first(3, harm)
    assert same(dataset.read(range(0, 100, 9))["image"], kseq.ShardDataset(numbered).read(range(0, 100, 9))["image"])


@pytest.mark.parametrize(("harm", "error"), [("403", ReadError), ("404", DatasetNotFoundError)])
def test_what_the_store_refuses_names_the_shard(
    numbered: Path, web: Store, publish: Callable[[Path], str], options: Options, harm: str, error: type[KseqError]
) -> None:
    dataset = kseq.ShardDataset(publish(numbered), **options)
    web.harm = lambda request: harm if request.name == "shard-00000.h5" else None
    with raises(error, f"{web.url}/flowers/shard-00000.h5"):
        dataset[0]
    assert len(web.named("shard-00000.h5")) == 1


def test_a_folder_without_a_dataset_is_named(web: Store, tmp_path: Path, options: Options) -> None:
    (tmp_path / "web" / "empty").mkdir()
    for name in ("empty", "missing"):
        with raises(DatasetNotFoundError, f"{web.url}/{name}"):
            kseq.ShardDataset(f"{web.url}/{name}", **options)


def test_arguments_of_urls_do_not_go_with_folders(numbered: Path, web: Store) -> None:
    for given in ({"cache_dir": "x"}, {"cache_bytes": 0}, {"storage_options": {}}):
        with raises(ArgumentError, *given):
            kseq.ShardDataset(numbered, **given)
    with raises(ArgumentError, "read='map'"):
        kseq.ShardDataset(f"{web.url}/x", cache_bytes=0, read="map")
    with raises(ArgumentError, "://"):
        kseq.ShardDataset(Path(f"{web.url}/x"))


def test_a_full_disk_here_is_no_damage_there(packed: Path, publish: Callable[[Path], str]) -> None:
    url = publish(packed)
    resource = pytest.importorskip("resource", reason="Windows has no such limits")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with raises(WriteError, "shard-00000.h5", os.strerror(errno.EFBIG)):
            kseq.verify(url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_verify_reads_every_byte_of_the_store(packed: Path, web: Store, publish: Callable[[Path], str], tmp_path: Path) -> None:
    url = publish(packed)
    report = kseq.verify(url)
    assert (report.path, report.num_samples, report.damaged) == (url, 100, [])
    shard = tmp_path / "web" / "flowers" / "shard-00003.h5"
    data = bytearray(shard.read_bytes())
    with h5py.File(shard) as file:
        data[file["image"].id.get_offset()] ^= 255
    shard.write_bytes(data)
    (tmp_path / "web" / "flowers" / "shard-00005.h5").unlink()
    damaged = kseq.verify(url).damaged
    assert [name in " ".join(damaged) for name in ("shard-00003", "shard-00004", "shard-00005")] == [True, False, True]


@pytest.mark.slow
def test_the_commands_take_urls(numbered: Path, web: Store, publish: Callable[[Path], str], tmp_path: Path) -> None:
    url = publish(numbered)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "unused")}
    for words, expected in ((["info", url], "100 samples in 7 shards"), (["verify", url], "all whole")):
        done = subprocess.run(kseq_command(*words), capture_output=True, text=True, timeout=60, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert expected in done.stdout
        assert url in done.stdout
    # What `info` says of all shards takes no copy of them.
    assert not (tmp_path / "unused").exists()
    assert sum(web.num_bytes(name) for name in shards_of(numbered)) < 2.5 * sum(
        (numbered / name).stat().st_size for name in shards_of(numbered)
    )


def test_memory_is_read_as_any_store(numbered: Path, options: Options) -> None:
    import fsspec

    system, folder = fsspec.filesystem("memory"), f"/kseq-{os.getpid()}/flowers"
    for file in numbered.iterdir():
        system.put_file(str(file), f"{folder}/{file.name}")
    remote = kseq.ShardDataset(f"memory:/{folder}", **options)
    assert same(remote.read(range(100))["image"], kseq.ShardDataset(numbered).read(range(100))["image"])


def test_a_dataset_on_the_hub_is_read_as_any_store(numbered: Path, options: Options) -> None:
    pytest.importorskip("huggingface_hub", reason="hf:// needs huggingface_hub")
    url, token = "hf://datasets/somebody/flowers", "hf_T0kenT0kenT0ken"
    with serving(hub_backend(numbered, "somebody/flowers")) as hub:
        reaching = {"storage_options": {"endpoint": hub.url, "token": token, "deadline": 60}}
        remote = kseq.ShardDataset(url, **options, **reaching)
        assert same(remote.read(range(100))["image"], kseq.ShardDataset(numbered).read(range(100))["image"])
        hub.harm = always("403")
        with raises(ReadError, url) as caught:
            kseq.ShardDataset(url, **options, **reaching)
    assert token not in str(caught.value)


# A child after a fork, and another process.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_reads_on(numbered: Path, publish: Callable[[Path], str], options: Options) -> None:
    dataset, expected = kseq.ShardDataset(publish(numbered), **options), kseq.ShardDataset(numbered)[60]["image"]
    dataset[0]
    child = os.fork()
    if not child:
        try:
            os._exit(0 if same(dataset[60]["image"], expected) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_pickle_has_the_url_and_its_options(
    numbered: Path, web: Store, publish: Callable[[Path], str], options: Options
) -> None:
    dataset = kseq.ShardDataset(publish(numbered), "val", **options, storage_options={"headers": {"X-Key": "pa55word"}})
    copy = pickle.loads(pickle.dumps(dataset))
    assert same(copy.read(range(20))["image"], dataset.read(range(20))["image"])
    assert "pa55word" not in repr(copy) + repr(dataset)


_READ = """
import sys, json, numpy as np, kseq
url, cache = sys.argv[1:]
dataset = kseq.ShardDataset(url, cache_dir=cache)
print(int(dataset.read(range(len(dataset)))["image"].astype("int64").sum()))
"""


def _reader(url: str, cache: Path) -> subprocess.Popen[str]:
    command, environment = [sys.executable, "-c", _READ, url, str(cache)], {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_two_processes_fetch_each_shard_once(
    numbered: Path, web: Store, publish: Callable[[Path], str], tmp_path: Path
) -> None:
    url, web.pause = publish(numbered), 0.05
    readers = [_reader(url, tmp_path / "cache") for _ in range(2)]
    outputs = [reader.communicate(timeout=60) for reader in readers]
    expected = str(int(kseq.ShardDataset(numbered).read(range(100))["image"].astype("int64").sum()))
    assert [(out.strip(), errors) for out, errors in outputs] == [(expected, "")] * 2
    assert [len(web.named(name)) for name in [*shards_of(numbered), "index.h5"]] == [1] * 8


@pytest.mark.slow
def test_what_a_killed_process_half_fetched_is_taken_over(tmp_path: Path, web: Store, publish: Callable[[Path], str]) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    import cv2

    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (1200, 1200, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / "a" / f"{number}.png"), pixels)
    kseq.pack(
        tmp_path / "photos", tmp_path / "packed", images=kseq.ImageSettings("raw", (1200, 1200)), workers=0, shard_bytes=1 << 28
    )
    url = publish(tmp_path / "packed")
    web.harm = lambda request: "hang" if request.name.startswith("shard") else None
    command, environment = [sys.executable, "-c", _READ, url, str(tmp_path / "cache")], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment) as process:
        deadline = time.monotonic() + 100
        while not any(part.stat().st_size >= 8 << 20 for part in (tmp_path / "cache").glob("*/shard*.part")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
    web.harm = lambda request: None
    (part,) = (tmp_path / "cache").glob("*/shard*.part")
    had, shard = part.stat().st_size, "shard-00000.h5"
    web.requests.clear()
    dataset = kseq.ShardDataset(url, cache_dir=tmp_path / "cache")
    assert same(dataset[5]["image"], kseq.ShardDataset(tmp_path / "packed")[5]["image"])
    assert web.num_bytes(shard) == (tmp_path / "packed" / shard).stat().st_size - had
    assert not list((tmp_path / "cache").rglob("*.part"))


# A server that speaks S3.


@pytest.fixture(scope="module")
def s3(numbered: Path) -> Iterator[str]:
    with s3_server() as url:
        upload(url, numbered, "flowers")
        yield url


@pytest.fixture
def bucket(s3: str) -> Iterator[Store]:
    with serving(forwarding_backend(s3)) as store:
        yield store


@needs_s3
@pytest.mark.slow
def test_s3_gives_the_samples_of_the_folder(numbered: Path, bucket: Store, options: Options) -> None:
    dataset = kseq.ShardDataset(f"s3://{BUCKET}/flowers", **options, storage_options=s3_options(bucket.url))
    positions = np.random.default_rng(0).permutation(100)
    assert same(dataset.read(positions)["image"], kseq.ShardDataset(numbered).read(positions)["image"])
    copy = pickle.loads(pickle.dumps(dataset))
    assert same(copy[7]["image"], dataset[7]["image"])
    assert kseq.verify(f"s3://{BUCKET}/flowers", storage_options=s3_options(bucket.url)).damaged == []


@needs_s3
@pytest.mark.slow
@pytest.mark.parametrize("harm", ["cut", "reset", "500", "503", "shorter"])
def test_s3_that_fails_at_first_is_asked_again(numbered: Path, bucket: Store, harm: str) -> None:
    bucket.harm = first(2, harm)
    dataset = kseq.ShardDataset(f"s3://{BUCKET}/flowers", cache_bytes=0, storage_options=s3_options(bucket.url))
    bucket.harm = first(2, harm)
    assert same(dataset.read([0, 50])["image"], kseq.ShardDataset(numbered).read([0, 50])["image"])
    bucket.harm = first(1, harm, method="HEAD") if harm in ("reset", "500", "503") else lambda request: None
    kseq.ShardDataset(f"s3://{BUCKET}/flowers", cache_bytes=0, storage_options=s3_options(bucket.url))


@needs_s3
@pytest.mark.slow
@pytest.mark.parametrize(("harm", "error"), [("403", ReadError), ("404", DatasetNotFoundError)])
def test_s3_that_refuses_is_asked_once(bucket: Store, harm: str, error: type[KseqError]) -> None:
    dataset = kseq.ShardDataset(f"s3://{BUCKET}/flowers", cache_bytes=0, storage_options=s3_options(bucket.url))
    bucket.harm = lambda request: harm if request.name == "shard-00000.h5" else None
    with raises(error, f"s3://{BUCKET}/flowers/shard-00000.h5") as caught:
        dataset[0]
    assert len(bucket.named("shard-00000.h5")) == 1
    assert_no_secret(str(caught.value), repr(dataset))


@needs_s3
@pytest.mark.slow
@pytest.mark.parametrize("harm", ["stall", "503"])
def test_s3_that_never_answers_is_an_error_at_the_deadline(bucket: Store, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = kseq.ShardDataset(f"s3://{BUCKET}/flowers", cache_bytes=0, storage_options=s3_options(bucket.url))
    (index,) = sample_reader(dataset).collection.indexes
    # Not by the option: to load what speaks S3 takes a second or two.
    monkeypatch.setattr(index.remote.files._retries, "_deadline", 2)
    bucket.harm = always(harm)
    began = time.monotonic()
    with raises(ReadError, f"s3://{BUCKET}/flowers/shard-00000.h5", "deadline") as caught:
        dataset[0]
    assert time.monotonic() - began < 40
    assert_no_secret(str(caught.value), repr(caught.value.__context__))


@needs_s3
@pytest.mark.slow
def test_a_login_in_a_url_is_in_no_text(bucket: Store) -> None:
    with pytest.raises(DatasetNotFoundError) as caught:
        kseq.ShardDataset(f"s3://{BUCKET}/nothing", cache_bytes=0, storage_options=s3_options(bucket.url))
    assert_no_secret(str(caught.value))
    with pytest.raises(KseqError) as refused:
        kseq.ShardDataset(f"s3://{KEY}:{SECRET}@{BUCKET}/nothing", cache_bytes=0, storage_options={"deadline": 0.5})
    assert_no_secret(str(refused.value))


def assert_no_secret(*texts: str) -> None:
    for text in texts:
        assert SECRET not in text
        assert KEY not in text


def test_a_folder_of_this_machine_loads_no_fsspec(numbered: Path, run_python: RunPython) -> None:
    code = """
import sys, kseq
kseq.ShardDataset(sys.argv[1])[0]
assert not {"aiohttp", "s3fs"} & set(sys.modules)
"""
    run_python(code, numbered)
