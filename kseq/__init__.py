"""kseq feeds images to Keras from disk: plain HDF5 shards, any batch by its number, every sample exactly once.

kseq.pack("photos", "flowers")                              # once
train = kseq.ShardSequence("flowers", "train")              # a keras.utils.Sequence
model.fit(train, shuffle=False, epochs=10)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kseq import errors
from kseq.add_field import FieldReport, add_field
from kseq.append import AppendReport, append
from kseq.augment import CenterCrop, RandomFlip, RandomResizedCrop
from kseq.change import undo
from kseq.compact import CompactReport, compact
from kseq.dataset import ShardDataset
from kseq.drop import DropReport, drop
from kseq.errors import KseqError
from kseq.export import ExportReport, export
from kseq.merge import MergeReport, merge
from kseq.pack import PackReport, pack
from kseq.relabel import RelabelReport, relabel
from kseq.rename_class import RenameReport, rename_class
from kseq.split import SplitReport, split
from kseq.verify import VerifyReport, verify

if TYPE_CHECKING:
    from kseq.sequence import ShardSequence

__version__ = "0.1.0"

__all__ = [
    "AppendReport",
    "CenterCrop",
    "CompactReport",
    "DropReport",
    "ExportReport",
    "FieldReport",
    "KseqError",
    "MergeReport",
    "PackReport",
    "RandomFlip",
    "RandomResizedCrop",
    "RelabelReport",
    "RenameReport",
    "ShardDataset",
    "ShardSequence",
    "SplitReport",
    "VerifyReport",
    "add_field",
    "append",
    "compact",
    "drop",
    "errors",
    "export",
    "merge",
    "pack",
    "relabel",
    "rename_class",
    "split",
    "undo",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load keras, which takes seconds, only when ShardSequence is asked for."""
    if name == "ShardSequence":
        from kseq.sequence import ShardSequence

        return ShardSequence
    raise AttributeError(f"module 'kseq' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "ShardSequence"])
