"""Whether samples are for training or for evaluation, from the name of their split."""

from __future__ import annotations

import re

import numpy as np

from kseq.reading.dataset import ShardDataset, sample_reader, selected_ids

__all__ = ["are_for_training", "is_for_training"]

_EVALUATION = frozenset(
    ("dev", "eval", "evaluation", "held", "heldout", "hold", "holdout", "minival", "test", "testdev", "testing", "tests", "val",
     "valid", "validation")
)  # fmt: skip
_TRAINING = frozenset(("train", "training", "trainval"))

# `val-small`, `val_small`, `val2017` and `valSmall` are named after `val`.
_WORDS = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def are_for_training(dataset: ShardDataset) -> bool:
    """Whether the samples of a dataset come in a new order each epoch by default.

    Those of a split and selections of it do if the split is for training; a selection of all samples does if each of them is in
    the split `train`; all samples do not.
    """
    if dataset.split not in (None, "all"):
        return is_for_training(dataset.split)
    selected = selected_ids(dataset)
    # The splits of concatenated datasets have sample ids of their own.
    if selected is None or "train" not in dataset.splits or sample_reader(dataset).collection.indexes[1:]:
        return False
    return bool(np.isin(selected, dataset.split_ids("train")).all())


def is_for_training(split: str) -> bool:
    """Whether a split is for training.

    One that is named after an evaluation (`val`, `fold0-val`, `validation`, `test2`, `dev`) is not, any other is: `train`,
    `fold0-train`, and names of one's own. If a name speaks of both, the last word counts.
    """
    words = [word.lower() for word in _WORDS.findall(split)]
    known = [word for word in words if word in _EVALUATION or word in _TRAINING]
    return not known or known[-1] in _TRAINING
