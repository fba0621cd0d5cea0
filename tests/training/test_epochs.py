"""The epoch number, from the very events that Keras 3.15.1 gives in each flow."""

from __future__ import annotations

import pytest

from kseq.training.epochs import EpochTracker


def play(tracker: EpochTracker, events: str) -> int:
    """Events by letter; returns the epoch at the end.

    n: `num_batches` is read; b: `on_epoch_begin`; e: `on_epoch_end`; a digit: this batch is served.
    """
    for event in events:
        if event.isdigit():
            tracker.on_batch_served(int(event))
        else:
            {"n": tracker.on_num_batches_read, "b": tracker.on_epoch_begin, "e": tracker.on_epoch_end}[event]()
    return tracker.epoch


# What a fit does before its first pass, and each pass, by backend. tensorflow looks at two batches outside any epoch.
FLOWS = {
    ("tensorflow", 3): ("nn01ne", "bnn012e"),
    ("tensorflow", 2): ("nn01ne", "bnn01e"),
    ("tensorflow", 1): ("nn0ne", "bnn0e"),
    ("jax, built", 3): ("nne", "bnn012ne"),
    ("jax, built", 1): ("nne", "bnn0ne"),
    ("torch, not built", 3): ("nbnn0ne", "bnn012ne"),
    ("torch, not built", 2): ("nbnn0ne", "bnn01ne"),
    ("torch, not built", 1): ("nbnn0ne", "bnn0ne"),
    ("jax on a gpu, not built", 2): ("nbnn01ne", "bnn01ne"),
}


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_rises_by_one_with_each_pass_of_a_fit(flow: tuple[str, int]) -> None:
    preview, one_pass = FLOWS[flow]
    tracker = EpochTracker(flow[1])
    for fit in range(3):
        assert play(tracker, preview) == 2 * fit
        assert play(tracker, one_pass) == 2 * fit + 1
        assert play(tracker, one_pass) == 2 * fit + 2


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_every_batch_of_a_pass_is_of_one_epoch(flow: tuple[str, int]) -> None:
    preview, one_pass = FLOWS[flow]
    tracker = EpochTracker(flow[1])
    play(tracker, preview)
    for epoch in range(3):
        found = []
        for event in one_pass:
            if event.isdigit():
                found.append(tracker.epoch)
                tracker.on_batch_served(int(event))
            else:
                play(tracker, event)
        assert found == [epoch] * flow[1]


def test_stays_after_a_pass_that_broke_off() -> None:
    tracker = EpochTracker(3)
    assert play(tracker, "nne" + "bnn01") == 0
    assert play(tracker, "nne" + "bnn012ne") == 1


def test_rises_once_in_a_pass_over_several_keras_epochs() -> None:
    tracker = EpochTracker(4)
    assert play(tracker, "nne" + "bnn01e" + "b23") == 0
    assert play(tracker, "ne") == 1


def test_counts_plain_loops_that_call_on_epoch_end() -> None:
    tracker = EpochTracker(3)
    assert [play(tracker, "012e") for _ in range(3)] == [1, 2, 3]


def test_does_not_count_a_batch_served_twice() -> None:
    assert play(EpochTracker(3), "001e") == 0


def test_counts_numbers_in_any_order() -> None:
    assert play(EpochTracker(3), "nnebnn201ne") == 1


def test_goes_on_from_an_epoch_that_was_set() -> None:
    tracker = EpochTracker(3)
    play(tracker, "nnebnn0")
    tracker.epoch = 7
    assert play(tracker, "nnebnn012ne") == 8
