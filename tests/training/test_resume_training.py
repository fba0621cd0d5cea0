"""Trainings that break off and go on: which samples their steps get, on each backend; what is refused."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import kseq
from kseq.errors import ArgumentError
from tests.helpers.messages import assert_says, raises
from tests.helpers.processes import RunPython
from tests.helpers.scenarios import Scenarios

BACKENDS = ("tensorflow", "jax", "torch")

pytestmark = pytest.mark.slow


# What differs between backends is looked at on each of them, the rest on others than the first in campaigns.
OF_BACKENDS = ("backup", "resume", "kinds", "loaded")
OF_ALL = ("initial_epoch", "damage", "elastic", "refusals")
on_one_backend = pytest.mark.parametrize(
    "seen",
    [BACKENDS[0], *(pytest.param(backend, marks=pytest.mark.campaign) for backend in BACKENDS[1:])],
    indirect=True,
    scope="module",
)


@pytest.fixture(scope="module", params=BACKENDS)
def seen(
    request: pytest.FixtureRequest, numbered: Path, tmp_path_factory: pytest.TempPathFactory, run_python: RunPython
) -> Scenarios:
    """What the scenarios of resume_scenarios.py found."""

    def words() -> list[object]:
        return [numbered, tmp_path_factory.mktemp(request.param)]

    # Where all of them run, one process does; on the other backends, the rest runs in campaigns alone.
    groups = [[*OF_BACKENDS, *OF_ALL]] if request.param == BACKENDS[0] else [OF_BACKENDS, OF_ALL]
    return Scenarios("resume_scenarios", words, groups, request.param, run_python)


@on_one_backend
@pytest.mark.parametrize("name", ["later", "again", "steps", "within", "chosen"])
def test_the_epoch_of_the_data_follows_initial_epoch_unless_it_was_set(seen: Scenarios, name: str) -> None:
    found = seen["initial_epoch"][name]
    assert found["steps"] == found["expected"]


def test_after_backup_and_restore_the_data_go_on_with_keras_and_the_next_fit_makes_its_steps(seen: Scenarios) -> None:
    for found in (seen["backup"]["restored"], seen["backup"]["a fit after it"]):
        assert found["steps"] == found["expected"]
    assert seen["backup"]["restored"]["warned"] == []


def test_backups_within_epochs_are_said_once_not_to_go_on_there(seen: Scenarios) -> None:
    found = seen["backup"]["within epochs"]
    assert len(found["warned"]) == 1
    assert_says(found["warned"][0], "BackupAndRestore(save_freq=2)", "kseq.ResumeTraining")
    assert found["warned again"] == []


@pytest.mark.parametrize("name", ["built", "not built"])
def test_a_training_that_broke_off_goes_on_with_the_very_next_samples_and_its_history(seen: Scenarios, name: str) -> None:
    found = seen["resume"][name]
    whole, first, rest = found["whole"], found["first"], found["rest"]
    assert whole["steps"] == found["expected"]
    # It broke off at step 8, before the checkpoint of that step; the one of step 7 is that of 2 in epoch 1.
    assert first["steps"] == found["expected"][:8]
    assert rest["steps"] == found["expected"][7:]
    assert rest["numbers"] == [2, 3, 4, 0, 1, 2, 3, 4]
    assert rest["history"] == whole["history"]
    assert (rest["epoch"], rest["warned"]) == (3, [])
    assert found["after"] == found["expected after"]


@pytest.mark.parametrize("name", ["validated on itself", "padded", "drawing"])
def test_whatever_a_training_does_the_rest_is_that_of_one_that_did_not_break_off(seen: Scenarios, name: str) -> None:
    if name not in seen["kinds"]:
        pytest.skip("tensorflow fetches batches ahead, and functions draw for them before a checkpoint is written")
    whole, rest = seen["kinds"][name]["whole"], seen["kinds"][name]["rest"]
    assert 0 < len(rest["steps"]) < len(whole["steps"])
    assert rest["steps"] == whole["steps"][-len(rest["steps"]) :]
    assert rest["history"] == whole["history"]
    assert rest["warned"] == []


def test_a_complete_training_trains_nothing_more_and_says_so_unless_there_are_more_epochs(seen: Scenarios) -> None:
    complete, more = seen["resume"]["complete"], seen["resume"]["more epochs"]
    assert complete["steps"] == []
    assert complete["history"]["epoch"] == [0, 1, 2]
    assert len(complete["warned"]) == 1
    assert_says(complete["warned"][0], "3 of 3", "another folder", "more epochs")
    assert more["steps"] == more["expected"]
    assert more["history"]["epoch"] == [0, 1, 2, 3]


def test_only_so_many_checkpoints_are_kept(seen: Scenarios) -> None:
    files = seen["resume"]["files"]
    assert len(files) == 3
    assert all(name.startswith("checkpoint-") for name in files)


@on_one_backend
@pytest.mark.parametrize("name", ["truncated", "changed", "empty"])
def test_a_damaged_checkpoint_is_passed_over_with_one_line(seen: Scenarios, name: str) -> None:
    found = seen["damage"][name]
    assert found["steps"] == found["expected"]
    assert len(found["warned"]) == 1
    assert_says(found["warned"][0], found["path"], "passed over")


@on_one_backend
@pytest.mark.parametrize("name", ["two ranks", "two larger", "three ranks", "larger", "smaller"])
def test_other_ranks_and_batches_go_on_with_the_same_order_and_each_sample_once(seen: Scenarios, name: str) -> None:
    elastic = seen["elastic"]
    fits = elastic[name]["fits"][::-1]
    served = [number for steps in zip(*(fit["steps"] for fit in fits), strict=True) for ids in steps for number in ids]
    assert served == [*elastic["rest"], *elastic["next"]]
    assert len({tuple(fit["numbers"]) for fit in fits}) == 1
    changed = "size" if name != "two ranks" else None
    assert all(len(fit["warned"]) == bool(changed) for fit in fits)


@on_one_backend
def test_a_rest_of_an_epoch_that_breaks_off_again_goes_on_too(seen: Scenarios) -> None:
    first, second = seen["elastic"]["twice"]["first"], seen["elastic"]["twice"]["second"]
    # The third step broke off before its checkpoint.
    served = [number for ids in [*first["steps"][:2], *second["steps"]] for number in ids]
    assert served == [*seen["elastic"]["rest"], *seen["elastic"]["next"]]


@on_one_backend
def test_another_order_is_refused_naming_what_differs_unless_told_otherwise(seen: Scenarios) -> None:
    refusals = seen["refusals"]
    expected = {"seed": ("seed", "3", "4"), "shuffle": ("shuffle", "True", "False"), "balance": ("order", "balance")}
    for name, parts in expected.items():
        error, message = refusals[name]
        assert error == "ArgumentError"
        assert_says(message, *parts, "on_change='warn'")
    told = refusals["seed, told otherwise"]
    assert told["steps"] == told["expected"]
    assert len(told["warned"]) == 1
    assert_says(told["warned"][0], "seed", "32", "epoch 0")


@on_one_backend
def test_what_has_no_place_is_refused(seen: Scenarios) -> None:
    for name, parts in {
        "around": ("Around", "ShardSequence"),
        "arrays": ("ShardSequence",),
        "alone": ("fit", "state_dict"),
    }.items():
        error, message = seen["refusals"][name]
        assert error == "ArgumentError"
        assert_says(message.replace("()", ""), *parts)


@on_one_backend
def test_another_model_is_refused(seen: Scenarios) -> None:
    error, message = seen["refusals"]["model"]
    assert error == "ArgumentError"
    assert_says(message, "model", "another folder")


def test_a_fit_goes_on_within_an_epoch_that_was_loaded(seen: Scenarios) -> None:
    found = seen["loaded"]["loaded"]
    assert found["steps"] == found["expected"]


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "steps", datetime.timedelta(0), None])
def test_every_is_steps_or_time_or_epochs(tmp_path: Path, every: Any) -> None:
    with raises(ArgumentError, f"every={every!r}", "timedelta", "'epoch'"):
        kseq.ResumeTraining(tmp_path, every=every)


@pytest.mark.parametrize("arguments", [{"keep": 0}, {"on_change": "ask"}])
def test_other_arguments_are_checked(tmp_path: Path, arguments: Any) -> None:
    ((name, value),) = arguments.items()
    with raises(ArgumentError, f"{name}={value!r}"):
        kseq.ResumeTraining(tmp_path, **arguments)
