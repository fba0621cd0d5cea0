"""The parser of the command and of each subcommand: help that begins with examples, and what was meant by a wrong word."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from .json_output import error_as_json

__all__ = ["EXIT_USAGE", "Parser", "subcommands"]

EXIT_USAGE = 2

# Words that other programs have for what a command of kseq does.
_OTHER_WORDS = {
    "build": "pack", "convert": "pack", "create": "pack", "import": "pack", "write": "pack",
    "add": "append", "check": "verify", "clean": "compact", "combine": "merge", "cp": "copy",
    "delete": "drop", "remove": "drop", "rm": "drop", "unpack": "export", "extract": "export",
    "list": "info", "ls": "info", "stats": "info", "show": "info", "open": "view", "browse": "view", "query": "sql",
    "label": "relabel", "rename": "rename-class", "revert": "undo", "benchmark": "bench", "folds": "split",
    "help": "--help", "version": "--version",
}  # fmt: skip


class Parser(argparse.ArgumentParser):
    """A parser whose help begins with examples, and whose errors name what was probably meant and where to look.

    Args:
        arguments: As of `argparse.ArgumentParser`, by name.
        examples: Command lines, the one that most need first.

    Attributes:
        examples: The same.
    """

    def __init__(self, *, examples: Sequence[str] = (), **arguments: Any) -> None:
        super().__init__(**arguments)
        self.examples = tuple(examples)
        self._words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        return self.examples_text() + super().format_help()

    def examples_text(self) -> str:
        """The examples, a line each, with the empty line behind them."""
        return "".join(["examples:\n", *(f"  {example}\n" for example in self.examples), "\n"]) if self.examples else ""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and what was wrong as JSON too if that was asked for; exit with 2."""
        message = f"{message} ({self.help_hint()})"
        if self._wants_json():
            command = self.prog.partition(" ")[2] or None
            print(error_as_json(command, "UsageError", message, EXIT_USAGE))
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")

    def refuse_words(self, words: Sequence[str], others: Iterable[tuple[str, Parser]]) -> NoReturn:
        """End with the error that these words are not options of this command; `others` are the commands that may have them."""
        options = [word for word in words if word.startswith("-")]
        if not options:
            self.error(f"{' '.join(map(repr, words))}: more than what the usage above has; a name with spaces needs quotes")
        option = options[0].partition("=")[0]
        guess = closest(option, self._option_string_actions)
        homes = [f"kseq {name}" for name, parser in others if option in parser._option_string_actions]
        meant = f"; did you mean {guess}?" if guess else f"; {' and '.join(homes[:3])} have it" if homes else ""
        self.error(f"there is no {' '.join(words)}{meant}")

    def knows_no(self, option: str) -> bool:
        """Whether it has no such option, nor one that begins with it."""
        name = option.partition("=")[0]
        return not any(known.startswith(name) for known in self._option_string_actions)

    def help_hint(self) -> str:
        """Where all options are listed."""
        option = "--help-all" if "--help-all" in self._option_string_actions else "--help"
        return f"{self.prog} {option} lists what there is"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        is_command = isinstance(action, argparse._SubParsersAction)
        guess = (_OTHER_WORDS.get(value) if is_command else None) or closest(str(value), map(str, action.choices))
        allowed = "" if is_command else f", allowed are {', '.join(map(str, action.choices))}"
        meant = f"; did you mean {'kseq ' * is_command}{guess}?" if guess else ""
        what = f"there is no command {value!r}" if is_command else f"{value!r} is not allowed"
        raise argparse.ArgumentError(None if is_command else action, f"{what}{allowed}{meant}")

    def _wants_json(self) -> bool:
        json_option = self._option_string_actions.get("--json")
        return "--json" in self._words and (json_option is None or json_option.nargs == 0)


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like a word; None if none is."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def subcommands(parser: argparse.ArgumentParser) -> dict[str, Parser]:
    """The parser of each subcommand, by the subcommand's name."""
    (action,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    parsers: dict[str, Parser] = dict(action.choices)
    return parsers
