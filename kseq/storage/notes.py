"""What is worth knowing of a packing: notes of files that were packed all the same, and lines that an index keeps."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kseq.arguments import spelled

__all__ = ["NOTES_BYTES", "PACKING_NOTES", "Notes", "format_lines", "note_lines", "parse_lines"]

PACKING_NOTES = "packing_notes"
"""The attribute of an index that has the lines of its packing."""
# An attribute of HDF5 has at most 64 KiB.
_LINES_BYTES, _LONGEST_LINE = 32 << 10, 1000

# An attribute of a shard has this length, whatever it says, since arrays are written before it is known.
NOTES_BYTES = 2048
_LONGEST_EXAMPLE = 120


@dataclass
class Notes:
    """Notes of files, counted.

    Attributes:
        counts: Note to the number of files that it is of.
        examples: Note to the path of the first of them.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, path: bytes, text: str) -> None:
        """Count a note of one file."""
        self.counts[text] = self.counts.get(text, 0) + 1
        self.examples.setdefault(text, os.fsdecode(path)[-_LONGEST_EXAMPLE:])

    def update(self, other: Notes) -> None:
        """Count the notes of others too."""
        for text, count in other.counts.items():
            self.counts[text] = self.counts.get(text, 0) + count
            self.examples.setdefault(text, other.examples.get(text, ""))

    def as_attribute(self) -> str:
        """The notes as ASCII text of `NOTES_BYTES` characters; the most frequent ones, if there is no room for all."""
        frequent = sorted(self.counts, key=lambda text: -self.counts[text])
        entries = [[text, self.counts[text], self.examples[text]] for text in frequent]
        while len(encoded := json.dumps(entries)) > NOTES_BYTES:
            entries.pop()
        return encoded.ljust(NOTES_BYTES)

    @classmethod
    def from_attribute(cls, text: object) -> Notes:
        """What `as_attribute` wrote; no notes if a file has none, or has other ones: they are of no effect on anything."""
        notes = cls()
        try:
            for note, count, example in json.loads(str(text)):
                notes.counts[str(note)], notes.examples[str(note)] = int(count), str(example)
        except (ValueError, TypeError, OverflowError, RecursionError):
            return cls()
        return notes


def note_lines(counts: Mapping[str, int], examples: Mapping[str, str]) -> list[str]:
    """Notes of files, a line each, with the argument of a packing that changes what a note says.

    Args:
        counts: Note to the number of files that it is of.
        examples: Note to the path of one of them.
    """
    return [
        f"of {count:,} image{'s' * (count != 1)}, such as {examples[note]}: {note}{_way_out(note)}"
        for note, count in counts.items()
    ]


def _way_out(note: str) -> str:
    if "transparent" in note:
        return f" ({spelled('images.background', 'white')} puts a colour behind them)"
    if "channels, of which" in note or "fourth channel" in note:
        return f" ({spelled('images.encoding', 'raw')} {spelled('images.channels', 4)}, or as many as there are, keeps all)"
    if " bits" not in note or "8 bits a channel" in note:
        return ""
    keeps = f"{spelled('images.encoding', 'raw')} {spelled('images.dtype', 'uint16')} keeps all of them"
    return f" ({spelled('images.bits')} says how many bits the values have, {keeps})"


def format_lines(lines: Sequence[str]) -> str:
    """Lines as the text of an attribute; the first ones, if there is no room for all."""
    kept = [line[:_LONGEST_LINE] for line in lines]
    while len(encoded := json.dumps(kept)) > _LINES_BYTES:
        kept.pop()
    return encoded


def parse_lines(text: object) -> tuple[str, ...]:
    """What `format_lines` wrote; nothing for an index that has no such attribute, or another one."""
    try:
        lines = json.loads(text) if isinstance(text, str) else []
    except (ValueError, RecursionError):
        return ()
    return tuple(line for line in lines if isinstance(line, str)) if isinstance(lines, list) else ()
