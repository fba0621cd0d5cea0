"""Runs the Python and console blocks of a page from top to bottom, in the current folder.

Usage: python -m tests.docs.run_page PAGE [CODE]

CODE is run after the last block, with the names that the page made: what a test wants to know of them. `run_pages` runs several
pages in one process, since it takes longer to load TensorFlow than to run most of them.
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
from pathlib import Path
from typing import Any

from kseq_tools.main import main, make_parser
from tests.docs.pages import Block, blocks_of

# Commands on the pages that are not kseq's. They install, download or test things, and are not run.
OTHER_COMMANDS = ("pip", "git", "export", "python", "mkdocs", ".ci/check", "tar")
# They take minutes, or need a cluster. Their arguments are parsed.
SLOW_COMMANDS = ("bench", "demo")
SLOW_OPTIONS = ("--dask",)


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


def run_pages(workspace: Path, folder: Path, pages: list[Path]) -> None:
    """Run each page in a copy of its own of the workspace; the last line printed is JSON: what each page failed with, or ""."""
    failures = {}
    for number, page in enumerate(pages):
        os.chdir(shutil.copytree(workspace, folder / str(number)))
        try:
            run_page(page)
        except BaseException:
            failures[str(page)] = traceback.format_exc()
        else:
            failures[str(page)] = ""
    print("\n" + json.dumps(failures))


if __name__ == "__main__":
    run_page(Path(sys.argv[1]), *sys.argv[2:])
