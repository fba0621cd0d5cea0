"""Runs the Python and console blocks of a page from top to bottom, in the current folder.

Usage: python -m tests.docs.run_page PAGE [CODE]

CODE is run after the last block, with the names that the page made: what a test wants to know of them. `run_pages` runs several
pages in one process, since it takes longer to load TensorFlow than to run most of them. Its trainings may be cut short.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kseq_tools.main import main, make_parser
from tests.docs.pages import Block, blocks_of

# Commands on the pages that are not kseq's. They install, download or test things, and are not run.
OTHER_COMMANDS = ("pip", "git", "export", "python", "mkdocs", ".ci/check", "tar")
# They take minutes, or need a cluster. Their arguments are parsed.
SLOW_COMMANDS = ("bench", "demo", "doctor")
SLOW_OPTIONS = ("--dask",)
# They start a process for each core, which takes longer than to pack the few images of a page.
PACKING_COMMANDS = ("pack", "append")


def run_block(page: Path, block: Block, names: dict[str, Any]) -> None:
    """Run one block; a failure names the line of the page."""
    if block.language == "python":
        # Empty lines before the code make its line numbers those of the page.
        exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
    elif block.language == "console":
        for command, output in commands_of(block):
            run_command(f"{page}: {command}", command, output)


def commands_of(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that is shown below it."""
    commands: list[tuple[str, str]] = []
    for line in block.code.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], ""))
        elif commands:
            command, output = commands[-1]
            commands[-1] = (command, f"{output}{line}\n")
        else:
            raise AssertionError(f"a console block begins with {line!r}, expected is a line that begins with '$ '")
    return commands


def run_command(where: str, command: str, output: str) -> None:
    """Run a command of kseq in this process, and compare what it prints with the output that a page shows.

    In the output, `...` stands for anything, as in doctest.
    """
    words = shlex.split(command)
    if words[0] in OTHER_COMMANDS:
        return
    assert words[0] == "kseq", f"{where}: neither kseq nor one of {', '.join(OTHER_COMMANDS)}"
    if words[1] in SLOW_COMMANDS or any(option in words for option in SLOW_OPTIONS):
        make_parser().parse_args(words[1:])
        return
    if words[1] in PACKING_COMMANDS and not {"--workers", "--executor"} & set(words):
        words += ["--workers", "0"]
    # Some commands write bytes, as a terminal takes them.
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written, encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(stdout):
        code = main(words[1:])
    printed = written.getvalue().decode()
    assert code == 0, f"{where}: exit code {code}\n{printed}"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    matches = not output or doctest.OutputChecker().check_output(output, printed, flags)
    assert matches, f"{where}: prints\n{printed}\nthe page shows\n{output}"


def run_page(page: Path, code: str = "") -> None:
    """Run all blocks of a page, then some code."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of(page):
        run_block(page, block, names)
    exec(compile(code, "the test's code", "exec"), names)


class PageRun(NamedTuple):
    """A page to run.

    Attributes:
        page: Its path.
        check: Code that runs after its last block.
        workspace: A folder; the page runs in a copy of it.
        cut_short: Whether each `fit` has one epoch of two steps at most, whatever the page says, and TensorFlow traces no
            graph, which takes longer than such an epoch: then nothing is learned, and all else is as ever.
    """

    page: str
    check: str
    workspace: str
    cut_short: bool


def run_pages(folder: Path, runs: list[PageRun]) -> None:
    """Run pages, one after the other; the last line printed is JSON: what each page failed with, or ""."""
    failures = {}
    for number, run in enumerate(runs):
        os.chdir(shutil.copytree(run.workspace, folder / str(number)))
        try:
            with _one_epoch() if run.cut_short else contextlib.nullcontext():
                run_page(Path(run.page), run.check)
        except BaseException:
            failures[run.page] = traceback.format_exc()
        else:
            failures[run.page] = ""
    print("\n" + json.dumps(failures))


@contextlib.contextmanager
def _one_epoch() -> Iterator[None]:
    """Every `fit` of Keras has one epoch of two steps at most, step by step."""
    import keras
    import tensorflow as tf

    fit = keras.Model.fit

    def fit_once(model: Any, data: Any, *arguments: Any, epochs: int = 1, **options: Any) -> Any:
        for name, of_steps in (("steps_per_epoch", data), ("validation_steps", options.get("validation_data"))):
            if isinstance(of_steps, keras.utils.PyDataset):
                options.setdefault(name, min(2, len(of_steps)))
        return fit(model, data, *arguments, epochs=min(epochs, options.get("initial_epoch", 0) + 1), **options)

    keras.Model.fit = fit_once
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        keras.Model.fit = fit
        tf.config.run_functions_eagerly(False)


if __name__ == "__main__":
    run_page(Path(sys.argv[1]), *sys.argv[2:])
