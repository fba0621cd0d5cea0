"""What datasets hold before and after a change of their labels, class names or fields."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import kseq
from tests.helpers.datasets import files


def published_files(folder: Path) -> dict[str, bytes]:
    """The files of a dataset but for the index before the last change."""
    return {name: data for name, data in files(folder).items() if name != "index.h5.1"}


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def labels_of(path: Path) -> list[int]:
    values = kseq.ShardDataset(path).values("label")
    assert isinstance(values, np.ndarray)
    return values.tolist()


def class_names_of(path: Path, field: str) -> list[list[str]]:
    """The class names of each sample of a field of several."""
    dataset = kseq.ShardDataset(path)
    names = dataset.fields[field].class_names
    return [[names[number] for number in sample] for sample in dataset.values(field)]


def check_undo(path: Path, before: dict[str, bytes]) -> None:
    """Checks what holds after every change: nothing is damaged, and undo brings the very bytes back."""
    assert kseq.verify(path).damaged == []
    assert kseq.undo(path).taken_back
    assert published_files(path) == before
