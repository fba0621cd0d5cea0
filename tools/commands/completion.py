"""`kseq completion`: the script that lets a shell complete the words of the command."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from ..console.completion import SHELLS, completion_script
from ..console.json_output import add_json_option, print_json


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
    add_json_option(parser)
    parser.set_defaults(run=partial(_run, commands))


def _run(commands: Any, arguments: argparse.Namespace) -> int:
    """Print the script."""
    helps = {action.dest: action.help or "" for action in commands._get_subactions()}
    script = completion_script(arguments.shell, commands.choices, helps)
    if arguments.json:
        print_json(arguments, {"shell": arguments.shell, "script": script})
    else:
        print(script)
    return 0
