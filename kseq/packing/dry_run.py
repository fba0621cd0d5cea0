"""A dry run: what a packing would report, as far as it is known before any image is decoded."""

from __future__ import annotations

import numpy as np

from kseq.errors import ImageError
from kseq.packing.disk_space import planned_bytes
from kseq.packing.pack_report import PackReport
from kseq.packing.pack_result import PackResult, nothing_packed
from kseq.packing.plan import Plan
from kseq.sources.base import FileSource, Source, SourceImage
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
    images = plan.source.images
    reasons = [_reason_to_reject(plan.source, image) for image in images]
    packed = [number for number, reason in enumerate(reasons) if reason is None]
    rejected = [Rejected(image.path, reason) for image, reason in zip(images, reasons, strict=True) if reason is not None]
    if not packed:
        raise nothing_packed(plan, rejected)
    result = PackResult(plan, [], rejected, np.array(packed, np.int64), {})
    splits = result.splits()
    return PackReport(
        path="",
        class_names=plan.source.class_names,
        splits={name: len(ids) for name, ids in splits.items()},
        class_counts=result.class_counts(splits),
        rejected=rejected,
        num_found=len(images),
        num_samples=len(packed),
        num_shards=plan.num_shards,
        num_resumed=num_resumed,
        num_bytes=planned_bytes(plan, range(plan.num_shards)),
        num_bytes_free=0,
        seconds=0.0,
    )


def _reason_to_reject(source: Source, image: SourceImage) -> str | None:
    """Why an image will be left out, if that is known; a file of unknown size is read, since it may be missing."""
    if image.rejection is None and image.num_bytes == 0 and isinstance(source, FileSource):
        try:
            source.read(image)
        except ImageError as error:
            return str(error)
    return image.rejection
