"""Files below a URL: what is asked for, what is tried again, what is an error, and what no text says."""

from __future__ import annotations

import errno
import os
import pickle
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kseq.errors import ArgumentError, DatasetNotFoundError, KseqError, ReadError, WriteError
from kseq.storage import remote_download, remote_retries
from kseq.storage.remote_errors import Redactor
from kseq.storage.remote_files import RemoteFiles
from tests.helpers.messages import assert_says, raises
from tests.helpers.stores import Answer, Store, always, first, folder_backend, serving

pytest.importorskip("aiohttp", reason="https:// needs aiohttp")

DATA = np.random.default_rng(0).integers(0, 256, 50_000, np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "web" / "sub").mkdir(parents=True)
    (tmp_path / "web" / "a.h5").write_bytes(DATA)
    (tmp_path / "web" / "b c.h5").write_bytes(DATA[::-1])
    return tmp_path / "web"


@pytest.fixture
def web(folder: Path) -> Iterator[Store]:
    with serving(folder_backend(folder)) as store:
        yield store


def files_of(store: Store, **options: Any) -> RemoteFiles:
    return RemoteFiles(store.url, {"deadline": 20, **options})


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_retries, "_FIRST_PAUSE", 0.01)


def test_sizes_ranges_and_names_are_those_of_the_files(web: Store) -> None:
    files = files_of(web)
    assert files.size("a.h5") == len(DATA)
    assert files.read("a.h5", 10, 20) == DATA[10:20]
    names, starts, ends = ["a.h5", "b c.h5", "a.h5", "a.h5"], [0, 5, 7, 49_999], [3, 9, 7, 50_000]
    expected = [DATA[0:3], DATA[::-1][5:9], b"", DATA[49_999:]]
    assert files.read_ranges(names, starts, ends) == expected
    assert {"a.h5", "b c.h5"} <= set(files.list())
    assert files.exists("a.h5")
    assert not files.exists("missing.h5")


def test_a_file_is_fetched_in_one_request_and_gone_on_with_in_pieces(
    web: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_download, "_PIECE_BYTES", 7_000)
    target = tmp_path / "copy"
    assert files_of(web).get("a.h5", str(target)) == len(DATA)
    assert target.read_bytes() == DATA
    assert [request.range for request in web.named("a.h5")] == [None]
    target.write_bytes(DATA[:30_000] + b"beyond the half")
    web.requests.clear()
    files_of(web).get("a.h5", str(target), size=len(DATA), start=30_000)
    assert target.read_bytes() == DATA
    assert web.num_bytes("a.h5") == 20_000
    assert max(last + 1 - start for start, last in (request.range or (0, 0) for request in web.named("a.h5"))) == 7_000


@pytest.mark.parametrize(
    ("harm", "later"),
    [
        *(("cut", [25_000]), ("shorter", [49_999]), ("longer", []), ("500", [0]), ("503", [0])),
        # aiohttp asks again by itself.
        ("reset", [None]),
        *(pytest.param(harm, later, marks=pytest.mark.slow) for harm, later in (("hang", [25_000]), ("stall", [0]))),
    ],
)
def test_a_file_that_does_not_arrive_in_one_request_is_gone_on_with(
    web: Store, tmp_path: Path, harm: str, later: list[int | None]
) -> None:
    web.harm = first(1, harm)
    # What lies there already is of no use, and as long as the file.
    (tmp_path / "copy").write_bytes(bytes(len(DATA)))
    # What hangs is given up after a quarter of it; an answer must not take so long, however busy the machine is.
    files_of(web, deadline=12 if harm in ("hang", "stall") else 100).get("a.h5", str(tmp_path / "copy"), size=len(DATA))
    assert (tmp_path / "copy").read_bytes() == DATA
    assert [None if request.range is None else request.range[0] for request in web.named("a.h5")] == [None, *later]


