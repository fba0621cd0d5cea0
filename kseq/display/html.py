"""HTML of notebooks: elements with every text escaped, and the frame around them."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence

from kseq.display.words import visible
from kseq.errors import silence

__all__ = ["Markup", "details", "element", "frame", "items", "table"]

# So much of a text is shown; names of classes and files are cut before.
_LONGEST_TEXT = 400

# Neither light nor dark: colours come from where it is shown, and lines and bars are seen on any ground. The class is named
# twice, so that it counts more than what Jupyter says of all tables and pictures.
_STYLE = """
.kseq.kseq svg{max-width:none}
.kseq.kseq{font-size:13px;line-height:1.45;max-width:100%;overflow-wrap:anywhere}
.kseq.kseq p,.kseq.kseq ul{margin:.25em 0}
.kseq.kseq ul{padding-left:1.4em}
.kseq.kseq .kseq_faint{opacity:.75}
.kseq.kseq .kseq_bad{border-left:4px solid #d0453b;padding-left:.6em}
.kseq.kseq .kseq_wide{max-width:100%;overflow-x:auto}
.kseq.kseq table{border-collapse:collapse;margin:.4em 0;font-size:inherit;table-layout:auto}
.kseq.kseq th,.kseq.kseq td{border:0;border-bottom:1px solid rgba(128,128,128,.35);padding:.15em .9em .15em 0;text-align:left;
vertical-align:top;background:none;color:inherit;max-width:36em;white-space:normal;overflow-wrap:break-word}
.kseq.kseq td.kseq_number,.kseq.kseq th.kseq_number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.kseq.kseq svg.kseq_bar{width:110px;height:.8em;display:block;margin-top:.3em}
.kseq.kseq svg.kseq_bar rect{fill:#2a9082}
.kseq.kseq details{margin:.3em 0}
.kseq.kseq summary{cursor:pointer}
.kseq.kseq .kseq_strip{display:flex;flex-wrap:wrap;gap:8px;margin:.4em 0}
.kseq.kseq figure{margin:0}
.kseq.kseq figure>svg{display:block;border-radius:3px;background:#808080}
.kseq.kseq figcaption{font-size:12px;line-height:1.3;min-width:100%;max-height:4em;overflow:hidden}
"""


class Markup(str):
    """HTML; any other text is escaped where it becomes part of an element. As an attribute, a text that is not cut."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]


def element(tag: str, *children: Child, **attributes: object) -> Markup:
    """An element with its children: Markup stays, texts are escaped, None is left out.

    Args:
        tag: Its name.
        children: What is in it.
        attributes: Their values; `_` in a name stands for `-`, after the name for a word of Python's; None is left out.
    """
    words = [f' {_attribute(name)}="{_value(value)}"' for name, value in attributes.items() if value is not None]
    return Markup(f"<{tag}{''.join(words)}>{_join(children)}</{tag}>")


def _attribute(name: str) -> str:
    # SVG has some names with capitals, which stay; HTML and ARIA have hyphens.
    return name.rstrip("_").replace("_", "-")


def _value(value: object) -> str:
    """The value of an attribute; of Markup, all of it, however long."""
    return html.escape(value) if isinstance(value, Markup) else _escape(str(value))


def _join(children: Iterable[Child]) -> str:
    parts = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(str(child))
        elif isinstance(child, str):
            parts.append(_escape(child))
        elif isinstance(child, int):
            parts.append(f"{child:,}")
        elif child is not None:
            parts.append(_join(child))
    return "".join(parts)


def _escape(text: str) -> str:
    return html.escape(visible(text, _LONGEST_TEXT))


def table(rows: Iterable[Sequence[Child]], head: Sequence[str] = (), numbers: Sequence[int] = ()) -> Markup:
    """Rows of cells.

    Args:
        rows: The cells of each row.
        head: The titles of the columns; none for a table whose first column says what the others are.
        numbers: Which columns hold numbers.
    """

    def kind(column: int) -> str | None:
        return "kseq_number" if column in numbers else None

    titles = element("tr", [element("th", title, class_=kind(column), scope="col") for column, title in enumerate(head)])
    body = []
    for row in rows:
        cells: list[Child] = [element("td", cell, class_=kind(column)) for column, cell in enumerate(row)]
        if not head:
            cells[0] = element("th", row[0], scope="row")
        body.append(element("tr", cells))
    filled = element("table", element("thead", titles) if head else None, element("tbody", body))
    return element("div", filled, class_="kseq_wide")


def items(texts: Iterable[Child]) -> Markup:
    """A list."""
    return element("ul", [element("li", text) for text in texts])


def details(summary: str, *children: Child) -> Markup:
    """What is shown when somebody asks for it."""
    return element("details", element("summary", summary), *children)


def frame(title: str, make: Callable[[], Iterable[Child]]) -> str:
    """What a notebook shows of an object.

    It never raises: who looks at an object wants to see what is wrong with it. What it warns of was said before.

    Args:
        title: What the object is.
        make: Makes the rest.

    Returns:
        HTML that needs nothing else. Where `make` raises, it has the text of the error.
    """
    try:
        with silence():
            content = element("div", make())
    except Exception as error:
        content = element("p", f"{type(error).__name__}: {error}", class_="kseq_bad")
    heading = element("p", element("strong", title))
    return element("div", Markup(f"<style>{_STYLE}</style>"), heading, content, class_="kseq")
