"""The table of what may go wrong: each kind of fault has tests, and these exist."""

from __future__ import annotations

import ast
import re

from tests.helpers.paths import ROOT

_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_each_kind_of_fault_has_tests_that_exist() -> None:
    page = (ROOT / "docs/reference/faults.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) >= 14
    named = [_TEST.findall(row) for row in rows]
    assert all(named)
    tests = {test for tests in named for test in tests}
    there = set()
    for path in {path for path, _ in tests}:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        there |= {(path, node.name) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert not tests - there
