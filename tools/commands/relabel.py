"""`kseq relabel`: gives some samples of a dataset other labels."""

from __future__ import annotations

import argparse
from typing import Any

import kseq

from ..console.json_output import add_json_option, print_json
from ..console.text import format_count, format_table, printable

_SHOWN_CHANGES = 20


def add_parser(commands: Any) -> None:
    """Add `relabel` to the command."""
    parser = commands.add_parser(
        "relabel",
        examples=("kseq relabel flowers corrections.csv", "kseq relabel flowers corrections.csv --add-classes"),
        help="give some samples other labels",
        description="Give samples of DATASET the labels that FILE has for them; samples that FILE does not name keep theirs. "
        "FILE is a table (CSV, JSON Lines, Parquet) with a column id or source, and one of labels: class names or numbers.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset")
    parser.add_argument("file", metavar="FILE", help="table of samples and labels")
    parser.add_argument("--field", metavar="NAME", default="label", help="field to relabel (default: %(default)s)")
    parser.add_argument("--column", metavar="COLUMN", help="column of the labels (default: the usual names)")
    parser.add_argument("--add-classes", action="store_true", help="make classes of names that are not classes yet")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Relabel, and print how many samples went from which class to which."""
    report = kseq.relabel(
        arguments.dataset,
        arguments.file,
        field=arguments.field,
        column=arguments.column,
        add_classes=arguments.add_classes,
    )
    if arguments.json:
        print_json(arguments, report)
        return 0
    if report.label_changes:
        rows = [["from", "to", "samples"]]
        rows += [
            [printable(change.before), printable(change.after), f"{change.num_samples:,}"]
            for change in report.label_changes[:_SHOWN_CHANGES]
        ]
        print(format_table(rows))
        if len(report.label_changes) > _SHOWN_CHANGES:
            print(f"... and {format_count(len(report.label_changes) - _SHOWN_CHANGES, 'other pair')} of classes")
        print()
    for name in report.new_class_names:
        print(f"new class: {printable(name)}")
    share = f"{report.num_changed:,} of {format_count(report.num_named, 'sample')} that the file names"
    print(f"{printable(report.path)}: {share} had another {printable(report.field)}")
    return 0
