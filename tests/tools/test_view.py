"""`kseq view`: what it prints, and how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import urllib.request
import webbrowser
from pathlib import Path

import pytest

import kseq
from kseq_tools.main import main
from tests.helpers.messages import assert_says
from tests.helpers.processes import RunPython, kseq_command

pytest.importorskip("uvicorn", reason="the page of `kseq view` needs the extra `view`")
pytest.importorskip("starlette", reason="the page of `kseq view` needs the extra `view`")


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_serves_until_it_is_interrupted(numbered: Path, stop: signal.Signals, code: int) -> None:
    words = kseq_command("view", numbered, "--no-browser", "--read-only")
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever started the tests in the background of a shell has let them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            found = re.fullmatch(rf"{re.escape(str(numbered))}: (http://127\.0\.0\.1:\d+/[\w-]{{32,}}/)\n", line)
            assert found
            with urllib.request.urlopen(found[1], timeout=100) as answer:
                assert b"kseq view" in answer.read()
            process.send_signal(stop)
            assert process.wait(timeout=100) == code
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_it_opens_a_browser_unless_it_is_told_not_to(
    numbered: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(kseq.Viewer, "wait", lambda _: None)
    assert main(["view", str(numbered)]) == 0
    (url,), line = opened, capsys.readouterr().out
    # Everybody on the machine sees what a browser was started with: another address, and not the one with the token.
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", url)
    assert url not in line
    assert main(["view", str(numbered), "--no-browser"]) == 0
    assert len(opened) == 1


@pytest.mark.parametrize("options", [[], ["--read-only"]])
def test_who_lets_other_machines_in_is_warned(
    numbered: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kseq.Viewer, "wait", lambda _: None)
    assert main(["view", str(numbered), "--no-browser", "--host", "0.0.0.0", *options]) == 0
    warning, _ = capsys.readouterr().err.splitlines()
    assert_says(warning, "--host", "0.0.0.0", "encrypted")
    assert ("change" in warning) == (not options)
    assert main(["view", str(numbered), "--no-browser"]) == 0
    assert "encrypted" not in capsys.readouterr().err


def test_what_it_cannot_show_is_one_line(tmp_path: Path, numbered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path), "--no-browser"]) == 1
    assert_says(capsys.readouterr().err, tmp_path)
    assert main(["view", str(numbered), "--no-browser", "--port", "70000"]) == 1
    assert_says(capsys.readouterr().err, "--port", 70_000)


@pytest.mark.slow
def test_without_its_packages_it_names_the_extra(numbered: Path, run_python: RunPython) -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from kseq_tools.main import main; sys.exit(main(sys.argv[1:]))"
    done = run_python(code, "view", numbered, "--no-browser", check=False)
    assert done.returncode == 1
    assert_says(done.stderr, "uvicorn", 'pip install "kseq[view]"')


@pytest.mark.slow
def test_importing_kseq_loads_no_server(run_python: RunPython) -> None:
    done = run_python("import sys, kseq_tools.main; print([n for n in ('starlette', 'uvicorn') if n in sys.modules])")
    assert done.stdout.strip() == "[]"
