"""What is worth knowing of files that were packed all the same: how many for each note, and an example."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

__all__ = ["NOTES_BYTES", "Notes"]

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
