"""`kseq completion`: the script that lets a shell complete the words of the command."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from ..console.completion import SHELLS, completion_script


def add_parser(commands: Any) -> None:
    """Add `completion` to the command."""
    parser = commands.add_parser(
        "completion",
        examples=("kseq completion bash", "kseq completion fish"),
        help="print the script by which a shell completes kseq's words",
        description="Print the script by which SHELL completes commands, options and their values. Its first line says "
        "where it goes.",
    )
    parser.add_argument("shell", metavar="SHELL", choices=tuple(SHELLS), help=f"one of {', '.join(SHELLS)}")
    parser.set_defaults(run=partial(_run, commands))


def _run(commands: Any, arguments: argparse.Namespace) -> int:
    """Print the script."""
    helps = {action.dest: action.help or "" for action in commands._get_subactions()}
    print(completion_script(arguments.shell, commands.choices, helps))
    return 0
