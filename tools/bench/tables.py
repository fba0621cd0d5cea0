"""Tables of results: as text, as JSON, and as a bar chart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kseq.errors import ArgumentError

from ..console.text import format_table
from .contest import Row

__all__ = ["Goal", "Table", "check_plot", "plot"]


@dataclass(frozen=True)
class Goal:
    """kseq is to reach `times` the rate of the row `name`; in a table of times, the row is to stay under `times`."""

    name: str
    times: float


@dataclass
class Table:
    """The results of one table.

    Attributes:
        key: Its letter or word.
        title: What was measured.
        unit: Of the rates.
        rows: One per contestant; none where nobody who was asked for takes part.
        ours: The name of the row that the others are compared with; nothing: there is none.
        goals: What that row must reach.
        notes: Lines to print below.
        less_is_better: Figures are times, not rates, each of another thing, so that rows stay as they are; `goals` are what
            they must stay under.
    """

    key: str
    title: str
    unit: str
    rows: list[Row]
    ours: str
    goals: Sequence[Goal] = ()
    notes: list[str] = field(default_factory=list)
    less_is_better: bool = False

    @property
    def our_row(self) -> Row:
        return next((row for row in self.rows if row.name == self.ours), Row(self.ours))

    def ratio(self, row: Row) -> float | None:
        """How many times the rate of a row ours is; None where one of them has no rates."""
        return self.our_row.ratio_to(row)

    def text(self) -> str:
        """The table, as a person reads it."""
        shown = [row for row in self.rows if row.rates]
        if not self.less_is_better:
            shown.sort(key=lambda row: row.median, reverse=True)
        lines = [["", self.unit, "lowest", "highest", f"{self.ours} is", "must be"], *(self._cells(row) for row in shown)]
        # Without a row of ours there are no ratios, and without goals no verdicts.
        filled = [column for column in range(len(lines[0])) if not column or any(line[column] for line in lines[1:])]
        table = [format_table([[line[column] for column in filled] for line in lines])] if shown else []
        failed = [f"{row.title}: {row.note or 'no figures'}" for row in self.rows if not row.rates]
        noted = [f"{row.name}: {row.note}" for row in shown if row.note]
        absent = [] if self.rows else ["nobody who was asked for takes part"]
        return "\n".join([f"{self.key}  {self.title}", *table, *failed, *noted, *absent, *self.notes])

    def _cells(self, row: Row) -> list[str]:
        ratio = None if row.name == self.ours else self.ratio(row)
        figures = [_figure(value) for value in (row.median, min(row.rates), max(row.rates))]
        return [row.title, *figures, "" if ratio is None else f"{_figure(ratio)} x", self._verdict(row)]

    def _verdict(self, row: Row) -> str:
        goal = next((goal.times for goal in self.goals if goal.name == row.name), None)
        if goal is None:
            return ""
        if self.less_is_better:
            return f"under {_figure(goal)}{'' if row.median < goal else ', missed'}"
        ratio = self.ratio(row)
        return "" if ratio is None else f"{goal:g} x{'' if ratio >= goal else ', missed'}"

    def as_json(self) -> dict[str, Any]:
        return {
            "table": self.key,
            "title": self.title,
            "unit": self.unit,
            "rows": [
                {
                    "name": row.name,
                    "version": row.version,
                    "rates": row.rates,
                    "median": row.median if row.rates else None,
                    "ours_by_this": self.ratio(row),
                    "note": row.note,
                }
                for row in self.rows
            ],
            "goals": [{"name": goal.name, "times": goal.times} for goal in self.goals],
            "notes": self.notes,
        }


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def check_plot(path: str) -> None:
    """Raise ArgumentError where matplotlib is not there, or cannot write a picture of this name."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise ArgumentError(f"--plot {path}: needs matplotlib, which cannot be imported: {error}") from error
    suffix, known = os.path.splitext(path)[1], sorted(f".{each}" for each in FigureCanvasAgg.filetypes)
    if suffix.lower() not in known:
        raise ArgumentError(f"--plot {path}: the suffix is {suffix!r}, allowed are {', '.join(known)}")


def plot(tables: Sequence[Table], path: str) -> None:
    """One bar chart per table of rates into a picture.

    Raises:
        ArgumentError: Where no table has any.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [table for table in tables if any(row.rates for row in table.rows) and not table.less_is_better]
    if not shown:
        raise ArgumentError(f"--plot {path}: nothing is drawn, since no table has rates")
    heights = [1 + 0.35 * sum(bool(row.rates) for row in table.rows) for table in shown]
    figure, axes = pyplot.subplots(
        len(shown), 1, figsize=(9, sum(heights)), gridspec_kw={"height_ratios": heights}, squeeze=False, layout="constrained"
    )
    for table, axis in zip(shown, axes[:, 0], strict=True):
        rows = sorted((row for row in table.rows if row.rates), key=lambda row: row.median)
        colors = ["#1f77b4" if row.name.startswith("kseq") else "#b0b0b0" for row in rows]
        medians = [row.median for row in rows]
        spread = [[row.median - min(row.rates) for row in rows], [max(row.rates) - row.median for row in rows]]
        bars = axis.barh([row.name for row in rows], medians, xerr=spread, color=colors, ecolor="#606060", capsize=2)
        axis.bar_label(bars, [f" {_figure(row.median)}" for row in rows], padding=4, fontsize=8)
        axis.set_title(f"{table.key}: {table.title}", loc="left", fontsize=9)
        axis.set_xlabel(table.unit, fontsize=8)
        axis.margins(x=0.12)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
