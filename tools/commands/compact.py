"""`kseq compact`: rewrites a dataset without dropped samples, and with all fields in its shards."""

from __future__ import annotations

import argparse
from typing import Any

import kseq

from ..console.class_counts import all_classes_hint, count
from ..console.count_table import format_change
from ..console.json_output import add_json_option, print_json
from ..console.progress import Progress
from ..console.text import format_bytes, format_count, printable


def add_parser(commands: Any) -> None:
    """Add `compact` to the command."""
    parser = commands.add_parser(
        "compact",
        examples=("kseq compact flowers", "kseq compact flowers --no-undo"),
        help="rewrite a dataset without dropped samples",
        description="Rewrite the shards of DATASET that hold dropped samples, or all shards if fields were added or "
        "relabelled. Stored bytes are copied as they are. Sample ids change.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset")
    parser.add_argument(
        "--no-undo", dest="undo", action="store_false", help="remove the old shards at once, not with the next change"
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compact, with progress on stderr, and print what was removed."""
    before = count(arguments.dataset)
    with Progress() as progress:
        report = kseq.compact(arguments.dataset, undo=arguments.undo, progress=progress.show)
    if arguments.json:
        print_json(arguments, report)
        return 0
    print(format_change(before, count(arguments.dataset), hint=all_classes_hint(arguments.dataset)))
    print(
        f"\n{printable(report.path)}: {format_count(report.num_removed, 'dropped sample')} removed, "
        f"{format_count(report.num_rewritten, 'shard')} of {report.num_shards:,} written anew, "
        f"{format_bytes(report.num_bytes_before)} before, {format_bytes(report.num_bytes)} now"
    )
    if report.folded_fields:
        print(f"now in the shards: {', '.join(report.folded_fields)}")
    if report.num_bytes_kept:
        kept = format_bytes(report.num_bytes_kept)
        print(f"{kept} of old shards stay for kseq undo, until the next change (--no-undo frees them)")
    return 0
