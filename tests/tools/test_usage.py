"""What the command says before and in place of work: help, typing errors, what could be packed, next steps."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import kseq
from kseq.display.commands import option_words
from kseq_tools.console.parser import Parser, subcommands
from kseq_tools.console.spelling import OptionSpelling
from kseq_tools.console.text import shell_line, shell_word
from kseq_tools.main import main, make_parser
from tests.helpers.messages import assert_says
from tests.helpers.photos import write_numbered, write_photos

COMMANDS = sorted(subcommands(make_parser()))


def usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of what wrong usage prints."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("usage: kseq")
    return printed.err.splitlines()[-1]


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_begins_with_two_examples_that_are_right(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    parser = make_parser()
    shown: Parser = parser if command is None else subcommands(parser)[command]
    with pytest.raises(SystemExit):
        main(["--help"] if command is None else [command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["examples:", *(f"  {example}" for example in shown.examples), ""]
    assert max(map(len, lines[:3])) <= 80
    for example in shown.examples:
        program, *words = shlex.split(example)
        arguments = parser.parse_args(words)
        assert program == "kseq" and command in (None, arguments.command)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["pakc", "a", "b"], ("'pakc'", "kseq pack?")),
        (["renameclass", "a"], ("kseq rename-class?",)),
        (["ls"], ("'ls'", "kseq info?")),
        (["convert", "a", "b"], ("kseq pack?",)),
        (["pack", "a", "b", "--vall", "0.2"], ("--vall 0.2", "--val?", "kseq pack --help-all")),
        (["pack", "a", "b", "--image_size=8"], ("--image-size?",)),
        (["info", "a", "--folds", "3"], ("--folds", "kseq split", "kseq info --help")),
        (["pack", "a", "b", "--encoding", "rwa"], ("'rwa'", "keep, raw, jpeg", "raw?")),
        (["pack", "my", "photos", "flowers"], ("'flowers'", "quotes")),
        (["pack", "photos"], ("DATASET", "kseq pack photos flowers")),
        (["pack", "--val", "0.2"], ("DATASET", "kseq pack SOURCE flowers")),
        (["help"], ("kseq --help?",)),
        (["--versoin"], ("--versoin", "--version?")),
        ([], ("a command is missing", "kseq --help")),
    ],
)
def test_wrong_words_are_told_with_what_was_meant(
    words: list[str], parts: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert_says(usage_error(words, capsys), *parts)


def test_nothing_is_guessed_of_a_word_that_is_like_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert "mean" not in usage_error(["xyzzy"], capsys)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["info", "flower"], ("flower: ", "did you mean flowers?")),
        (["verify", "elsewhere/x"], ("kseq pack SOURCE elsewhere/x",)),
        (["pack", "fotos", "new"], ("fotos: ", "did you mean photos?")),
    ],
)
def test_errors_end_with_a_next_step(
    words: list[str],
    parts: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowers").mkdir()
    (tmp_path / "photos").mkdir()
    assert main(words) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert_says(line, *parts)


def test_damage_is_told_with_the_command_that_lists_it(
    numbered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(numbered, tmp_path / "copy")
    with (copy / "index.h5").open("r+b") as file:
        file.truncate(3000)
    assert main(["info", str(copy)]) == 1
    assert_says(capsys.readouterr().err, f"kseq verify {copy}")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos, a table of them, a dataset, a table of something else and code, as the working folder."""
    folder = tmp_path / "project"
    write_numbered(folder / "my photos", {"daisy": 3, "ro\x1bse": 2})
    (folder / "table.csv").write_text("image,label,split\nmy photos/daisy/00000.png,x,val\n")
    (folder / "other.csv").write_text("a,b\n1,2\n")
    (folder / "code").mkdir()
    (folder / "code" / "train.py").touch()
    (folder / "notes.txt").touch()
    (folder / "my photos.csv").write_text("image,label\nmy photos/daisy/00001.png,x\nmy photos/daisy/00002.png,y\n")
    kseq.pack(folder / "my photos", folder / "flowers", workers=0)
    monkeypatch.chdir(folder)
    return folder


