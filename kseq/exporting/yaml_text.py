"""YAML of plain values, written without a package: what the cards of datasets begin with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["yaml_lines"]

# What may stand without quotes: no number, no word that YAML takes for something else, no sign that means something.
_PLAIN = re.compile(r"(?!(?i:true|false|yes|no|on|off|null|y|n|nan|inf)$)[A-Za-z_][A-Za-z0-9_ -]*(?<! )")
# What a YAML file may not hold as it is, or not within quotes on one line.
_NOT_PRINTABLE = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    """The lines of a dict or list of dicts, lists, texts and whole numbers."""
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from _entry(f"{indent}{_scalar(name)}:", entry, indent if isinstance(entry, list) else f"{indent}  ")
        return
    for entry in value:
        # The first line of an entry stands behind the dash.
        first, *others = yaml_lines(entry, f"{indent}  ") if isinstance(entry, dict) else [f"{indent}  {_scalar(entry)}"]
        yield f"{indent}- {first[len(indent) + 2 :]}"
        yield from others


def _entry(head: str, entry: Any, indent: str) -> Iterator[str]:
    if not isinstance(entry, (dict, list)):
        yield f"{head} {_scalar(entry)}"
    elif not entry:
        yield f"{head} {'{}' if isinstance(entry, dict) else '[]'}"
    else:
        yield head
        yield from yaml_lines(entry, indent)


def _scalar(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))
