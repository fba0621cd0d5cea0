"""`kseq sql`: asks questions of the samples of a dataset."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import Any

import kseq
from kseq.arguments import is_url, whole
from kseq.errors import ArgumentError

from ..console.json_output import add_json_option, print_json
from ..console.options import add_storage_options, storage_options
from ..console.sample_listing import sample_table
from ..console.text import format_count, format_table, printable, shortened

_MOST_ROWS = 40


def add_parser(commands: Any) -> None:
    """Add `sql` to the command."""
    parser = commands.add_parser(
        "sql",
        examples=(
            'kseq sql flowers "select label, count(*) from samples group by label"',
            "kseq sql flowers \"select id, source from samples where split = 'val'\" --json",
        ),
        help="ask questions of the samples, in SQL",
        description="Run QUERY, of DuckDB's SQL, on the table samples: id, split, label, source, and every field but pixels. "
        "Samples of several splits have them with | between. The query sees the files of this machine as DuckDB does.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset, or its URL")
    parser.add_argument("query", metavar="QUERY", help="the query, in quotes")
    parser.add_argument(
        "--rows", type=int, default=_MOST_ROWS, metavar="N", help="rows to print; 0 for all (default: %(default)s)"
    )
    add_json_option(parser)
    add_storage_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the query, and print what it gives."""
    most = whole("rows", arguments.rows, 0)
    options = storage_options(arguments)
    is_remote = is_url(arguments.dataset)
    with kseq.ShardDataset(arguments.dataset, cache_bytes=0 if is_remote else None, storage_options=options) as dataset:
        columns, rows = _query(arguments.query, sample_table(dataset, "kseq sql", "sql"))
    if arguments.json:
        names = _distinct(columns)
        print_json(arguments, {"columns": names, "rows": [dict(zip(names, row, strict=True)) for row in rows]})
        return 0
    shown = rows[: most or len(rows)]
    texts = [number for number in range(len(columns)) if not all(isinstance(row[number], (int, float)) for row in shown)]
    print(format_table([list(map(printable, columns)), *([_cell(value) for value in row] for row in shown)], texts))
    if len(shown) < len(rows):
        print(f"... {format_count(len(rows) - len(shown), 'more row')} (--rows 0 prints all, --json too)")
    return 0


def _query(query: str, samples: Any) -> tuple[list[str], Sequence[Sequence[Any]]]:
    """The names of the columns of a result, and its rows.

    Raises:
        ArgumentError: If DuckDB is missing, or refuses the query.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ArgumentError(f"kseq sql needs DuckDB ({error}): pip install 'kseq[sql]'") from error
    # It would fetch what it lacks from elsewhere.
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        connection.register("samples", samples)
        try:
            if connection.execute(query) is None:
                raise ArgumentError("QUERY: is empty, expected is SQL such as: select * from samples")
            return [column[0] for column in connection.description or ()], connection.fetchall()
        except duckdb.Error as error:
            reason = " ".join(str(error).split())
            names = ", ".join(samples.column_names)
            raise ArgumentError(f"QUERY: {reason} (the table samples has the columns {names})") from error


def _distinct(columns: Sequence[str]) -> list[str]:
    """The names of columns, no two alike: `id`, `id_2`."""
    names: list[str] = []
    for column in columns:
        tries = (f"{column}_{number}" for number in itertools.count(2))
        names.append(column if column not in names else next(name for name in tries if name not in (*columns, *names)))
    return names


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else shortened(printable(str(value)))
