"""The epoch number, from the very events that Keras 3.15.1 gives in each flow."""

from __future__ import annotations

import pytest

from kseq.training.epochs import EpochTracker


def play(passes: EpochTracker, events: str) -> int:
    """Events by letter: o(pened), b(egun), e(nded), and a digit for each batch served; returns the epoch at the end."""
    for event in events:
        if event.isdigit():
            passes.served(int(event))
        else:
            {"o": passes.opened, "b": passes.begun, "e": passes.ended}[event]()
    return passes.epoch


# What a fit does before its first pass, and each pass, by backend. tensorflow looks at two batches outside any epoch.
FLOWS = {
    ("tensorflow", 3): ("oo01oe", "boo012e"),
    ("tensorflow", 2): ("oo01oe", "boo01e"),
    ("tensorflow", 1): ("oo0oe", "boo0e"),
    ("jax, built", 3): ("ooe", "boo012oe"),
    ("jax, built", 1): ("ooe", "boo0oe"),
    ("torch, not built", 3): ("oboo0oe", "boo012oe"),
    ("torch, not built", 2): ("oboo0oe", "boo01oe"),
    ("torch, not built", 1): ("oboo0oe", "boo0oe"),
    ("jax on a gpu, not built", 2): ("oboo01oe", "boo01oe"),
}


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_rises_by_one_with_each_pass_of_a_fit(flow: tuple[str, int]) -> None:
    before, each = FLOWS[flow]
    passes = EpochTracker(flow[1])
    for fit in range(3):
        assert play(passes, before) == 2 * fit
        assert play(passes, each) == 2 * fit + 1
        assert play(passes, each) == 2 * fit + 2


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_every_batch_of_a_pass_is_of_one_epoch(flow: tuple[str, int]) -> None:
    before, each = FLOWS[flow]
    passes = EpochTracker(flow[1])
    play(passes, before)
    for epoch in range(3):
        found = []
        for event in each:
            if event.isdigit():
                found.append(passes.epoch)
                passes.served(int(event))
            else:
                play(passes, event)
        assert found == [epoch] * flow[1]


def test_stays_after_a_pass_that_broke_off() -> None:
    passes = EpochTracker(3)
    assert play(passes, "ooe" + "boo01") == 0
    assert play(passes, "ooe" + "boo012oe") == 1


def test_rises_once_in_a_pass_over_several_keras_epochs() -> None:
    passes = EpochTracker(4)
    assert play(passes, "ooe" + "boo01e" + "b23") == 0
    assert play(passes, "oe") == 1


def test_counts_plain_loops_that_call_on_epoch_end() -> None:
    passes = EpochTracker(3)
    assert [play(passes, "012e") for _ in range(3)] == [1, 2, 3]


def test_does_not_count_a_batch_served_twice() -> None:
    assert play(EpochTracker(3), "001e") == 0


def test_counts_numbers_in_any_order() -> None:
    assert play(EpochTracker(3), "ooeboo201oe") == 1


def test_goes_on_from_an_epoch_that_was_set() -> None:
    passes = EpochTracker(3)
    play(passes, "ooeboo0")
    passes.epoch = 7
    assert play(passes, "ooeboo012oe") == 8
