"""`kseq demo`: what it says before and after, what it needs, and that it learns."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from kseq_tools.main import main
from tests.helpers.messages import assert_says
from tests.helpers.processes import RunPython


@pytest.mark.slow
def test_the_demo_learns_to_read_digits_and_says_what_comes_before_and_after(run_python: RunPython, tmp_path: Path) -> None:
    code = f"from kseq_tools.main import main; raise SystemExit(main(['demo', '--folder', {str(tmp_path)!r}]))"
    printed = run_python(code, backend="tensorflow", lean=False).stdout
    accuracy = re.search(r"validation accuracy (\d\.\d+)", printed)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.95
    before, _, after = printed.partition("PNG files written")
    assert "nothing is downloaded" in before
    assert "tensorflow" in before
    assert str(tmp_path) in before
    assert "kseq pack photos" in after
    assert "kseq.ShardSequence" in after


def _without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else find_spec(name))


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (["sklearn"], ["scikit-learn", "pip install scikit-learn"]),
        (["tensorflow", "jax", "torch"], ["a backend of Keras", "kseq[demo]", "750 MB"]),
        (["sklearn", "tensorflow", "jax", "torch"], ["scikit-learn", "kseq[demo]", "750 MB"]),
    ],
)
def test_names_what_is_missing_and_how_large_it_is(
    missing: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    _without(monkeypatch, *missing)
    assert main(["demo"]) == 1
    printed: Any = capsys.readouterr()
    assert printed.out == ""
    assert [word for word in words if word not in printed.err] == []


def test_names_a_backend_that_is_asked_for_and_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    _without(monkeypatch, "jax")
    assert main(["demo"]) == 1
    assert_says(capsys.readouterr().err, "KERAS_BACKEND")
