"""`kseq drop`: takes samples out of a packed dataset."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

import kseq
from kseq.arguments import path_text
from kseq.errors import ArgumentError

from ..console.class_counts import all_classes_hint
from ..console.count_table import format_change
from ..console.json_output import add_json_option, print_json
from ..console.text import format_count, printable


def add_parser(commands: Any) -> None:
    """Add `drop` to the command."""
    parser = commands.add_parser(
        "drop",
        examples=("kseq drop flowers --ids 17 40-50", "kseq drop flowers --where label=rose"),
        help="take samples out of all splits",
        description="Take samples out of all splits of DATASET, the split all included; kseq undo takes that back. Their bytes "
        "stay until kseq compact removes them.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset")
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--ids", nargs="+", metavar="ID", help="sample ids, such as 3 17 40-50 (kseq info --samples lists them)")
    group.add_argument(
        "--where",
        action="append",
        metavar="CONDITION",
        help="samples for which this holds: 'label=rose', 'label=rose,daisy', 'height>0.5' (also <, <=, >=); repeat for "
        "conditions that must all hold",
    )
    group.add_argument(
        "--rejected-by", metavar="FILE", help="samples that FILE names: a sample id or source on each line, or a table of them"
    )
    parser.add_argument("--missing-ok", action="store_true", help="ignore sources in FILE that no sample has")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Drop, and print how many samples each split had and has."""
    if arguments.missing_ok and arguments.rejected_by is None:
        raise ArgumentError("--missing-ok: goes with --rejected-by")
    report = kseq.drop(
        arguments.dataset,
        ids=None if arguments.ids is None else _parse_ids(arguments.ids, arguments.dataset),
        where=arguments.where,
        rejected_by=arguments.rejected_by,
        missing_ok=arguments.missing_ok,
    )
    if arguments.json:
        print_json(arguments, report)
        return 0
    print(f"{printable(report.path)}: {printable(report.change or 'nothing is dropped')}")
    if report.change:
        print(format_change(report.before, report.after, hint=all_classes_hint(report.path)))
    if report.num_dropped_before:
        print(f"dropped before: {format_count(report.num_dropped_before, 'sample')}")
    if report.num_unknown:
        print(f"passed over, since no sample has them: {format_count(report.num_unknown, 'source')}")
    return 0


def _parse_ids(texts: Sequence[str], path: str) -> np.ndarray:
    """`(n,)` int64: the sample ids of numbers, and of ranges, whose last number belongs to them."""
    with kseq.ShardDataset(path_text("dataset", path)) as dataset:
        num_ids = len(dataset) + len(dataset.dropped)
    parts = []
    for text in texts:
        match = re.fullmatch(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not first <= last < num_ids:
            raise ArgumentError(f"--ids {text}: allowed are sample ids from 0 to {num_ids - 1}, and ranges such as 40-50")
        parts.append(np.arange(first, last + 1))
    return np.concatenate(parts)
