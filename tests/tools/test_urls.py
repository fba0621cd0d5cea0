"""Commands on datasets at URLs: they print what they print of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import kseq
from kseq_tools.main import main
from tests.helpers.messages import assert_says
from tests.helpers.urls import memory_url


@pytest.fixture
def there(packed_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = memory_url()
    kseq.copy(packed_photos, url)
    return url


@pytest.mark.parametrize("words", [["info"], ["info", "--json"], ["info", "--rejected"], ["info", "--samples"], ["verify"]])
def test_a_command_prints_of_a_url_what_it_prints_of_a_folder(
    words: list[str], there: str, packed_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, str(packed_photos)]) == 0
    local = capsys.readouterr().out
    assert main([*words, there]) == 0
    assert capsys.readouterr().out == local.replace(str(packed_photos), there)
    # Nothing is copied to look at it.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [[], ["--cache-bytes", "0"], ["--cache-dir", "{}/here"]])
def test_a_url_is_exported_as_a_folder(options: list[str], there: str, packed_photos: Path, tmp_path: Path) -> None:
    assert main(["export", there, str(tmp_path / "out"), *(option.format(tmp_path) for option in options)]) == 0
    kseq.export(packed_photos, tmp_path / "expected")
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_options_go_to_the_file_system(there: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", there, "--storage-option", "deadline=-1"]) == 1
    assert_says(capsys.readouterr().err, "deadline", "-1")
    with pytest.raises(SystemExit):
        main(["verify", there, "--storage-option", "deadline"])
    assert_says(capsys.readouterr().err.splitlines()[-1], "--storage-option", "'deadline'")
    assert main(["info", "memory://none/at/all"]) == 1
    assert_says(capsys.readouterr().err, "memory://none/at/all")
