"""Messages name arguments as the caller writes them: Python's arguments from the library, options from the command."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import kseq
from kseq.arguments import spelled, spelled_call
from kseq_tools.main import main
from tests.helpers.code import texts_of
from tests.helpers.paths import ROOT
from tests.helpers.photos import write_numbered, write_photos

_OPTION = re.compile(r"(?<![\w-])--[a-z]")

# The report of an export holds a command line, which is the same for any caller.
_COMMAND_LINES = {
    "exporting/export.py",
    "storage/field_kinds/base.py",
    "storage/field_kinds/instances.py",
    "storage/field_kinds/keypoints.py",
    "storage/field_kinds/maps.py",
}


def test_no_message_of_the_library_names_an_option() -> None:
    found = [
        f"{path}:{node.lineno}: {node.value}"
        for path in sorted((ROOT / "kseq").rglob("*.py"))
        if path.relative_to(ROOT / "kseq").as_posix() not in _COMMAND_LINES
        for node in texts_of(path)
        if _OPTION.search(node.value)
    ]
    assert not found, "\n".join(found)


def test_an_argument_is_spelled_as_python_has_it() -> None:
    assert spelled("overwrite", True) == "overwrite=True"
    assert spelled("val") == "val="
    assert spelled("columns.label", "") == "kseq.Columns(label='')"
    assert spelled("columns", label="", targets={"a": "b"}) == "columns=kseq.Columns(label='', targets={'a': 'b'})"
    assert spelled("images.max_pixels") == "kseq.ImageSettings(max_pixels=)"
    assert spelled_call("compact", "flowers") == "kseq.compact('flowers')"
    assert spelled_call("pack", resume=True) == "kseq.pack(..., resume=True)"
    assert spelled_call("export") == "kseq.export(...)"


@pytest.mark.parametrize(
    ("command", "spell", "words"),
    [
        ("pack a b", lambda: spelled("overwrite", True), "--overwrite"),
        ("pack a b", lambda: spelled("val"), "--val"),
        ("pack a b", lambda: spelled("val", 0.25), "--val 0.25"),
        ("pack a b", lambda: spelled("check", False), "--no-check"),
        ("pack a b", lambda: spelled("image_size", (20, 30)), "--image-size 20 30"),
        ("pack a b", lambda: spelled("images.max_pixels"), "--max-pixels"),
        ("pack a b", lambda: spelled("columns", label="", targets={"age": "years"}), "--label '' --target age=years"),
        ("pack a b", lambda: spelled("columns.split"), "--split-column"),
        ("pack a b", lambda: spelled("source_format"), "--from"),
        ("pack a b", lambda: spelled("executor", object()), "--dask"),
        ("pack a b", lambda: spelled("source", "my photos"), "SOURCE 'my photos'"),
        ("split a", lambda: spelled("stratify", False), "--no-stratify"),
        ("split a", lambda: spelled("lists", {"val": "list.txt"}), "--from-list val=list.txt"),
        ("info a", lambda: spelled("follow_links", True), "--follow-links"),
        ("info a", lambda: spelled_call("compact", "my flowers"), "kseq compact 'my flowers'"),
        ("info a", lambda: spelled_call("pack", resume=True), "kseq pack --resume"),
        ("info a", lambda: spelled_call("rename_class"), "kseq rename-class"),
    ],
)
def test_an_argument_is_spelled_as_the_option_under_the_command(
    command: str, spell: Callable[[], str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kseq.KseqError(spell())

    for name in ("pack", "split", "ShardDataset"):
        monkeypatch.setattr(kseq, name, fail)
    assert main(command.split()) == 1
    assert capsys.readouterr().err == f"kseq: {words}\n"
    assert spelled("val") == "val="


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_numbered(tmp_path / "photos", {"a": 6, "b": 4})
    return tmp_path / "photos"


def both_messages(
    call: Callable[[], object], words: list[str], error: type[Exception], capsys: pytest.CaptureFixture[str]
) -> tuple[str, str]:
    """What a call raises, and what the command prints."""
    with pytest.raises(error) as caught:
        call()
    capsys.readouterr()
    assert main(words) == 1
    return str(caught.value), capsys.readouterr().err.removeprefix("kseq: ").rstrip("\n")


def test_a_dataset_that_is_there_is_replaced_by_an_argument_or_an_option(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = tmp_path / "packed"
    kseq.pack(photos, packed, workers=0)
    found = both_messages(lambda: kseq.pack(photos, packed), ["pack", str(photos), str(packed)], FileExistsError, capsys)
    assert found == tuple(f"{packed}: a dataset lies there ({word} replaces it)" for word in ("overwrite=True", "--overwrite"))


def test_a_missing_column_is_named_by_its_argument_or_its_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("photo,kind\na,b\n")
    table, packed = str(tmp_path / "t.csv"), str(tmp_path / "packed")
    python, command = both_messages(lambda: kseq.pack(table, packed), ["pack", table, packed], ValueError, capsys)
    assert python.endswith("its columns are photo, kind: name it by kseq.Columns(image=)")
    assert command == python.replace("kseq.Columns(image=)", "--image")
    columns = kseq.Columns(image="photo", label="kind", split="part")
    words = ["pack", table, packed, "--image", "photo", "--label", "kind", "--split-column", "part"]
    python, command = both_messages(lambda: kseq.pack(table, packed, columns=columns), words, ValueError, capsys)
    assert "has no column 'part' (kseq.Columns(split=)), its columns are photo, kind" in python
    assert command == python.replace("kseq.Columns(split=)", "--split-column")


def test_settings_that_do_not_go_together_are_told_in_both_languages(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, packed = str(photos), str(tmp_path / "packed")
    words = ["pack", source, packed, "--encoding", "raw"]
    python, command = both_messages(
        lambda: kseq.pack(source, packed, images=kseq.ImageSettings("raw")), words, ValueError, capsys
    )
    assert python == "encoding='raw': stores pixels of one size, give one, such as image_size=(224, 224)"
    assert command == "--encoding raw: stores pixels of one size, give one, such as --image-size 224 224"


def test_reasons_are_stored_without_an_argument_and_shown_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path / "photos", {"cat": 2})
    write_numbered(tmp_path / "photos", {"dog": 2})
    (tmp_path / "photos/dog/away.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "elsewhere.png").write_bytes(b"")
    words = ["pack", str(tmp_path / "photos"), str(tmp_path / "packed"), "--max-pixels", "100", "--workers", "0"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "dog/away.png: is a link out of the source's folder (--follow-links follows it)\n" in printed
    assert re.search(r"cat/00000.jpg: has more pixels than the 100 allowed: \d+ x \d+ \(--max-pixels allows more\)\n", printed)
    rejected = kseq.ShardDataset(tmp_path / "packed").rejected()
    assert not any("--" in rejection.reason or "=" in rejection.reason for rejection in rejected)
    assert {rejection.explanation.partition(" (")[2] for rejection in rejected} == {
        "follow_links=True follows it)",
        "kseq.ImageSettings(max_pixels=) allows more)",
    }
    assert main(["info", str(tmp_path / "packed"), "--rejected"]) == 0
    assert "(--follow-links follows it)" in capsys.readouterr().out


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_that_stops_at_an_image_speaks_as_the_command(
    tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(tmp_path / "photos", {"cat": 2})
    words = ["pack", str(tmp_path / "photos"), str(tmp_path / "packed"), "--max-pixels", "9", "--on-error", "fail"]
    assert main([*words, "--workers", str(workers)]) == 1
    assert capsys.readouterr().err.rstrip("\n").endswith("(--max-pixels allows more)")


@pytest.mark.parametrize("has_shards", [False, True])
def test_an_interrupted_packing_tells_how_to_go_on_if_anything_stays(photos: Path, tmp_path: Path, has_shards: bool) -> None:
    def stop(done: int, _: int) -> None:
        if done > 4 or not has_shards:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        kseq.pack(photos, tmp_path / "packed", workers=0, shard_bytes=200, progress=stop)
    hint = ("what is packed stays, the same call with resume=True goes on",)
    assert caught.value.args == (hint if has_shards else ())
