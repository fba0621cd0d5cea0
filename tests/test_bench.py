"""The benchmark runs, tells what it found, and reports who could not take part."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import write_photos
from kseq_tools.bench import contest, curves, environments, photos, reading, roster, scale
from kseq_tools.bench.contest import ContestantError, Row, Runner, run_once, take_turns
from kseq_tools.bench.tables import Goal, Table, plot
from kseq_tools.main import main

import kseq
from kseq.errors import ArgumentError

BARE = ["bare decode of kseq's whole images", "bare decode of the whole files"]
OURS = ["kseq", "plain memory copy", "kseq, files as they are", *BARE]
SMALL = ["--num-images", "30", "--rounds", "2", "--batch-size", "8", "--workers", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the benchmark has worked in: photos, and kseq's store of table R."""
    path = tmp_path_factory.mktemp("bench")
    assert main(["bench", "--folder", str(path), *SMALL, "--tables", "R", "--contestants", "kseq"]) == 0
    return path


def test_the_reading_tables_are_measured_printed_and_written(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    results = folder / "results.json"
    arguments = ["bench", "--folder", str(folder), *SMALL, "--tables", "R", "J", "N", "--json", str(results)]
    assert main([*arguments, "--contestants", *OURS]) == 0
    printed = capfd.readouterr().out
    tables = json.loads(results.read_text())["tables"]
    assert [table["table"] for table in tables] == ["R", "J", "N"]
    assert [{row["name"] for row in table["rows"]} for table in tables] == [
        {"kseq", "plain memory copy"},
        {"kseq", "kseq, files as they are", *BARE},
        {"kseq", "kseq, files as they are", *BARE},
    ]
    for table in tables:
        for row in table["rows"]:
            assert len(row["rates"]) == 2, row
            assert not row["note"], row
            assert row["name"] in printed
    assert "2 threads" in printed and "images/s" in printed


def test_a_second_run_uses_the_stores_of_the_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "run_once", None)
    monkeypatch.setattr(photos, "process_pool", None)
    assert main(["bench", "--folder", str(folder), *SMALL, "--tables", "R", "--contestants", "kseq"]) == 0


def test_photos_may_be_ones_own(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"a": 5, "b": 4})
    sources = photos.make_sources(str(tmp_path / "sources"), str(tmp_path / "photos"), 30, 1)
    raw = np.load(os.path.join(sources["R"], "images.npy"))
    assert raw.shape == (30, 224, 224, 3)
    assert len({image.tobytes() for image in raw}) == 30
    for table in "JN":
        report = kseq.pack(sources[table], tmp_path / table, workers=0)
        assert (report.packed, report.found, len(report.class_names)) == (30, 30, 10)


def test_made_photos_are_about_three_bits_a_pixel(folder: Path, tmp_path: Path) -> None:
    kseq.pack(folder / "sources" / "N", tmp_path / "packed", workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    pixels = sum(sample["image"].shape[0] * sample["image"].shape[1] for sample in dataset)
    assert 2.5 < 8 * sum(len(dataset.stored_bytes(number)) for number in range(30)) / pixels < 4.5


def test_a_name_that_is_not_known_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--folder", str(tmp_path), "--contestants", "FFVC"]) == 1
    assert capsys.readouterr().err.startswith("kseq: --contestants 'FFVC': allowed are 'kseq', ")


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


def test_each_round_is_checked_to_hold_every_sample(tmp_path: Path) -> None:
    rows = {"it": Row("it")}
    take_turns({"it": start("it", tmp_path, GOOD)}, 3, rows, {"images": 10, "label_sum": 4})
    assert rows["it"].rates == [5.0] * 3
    assert rows["it"].note == "not every sample once: {'label_sum': 3}, expected {'images': 10, 'label_sum': 4}"


def test_a_process_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "_PATIENCE", 0.5)
    with pytest.raises(ContestantError, match=r"^it: no answer in 0.5 s$"):
        run_once("it", script(tmp_path, "import time; time.sleep(60)"), JOB, str(tmp_path))


def test_what_cannot_be_installed_is_reported_with_pips_own_line(tmp_path: Path) -> None:
    with pytest.raises(ContestantError, match=r"^cannot be installed: ERROR: .*no-such-file.whl"):
        environments.make_environment(str(tmp_path / "environment"), [str(tmp_path / "no-such-file.whl")], ["--no-index"])


def test_a_contestant_that_cannot_be_installed_has_a_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    missing = roster.Contestant("missing", "lmdb_records.py", "R", "lmdb", ("/no/such/file.whl",), pip_options=("--no-index",))
    monkeypatch.setattr(reading, "CONTESTANTS", (roster.CONTESTANTS[0], missing))
    assert main(["bench", "--folder", str(folder), *SMALL, "--tables", "R"]) == 0
    assert "missing: cannot be installed: ERROR: " in capfd.readouterr().out


def table(**rates: list[float]) -> Table:
    rows = [Row(name, list(each)) for name, each in rates.items()]
    return Table("T", "a title", "images/s", rows, "kseq", [Goal("slow", 2), Goal("fast", 0.9)], ["a note"])


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    found = table(kseq=[10, 20, 60], slow=[5, 5, 10])
    assert found.ratio(found.rows[1]) == 4
    assert found.ratio(Row("none")) is None


def test_the_text_says_what_was_missed() -> None:
    lines = table(kseq=[100, 110, 120], slow=[50, 52, 54], fast=[130, 132, 150], other=[]).text().splitlines()
    assert lines[0] == "T  a title"
    assert [line.split()[0] for line in lines[2:]] == ["fast", "kseq", "slow", "other:", "a"]
    assert lines[2].endswith("0.8 x  0.9 x, missed")
    assert lines[4].split()[-4:] == ["2.12", "x", "2", "x"]
    assert lines[5] == "other: no figures"


def test_times_stay_in_their_order_and_are_better_when_they_are_less() -> None:
    times = Table("T", "times", "ms", [Row("a", [5.0]), Row("b", [1.0])], "", [Goal("a", 4), Goal("b", 2)], less_is_better=True)
    lines = times.text().splitlines()
    assert lines[2].split() == ["a", "5", "5", "5", "under", "4,", "missed"]
    assert lines[3].split() == ["b", "1", "1", "1", "under", "2"]


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot([table(kseq=[10, 12], slow=[5, 6])], str(tmp_path / "bars.png"))
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


def test_sparse_shards_are_a_dataset_that_takes_no_room(tmp_path: Path) -> None:
    scale.make_sparse(str(tmp_path / "sparse"), 20, 5000)
    dataset = kseq.ShardDataset(tmp_path / "sparse", verify="never")
    assert len(dataset) == 100_000
    assert dataset.read([0, 99_999, 50_000])["image"].shape == (3, 8, 8, 3)
    assert sum(path.stat().st_blocks for path in (tmp_path / "sparse").iterdir()) * 512 < 20 * 40_000


def test_the_distance_of_neighbours_tells_a_block_shuffle_from_a_full_one(folder: Path) -> None:
    store = str(folder / "stores" / "kseq_shards-R")
    assert 0.5 < curves._spread(30, store) < 1.6


def test_the_command_needs_a_backend_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--backends", "mxnet"])
    assert "invalid choice: 'mxnet'" in capsys.readouterr().err
    assert issubclass(ContestantError, (kseq.KseqError, RuntimeError)) and not issubclass(ContestantError, ArgumentError)
