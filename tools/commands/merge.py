"""`kseq merge`: makes one new dataset of several."""

from __future__ import annotations

import argparse
from typing import Any

import kseq

from ..console.class_counts import all_classes_hint, count
from ..console.count_table import format_counts
from ..console.json_output import add_json_option, print_json
from ..console.text import format_bytes, format_count, printable


def add_parser(commands: Any) -> None:
    """Add `merge` to the command."""
    parser = commands.add_parser(
        "merge",
        examples=("kseq merge flowers trees plants", "kseq merge flowers trees plants --copy"),
        help="make a new dataset of several",
        usage="kseq merge DATASET DATASET [DATASET ...] OUT [options]",
        description="Make OUT, a new dataset of all samples of the DATASETS. Its shards are hard links to their shards; "
        "changing or removing one dataset does not affect the others.",
    )
    parser.add_argument("datasets", metavar="DATASET", nargs="+", help="folders of datasets, at least two")
    parser.add_argument("out", metavar="OUT", help="folder to make")
    parser.add_argument("--copy", action="store_true", help="copy the shards, do not link them")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset at OUT")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Merge, and print what the new dataset holds."""
    report = kseq.merge(arguments.datasets, arguments.out, copy=arguments.copy, overwrite=arguments.overwrite)
    if arguments.json:
        print_json(arguments, report)
        return 0
    counts, hint = count(arguments.out), all_classes_hint(arguments.out)
    print(format_counts(counts.splits, counts.class_names, counts.class_counts, hint=hint))
    how = f"{report.num_linked:,} of them links" if report.num_linked else "copies"
    print(
        f"\n{format_count(report.num_samples, 'sample')} of {len(arguments.datasets)} datasets in {printable(report.path)}: "
        f"{format_count(report.num_shards, 'shard')}, {how}, {format_bytes(report.num_bytes)}"
    )
    return 0
