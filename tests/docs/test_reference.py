"""The reference is complete: no public name, command, option, dependency or extra is missing from it."""

from __future__ import annotations

import configparser
import importlib.util
import re
from types import ModuleType

import pytest

import kseq
from kseq import errors
from tests.docs.pages import DOCS, README
from tests.helpers.paths import ROOT


def _reference() -> str:
    return "\n".join(page.read_text() for page in sorted((DOCS / "reference").glob("*.md")))


def _names_with_docstrings() -> list[str]:
    """What mkdocstrings puts in: `::: NAME`."""
    return re.findall(r"^::: (\S+)$", _reference(), re.MULTILINE)


def test_every_public_name_is_in_the_reference_once() -> None:
    assert sorted(_names_with_docstrings()) == sorted(f"kseq.{name}" for name in kseq.__all__)


def test_the_table_of_the_reference_names_every_public_name() -> None:
    table = (DOCS / "reference" / "index.md").read_text()
    assert [name for name in kseq.__all__ if f"[`{name}`]" not in table] == []


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_says_what_it_stands_for(name: str) -> None:
    assert getattr(errors, name).__doc__


def _command_line() -> ModuleType:
    path = DOCS / "scripts" / "command_line.py"
    spec = importlib.util.spec_from_file_location("command_line", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_command_line_is_what_the_parsers_say() -> None:
    script = _command_line()
    assert script.PAGE.read_text() == script.make_page(), f"run python {script.__file__}"


def test_the_page_of_the_command_line_has_every_command_and_option() -> None:
    page = (DOCS / "reference" / "command-line.md").read_text()
    for name, parser in _command_line().commands().items():
        section = page.partition(f"## kseq {name}\n")[2].partition("\n## ")[0]
        options = [option for action in parser._actions for option in action.option_strings]
        assert [option for option in options if option not in ("-h", "--help", "--help-all") and option not in section] == []


def _setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup


def test_every_dependency_has_its_reason() -> None:
    page = (DOCS / "explanation" / "dependencies.md").read_text()
    for line in _setup()["options"]["install_requires"].split():
        assert f"| {re.split('[<>=]', line)[0]} |" in page


@pytest.mark.parametrize("page", ["how-to/install.md", "explanation/dependencies.md"])
def test_every_extra_is_listed(page: str) -> None:
    text = (DOCS / page).read_text()
    assert [extra for extra in _setup()["options.extras_require"] if f"`{extra}`" not in text] == []


@pytest.mark.parametrize("page", [README, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_link_of_a_page_outside_of_the_site_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_map_of_the_code_names_files_that_exist() -> None:
    names = re.findall(r"`((?:kseq|tools|tests|docs|\.ci)/[^` ]*)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(names) > 50
    assert [name for name in names if "NAME" not in name and not (ROOT / name).exists()] == []


def test_the_readme_can_be_read_in_a_few_minutes() -> None:
    assert 100 <= len(README.read_text().splitlines()) <= 140
