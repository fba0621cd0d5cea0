"""What a packed dataset holds, and quick ways to change one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kseq
from kseq.editing.transaction import begin_transaction
from kseq.storage.index import Index
from kseq.storage.index_writer import write_index
from tests.helpers.photos import numbers_of


def files(folder: Path) -> dict[str, bytes]:
    """The name and the bytes of each file in a folder; none where there is no folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def contents(path: Path) -> dict[str, list[tuple[bytes, int]]]:
    """The stored image and the label of each sample, in order, for each split."""
    with kseq.ShardDataset(path) as dataset:
        splits = list(dataset.splits)
    samples = {}
    for split in splits:
        with kseq.ShardDataset(path, split) as dataset:
            samples[split] = [
                (dataset.stored_bytes(position), int(dataset[position]["label"])) for position in range(len(dataset))
            ]
    return samples


def numbers_and_classes(path: Path, split: str = "all") -> list[tuple[int, str]]:
    """The number that the pixels of a sample stand for, and the name of its class, for each sample of a split."""
    with kseq.ShardDataset(path, split) as dataset:
        values = dataset.read(range(len(dataset)))
        names = [dataset.class_names[label] for label in values["label"]]
    return list(zip(numbers_of(values["image"]).tolist(), names, strict=True))


def publish(path: Path, change: str = "a change", **contents: Any) -> None:
    """Publish an index with other contents, as the commands that edit a dataset do."""
    with begin_transaction(path) as transaction:
        transaction.publish(change, **contents)


def rewrite_index(path: Path, **contents: Any) -> Index:
    """Write an index with other contents in place of a dataset's own, and open it."""
    write_index(str(path), Index.open(str(path)).contents(**contents))
    return Index.open(str(path))
