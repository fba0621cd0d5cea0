"""The samples of a dataset, a row for each: on stdout, as a file, and as a table for SQL."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

import kseq
from kseq.errors import ArgumentError, WriteError

from .text import printable

__all__ = ["print_samples", "sample_table", "write_samples"]

_COLUMNS = ("id", "split", "label", "source")
_ROWS_AT_ONCE = 10_000


def print_samples(dataset: kseq.ShardDataset, as_json: bool) -> None:
    """Print sample id, splits (with `|` between them), label and source of each sample that was not dropped.

    As CSV, which `kseq drop --rejected-by` and others read, or as JSON Lines. Names may hold any bytes. They are written byte
    for byte, so that programs find the samples; what a terminal cannot show is escaped on a terminal.
    """
    sys.stdout.flush()
    to_terminal = sys.stdout.isatty()
    for text in _json_lines(dataset) if as_json else _csv_blocks(dataset, escape=to_terminal):
        sys.stdout.buffer.write(text.encode(errors="surrogateescape"))


def write_samples(dataset: kseq.ShardDataset, path: str) -> int:
    """Write the samples into a file, CSV or Parquet by its suffix; returns how many there are.

    A file that is there is replaced. A Parquet file has the columns of `sample_table`, a CSV file those of `print_samples`.

    Raises:
        ArgumentError: If the suffix is another, or pyarrow is missing.
        WriteError: If the operating system refuses.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in (".csv", ".parquet"):
        raise ArgumentError(f"--to {path}: allowed are a file that ends with .csv, and one that ends with .parquet")
    parquet = _pyarrow("--to a .parquet file", "parquet").parquet if suffix == ".parquet" else None
    unfinished = f"{path}.unfinished"
    try:
        if parquet is not None:
            parquet.write_table(sample_table(dataset), unfinished)
        else:
            with open(unfinished, "wb") as file:
                file.writelines(text.encode(errors="surrogateescape") for text in _csv_blocks(dataset, escape=False))
        os.replace(unfinished, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(unfinished)
        raise WriteError(f"--to {path}: cannot be written: {error.strerror or error}") from error
    return len(dataset)


def sample_table(dataset: kseq.ShardDataset, purpose: str = "the table of samples", extra: str = "parquet") -> Any:
    """The samples as a table of pyarrow: `id`, `split`, `label`, `source`, and every other field but pixels under its name.

    Class numbers are class names there, vectors and boxes lists. Text that is not UTF-8 has escapes. A field called like one of
    the first columns has `_field` behind its name.

    Args:
        dataset: The dataset.
        purpose: What needs it, for the message where pyarrow is missing.
        extra: Of kseq: brings what that needs.

    Raises:
        ArgumentError: If pyarrow is missing.
    """
    arrow = _pyarrow(purpose, extra)
    others = [field for field in dataset.fields.values() if not field.is_pixels and not field.is_label]
    names = [f"{field.name}_field" if field.name in _COLUMNS else field.name for field in others]
    types = [arrow.int64(), arrow.string(), arrow.string(), arrow.string(), *(_arrow_type(arrow, field) for field in others)]
    schema = arrow.schema(list(zip((*_COLUMNS, *names), types, strict=True)))
    batches = []
    for part, rows in _parts(dataset):
        columns = [list(column) for column in zip(*rows, strict=True)]
        texts = [[_utf8(text) for text in column] for column in columns[1:]]
        values = [columns[0], *texts, *(_values(part, field) for field in others)]
        arrays = [arrow.array(column, kind) for column, kind in zip(values, types, strict=True)]
        batches.append(arrow.RecordBatch.from_arrays(arrays, schema=schema))
    return arrow.Table.from_batches(batches, schema=schema)


def _pyarrow(purpose: str, extra: str) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ArgumentError(f"{purpose} needs pyarrow ({error}): pip install 'kseq[{extra}]'") from error
    return pyarrow


def _arrow_type(arrow: Any, field: kseq.Field) -> Any:
    if field.kind == "text":
        return arrow.string()
    kind = arrow.string() if field.class_names else arrow.from_numpy_dtype(np.dtype(field.dtype))
    for _ in field.shape:
        kind = arrow.list_(kind)
    return kind


def _values(part: kseq.ShardDataset, field: kseq.Field) -> list[Any]:
    """The values of a field, class names in place of class numbers."""
    values = part.values(field.name)
    if field.kind == "text":
        return [_utf8(str(text)) for text in values]
    if field.class_names:
        return [[_utf8(field.class_names[number]) for number in np.asarray(row).ravel()] for row in values]
    return [np.asarray(value).tolist() for value in values]


def _utf8(text: str) -> str:
    """A text with escapes for what is not UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _json_lines(dataset: kseq.ShardDataset) -> Iterator[str]:
    for _, rows in _parts(dataset):
        yield "".join(f"{json.dumps(dict(zip(_COLUMNS, row, strict=True)))}\n" for row in rows)


def _csv_blocks(dataset: kseq.ShardDataset, *, escape: bool) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for _, rows in _parts(dataset):
        writer.writerows([printable(cell) if escape and isinstance(cell, str) else cell for cell in row] for row in rows)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _parts(dataset: kseq.ShardDataset) -> Iterator[tuple[kseq.ShardDataset, list[tuple[int, str, str, str]]]]:
    """A dataset that was opened without a split, in parts: the samples, and `_COLUMNS` of each."""
    num_ids = len(dataset) + len(dataset.dropped)
    is_in_split = {name: _mask(num_ids, dataset.split_ids(name)) for name in dataset.splits}
    sources = dataset.sources()
    for start in range(0, len(dataset), _ROWS_AT_ONCE):
        part = dataset.take(range(start, min(start + _ROWS_AT_ONCE, len(dataset))))
        ids = part.sample_ids(range(len(part))).tolist()
        splits = ["|".join(name for name, mask in is_in_split.items() if mask[number]) for number in ids]
        yield part, list(zip(ids, splits, _labels(part), sources, strict=False))


def _labels(dataset: kseq.ShardDataset) -> list[str]:
    """The class name of each sample, empty if samples have no label."""
    if "label" not in dataset.fields:
        return [""] * len(dataset)
    return [dataset.class_names[label] for label in dataset.values("label")]


def _mask(count: int, ids: np.ndarray) -> np.ndarray:
    mask = np.zeros(count, bool)
    mask[ids] = True
    return mask
