"""A rank that fails tells the others, and all processes are gone soon afterwards: real ones, on each backend."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.messages import assert_says
from tests.helpers.processes import RunPython
from tests.helpers.rank_processes import Ended, end_ranks, run_ranks

pytestmark = pytest.mark.slow

# The program, Keras's backend, and the rank that fails.
PROGRAMS = {
    # The first has the service that connects all.
    "failing_jax_first": ("jax", 0),
    "failing_torch": ("torch", 1),
    "failing_tensorflow": ("tensorflow", 1),
}
# Those of TensorFlow are told by TensorFlow itself, which a campaign looks at.
TOLD = [name for name in PROGRAMS if name != "failing_tensorflow"]


@pytest.fixture(scope="module")
def ended(numbered: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> list[Ended]:
    backend, _ = PROGRAMS[request.param]
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    return end_ranks(request.param, numbered, tmp_path_factory.mktemp(request.param), 2, backend=backend)


@pytest.mark.parametrize(
    "ended", [*TOLD, pytest.param("failing_tensorflow", marks=pytest.mark.campaign)], indirect=True, scope="module"
)
def test_all_ranks_leave_soon_after_an_error_in_one(ended: list[Ended]) -> None:
    assert all(process.code not in (None, 0) for process in ended), ended
    # Within 30 seconds, where the machine does little else.
    assert max(process.seconds for process in ended) < 60


@pytest.mark.parametrize(("ended", "failing"), [(name, PROGRAMS[name][1]) for name in TOLD], indirect=["ended"], scope="module")
def test_a_rank_is_told_which_other_one_failed_and_of_what(ended: list[Ended], failing: int) -> None:
    line = next(line for line in ended[1 - failing].stderr.splitlines() if line.startswith("kseq: "))
    assert_says(line, f"rank {failing} of 2", "FloatingPointError", "my own trouble", "epoch 1", f"rank {1 - failing}")


@pytest.mark.campaign
def test_a_rank_that_fails_before_its_first_batch_tells_the_others_too(numbered: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    first, last = end_ranks("failing_jax_early", numbered, tmp_path, 2, backend="jax")
    assert first.code not in (None, 0), first
    assert last.code not in (None, 0), last
    assert max(first.seconds, last.seconds) < 60
    line = next(line for line in first.stderr.splitlines() if line.startswith("kseq: "))
    assert_says(line, "rank 1 of 2", "DatasetNotFoundError", "-elsewhere", "rank 0")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_uses_no_connection_of_its_parent(run_python: RunPython, numbered: Path) -> None:
    code = """
import os, sys, types
import kseq
from kseq.training import rank_failures
# Stands for PyTorch, of which two processes would be needed.
connected = sys.argv[2] == "before"
sys.modules["torch.distributed"] = types.SimpleNamespace(
    is_available=lambda: True, is_initialized=lambda: connected, get_rank=lambda: 0, get_world_size=lambda: 2,
    distributed_c10d=types.SimpleNamespace(_get_default_store=lambda: types.SimpleNamespace(check=lambda names: False)),
)
child = os.fork()
connected = True
if child == 0:
    with kseq.Batches(sys.argv[1], "val", batch_size=4) as batches:
        batches.batch(0, 0)
        os._exit(rank_failures._watch is None)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_python(code, numbered, "before").stdout.split() == ["1"]
    # A child that is connected by itself is a rank.
    assert run_python(code, numbered, "after").stdout.split() == ["0"]


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


@pytest.mark.campaign
def test_a_run_that_was_broken_off_on_2_ranks_goes_on_on_3_with_the_global_batches_and_weights_of_1(
    numbered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    monkeypatch.setenv("KSEQ_TEST_CHECKPOINTS", str(tmp_path / "alone"))
    (alone,) = run_ranks("elastic_jax", numbered, tmp_path, 1, backend="jax")
    monkeypatch.setenv("KSEQ_TEST_CHECKPOINTS", str(tmp_path / "broken"))
    monkeypatch.setenv("KSEQ_TEST_FAILS", "7")
    end_ranks("elastic_jax", numbered, tmp_path, 2, backend="jax")
    monkeypatch.delenv("KSEQ_TEST_FAILS")
    rest = run_ranks("elastic_jax", numbered, tmp_path, 3, backend="jax")
    first = rest[0]["steps"][0]
    # 5 steps an epoch; the step after which one failed was kept, or not any more.
    assert first in ([1, 1], [1, 2])
    assert not any("a step had" in warning for found in rest for warning in found["warnings"])

    def counted(found: dict[str, Any]) -> list[list[int]]:
        return [[n for n, weight in zip(*step, strict=True) if weight] for step in found["records"]]

    shares = list(zip(*map(counted, rest), strict=True))
    assert {tuple(map(len, ranks)) for ranks in shares} == {(5, 5, 5)}
    together = [sorted(sample for share in ranks for sample in share) for ranks in shares]
    assert together == [sorted(ids) for ids in counted(alone)[-len(together) :]]
    for found in rest:
        assert found["epochs"] == alone["epochs"] == [0, 1, 2]
        np.testing.assert_allclose(found["weights"], alone["weights"], rtol=0, atol=1e-5)
        # Keras weighs a step by its rows: those of the epoch that was broken off had 16 at first, and then 15.
        losses = zip(found["history"]["loss"], alone["history"]["loss"], (1e-5, 0.1, 1e-5), strict=True)
        assert all(abs(one - other) < most for one, other, most in losses)
