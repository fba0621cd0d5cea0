"""The benchmark runs, tells what it found, and reports who could not take part."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError, SourceError
from kseq_tools.bench import (
    competition,
    contest,
    curves,
    environments,
    machine,
    object_store,
    packing,
    photo_fit,
    photos,
    planning,
    reading,
    remote,
    roster,
    scale,
    splits,
)
from kseq_tools.bench import fit as fitting
from kseq_tools.bench.contest import ContestantError, Row, Runner, run_once, take_turns
from kseq_tools.bench.cpu_time import busy_seconds, group_seconds
from kseq_tools.bench.estimate import Estimate, estimate
from kseq_tools.bench.reading import Setting
from kseq_tools.bench.stamps import make_once
from kseq_tools.bench.tables import Goal, Table, cpu_bars, plot
from kseq_tools.commands import bench as command
from kseq_tools.main import main
from tests.helpers.messages import Parts, assert_says, raises
from tests.helpers.photos import write_photos
from tests.helpers.stores import needs_s3

BARE = ["bare decode of kseq's whole images", "bare decode of the whole files"]
COPIES = ["plain memory copy", "plain copy with as many buffers"]
OURS = ["kseq", *COPIES, "kseq, files as they are", *BARE]
SMALL = ["--num-images", "30", "--rounds", "2", "--batch-size", "8", "--workers", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the benchmark has worked in: photos, and kseq's store of table R."""
    path = tmp_path_factory.mktemp("bench")
    assert main(["bench", "--folder", str(path), *SMALL, "--tables", "R", "--contestants", "kseq"]) == 0
    return path


ROWS = {
    "R": {"kseq", *COPIES},
    "RC": {"kseq"},
    "J": {"kseq", "kseq, files as they are", *BARE},
    "N": {"kseq", "kseq, files as they are", *BARE},
}


@pytest.mark.slow
@pytest.mark.parametrize("names", [("R", "J"), pytest.param(("RC", "N"), marks=pytest.mark.campaign)], ids=" ".join)
def test_the_reading_tables_are_measured_printed_and_written(
    names: tuple[str, ...], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results = folder / "results.json"
    arguments = ["bench", "--folder", str(folder), *SMALL, "--tables", *names, "--json", str(results)]
    assert main([*arguments, "--contestants", *OURS]) == 0
    printed = capfd.readouterr().out
    tables = json.loads(results.read_text())["tables"]
    assert [table["table"] for table in tables] == list(names)
    assert [{row["name"] for row in table["rows"]} for table in tables] == [ROWS[name] for name in names]
    for table in tables:
        for row in table["rows"]:
            assert len(row["rates"]) == 2, row
            assert not row["note"], row
            assert row["name"] in printed
            assert len(row["cpu_seconds_per_1000"]) == len(row["cores_of_others"]) == 2
            assert all(figure > 0 for figure in row["cpu_seconds_per_1000"]), row
        assert sum(machine.describe_machine() in note for note in table["notes"]) == 1
    assert "2 threads" in printed and "images/s" in printed and "CPU s per 1,000" in printed


def test_a_second_run_uses_the_stores_of_the_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "run_once", None)
    monkeypatch.setattr(photos, "ProcessPool", None)
    assert main(["bench", "--folder", str(folder), *SMALL, "--tables", "R", "--contestants", "kseq"]) == 0


def test_photos_may_be_ones_own(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"a": 5, "b": 4})
    sources = photos.make_sources(str(tmp_path / "sources"), str(tmp_path / "photos"), 30, 1)
    raw = np.load(os.path.join(sources["R"], "images.npy"))
    assert raw.shape == (30, 224, 224, 3)
    assert len({image.tobytes() for image in raw}) == 30
    for table in "JN":
        report = kseq.pack(sources[table], tmp_path / table, workers=0)
        assert (report.num_samples, report.num_found, len(report.class_names)) == (30, 30, 10)


