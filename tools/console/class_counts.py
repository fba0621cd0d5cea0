"""How many samples of each class a dataset's splits have now."""

from __future__ import annotations

import kseq
from kseq.arguments import path_text

from .text import shell_path

__all__ = ["all_classes_hint", "count"]


def count(path: str) -> kseq.SplitCounts:
    """What the splits of a dataset have now."""
    with kseq.ShardDataset(path_text("dataset", path)) as dataset:
        return dataset.counts()


def all_classes_hint(path: str) -> str:
    """Where the classes of a dataset are that a table folds."""
    return f"kseq info --classes {shell_path(path)} lists all"
