"""`kseq rename-class`: gives a class of a dataset another name."""

from __future__ import annotations

import argparse
from typing import Any

import kseq

from ..console.json_output import add_json_option, print_json
from ..console.text import format_names, printable


def add_parser(commands: Any) -> None:
    """Add `rename-class` to the command."""
    parser = commands.add_parser(
        "rename-class",
        examples=("kseq rename-class flowers rose roses", "kseq rename-class flowers 2 roses"),
        help="give a class another name",
        description="Give the class OLD of DATASET the name NEW. Its number and its samples stay the same.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset")
    parser.add_argument("old", metavar="OLD", help="name of the class")
    parser.add_argument("new", metavar="NEW", help="new name of the class")
    parser.add_argument(
        "--field", metavar="NAME", default="label", help="field that the class belongs to (default: %(default)s)"
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Rename, and print the classes."""
    report = kseq.rename_class(arguments.dataset, arguments.old, arguments.new, field=arguments.field)
    if arguments.json:
        print_json(arguments, report)
        return 0
    of = "" if report.field == "label" else f" of {report.field}"
    print(
        f"{printable(report.path)}: class {report.class_number}{of}, {printable(arguments.old)}, "
        f"is {printable(arguments.new)} now; all {len(report.class_names)}: {format_names(report.class_names)}"
    )
    return 0
