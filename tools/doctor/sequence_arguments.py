"""Arguments of a ShardSequence as words of a command: numbers, texts, augmentations of kseq, functions of a script."""

from __future__ import annotations

import ast
import inspect
import operator
import re
from collections.abc import Sequence
from typing import Any

import kseq
from kseq.errors import ArgumentError

from ..console.parser import closest
from .script import call_function

__all__ = ["read_arguments", "read_augment"]

_SCRIPT = re.compile(r".+\.py:[^:]*")
# What the command says in another way.
_NOT_HERE = ("dataset", "split", "storage_options")
_OPERATORS = {ast.Div: operator.truediv, ast.Mult: operator.mul, ast.Add: operator.add, ast.Sub: operator.sub}


class _NotPlainError(Exception):
    """A part of an expression is neither a value nor something of kseq; the argument is how it reads."""


def read_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """The arguments that `--argument` gives, by name.

    Args:
        texts: `NAME=VALUE`, such as `dtype=float32`, `scale=1/255` or `sample_weight=train.py:make_weights`.

    Raises:
        ArgumentError: If a text has no name of an argument of `kseq.ShardSequence`, one comes twice, or a value is none.
    """
    known = [name for name in inspect.signature(kseq.Batches).parameters if name not in _NOT_HERE]
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            guess = closest(name, known)
            meant = f"; did you mean {guess}?" if guess else ""
            raise ArgumentError(f"--argument {text!r}: expected is NAME=VALUE with an argument of kseq.ShardSequence{meant}")
        if name in found:
            raise ArgumentError(f"--argument {text!r}: {name} is given twice")
        found[name] = _read(f"--argument {text!r}", value)
    return found


def read_augment(texts: Sequence[str]) -> list[Any]:
    """What `augment` gets: the steps that `--augment` names, in their order.

    Args:
        texts: `RandomFlip()` or `kseq.RandomFlip()`, or `train.py:make_augment`, whose function returns a step or several.

    Raises:
        ArgumentError: If a text is neither.
    """
    steps: list[Any] = []
    for text in texts:
        made = _read(f"--augment {text!r}", text)
        if isinstance(made, str):
            allowed = "a call such as RandomFlip(), and SCRIPT.py:FUNCTION, which returns what augment takes"
            raise ArgumentError(f"--augment {text!r}: allowed are {allowed}")
        steps += made if isinstance(made, (list, tuple)) else [made]
    return steps


def _read(option: str, text: str) -> Any:
    """A value; a text that is no expression stands for itself, as `bilinear` does."""
    if _SCRIPT.fullmatch(text):
        return call_function(option.partition(" ")[0], text)
    try:
        expression = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return text
    if isinstance(expression, ast.Name):
        return text
    try:
        return _value(expression)
    except _NotPlainError as error:
        allowed = "numbers, texts, lists, augmentations of kseq and SCRIPT.py:FUNCTION"
        raise ArgumentError(f"{option}: {error} is none of {allowed}") from error
    except kseq.KseqError as error:
        raise ArgumentError(f"{option}: {error}") from error
    except (TypeError, ArithmeticError) as error:
        raise ArgumentError(f"{option}: {next(iter(str(error).splitlines()), '')}") from error


def _value(node: ast.expr) -> Any:
    """The value of an expression of literals, of plain arithmetic and of classes of kseq; nothing else is run."""
    if isinstance(node, ast.Call):
        arguments = {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg is not None}
        if len(arguments) < len(node.keywords):
            raise _NotPlainError(ast.unparse(node))
        return _class_of_kseq(node.func)(*map(_value, node.args), **arguments)
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_value(element) for element in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True) if key is not None}
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_number(node.left), _number(node.right))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        raise _NotPlainError(ast.unparse(node)) from error


def _number(node: ast.expr) -> Any:
    value = _value(node)
    if not isinstance(value, (int, float)):
        # Of a text, many times would be any amount of memory.
        raise _NotPlainError(ast.unparse(node))
    return value


def _class_of_kseq(node: ast.expr) -> Any:
    name = node.attr if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "kseq" else ast.unparse(node)
    found = getattr(kseq, name, None) if name in kseq.__all__ else None
    if not inspect.isclass(found):
        raise _NotPlainError(ast.unparse(node))
    return found
