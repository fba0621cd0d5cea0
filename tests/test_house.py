"""What holds for the whole of the library: what importing it loads, and what its names promise."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path

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


def test_importing_kseq_loads_only_its_errors_and_a_training_no_source(run_python: RunPython) -> None:
    done = run_python(
        "import sys, kseq\n"
        "print(sorted(n for n in sys.modules if n.startswith('kseq')), 'numpy' in sys.modules)\n"
        "kseq.ShardDataset, kseq.Batches, kseq.RandomFlip\n"
        "rooms = ('kseq.sources', 'kseq.packing', 'kseq.editing', 'kseq.exporting', 'kseq.viewing', 'asyncio')\n"
        "print([n for n in sys.modules if n.startswith(rooms)])"
    )
    assert done.stdout.splitlines() == ["['kseq', 'kseq.errors', 'kseq.platforms', 'kseq.platforms.forks'] False", "[]"]


FORK_WHILE_LOADING = """
import os, sys, threading, time, kseq
folder = sys.argv[1]
sys.path.insert(0, folder)
kseq._HOMES["Slow"] = "slow"
threading.Thread(target=lambda: kseq.Slow).start()
while not os.path.exists(f"{folder}/begun"):
    time.sleep(0.01)
child = os.fork()
if not child:
    # A child that hangs is ended, and not waited for.
    import signal
    signal.alarm(20)
    os._exit(0 if kseq.Slow == 1 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_forks_while_a_thread_loads_a_name_has_it_too(tmp_path: Path, run_python: RunPython) -> None:
    code = f"import time\nopen({str(tmp_path / 'begun')!r}, 'w').close()\ntime.sleep(1)\nSlow = 1\n"
    (tmp_path / "slow.py").write_text(code)
    assert run_python(FORK_WHILE_LOADING, tmp_path).stdout.strip() == "0"


def test_what_type_checkers_see_of_kseq_is_what_is_loaded_when_asked_for() -> None:
    (block,) = [node for node in ast.parse(Path(kseq.__file__).read_text()).body if isinstance(node, ast.If)]
    seen = {name.name: part.module for part in block.body if isinstance(part, ast.ImportFrom) for name in part.names}
    assert seen == kseq._HOMES
    assert sorted([*seen, "KseqError", "errors"]) == sorted(kseq.__all__)
    assert {*kseq.__all__} <= {*dir(kseq)}
    with pytest.raises(AttributeError, match="kseq.*pakc"):
        kseq.pakc  # noqa: B018 - the access is what is tested


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


# Public names that are values, such as the formats of sources, have no signature.
CALLABLE = [name for name in kseq.__all__ if callable(getattr(kseq, name))]

# Members of public classes for kseq's own packages, whose types users need not know.
INTERNAL = {"Field.handler"}


def types_of(hint: object) -> Iterator[type]:
    """The classes of kseq that a type hint consists of."""
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        if hint.__module__.partition(".")[0] == "kseq":
            yield hint
        return
    for argument in typing.get_args(hint):
        for part in argument if isinstance(argument, list) else [argument]:
            yield from types_of(part)


def with_hints(thing: object) -> Iterator[object]:
    """What has the type hints of a public name: a function; or a class, its initializer, methods and properties."""
    yield thing
    if inspect.isclass(thing):
        for name in dir(thing):
            member = inspect.getattr_static(thing, name)
            function = next(
                (getattr(member, entry) for entry in ("__func__", "fget", "func") if hasattr(member, entry)), member
            )
            if (name == "__init__" or not name.startswith("_")) and inspect.isfunction(function):
                yield function


def classes_of_kseq() -> dict[str, type]:
    """All classes of kseq by name, since some are imported for type checking alone where a hint names them."""
    modules = [module for name, module in sys.modules.items() if name.startswith("kseq.")]
    return {name: value for module in modules for name, value in vars(module).items() if inspect.isclass(value)}


@pytest.mark.parametrize("name", CALLABLE)
def test_every_type_in_a_public_signature_or_report_is_public(name: str) -> None:
    public = {getattr(kseq, entry) for entry in CALLABLE} | {getattr(errors, error) for error in errors.__all__}
    for thing in with_hints(getattr(kseq, name)):
        if thing.__module__.partition(".")[0] != "kseq" or thing.__qualname__ in INTERNAL:
            continue
        for argument, hint in typing.get_type_hints(thing, localns=classes_of_kseq()).items():
            private = [entry for entry in types_of(hint) if entry not in public and not argument.startswith("_")]
            assert not private, f"{thing.__qualname__}: {argument} is {private}"


@pytest.mark.parametrize("name", [name for name in kseq.__all__ if name.endswith("Report")])
def test_reports_have_one_form(name: str) -> None:
    report = getattr(kseq, name)
    fields = {field.name: field for field in dataclasses.fields(report)}
    assert report.__dataclass_params__.frozen
    assert next(iter(fields)) == "path"
    documented = re.findall(r"^ {4}(\w+): ", inspect.getdoc(report) or "", re.MULTILINE)
    assert documented == list(fields)
    long = {name for name, field in fields.items() if name == "class_names" or field.type.startswith("list[")}
    assert not any(fields[name].repr for name in long)
    # Numbers are called by what they count.
    assert all(name.startswith("num_") or name == "class_number" for name, field in fields.items() if field.type == "int")


# What one of Linux, macOS and Windows lacks, or has in another way.
SYSTEM_MODULES = {"ctypes", "fcntl", "grp", "msvcrt", "pty", "pwd", "resource", "select", "termios", "winreg"}
SYSTEM_NAMES = re.compile(
    r"(os\.(fork\w*|register_at_fork|p(read|write)v?|fsync|fdatasync|f?statvfs|memfd\w*|MFD_\w*|sched_\w*|nice|[gs]etpriority"
    r"|O_(?!RDONLY|RDWR|CREAT|EXCL)\w*|get(e?[ug]id|pgid|sid)|setsid|kill(pg)?|posix_\w*|uname|mkfifo|name|replace|rename)"
    r"|sys\.platform|signal\.(pthread_\w*|SIG(KILL|STOP|HUP|ALRM|USR[12]|CHLD))|mmap\.(MAP_|PROT_|MADV_)\w*)$"
)


def test_only_the_room_for_it_knows_what_systems_differ_in() -> None:
    for module in sorted(path for path in (ROOT / "kseq").rglob("*.py") if path.parent.name != "platforms"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                imported = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert not SYSTEM_MODULES & set(imported), f"{module}: imports {imported}"
            elif isinstance(node, ast.Attribute):
                assert not SYSTEM_NAMES.match(ast.unparse(node)), f"{module}: {ast.unparse(node)}"
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.startswith(("/proc/", "/dev/", "/sys/")), f"{module}: {node.value}"


_ROOMS = sorted(
    path.parent for top in ("kseq", "tools") for path in (ROOT / top).rglob("__init__.py") if "bench" not in path.parts
)


@pytest.mark.parametrize("room", _ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_the_docstring_of_a_room_names_every_module_in_it(room: Path) -> None:
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    if room.name == "commands":
        # A module for each command, called like it.
        return
    named = set(re.findall(r"`(\w+)/?`", text))
    modules = {path.stem for path in room.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__"}
    assert modules <= named, modules - named
