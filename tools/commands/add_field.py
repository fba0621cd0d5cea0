"""`kseq add-field`: a new target beside those that a dataset was packed with."""

from __future__ import annotations

import argparse
from typing import Any

import kseq

from ..console.json_output import add_json_option, print_json
from ..console.text import format_count, format_names, printable


def add_parser(commands: Any) -> None:
    """Add `add-field` to the command."""
    parser = commands.add_parser(
        "add-field",
        examples=("kseq add-field flowers price prices.csv", "kseq add-field flowers price prices.csv --default 0"),
        help="add a target beside the packed ones",
        description="Give every sample of DATASET a new value, the field NAME, from FILE: a table (CSV, JSON Lines, Parquet) "
        "with a column id or source, and a column of numbers, [vectors], several|labels, text or weights; or an .npy array "
        "with a row for each sample id. The field label is the class of each sample.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset")
    parser.add_argument("name", metavar="NAME", help="name of the new field")
    parser.add_argument("file", metavar="FILE", help="table of samples and values, or .npy array")
    parser.add_argument("--column", metavar="COLUMN", help="column of the values (default: NAME, or the only other column)")
    parser.add_argument(
        "--kind",
        metavar="KIND",
        help=f"one of {', '.join(kseq.TARGET_KINDS)} (default: numbers or multi_label, as FILE tells)",
    )
    parser.add_argument(
        "--default", metavar="VALUE", help="value of samples that FILE does not name; '' for no labels, no text"
    )
    parser.add_argument(
        "--class-names",
        action="extend",
        nargs="+",
        metavar="NAME",
        help="all classes of a label, in the order of their numbers",
    )
    parser.add_argument("--replace", action="store_true", help="replace a field of this name")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Add the field, and print what it holds."""
    report = kseq.add_field(
        arguments.dataset,
        arguments.name,
        arguments.file,
        column=arguments.column,
        kind=arguments.kind,
        default=arguments.default,
        class_names=arguments.class_names,
        replace=arguments.replace,
    )
    if arguments.json:
        print_json(arguments, report)
        return 0
    field = report.field
    status = "in place of the one before" if report.replaced else "new"
    default = f", {format_count(report.num_defaulted, 'sample')} with the default" if report.num_defaulted else ""
    print(
        f"{printable(report.path)}: {field.name} ({field.kind}), {status}: {format_count(report.num_given, 'value')}{default}"
    )
    if report.class_names:
        print(f"{len(report.class_names)} classes: {format_names(report.class_names)}")
    return 0
