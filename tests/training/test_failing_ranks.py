"""A rank that fails tells the others, and all processes are gone soon afterwards: real ones, on each backend."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.messages import assert_says
from tests.helpers.rank_processes import Ended, end_ranks, run_ranks

pytestmark = pytest.mark.slow

# The program, Keras's backend, and the rank that fails.
PROGRAMS = {
    # The first has the service that connects all.
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


@pytest.mark.campaign
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_ranks_that_were_broken_off_go_on_at_the_same_place(
    backend: str, numbered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    program = f"resumed_{backend}"

    def run(folder: str) -> list[dict[str, Any]]:
        monkeypatch.setenv("KSEQ_TEST_CHECKPOINTS", str(tmp_path / folder))
        return run_ranks(program, numbered, tmp_path, 2, backend=backend)

    whole = run("whole")
    if "refused" in whole[0]:
        pytest.skip("this Keras does not connect processes of torch, which is refused, see test_several_processes")
    monkeypatch.setenv("KSEQ_TEST_CHECKPOINTS", str(tmp_path / "broken"))
    monkeypatch.setenv("KSEQ_TEST_FAILS", "8")
    end_ranks(program, numbered, tmp_path, 2, backend=backend)
    monkeypatch.delenv("KSEQ_TEST_FAILS")
    rest = run("broken")
    # 5 steps an epoch; the step after which one failed was kept, or not any more.
    first = rest[0]["steps"][0]
    assert first in ([1, 2], [1, 3])
    for one, other in zip(whole, rest, strict=True):
        assert other["steps"] == one["steps"][one["steps"].index(first) :]
        assert other["ids"] == one["ids"][len(one["ids"]) - len(other["ids"]) :]
        assert other["weights"] == one["weights"]
        assert other["epochs"] == one["epochs"] == [0, 1, 2]