@pytest.mark.parametrize(("harm", "error"), [("403", ReadError), ("404", DatasetNotFoundError)])
def test_a_whole_file_that_the_store_refuses_is_an_error_at_once(
    web: Store, tmp_path: Path, harm: str, error: type[KseqError]
) -> None:
    web.harm = always(harm)
    with raises(error, f"{web.url}/a.h5") as caught:
        files_of(web).get("a.h5", str(tmp_path / "copy"), size=len(DATA))
    assert len(web.named("a.h5")) == 1
    assert caught.value.__context__ is None


def test_a_disk_that_becomes_full_is_named(web: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_file(name: str, local: str, *_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files = files_of(web)
    monkeypatch.setattr(files._system, "get_file", get_file)
    with raises(WriteError, tmp_path / "copy", os.strerror(errno.ENOSPC)):
        files.get("a.h5", str(tmp_path / "copy"), size=len(DATA))


def test_pieces_come_side_by_side_once_the_server_is_known_to_have_ranges(
    web: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_download, "_PIECE_BYTES", len(DATA) // 4)
    files, plain = files_of(web), web.backend
    alone: list[str] = []
    # Who waits in it goes on only once the other piece is asked for, too.
    together = threading.Barrier(2, timeout=60)

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if "a.h5" not in path:
            together.wait()
            return plain(method, path, headers, body)
        alone.append("asked")
        time.sleep(0.2)
        alone.append("answered")
        return plain(method, path, headers, body)

    web.backend = answer
    for name, data in (("a.h5", DATA), ("b c.h5", DATA[::-1])):
        (tmp_path / name).write_bytes(data[: len(DATA) // 2])
        files.get(name, str(tmp_path / name), size=len(DATA), start=len(DATA) // 2)
    assert alone == ["asked", "answered"] * 2
    assert not together.broken
    assert len(web.named("b c.h5")) == 2
    assert (tmp_path / "b c.h5").read_bytes() == DATA[::-1]


def test_what_is_flushed_later_goes_to_the_disk_as_it_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[int, int]] = []
    monkeypatch.setattr(remote_download, "start_writing", lambda descriptor, start, end: written.append((start, end)))
    monkeypatch.setattr(remote_download, "_PIECE_BYTES", 10_000)
    files = RemoteFiles(f"memory://kseq-test-{os.getpid()}/written")
    (tmp_path / "x").write_bytes(DATA)
    files.put(str(tmp_path / "x"), "x.h5")
    files.get("x.h5", str(tmp_path / "spooled"))
    assert written == []
    files.get("x.h5", str(tmp_path / "kept"), is_flushed=True)
    assert written == [(0, 20_000), (20_000, 40_000), (40_000, 50_000)]


def test_what_arrives_in_one_request_goes_to_the_disk_as_it_grows(
    web: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[int, int]] = []
    monkeypatch.setattr(remote_download, "start_writing", lambda descriptor, start, end: written.append((start, end)))
    web.harm = first(1, "slow")
    files_of(web).get("a.h5", str(tmp_path / "kept"), size=len(DATA), is_flushed=True)
    assert (tmp_path / "kept").read_bytes() == DATA
    assert len(web.named("a.h5")) == 1
    assert len(written) > 1
    assert [start for start, _ in written] == [0, *(end for _, end in written[:-1])]


def test_a_server_that_knows_no_ranges_gives_whole_files(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_download, "_PIECE_BYTES", 7_000)
    with serving(folder_backend(folder, ranges=False)) as web:
        files_of(web).get("a.h5", str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == DATA
        assert len(web.named("a.h5")) == 1
        # What a killed process left is gone on with all the same.
        (tmp_path / "half").write_bytes(DATA[:30_000])
        files_of(web).get("a.h5", str(tmp_path / "half"), size=len(DATA), start=30_000)
        assert (tmp_path / "half").read_bytes() == DATA
        with raises(ReadError, f"{web.url}/a.h5", len(DATA), 10, re.compile("byte ranges")):
            files_of(web).read("a.h5", 0, 10)


@pytest.mark.parametrize("harm", ["cut", "shorter", "longer", "reset", "500", "503"])
def test_what_fails_on_the_way_is_tried_again(web: Store, harm: str) -> None:
    web.harm = first(2, harm)
    assert files_of(web).read("a.h5", 100, 30_000) == DATA[100:30_000]
    assert len(web.named("a.h5")) == 3


@pytest.mark.parametrize("harm", ["reset", "503"])
def test_a_size_is_asked_for_again(web: Store, harm: str) -> None:
    web.harm = first(1, harm, method="HEAD")
    assert files_of(web).size("a.h5") == len(DATA)


def test_only_the_range_that_failed_is_asked_for_again(web: Store) -> None:
    web.harm = first(1, "503", "b c.h5")
    files_of(web).read_ranges(["a.h5", "b c.h5"], [0, 0], [10, 10])
    assert (len(web.named("a.h5")), len(web.named("b c.h5"))) == (1, 2)


@pytest.mark.parametrize(("harm", "error"), [("403", ReadError), ("404", DatasetNotFoundError)])
def test_what_the_store_refuses_is_an_error_at_once(web: Store, harm: str, error: type[KseqError]) -> None:
    web.harm = always(harm)
    with raises(error, f"{web.url}/a.h5") as caught:
        files_of(web).read("a.h5", 0, 10)
    assert len(web.named("a.h5")) == 1
    # fsspec's error may hold the signature of a URL: neither shown nor hidden behind ours.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["503", "stall", "cut"])
def test_a_store_that_never_answers_is_an_error_at_the_deadline(web: Store, harm: str) -> None:
    web.harm = always(harm)
    began = time.monotonic()
    with raises(ReadError, f"{web.url}/a.h5", "deadline", 2):
        files_of(web, deadline=2).read("a.h5", 0, 1000)
    assert 0.5 < time.monotonic() - began < 40
    assert len(web.named("a.h5")) >= 2


@pytest.mark.slow
def test_a_stalled_answer_is_given_up_for_another(web: Store) -> None:
    web.harm = first(1, "stall")
    assert files_of(web, deadline=6).read("a.h5", 0, 10) == DATA[:10]


def test_pauses_between_tries_grow_and_differ(monkeypatch: pytest.MonkeyPatch, web: Store) -> None:
    monkeypatch.setattr(remote_retries, "_FIRST_PAUSE", 0.5)
    drawn: list[float] = []

    class Drawing:
        def uniform(self, low: float, high: float) -> float:
            drawn.append(high)
            return 0

    monkeypatch.setattr(remote_retries, "_RANDOM", Drawing())
    web.harm = first(7, "503")
    files_of(web).read("a.h5", 0, 10)
    assert drawn == [0.5, 1, 2, 4, 8, 10, 10]


def test_files_are_written_listed_and_removed_in_memory(tmp_path: Path) -> None:
    files = RemoteFiles(f"memory://kseq-test-{os.getpid()}/out")
    (tmp_path / "x").write_bytes(DATA)
    files.put(str(tmp_path / "x"), "x.h5")
    assert files.list() == ["x.h5"]
    assert files.read("x.h5", 3, 9) == DATA[3:9]
    files.delete("x.h5")
    assert not files.exists("x.h5")
    with raises(DatasetNotFoundError, files.shown("x.h5")):
        files.delete("x.h5")


def test_a_local_file_that_cannot_be_written_is_named(web: Store, tmp_path: Path) -> None:
    with raises(WriteError, tmp_path):
        files_of(web).get("a.h5", str(tmp_path))


def test_a_pickle_reaches_the_same_files(web: Store) -> None:
    copy = pickle.loads(pickle.dumps(files_of(web)))
    assert copy == files_of(web)
    assert copy.read("a.h5", 1, 3) == DATA[1:3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_reads_through_an_object_of_its_own(web: Store) -> None:
    files = files_of(web)
    files.read("a.h5", 0, 5)
    child = os.fork()
    if not child:
        try:
            os._exit(0 if files.read("a.h5", 5, 9) == DATA[5:9] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    "url",
    [
        "https://me:pa55word@127.0.0.1:1/flowers",
        "http://127.0.0.1:1/flowers?X-Amz-Credential=me&X-Amz-Signature=pa55word",
        "https://127.0.0.1:1/flowers?sv=2024&sig=pa55word",
    ],
)
def test_no_credential_of_a_url_is_in_an_error_or_a_repr(url: str) -> None:
    files = RemoteFiles(url, {"deadline": 0.1, "client_kwargs": {"headers": {"Authorization": "Bearer t0kent0ken"}}})
    with pytest.raises(ReadError) as caught:
        files.read("a.h5", 0, 10)
    for text in (str(caught.value), repr(caught.value), repr(files), files.url, files.shown("a.h5")):
        assert "pa55word" not in text
        assert "t0kent0ken" not in text
        assert "127.0.0.1:1/flowers" in text
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "text",
    [
        "403, message='Forbidden', url='https://h/x?X-Amz-Signature=pa55word&a=b'",
        "Cannot connect to https://me:pa55word@h/x",
        "token pa55word is wrong",
        "Authorization: pa55word",
        "denied to X-Amz-Security-Token=pa55word",
    ],
)
def test_a_text_is_cleared_of_credentials(text: str) -> None:
    cleared = Redactor("s3://b/x", {"client_kwargs": {"aws_session_token": "pa55word"}}).text(text)
    assert "pa55word" not in cleared
    assert len(cleared) > 8


def test_a_text_is_cleared_of_the_login_of_the_url_and_its_parts() -> None:
    redactor = Redactor("s3://AKIAKEY:half/other%2Fhalf@bucket/x", {})
    assert redactor.text("no AKIAKEY:half, AKIAKEY:half/other%2Fhalf, other/half") == "no ***:***, ***, ***"


def test_the_query_of_a_web_folder_goes_with_each_file(web: Store) -> None:
    files = RemoteFiles(f"{web.url}/?sig=abc", {"deadline": 100})
    assert files.read("a.h5", 0, 4) == DATA[:4]
    assert web.requests[-1].path == "/a.h5?sig=abc"


@pytest.mark.parametrize("options", [[1], {1: 2}, {"deadline": 0}, {"deadline": "soon"}, {"deadline": True}, "key"])
def test_options_that_are_not_allowed_are_refused(options: Any) -> None:
    with raises(ArgumentError, "storage_options"):
        RemoteFiles("memory://x", options)


def test_an_unknown_kind_of_url_is_refused() -> None:
    with raises(ArgumentError, "nosuch://bucket/x", "nosuch"):
        RemoteFiles("nosuch://bucket/x")


@pytest.mark.parametrize("module", ["fsspec", "s3fs"])
def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    RemoteFiles("memory://x")
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ArgumentError) as caught:
        RemoteFiles("s3://bucket/flowers")
    assert_says(str(caught.value), "s3://bucket/flowers", module, "kseq[remote]")


@pytest.mark.slow
def test_what_a_library_loads_before_its_first_request_is_no_time_of_the_store(
    web: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = pytest.importorskip("fsspec.implementations.http", reason="http:// needs aiohttp")
    begin, begun = http.HTTPFileSystem.set_session, []

    async def begin_slowly(system: Any) -> Any:
        if not begun:
            begun.append(system)
            # It computes, and waits for nothing.
            time.sleep(2.5)
        return await begin(system)

    monkeypatch.setattr(http.HTTPFileSystem, "set_session", begin_slowly)
    assert files_of(web, deadline=2).read("a.h5", 0, 10) == DATA[:10]
    assert begun
