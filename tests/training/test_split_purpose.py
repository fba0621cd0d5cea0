"""Which splits are shuffled by default: those that are for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kseq
from kseq.training.split_purpose import is_for_training


@pytest.mark.parametrize(
    "split",
    ["train", "fold0-train", "a-train", "train2017", "trainval", "Training", "small", "train_small", "val-train"],
)
def test_is_for_training(split: str) -> None:
    assert is_for_training(split)


@pytest.mark.parametrize(
    "split",
    ["val", "test", "fold0-val", "a-test", "validation", "valid", "val2017", "val_small", "VAL", "valSmall", "dev", "held-out",
     "hold-out", "hold_out2", "testdev", "test-dev2017", "minival", "eval", "train-val", "test-a"],
)  # fmt: skip
def test_is_for_evaluation(split: str) -> None:
    assert not is_for_training(split)


def shuffles(path: Path | kseq.ShardDataset, split: str | None = None, **arguments: object) -> bool:
    """Whether batches come in another order in each epoch, as they say themselves."""
    with kseq.Batches(path, split, batch_size=4, **arguments) as batches:  # type: ignore[arg-type]  # any argument
        orders = [
            np.concatenate([batches.sample_ids(epoch, number) for number in range(len(batches))]).tolist() for epoch in range(2)
        ]
        found = orders[0] != orders[1]
        assert found == batches.shuffle == ("not shuffled" not in repr(batches))
        return found


def test_splits_of_a_dataset_are_shuffled_by_what_they_are_for(packed: Path) -> None:
    kseq.split(packed, folds=2)
    dataset = kseq.ShardDataset(packed)
    assert {split: shuffles(packed, split) for split in [*dataset.splits, "all"]} == {
        **{split: split.endswith("train") for split in dataset.splits},
        "all": False,
    }
    assert "fold0-train" in dataset.splits


def test_selections_are_shuffled_like_their_split(packed: Path) -> None:
    for split in ("train", "val", "all"):
        dataset = kseq.ShardDataset(packed, None if split == "all" else split)
        assert shuffles(dataset.where(label="a")) == (split == "train")
        assert shuffles(dataset.take(range(12))) == (split == "train")
        assert shuffles(dataset) == (split == "train")


def test_a_selection_of_all_samples_is_shuffled_if_each_is_a_training_sample(packed: Path) -> None:
    dataset = kseq.ShardDataset(packed)
    train, val = dataset.split_ids("train"), dataset.split_ids("val")
    assert shuffles(dataset.take(train[:40]))
    assert not shuffles(dataset.take([*train[:40], *val[:1]]))


def test_what_is_asked_for_counts_more(packed: Path) -> None:
    assert shuffles(packed, "val", shuffle=True)
    assert not shuffles(packed, "train", shuffle=False)
    assert shuffles(packed, "val", balance="class")
