"""The progress of a long run, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

# Seconds between two lines, where stderr is no terminal.
_PLAIN_EVERY = 10.0


class Progress:
    """Shows a bar on a terminal, elsewhere a line now and then.

    Args:
        unit: What is counted: `"images"`, or `"bytes"`.
    """

    def __init__(self, unit: str = "images") -> None:
        self._unit = unit
        self._bar: Any = None
        self._started = self._last = time.monotonic()
        self._resumed: int | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int) -> None:
        """Show how many are done, and how many there are."""
        if self._resumed is None:
            self._resumed = done
        if sys.stderr.isatty():
            if self._bar is None:
                is_bytes = self._unit == "bytes"
                unit = "B" if is_bytes else f" {self._unit}"
                self._bar = tqdm(total=total, unit=unit, unit_scale=is_bytes, initial=done, dynamic_ncols=True)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._last > _PLAIN_EVERY:
            self._last = time.monotonic()
            rate = (done - self._resumed) / (self._last - self._started)
            print(f"{done:,} of {total:,} {self._unit}, {rate:,.0f} {self._unit}/s", file=sys.stderr, flush=True)
