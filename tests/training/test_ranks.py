"""Which process this is: given, or as the environment says. What libraries say is tried in test_several_processes.py."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import ArgumentError
from tests.helpers.messages import Parts, raises
from tests.helpers.processes import RunPython


def test_a_process_alone_is_0_of_1(numbered: Path) -> None:
    with kseq.Batches(numbered) as batches:
        assert (batches.rank, batches.world_size) == (0, 1)
    with kseq.Batches(numbered, rank="auto", world_size="auto") as batches:
        assert (batches.rank, batches.world_size) == (0, 1)
    with kseq.Batches(numbered, rank=0) as batches:
        assert (batches.rank, batches.world_size) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rank": "first"}, ("rank='first'", "'auto'", 0)),
        ({"world_size": "2"}, ("world_size='2'", "'auto'", 1)),
        ({"rank": 1.5, "world_size": 2}, ("rank=1.5",)),
        ({"rank": None}, ("rank=None",)),
        ({"rank": 2, "world_size": 2}, ("rank=2", 0, 1)),
        ({"rank": 0, "world_size": 0}, ("world_size=0", 1)),
        # Half of it is given, and nothing says the other half.
        ({"rank": 1}, ("rank=1", "0 of 1", "world_size")),
        ({"world_size": 2}, ("world_size=2", "0 of 1", "rank")),
    ],
)
def test_refuses_what_is_no_rank(numbered: Path, arguments: dict[str, Any], words: Parts) -> None:
    with raises(ArgumentError, *words):
        kseq.Batches(numbered, **arguments)


def test_a_copy_is_of_the_same_rank_wherever_it_is_made(numbered: Path, run_python: RunPython, tmp_path: Path) -> None:
    with kseq.Batches(numbered, "val", batch_size=7, rank=1, world_size=2) as batches:
        (tmp_path / "pickle").write_bytes(pickle.dumps(batches))
        expected = [batches.rank, batches.world_size, batches.remainder, batches.sample_ids(0, 0).tolist()]
    code = """
import json, os, pickle, sys
os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": ["a", "b", "c"]}, "task": {"type": "worker", "index": 0}})
batches = pickle.loads(open(sys.argv[1], "rb").read())
print(json.dumps([batches.rank, batches.world_size, batches.remainder, batches.sample_ids(0, 0).tolist()]))
"""
    assert json.loads(run_python(code, tmp_path / "pickle").stdout) == expected


WORKERS = {"worker": ["a:1", "b:1", "c:1"]}
CHIEF = {"chief": ["x:1"], "worker": ["a:1", "b:1"]}
# The environment, what else there is, and the rank and the world size, or the parts of a refusal.
ENVIRONMENTS: dict[str, tuple[dict[str, str], Any]] = {
    "nothing": ({}, [0, 1]),
    "a worker": ({"TF_CONFIG": json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 2}})}, [2, 3]),
    "the chief": ({"TF_CONFIG": json.dumps({"cluster": CHIEF, "task": {"type": "chief", "index": 0}})}, [0, 3]),
    "after the chief": ({"TF_CONFIG": json.dumps({"cluster": CHIEF, "task": {"type": "worker", "index": "1"}})}, [2, 3]),
    "an evaluator": ({"TF_CONFIG": json.dumps({"cluster": CHIEF, "task": {"type": "evaluator", "index": 0}})}, [0, 1]),
    "parameter servers": (
        {"TF_CONFIG": json.dumps({"cluster": {**CHIEF, "ps": ["p:1"]}, "task": {"type": "chief", "index": 0}})},
        [0, 1],
    ),
    "no cluster": ({"TF_CONFIG": "{}"}, [0, 1]),
    "empty": ({"TF_CONFIG": " "}, [0, 1]),
    "no JSON": ({"TF_CONFIG": "{cluster"}, ["TF_CONFIG", "{cluster", "rank and world_size"]),
    "no dict": ({"TF_CONFIG": "[1]"}, ["TF_CONFIG", "[1]", "rank and world_size"]),
    "torchrun, not connected": (
        {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "1"},
        ["torchrun", "2 processes", "init_process_group"],
    ),
    "torchrun, one process": ({"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "1", "RANK": "0"}, [0, 1]),
    "numbers of others": ({"WORLD_SIZE": "2", "RANK": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "3"}, [0, 1]),
    "two that disagree": (
        {"TF_CONFIG": json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 2}}), "OTHER": "0 of 2"},
        ["2 of 3 by tf.distribute", "0 of 2 by torch.distributed", "rank and world_size"],
    ),
    "two that agree": (
        {"TF_CONFIG": json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 2}}), "OTHER": "2 of 3"},
        [2, 3],
    ),
}


def test_the_environment_says_which_process_it_is(numbered: Path, run_python: RunPython) -> None:
    code = """
import json, os, sys, types
import kseq
from kseq.errors import ArgumentError
found = {}
for name, (environment, _) in json.loads(sys.argv[2]).items():
    os.environ.update(environment)
    if "OTHER" in environment:
        # Stands for PyTorch, of which two processes would be needed.
        rank, size = map(int, environment["OTHER"].split(" of "))
        sys.modules["torch.distributed"] = types.SimpleNamespace(
            is_available=lambda: True, is_initialized=lambda: True, get_rank=lambda: rank, get_world_size=lambda: size
        )
    try:
        with kseq.Batches(sys.argv[1], "val", batch_size=4) as batches:
            found[name] = [batches.rank, batches.world_size]
    except ArgumentError as error:
        found[name] = str(error)
    for key in environment:
        del os.environ[key]
    sys.modules.pop("torch.distributed", None)
loaded = [name for name in ("keras", "tensorflow", "jax", "torch") if name in sys.modules]
print(json.dumps([found, loaded]))
"""
    found, loaded = json.loads(run_python(code, numbered, json.dumps(ENVIRONMENTS)).stdout)
    assert loaded == []
    for name, (_, expected) in ENVIRONMENTS.items():
        if isinstance(expected[0], int):
            assert found[name] == expected, name
        else:
            assert isinstance(found[name], str), name
            assert all(part in found[name] for part in expected), found[name]
            assert "\n" not in found[name]
