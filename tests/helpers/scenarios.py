"""Scenarios that run in processes of their own, each on one of Keras's backends."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.helpers.processes import RunPython


class Scenarios:
    """What the scenarios of a module found, by name. A group of them runs, in one process, when one of it is asked for.

    Args:
        module: Its name in this folder. Its `main` takes words and names of scenarios, and prints what each found, as JSON.
        words: Makes the words that come before the names, for each process.
        groups: The names.
        backend: Keras's. Where it is not installed, the test is skipped.
        run_python: The fixture.
    """

    def __init__(
        self,
        module: str,
        words: Callable[[], list[object]],
        groups: Sequence[Sequence[str]],
        backend: str,
        run_python: RunPython,
    ) -> None:
        if importlib.util.find_spec(backend) is None:
            pytest.skip(f"{backend} is not installed")
        self._code = f"from tests.helpers import {module}; {module}.main()"
        self._words = words
        self._groups = groups
        self.backend = backend
        self._run_python = run_python
        self._found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            (names,) = (group for group in self._groups if name in group)
            done = self._run_python(self._code, *self._words(), *names, backend=self.backend, timeout=500)
            self._found |= json.loads(done.stdout.splitlines()[-1])
        return self._found[name]
