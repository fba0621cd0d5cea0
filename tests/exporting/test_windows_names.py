"""Exports on Windows, where a file cannot have every name that it has on Linux."""

from __future__ import annotations

from pathlib import Path

import pytest

import kseq
from tests.helpers.photos import write_photos

GOOD = "cat/fine.jpg"
# To Windows, these are a device, a hidden stream of the file `a`, a file in another folder, and a name without its last dot.
BAD = ["cat/aux.jpg", "cat/a:b.jpg", "cat/x\\..\\..\\..\\out.jpg", "con/a.jpg", "cat./a.jpg"]


@pytest.fixture
def packed_names(tmp_path: Path) -> Path:
    write_photos(tmp_path / "made", {"a": 1 + len(BAD)})
    for made, name in zip(sorted((tmp_path / "made").rglob("*.jpg")), [GOOD, *BAD], strict=True):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        made.rename(tmp_path / "photos" / name)
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    return tmp_path / "packed"


def exported(packed: Path, out: Path) -> list[str]:
    kseq.export(packed, out)
    return sorted(str(path.relative_to(out)) for path in out.rglob("*.jpg"))


def test_names_that_windows_does_not_have_are_replaced_there_alone(
    packed_names: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exported(packed_names, tmp_path / "linux") == sorted([GOOD, *BAD])
    monkeypatch.setattr("kseq.platforms.files._IS_WINDOWS", True)
    names = exported(packed_names, tmp_path / "windows")
    assert len(names) == 1 + len(BAD)
    assert GOOD in names
    assert not set(names) & set(BAD)
    assert not any(character in name for name in names for character in ":\\")
    assert not any(part.partition(".")[0] in ("aux", "con") or part.endswith(".") for name in names for part in name.split("/"))
    # Packed again, they are the same samples.
    monkeypatch.undo()
    again = tmp_path / "again"
    kseq.pack(tmp_path / "windows" / "samples.csv", again, workers=0)
    assert len(kseq.ShardDataset(again)) == len(kseq.ShardDataset(packed_names))
    assert sorted(kseq.ShardDataset(again).class_names) == sorted(kseq.ShardDataset(packed_names).class_names)
