"""The pages of the documentation, and the blocks of code on them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.paths import ROOT

README = ROOT / "README.md"
AGENTS = ROOT / "AGENTS.md"
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: The word after the fence. `python` and `console` blocks are run; `py` blocks need a cluster, and are compiled.
        code: Without the fences and their indentation.
        line: The number of the first line of code on the page, counted from 1.
    """

    language: str
    code: str
    line: int


def all_pages() -> list[Path]:
    """The README, the page for coding assistants, and every page below docs/."""
    return [README, AGENTS, *sorted(DOCS.rglob("*.md"))]


def page_name(page: Path) -> str:
    """The path of a page below the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        code = textwrap.dedent(match["code"])
        yield Block(match["language"], code, text.count("\n", 0, match.start("code")) + 1)
