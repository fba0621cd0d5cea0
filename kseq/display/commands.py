"""Commands that are shown, as a shell takes them when somebody copies them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

__all__ = ["as_operand", "option_words", "shell_line", "shell_path", "shell_word"]

# argparse takes what looks like a number for a value.
_LIKE_OPTION = re.compile(r"-(?!(\d+|\d*\.\d+)$)")


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


def shell_path(path: str) -> str:
    """A path as one word of a command, as `shell_word` has it, and none that looks like an option."""
    return shell_word(as_operand(path))


def as_operand(path: str) -> str:
    """A path that no command takes for an option: one that begins with a dash gets its folder."""
    return f"./{path}" if path.startswith("-") else path


def option_words(option: str, values: Sequence[str], *, is_each: bool = False) -> list[str]:
    """An option with its values as words of a command; a value that would be taken for an option stands behind `=`.

    Args:
        option: The option, such as `--class-names`.
        values: Its values; where there are none, the option stands alone.
        is_each: Whether the option stands before each value, or before all of them.
    """
    words, is_open = ([] if values else [option]), False
    for value in values:
        if _LIKE_OPTION.match(value):
            words.append(f"{option}={value}")
            is_open = False
        else:
            words += [value] if is_open else [option, value]
            is_open = not is_each
    return words


def shell_line(command: str) -> str:
    """A command, as `shlex.join` gives it, as a shell takes it when it is printed."""
    return " ".join(map(shell_word, shlex.split(command)))


def _bytes_of(character: str) -> str:
    # Three octal digits end by themselves: what follows is never taken for one more.
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(character))
