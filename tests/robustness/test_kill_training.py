"""SIGKILL for trainings, which then go on; a hundred of them: `python tools/soak.py --kills 100`."""

from __future__ import annotations

import importlib.util

import pytest

from tests.robustness.kill_training import BACKENDS, run_backend

# For each backend others of the harder ones; the script has all of them everywhere.
BOUNDED = {
    "tensorflow": ["validated, 4 workers", "processes"],
    "jax": ["compiled, not built"],
    "torch": ["two fits, stopped early", "steps that divide a pass"],
}


@pytest.mark.campaign
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_training_that_is_killed_ends_with_the_same_samples_and_weights(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    result = run_backend(backend, BOUNDED[backend], kills=len(BOUNDED[backend]), minutes=4, seed=1)
    assert result["wrong"] == []
    assert sum(result["killed"].values()) >= len(BOUNDED[backend])
