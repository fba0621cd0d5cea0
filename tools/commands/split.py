"""`kseq split`: gives a packed dataset other splits."""

from __future__ import annotations

import argparse
from typing import Any

import kseq
from kseq.errors import ArgumentError

from ..console.class_counts import all_classes_hint
from ..console.count_table import format_change
from ..console.json_output import add_json_option, print_json
from ..console.text import format_count, printable


def add_parser(commands: Any) -> None:
    """Add `split` to the command."""
    parser = commands.add_parser(
        "split",
        examples=("kseq split flowers --val 0.2 --test 0.1", "kseq split flowers --folds 5"),
        help="give a packed dataset other splits",
        description="Give DATASET other splits; kseq undo takes that back. Splits that no option names stay: without --test, "
        "the split test keeps its samples, and val is drawn from all others. Train is what is in neither val nor test.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset")
    parser.add_argument(
        "--val", type=float, metavar="SHARE", help="share of the samples for the split val; 0 for no such split"
    )
    parser.add_argument(
        "--test", type=float, metavar="SHARE", help="share of the samples for the split test; 0 for no such split"
    )
    parser.add_argument(
        "--folds",
        type=int,
        metavar="N",
        help="share out the samples that are not in test into N folds: fold0-train, fold0-val and so on; 0 for no folds",
    )
    parser.add_argument(
        "--from-list",
        action="append",
        default=[],
        dest="lists",
        metavar="NAME=FILE",
        help="the samples of the split NAME: a sample id or source on each line of FILE, or a table of them; may be repeated",
    )
    parser.add_argument(
        "--stratify",
        action=argparse.BooleanOptionalAction,
        help="draw the same share of each class (default: if samples have a label)",
    )
    parser.add_argument("--group", metavar="FIELD", help="keep samples with the same value of this field in one split")
    parser.add_argument("--seed", type=int, default=0, help="decides which samples go to which split (default: %(default)s)")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Split, and print how many samples each split had and has."""
    lists: dict[str, str] = {}
    for text in arguments.lists:
        name, equals, path = text.partition("=")
        if not equals or not path or name in lists:
            raise ArgumentError(f"--from-list {text}: allowed is NAME=FILE, and each name once")
        lists[name] = path
    report = kseq.split(
        arguments.dataset,
        val=arguments.val,
        test=arguments.test,
        folds=arguments.folds,
        lists=lists,
        stratify=arguments.stratify,
        group=arguments.group,
        seed=arguments.seed,
    )
    if arguments.json:
        print_json(arguments, report)
        return 0
    print(f"{printable(report.path)}: {printable(report.change)}")
    print(format_change(report.before, report.after, hint=all_classes_hint(report.path)))
    if report.num_dropped:
        print(f"left out of the lists, since they were dropped: {format_count(report.num_dropped, 'sample')}")
    if report.num_unused:
        print(f"in no split: {format_count(report.num_unused, 'sample')}")
    return 0
