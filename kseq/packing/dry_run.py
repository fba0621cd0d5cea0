"""A dry run: what a packing would report, as far as it is known before any image is decoded."""

from __future__ import annotations

import numpy as np

from kseq.packing.disk_space import planned_bytes
from kseq.packing.pack_report import PackReport
from kseq.packing.pack_result import PackResult, nothing_packed
from kseq.packing.plan import Plan
from kseq.storage.rejected import Rejected

__all__ = ["predict_report"]


def predict_report(plan: Plan, num_resumed: int) -> PackReport:
    """The report that packing by a plan would give; path, seconds and free bytes are left empty.

    Args:
        plan: The plan.
        num_resumed: How many of its shards an earlier run has built.

    Raises:
        SourceError: If all files are rejected already.
    """
    source = plan.source
    is_rejected = source.images.is_rejected
    is_packed, rejected = ~is_rejected, []
    for number, image in source.images.where(is_rejected | (source.images.num_bytes == 0)):
        reason = source.foresee_rejection(image)
        if reason is not None:
            rejected.append(Rejected(image.path, reason))
            is_packed[number] = False
    if not is_packed.any():
        raise nothing_packed(plan, rejected)
    result = PackResult(plan, [], rejected, np.flatnonzero(is_packed), {})
    return result.report(result.splits(), num_resumed=num_resumed, num_bytes=planned_bytes(plan, range(plan.num_shards)))
