"""`--json`: one object on stdout from every command that reports, of errors too."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import WriteError
from kseq_tools.commands import demo
from kseq_tools.console.json_output import error_as_json, print_json
from kseq_tools.console.parser import subcommands
from kseq_tools.main import main, make_parser
from tests.helpers.photos import write_numbered

# It writes its figures into a file, table by table, for hours: its `--json` names that.
OTHERS = {"bench"}

# Every other command, in an order in which each has something to do: its words, and a value of its report.
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "pack": ("pack {0}/photos {0}/packed --val 0.2 --workers 0", {"num_samples": 30, "class_names": ["daisy", "rose"]}),
    "merge": ("merge {0}/packed {0}/other {0}/merged --copy", {"num_samples": 34}),
    "append": ("append {0}/packed {0}/more --workers 0", {"num_samples": 4, "new_class_names": ["tulip"]}),
    "info": ("info {0}/packed", {"num_samples": 34, "class_names": ["daisy", "rose", "tulip"]}),
    "sql": ("sql {0}/packed 'select count(*) as n from samples'", {"columns": ["n"], "rows": [{"n": 34}]}),
    "doctor": ("doctor {0}/packed --rate 1000 --seconds 1", {"batch_size": 32}),
    "card": ("card {0}/packed {0}/card", {"files": ["README.md", "croissant.json"]}),
    "split": ("split {0}/packed --folds 2", {"num_unused": 0}),
    "drop": ("drop {0}/packed --ids 0-2", {"num_dropped": 3}),
    "undo": ("undo {0}/packed", {"taken_back": True}),
    "relabel": ("relabel {0}/packed {0}/labels.csv", {"num_changed": 1, "field": "label"}),
    "rename-class": ("rename-class {0}/packed rose roses", {"class_number": 1}),
    "add-field": ("add-field {0}/packed price {0}/prices.csv --default 0", {"num_given": 1}),
    "copy": ("copy {0}/packed {0}/copied", {"num_samples": 34}),
    "compact": ("compact {0}/packed", {"num_removed": 0}),
    "preview": ("preview {0}/packed --split train --count 2", {"num_samples": 2, "split": "train"}),
    "view": ("view {0}/packed --no-browser --read-only", {"host": "127.0.0.1", "is_private": True, "read_only": True}),
    "completion": ("completion fish", {"shell": "fish"}),
    "demo": ("demo --folder {0}/demo", {"num_samples": 1797, "val_accuracy": 0.5}),
    "verify": ("verify {0}/packed", {"damaged": []}),
    "export": ("export {0}/packed {0}/out", {"num_samples": 34}),
}


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """The exit code of a command, and the one object that it printed."""
    try:
        code: Any = main(words)
    except SystemExit as stop:
        code = stop.code
    return code, json.loads(capsys.readouterr().out)


def test_every_command_that_reports_has_the_option() -> None:
    parsers = subcommands(make_parser())
    assert {name for name, parser in parsers.items() if "--json" in parser.format_help()} - {"bench"} == set(parsers) - OTHERS
    assert set(RUNS) == set(parsers) - OTHERS


@pytest.mark.slow
def test_every_command_prints_its_report_as_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("duckdb", "sklearn", "uvicorn"):
        pytest.importorskip(package, reason=f"one of the commands needs {package}")
    monkeypatch.setattr(kseq.Viewer, "wait", lambda _: None)
    # Training it takes twenty seconds, and prints.
    monkeypatch.setattr(demo, "_train", lambda _: print("1/12") or 0.5)
    write_numbered(tmp_path / "photos", {"daisy": 20, "rose": 10})
    write_numbered(tmp_path / "more", {"tulip": 4})
    (tmp_path / "labels.csv").write_text("id,label\n3,rose\n")
    (tmp_path / "prices.csv").write_text("id,price\n3,7\n")
    kseq.pack(tmp_path / "more", tmp_path / "other", workers=0)
    for command, (words, expected) in RUNS.items():
        code, values = run([*shlex.split(words.format(tmp_path)), "--json"], capsys)
        assert (code, values["command"], values["ok"]) == (0, command, True), values
        assert {name: values[name] for name in expected} == expected, command
    assert values["pack_command"].startswith("kseq pack")


def test_view_says_where_it_serves_in_one_line_and_nothing_when_it_ends(
    numbered: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("uvicorn", reason="the page of `kseq view` needs the extra `view`")
    seen: list[str] = []

    def wait(viewer: kseq.Viewer) -> None:
        # A program that reads the line serves itself at once.
        seen.extend([capsys.readouterr().out, viewer.url])
        raise KeyboardInterrupt

    monkeypatch.setattr(kseq.Viewer, "wait", wait)
    assert main(["view", str(numbered), "--no-browser", "--json"]) == 130
    line, url = seen
    assert line.endswith("}\n") and line.count("\n") == 1
    values = json.loads(line)
    assert (values["dataset"], values["url"], values["ok"]) == (str(numbered), url, True)
    assert url == f"http://{values['host']}:{values['port']}/{values['token']}/"
    assert capsys.readouterr().out == ""
    code, values = run(["view", str(numbered.parent / "nowhere"), "--json"], capsys)
    assert (code, values["error"]["type"]) == (1, "DatasetNotFoundError")


def test_preview_says_what_the_thumbnails_would_show(numbered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, values = run(["preview", str(numbered), "--where", "label=b", "--start", "1", "--count", "2", "--json"], capsys)
    with kseq.ShardDataset(numbered).where("label=b") as chosen:
        ids = chosen.sample_ids([1, 2]).tolist()
        assert values["samples"][1] == {
            "id": ids[1], "source": chosen.source(2), "label": "b", "height": 4, "width": 4, "channels": 3
        }  # fmt: skip
        assert (code, values["num_selected"], values["num_samples"]) == (0, len(chosen), 2)


def test_completion_says_the_script_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert run(["completion", "bash", "--json"], capsys)[1]["script"] + "\n" == script


def test_a_dry_run_is_reported_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_numbered(tmp_path / "photos", {"daisy": 2})
    (tmp_path / "photos/daisy/x\n.txt").write_text("no image")
    code, values = run(["pack", str(tmp_path / "photos"), str(tmp_path / "packed"), "--dry-run", "--json"], capsys)
    assert (code, values["num_found"], values["rejected"]) == (0, 3, [])
    code, values = run(["pack", str(tmp_path / "photos"), str(tmp_path / "packed"), "--workers", "0", "--json"], capsys)
    assert (code, values["num_samples"]) == (0, 2)
    assert values["rejected"] == [{"path": "daisy/x\n.txt", "reason": values["rejected"][0]["reason"]}]


def test_damage_is_not_ok_and_exits_with_1(numbered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(numbered, tmp_path / "copy")
    with (copy / "shard-00002.h5").open("ab") as file:
        file.write(b"more")
    code, values = run(["verify", str(copy), "--json"], capsys)
    assert (code, values["ok"], len(values["damaged"])) == (1, False, 1)


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        (["info", "nowhere", "--json"], "DatasetNotFoundError", 1),
        (["pack", "nothing", "packed", "--json"], "SourceError", 1),
        (["split", "nowhere", "--json"], "ArgumentError", 1),
        (["undo", "--json"], "UsageError", 2),
        (["undo", "a", "b", "--json"], "UsageError", 2),
        (["unpakc", "--json"], "UsageError", 2),
    ],
)
def test_an_error_is_one_object_of_the_same_shape(
    words: list[str], kind: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        found: Any = main(words)
    except SystemExit as stop:
        found = stop.code
    printed = capsys.readouterr()
    values = json.loads(printed.out)
    assert (found, values["ok"], values["error"]["type"], values["error"]["exit_code"]) == (code, False, kind, code)
    assert values["error"]["message"] in printed.err


def test_ctrl_c_is_an_error_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kseq, "verify", interrupted)
    code, values = run(["verify", "x", "--json"], capsys)
    assert (code, values["error"]["type"], values["error"]["exit_code"]) == (130, "KeyboardInterrupt", 130)


def test_ctrl_c_while_the_words_are_parsed_is_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kseq_tools.main.make_parser", interrupted)
    assert main(["verify", "x"]) == 130
    assert capsys.readouterr().err == "kseq: interrupted\n"


def test_an_error_that_ctrl_c_causes_is_a_line_before_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise WriteError("there: half written files cannot be removed")

    # What runs the tests may ignore it, as a shell does for what it runs in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(kseq, "verify", interrupted)
    try:
        assert main(["verify", "x"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "kseq: there: half written files cannot be removed\nkseq: interrupted\n"


def test_any_value_of_a_report_can_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"path": b"\xff.jpg", "number": np.int64(3), "array": np.arange(2), "share": float("nan"), "field": kseq.Field}
    print_json(argparse.Namespace(command="x"), values, more=(Path("a"), {1: 2}))
    read = json.loads(capsys.readouterr().out)
    assert (read["path"], read["number"], read["array"], read["share"]) == ("\udcff.jpg", 3, [0, 1], None)
    assert read["more"] == ["a", {"1": 2}]
    assert json.loads(error_as_json(None, "X", "\udcff", 1))["error"]["message"] == "\udcff"
