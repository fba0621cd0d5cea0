"""Fields by their names, in trainings on each backend: names alone, dicts of one, weights, text, masks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import kseq
from tests.helpers.keras_names import CASES
from tests.helpers.processes import RunPython
from tests.training.test_keras import BACKENDS

pytestmark = pytest.mark.slow

COUNT = 12


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of two images, a mask, two numbers and a text."""
    rng = np.random.default_rng(6)
    samples = [
        {
            "photo": rng.integers(0, 255, (8, 8, 3), np.uint8),
            "above": rng.integers(0, 255, (8, 8, 3), np.uint8),
            "Lesion-Mask": rng.integers(0, 2, (8, 8), np.uint8),
            "height": number / COUNT,
            "width": 1 - number / COUNT,
            "words": "wörd " * (number % 4),
        }
        for number in range(COUNT)
    ]
    columns = kseq.Columns(image=["photo", "above"], mask="Lesion-Mask", targets=["height", "width"], text="words")
    target = tmp_path_factory.mktemp("named") / "packed"
    kseq.pack(samples, target, columns=columns, images=kseq.ImageSettings("raw", (8, 8)), workers=0)
    return target


def test_fields_are_called_like_their_columns(named: Path) -> None:
    assert sorted(kseq.ShardDataset(named).fields) == ["above", "height", "lesion_mask", "photo", "text", "width"]


@pytest.mark.parametrize(
    "backend", [BACKENDS[0], *(pytest.param(backend, marks=pytest.mark.campaign) for backend in BACKENDS[1:])]
)
def test_models_train_on_fields_named_in_every_way(named: Path, run_python: RunPython, backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = run_python("from tests.helpers import keras_names; keras_names.main()", named, backend=backend)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert [name for name, _, _ in found] == list(CASES)
    for name, losses, rows in found:
        assert np.isfinite(losses).all() and len(losses) == 2, name
        assert rows == COUNT, name
