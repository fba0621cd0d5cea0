"""What to do after an error whose text, which knows nothing of the command, does not say it."""

from __future__ import annotations

import argparse
import os

import kseq
from kseq.errors import DamagedError, DatasetNotFoundError, SourceError

from .parser import closest
from .text import shell_path

__all__ = ["next_step"]


def next_step(error: kseq.KseqError, arguments: argparse.Namespace) -> str:
    """The words to add to the text of an error; empty where that has them.

    Args:
        error: What a command raised.
        arguments: Of the command.
    """
    text = str(error)
    dataset, source = (getattr(arguments, name, None) for name in ("dataset", "source"))
    if isinstance(error, DatasetNotFoundError) and isinstance(dataset, str) and text.endswith("no such folder"):
        guess = _neighbour(dataset)
        return f": did you mean {guess}?" if guess else f": kseq pack SOURCE {shell_path(dataset)} makes it"
    if isinstance(error, SourceError) and isinstance(source, str) and not os.path.lexists(source):
        guess = _neighbour(source)
        return f"; did you mean {guess}?" if guess else ""
    if isinstance(error, DamagedError) and isinstance(dataset, str) and arguments.command != "verify":
        return f" (kseq verify {shell_path(dataset)} lists all that is damaged)"
    return ""


def _neighbour(path: str) -> str | None:
    """The path in the same folder whose name is most like this one's, which does not exist."""
    folder, name = os.path.split(path.rstrip(os.sep))
    try:
        names = [entry for entry in os.listdir(folder or os.curdir) if not entry.startswith(".")]
    except OSError:
        return None
    guess = closest(name, names)
    return None if guess is None else shell_path(os.path.join(folder, guess))
