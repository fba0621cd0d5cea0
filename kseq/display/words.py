"""Counts, sizes and names as people read them, in notebooks as in terminals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["format_bytes", "format_count", "format_names", "format_numbers", "printable", "sort_splits", "visible"]

# So many characters of a name, and so many names of a list, are shown.
_LONGEST_NAME, _MOST_NAMES = 60, 5


def format_bytes(count: int) -> str:
    """`1536` to `1.5 KiB`."""
    if count < 1024:
        return f"{count} B"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def format_count(count: int, thing: str) -> str:
    """`1 shard`, `1,000 shards`, `2 classes`, `3 batches`."""
    ending = "es" if thing.endswith(("s", "ch", "x")) else "s"
    return f"{count:,} {thing}{ending if count != 1 else ''}"


def format_names(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    """Names in one line, of many the first ones."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(visible, names[:most])) + more


def format_numbers(numbers: Mapping[str, int], most: int = 12) -> str:
    """`train 80, val 20`; of many the first ones."""
    shown = [f"{visible(name)} {count:,}" for name, count in list(numbers.items())[:most]]
    return ", ".join(shown) + (f" and {len(numbers) - most:,} more" if len(numbers) > most else "")


def sort_splits(splits: Iterable[str]) -> list[str]:
    """Names of splits: train, val and test before others."""
    return sorted(splits, key=lambda name: ["train", "val", "test", name].index(name))


def visible(text: str, longest: int = _LONGEST_NAME) -> str:
    """A text in one line, as `printable` has it, and cut where it is longer than `longest`."""
    return printable(text if len(text) <= longest else f"{text[: longest - 3]}...")


def printable(text: str) -> str:
    """A text in which what nobody can see, or what would break the line, is escaped: file names may hold anything."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )
