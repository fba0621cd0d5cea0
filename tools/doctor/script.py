"""Functions of a script of the user, named as `script.py:function`."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from collections.abc import Callable
from typing import Any

from kseq.errors import ArgumentError

__all__ = ["call_function"]

# Of the module that a script is run as: what is below `if __name__ == "__main__"` is not run.
_MODULE = "kseq_doctor_script"


def call_function(option: str, name: str) -> Any:
    """What a function of a script returns, which is called without arguments.

    The script's folder is a place for imports, as it is for `python script.py`.

    Args:
        option: The option that names it, for messages.
        name: `script.py:function`.

    Raises:
        ArgumentError: If there is no such script or function, or it raises an error.
    """
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py") or not function.isidentifier():
        raise ArgumentError(f"{option} {name!r}: expected is SCRIPT.py:FUNCTION, such as train.py:make_model")
    if not os.path.isfile(path):
        raise ArgumentError(f"{option} {name}: there is no file {path}")
    return _call(option, name, _load(option, path, function))


def _load(option: str, path: str, function: str) -> Callable[[], Any]:
    folder, file = os.path.split(os.path.abspath(path))
    sys.path.insert(0, folder)
    try:
        names = _names(os.path.join(folder, file))
    except (Exception, SystemExit) as error:
        raise ArgumentError(f"{option} {path}: the script fails: {_line(error)}") from error
    found = names.get(function)
    if not callable(found):
        functions = sorted(key for key, value in names.items() if callable(value) and not key.startswith("_"))
        raise ArgumentError(f"{option} {path}: has no function {function}, it has {', '.join(functions) or 'none'}")
    call: Callable[[], Any] = found
    return call


def _names(path: str) -> dict[str, Any]:
    """What a script defines: as a module where it can be one, so that worker processes find its functions too."""
    name = os.path.basename(path)[: -len(".py")]
    if name.isidentifier() and name not in sys.modules:
        module = importlib.import_module(name)
        if os.path.abspath(getattr(module, "__file__", None) or "") == path:
            return vars(module)
    return runpy.run_path(path, run_name=_MODULE)


def _call(option: str, name: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise ArgumentError(f"{option} {name}: it is called without arguments, and fails: {_line(error)}") from error


def _line(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return 'it ends the program: what parses a command line belongs below `if __name__ == "__main__":`'
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