def test_pack_alone_proposes_commands_that_work(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(project.rglob("*"))
    assert main(["pack"]) == 0
    printed = capsys.readouterr().out
    assert sorted(project.rglob("*")) == before
    assert r"my photos      5 images; 2 classes: daisy, ro\x1bse" in printed
    assert "flowers        a dataset of kseq" in printed
    assert "  not other.csv: " in printed and "notes.txt" not in printed
    assert max(map(len, printed.splitlines())) <= 100
    commands = [line.strip() for line in printed.splitlines() if line.startswith("  kseq ")]
    assert commands == [
        "kseq pack 'my photos' 'my photos-packed' --val 0.2",
        "kseq pack 'my photos.csv' 'my photos.csv-packed'",
        "kseq pack table.csv table-packed",
        "kseq info flowers",
    ]
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0


def test_pack_alone_in_a_folder_of_classes_proposes_the_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project / "my photos")
    assert main(["pack", "--json"]) == 0
    (proposal,) = json.loads(capsys.readouterr().out)["proposals"]
    assert (proposal["source"], proposal["num_samples"]) == (".", 5)
    assert main(shlex.split(proposal["command"])[1:]) == 0
    assert (project / "my photos-packed" / "index.h5").exists()


def test_pack_alone_in_an_empty_folder_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["pack"]) == 1
    assert_says(capsys.readouterr().err, str(tmp_path), "kseq pack photos flowers", "kseq demo")


def test_pack_alone_beside_images_that_cannot_be_packed_as_they_are_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(tmp_path / "in", {"cat": 3, "dog": 3})
    for path in (tmp_path / "in").glob("*/*"):
        path.rename(tmp_path / f"{path.parent.name}.{path.name}")
    shutil.rmtree(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    assert main(["pack"]) == 1
    assert_says(capsys.readouterr().err, str(tmp_path), "--label-pattern", "--label ''")


def test_a_large_folder_is_proposed_without_a_look_into_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kseq_tools.console.proposals._MOST_ENTRIES", 4)
    assert main(["pack"]) == 0
    printed = capsys.readouterr().out
    assert "my photos      not looked into, since" in printed
    assert "  kseq pack 'my photos' 'my photos-packed'\n" in printed


def test_after_some_seconds_nothing_more_is_looked_into(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kseq_tools.console.proposals._MOST_SECONDS", -1.0)
    (project / "film.mp4").write_bytes(b"no image")
    (project / "loop").symlink_to("loop")
    assert main(["pack"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("not looked into, since") == 5
    assert "film.mp4" not in printed and "flowers        a dataset of kseq" in printed


def test_pack_alone_in_a_folder_that_is_gone_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["pack"]) == 1
    assert_says(capsys.readouterr().err, "the folder that you are in", "gone")


@pytest.mark.parametrize("name", ["a b", "it's", "new\nline", "tab\t1'\\", "\x1b[31m", "caf\udce9", "日本", "$(x) `y`"])
def test_a_command_that_is_printed_is_what_a_shell_takes(name: str) -> None:
    word = shell_word(name)
    assert word.isprintable()
    done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, timeout=60, check=True)
    assert done.stdout == os.fsencode(name)
    assert shell_line(shlex.join(["kseq", "pack", name])) == f"kseq pack {word}"


def test_a_compressed_archive_is_not_unpacked_for_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos.tar.gz").write_bytes(b"no archive at all")
    monkeypatch.chdir(tmp_path)
    assert main(["pack"]) == 0
    assert "  kseq pack photos.tar.gz photos-packed\n" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["photos.tar.gz"]


def test_every_parser_is_one_that_suggests() -> None:
    assert all(isinstance(parser, Parser) for parser in subcommands(make_parser()).values())
    assert isinstance(make_parser(), argparse.ArgumentParser)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["y", "-x", "z"], "--class-names y --class-names=-x --class-names z"),
        (["-1", "--a b"], "--class-names -1 '--class-names=--a b'"),
    ],
)
def test_names_that_begin_with_a_dash_are_printed_as_the_command_takes_them(names: list[str], words: str) -> None:
    parser = subcommands(make_parser())["pack"]
    spelling = OptionSpelling(lambda _: parser, "pack")
    assert spelling.argument("class_names", names) == words
    assert parser.parse_args(["in", "out", *shlex.split(words)]).class_names == names
    assert spelling.argument("columns.label", "-l") == "--label=-l"
    assert option_words("--image", ["a", "-b"], is_each=True) == ["--image", "a", "--image=-b"]
