"""Tables, sizes and names as a person reads them."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence

__all__ = [
    "display_width",
    "format_bytes",
    "format_count",
    "format_names",
    "format_table",
    "line_length",
    "printable",
    "shell_line",
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


def format_bytes(count: int) -> str:
    """`1536` to `1.5 KiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_count(count: int, thing: str) -> str:
    """`1 shard`, `1,000 shards`."""
    ending = "es" if thing.endswith("ss") else "s"
    return f"{count:,} {thing}{ending * (count != 1)}"


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
    """Names on one line, of more than ten the first ten."""
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(map(printable, names[:_MOST_NAMES])) + more


def sort_splits(splits: Iterable[str]) -> list[str]:
    """Names of splits: train, val and test before others."""
    return sorted(splits, key=lambda name: (["train", "val", "test", name]).index(name))


def printable(text: str) -> str:
    """A text in which what a terminal cannot show, or what would break the line, is escaped: file names may hold anything."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def shell_word(text: str) -> str:
    """A text as one word of a command that a shell takes as printed: `'a b'`, and `$'a\\012b'` of what no line can show."""
    if text.isprintable():
        return shlex.quote(text)
    # As bash, zsh and ksh have it; of other characters the bytes.
    shown = (
        f"\\{character}" if character in "\\'" else character if character.isprintable() else _bytes_of(character)
        for character in text
    )
    return f"$'{''.join(shown)}'"


def shell_line(command: str) -> str:
    """A command, as `shlex.join` gives it, as a shell takes it when it is printed."""
    return " ".join(map(shell_word, shlex.split(command)))


def _bytes_of(character: str) -> str:
    # Three octal digits end by themselves: what follows is never taken for one more.
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(character))
