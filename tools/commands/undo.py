"""`kseq undo`: takes the last change of a dataset back."""

from __future__ import annotations

import argparse
from typing import Any

import kseq

from ..console.json_output import add_json_option, print_json
from ..console.text import printable


def add_parser(commands: Any) -> None:
    """Add `undo` to the command."""
    parser = commands.add_parser(
        "undo",
        examples=("kseq undo flowers", "kseq undo flowers --json"),
        help="take the last change of a dataset back",
        description="Take the last change of DATASET back. A second time, the change is made again.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Undo, and print which change."""
    report = kseq.undo(arguments.dataset)
    if arguments.json:
        print_json(arguments, report)
        return 0
    print(f"{printable(report.path)}: {'taken back' if report.taken_back else 'made again'}: {printable(report.change)}")
    return 0
