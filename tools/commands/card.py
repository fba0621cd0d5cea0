"""`kseq card`: writes what a dataset is, for people and for catalogues."""

from __future__ import annotations

import argparse
from typing import Any

import kseq

from ..console.json_output import add_json_option, print_json
from ..console.options import add_storage_options, storage_options
from ..console.text import printable


def add_parser(commands: Any) -> None:
    """Add `card` to the command."""
    parser = commands.add_parser(
        "card",
        examples=(
            "kseq card flowers",
            "kseq card flowers --license CC-BY-4.0 --creator 'A. Botanist'",
        ),
        help="write a card of a dataset, and Croissant metadata",
        description="Write README.md and croissant.json (Croissant 1.1) about DATASET into OUT, a new folder: counts, sizes, "
        "classes, splits, how it was packed, its digest. The options say what a dataset does not know of itself.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset, or its URL")
    parser.add_argument("out", metavar="OUT", nargs="?", help="folder to make (default: DATASET-card)")
    parser.add_argument("--name", metavar="NAME", help="what it is called (default: as its folder)")
    parser.add_argument("--description", metavar="TEXT", help="what it is about")
    parser.add_argument("--license", metavar="NAME", help="its licence, such as CC-BY-4.0, or the URL of that")
    parser.add_argument("--url", metavar="URL", help="where its files are to be found (default: where the card is)")
    parser.add_argument("--creator", metavar="NAME", help="who made it")
    parser.add_argument("--citation", metavar="TEXT", help="how it is to be cited")
    parser.add_argument("--version", metavar="VERSION", default="1.0.0", help="of the dataset (default: %(default)s)")
    parser.add_argument("--date", metavar="DATE", help="when it was published, as 2026-01-31")
    add_json_option(parser)
    add_storage_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the card, and say what nobody has stated."""
    report = kseq.card(
        arguments.dataset,
        arguments.out,
        name=arguments.name,
        description=arguments.description,
        license=arguments.license,
        url=arguments.url,
        creator=arguments.creator,
        citation=arguments.citation,
        version=arguments.version,
        date=arguments.date,
        storage_options=storage_options(arguments),
    )
    if arguments.json:
        print_json(arguments, report)
        return 0
    print(f"{printable(report.path)}: {', '.join(report.files)}, of the dataset with digest {report.digest}")
    if report.not_stated:
        print(f"not stated: {', '.join(f'--{name}' for name in report.not_stated)}")
    return 0
