"""The samples of a dataset, a line for each: as CSV, which `kseq drop --rejected-by` and others read, or as JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import kseq
from kseq.reading.label_counts import read_labels
from kseq.reading.shard_cache import ShardCache

from ..console.text import printable

__all__ = ["print_samples"]

_COLUMNS = ("id", "split", "label", "source")
_AT_ONCE = 10_000


def print_samples(dataset: kseq.ShardDataset, as_json: bool) -> None:
    """Print id, splits (by `|`), label and source of each sample that was not dropped.

    Names that hold anything go out byte for byte, so that what reads them finds the samples; to a terminal, what it would not
    print is escaped.
    """
    if as_json:
        for row in _rows(dataset):
            print(json.dumps(dict(zip(_COLUMNS, row, strict=True))))
        return
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for number, row in enumerate(_rows(dataset), start=1):
        writer.writerow([printable(each) if sys.stdout.isatty() and isinstance(each, str) else each for each in row])
        if number % _AT_ONCE == 0:
            _put(written)
    _put(written)


def _put(written: io.StringIO) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(written.getvalue().encode(errors="surrogateescape"))
    written.seek(0)
    written.truncate()


def _rows(dataset: kseq.ShardDataset) -> Iterator[Sequence[Any]]:
    index = dataset.index
    labels = read_labels(index)
    among = {name: _mask(index.num_samples, ids) for name, ids in index.splits.items()}
    gone = _mask(index.num_samples, index.dropped)
    for number, source in enumerate(ShardCache((index,)).each("source/bytes", "source/offsets")):
        if not gone[number]:
            label = "" if labels is None else index.class_names[labels[number]]
            yield number, "|".join(name for name, mask in among.items() if mask[number]), label, os.fsdecode(source)


def _mask(count: int, ids: np.ndarray) -> np.ndarray:
    mask = np.zeros(count, bool)
    mask[ids] = True
    return mask
