"""What the steps of Keras really receive, on each backend: every sample once a pass, in the order that kseq says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kseq
from tests.helpers.processes import RunPython
from tests.helpers.scenarios import Scenarios

BACKENDS = ("tensorflow", "jax", "torch")
# Each number of batches and each kind of model is in one of them; the other three pairs are for campaigns.
FEW_FITS = ("5 batches, built", "2 batches, not built", "1 batches, not built")
MORE_FITS = ("5 batches, not built", "2 batches, built", "1 batches, built")
FITS = [*FEW_FITS, *(pytest.param(name, marks=pytest.mark.campaign) for name in MORE_FITS)]
WORKERS = ("workers 0", "workers 1", "workers 2", "workers 4", "processes 2")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=BACKENDS)
def seen(request: pytest.FixtureRequest, numbered: Path, run_python: RunPython) -> Scenarios:
    """What the scenarios of keras_scenarios.py recorded."""
    groups = [[*FEW_FITS, "loops", "held", *WORKERS], MORE_FITS]
    return Scenarios("keras_scenarios", lambda: [numbered], groups, request.param, run_python)


def batches(fit: dict[str, Any], phase: str = "train") -> list[list[int]]:
    return [ids for name, ids, _ in fit["records"] if name == phase]


def passes(fits: str, *epochs: int) -> list[list[int]]:
    """Whole passes: epoch and number of each batch."""
    return [[epoch, number] for epoch in epochs for number in range(int(fits.split()[0]))]


# A name in keras_scenarios.py: the epochs of the passes, and the epoch that is next in the end.
WHOLE = {
    "plain": ((0, 1), 2),
    "goes on": ((2, 3), 4),
    "not shuffled by Keras": ((0, 1), 2),
    "looked at": ((0, 1), 2),
    "evaluated after a batch": ((0, 1), 2),
    "evaluated after each epoch": ((0, 1), 3),
    "predicted after a batch": ((0, 1), 2),
    "predicted after each epoch": ((0, 1), 3),
    "after stopped": ((0,), 1),
    "after failed": ((0,), 1),
    "equal steps": ((0, 1), 2),
    "more steps": ((0, 1), 2),
    "later epochs": ((0, 1), 2),
    "set within": ((0, 7), 7),
    "validated": ((0, 1, 2, 3), 4),
    "validated by itself": ((0, 1), 3),
    "several steps at once": ((0, 1), 2),
    "of a subclass, Doubled": ((0, 1), 2),
    "of a subclass, Looking": ((0, 1), 2),
    "of a subclass, Counting": ((0, 1), 2),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("fits", FITS)
def test_each_pass_of_a_fit_serves_its_epoch_in_order_and_the_next_follows(seen: Scenarios, fits: str, name: str) -> None:
    epochs, following = WHOLE[name]
    assert seen[fits][name]["train"] == passes(fits, *epochs)
    assert seen[fits][name]["epoch"] == following


@pytest.mark.parametrize("fits", FITS)
def test_a_subclass_says_by_its_length_how_many_batches_a_pass_has(seen: Scenarios, fits: str) -> None:
    length = max(1, int(fits.split()[0]) - 1)
    expected = [[epoch, number] for epoch in (0, 1) for number in range(length)]
    assert seen[fits]["of a subclass, Shorter"] == {"train": expected, "epoch": 2}


@pytest.mark.parametrize("fits", FITS)
def test_read_by_another_sequence_its_numbers_stay_and_each_pass_is_of_one_epoch(seen: Scenarios, fits: str) -> None:
    if fits in ("1 batches, not built", "2 batches, not built") and seen.backend != "tensorflow":
        pytest.skip("as many batches as Keras looks at through another Sequence, to build a model, are a pass")
    first, again = (seen[fits][f"another Sequence {name}"] for name in ("around it", "again"))
    size = len(passes(fits, 0))
    found = [*first["train"], *again["train"]]
    # Keras shuffles the numbers of the outer one.
    assert [sorted(found[start : start + size]) for start in range(0, len(found), size)] == [
        passes(fits, epoch) for epoch in range(3)
    ]
    assert (first["epoch"], again["epoch"]) == (2, 3)


# The passes of another model over the same Sequence, within a fit.
INNER = {
    "evaluated after a batch": (0, 1),
    "evaluated after each epoch": (1, 2),
    "predicted after a batch": (0, 1),
    "predicted after each epoch": (1, 2),
    "validated by itself": (1, 2),
}


@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("fits", FITS)
def test_evaluate_and_predict_within_a_fit_have_whole_passes_too(seen: Scenarios, fits: str, name: str) -> None:
    assert seen[fits][name]["inner"] == passes(fits, *INNER[name])


@pytest.mark.parametrize("fits", FITS)
@pytest.mark.parametrize("name", ["stopped", "failed"])
def test_a_pass_that_breaks_off_does_not_count_however_far_it_was_fetched(seen: Scenarios, fits: str, name: str) -> None:
    assert seen[fits][name] == {"train": [[0, 0]], "epoch": 0}


@pytest.mark.parametrize("fits", FITS)
def test_with_fewer_steps_a_pass_spans_several_epochs_of_keras(seen: Scenarios, fits: str) -> None:
    num_batches = int(fits.split()[0])
    found = seen[fits]["fewer steps"]
    # Two steps of five, two, and one: Keras ends its epoch with the pass. The fourth epoch begins a second pass.
    epochs, steps = {5: (2, 7), 2: (2, 4), 1: (4, 4)}[num_batches]
    assert found["train"] == passes(fits, *range(epochs))[:steps]
    assert found["epoch"] == steps // num_batches


@pytest.mark.parametrize("fits", FITS)
def test_a_fit_that_ends_within_a_pass_leaves_it_to_the_next_fit(seen: Scenarios, fits: str) -> None:
    is_whole = fits.startswith("1 ")
    assert seen[fits]["one step"] == {"train": [[0, 0]], "epoch": int(is_whole)}
    assert seen[fits]["after one step"] == {"train": passes(fits, int(is_whole)), "epoch": 1 + is_whole}


@pytest.mark.parametrize("fits", FITS)
def test_validation_reads_the_split_in_its_order_as_often_as_keras_says(seen: Scenarios, fits: str) -> None:
    num_batches = {"5": 2, "2": 1, "1": 1}[fits[0]]
    assert seen[fits]["validated"]["val"] == list(range(num_batches)) * 2


@pytest.mark.parametrize(("name", "following"), [("loop", 2), ("iterator", 2), ("thread", 2)])
def test_loops_of_ones_own_beside_a_fit_have_whole_passes_too(seen: Scenarios, name: str, following: int) -> None:
    found = seen["loops"][name]
    assert found["train"] == passes("5 batches", 0, 1)
    assert found["inner"] == [passes("5 batches", 0), passes("5 batches", 1)]
    assert found["epoch"] == following


def test_labels_come_with_their_samples(seen: Scenarios, numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered)
    for _, ids, labels in seen["workers 2"]["fit"]["records"]:
        assert labels == dataset.read(ids)["label"].tolist()


@pytest.mark.parametrize("workers", WORKERS)
def test_the_order_is_the_same_on_every_backend_and_without_keras(seen: Scenarios, numbered: Path, workers: str) -> None:
    with kseq.Batches(numbered, "train", batch_size=16, seed=3) as expected:
        ids = [expected.sample_ids(epoch, number).tolist() for epoch in (0, 1) for number in range(5)]
    assert batches(seen[workers]["fit"]) == ids
    assert seen[workers]["fit"]["warnings"] == []


@pytest.mark.parametrize("workers", WORKERS)
def test_fit_is_the_same_for_any_workers(seen: Scenarios, workers: str) -> None:
    assert seen[workers]["fit"]["records"] == seen["workers 0"]["fit"]["records"]


@pytest.mark.parametrize("workers", WORKERS)
def test_validation_and_evaluate_read_the_split_in_its_order_every_time(seen: Scenarios, workers: str, numbered: Path) -> None:
    ids = kseq.ShardDataset(numbered).split_ids("val").tolist()
    twice = [ids[:16], ids[16:]] * 2
    assert batches(seen[workers]["fit"], "val") == twice
    assert batches(seen[workers]["evaluate"], "val") == twice[:2]


@pytest.mark.parametrize("workers", WORKERS)
def test_predict_returns_its_rows_in_the_order_of_the_split(seen: Scenarios, workers: str) -> None:
    assert seen[workers]["predict"]["rows"] == 20
    assert seen[workers]["predict"]["in order"]


@pytest.mark.parametrize("workers", WORKERS)
def test_no_worker_is_left_after_close(seen: Scenarios, workers: str) -> None:
    assert seen[workers]["threads"] == []


def test_tensors_of_earlier_batches_keep_their_contents(seen: Scenarios) -> None:
    assert seen["held"]
