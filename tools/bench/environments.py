"""A virtual environment for each contestant, from PyPI."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from .contest import ContestantError
from .stamps import make_once

__all__ = ["installed_version", "make_environment"]


def make_environment(
    folder: str, requirements: Sequence[str], options: Sequence[str] = (), begins: Callable[[], object] = lambda: None
) -> str:
    """The Python of an environment that has the requirements; `begins` is called if it must be made.

    Raises:
        ContestantError: Where there can be no environment, or where pip cannot install them, with its own line.
    """
    python = os.path.join(folder, "bin", "python")

    def make() -> None:
        begins()
        made = _run([sys.executable, "-m", "venv", folder])
        if made.returncode:
            # Where Debian's python3-venv is missing, it is the first of several lines that says so.
            raise ContestantError(f"no virtual environment can be made: {' '.join((made.stdout + made.stderr).split())[:200]}")
        installed = _run([python, "-m", "pip", "install", "--quiet", *options, *requirements])
        if installed.returncode:
            raise ContestantError(f"cannot be installed: {_error_line(installed.stderr)}")

    make_once(folder, json.dumps([list(requirements), list(options)]), make)
    return python


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ContestantError(f"{command[0]} cannot be run: {error.strerror}") from error


def _error_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "fatal")) or "Error:" in line]
    return (errors or lines or ["pip said nothing"])[-1][:200]


def installed_version(python: str, package: str) -> str:
    """The version of a package in an environment, or nothing."""
    if python == sys.executable:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return ""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
