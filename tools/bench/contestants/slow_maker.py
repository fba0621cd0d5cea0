"""A BatchMaker that stands for augmentation in plain Python; in a module of its own, so that worker processes can import it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from kseq.training.batch_maker import BatchMaker

__all__ = ["SlowMaker"]


class SlowMaker(BatchMaker):
    """Holds the interpreter for `delay` seconds for each image."""

    delay = 0.0

    def fill(
        self,
        arrays: Mapping[str, np.ndarray],
        start: int,
        sample_ids: np.ndarray,
        epoch: int,
        turns: np.ndarray | None = None,
    ) -> Any:
        damaged = super().fill(arrays, start, sample_ids, epoch, turns)
        end = time.thread_time() + self.delay * len(sample_ids)
        while time.thread_time() < end:
            pass
        return damaged
