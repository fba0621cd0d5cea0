"""`kseq`: finds the subcommand, runs it, and turns what it raises into one line and an exit code."""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import kseq
from kseq.arguments import SPELLING
from kseq.platforms.stop_signals import CTRL_C, stopping_once

from .console.json_output import error_as_json
from .console.next_step import next_step
from .console.parser import Parser, subcommands
from .console.spelling import OptionSpelling
from .console.text import printable

# In the order of the help. Each is loaded when it is asked for: to load all takes longer than many of them run.
COMMANDS = (
    "pack",
    "append",
    "merge",
    "copy",
    "info",
    "sql",
    "preview",
    "view",
    "doctor",
    "verify",
    "split",
    "drop",
    "relabel",
    "rename-class",
    "add-field",
    "compact",
    "undo",
    "export",
    "card",
    "demo",
    "bench",
    "completion",
)
# They say what all commands have.
_OF_ALL = ("completion",)

# After a signal: 128 plus its number, as shells have it. SIGINT is 2, SIGTERM 15.
EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 130, 143


class _Terminated(KeyboardInterrupt):
    """SIGTERM came. Everything stops and is cleared away as after Ctrl-C."""


_STOPS = {**CTRL_C, signal.SIGTERM: _Terminated}


def make_parser(names: Sequence[str] = COMMANDS) -> Parser:
    """The parser of the whole command, or of some subcommands alone."""
    parser = Parser(
        prog="kseq",
        description="Packs images into HDF5 shards, and looks after them. kseq pack alone looks at the folder that you are in "
        "and proposes a command.",
        examples=("kseq pack photos flowers --val 0.2", "kseq info flowers"),
    )
    parser.add_argument("--version", action="version", version=f"kseq {kseq.__version__}")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name in names:
        module = importlib.import_module(f".commands.{name.replace('-', '_')}", __package__)
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 if it failed, 2 for wrong usage, 130 after Ctrl-C, 143 after SIGTERM.

    Without `argv`, it runs the words that the program was started with, and the program is to end then.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = argparse.Namespace(command=None)
    try:
        with stopping_once(_STOPS, is_last=argv is None):
            _parse(words, arguments)
            with _options_in_messages(arguments.command), _warnings_in_lines():
                code: int = arguments.run(arguments)
            sys.stdout.flush()
    except kseq.KseqError as error:
        return _failed(arguments, error, _line_of(error, arguments))
    except KeyboardInterrupt as stop:
        if isinstance(stop.__cause__, kseq.KseqError):
            print(f"kseq: {_line_of(stop.__cause__, arguments)}", file=sys.stderr)
        is_ours = isinstance(stop, _Terminated)
        text = ": ".join(["terminated" if is_ours else "interrupted", *map(str, stop.args)])
        return _failed(arguments, stop, text, EXIT_TERMINATED if is_ours else EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of the output wants no more. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is not None:
            return _failed(arguments, error, f"{printable(str(error.filename))}: {reason}")
        # An error that names no file comes from writing to stdout, the only output of the command itself.
        print(f"kseq: the output cannot be written: {reason}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return code


def _parse(words: list[str], arguments: argparse.Namespace) -> None:
    """Parse the words of the command into `arguments`; ends the program if they are wrong."""
    is_one = bool(words) and words[0] in COMMANDS and words[0] not in _OF_ALL
    parser = make_parser(words[:1] if is_one else COMMANDS)
    if not words:
        parser.error("a command is missing")
    if words[0].startswith("-") and parser.knows_no(words[0]):
        parser.refuse_words(words[:1], ())
    _, unknown = parser.parse_known_args(words, arguments)
    if unknown:
        subcommands(parser)[arguments.command].refuse_words(unknown, subcommands(make_parser()).items())


def _line_of(error: kseq.KseqError, arguments: argparse.Namespace) -> str:
    return printable(f"{error}{next_step(error, arguments)}")


def _failed(arguments: argparse.Namespace, error: BaseException, message: str, exit_code: int = EXIT_FAILED) -> int:
    """Print what went wrong: a line on stderr, and where JSON is wanted an object on stdout; returns the exit code."""
    if getattr(arguments, "json", None) is True:
        kind = "KeyboardInterrupt" if isinstance(error, KeyboardInterrupt) else type(error).__name__
        print(error_as_json(arguments.command, kind, message, exit_code), flush=True)
    print(f"kseq: {message}", file=sys.stderr)
    return exit_code


@functools.cache
def _find_parser(command: str) -> Parser | None:
    """The parser of a subcommand, if there is one of this name."""
    return subcommands(make_parser((command,)))[command] if command in COMMANDS else None


@contextmanager
def _options_in_messages(command: str) -> Iterator[None]:
    """Let messages of the library name options of the command in place of arguments."""
    token = SPELLING.set(OptionSpelling(_find_parser, command))
    try:
        yield
    finally:
        SPELLING.reset(token)


@contextmanager
def _warnings_in_lines() -> Iterator[None]:
    """Print what the library tells in one line each, without the place in its code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"kseq: {printable(str(message))}", file=sys.stderr)
        yield