def test_made_photos_are_about_three_bits_a_pixel(folder: Path, tmp_path: Path) -> None:
    kseq.pack(folder / "sources" / "N", tmp_path / "packed", workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    pixels = sum(sample["image"].shape[0] * sample["image"].shape[1] for sample in dataset)
    assert 2.5 < 8 * sum(len(dataset.stored_bytes(number)) for number in range(30)) / pixels < 4.5


def test_a_name_that_is_not_known_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--folder", str(tmp_path), "--contestants", "FFVC"]) == 1
    assert_says(capsys.readouterr().err, "--contestants 'FFVC'", "'kseq'")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which the command refuses its arguments, before any work."""
    assert main(["bench", *map(str, arguments)]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    return printed.err.rstrip()


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--num-images", -3, ("--num-images -3", 1)),
        ("--rounds", 0, ("--rounds 0", 1)),
        ("--batch-size", 0, ("--batch-size 0", 1)),
        ("--workers", 0, ("--workers 0", 1)),
        ("--images", "no-such", ("/no-such",)),
        ("--images", "empty", ("/empty",)),
        ("--images", "bench/sources", ("/bench/sources",)),
        ("--plot", "bars.abc", ("--plot bars.abc", "'.abc'")),
        ("--plot", "bars", ("--plot bars", "''")),
        ("--plot", "no-such/bars.png", ("--plot no-such/bars.png", "No such file or directory")),
        ("--json", "no-such/a.json", ("--json no-such/a.json", "No such file or directory")),
        ("--json", "empty", ("--json empty", "Is a directory")),
        ("--folder", "file/bench", ("/file/bench", "Not a directory")),
        ("--folder", "somebodys", ("/somebodys",)),
    ],
)
def test_what_cannot_be_done_is_said_before_the_work(
    option: str, value: object, text: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if option == "--plot":
        pytest.importorskip("matplotlib", reason="only a chart needs matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "make_sources", None)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "somebodys" / "sources").mkdir(parents=True)
    assert_says(refused(capsys, "--folder", "bench", option, value), *text)


def test_a_file_that_could_be_written_is_not_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "a.json"
    refused(capsys, "--folder", tmp_path / "bench", "--images", tmp_path / "no-such", "--json", results)
    command._check_writable("--json", str(results))
    assert not results.exists()
    results.write_text("kept")
    command._check_writable("--json", str(results))
    assert results.read_text() == "kept"


def test_a_chart_without_matplotlib_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert_says(refused(capsys, "--folder", tmp_path / "bench", "--plot", tmp_path / "bars.png"), "bars.png")


def test_an_error_of_the_system_is_printed_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/a/file")

    monkeypatch.setattr(command, "make_sources", fail)
    assert main(["bench", "--folder", str(tmp_path / "bench")]) == 1
    assert_says(capsys.readouterr().err.splitlines()[-1], "/a/file", "Permission denied")


@pytest.mark.slow
def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"a": 3})
    broken = next((tmp_path / "photos" / "a").iterdir())
    broken.write_bytes(b"no image")
    for _ in range(2):
        with raises(SourceError, broken):
            photos.make_sources(str(tmp_path / "sources"), str(tmp_path / "photos"), 3, 1)


def test_a_folder_is_made_once_for_the_same_content(tmp_path: Path) -> None:
    folder, made = tmp_path / "folder", []

    def make(name: str) -> None:
        folder.mkdir()
        (folder / name).touch()
        made.append(name)

    for content in ("one", "one", "two", "one"):
        make_once(str(folder), content, partial(make, content))
        assert [path.name for path in folder.iterdir()] == [content]
    assert made == ["one", "two", "one"]
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    make_once(str(folder), "one", partial(make, "again"))
    assert made[-1] == "again"


def test_a_folder_whose_making_was_interrupted_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    make_once(str(folder), "one", folder.mkdir)

    def interrupted() -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once(str(folder), "two", interrupted)
    make_once(str(folder), "one", folder.mkdir)
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_sources_of_another_count_or_of_other_images_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("photos", 4), ("others", 3)):
        write_photos(tmp_path / name, {"a": count})
    monkeypatch.chdir(tmp_path)
    found = []
    for images, count in (("photos", 12), ("photos", 11), ("others", 11)):
        sources = photos.make_sources("sources", images, count, 1)
        found.append(np.load(os.path.join(sources["R"], "images.npy")))
        assert [sum(len(names) for _, _, names in os.walk(sources[table])) for table in "JN"] == [count] * 2
    assert [len(entry) for entry in found] == [12, 11, 11]
    assert not np.array_equal(found[1], found[2])
    # A path below another folder is another folder.
    monkeypatch.setattr(photos, "ProcessPool", None)
    photos.make_sources("sources", str(tmp_path / "others"), 11, 1)
    (tmp_path / "below").mkdir()
    assert photos.describe("others", 11) == f"11 {tmp_path / 'others'}"


def setting(folder: Path, *names: str, num_images: int = 30, images: str | None = None) -> Setting:
    return Setting(str(folder), images, num_images, 8, 2, 2, names or None)


def quiet(text: str) -> None:
    """Instead of a word on what is done now."""


def test_a_store_is_written_anew_for_other_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def run(name: str, command: object, job: dict, *_: object) -> None:
        assert not os.path.exists(job["store"])
        assert not os.path.exists(f"{job['store']}.made")
        os.makedirs(job["store"])
        written.append(job["table"])

    monkeypatch.setattr(reading, "run_once", run)
    monkeypatch.chdir(tmp_path)
    ours = roster.contestant("kseq", "R")
    for number, images in ((30, None), (30, None), (29, None), (29, "a"), (29, str(tmp_path / "a")), (29, "b")):
        reading.prepare(ours, "R", setting(tmp_path, num_images=number, images=images), "", quiet)
    assert len(written) == 4


@pytest.mark.slow
def test_a_store_holds_nothing_of_a_writing_that_was_interrupted(folder: Path, tmp_path: Path) -> None:
    stale = tmp_path / "stores" / "kseq_shards-R-png"
    write_photos(stale, {"class0": 1})
    _, job = reading.prepare(roster.contestant("kseq", "R"), "R", setting(tmp_path), str(folder / "sources" / "R"), quiet)
    assert len(kseq.ShardDataset(job["store"])) == 30


def script(tmp_path: Path, code: str) -> list[str]:
    path = tmp_path / f"script{len(list(tmp_path.iterdir()))}.py"
    path.write_text(code)
    return [sys.executable, str(path)]


def start(name: str, tmp_path: Path, code: str) -> Callable[[], Runner]:
    return partial(Runner, name, script(tmp_path, code), JOB, str(tmp_path))


JOB = {"table": "R", "action": "read"}
GOOD = """
import sys
print('{"ready": true}', flush=True)
for _ in sys.stdin:
    print('{"images": 10, "seconds": 2.0, "label_sum": 3}', flush=True)
"""


def test_contestants_take_turns_and_one_that_breaks_is_left_out(tmp_path: Path) -> None:
    rows = {name: Row(name) for name in ("good", "wrong", "broken")}
    starts = {
        "good": start("good", tmp_path, GOOD),
        "wrong": start("wrong", tmp_path, GOOD.replace("3}", "4}")),
        "broken": start("broken", tmp_path, "raise ValueError('no such thing')"),
    }
    take_turns(starts, 3, rows, {"images": 10, "label_sum": 3})
    assert rows["good"].rates == rows["wrong"].rates == [5.0] * 3
    assert (rows["good"].note, rows["wrong"].note[:23]) == ("", "not every sample once: ")
    assert rows["broken"].rates == []
    assert "ValueError: no such thing" in rows["broken"].note


def test_each_round_is_told_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(contest, "WATCH", contest.RoundWatch(lines.append))
    take_turns({"it": start("it", tmp_path, GOOD)}, 2, {"it": Row("it")}, {"images": 10, "label_sum": 3})
    assert re.fullmatch(r"round 1 of 2 in \d+ s: it 5; 1 more, about \d+ s", lines[0])
    assert re.fullmatch(r"round 2 of 2 in \d+ s: it 5", lines[1])


def test_a_run_that_is_stopped_keeps_the_rounds_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopping(contest.Runner):
        epochs = 0

        def epoch(self) -> dict[str, Any]:
            Stopping.epochs += 1
            if Stopping.epochs == 6:
                # The second contestant, in the round after the warm-up and one that counts.
                raise KeyboardInterrupt
            return super().epoch()

    watch = contest.RoundWatch()
    monkeypatch.setattr(contest, "WATCH", watch)
    rows = {name: Row(name) for name in ("one", "other")}
    runners = {name: partial(Stopping, name, script(tmp_path, GOOD), JOB, str(tmp_path)) for name in rows}
    take_turns(runners, 5, rows, {"images": 10, "label_sum": 3})
    assert {name: row.rates for name, row in rows.items()} == {"one": [5.0], "other": [5.0]}
    assert watch.stopped == "stopped in round 2 of 5: figures of 1"
    # Nothing else is begun.
    with pytest.raises(KeyboardInterrupt):
        start("later", tmp_path, GOOD)()


def test_a_run_that_is_stopped_prints_and_writes_what_it_has(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(*_: Any) -> Table:
        contest.WATCH.stopped, contest.WATCH.cause = "stopped in round 2 of 5: figures of 1", KeyboardInterrupt()
        return Table("plan", "a title", "images/s", [Row("kseq", [7.0])], "kseq")

    monkeypatch.setattr(planning, "measure_planning", measure)
    results = tmp_path / "results.json"
    words = ["bench", "--folder", str(folder), "--tables", "plan", "scale", "--json", str(results)]
    assert main(words) == 130
    printed = capsys.readouterr()
    assert "a title" in printed.out and "stopped in round 2 of 5" in printed.out
    assert [table["table"] for table in json.loads(results.read_text())["tables"]] == ["plan"]
    assert printed.err.splitlines()[-1] == "kseq: interrupted"


def test_what_a_run_takes_is_said_before_it_starts(tmp_path: Path) -> None:
    setting = Setting(str(tmp_path))
    everything = estimate(command._TABLES, setting)
    assert 30 << 30 < everything.num_bytes < 80 << 30
    assert 60 < everything.minutes < 600
    small = estimate(["J"], Setting(str(tmp_path), num_images=1000, names=("kseq",)))
    assert small.num_bytes < 1 << 30 and small.minutes < 2
    assert_says(" ".join(everything.lines), "hours", "GiB", "--tables", "Ctrl-C")


def test_a_disk_that_is_too_small_is_told(tmp_path: Path) -> None:
    lines = Estimate(minutes=5, num_bytes=10 << 30, num_bytes_there=1 << 30, num_bytes_free=8 << 30).lines
    assert_says(lines[0], "5 minutes", "10.0 GiB", "1.0 GiB", "8.0 GiB")
    assert "--folder" in lines[-1]


def test_each_round_is_checked_to_hold_every_sample(tmp_path: Path) -> None:
    rows = {"it": Row("it")}
    take_turns({"it": start("it", tmp_path, GOOD)}, 3, rows, {"images": 10, "label_sum": 4})
    assert rows["it"].rates == [5.0] * 3
    assert rows["it"].note == "not every sample once: {'label_sum': 3}, expected {'images': 10, 'label_sum': 4}"


def test_a_process_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "_PATIENCE", 0.5)
    with raises(ContestantError, "it", "0.5"):
        run_once("it", script(tmp_path, "import time; time.sleep(60)"), JOB, str(tmp_path))


def test_a_process_that_cannot_be_started_or_understood_is_an_error_of_its_own(tmp_path: Path) -> None:
    with raises(ContestantError, "it", "/no/python", "No such file or directory"):
        run_once("it", ["/no/python"], JOB, str(tmp_path))
    with raises(ContestantError, "it", "'hello'", "JSON"):
        run_once("it", script(tmp_path, "print('hello')"), JOB, str(tmp_path))


@pytest.mark.parametrize(
    ("code", "text"),
    [("#!/bin/sh\necho ensurepip is not; echo available; exit 1", ("ensurepip",)), ("", ())],
)
def test_where_no_environment_can_be_made_that_is_the_contestants_error(
    code: str, text: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(code)
    python.chmod(0o755 if code else 0o644)
    monkeypatch.setattr(sys, "executable", str(python))
    with raises(ContestantError, *text):
        environments.make_environment(str(tmp_path / "environment"), ["lmdb"])


# They need packages of Debian, or bring gigabytes along.
TOO_LARGE = {roster.FFCV, roster.DALI, "SPDL", "LitData", "MosaicML Streaming", "WebDataset"}


@pytest.mark.campaign
@pytest.mark.network
def test_every_contestant_that_is_not_too_large_has_rates_in_every_table_that_it_stands_in(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = sorted({contestant.name for contestant in roster.CONTESTANTS} - TOO_LARGE)
    results = tmp_path / "results.json"
    tables = ["--tables", "R", "RC", "J", "N"]
    arguments = ["bench", "--folder", str(tmp_path / "bench"), *SMALL, *tables, "--json", str(results)]
    assert main([*arguments, "--contestants", *names]) == 0
    for table in json.loads(results.read_text())["tables"]:
        assert {row["name"] for row in table["rows"]} == {
            contestant.name for contestant in roster.CONTESTANTS if table["table"] in contestant.tables
        } - TOO_LARGE
        for row in table["rows"]:
            assert (len(row["rates"]), row["note"]) == (2, ""), capfd.readouterr().out


@pytest.mark.campaign
def test_a_contestant_that_cannot_be_installed_has_a_row_with_pips_own_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    missing = roster.Contestant(
        "missing", "lmdb_records.py", ("R",), "lmdb", ("/no/such/file.whl",), pip_options=("--no-index",)
    )
    monkeypatch.setattr(reading, "CONTESTANTS", (roster.CONTESTANTS[0], missing))
    assert main(["bench", "--folder", str(folder), *SMALL, "--tables", "R"]) == 0
    (row,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("missing: ")]
    # Some versions of pip name the path, others the name of the file.
    assert "cannot be installed: ERROR: " in row
    assert "file.whl" in row


def table(**rates: list[float]) -> Table:
    rows = [Row(name, list(entry)) for name, entry in rates.items()]
    return Table("T", "a title", "images/s", rows, "kseq", [Goal("slow", 2), Goal("fast", 0.9)], ["a note"])


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    found = table(kseq=[10, 20, 60], slow=[5, 5, 10])
    assert found.ratio(found.rows[1]) == 4
    assert found.ratio(Row("none")) is None


def test_processor_time_is_compared_with_the_lowest_of_the_loaders() -> None:
    found = table(kseq=[100, 100], slow=[50, 50], fast=[130, 130])
    for row, cpu in zip(found.rows, ([0.5, 1.0], [1.0, 2.0], [0.4, 0.8]), strict=True):
        row.cpu = cpu
    found.cpu_goals = cpu_bars(["slow", "fast"])
    heads, fast, ours, slow = found.text().splitlines()[1:5]
    assert "CPU s per 1,000" in heads and "kseq takes" in heads
    assert fast.split()[-6:] == ["0.6", "1.25", "x", "1.1", "x,", "missed"]
    assert ours.endswith("0.75")
    assert slow.split()[-5:] == ["1.5", "0.5", "x", "1.1", "x"]
    assert found.as_json()["rows"][1]["our_cpu_by_this"] == 0.5


def test_all_rows_may_be_compared_with_a_reference() -> None:
    found = table(kseq=[100, 120], slow=[50, 60], fast=[150, 180])
    found.reference, found.goals, found.cpu_goals = "slow", [Goal("kseq", 1.5), Goal("fast", 3.5)], [Goal("kseq", 1)]
    for row, cpu in zip(found.rows, (2.0, 1.0, 0.5), strict=True):
        row.cpu = [cpu]
    fast, ours, slow = found.text().splitlines()[2:5]
    assert fast.split()[4:] == ["3", "x", "3.5", "x,", "missed", "0.5", "0.5", "x"]
    assert ours.split()[4:] == ["2", "x", "1.5", "x", "2", "2", "x", "1", "x,", "missed"]
    assert slow.split()[4:] == ["1"]
    assert found.as_json()["rows"][0]["by_the_reference"] == 2


def test_the_text_says_what_was_missed() -> None:
    lines = table(kseq=[100, 110, 120], slow=[50, 52, 54], fast=[130, 132, 150], other=[]).text().splitlines()
    assert lines[0] == "T  a title"
    assert [line.split()[0] for line in lines[2:]] == ["fast", "kseq", "slow", "other:", "a"]
    assert lines[2].endswith("0.8 x  0.9 x, missed")
    assert lines[4].split()[-4:] == ["2.12", "x", "2", "x"]
    assert lines[5] == "other: no figures"


def test_without_a_row_of_ours_nothing_is_compared_or_judged() -> None:
    for found in (table(slow=[50, 52], fast=[130]), table(kseq=[], slow=[50, 52], fast=[130])):
        text = found.text()
        assert "nan" not in text and "must be" not in text and "missed" not in text and "kseq is" not in text
        assert "NaN" not in json.dumps(found.as_json())


def test_times_stay_in_their_order_and_are_better_when_they_are_less() -> None:
    times = Table("T", "times", "ms", [Row("a", [5.0]), Row("b", [1.0])], "", [Goal("a", 4), Goal("b", 2)], less_is_better=True)
    lines = times.text().splitlines()
    assert lines[2].split() == ["a", "5", "5", "5", "under", "4,", "missed"]
    assert lines[3].split() == ["b", "1", "1", "1", "under", "2"]


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="only a chart needs matplotlib")
    plot([table(kseq=[10, 12], slow=[5, 6])], str(tmp_path / "bars.png"))
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


def test_a_chart_of_nothing_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="only a chart needs matplotlib")
    with raises(ArgumentError, tmp_path / "bars.png"):
        plot([table(kseq=[])], str(tmp_path / "bars.png"))


def test_a_table_that_fails_as_a_whole_leaves_the_others_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ContestantError("scale: ended with 1: no memory")

    monkeypatch.setitem(curves.CURVES, "scale", fail)
    assert main(["bench", "--folder", str(folder), *SMALL, "--tables", "scale", "R", "--contestants", "kseq"]) == 0
    printed = capfd.readouterr().out
    assert "scale  not measured\nkseq: scale: ended with 1: no memory\n" in printed
    assert "\nR  raw" in printed


def test_tables_of_kseq_alone_need_that_it_was_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reading, "take_turns", None)
    monkeypatch.setattr(fitting, "take_turns", None)
    monkeypatch.setattr(packing, "make_large_source", None)
    monkeypatch.setattr(curves, "CURVES", {})
    tables = ["P", "overlap", "processes", "cold", "scale", "plan", "start", "remote", "W"]
    assert main(["bench", "--folder", str(folder), *SMALL, "--tables", *tables, "--contestants", "plain memory copy"]) == 0
    printed = capfd.readouterr().out
    assert printed.count("nobody who was asked for takes part") == len(tables) + 2


def test_a_cold_epoch_that_fails_has_a_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def epoch(name: str, shuffle: bool | str, *_: object) -> float:
        if shuffle is True:
            raise ContestantError("it broke")
        return 0.5

    monkeypatch.setattr(curves, "_cold_epoch", epoch)
    monkeypatch.setattr(curves, "_drop_cache", quiet)
    found = curves._measure_cold(setting(folder), {"R": str(folder / "sources" / "R")}, quiet)
    assert [(row.note, len(row.rates)) for row in found.rows] == [("", 2), ("it broke", 0), ("", 2), ("", 2)]


@pytest.mark.campaign
def test_the_time_to_the_first_batch_is_told_for_each_backend_that_works(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = curves._script

    def run(name: str, job: dict, chosen: Setting, variables: dict[str, str]) -> dict:
        if variables["KERAS_BACKEND"]:
            raise ContestantError(f"no {variables['KERAS_BACKEND']}")
        return whole(name, job, chosen, variables)

    monkeypatch.setattr(curves, "_script", run)
    # In a folder of its own, so that the store is not there before.
    found = curves._measure_start(setting(tmp_path), {"R": str(folder / "sources" / "R")}, quiet)
    assert [row.name for row in found.rows if row.rates] == [
        "without Keras: import of kseq and opening",
        "without Keras: first batch",
        "without Keras: all",
    ]
    assert [row.note for row in found.rows if row.failed] == ["no tensorflow", "no jax", "no torch"]


def test_one_way_of_packing_that_fails_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise subprocess.CalledProcessError(1, "cp")

    monkeypatch.setattr(kseq, "pack", lambda *_, **__: None)
    monkeypatch.setattr(packing, "_copy", fail)
    monkeypatch.setattr(packing, "_decode", lambda *_: None)
    monkeypatch.setattr(packing, "make_large_source", lambda *_: "")
    keep, raw, large = packing.measure_packing(setting(tmp_path, "kseq"), {"J": "", "N": ""}, quiet)
    assert [bool(row.rates) for row in keep.rows] == [True, True, False]
    assert keep.rows[2].note == "Command 'cp' returned non-zero exit status 1."
    for table in (raw, large):
        assert {row.name: row.note for row in table.rows if row.note} == {"FFCV": "not asked for"}


def test_the_feeders_of_a_fit_are_those_that_were_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "take_turns", lambda *_: None)

    def rows(backend: str, *names: str) -> list[str]:
        return [row.name for row in fitting.measure_fit(backend, "small", setting(tmp_path, *names), {}, quiet).rows]

    ready = ["batches that numpy gathers", "ready-made batches"]
    unshuffled = "kseq, shuffle=False"
    assert rows("tensorflow") == ["kseq", "tf.data, TFRecord", "h5py by hand", unshuffled, *ready]
    assert rows("tensorflow", "h5py by hand", "LMDB") == ["h5py by hand", *ready]
    assert rows("jax", "kseq", "h5py by hand") == ["kseq", unshuffled, *ready]
    assert rows("jax", "h5py by hand") == []


def test_every_fit_reads_a_store_that_was_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(each: roster.Contestant, table: str, *_: object) -> tuple[list[str], dict]:
        return [], {"store": f"{each.script} {table} {each.options.get('encoding')}"}

    monkeypatch.setattr(fitting, "prepare", prepare)
    options = {}

    def run(name: str, command: object, job: dict, *_: object) -> object:
        options.update(job["options"])
        return job["store"]

    monkeypatch.setattr(fitting, "Runner", run)
    sources = {"R": "", "J": ""}

    def store(feeder: str, table: str) -> object:
        return fitting._start("it", "jax", setting(tmp_path), sources, quiet, feeder, table)

    assert store("kseq", "R") == "kseq_shards.py R None"
    # Keras's default is what is measured.
    assert "shuffle" not in options
    assert store("kseq, shuffle=False", "R") == "kseq_shards.py R None"
    assert options["shuffle"] is False
    assert store("kseq", "J") == "kseq_shards.py J jpeg"
    assert store("tf.data, TFRecord", "R") == "tfdata_tfrecord.py R None"
    assert store("h5py by hand", "R") == "h5py_by_hand.py R None"


@pytest.mark.campaign
def test_a_fit_reports_the_images_that_the_model_trained_on(folder: Path) -> None:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    begin = partial(fitting._start, backend=backend, setting=setting(folder), say=quiet, epochs=2)
    rows = {"it": Row("it")}
    start = partial(begin, "it", sources={"R": str(folder / "sources" / "R")})
    take_turns({"it": start}, 1, rows, {"images": 61})
    assert rows["it"].note == "not every sample once: {'images': 60}, expected {'images': 61}"


@pytest.mark.slow
def test_the_processor_time_of_a_contestant_holds_that_of_its_children(tmp_path: Path) -> None:
    burn = "end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    code = f"""
import multiprocessing, sys, time
def work(_):
    {burn.replace(chr(10), chr(10) + "    ")}
if __name__ == "__main__":
    alive = multiprocessing.get_context("spawn").Pool(1)
    alive.map(len, ["warm"])
    print('{{"ready": true}}', flush=True)
    for _ in sys.stdin:
        alive.map(work, [0])
        with multiprocessing.get_context("spawn").Pool(1) as ended:
            ended.map(work, [0])
            ended.close()
            ended.join()
        work(0)
        print('{{"images": 100, "seconds": 2.0, "label_sum": 3}}', flush=True)
"""
    rows = {"it": Row("it")}
    take_turns({"it": start("it", tmp_path, code)}, 1, rows, {"images": 100})
    # In seconds for 1,000 images; to start a process takes some as well.
    assert rows["it"].note == "" and 5.8 < rows["it"].cpu[0] < 40


def test_where_no_processor_time_is_told_there_is_no_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "listdir", fail)
    assert group_seconds(os.getpgrp()) is None
    rows = {"kseq": Row("kseq")}
    play = partial(contest.play_rounds, rounds=1, rows=rows, expected={"images": 10})
    with contest.warmed_up({"kseq": start_in(tmp_path, GOOD)}, rows) as runners:
        play(runners)
    assert (rows["kseq"].rates, rows["kseq"].cpu) == ([5.0], [])
    assert "CPU" not in Table("T", "a title", "images/s", list(rows.values()), "kseq").text()


def start_in(folder: Path, code: str) -> Callable[[], Runner]:
    """As `start`, where folders cannot be listed."""
    path = folder / "script.py"
    path.write_text(code)
    return partial(Runner, "kseq", [sys.executable, str(path)], JOB, str(folder))


def test_the_machine_does_what_its_processes_do() -> None:
    before, own = busy_seconds(), group_seconds(os.getpgrp())
    assert before is not None and own is not None
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert busy_seconds() - before > 0.2
    assert group_seconds(os.getpgrp()) - own > 0.29


def test_each_last_level_cache_counts_once(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    for core in cores:
        for level, size, sharing in ((1, "48K", str(core)), (3, "32M", f"{min(cores)}-{max(cores)}")):
            cache = tmp_path / f"cpu{core}" / "cache" / f"index{level}"
            cache.mkdir(parents=True)
            for name, text in (("level", str(level)), ("size", size), ("shared_cpu_list", sharing)):
                (cache / name).write_text(f"{text}\n")
    assert machine.cache_bytes(str(tmp_path)) == 32 << 20
    (tmp_path / f"cpu{min(cores)}" / "cache" / "index3" / "shared_cpu_list").write_text("another\n")
    assert machine.cache_bytes(str(tmp_path)) == (32 << 20) * min(2, len(cores))
    assert machine.cache_bytes(str(tmp_path / "none")) == 0


def test_ready_made_batches_are_larger_than_the_cache_that_is_known_or_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known, least in ((300 << 20, 300 << 20), (0, machine.ASSUMED_CACHE)):
        monkeypatch.setattr(reading, "cache_bytes", lambda known=known: known)
        assert reading.buffers_beyond_cache(setting(tmp_path)) * 8 * 224 * 224 * 3 > least
        assert len(reading.note_cached_source(setting(tmp_path))) == 1
        assert reading.note_cached_source(setting(tmp_path, num_images=5000)) == []


@pytest.mark.parametrize("beside", competition.COMPETITIONS, ids=lambda beside: beside.key)
def test_what_competes_runs_while_it_should(beside: competition.Competition) -> None:
    if beside.other_login and os.geteuid():
        with raises(ContestantError, "root"), competition.competing(beside):
            pass
        return
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = set(children.read_text().split())
    with competition.competing(beside):
        started = set(children.read_text().split()) - before
        assert len(started) == (0 if beside.steps is None else machine.usable_cores())
        for process in map(int, started):
            assert os.getpriority(os.PRIO_PROCESS, process) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + beside.steps)
            assert (os.stat(f"/proc/{process}").st_uid == os.geteuid()) is not beside.other_login
            # Of one session, niceness counts; of another login, the sessions share out the cores first.
            assert (os.getsid(process) == os.getsid(0)) is not beside.other_login
    assert set(children.read_text().split()) == before


def test_raw_photos_to_be_cropped_are_made_of_the_small_ones(folder: Path, tmp_path: Path) -> None:
    source = photos.make_raw_source(str(tmp_path), "RC", str(folder / "sources" / "J"), "30", 1)
    images, labels = (np.load(os.path.join(source, f"{name}.npy")) for name in ("images", "labels"))
    assert (images.shape, labels.tolist()) == ((30, 256, 256, 3), [number % 10 for number in range(30)])
    inner = np.load(folder / "sources" / "R" / "images.npy")
    near = [np.abs(cv2.resize(image, (224, 224)).astype(int) - own).mean() for image, own in zip(images, inner, strict=True)]
    assert max(near) < 12 < min(np.abs(images[0].astype(int) - other).mean() for other in images[1:])


def test_photos_of_ones_own_stay_as_they_are_in_table_d(folder: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"a": 5})
    (tmp_path / "photos" / "a" / "odd.png").write_bytes(cv2.imencode(".png", np.zeros((40, 40, 3), np.uint8))[1].tobytes())
    source = Path(photos.make_photo_source(str(tmp_path), str(tmp_path / "photos"), str(folder / "sources" / "N"), 10))
    laid = {path.name: path.read_bytes() for path in source.rglob("*.jpg")}
    native = {path.name: path.read_bytes() for path in (folder / "sources" / "N").rglob("*.jpg")}
    own = {path.read_bytes() for path in (tmp_path / "photos").rglob("*.jpg")}
    assert len(laid) == 10 and own < set(laid.values())
    assert sum(native[name] == data for name, data in laid.items()) == 5


@pytest.mark.campaign
def test_photos_are_fitted_alone_and_beside_jobs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = (competition.COMPETITIONS[0], competition.Competition("other", "beside another login", 0, other_login=True))
    monkeypatch.setattr(photo_fit, "COMPETITIONS", few)
    monkeypatch.setattr(photo_fit, "_ENCODINGS", ("raw",))
    monkeypatch.setattr(photo_fit.os, "geteuid", lambda: 1000)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    source = str(folder / "sources" / "N")
    alone, beside = photo_fit.measure_photo_fit(backend, setting(folder, "kseq"), source, quiet)
    assert [row.name for row in alone.rows] == ["kseq raw", "kseq raw, random crop", "image_dataset_from_directory"]
    assert all(len(row.rates) == len(row.cpu) == 2 and not row.note for row in alone.rows), alone.text()
    assert alone.ratio(alone.rows[0]) and alone.ratio(alone.rows[2]) == 1
    assert not any(row.rates for row in beside.rows) and "root" in beside.notes[0]


def test_sparse_shards_are_a_dataset_that_takes_no_room(tmp_path: Path) -> None:
    scale.make_sparse(str(tmp_path / "sparse"), 20, 5000)
    dataset = kseq.ShardDataset(tmp_path / "sparse", verify="never")
    assert len(dataset) == 100_000
    assert dataset.read([0, 99_999, 50_000])["image"].shape == (3, 8, 8, 3)
    assert sum(path.stat().st_blocks for path in (tmp_path / "sparse").iterdir()) * 512 < 20 * 40_000


@pytest.mark.campaign
def test_planning_a_table_is_told_in_seconds_and_memory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_FOLDERS", 3)
    monkeypatch.setattr(planning, "_FILES", 5)
    ballast = np.ones(100_000_000)
    found = planning.measure_planning(setting(tmp_path), {}, quiet)
    # The long tables have one round.
    assert [len(row.rates) for row in found.rows] == [2] * 9 + [1] * 6
    names = [row.name for row in found.rows]
    assert names[:3] == [f"CSV, 15 rows: {what}" for what in ("s", "s of the processor", "MB")]
    assert names[-1] == "Parquet, 150 rows, and a target: MB"
    assert {goal.name for goal in found.goals} < set(names)
    # Only Linux counts the memory of the program that was there before.
    if sys.platform == "linux":
        assert max(row.median for row in found.rows if row.name.endswith("MB")) < ballast.nbytes / 1e6


@needs_s3
@pytest.mark.campaign
def test_reading_from_a_store_is_measured_cold_warm_and_without_a_cache(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_READS", {1: 3, 4: 2})
    results, words = tmp_path / "results.json", ["--tables", "remote", "--json"]
    arguments = ["bench", "--folder", str(tmp_path / "bench"), *SMALL, "--num-images", "200", *words, str(results)]
    # So many that no shard is read as a whole.
    assert main(arguments) == 0
    warm, cold, behind, single = json.loads(results.read_text())["tables"]
    for table in (cold, behind):
        assert [row["name"] for row in table["rows"]] == ["fsspec.get", "kseq, all shards into the cache", "kseq, first epoch"]
        assert all(len(row["rates"]) == len(row["cpu_seconds_per_1000"]) == 2 and not row["note"] for row in table["rows"])
    assert [len(row["rates"]) for row in warm["rows"]] == [8, 8, 8]
    figures = {row["name"]: row["median"] for row in single["rows"]}
    assert figures["1 sample: requests for each"] == 1
    # Neighbours come with one request.
    assert 0 < figures["4 samples: requests for each"] <= 1
    assert {goal["times"] for goal in (*warm["goals"], *cold["goals"])} == {0.95, 0.8}
    assert os.listdir(tmp_path / "bench") == ["kseq-bench"]
    printed = capfd.readouterr().out
    assert "8 connections\n" in printed and "\nthe server takes" in printed


def test_a_store_that_cannot_be_started_is_a_table_that_says_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "_PACKAGES", ("no_such_package",))
    assert main(["bench", "--folder", str(tmp_path / "bench"), *SMALL, "--tables", "remote"]) == 0
    *_, title, row = capfd.readouterr().out.splitlines()
    assert title == "remote  not measured"
    assert_says(row, "no_such_package", "kseq[test]")


def test_the_distance_of_neighbours_tells_a_block_shuffle_from_a_full_one(folder: Path) -> None:
    store = str(folder / "stores" / "kseq_shards-R")
    assert 0.5 < curves._spread(30, store) < 1.6


def test_the_command_needs_a_backend_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--backends", "mxnet"])
    assert_says(capsys.readouterr().err.splitlines()[-1], "--backends", "'mxnet'")
    assert issubclass(ContestantError, (kseq.KseqError, RuntimeError)) and not issubclass(ContestantError, ArgumentError)


def test_the_time_and_memory_of_a_split_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, words in enumerate(([], ["--column", "--folds", "2"])):
        assert splits.main([str(tmp_path / f"sparse {number}"), "--shards", "3", "--rows", "2000", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "6,000 samples, labels in shards",
        *(shares := ["val=0.2, test=0.1, stratify=True", "val=0.2, test=0.1, stratify=False"]),
        "6,000 samples, labels in the index",
        *shares,
        "folds=2",
    ]
    assert all("s of one core, at most" in line for line in lines if ": " in line)


def test_a_system_that_cannot_end_contestants_is_refused_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "killpg")
    assert main(["bench", "--tables", "R", "--folder", str(tmp_path / "work")]) == 1
    assert_says(capsys.readouterr().err, "kseq bench", "Linux")
    assert not (tmp_path / "work").exists()
