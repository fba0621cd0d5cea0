"""Tables in every format that kseq reads, from the same rows."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

Row = Mapping[str, Any]


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    """Write `path` with the suffix .csv. A cell that is None is empty."""
    with open(path.with_suffix(".csv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
    return path.with_suffix(".csv")


def write_jsonl(path: Path, rows: Sequence[Row]) -> Path:
    """Write `path` with the suffix .jsonl."""
    path.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.with_suffix(".jsonl")


def write_parquet(path: Path, rows: Sequence[Row]) -> Path:
    """Write `path` with the suffix .parquet, two rows in a row group."""
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path.with_suffix(".parquet"), row_group_size=2)
    return path.with_suffix(".parquet")


TABLE_WRITERS = (write_csv, write_jsonl, write_parquet)
