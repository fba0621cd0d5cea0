"""Writes docs/reference/command-line.md from the parsers of the `kseq` command.

Usage: python docs/scripts/command_line.py

A test compares the page with what this makes, so that no command and no option is missing from it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from kseq_tools.console.parser import Parser, subcommands
from kseq_tools.main import make_parser

PAGE = Path(__file__).parents[1] / "reference" / "command-line.md"

_HEAD = """\
# The command line

`kseq --help` lists the commands, and `kseq COMMAND --help` prints what is below for one of them.
`kseq pack --help` shows the options that are used most, and `kseq pack --help-all` every option.
Progress and messages go to the standard error stream, results to the standard output.

| exit code | meaning |
| ---: | --- |
| 0 | done |
| 1 | failed, with one line on the standard error stream; `kseq verify`: something is damaged |
| 2 | the arguments are wrong |
| 130 | interrupted by Ctrl-C |
| 143 | terminated by SIGTERM |

With `--json` every command prints one JSON object on the standard output, of an error too:

| value | of a command that did its work | of one that did not |
| --- | --- | --- |
| `command` | its name | its name, `null` for a command that there is not |
| `ok` | `true`; `false` where `kseq verify` found damage | `false` |
| `error` | | an object of `type` (the class of the error, `UsageError` for wrong arguments), `message` and `exit_code` |
| others | the attributes of its report, as [the reference](index.md) has them | |

`kseq info --samples --json` prints one object for each sample instead, a line each. `kseq view --json` prints its object in
one line before it serves, with `dataset`, `url`, `host`, `port` and `token`: so a program knows where to ask. How it ends, its
exit code says. `kseq preview --json` lists the samples that the thumbnails would show; `kseq completion --json` has the whole
script in `script`; `kseq bench --json FILE` writes its figures into a file instead. Progress and messages still go to the
standard error stream.

A SIZE is a number of bytes, or a number with `K`, `M` or `G`: `64M` are 64 MiB. A SHARE is a number
above 0 and below 1.

<!-- Written by docs/scripts/command_line.py from the help texts in tools/commands. -->
"""


def make_page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEAD, *(_command(name, parser) for name, parser in commands().items())])


def commands() -> dict[str, Parser]:
    """The parser of each subcommand, by the subcommand's name."""
    return subcommands(make_parser())


def _command(name: str, parser: Parser) -> str:
    lines = [
        f"## kseq {name}",
        "",
        _escape(parser.description or ""),
        "",
        "```text",
        _usage(parser),
        "",
        *parser.examples,
        "```",
        "",
    ]
    for group in parser._action_groups:
        options = [line for action in group._group_actions for line in _option(parser, action)]
        if options:
            title = {"positional arguments": "arguments"}.get(group.title or "", group.title or "")
            lines += [f"**{title.capitalize()}**", "", *options, ""]
    return "\n".join(lines)


def _usage(parser: argparse.ArgumentParser) -> str:
    if parser.usage:
        return parser.usage
    words = [parser.prog]
    for action in parser._actions:
        if not action.option_strings:
            words.append(str(action.metavar))
    return " ".join([*words, "[options]"])


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Iterator[str]:
    """One line for an argument or option: how it is written, and its help text."""
    if action.help in (None, argparse.SUPPRESS):
        raise AssertionError(f"{parser.prog}: {action.dest} has no help text")
    if isinstance(action, argparse._HelpAction) or "-h" in action.option_strings:
        return
    help_text = parser._get_formatter()._expand_help(action)
    yield f"- {', '.join(f'`{word}`' for word in _spellings(action))}: {_escape(help_text)}"


def _spellings(action: argparse.Action) -> list[str]:
    if not action.option_strings:
        return [str(action.metavar)]
    return [f"{option} {_values(action)}".rstrip() for option in action.option_strings]


def _values(action: argparse.Action) -> str:
    """The words that follow an option."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return ""
    if action.metavar is None:
        return "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    return f"{action.metavar} [{action.metavar} ...]" if action.nargs == "+" else action.metavar


def _escape(text: str) -> str:
    """Text in which no character is Markdown's."""
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", text)


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
