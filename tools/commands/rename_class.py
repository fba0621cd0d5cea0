"""`kseq rename-class`: another name for a class of a dataset."""

from __future__ import annotations

import argparse
from typing import Any

import kseq

from ..console.text import printable


def add_parser(commands: Any) -> None:
    """Add `rename-class` to the command."""
    parser = commands.add_parser(
        "rename-class",
        help="give a class another name",
        description="Give the class OLD of DATASET the name NEW. Its number stays, and so do its samples.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset")
    parser.add_argument("old", metavar="OLD", help="name of a class")
    parser.add_argument("new", metavar="NEW", help="its name from now on")
    parser.add_argument("--field", metavar="NAME", default="label", help="a field of several labels (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Rename; one line that says what the classes are."""
    report = kseq.rename_class(arguments.dataset, arguments.old, arguments.new, field=arguments.field)
    of = "" if report.field == "label" else f" of {report.field}"
    print(
        f"{printable(report.path)}: class {report.class_number}{of}, {printable(arguments.old)}, "
        f"is {printable(arguments.new)} now; all {len(report.class_names)}: {', '.join(map(printable, report.class_names))}"
    )
    return 0
