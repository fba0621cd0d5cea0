"""`kseq doctor`: it names who is waited for, on set-ups that are slow on purpose, and what it cannot use in a line."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

import kseq
from kseq.training.batches_inside import arguments_of
from kseq_tools.commands import doctor
from kseq_tools.doctor.disk import measure_disk
from kseq_tools.doctor.examination import Examination, best_outcome, find_culprit
from kseq_tools.doctor.examination import examine as examination_of
from kseq_tools.doctor.report import as_json, as_text
from kseq_tools.doctor.stepping import RateStep, Stepping
from kseq_tools.doctor.trials import Outcome, Trial, _from_both_ends
from kseq_tools.main import main
from tests.helpers.messages import assert_says
from tests.helpers.paths import ROOT
from tests.helpers.preloaded import build_library
from tests.helpers.processes import kseq_command


def examine(*words: object, seconds: int = 15, **environment: str) -> tuple[dict[str, Any], str]:
    """What `kseq doctor --json` prints, and what it says before."""
    variables = dict(os.environ, PYTHONPATH=str(ROOT), TF_CPP_MIN_LOG_LEVEL="3", **environment)
    command = kseq_command("doctor", *words, "--seconds", seconds, "--json")
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def beside(dataset: Path) -> list[str]:
    return sorted(path.name for path in dataset.parent.iterdir())


# Three that are slow on purpose: what is slow takes a hundred times what anything else does.


@pytest.mark.slow
def test_large_jpegs_that_are_read_small_are_decoding_and_smaller_ones_are_proposed(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    kseq.pack([(simplejpeg.encode_jpeg(noise, 85), 0)] * 24, tmp_path / "large", workers=0)
    found, said = examine(tmp_path / "large", "--split", "all", "--input-shape", 32, 32, 3, "--rate", 5000)
    assert found["culprit"] == "decoding"
    assert found["best"]["name"].startswith("kseq pack --encoding")
    assert found["best"]["name"].endswith("--image-size 32 32")
    assert found["best"]["gain"] > 2
    assert found["best"]["num_bytes"] < found["num_bytes"]
    assert found["stepping"]["waiting_share"] > 0.5
    assert "15 s" in said
    # The sample that was packed otherwise is gone.
    assert beside(tmp_path / "large") == ["large"]


@pytest.mark.slow
def test_a_disk_that_sleeps_is_the_disk(numbered: Path, tmp_path: Path) -> None:
    library = build_library("slow_reads", tmp_path)
    words = (numbered, "--read", "pread", "--batch-size", 8, "--workers", 2, "--rate", 5000)
    found, _ = examine(*words, LD_PRELOAD=str(library), SLOW_READS="10")
    assert found["culprit"] == "reading"
    # Two readers, 10 ms for each call.
    assert found["disk_rate"] is None or found["disk_rate"] <= 2 / 0.01
    # The map, which the library does not slow down, or fewer calls.
    assert found["best"]["gain"] > 2
    assert found["stepping"]["waiting_share"] > 0.5


SCRIPT = """
import time
import kseq

def busy(sample, rng):
    start = time.thread_time()
    while time.thread_time() - start < 0.01:
        pass
    return {"image": sample["image"]}

def make_batches():
    return kseq.Batches(PATH, "train", batch_size=8, workers=2, augment=kseq.Compose(busy))

def make_model():
    import keras
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

def make_steps():
    return [kseq.ColorJitter(0.1), lambda images: images]

def make_nothing():
    return 7

def fail():
    raise RuntimeError("no such luck")

