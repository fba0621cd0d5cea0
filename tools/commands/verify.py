"""`kseq verify`: reads every byte of a dataset."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import kseq

from ..console.json_output import add_json_option, print_json
from ..console.options import add_storage_options, storage_options
from ..console.text import format_bytes, format_count, printable


def add_parser(commands: Any) -> None:
    """Add `verify` to the command."""
    parser = commands.add_parser(
        "verify",
        examples=("kseq verify flowers", "kseq verify s3://bucket/flowers"),
        help="read every byte of a dataset, list what is damaged",
        description="Compare every byte of DATASET with its checksums, and list what is damaged. The exit code is 1 if "
        "anything is.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset, or its URL")
    add_storage_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify, and print a line for each thing that is damaged."""
    report = kseq.verify(arguments.dataset, storage_options=storage_options(arguments))
    if arguments.json:
        print_json(arguments, report, ok=not report.damaged)
        return 1 if report.damaged else 0
    for line in report.damaged:
        print(printable(line))
    if report.damaged:
        count = len(report.damaged)
        print(f"kseq: {printable(report.path)}: {count} thing{'s are' if count > 1 else ' is'} damaged", file=sys.stderr)
        return 1
    samples, shards = format_count(report.num_samples, "sample"), format_count(report.num_shards, "shard")
    print(f"{printable(report.path)}: {samples} in {shards}, all whole, {format_bytes(report.num_bytes)}")
    return 0
