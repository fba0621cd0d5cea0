"""Arguments of kseq's functions as the options of the command, for messages."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .text import option_words, shell_word

__all__ = ["OptionSpelling"]

# Arguments whose options have other names; those of objects are called like their attributes.
_NAMES = {"columns.split": "split_column", "executor": "dask"}


class OptionSpelling:
    """Arguments and calls as a shell has them: `--val 0.2`, `kseq compact flowers`.

    Args:
        find_parser: The parser of a subcommand; None where there is no such command.
        command: The subcommand that runs.
    """

    def __init__(self, find_parser: Callable[[str], argparse.ArgumentParser | None], command: str) -> None:
        self._find_parser = find_parser
        self._command = command

    def argument(self, name: str, *value: Any, **attributes: Any) -> str:
        if attributes:
            return " ".join(self._spell(self._command, f"{name}.{attribute}", value) for attribute, value in attributes.items())
        return self._spell(self._command, name, *value)

    def call(self, function: str, *values: Any, **arguments: Any) -> str:
        command = function.replace("_", "-")
        words = ["kseq", command, *(shell_word(str(value)) for value in values)]
        return " ".join([*words, *(self._spell(command, name, value) for name, value in arguments.items())])

    def _spell(self, command: str, name: str, *value: Any) -> str:
        name = _NAMES.get(name, name.rpartition(".")[2])
        action = self._action(command, name)
        if action is None:
            return _line(option_words(f"--{name.replace('_', '-')}", _words(*value)))
        if not action.option_strings:
            return " ".join([str(action.metavar or name), *map(shell_word, _words(*value))])
        option = action.option_strings[0]
        if isinstance(action, argparse.BooleanOptionalAction):
            return action.option_strings[1] if value == (False,) else option
        is_each = isinstance(action, argparse._AppendAction) and action.nargs is None
        return option if action.nargs == 0 else _line(option_words(option, _words(*value), is_each=is_each))

    def _action(self, command: str, name: str) -> argparse.Action | None:
        parser = self._find_parser(command)
        return next((action for action in parser._actions if action.dest == name), None) if parser is not None else None


def _line(words: Sequence[str]) -> str:
    return " ".join(map(shell_word, words))


def _words(*value: Any) -> list[str]:
    """A value as words; none for objects, which no shell can give."""
    if not value or value[0] is None or isinstance(value[0], bool):
        return []
    if isinstance(value[0], Mapping):
        return [f"{name}={item}" for name, item in value[0].items()]
    if isinstance(value[0], (list, tuple)):
        return ["=".join(item) if isinstance(item, tuple) else str(item) for item in value[0]]
    return [str(value[0])] if isinstance(value[0], (str, int, float)) else []
