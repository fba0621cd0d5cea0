"""A rank that fails tells the others, and all processes are gone soon afterwards: real ones, on each backend."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.helpers.messages import assert_says
from tests.helpers.rank_processes import Ended, end_ranks

pytestmark = pytest.mark.slow

# The program, Keras's backend, and the rank that fails.
PROGRAMS = {
    "failing_jax": ("jax", 1),
    "failing_jax_first": ("jax", 0),
    "failing_torch": ("torch", 1),
    "failing_tensorflow": ("tensorflow", 1),
}
# Those of TensorFlow are told by TensorFlow itself.
TOLD = [name for name in PROGRAMS if name != "failing_tensorflow"]


@pytest.fixture(scope="module")
def ended(numbered: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> list[Ended]:
    backend, _ = PROGRAMS[request.param]
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    return end_ranks(request.param, numbered, tmp_path_factory.mktemp(request.param), 2, backend=backend)


@pytest.mark.parametrize("ended", PROGRAMS, indirect=True, scope="module")
def test_all_ranks_leave_within_30_seconds_of_an_error_in_one(ended: list[Ended]) -> None:
    assert all(process.code not in (None, 0) for process in ended), ended
    assert max(process.seconds for process in ended) < 30


@pytest.mark.parametrize(("ended", "failing"), [(name, PROGRAMS[name][1]) for name in TOLD], indirect=["ended"], scope="module")
def test_a_rank_is_told_which_other_one_failed_and_of_what(ended: list[Ended], failing: int) -> None:
    line = next(line for line in ended[1 - failing].stderr.splitlines() if line.startswith("kseq: "))
    assert_says(line, f"rank {failing} of 2", "FloatingPointError", "my own trouble", "epoch 1", f"rank {1 - failing}")
