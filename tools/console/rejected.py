"""The files that a packing left out, in lines."""

from __future__ import annotations

import os

import kseq

from .text import format_count, printable

_SHOWN_REJECTED = 10


def rejected_lines(report: kseq.PackReport | kseq.AppendReport, hint: str) -> list[str]:
    """The files that were left out: all of them, or the number for each reason and some examples."""
    lines = []
    more = len(report.rejected) - _SHOWN_REJECTED
    if more > 0:
        reasons = list(report.reasons.items())
        lines += [f"  {count:,}: {printable(reason)}" for reason, count in reasons[:_SHOWN_REJECTED]]
        if len(reasons) > _SHOWN_REJECTED:
            lines.append(f"  ... and {format_count(len(reasons) - _SHOWN_REJECTED, 'more reason')}")
        lines.append("such as")
    shown = report.rejected[:_SHOWN_REJECTED]
    lines += [f"  {printable(os.fsdecode(rejected.path))}: {printable(rejected.explanation)}" for rejected in shown]
    return [*lines, f"  ... and {more:,} more{hint}"] if more > 0 else lines
