"""Reading needs no libhdf5: with h5py forbidden in every process, datasets open, train, verify and describe themselves."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import kseq
from kseq.ordering.epoch_order import Order
from kseq.processes import ProcessPool
from kseq.training.batch_maker import BatchMaker
from kseq.training.image_spec import ImageSpec
from kseq.training.loader import Loader
from tests.helpers.processes import RunPython

# Python imports a module of this name when it starts, in every process.
FORBID = """
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "h5py":
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Forbidden())
"""


@pytest.fixture
def without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbids h5py to every process that starts from now on."""
    (tmp_path / "sitecustomize.py").write_text(FORBID)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


READ = """
import sys, kseq, kseq_tools.main
dataset = kseq.ShardDataset(sys.argv[1], "train")
dataset.read(range(80)), dataset.values("label"), dataset.counts(), list(dataset.sources()), dataset.where(label="a")
assert kseq_tools.main.main(["info", sys.argv[1]]) == 0
assert kseq.verify(sys.argv[1]).damaged == []
try:
    import h5py
except AssertionError:
    print("done")
"""


def test_reading_info_and_verify_import_no_h5py(numbered: Path, run_python: RunPython, without_h5py: None) -> None:
    assert run_python(READ, numbered).stdout.splitlines()[-1] == "done"


def test_import_kseq_loads_neither_h5py_nor_pyfive(run_python: RunPython) -> None:
    code = "import sys, kseq, kseq_tools.main; print([name for name in ('h5py', 'pyfive') if name in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


def _loaded_after_filling(pickled: bytes) -> tuple[list[int], list[str]]:
    import sys

    maker = pickle.loads(pickled)
    arrays = {name: np.empty(spec.shape, spec.dtype) for name, spec in maker.specs(np.arange(100)).items()}
    maker.fill(arrays, 0, np.arange(100), 0)
    return arrays["label"].tolist(), [name for name in ("h5py", "pyfive") if name in sys.modules]


@pytest.mark.slow
def test_a_worker_process_fills_batches_from_all_shards_and_parses_no_file(numbered: Path) -> None:
    maker = BatchMaker(kseq.ShardDataset(numbered), ["image", "label"], ImageSpec(4, 4))
    with ProcessPool(1) as pool:
        labels, loaded = pool.submit(_loaded_after_filling, pickle.dumps(maker)).result()
    assert labels == [0] * 50 + [1] * 30 + [2] * 20
    assert loaded == []


TRAIN = """
import sys
import kseq
from kseq.ordering.epoch_order import Order
from kseq.training.batch_maker import BatchMaker
from kseq.training.image_spec import ImageSpec
from kseq.training.loader import Loader
if __name__ == "__main__":
    maker = BatchMaker(kseq.ShardDataset(sys.argv[1]), ["image", "label"], ImageSpec(4, 4))
    loader = Loader(maker, Order(100, 16), workers=2, use_multiprocessing=True)
    print(sum(len(loader.batch(0, number)["label"]) for number in range(7)))
    loader.close()
"""


@pytest.mark.slow
def test_worker_processes_import_no_h5py(numbered: Path, run_python: RunPython, without_h5py: None) -> None:
    assert run_python(TRAIN, numbered).stdout.split() == ["100"]


def test_an_index_that_was_changed_meanwhile_is_found_by_a_worker(packed: Path) -> None:
    maker = BatchMaker(kseq.ShardDataset(packed), ["image", "label"], ImageSpec(4, 4))
    pickled = pickle.dumps(maker)
    kseq.drop(packed, where={"label": "a"})
    assert _loaded_after_filling(pickled)[0][:3] == [0, 0, 0]


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.slow
def test_loaders_agree(numbered: Path, processes: bool) -> None:
    maker = BatchMaker(kseq.ShardDataset(numbered), ["image", "label"], ImageSpec(4, 4))
    loader = Loader(maker, Order(100, 100), workers=1, use_multiprocessing=processes)
    assert loader.batch(0, 0)["label"].tolist() == [0] * 50 + [1] * 30 + [2] * 20
    loader.close()
