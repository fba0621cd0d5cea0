"""Tables and names as a terminal shows them; with what it has in common with notebooks."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Collection, Sequence

from kseq.display import words
from kseq.display.commands import option_words, shell_line, shell_path, shell_word
from kseq.display.words import format_bytes, format_count, printable, sort_splits

__all__ = [
    "display_width",
    "format_bytes",
    "format_count",
    "format_names",
    "format_table",
    "line_length",
    "option_words",
    "printable",
    "shell_line",
    "shell_path",
    "shell_word",
    "shortened",
    "sort_splits",
]

# Of a long list of names, so many are shown.
_MOST_NAMES = 10

# Of lines that no terminal shows.
_LINE_LENGTH = 100
# Of a name in a table.
_LONGEST_NAME = 40


def format_table(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Rows of cells in columns, those of `left` aligned left, the others right."""
    widths = [max(display_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        spaces = [" " * (width - display_width(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = (
            cell + space if column in left else space + cell
            for column, (cell, space) in enumerate(zip(row, spaces, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def display_width(text: str) -> int:
    """How many columns of a terminal a text takes: characters of Chinese, Japanese and Korean take two, accents none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def line_length() -> int:
    """How long a line may be: as the terminal is wide, elsewhere 100."""
    return shutil.get_terminal_size((_LINE_LENGTH, 24)).columns if sys.stdout.isatty() else _LINE_LENGTH


def shortened(name: str) -> str:
    """A name in a table: of a long one the beginning."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def format_names(names: Sequence[str]) -> str:
    """Names in one line, of more than ten the first ten."""
    return words.format_names(names, _MOST_NAMES)
