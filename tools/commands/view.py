"""`kseq view`: shows a dataset in a browser."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import kseq

from ..console.json_output import add_json_option, print_json_line
from ..console.options import add_storage_options, storage_options
from ..console.text import printable


def add_parser(commands: Any) -> None:
    """Add `view` to the command."""
    parser = commands.add_parser(
        "view",
        examples=("kseq view flowers", "kseq view flowers --read-only --no-browser"),
        help="look at a dataset in a browser, and mend it",
        description="Show DATASET as a web page, on this machine alone: its samples, charts, what a model gets, and images "
        "that are the same. Labels can be changed there, and samples dropped; kseq undo takes that back. Ctrl-C ends it.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset, or its URL")
    parser.add_argument(
        "--host",
        metavar="HOST",
        default="127.0.0.1",
        help="name or address to listen at (default: %(default)s, which no other machine reaches)",
    )
    parser.add_argument("--port", metavar="PORT", type=int, default=0, help="port to listen at (default: one that is free)")
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    parser.add_argument("--read-only", action="store_true", help="change nothing: marked samples can be saved as a list")
    add_json_option(parser, "print one JSON object, in one line, before it serves; or of an error")
    add_storage_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    with kseq.Viewer(
        arguments.dataset,
        host=arguments.host,
        port=arguments.port,
        read_only=arguments.read_only,
        storage_options=storage_options(arguments),
    ) as viewer:
        if not viewer.is_private:
            may = "see the dataset" if arguments.read_only else "see and change the dataset"
            print(
                f"kseq: --host {printable(arguments.host)}: other machines reach this page, and nothing on its way is "
                f"encrypted: who has its address may {may}",
                file=sys.stderr,
            )
        if arguments.json:
            print_json_line(arguments, _facts(arguments, viewer))
        else:
            print(f"{printable(arguments.dataset)}: {viewer.url}", flush=True)
        print("Ctrl-C ends it", file=sys.stderr)
        if not arguments.no_browser:
            viewer.open_browser()
        viewer.wait()
    return 0


def _facts(arguments: argparse.Namespace, viewer: kseq.Viewer) -> dict[str, Any]:
    return {
        "dataset": arguments.dataset,
        "url": viewer.url,
        "host": arguments.host,
        "port": viewer.port,
        "token": viewer.token,
        "is_private": viewer.is_private,
        "read_only": arguments.read_only,
    }
