"""`kseq verify`: reads every byte of a dataset."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import kseq

from .table import format_bytes


def add_parser(commands: Any) -> None:
    """Add `verify` to the command."""
    parser = commands.add_parser(
        "verify",
        help="read every byte of a dataset, list what is damaged",
        description="Compare every byte of DATASET with its checksums. Exits with 1 if anything is damaged, and lists it.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify; one line for each thing that is damaged."""
    report = kseq.verify(arguments.dataset)
    for line in report.damaged:
        print(line)
    if report.damaged:
        print(f"kseq: {report.path}: {len(report.damaged)} things are damaged", file=sys.stderr)
        return 1
    print(f"{report.path}: {report.samples:,} samples in {report.shards:,} shards are whole, {format_bytes(report.bytes)}")
    return 0
