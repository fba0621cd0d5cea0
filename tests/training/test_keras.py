"""What the steps of Keras really receive, on each backend: every sample once a pass, in the order that kseq says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import kseq
from tests.helpers.processes import RunPython

BACKENDS = ("tensorflow", "jax", "torch")
BUILT = ("built", "not built")
WORKERS = ("workers 0", "workers 1", "workers 2", "workers 4", "processes 2")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=BACKENDS)
def seen(request: pytest.FixtureRequest, numbered: Path, run_python: RunPython) -> dict[str, Any]:
    """What the scenarios of keras_scenarios.py recorded."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    done = run_python(
        "from tests.helpers import keras_scenarios; keras_scenarios.main()", numbered, backend=request.param, timeout=500
    )
    return json.loads(done.stdout.splitlines()[-1])


def batches(fit: dict[str, Any], phase: str = "train") -> list[list[int]]:
    return [ids for name, ids, _ in fit["records"] if name == phase]


def expected(seen: dict[str, Any], built: str, *epochs: int) -> list[list[int]]:
    return [ids for epoch in epochs for ids in seen[f"fits, {built}"]["expected"][str(epoch)]]


@pytest.mark.parametrize("built", BUILT)
def test_fit_receives_every_sample_once_a_pass(seen: dict[str, Any], built: str, numbered: Path) -> None:
    train = sorted(kseq.ShardDataset(numbered).split_ids("train").tolist())
    for name in ("plain", "validated", "shuffled"):
        found = batches(seen[f"fits, {built}"][name])
        for epoch in (found[:5], found[5:]):
            assert sorted(number for ids in epoch for number in ids) == train


@pytest.mark.parametrize("built", BUILT)
def test_fit_receives_the_batches_of_sample_ids_in_their_order(seen: dict[str, Any], built: str) -> None:
    fits = seen[f"fits, {built}"]
    assert batches(fits["plain"]) == expected(seen, built, 0, 1)
    assert batches(fits["validated"]) == expected(seen, built, 2, 3)
    assert expected(seen, built, 0) != expected(seen, built, 1)


@pytest.mark.parametrize("built", BUILT)
def test_labels_come_with_their_samples(seen: dict[str, Any], built: str, numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered)
    for _, ids, labels in seen[f"fits, {built}"]["validated"]["records"]:
        assert labels == dataset.read(ids)["label"].tolist()


@pytest.mark.parametrize("built", BUILT)
def test_fit_that_shuffles_receives_the_same_batches_in_another_order(seen: dict[str, Any], built: str) -> None:
    found = batches(seen[f"fits, {built}"]["shuffled"])
    for epoch, part in ((4, found[:5]), (5, found[5:])):
        assert sorted(part) == sorted(expected(seen, built, epoch))


@pytest.mark.parametrize("built", BUILT)
def test_says_once_that_keras_shuffles(seen: dict[str, Any], built: str) -> None:
    fits = seen[f"fits, {built}"]
    assert len(fits["shuffled"]["warnings"] + fits["shuffled again"]["warnings"]) == 1
    assert not any(fits[name]["warnings"] for name in ("plain", "validated", "stopped", "fewer steps"))


@pytest.mark.parametrize("built", BUILT)
@pytest.mark.parametrize(("broken", "after"), [("stopped", "after stopped"), ("failed", "after failed")])
def test_a_pass_that_breaks_off_is_begun_again(seen: dict[str, Any], built: str, broken: str, after: str) -> None:
    fits = seen[f"fits, {built}"]
    epoch = fits[broken]["epoch"]
    assert batches(fits[broken]) == expected(seen, built, epoch)[:2]
    assert batches(fits[after]) == expected(seen, built, epoch)
    assert fits[after]["epoch"] == epoch + 1


@pytest.mark.parametrize("built", BUILT)
def test_steps_per_epoch_equal_to_the_length_makes_passes_of_epochs(seen: dict[str, Any], built: str) -> None:
    fits = seen[f"fits, {built}"]
    first = fits["after failed"]["epoch"]
    assert batches(fits["equal steps"]) == expected(seen, built, first, first + 1)


@pytest.mark.parametrize("built", BUILT)
def test_steps_per_epoch_below_the_length_serve_every_sample_once_a_pass(seen: dict[str, Any], built: str) -> None:
    fits = seen[f"fits, {built}"]
    first = fits["equal steps"]["epoch"]
    found = batches(fits["fewer steps"])
    # Keras ends one of its epochs early where a pass ends within it, so that steps are lost, never samples.
    assert found == expected(seen, built, *range(first, first + 5))[: len(found)]
    assert len(found) >= 12


@pytest.mark.parametrize("built", BUILT)
def test_steps_per_epoch_above_the_length_end_with_the_pass(seen: dict[str, Any], built: str) -> None:
    found = batches(seen[f"fits, {built}"]["more steps"])
    assert found == expected(seen, built, 20, 21)[: len(found)]
    assert len(found) >= 5


@pytest.mark.parametrize("built", BUILT)
def test_a_sequence_of_one_batch_counts_its_passes_too(seen: dict[str, Any], built: str) -> None:
    short = seen[f"short, {built}"]
    assert batches(short["first"]) + batches(short["second"]) == short["expected"]
    assert short["second"]["epoch"] == 4


def test_the_order_is_the_same_on_every_backend_built_or_not(seen: dict[str, Any], numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered, "train")
    from kseq.ordering.epoch_order import Order

    order = Order(80, 16, True, 3)
    ids = [dataset.sample_ids(order.positions(epoch, number)).tolist() for epoch in (0, 1) for number in range(5)]
    assert expected(seen, "built", 0, 1) == expected(seen, "not built", 0, 1) == ids


@pytest.mark.parametrize("workers", WORKERS)
def test_fit_is_the_same_for_any_workers(seen: dict[str, Any], workers: str) -> None:
    assert seen[workers]["fit"]["records"] == seen["workers 0"]["fit"]["records"]
    assert batches(seen[workers]["fit"]) == expected(seen, "built", 0, 1)


@pytest.mark.parametrize("workers", WORKERS)
def test_validation_and_evaluate_read_the_split_in_its_order_every_time(
    seen: dict[str, Any], workers: str, numbered: Path
) -> None:
    ids = kseq.ShardDataset(numbered).split_ids("val").tolist()
    twice = [ids[:16], ids[16:]] * 2
    assert batches(seen[workers]["fit"], "val") == twice
    assert batches(seen[workers]["evaluate"], "val") == twice[:2]


@pytest.mark.parametrize("workers", WORKERS)
def test_predict_returns_its_rows_in_the_order_of_the_split(seen: dict[str, Any], workers: str) -> None:
    assert seen[workers]["predict"]["rows"] == 20
    assert seen[workers]["predict"]["in order"]


@pytest.mark.parametrize("workers", WORKERS)
def test_no_worker_is_left_after_close(seen: dict[str, Any], workers: str) -> None:
    assert seen[workers]["threads"] == []


def test_tensors_of_earlier_batches_keep_their_contents(seen: dict[str, Any]) -> None:
    assert seen["held"]
