"""What an examination found, as a text that fits on a screen, and as JSON."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import Any

from ..console.text import format_bytes, format_table, printable
from .examination import STAGES, Examination

__all__ = ["as_json", "as_text"]

_CULPRITS = {
    "step": "the training step: batches are there before it wants them",
    "reading": "the disk: its bytes come too slowly",
    "decoding": "decoding: images are decoded and resized too slowly",
    "augmenting": "augmentation: what `augment` does to images takes too long",
    "assembling": "assembling: what makes arrays of samples, and batches of arrays, takes too long",
}

_WIDEST_LINE = 100
# Of a setting that cannot be used, with the reason.
_WIDEST_NAME = 80

# Where nothing that was tried helps.
_ADVICE = {
    "reading": "a faster disk, or images that are packed smaller (kseq pack --encoding jpeg --image-size H W)",
    "decoding": "more cores, or images that are packed smaller or raw (kseq pack --image-size H W)",
    "augmenting": "kseq's own augmentations in place of Python, functions over whole batches, layers of Keras",
    "assembling": "fewer fields (inputs, targets), or larger images per batch",
}


def as_json(examined: Examination) -> dict[str, Any]:
    """All figures; rates in samples per second, times in seconds."""
    stepping = examined.stepping
    facts = asdict(examined)
    costs = facts.pop("costs")
    facts["seconds_per_thousand"] = {stage: examined.costs.per_thousand()[stage] for stage in STAGES}
    facts["num_samples_timed"] = costs["num_samples"]
    facts["fits_in_memory"] = examined.fits_in_memory
    facts["cpu_seconds_per_thousand"] = facts.pop("cpu")
    facts["stepping"] = None if stepping is None else asdict(stepping) | {"waiting_share": stepping.waiting_share}
    return facts


def as_text(examined: Examination) -> str:
    """One screen."""
    lines = [printable(examined.described), "", *_measured(examined), ""]
    lines.append(f"who is waited for: {_CULPRITS[examined.culprit]}")
    if examined.outcomes:
        lines += ["", format_table(_tried(examined))]
    if examined.cuts:
        lines += ["", *_cut_short(examined)]
    return "\n".join([*lines, "", _change(examined)])


def _cut_short(examined: Examination) -> list[str]:
    text = f"cut short after {examined.seconds:.0f} s: {'; '.join(examined.cuts)}"
    return [*textwrap.wrap(printable(text), _WIDEST_LINE), f"  --seconds {examined.seconds_for_all} would have time for that"]


def _measured(examined: Examination) -> list[str]:
    parts = examined.costs.per_thousand()
    stages = ", ".join(f"{stage} {parts[stage]:.2f}" for stage in STAGES)
    # A function of the user may wait for something, which no stage counts.
    waiting = 1000 * examined.costs.waiting / max(examined.costs.num_samples, 1)
    alone = 1000 / max(sum(parts[stage] for stage in STAGES), waiting, 1e-9)
    kind = "process" if examined.in_processes else "thread"
    count = examined.num_workers
    readers = f"{count} {kind}{'es' if kind == 'process' and count != 1 else 's' * (count != 1)}" if count else "no workers"
    rows = [("one thread", f"{alone:,.0f} images/s"), ("", f"ms an image: {stages}")]
    rows.append((readers, f"{examined.rate:,.0f} images/s, CPU {examined.cpu:.2f} s for 1,000 images"))
    keeps = "fits" if examined.fits_in_memory else "does not fit"
    disk = "not measured" if examined.disk_rate is None else f"{examined.disk_rate:,.0f} images/s"
    rows.append(("disk", f"{disk}; the dataset, {format_bytes(examined.num_bytes)}, {keeps} in memory"))
    stepping = examined.stepping
    if stepping is None:
        rows.append(("step", "not known: give --model or --rate"))
    else:
        free, fed = stepping.free, stepping.fed
        rows.append(("step", f"{1000 * free:.1f} ms, {stepping.batch_size / free:,.0f} images/s on a batch that is there"))
        waits = f"{1000 * fed:.1f} ms with loading: {100 * stepping.waiting_share:.1f} % of it waits"
        rows.append(("", f"{waits}; a free loader: {max(1.0, fed / free):.2f} times as fast"))
    width = max(len(name) for name, _ in rows)
    return [f"  {name.ljust(width)}  {text}" for name, text in rows]


def _tried(examined: Examination) -> list[list[str]]:
    rows = [["tried", "images/s", "times"]]
    for outcome in examined.outcomes:
        if outcome.rate is None or outcome.gain is None:
            rows.append([printable(f"{outcome.name}: {outcome.error or ''}")[:_WIDEST_NAME], "-", "-"])
        else:
            size = "" if outcome.num_bytes is None else f" ({format_bytes(outcome.num_bytes)})"
            rows.append([outcome.name + size, f"{outcome.rate:,.0f}", f"{outcome.gain:.2f}"])
    return rows


def _change(examined: Examination) -> str:
    if examined.culprit == "step":
        return "change next: nothing in loading; only a faster step makes the training faster"
    best = examined.best
    if best is None or best.gain is None:
        tried = "nothing that was tried gains a tenth" if examined.outcomes else "nothing was tried"
        return f"change next: {tried}; what can help:\n  {_ADVICE[examined.culprit]}"
    gain = f"{best.gain:.2f} times as many images/s"
    stepping = examined.stepping
    if stepping is not None:
        # A loader that is so much faster; no step is shorter than on a batch that is there.
        least = stepping.fed / max(stepping.free, stepping.fed / best.gain)
        gain += f"; steps up to {least:.2f} times as fast"
    return f"change next: {best.name}\n  {gain}"
