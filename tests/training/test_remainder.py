"""What becomes of the samples that do not fill a batch on every rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from tests.helpers.photos import numbers_of


def read_epoch(source: Path, split: str, epoch: int = 1, **arguments: Any) -> tuple[list[int], list[int], list[float]]:
    """Rows per batch, the samples of all rows, and their weights."""
    with kseq.Batches(source, split, seed=3, **arguments) as batches:
        found = [batches.batch(epoch, number) for number in range(len(batches))]
        ids = [batches.sample_ids(epoch, number) for number in range(len(batches))]
        counted = [batches.is_counted(epoch, number) for number in range(len(batches))]
    for (images, *_), expected in zip(found, ids, strict=True):
        assert numbers_of(images).tolist() == expected.tolist()
    assert all(np.array_equal(batch[2] > 0, rows) for batch, rows in zip(found, counted, strict=True))
    return [len(rows) for rows in ids], np.concatenate(ids).tolist(), np.concatenate([batch[2] for batch in found]).tolist()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("ranks", "batch_size"), [(1, 7), (2, 7), (3, 9), (2, 80)])
def test_a_padded_epoch_has_every_sample_once_with_one_weight_and_repeats_with_none(
    numbered: Path, split: str, ranks: int, batch_size: int, workers: int
) -> None:
    arguments = {"batch_size": batch_size, "remainder": "pad", "world_size": ranks, "workers": workers}
    shares = [read_epoch(numbered, split, rank=rank, **arguments) for rank in range(ranks)]
    assert {tuple(sizes) for sizes, _, _ in shares} == {(batch_size,) * len(shares[0][0])}
    ids = np.array([sample for _, samples, _ in shares for sample in samples])
    weights = np.array([weight for _, _, share in shares for weight in share])
    expected = np.sort(kseq.ShardDataset(numbered).split_ids(split))
    assert np.array_equal(np.sort(ids[weights > 0]), expected)
    assert set(ids.tolist()) == set(expected.tolist())
    assert set(weights.tolist()) <= {0.0, float(np.float32(len(ids) / len(expected)))}
    assert weights.dtype == float
    assert np.isclose(weights.mean(), 1)


def test_padding_multiplies_the_weights_of_the_user(numbered: Path) -> None:
    ids = kseq.ShardDataset(numbered).split_ids("val")
    own = {"batch_size": 16, "remainder": "pad", "sample_weight": (ids + 1) / 10}
    _, samples, weights = read_epoch(numbered, "val", **own)
    assert samples[:20] == ids.tolist()
    assert np.allclose(weights[:20], (ids + 1) / 10 * 32 / 20)
    assert not any(weights[20:])


def test_weights_have_the_shape_of_the_losses_of_their_targets(tmp_path: Path) -> None:
    for number in range(10):
        pixels = np.full((6, 8, 3), number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        Image.fromarray(pixels[..., 0] % 3).save(tmp_path / f"{number}-mask.png")
    rows = [f"{number}.png,{number}-mask.png,{number % 2},{number}" for number in range(10)]
    (tmp_path / "t.csv").write_text("\n".join(["image,mask,label,worth", *rows]))
    columns = kseq.Columns(mask="mask", sample_weight="worth")
    images = kseq.ImageSettings("raw", (6, 8))
    kseq.pack(tmp_path / "t.csv", tmp_path / "packed", columns=columns, images=images, workers=0)
    worth = np.append(np.arange(10.0), [0] * 6)
    options = {"remainder": "pad", "batch_size": 8, "shuffle": False, "sample_weight": "sample_weight"}
    scaled = worth * 1.6
    with kseq.Batches(tmp_path / "packed", "all", targets="mask", **options) as batches:
        found = np.concatenate([weights for _, _, weights in batches.epoch(0)])
        assert (found.shape, found.dtype) == ((16, 6, 8), np.float32)
        assert np.allclose(found, scaled[:, None, None])
    named = {"pixels": "mask", "kind": "label"}
    with kseq.Batches(tmp_path / "packed", "all", targets=named, **options) as batches:
        weights = batches.batch(0, 1)[2]
        assert {name: array.shape for name, array in weights.items()} == {"pixels": (8, 6, 8), "kind": (8,)}
    with kseq.Batches(tmp_path / "packed", "all", targets={"kind": "label", "same": "label"}, **options) as batches:
        assert batches.batch(0, 0)[2].shape == (8,)


def test_batches_without_targets_say_which_rows_count(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, "val", batch_size=16, label_mode=None, remainder="pad") as sequence:
        batches = [sequence[number] for number in range(len(sequence))]
        counted = [sequence.is_counted(number) for number in range(len(sequence))]
        assert all(isinstance(batch, np.ndarray) and len(batch) == 16 for batch in batches)
        found = [numbers_of(batch[rows]).tolist() for batch, rows in zip(batches, counted, strict=True)]
    assert [sample for batch in found for sample in batch] == kseq.ShardDataset(numbered).split_ids("val").tolist()


@pytest.mark.filterwarnings("ignore:.*samples are left out")
@pytest.mark.parametrize(
    ("split", "arguments", "expected"),
    [
        ("train", {"world_size": 1}, "keep"),
        ("val", {"world_size": 1}, "keep"),
        ("train", {"world_size": 2}, "drop"),
        ("train", {"world_size": 2, "shuffle": "block"}, "drop"),
        ("train", {"world_size": 2, "balance": "class"}, "drop"),
        # Otherwise, the same samples would be left out in each epoch.
        ("train", {"world_size": 2, "shuffle": False}, "pad"),
        ("val", {"world_size": 2}, "pad"),
        ("val", {"world_size": 2, "shuffle": True}, "pad"),
        ("all", {"world_size": 2}, "pad"),
        ("train", {"world_size": 2, "remainder": "keep"}, "keep"),
        ("train", {"world_size": 1, "remainder": "drop"}, "drop"),
    ],
)
def test_the_default_leaves_out_only_others_in_each_epoch_of_several_processes(
    numbered: Path, split: str, arguments: dict[str, Any], expected: str
) -> None:
    with kseq.Batches(numbered, split, batch_size=8, rank=0, **arguments) as batches:
        assert batches.remainder == expected


@pytest.mark.filterwarnings("error")
def test_what_is_dropped_is_less_than_a_global_batch_and_another_in_each_epoch(numbered: Path) -> None:
    left_out = []
    with pytest.warns(UserWarning, match="17 of 80 samples are left out"):
        first = kseq.Batches(numbered, batch_size=7, rank=0, world_size=3)
    # One process says so, and none that was told to.
    shares = [first, *(kseq.Batches(numbered, batch_size=7, rank=rank, world_size=3) for rank in (1, 2))]
    kseq.Batches(numbered, batch_size=7, rank=0, world_size=3, remainder="drop").close()
    for epoch in range(4):
        ids = {int(sample) for share in shares for number in range(len(share)) for sample in share.sample_ids(epoch, number)}
        left_out.append(frozenset(kseq.ShardDataset(numbered).split_ids("train").tolist()) - ids)
    assert {len(samples) for samples in left_out} == {80 % 21}
    assert len(set(left_out)) == 4
    for share in shares:
        share.close()
