"""What holds for the whole of the library: what importing it loads, and what its names promise."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import kseq
from kseq import errors
from tests.helpers.paths import ROOT
from tests.helpers.processes import RunPython


def test_importing_kseq_loads_no_keras(run_python: RunPython) -> None:
    done = run_python(
        "import sys, kseq, kseq_tools.main; print([n for n in ('keras', 'tensorflow', 'jax', 'torch') if n in sys.modules])"
    )
    assert done.stdout.strip() == "[]"


def test_every_room_imports_only_the_rooms_below_it() -> None:
    """The contracts of setup.cfg, as `lint-imports` checks them."""
    code = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "KseqError"])
def test_every_error_is_a_kseq_error_and_a_builtin_that_fits(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, kseq.KseqError)
    assert issubclass(error, (ValueError, IndexError, OSError, RuntimeError))


@pytest.mark.parametrize("name", [name for name in kseq.__all__ if not isinstance(getattr(kseq, name), tuple)])
def test_every_public_name_has_a_docstring(name: str) -> None:
    thing = getattr(kseq, name)
    assert inspect.getdoc(thing)
    if not callable(thing):
        return
    for member, value in vars(thing).items():
        if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(value), f"{name}.{member}"
