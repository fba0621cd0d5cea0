"""Several processes, and several devices, that train together: on JAX, PyTorch and TensorFlow, in real processes."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from tests.helpers.rank_processes import run_ranks

pytestmark = pytest.mark.slow

EPOCHS = 2
Found = dict[str, Any]


def start(program: str, world: int, backend: str, path: Path, factory: pytest.TempPathFactory) -> list[Found]:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    return run_ranks(program, path, factory.mktemp(program), world, backend=backend)


@pytest.fixture(scope="module")
def jax_pair(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    return start("jax_processes", 2, "jax", numbered, tmp_path_factory)


@pytest.fixture(scope="module")
def jax_devices(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    return start("jax_devices", 1, "jax", numbered, tmp_path_factory)[0]


@pytest.fixture(scope="module")
def torch_pair(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    return start("torch_processes", 2, "torch", numbered, tmp_path_factory)


@pytest.fixture(scope="module")
def tf_pair(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    return start("tf_workers", 2, "tensorflow", numbered, tmp_path_factory)


@pytest.fixture(scope="module")
def tf_mirrored(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    return start("tf_mirrored", 1, "tensorflow", numbered, tmp_path_factory)[0]


def global_batches(path: Path, **arguments: Any) -> list[list[int]]:
    """The samples of each batch of one rank, epoch after epoch, in no order within a batch."""
    with kseq.Batches(path, "train", seed=3, rank=0, world_size=1, **arguments) as batches:
        return [sorted(batches.sample_ids(epoch, n).tolist()) for epoch in range(EPOCHS) for n in range(len(batches))]


def joined(ranks: list[list[list[int]]]) -> list[list[int]]:
    """What all ranks together received in each step."""
    return [sorted(sample for share in shares for sample in share) for shares in zip(*ranks, strict=True)]


def received(found: Found) -> list[list[int]]:
    return [ids for ids, _ in found["records"]]


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


# JAX: processes that keras.distribution connects.


def test_processes_of_jax_get_the_batches_of_one_at_twice_the_size(jax_pair: list[Found], numbered: Path) -> None:
    fits = [found["fitted"] for found in jax_pair]
    assert [fit["rank"] for fit in fits] == [[0, 2], [1, 2]]
    assert {tuple(fit["remainders"]) for fit in fits} == {("drop", "pad")}
    assert joined([received(fit) for fit in fits]) == global_batches(numbered, batch_size=14, remainder="drop")
    assert all(fit["epochs"] == list(range(EPOCHS)) for fit in fits)
    left_out = [warning for found in jax_pair for warning in found["warnings"] if "10 of 80 samples are left out" in warning]
    assert left_out
    assert "remainder=" in left_out[0]


def test_processes_of_jax_train_as_one_does_and_all_have_its_figures(jax_pair: list[Found], jax_devices: Found) -> None:
    for kind, name in (("fitted", "dropped"), ("padded", "padded")):
        alone = jax_devices["alone"][name]
        for found in jax_pair:
            assert found[kind]["weights"] == jax_pair[0][kind]["weights"]
            assert_close(found[kind]["weights"], alone["weights"])
            # Padded or not, the figures are those of the validation's samples.
            assert_close(found[kind]["evaluated"], alone["evaluated"])
            assert_close(found[kind]["history"]["val_loss"], alone["history"]["val_loss"])
            assert_close(found[kind]["history"]["loss"], alone["history"]["loss"])


def test_padding_gives_each_rank_rows_of_weight_0_in_the_last_step_alone(jax_pair: list[Found], numbered: Path) -> None:
    weights = np.array([[weights for _, weights in found["padded"]["records"]] for found in jax_pair])
    # 2 ranks, 6 steps in each of 2 epochs, 7 rows; 4 of 84 rows only fill up.
    assert weights.shape == (2, 12, 7)
    assert (weights == 0).sum(axis=(0, 2)).tolist() == [0, 0, 0, 0, 0, 4] * 2
    assert set(weights.ravel().tolist()) == {0.0, float(np.float32(84 / 80))}
    ids = np.array([received(found["padded"]) for found in jax_pair])
    with kseq.ShardDataset(numbered, "train") as train:
        expected = sorted(train.sample_ids(np.arange(80)).tolist())
    for epoch in (slice(0, 6), slice(6, 12)):
        assert sorted(ids[:, epoch][weights[:, epoch] > 0].tolist()) == expected


def test_what_several_processes_of_jax_would_do_wrong_is_refused(jax_pair: list[Found]) -> None:
    for rank, found in enumerate(jax_pair):
        assert "keras.distribution.set_distribution" in found["not distributed"]
        assert f"process {rank} of 2 by keras.distribution" in found["made before"]
        assert "rank=0, world_size=1" in found["without ranks"]
        assert "remainder='pad'" in found["partial"]
        assert "auto_shard_dataset = False" in found.get("shared out by Keras", "auto_shard_dataset = False")
        for name in ("not distributed", "made before", "without ranks", "partial"):
            assert found[name].startswith("ArgumentError: <ShardSequence train>: ")
            assert "\n" not in found[name]


# JAX: one process with several devices.


def test_two_devices_of_one_process_divide_its_batches(jax_devices: Found, numbered: Path) -> None:
    assert (jax_devices["rank"], jax_devices["remainders"]) == ([0, 1], ["drop", "pad"])
    assert joined([received(jax_devices)]) == global_batches(numbered, batch_size=14, remainder="drop")
    alone = jax_devices["alone"]["dropped"]
    for name in ("weights", "evaluated"):
        assert_close(jax_devices[name], alone[name])
    assert "batch_size=7" in jax_devices["odd"]
    assert "remainder='pad'" in jax_devices["made before"]
    left_out = [warning for warning in jax_devices["warnings"] if "samples are left out" in warning]
    assert left_out
    assert all("devices" in warning and "ranks" not in warning for warning in left_out)
    # It would fail in mid-training, at the first batch that is smaller.
    assert "on_error='substitute'" in jax_devices["skipping"]


# PyTorch.


@pytest.mark.campaign
def test_processes_of_torch_in_a_loop_of_ones_own_train_as_one(torch_pair: list[Found], numbered: Path) -> None:
    assert [found["rank"] for found in torch_pair] == [[0, 2], [1, 2]]
    loops = [found["loop"] for found in torch_pair]
    assert joined([loop["ids"] for loop in loops]) == global_batches(numbered, batch_size=14, remainder="drop")
    assert loops[0]["weights"] == loops[1]["weights"]
    assert loops[0]["loss"] == loops[1]["loss"]


def test_keras_on_torch_trains_one_model_or_none(torch_pair: list[Found]) -> None:
    """From Keras 3.16 on it connects the processes of a process group; before, it would train a model in each."""
    for rank, found in enumerate(torch_pair):
        assert "before torch.distributed connected 2 processes" in found["made before"]
        assert_close(found["everything"], found["untrained"])
        if found["fit"]:
            assert found["fit"].startswith("ArgumentError: <ShardSequence train>: ")
            assert f"{rank} of 2 by torch.distributed" in found["fit"]
            assert found["evaluate"].startswith("ArgumentError: <ShardSequence val>: ")
            assert "rank=0, world_size=1" in found["evaluate"]
        else:
            assert found["fitted"]["weights"] == torch_pair[0]["fitted"]["weights"]
            assert_close(found["fitted"]["weights"], found["alone"]["weights"])
            assert_close(found["fitted"]["evaluated"], found["alone"]["evaluated"])


@pytest.mark.skipif(
    tuple(map(int, version("keras").split(".")[:2])) < (3, 16), reason="keras.distribution connects no processes of PyTorch"
)
def test_keras_distribution_on_torch_trains_as_one_process_does(
    numbered: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ranks = start("torch_distribution", 2, "torch", numbered, tmp_path_factory)
    # Whether Keras was told to share out once more, or not.
    for sharing in ("True", "False"):
        fits = [found[sharing]["fitted"] for found in ranks]
        assert [fit["rank"] for fit in fits] == [[0, 2], [1, 2]]
        assert joined([received(fit) for fit in fits]) == global_batches(numbered, batch_size=14, remainder="drop")
        for found, fit in zip(ranks, fits, strict=True):
            assert fit["epochs"] == list(range(EPOCHS))
            assert fit["weights"] == fits[0]["weights"]
            assert_close(fit["weights"], found["alone"]["weights"])
            assert_close(fit["evaluated"], found["alone"]["evaluated"])
            assert_close(found[sharing]["evaluated"]["untrained"], found["untrained"])
            assert found[sharing]["without ranks"].startswith("ArgumentError: <ShardSequence train>: rank=0, world_size=1")


# TensorFlow.


@pytest.mark.campaign
def test_workers_of_tensorflow_get_their_shares_in_a_loop_of_ones_own(tf_pair: list[Found], numbered: Path) -> None:
    assert [found["rank"] for found in tf_pair] == [[0, 2], [1, 2]]
    expected = global_batches(numbered, batch_size=14, remainder="drop")
    # `distribute_datasets_from_function` by kseq's ranks; `experimental_distribute_dataset` by TensorFlow.
    assert joined([found["by function"] for found in tf_pair]) == expected[:5]
    both = joined([found["by TensorFlow"] for found in tf_pair])
    assert both == expected[5:]
    assert tf_pair[0]["weights"] == tf_pair[1]["weights"]


def test_what_workers_of_tensorflow_would_do_wrong_is_refused(tf_pair: list[Found]) -> None:
    for found in tf_pair:
        assert "distribute_datasets_from_function" in found["shared out twice"]
        for name in ("fit", "evaluate"):
            assert found[name].startswith("ArgumentError: <ShardSequence train>: ")
            assert "MultiWorkerMirroredStrategy" in found[name]
            assert "20585" in found[name]
        assert found["fit outside"].startswith("ArgumentError: <ShardSequence train>: ")
        assert "TF_CONFIG" in found["fit outside"]


@pytest.mark.parametrize(("batch_size", "built"), [(14, "built"), (80, "not built")])
def test_two_devices_under_a_strategy_of_tensorflow_share_each_batch_of_each_epoch(
    tf_mirrored: Found, numbered: Path, batch_size: int, built: str
) -> None:
    found = tf_mirrored[f"{batch_size}, {built}"]
    assert (found["rank"], found["remainders"], found["epochs"]) == ([0, 1], ["keep", "keep"], [0, 1])
    parts = received(found)
    both = [sorted(one + other) for one, other in zip(parts[0::2], parts[1::2], strict=True)]
    assert both == global_batches(numbered, batch_size=batch_size)


def test_a_first_batch_that_a_strategy_of_tensorflow_cannot_divide_is_refused(tf_mirrored: Found) -> None:
    for name, size, way_out in (("odd", 7, "multiple of 2"), ("small", 5, "remainder='pad'")):
        assert tf_mirrored[name].startswith("ArgumentError: <ShardSequence ")
        for part in (f"{size} samples", "2 replicas", "MirroredStrategy", way_out):
            assert part in tf_mirrored[name]


# Evaluation on each backend: in batches of 7, 14 and 21 rows, of which only those of one process are not filled up.


def test_an_evaluation_has_the_same_figures_on_one_and_two_ranks_of_jax(jax_devices: Found, jax_pair: list[Found]) -> None:
    for found in jax_pair:
        assert_close(found["untrained"], jax_devices["untrained"])


def test_an_evaluation_has_the_same_figures_on_one_and_two_ranks_of_torch(torch_pair: list[Found]) -> None:
    assert_evaluated_together(torch_pair)


def test_an_evaluation_has_the_same_figures_on_one_and_two_workers_of_tensorflow(
    tf_pair: list[Found], tf_mirrored: Found
) -> None:
    assert_evaluated_together([*tf_pair, tf_mirrored])


@pytest.mark.campaign
def test_an_evaluation_has_the_same_figures_on_three_ranks_of_jax(
    jax_devices: Found, numbered: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    three = start("jax_evaluation", 3, "jax", numbered, tmp_path_factory)
    assert [found["rank"] for found in three] == [[rank, 3] for rank in range(3)]
    for found in three:
        assert_close(found["untrained"], jax_devices["untrained"])


@pytest.mark.campaign
@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_an_evaluation_has_the_same_figures_on_three_ranks(
    backend: str, numbered: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    three = start(f"{backend}_evaluation", 3, backend, numbered, tmp_path_factory)
    assert [found["rank"] for found in three] == [[rank, 3] for rank in range(3)]
    assert_evaluated_together(three)


def assert_evaluated_together(ranks: list[Found]) -> None:
    """All have, together, the loss and accuracy that Keras's `evaluate` has in one process."""
    for found in ranks:
        assert_close(found["together"], ranks[0]["untrained"])
        assert_close(found["untrained"], ranks[0]["untrained"])