def make_wrong_model():
    import keras
    model = keras.Sequential([keras.Input((7,)), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model
"""


@pytest.fixture
def script(numbered: Path, tmp_path: Path) -> Path:
    path = tmp_path / "training_of_mine.py"
    path.write_text(SCRIPT.replace("PATH", repr(str(numbered))))
    return path


@pytest.mark.slow
def test_python_that_computes_is_the_augmentation_and_a_model_is_its_step(script: Path) -> None:
    pytest.importorskip("jax", reason="the model that is measured trains on JAX")
    words = ("--batches", f"{script}:make_batches", "--model", f"{script}:make_model")
    found, _ = examine(*words, seconds=15, KERAS_BACKEND="jax")
    assert found["culprit"] == "augmenting"
    assert found["seconds_per_thousand"]["augmenting"] >= 10
    # On a busy machine, there may be no time for processes, which is said.
    tried = [*found["cuts"], *(outcome["name"] for outcome in found["outcomes"])]
    assert any("use_multiprocessing" in name for name in tried)
    # Functions of the script are found in worker processes.
    assert not any(outcome["error"] for outcome in found["outcomes"])
    assert found["best"] is None or "kseq pack" not in found["best"]["name"]
    assert found["stepping"]["free"] < found["stepping"]["fed"]


@pytest.mark.slow
def test_a_step_that_is_slow_waits_for_nothing_and_nothing_is_tried(numbered: Path) -> None:
    found, _ = examine(numbered, "--batch-size", 4, "--rate", 8, "--workers", 2)
    assert found["culprit"] == "step"
    assert found["best"] is None
    assert found["outcomes"] == []


# What follows from the figures.

COSTS = kseq.InputStats(10, 1000, 1.0, 0.1, 3.0, 0.2, 0.1, 3.5)
EXAMINED = Examination(
    "flowers", "'flowers' train: 80 samples", 32, 2, False, COSTS, 600.0, 3.5, 4000.0, 1 << 30, 8 << 30, None, [], "", None
)  # fmt: skip


def examination(**changed: Any) -> Examination:
    return dataclasses.replace(EXAMINED, **changed)


@pytest.mark.parametrize(
    ("changed", "culprit"),
    [
        ({}, "decoding"),
        ({"costs": dataclasses.replace(COSTS, reading=9.0)}, "reading"),
        ({"costs": dataclasses.replace(COSTS, augmenting=9.0)}, "augmenting"),
        ({"costs": dataclasses.replace(COSTS, assembling=9.0)}, "assembling"),
        ({"stepping": Stepping(0.1, 0.102, 32)}, "step"),
        ({"stepping": Stepping(0.1, 0.2, 32)}, "decoding"),
        # What is in memory now will not be there when the rest of the collection has come by.
        ({"num_bytes": 9 << 30, "disk_rate": 100.0}, "reading"),
        ({"num_bytes": 9 << 30, "disk_rate": 1000.0}, "decoding"),
        ({"num_bytes": 9 << 30, "disk_rate": None}, "decoding"),
    ],
)
def test_who_is_waited_for(changed: dict[str, Any], culprit: str) -> None:
    assert find_culprit(examination(**changed)) == culprit


OUTCOMES = [
    Outcome("workers=4", 700, 1.05),
    Outcome("use_multiprocessing=True", 1300, 2.0),
    Outcome("read='pread'", None, None, "ValueError: no"),
    Outcome("jpeg", 1400, 2.2, num_bytes=1 << 20),
    Outcome("raw", 6000, 10.0, num_bytes=1 << 30),
]


@pytest.mark.parametrize(
    ("stepping", "outcomes", "name"),
    [
        (None, OUTCOMES, "raw"),
        # What is about as good and easier to change comes first.
        (None, OUTCOMES[:-1], "use_multiprocessing=True"),
        # The step takes no more than twice as much.
        (Stepping(0.1, 0.2, 32), OUTCOMES, "jpeg"),
        (Stepping(0.1, 0.15, 32), OUTCOMES, "use_multiprocessing=True"),
        (None, OUTCOMES[:1], None),
        (None, [], None),
    ],
)
def test_one_setting_is_named(stepping: Stepping | None, outcomes: list[Outcome], name: str | None) -> None:
    best = best_outcome(outcomes, stepping)
    assert (best.name if best else None) == name


@pytest.mark.parametrize("stepping", [None, Stepping(0.05, 0.1, 32)])
@pytest.mark.parametrize("culprit", ["step", "reading", "decoding", "augmenting", "assembling"])
@pytest.mark.parametrize("best", [None, OUTCOMES[-1]])
def test_a_report_fits_on_a_screen(stepping: Stepping | None, culprit: str, best: Outcome | None) -> None:
    found = examination(stepping=stepping, culprit=culprit, best=best, outcomes=OUTCOMES)
    text = as_text(found)
    assert len(text.splitlines()) < 24
    assert max(map(len, text.splitlines())) <= 100
    line = " ".join(text.split())
    assert_says(line, "flowers", "one thread", "2 threads", "decoding 3.00", "who is waited for", "change next", "1.0 GiB")
    if culprit != "step" and best is not None:
        assert_says(" ".join(text.splitlines()[-2:]), "change next: raw", "10.00 times")
    if stepping is not None:
        assert_says(line, "50.0 % of it waits", "2.00 times as fast")
    again = json.loads(json.dumps(as_json(found)))
    assert again["culprit"] == culprit
    assert again["seconds_per_thousand"]["decoding"] == 3.0


def test_the_disk_is_read_past_the_memory_or_not_at_all(numbered: Path, tmp_path: Path) -> None:
    with kseq.ShardDataset(numbered) as dataset:
        rate = measure_disk(dataset, 2, 0.05)
    assert rate is None or rate > 0


# What cannot be used.


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ("DATASET", "--batches")),
        (["nowhere", "--batches", "a.py:f"], ("DATASET", "--batches")),
        (["nowhere"], ("nowhere", "no such folder")),
        (["PATH", "--rate", "0"], ("--rate 0", "0")),
        (["PATH", "--rate", "nan"], ("--rate nan",)),
        (["PATH", "--seconds", "0.1"], ("--seconds 0.1", "1")),
        (["PATH", "--workers", "-1"], ("--workers", "-1")),
        (["PATH", "--split", "night"], ("night", "train")),
        (["PATH", "--model", "train"], ("--model", "'train'", "SCRIPT.py:FUNCTION")),
        (["PATH", "--model", "missing.py:make"], ("--model", "missing.py")),
        (["PATH", "--model", "SCRIPT:make_it"], ("--model", "make_it", "make_model")),
        (["PATH", "--model", "SCRIPT:fail"], ("--model", "RuntimeError", "no such luck")),
        (["PATH", "--model", "SCRIPT:make_nothing"], ("--model", "int", "Keras")),
        (["--batches", "SCRIPT:make_nothing"], ("--batches", "int", "ShardSequence")),
        (["--batches", "SCRIPT:make_batches", "--shuffle", "yes"], ("--shuffle", "--batches")),
        (["--batches", "SCRIPT:make_batches", "--workers", "0"], ("--workers", "--batches")),
        (["PATH", "--augment", "RandomFlip"], ("--augment 'RandomFlip'", "RandomFlip()")),
        (["PATH", "--augment", "RandomFlop()"], ("--augment 'RandomFlop()'", "RandomFlop")),
        (["PATH", "--augment", "pack('a', 'b')"], ("--augment", "pack")),
        (["PATH", "--augment", "RandomFlip(print(1))"], ("--augment", "print(1)")),
        (["PATH", "--augment", "RandomFlip(sideways=1)"], ("--augment", "sideways")),
        (["PATH", "--augment", "SCRIPT:fail"], ("--augment", "RuntimeError", "no such luck")),
        (["PATH", "--argument", "lay_out=keras"], ("--argument", "'lay_out=keras'", "layout")),
        (["PATH", "--argument", "layout"], ("--argument", "'layout'", "NAME=VALUE")),
        (["PATH", "--argument", "storage_options={'anon': True}"], ("--argument", "storage_options", "NAME=VALUE")),
        (["PATH", "--argument", "scale=1/0"], ("--argument", "'scale=1/0'", "division")),
        (["PATH", "--argument", "scale='1'*9"], ("--argument", "'1'")),
        (["PATH", "--argument", "layout=keras", "layout=None"], ("--argument", "layout", "twice")),
        (["PATH", "--shuffle", "no", "--argument", "shuffle=block"], ("--argument shuffle", "--shuffle")),
        (["PATH", "--argument", "layout=sideways"], ("layout", "sideways")),
        (["PATH", "--input-shape", "8", "8", "1"], ("--input-shape 8 8 1", 3)),
        (["PATH", "--input-shape", "0", "8", "3"], ("--input-shape 0", 1)),
    ],
)
def test_what_it_cannot_use_is_one_line(
    words: list[str], parts: tuple[str, ...], script: Path, numbered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [word.replace("SCRIPT", str(script)).replace("PATH", str(numbered)) for word in words]
    assert main(["doctor", *filled]) == 1
    *before, line = capsys.readouterr().err.splitlines()
    assert len(before) <= 1
    assert_says(line, *parts)


def test_the_examined_call_is_that_of_the_user(
    script: Path, numbered: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[kseq.Batches] = []

    def see(batches: kseq.Batches, *_: object) -> Examination:
        seen.append(batches)
        return examination(culprit="step")

    monkeypatch.setattr(doctor, "examine", see)
    words = ["--split", "val", "--shuffle", "block", "--augment", "kseq.RandomFlip()", "RandomResizedCrop((2, 3))"]
    words += [f"{script}:make_steps", "--argument", "scale=1/255", "dtype=float32", "layout=keras"]
    words += ["targets=label", "pad_to=None", "seed=7"]
    assert main(["doctor", str(numbered), *words]) == 0
    (batches,) = seen
    given = arguments_of(batches)
    assert (batches.split, batches.shuffle, given["scale"], given["seed"]) == ("val", "block", 1 / 255, 7)
    assert (given["layout"], given["targets"], given["pad_to"]) == ("keras", "label", None)
    assert [type(step).__name__ for step in given["augment"]] == ["RandomFlip", "RandomResizedCrop", "ColorJitter", "function"]
    assert batches.input_shape == (2, 3, 3)
    assert_says(" ".join(capsys.readouterr().out.split()), "change next")


def test_a_loader_that_is_slow_is_examined_in_the_time_that_is_given_and_what_is_cut_short_is_said(
    numbered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    num_loaded = itertools.count()

    def wait(sample: dict[str, Any], _: Any) -> dict[str, Any]:
        next(num_loaded)
        time.sleep(0.1)
        return {"image": sample["image"]}

    with kseq.Batches(numbered, batch_size=32, workers=2, augment=kseq.Compose(wait)) as batches:
        found = examination_of(batches, RateStep(1000.0), 2.0)
    # Two workers load 40 samples in 2 s; what is being loaded in the end is loaded.
    assert next(num_loaded) < 90
    assert found.cuts and found.seconds_for_all is not None and found.seconds_for_all > 2
    assert "not tried" in found.cuts[-1]
    _, *lines = as_text(found).splitlines()
    assert_says(" ".join(" ".join(lines).split()), "cut short", f"--seconds {found.seconds_for_all}", "not tried")
    assert max(map(len, lines)) <= 100
    assert as_json(found)["cuts"] == found.cuts


def test_a_step_of_whole_batches_that_load_slowly_is_measured_in_smaller_ones(numbered: Path) -> None:
    def wait(sample: dict[str, Any], _: Any) -> dict[str, Any]:
        time.sleep(0.05)
        return {"image": sample["image"]}

    with kseq.Batches(numbered, batch_size=32, workers=2, augment=kseq.Compose(wait)) as batches:
        found = examination_of(batches, lambda _: time.sleep(0.2), 2.0)
    assert found.stepping is not None
    assert "the step with loading" in found.cuts[0]
    assert found.stepping.batch_size == 32
    # Loading takes two workers 0.8 s a batch, and a step 0.2 s: no less, however busy the machine is.
    assert found.stepping.free > 0.15
    assert found.stepping.fed > 0.6


def test_what_was_not_tried_comes_from_the_middle() -> None:
    trials = [Trial(name, lambda _: kseq.Batches("nowhere")) for name in "abcde"]
    assert [trial.name for trial in _from_both_ends(trials)] == ["e", "a", "d", "b", "c"]


def test_a_script_that_fails_is_one_line(tmp_path: Path, numbered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken_script_of_mine.py").write_text("1 / 0")
    assert main(["doctor", str(numbered), "--model", f"{tmp_path}/broken_script_of_mine.py:make"]) == 1
    assert_says(capsys.readouterr().err.splitlines()[-1], "broken_script_of_mine.py", "ZeroDivisionError")
    (tmp_path / "ending_script_of_mine.py").write_text("import sys\nsys.exit(2)")
    assert main(["doctor", "--batches", f"{tmp_path}/ending_script_of_mine.py:make"]) == 1
    assert_says(capsys.readouterr().err.splitlines()[-1], "ending_script_of_mine.py", "__main__")


def test_batches_that_go_on_within_an_epoch_are_examined(
    tmp_path: Path, numbered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "resumed_script_of_mine.py").write_text(
        "import kseq\n"
        "def make():\n"
        f"    batches = kseq.Batches({str(numbered)!r}, batch_size=16, workers=0)\n"
        f"    batches.load_state_dict(kseq.Batches({str(numbered)!r}, batch_size=8).state_dict(2, 7))\n"
        "    return batches\n"
    )
    words = ["--batches", f"{tmp_path}/resumed_script_of_mine.py:make", "--rate", "200", "--seconds", "1"]
    assert main(["doctor", *words]) == 0
    assert "80 samples" in capsys.readouterr().out
