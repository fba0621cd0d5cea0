"""URLs as arguments: refused by name where a path is needed, never taken for a path, never shown with secrets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.arguments import is_url, path_or_url, shown_url
from kseq.errors import ArgumentError
from kseq.storage.output_folder import check_apart
from kseq.storage.urls import join_url, split_store, split_url
from kseq_tools.main import main
from tests.helpers.messages import assert_says, raises

URL = "https://me:secret@host/x?sig=secret"
SHOWN = "https://host/x"

REFUSED: dict[str, Callable[[Path], Any]] = {
    "append": lambda packed: kseq.append(URL, packed),
    "merge": lambda packed: kseq.merge([packed, URL], packed.parent / "out"),
    "merge out": lambda packed: kseq.merge([packed, packed], URL),
    "split": lambda packed: kseq.split(URL, val=0.1),
    "split lists": lambda packed: kseq.split(packed, lists={"val": URL}),
    "drop": lambda packed: kseq.drop(URL, ids=[1]),
    "drop rejected_by": lambda packed: kseq.drop(packed, rejected_by=URL),
    "relabel": lambda packed: kseq.relabel(URL, "labels.csv"),
    "relabel file": lambda packed: kseq.relabel(packed, URL),
    "rename_class": lambda packed: kseq.rename_class(URL, "a", "b"),
    "add_field": lambda packed: kseq.add_field(URL, "x", "x.csv"),
    "add_field file": lambda packed: kseq.add_field(packed, "x", URL),
    "compact": lambda packed: kseq.compact(URL),
    "undo": lambda packed: kseq.undo(URL),
    "export out": lambda packed: kseq.export(packed, URL),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_url_is_refused_where_a_path_is_needed(case: str, numbered: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with raises(ArgumentError, SHOWN) as caught:
        REFUSED[case](numbered)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


COMMANDS = [
    ["append", URL, "photos"],
    ["merge", URL, "a", "b"],
    ["split", URL, "--val", "0.1"],
    ["drop", URL, "--ids", "1"],
    ["relabel", URL, "labels.csv"],
    ["rename-class", URL, "a", "b"],
    ["add-field", URL, "x", "x.csv"],
    ["compact", URL],
    ["undo", URL],
    ["export", "{packed}", URL],
    ["bench", "--folder", URL],
    ["bench", "--images", URL],
    ["demo", "--folder", URL],
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_a_command_refuses_it_too(
    words: list[str], numbered: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def ask(*address: Any, **_: Any) -> Any:
        asked.append(address)
        raise AssertionError("asks the network")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    monkeypatch.chdir(tmp_path)
    assert main([word.format(packed=numbered) for word in words]) == 1
    error = capsys.readouterr().err
    assert_says(error, SHOWN)
    # Where there is no network, an answer may take minutes.
    assert asked == []
    assert "secret" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_url_that_a_path_object_has_cut_is_named(numbered: Path, tmp_path: Path) -> None:
    for call in (kseq.compact, kseq.ShardDataset, lambda path: kseq.pack(path, tmp_path / "out"), REFUSED["undo"]):
        with raises(ArgumentError, re_lost()):
            call(Path("https://me:secret@host/x"))


def re_lost() -> str:
    return "host/x"


def test_what_is_a_url() -> None:
    for text in ("s3://bucket/a", "https://host", "memory://a", "zip::s3://bucket/a.zip", "file:///a", b"gs://a"):
        assert is_url(text)
    for text in ("a", "/a", "./s3://a", "C:\\a", "C://a", "a:b", "", Path("a"), 3, np.zeros(2)):
        assert not is_url(text)
    assert path_or_url("source", "s3://bucket/a") == "s3://bucket/a"
    assert path_or_url("source", "C:/a") == "C:/a"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:p@ss@host/x?sig=1#2", "https://host/x"),
        ("s3://key:secret@bucket/a?b#c", "s3://bucket/a?b#c"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("memory://a", "memory://a"),
    ],
)
def test_a_url_is_shown_without_credentials(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("url", "path", "joined"),
    [
        ("s3://bucket/a", "b/c.jpg", "s3://bucket/a/b/c.jpg"),
        ("s3://bucket/a/", "../c.jpg", "s3://bucket/c.jpg"),
        ("s3://bucket", "a", "s3://bucket/a"),
        ("memory://", "a", "memory://a"),
        ("file:///tmp/a", "b", "file:///tmp/a/b"),
        ("zip://photos::s3://bucket/a.zip", "b.jpg", "zip://photos/b.jpg::s3://bucket/a.zip"),
        ("simplecache::s3://bucket/a", "b.jpg", "simplecache::s3://bucket/a/b.jpg"),
    ],
)
def test_a_path_below_a_url(url: str, path: str, joined: str) -> None:
    assert join_url(url, path) == joined


def test_a_url_is_taken_apart() -> None:
    assert split_url("s3://bucket/a/b.zip") == ("s3://bucket/a", "b.zip")
    assert split_url("https://host/a/b.zip?sig=1") == ("https://host/a", "b.zip")
    assert split_url("memory://a") == ("memory://", "a")
    assert split_store("s3://bucket/a/b.jpg") == ("s3://bucket", "a/b.jpg")
    assert split_store("https://host/a?sig=1") == ("https://host", "a?sig=1")
    assert split_store("file:///tmp/a.jpg") == ("file:///tmp", "a.jpg")
    assert split_store("zip://a/b.jpg::s3://bucket/a.zip") == ("zip://a::s3://bucket/a.zip", "b.jpg")


@pytest.mark.parametrize(
    ("source", "target", "apart"),
    [
        ("s3://b/a", "s3://b/ab", True),
        ("s3://b/a", "s3://b/a/b", False),
        ("s3://b/a/", "s3://b/a", False),
        ("/tmp/x", "s3://b", True),
        ("file:///tmp/x", "/tmp/x/y", False),
        ("/tmp/x", "/tmp/xy", True),
    ],
)
def test_a_source_and_a_dataset_must_lie_apart(source: str, target: str, apart: bool) -> None:
    if apart:
        check_apart(source, target)
        return
    with raises(ArgumentError, source, target):
        check_apart(source, target)
