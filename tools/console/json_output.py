"""What commands print with `--json`: one object, of errors too.

Of a command that did its work: `command`, `ok` (false where `kseq verify` found damage) and the attributes of its report by
their names. Of one that did not: `command`, `ok` (false) and `error`, an object of `type`, `message` and `exit_code`.
`kseq view` prints it in one line, before it serves.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["add_json_option", "error_as_json", "print_json", "print_json_line"]


def add_json_option(parser: argparse._ActionsContainer, text: str = "print one JSON object, of an error too") -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help=text)


def print_json(arguments: argparse.Namespace, report: Any, *, ok: bool = True, **more: Any) -> None:
    """Print what a command reports.

    Args:
        arguments: Of the command.
        report: A dataclass or a mapping, whose values become those of the object.
        ok: Whether all is as it should be.
        more: Further values.
    """
    print(_text({"command": arguments.command, "ok": ok, **_plain(report), **_plain(more)}))


def print_json_line(arguments: argparse.Namespace, values: Mapping[str, Any]) -> None:
    """Print the object in one line, at once, of a command that goes on then: how that ends, its exit code says alone."""
    print(json.dumps({"command": arguments.command, "ok": True, **_plain(values)}), flush=True)
    arguments.json = None


def error_as_json(command: str | None, kind: str, message: str, exit_code: int) -> str:
    """What went wrong, as one object; `kind` is the name of the error's class."""
    return _text({"command": command, "ok": False, "error": {"type": kind, "message": message, "exit_code": exit_code}})


def _text(values: Mapping[str, Any]) -> str:
    # Only ASCII: names that are not UTF-8 stay what they are, as escapes.
    return json.dumps(values, indent=2)


def _plain(value: Any) -> Any:
    """A value as `json` writes it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, float) and not np.isfinite(value):
        # JSON has no such numbers.
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
