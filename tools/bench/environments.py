"""A virtual environment for each contestant, from PyPI."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from .contest import ContestantError

__all__ = ["installed_version", "make_environment"]

_DONE = "installed.json"


def make_environment(folder: str, requirements: Sequence[str], options: Sequence[str] = ()) -> str:
    """The Python of an environment that has the requirements; made if it is not there.

    Raises:
        ContestantError: Where pip cannot install them, with its own line.
    """
    done, python = os.path.join(folder, _DONE), os.path.join(folder, "bin", "python")
    wanted = [list(requirements), list(options)]
    if os.path.exists(done):
        with open(done) as file:
            if json.load(file) == wanted:
                return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    result = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *options, *requirements], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise ContestantError(f"cannot be installed: {_error_line(result.stderr)}")
    with open(done, "w") as file:
        json.dump(wanted, file)
    return python


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
