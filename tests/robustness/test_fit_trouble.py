"""A `fit` in which something goes wrong, on each backend: an error that says all, in time, and a `fit` after it that works."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from kseq.storage.index import Index
from tests.helpers.messages import assert_says
from tests.helpers.processes import RunPython

BACKENDS = ("tensorflow", "jax", "torch")
THREADS, PROCESSES = ({"use_multiprocessing": processes, "workers": 2} for processes in (False, True))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def damaged(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The numbered dataset with a changed byte in the sample 18."""
    path = Path(shutil.copytree(numbered, tmp_path_factory.mktemp("damaged") / "packed"))
    location = Index.open(str(path)).entry(1).arrays["image"]
    with open(path / "shard-00001.h5", "r+b") as file:
        file.seek(location.offset + 2 * 48)
        file.write(b"\xff")
    return path


@pytest.fixture(
    scope="module",
    params=[BACKENDS[0], *(pytest.param(backend, marks=pytest.mark.campaign) for backend in BACKENDS[1:])],
)
def found(
    request: pytest.FixtureRequest,
    numbered: Path,
    damaged: Path,
    run_python: RunPython,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What the scenarios of trouble_scenarios.py found, and how the program ended."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp("trouble")
    code = "from tests.helpers import trouble_scenarios; trouble_scenarios.main()"
    done = run_python(code, numbered, damaged, folder, backend=request.param, timeout=300, check=False)
    scenarios, begun, *_ = (
        done.stdout.splitlines()[-2:] if done.stdout.count("\n") > 1 else pytest.fail(done.stdout + done.stderr)
    )
    end = {"code": done.returncode, "seconds": time.time() - float(begun), "stderr": done.stderr}
    return {**json.loads(scenarios), "end": end}


@pytest.mark.parametrize("how", [THREADS, PROCESSES], ids=["threads", "processes"])
def test_a_damaged_sample_ends_a_fit_with_an_error_that_names_it(
    found: dict[str, Any], how: dict[str, Any], damaged: Path
) -> None:
    fit = found[f"damaged, {how}"]
    assert "DamagedError" in fit["kinds"]
    assert fit["seconds"] < 100
    assert_says(fit["text"], damaged / "shard-00001.h5", "sample 18", "a/00018.png", "checksum", "batch 2", "epoch 0")
    assert fit["again"] == 1


@pytest.mark.parametrize("how", [THREADS, PROCESSES], ids=["threads", "processes"])
def test_an_error_of_an_augmentation_keeps_its_class_and_names_the_sample(
    found: dict[str, Any], how: dict[str, Any], numbered: Path
) -> None:
    fit = found[f"augmentation, {how}"]
    assert fit["error"] == "OwnError"
    assert fit["seconds"] < 100
    assert_says(
        fit["text"], "my augmentation failed", numbered / "shard-00001.h5", "sample 18", "a/00018.png", "batch 2", "epoch 0"
    )
    assert fit["again"] == 1


@pytest.mark.parametrize("name", ["function", "function of a batch"])
def test_an_error_of_a_function_keeps_its_class_and_names_batch_and_samples(
    found: dict[str, Any], name: str, numbered: Path
) -> None:
    assert found[name]["error"] == "OwnError"
    assert_says(found[name]["text"], "my function failed", "fails", "samples 0, 1, 2, 3, 4, 5, 6, 7", "batch 0", numbered)
    assert found[name]["again"] == 1


@pytest.mark.parametrize("name", ["evaluate", "predict", "validation"])
def test_evaluate_predict_and_validation_say_the_same(found: dict[str, Any], name: str) -> None:
    assert "DamagedError" in found[name]["kinds"]
    assert_says(found[name]["text"], "sample 18", "batch 2")


def test_nothing_that_keras_looked_at_is_kept_after_a_fit_that_broke_off(found: dict[str, Any]) -> None:
    assert {name: fit["looked"] for name, fit in found.items() if fit.get("looked")} == {}


@pytest.mark.parametrize("name", ["runs", "hangs"])
def test_one_ctrl_c_ends_a_fit_and_the_next_works(found: dict[str, Any], name: str) -> None:
    fit = found[f"Ctrl-C while it {name}"]
    assert fit["error"] == "KeyboardInterrupt"
    assert fit["seconds"] < 60
    assert fit["again"] == 1


def test_a_deadline_ends_a_fit_with_an_error_that_says_who_waits_for_what(found: dict[str, Any], numbered: Path) -> None:
    fit = found["deadline"]
    assert "ReadTimeoutError" in fit["kinds"]
    assert_says(fit["text"], numbered, "batch 7", "epoch 0", "58", "shard-00003.h5", "timeout=4")
    assert fit["again"] == 1


def test_a_fit_goes_on_though_a_sample_kills_every_worker_process_and_one_line_tells_it(found: dict[str, Any]) -> None:
    fit = found["killed"]
    assert fit["error"] == ""
    (line,) = fit["told"]
    assert_says(line, "SIGKILL", 9)


@pytest.mark.parametrize("on_error", ["skip", "substitute"])
def test_a_fit_goes_on_past_a_damaged_sample_if_that_is_said_and_tells_of_it_once_an_epoch(
    found: dict[str, Any], on_error: str
) -> None:
    fit = found[on_error]
    assert fit["error"] == ""
    for epoch, line in enumerate(fit["told"]):
        assert_says(line, f"epoch {epoch}", "sample 18", "a/00018.png", "checksum")
    assert len(fit["told"]) == 2


def test_of_sequences_that_are_dropped_nothing_is_left(found: dict[str, Any]) -> None:
    assert found["trials"]["alive"] == 0
    files = found["trials"]["files"]
    assert max(files[2:]) <= files[1], files


EXIT = """
import sys, time, keras, kseq
from tests.helpers.trouble_scenarios import OPTIONS, make_model

class Exit(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            print(time.time(), flush=True)
            sys.exit(3)

def slow(images):
    time.sleep(0.05)
    return images

train = kseq.ShardSequence(sys.argv[1], "all", **OPTIONS, augment=slow)
make_model().fit(train, verbose=0, callbacks=[Exit()])
"""


def test_a_program_that_exits_amid_a_fit_ends_at_once_and_without_a_word(numbered: Path, run_python: RunPython) -> None:
    """TensorFlow's threads would wait for Python's lock, and Python, at its end, for the threads."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed")
    done = run_python(EXIT, numbered, backend="tensorflow", timeout=100, check=False)
    assert done.returncode == 3
    assert time.time() - float(done.stdout) < 60
    assert "Traceback" not in done.stderr


def test_an_error_that_nobody_catches_is_printed_last_and_the_program_ends(found: dict[str, Any], damaged: Path) -> None:
    end = found["end"]
    assert end["code"] == 1
    assert end["seconds"] < 100
    last = end["stderr"].strip().splitlines()[-1]
    assert_says(last, "DamagedError", damaged / "shard-00001.h5", "sample 18", "a/00018.png", "batch 2", "epoch 0")
    assert end["stderr"].count("Traceback") == 1
