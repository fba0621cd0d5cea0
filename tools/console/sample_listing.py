"""The samples of a dataset, a line for each: as CSV, which `kseq drop --rejected-by` and others read, or as JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import kseq

from ..console.text import printable

__all__ = ["print_samples"]

_COLUMNS = ("id", "split", "label", "source")
_ROWS_AT_ONCE = 10_000


def print_samples(dataset: kseq.ShardDataset, as_json: bool) -> None:
    """Print sample id, splits (with `|` between them), label and source of each sample that was not dropped.

    Names may hold any bytes. They are written byte for byte, so that programs find the samples; what a terminal cannot show is
    escaped on a terminal.
    """
    if as_json:
        for row in _rows(dataset):
            print(json.dumps(dict(zip(_COLUMNS, row, strict=True))))
        return
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    to_terminal = sys.stdout.isatty()
    for number, row in enumerate(_rows(dataset), start=1):
        writer.writerow([printable(cell) if to_terminal and isinstance(cell, str) else cell for cell in row])
        if number % _ROWS_AT_ONCE == 0:
            _flush(buffer)
    _flush(buffer)


def _flush(buffer: io.StringIO) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(buffer.getvalue().encode(errors="surrogateescape"))
    buffer.seek(0)
    buffer.truncate()


def _rows(dataset: kseq.ShardDataset) -> Iterator[Sequence[Any]]:
    """`_COLUMNS` of each sample of a dataset that was opened without a split."""
    num_ids = len(dataset) + len(dataset.dropped)
    is_in_split = {name: _mask(num_ids, dataset.split_ids(name)) for name in dataset.splits}
    sources = dataset.sources()
    for start in range(0, len(dataset), _ROWS_AT_ONCE):
        part = dataset.take(range(start, min(start + _ROWS_AT_ONCE, len(dataset))))
        labels = _labels(part)
        for number, label in zip(part.sample_ids(range(len(part))).tolist(), labels, strict=True):
            yield number, "|".join(name for name, mask in is_in_split.items() if mask[number]), label, next(sources)


def _labels(dataset: kseq.ShardDataset) -> list[str]:
    """The class name of each sample, empty if samples have no label."""
    if "label" not in dataset.fields:
        return [""] * len(dataset)
    return [dataset.class_names[label] for label in dataset.values("label")]


def _mask(count: int, ids: np.ndarray) -> np.ndarray:
    mask = np.zeros(count, bool)
    mask[ids] = True
    return mask
