"""`kseq`: finds the subcommand, runs it, and turns what it raises into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import kseq
from kseq.arguments import SPELLING

from .commands import (
    add_field,
    append,
    card,
    compact,
    copy,
    demo,
    doctor,
    drop,
    export,
    info,
    merge,
    pack,
    relabel,
    rename_class,
    split,
    undo,
    verify,
    view,
)
from .commands import bench as bench
from .console.spelling import OptionSpelling
from .console.text import printable

_COMMANDS = (
    pack,
    append,
    merge,
    copy,
    info,
    view,
    doctor,
    verify,
    split,
    drop,
    relabel,
    rename_class,
    add_field,
    compact,
    undo,
    export,
    card,
    demo,
    bench,
)

# After a signal: 128 plus its number, as shells have it. SIGINT is 2, SIGTERM 15.
EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 130, 143


class _Terminated(KeyboardInterrupt):
    """SIGTERM came. Everything stops and is cleared away as after Ctrl-C."""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = argparse.ArgumentParser(prog="kseq", description="Packs images into HDF5 shards, and looks after them.")
    parser.add_argument("--version", action="version", version=f"kseq {kseq.__version__}")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 if it failed, 2 for wrong usage, 130 after Ctrl-C, 143 after SIGTERM."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = make_parser()
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        # The first word is the command: no option that may stand before it takes a value.
        help_option = "--help-all" if words[0] == "pack" else "--help"
        parser.error(f"there is no {' '.join(unknown)} (kseq {words[0]} {help_option} lists what there is)")
    try:
        with _sigterm_raises(), _options_in_messages(parser, arguments.command), _warnings_in_lines():
            code: int = arguments.run(arguments)
        sys.stdout.flush()
    except kseq.KseqError as error:
        print(f"kseq: {printable(str(error))}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt as stop:
        is_ours = isinstance(stop, _Terminated)
        print(": ".join(["kseq", "terminated" if is_ours else "interrupted", *stop.args]), file=sys.stderr)
        return EXIT_TERMINATED if is_ours else EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of the output wants no more. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is not None:
            print(f"kseq: {printable(str(error.filename))}: {reason}", file=sys.stderr)
            return EXIT_FAILED
        # An error that names no file comes from writing to stdout, the only output of the command itself.
        print(f"kseq: the output cannot be written: {reason}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return code


@contextmanager
def _options_in_messages(parser: argparse.ArgumentParser, command: str) -> Iterator[None]:
    """Let messages of the library name options of the command in place of arguments."""
    (parsers,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    token = SPELLING.set(OptionSpelling(parsers, command))
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


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into an exception, unless the process was started with another handler of it, or ignores it."""
    is_ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if is_ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(*_: object) -> None:
    raise _Terminated
