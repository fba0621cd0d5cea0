"""Tables of results: as text, as JSON, and as a bar chart."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kseq.errors import ArgumentError

from ..console.text import format_table
from .contest import Row

__all__ = ["Goal", "Table", "check_plot", "cpu_bars", "plot"]


# Beside the lowest of the loaders, so much more processor time is allowed.
_CPU_TOLERANCE = 1.1


@dataclass(frozen=True)
class Goal:
    """kseq is to reach `times` the rate of the row `name`; in a table of times, the row is to stay under `times`.

    In a table with a `reference`, the row `name` is to reach `times` the rate of the reference. Of processor time, no more than
    `times` as much is to be taken.
    """

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
        reference: The name of the row that all others are divided by, instead of dividing ours by them.
        cpu_goals: How much processor time may be taken, see `Goal`.
    """

    key: str
    title: str
    unit: str
    rows: list[Row]
    ours: str
    goals: Sequence[Goal] = ()
    notes: list[str] = field(default_factory=list)
    less_is_better: bool = False
    reference: str = ""
    cpu_goals: Sequence[Goal] = ()

    @property
    def centre(self) -> Row:
        """The row that all others are compared with: the reference, or ours."""
        name = self.reference or self.ours
        return next((row for row in self.rows if row.name == name), Row(name))

    def ratio(self, row: Row) -> float | None:
        """How many times the rate of a row ours is, or the row of the reference; None where one of them has no rates."""
        return row.ratio_to(self.centre) if self.reference else self.centre.ratio_to(row)

    def cpu_ratio(self, row: Row) -> float | None:
        """The same of processor time."""
        return row.cpu_ratio_to(self.centre) if self.reference else self.centre.cpu_ratio_to(row)

    def text(self) -> str:
        """The table, as a person reads it."""
        shown = [row for row in self.rows if row.rates]
        if not self.less_is_better:
            shown.sort(key=lambda row: row.median, reverse=True)
        lines = [self._heads(), *(self._cells(row) for row in shown)]
        # Without a row of ours there are no ratios, and without goals no verdicts.
        filled = [column for column in range(len(lines[0])) if not column or any(line[column] for line in lines[1:])]
        table = [format_table([[line[column] for column in filled] for line in lines])] if shown else []
        failed = [f"{row.title}: {row.note or 'no figures'}" for row in self.rows if not row.rates]
        noted = [f"{row.name}: {row.note}" for row in shown if row.note]
        absent = [] if self.rows else ["nobody who was asked for takes part"]
        return "\n".join([f"{self.key}  {self.title}", *table, *failed, *noted, *absent, *self.notes, *self._beside()])

    def _heads(self) -> list[str]:
        compared = ("by the reference", "CPU by it") if self.reference else (f"{self.ours} is", f"{self.ours} takes")
        return ["", self.unit, "lowest", "highest", compared[0], "must be", "CPU s per 1,000", compared[1], "at most"]

    def _cells(self, row: Row) -> list[str]:
        ratio, cpu_ratio = (None, None) if row is self.centre else (self.ratio(row), self.cpu_ratio(row))
        figures = [_figure(value) for value in (row.median, min(row.rates), max(row.rates))]
        cpu = "" if row.median_cpu is None else _figure(row.median_cpu)
        return [row.title, *figures, _times(ratio), self._verdict(row), cpu, _times(cpu_ratio), self._cpu_verdict(row)]

    def _verdict(self, row: Row) -> str:
        goal = _goal_of(row, self.goals)
        if goal is None:
            return ""
        if self.less_is_better:
            return f"under {_figure(goal)}{'' if row.median < goal else ', missed'}"
        ratio = self.ratio(row)
        return "" if ratio is None else f"{goal:g} x{'' if ratio >= goal else ', missed'}"

    def _cpu_verdict(self, row: Row) -> str:
        goal, ratio = _goal_of(row, self.cpu_goals), self.cpu_ratio(row)
        return "" if goal is None or ratio is None else f"{goal:g} x{'' if ratio <= goal else ', missed'}"

    def _beside(self) -> list[str]:
        """What all other processes of the machine did, in the seconds that count."""
        others = [figure for row in self.rows for figure in row.others]
        if not others:
            return []
        return [f"meanwhile other processes kept {statistics.mean(others):.2f} cores busy, at most {max(others):.2f}"]

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
                    "by_the_reference" if self.reference else "ours_by_this": self.ratio(row),
                    "cpu_seconds_per_1000": row.cpu,
                    "median_cpu": row.median_cpu,
                    "cpu_by_the_reference" if self.reference else "our_cpu_by_this": self.cpu_ratio(row),
                    "cores_of_others": row.others,
                    "note": row.note,
                }
                for row in self.rows
            ],
            "reference": self.reference or None,
            "goals": [{"name": goal.name, "times": goal.times} for goal in self.goals],
            "cpu_goals": [{"name": goal.name, "times": goal.times} for goal in self.cpu_goals],
            "notes": self.notes,
        }


def cpu_bars(loaders: Iterable[str]) -> tuple[Goal, ...]:
    """That ours takes no more processor time than the lowest of these loaders, or a tenth more."""
    return tuple(Goal(name, _CPU_TOLERANCE) for name in loaders)


def _goal_of(row: Row, goals: Sequence[Goal]) -> float | None:
    return next((goal.times for goal in goals if goal.name == row.name), None)


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{_figure(ratio)} x"


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
