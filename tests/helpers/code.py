"""Reading the code of kseq itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def texts_of(module: Path) -> Iterator[ast.Constant]:
    """The strings in a module that are not docstrings."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node
