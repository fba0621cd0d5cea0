"""Bars of progress: shown on a terminal and in a notebook, and nowhere else unless asked for."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kseq
from kseq.display.progress_bar import progress_shown
from kseq.errors import ArgumentError
from tests.helpers.messages import raises
from tests.helpers.paths import ROOT

# Without a delay, so that a call of some milliseconds has a bar too.
SOON = "import kseq.display.progress_bar as bar; bar._DELAY = 0\n"
PACK = SOON + "import sys, kseq; kseq.pack(sys.argv[1], sys.argv[2], workers=0, **eval(sys.argv[3]))"

LONG_CALLS: dict[str, Callable[..., Any]] = {
    "append": lambda folder, other, **more: kseq.append(folder, other / "photos", workers=0, again=True, **more),
    "compact": lambda folder, _, **more: kseq.compact(folder, **more),
    "copy": lambda folder, other, **more: kseq.copy(folder, other / "copy", **more),
    "export": lambda folder, other, **more: kseq.export(folder, other / "files", **more),
    "pack": lambda _, other, **more: kseq.pack(other / "photos", other / "packed", workers=0, **more),
    "verify": lambda folder, _, **more: kseq.verify(folder, **more),
}


class Terminal(io.StringIO):
    """A stderr that a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def other(source: Path, tmp_path: Path) -> Path:
    assert source == tmp_path / "photos"
    return tmp_path


@pytest.mark.parametrize("name", LONG_CALLS)
def test_each_long_call_shows_a_bar_where_a_person_looks(
    name: str, packed_photos: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kseq.display.progress_bar._DELAY", 0)
    folder = Path(shutil.copytree(packed_photos, other / "dataset"))
    kseq.drop(folder, where=["label=dog"])
    for arguments, is_shown in (({"progress": False}, False), ({}, True)):
        stderr = Terminal()
        monkeypatch.setattr(sys, "stderr", stderr)
        call_folder = Path(shutil.copytree(folder, other / f"dataset-{is_shown}"))
        LONG_CALLS[name](call_folder, other, **arguments)
        assert ("100%" in stderr.getvalue()) == is_shown
        for made in ("copy", "files", "packed"):
            shutil.rmtree(other / made, ignore_errors=True)
    with raises(ArgumentError, "progress='no'", "None"):
        LONG_CALLS[name](folder, other, progress="no")


def test_nothing_is_printed_where_nobody_looks(source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kseq.pack(source, tmp_path / "packed", workers=0)
    assert capfd.readouterr() == ("", "")
    kseq.pack(source, tmp_path / "packed", workers=0, overwrite=True, progress=True)
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_a_script_prints_nothing_into_a_pipe_and_a_bar_onto_a_terminal(source: Path, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="this system has no terminals of that kind")
    fcntl, termios = (
        pytest.importorskip(name, reason="this system has no terminals of that kind") for name in ("fcntl", "termios")
    )
    command = [sys.executable, "-c", PACK, str(source)]
    options: dict[str, Any] = {"cwd": ROOT, "timeout": 200, "check": True}
    done = subprocess.run([*command, str(tmp_path / "a"), "{}"], capture_output=True, **options)
    assert (done.stdout, done.stderr) == (b"", b"")
    for arguments, is_shown in (("{}", True), ("{'progress': False}", False)):
        reading, writing = pty.openpty()
        fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        subprocess.run([*command, str(tmp_path / f"b{is_shown}"), arguments], stdout=subprocess.PIPE, stderr=writing, **options)
        os.write(writing, b"end")
        os.close(writing)
        shown = b""
        while not shown.endswith(b"end"):
            shown += os.read(reading, 1 << 16)
        os.close(reading)
        assert (b"30/30" in shown) == is_shown


def test_a_notebook_has_a_bar_and_a_prompt_of_ipython_without_terminal_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.display.progress_bar._DELAY", 0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for shell, is_shown in ((SimpleNamespace(kernel=object()), True), (SimpleNamespace(), False), (None, False)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        with progress_shown(None, "images") as show:
            assert (show is not None) == is_shown


@pytest.mark.parametrize("stream", [None, "closed"])
def test_without_a_stderr_nothing_is_shown(stream: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", None if stream is None else closed)
    with progress_shown(None, "images") as show:
        assert show is None


def test_a_bar_of_bytes_counts_on_from_where_an_earlier_run_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.display.progress_bar._DELAY", 0)
    monkeypatch.setattr(sys, "stderr", stderr := Terminal())
    with progress_shown(True, "bytes") as show:
        assert show is not None
        show(1 << 20, 4 << 20)
        show(4 << 20, 4 << 20)
    assert "4.19M/4.19M" in stderr.getvalue()


@pytest.mark.parametrize("has_shards", [False, True])
def test_an_interrupted_append_says_how_it_goes_on_if_anything_stays(
    packed_photos: Path, source: Path, tmp_path: Path, has_shards: bool
) -> None:
    folder = Path(shutil.copytree(packed_photos, tmp_path / "dataset"))

    def stop(done: int, _: int) -> None:
        if done > 4 or not has_shards:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        kseq.append(folder, source, workers=0, shard_bytes=200, progress=stop)
    hint = ("what is packed stays, the same call with resume=True goes on",)
    assert caught.value.args == (hint if has_shards else ())
    resumed = kseq.append(folder, source, workers=0, shard_bytes=200, resume=True)
    assert (resumed.num_samples, resumed.num_resumed > 0) == (30, has_shards)
