"""Copying and packing to and from real stores on loopback: an S3 server that answers badly, and the web."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import fsspec
import pytest

import kseq
from kseq.errors import DatasetNotFoundError, KseqError, ReadError, SourceError, WriteError
from kseq.storage import remote_retries
from tests.helpers.datasets import files
from tests.helpers.messages import assert_says, raises
from tests.helpers.paths import ROOT
from tests.helpers.photos import write_photos
from tests.helpers.processes import kseq_command
from tests.helpers.stores import (
    BUCKET,
    KEY,
    SECRET,
    Request,
    Store,
    always,
    folder_backend,
    forwarding_backend,
    needs_s3,
    s3_options,
    s3_server,
    serving,
)
from tests.helpers.urls import files_at, upload

pytest.importorskip("aiohttp", reason="https:// needs aiohttp")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_retries, "_FIRST_PAUSE", 0.01)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def store(server: str) -> Iterator[Store]:
    """A proxy before the server."""
    with serving(forwarding_backend(server)) as store:
        yield store


Harm = Callable[[Request], str | None]


def each_once(*harms: str) -> Harm:
    """The first requests for every file, of each method, meet these harms, one after the other."""
    left: dict[tuple[str, str], list[str]] = {}

    def choose(request: Request) -> str | None:
        waiting = left.setdefault((request.method, request.path), list(harms))
        return waiting.pop(0) if waiting else None

    return choose


@needs_s3
@pytest.mark.slow
def test_a_copy_there_and_back_through_a_bad_line_is_the_same(store: Store, packed: Path, tmp_path: Path) -> None:
    options, url = s3_options(store.url), f"s3://{BUCKET}/{tmp_path.name}/copied"
    store.harm = each_once("503", "reset")
    report = kseq.copy(packed, url, storage_options=options)
    assert report.num_sent == 7
    assert files_at(url, **options) == files(packed)
    other = f"s3://{BUCKET}/{tmp_path.name}/deeper/other"
    kseq.copy(url, other, storage_options=options)
    store.harm = each_once("cut", "shorter")
    kseq.copy(other, tmp_path / "back", storage_options=options)
    assert files(tmp_path / "back") == files(packed)
    assert kseq.verify(url, storage_options=options).damaged == []


@pytest.mark.slow
def test_who_interrupts_a_copy_does_not_wait_for_a_store_that_hangs(packed: Path, tmp_path: Path) -> None:
    with serving(folder_backend(packed)) as web:
        web.harm = always("stall", "shard-00002.h5")
        process = subprocess.Popen(
            kseq_command("copy", web.url, str(tmp_path / "copied")),
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        deadline = time.monotonic() + 60
        while not web.named("shard-00002.h5") and time.monotonic() < deadline:
            time.sleep(0.05)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            _, printed = process.communicate(timeout=50)
        finally:
            process.kill()
        assert process.returncode == 130
        # An answer that hangs does so for a minute.
        assert time.monotonic() - began < 40
        assert_says(printed, "interrupted", "the same call goes on")
        assert len(printed.splitlines()) < 4
        web.harm = lambda _: None
        kseq.copy(web.url, tmp_path / "copied")
    assert files(tmp_path / "copied") == files(packed)


@needs_s3
@pytest.mark.slow
def test_the_empty_files_that_stand_for_folders_are_no_files(store: Store, tmp_path: Path) -> None:
    options, url = s3_options(store.url), f"s3://{BUCKET}/{tmp_path.name}/photos"
    write_photos(tmp_path / "photos", {"cat": 2, "dog": 1})
    upload(tmp_path / "photos", url, **options)
    system, top = fsspec.url_to_fs(url, **options)
    for name in ("", "cat/", "dog/", "none/"):
        bucket, _, folder = f"{top}/{name}".partition("/")
        system.call_s3("put_object", Bucket=bucket, Key=folder, Body=b"")
    report = kseq.pack(url, tmp_path / "packed", storage_options=options, workers=0)
    assert (report.num_found, report.num_samples) == (3, 3)


@needs_s3
@pytest.mark.slow
def test_what_comes_back_with_other_bytes_is_no_copy(store: Store, packed: Path, tmp_path: Path) -> None:
    options, url = s3_options(store.url, deadline=6), f"s3://{BUCKET}/{tmp_path.name}"
    store.harm = always("other", "shard-00002.h5")
    # S3 sends a checksum along, which tells before kseq compares what came back.
    with raises((ReadError, WriteError), f"{url}/shard-00002.h5"):
        kseq.copy(packed, url, storage_options=options)
    store.harm = lambda _: None
    assert "index.h5" not in files_at(url, **options)
    with raises(DatasetNotFoundError, url, "kseq.copy(...)"):
        kseq.ShardDataset(url, storage_options=options, cache_bytes=0)
    kseq.copy(packed, url, storage_options=options)
    assert files_at(url, **options) == files(packed)


@needs_s3
@pytest.mark.slow
@pytest.mark.parametrize("harm", ["403", "stall"])
def test_a_store_that_takes_nothing_is_an_error_in_time_without_credentials(
    store: Store, packed: Path, tmp_path: Path, harm: str
) -> None:
    options, url = s3_options(store.url, deadline=6), f"s3://{BUCKET}/{tmp_path.name}"
    store.harm = always(harm, method="PUT")
    with raises(WriteError, url) as caught:
        kseq.copy(packed, url, storage_options=options)
    assert KEY not in str(caught.value)
    assert SECRET not in str(caught.value)
    with raises(WriteError, f"s3://{tmp_path.name.replace('_', '-')}"):
        kseq.copy(packed, f"s3://{tmp_path.name.replace('_', '-')}/x", storage_options=options)


@needs_s3
@pytest.mark.slow
def test_a_folder_in_s3_is_packed_into_s3_as_on_a_disk(store: Store, source: Path, tmp_path: Path) -> None:
    (source / "cat/broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    how: dict[str, Any] = {"val": 0.2, "shard_bytes": 8_000}
    kseq.pack(source, tmp_path / "local", workers=0, **how)
    options, url = s3_options(store.url), f"s3://{BUCKET}/{tmp_path.name}"
    upload(source, f"{url}/photos", **options)
    store.harm = each_once("503", "reset")
    report = kseq.pack(f"{url}/photos", f"{url}/packed", workers=0, storage_options=options, **how)
    assert [rejected.path for rejected in report.rejected] == [b"cat/broken.jpg"]
    assert files_at(f"{url}/packed", **options) == files(tmp_path / "local")
    with raises(SourceError, f"{url}/none"):
        kseq.pack(f"{url}/none", tmp_path / "none", storage_options=options)


@needs_s3
@pytest.mark.slow
def test_an_image_costs_one_request(store: Store, source: Path, tmp_path: Path) -> None:
    options, url = s3_options(store.url), f"s3://{BUCKET}/{tmp_path.name}/photos"
    upload(source, url, **options)
    store.requests.clear()
    report = kseq.pack(url, tmp_path / "packed", workers=0, storage_options=options)
    images = [request for request in store.requests if request.name.endswith(".jpg")]
    assert [request.method for request in images] == ["GET"] * report.num_samples
    assert len({request.path for request in images}) == report.num_samples
    # An answer that is too short, however consistent, is noticed.
    store.harm = each_once("shorter")
    kseq.pack(url, tmp_path / "other", workers=0, storage_options=options)
    assert kseq.ShardDataset(tmp_path / "other").digest == kseq.ShardDataset(tmp_path / "packed").digest


@needs_s3
@pytest.mark.slow
def test_an_image_that_may_not_be_read_is_left_out_and_a_store_that_is_down_ends_the_packing(
    store: Store, source: Path, tmp_path: Path
) -> None:
    options, url = s3_options(store.url, deadline=6), f"s3://{BUCKET}/{tmp_path.name}/photos"
    upload(source, url, **options)
    store.harm = always("403", "00003.jpg")
    report = kseq.pack(url, tmp_path / "packed", workers=0, storage_options=options)
    assert [rejected.path for rejected in report.rejected] == [b"cat/00003.jpg"]
    store.harm = always("503", "00003.jpg")
    with raises(ReadError, f"{url}/cat/00003.jpg"):
        kseq.pack(url, tmp_path / "other", workers=2, storage_options=options)


def test_the_web_is_read_and_not_written(packed: Path, tmp_path: Path) -> None:
    with serving(folder_backend(packed.parent)) as web:
        kseq.copy(f"{web.url}/packed", tmp_path / "back")
        assert files(tmp_path / "back") == files(packed)
        with raises(KseqError, urlparse(web.url).netloc):
            kseq.copy(packed, f"{web.url}/other", storage_options={"deadline": 2})
        assert not (packed.parent / "other").exists()


def test_a_table_and_archives_on_the_web_are_packed(tmp_path: Path) -> None:
    write_photos(tmp_path / "web/photos", {"cat": 4, "dog": 4})
    rows = [f"photos/{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(tmp_path.glob("web/photos/*/*"))]
    (tmp_path / "web/table.csv").write_text("\n".join(["path,label", *rows, "photos/cat/none.jpg,cat"]))
    kseq.pack(tmp_path / "web/table.csv", tmp_path / "local", workers=0)
    with serving(folder_backend(tmp_path / "web")) as web:
        kseq.pack(f"{web.url}/table.csv", tmp_path / "packed", workers=0)
        assert files(tmp_path / "packed") == files(tmp_path / "local")
        (tmp_path / "urls.csv").write_text((tmp_path / "web/table.csv").read_text().replace("photos/", f"{web.url}/photos/"))
        report = kseq.pack(tmp_path / "urls.csv", tmp_path / "urls", workers=0, shard_bytes=4_000)
    assert (report.num_samples, len(report.rejected)) == (8, 1)
    assert report.num_shards > 2


@pytest.mark.slow
def test_a_host_that_is_not_there_is_an_error_in_time(source: Path, packed: Path) -> None:
    began = time.monotonic()
    with raises(KseqError, "https://127.0.0.1:9/x"):
        kseq.pack(source, "https://127.0.0.1:9/x", storage_options={"deadline": 1})
    with raises(KseqError, "https://127.0.0.1:9/x"):
        kseq.copy(packed, "https://127.0.0.1:9/x", storage_options={"deadline": 1})
    with raises(KseqError, "https://127.0.0.1:9/x"):
        kseq.pack("https://127.0.0.1:9/x", source.parent / "other", storage_options={"deadline": 1})
    assert time.monotonic() - began < 30
