"""`kseq copy`: a dataset from a folder or URL to another."""

from __future__ import annotations

import argparse
from typing import Any

import kseq

from ..console.json_output import add_json_option, print_json
from ..console.options import add_storage_options, storage_option, storage_options
from ..console.progress import Progress
from ..console.text import format_bytes, format_count, printable


def add_parser(commands: Any) -> None:
    """Add `copy` to the command."""
    parser = commands.add_parser(
        "copy",
        examples=("kseq copy flowers /mnt/disk/flowers", "kseq copy flowers s3://bucket/flowers"),
        help="copy a dataset between folders and URLs",
        usage="kseq copy SOURCE DESTINATION [options]",
        description="Copy the dataset at SOURCE to DESTINATION; each is a folder or a URL, such as s3://bucket/flowers. Every "
        "shard is compared with its digest, and the index comes last. A copy that was killed goes on when it is made again.",
    )
    parser.add_argument("source", metavar="SOURCE", help="folder or URL of a dataset")
    parser.add_argument("destination", metavar="DESTINATION", help="folder or URL to copy it to")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace another dataset, or an unfinished one, that lies there"
    )
    parser.add_argument(
        "--no-read-back",
        dest="read_back",
        action="store_false",
        help="do not read back what was sent to a URL, compare its size alone",
    )
    parser.add_argument(
        "--connections", type=int, default=8, metavar="N", help="how many shards are copied at once (default: %(default)s)"
    )
    add_storage_options(parser)
    parser.add_argument(
        "--destination-option",
        dest="destination_options",
        metavar="NAME=VALUE",
        action="append",
        type=storage_option,
        help="the same for DESTINATION alone (default: those of --storage-option)",
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Copy, with progress on stderr and a summary on stdout."""
    with Progress("bytes") as progress:
        report = kseq.copy(
            arguments.source,
            arguments.destination,
            overwrite=arguments.overwrite,
            read_back=arguments.read_back,
            connections=arguments.connections,
            storage_options=storage_options(arguments),
            destination_options=storage_options(arguments, "destination_options"),
            progress=progress.show,
        )
    if arguments.json:
        print_json(arguments, report)
        return 0
    samples, shards = format_count(report.num_samples, "sample"), format_count(report.num_shards, "shard")
    print(f"{samples} in {shards} copied to {printable(report.path)}: {format_bytes(report.num_bytes)}, {report.seconds:.1f} s")
    print(f"digest {report.digest}")
    if report.num_sent < report.num_shards:
        print(f"{report.num_shards - report.num_sent} of the shards were there already, and whole")
    if report.can_undo:
        print("the copy holds the dataset as it is now: kseq undo cannot take its last change back")
    return 0
