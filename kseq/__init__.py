"""kseq feeds images to Keras from disk: plain HDF5 shards, any batch by its number, every sample exactly once.

    kseq.pack("photos", "flowers")                              # once
    train = kseq.ShardSequence("flowers", "train")              # a keras.utils.Sequence
    model.fit(train, epochs=10)

The rooms, each of which imports only those further to the left:

    errors <- arguments, threads, processes, workers, images/ <- display/ <- ordering/, storage/
           <- reading/, sources/ <- packing/, training/ <- editing/, exporting/ <- viewing/ <- the public names, here

- `images/`: pixels. `display/`: HTML and pictures for people. `ordering/`: who comes when. `storage/`: bytes on disk.
- `sources/`: what people bring. `reading/`: samples by id. `packing/`: from a source to a dataset.
- `training/`: batches for Keras. `editing/`: changes to a dataset. `exporting/`: back to files. `viewing/`: the web page of
  `kseq view`.
- `errors`: every error. `arguments`: checks of arguments, and how messages call them. `threads`: threads that no program
  waits for. `processes`: worker processes that may die. `worker_errors`: how they fail. `workers`: pools of threads and
  processes. `platforms/`: what differs between Linux, macOS and Windows.
"""

from __future__ import annotations

import importlib
import threading

# Nobody can load it once the main thread has ended, and what is loaded later needs it: a training may begin in a thread then.
from concurrent.futures import thread as _thread  # noqa: F401 - loaded for others
from typing import TYPE_CHECKING, Any

from kseq import errors
from kseq.errors import KseqError
from kseq.platforms.forks import at_fork as _at_fork

if TYPE_CHECKING:
    from kseq.editing.add_field import AddFieldReport, add_field
    from kseq.editing.append import AppendReport, append
    from kseq.editing.compact import CompactReport, compact
    from kseq.editing.copy import CopyReport, copy
    from kseq.editing.drop import DropReport, drop
    from kseq.editing.merge import MergeReport, merge
    from kseq.editing.relabel import LabelChange, RelabelReport, relabel
    from kseq.editing.rename_class import RenameClassReport, rename_class
    from kseq.editing.split import SplitReport, split
    from kseq.editing.undo import UndoReport, undo
    from kseq.exporting.card import CardReport, card
    from kseq.exporting.export import EXPORT_FORMATS, ExportReport, export
    from kseq.packing.pack import pack
    from kseq.packing.pack_report import PackReport
    from kseq.packing.settings import ImageSettings
    from kseq.reading.dataset import ShardDataset
    from kseq.reading.label_counts import SplitCounts
    from kseq.reading.verify import VerifyReport, verify
    from kseq.sources.column_roles import TARGET_KINDS, Columns
    from kseq.sources.formats import SOURCE_FORMATS
    from kseq.storage.box_counts import BoxCounts
    from kseq.storage.duplicate_counts import DuplicateCounts
    from kseq.storage.fields import Field
    from kseq.storage.rejected import Rejected
    from kseq.training.affine_augment import RandomAffine, RandomRotation, RandomTranslation, RandomZoom
    from kseq.training.augment import Augmentation, CenterCrop, RandomFlip, RandomResizedCrop
    from kseq.training.batch_functions import BatchFunction
    from kseq.training.batches import Batches
    from kseq.training.block_shuffle import BlockShuffle
    from kseq.training.color_augment import ColorJitter, RandomErasing
    from kseq.training.damaged_samples import DamagedSample
    from kseq.training.input_logger import InputLogger
    from kseq.training.input_monitor import EpochInput, InputMonitor
    from kseq.training.input_stats import InputStats
    from kseq.training.instance_masks import instance_masks
    from kseq.training.jax_devices import prefetch_to_device
    from kseq.training.mixing import CutMix, MixUp
    from kseq.training.resume_training import ResumeTraining
    from kseq.training.sample_functions import Compose
    from kseq.training.sequence import ShardSequence
    from kseq.training.torch_batches import TorchBatches
    from kseq.viewing.viewer import Viewer

__version__ = "0.1.0"

__all__ = [
    "EXPORT_FORMATS",
    "SOURCE_FORMATS",
    "TARGET_KINDS",
    "AddFieldReport",
    "AppendReport",
    "Augmentation",
    "BatchFunction",
    "Batches",
    "BlockShuffle",
    "BoxCounts",
    "CardReport",
    "CenterCrop",
    "ColorJitter",
    "Columns",
    "CompactReport",
    "Compose",
    "CopyReport",
    "CutMix",
    "DamagedSample",
    "DropReport",
    "DuplicateCounts",
    "EpochInput",
    "ExportReport",
    "Field",
    "ImageSettings",
    "InputLogger",
    "InputMonitor",
    "InputStats",
    "KseqError",
    "LabelChange",
    "MergeReport",
    "MixUp",
    "PackReport",
    "RandomAffine",
    "RandomErasing",
    "RandomFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "Rejected",
    "RelabelReport",
    "RenameClassReport",
    "ResumeTraining",
    "ShardDataset",
    "ShardSequence",
    "SplitCounts",
    "SplitReport",
    "TorchBatches",
    "UndoReport",
    "VerifyReport",
    "Viewer",
    "add_field",
    "append",
    "card",
    "compact",
    "copy",
    "drop",
    "errors",
    "export",
    "instance_masks",
    "merge",
    "pack",
    "prefetch_to_device",
    "relabel",
    "rename_class",
    "split",
    "undo",
    "verify",
]


# Where each public name is defined. It is loaded when it is asked for: most programs and processes want a few of them.
_HOMES = {
    "AddFieldReport": "kseq.editing.add_field",
    "AppendReport": "kseq.editing.append",
    "Augmentation": "kseq.training.augment",
    "BatchFunction": "kseq.training.batch_functions",
    "Batches": "kseq.training.batches",
    "BlockShuffle": "kseq.training.block_shuffle",
    "BoxCounts": "kseq.storage.box_counts",
    "CardReport": "kseq.exporting.card",
    "CenterCrop": "kseq.training.augment",
    "ColorJitter": "kseq.training.color_augment",
    "Columns": "kseq.sources.column_roles",
    "CompactReport": "kseq.editing.compact",
    "Compose": "kseq.training.sample_functions",
    "CopyReport": "kseq.editing.copy",
    "CutMix": "kseq.training.mixing",
    "DamagedSample": "kseq.training.damaged_samples",
    "DropReport": "kseq.editing.drop",
    "DuplicateCounts": "kseq.storage.duplicate_counts",
    "EXPORT_FORMATS": "kseq.exporting.export",
    "EpochInput": "kseq.training.input_monitor",
    "ExportReport": "kseq.exporting.export",
    "Field": "kseq.storage.fields",
    "ImageSettings": "kseq.packing.settings",
    "InputLogger": "kseq.training.input_logger",
    "InputMonitor": "kseq.training.input_monitor",
    "InputStats": "kseq.training.input_stats",
    "LabelChange": "kseq.editing.relabel",
    "MergeReport": "kseq.editing.merge",
    "MixUp": "kseq.training.mixing",
    "PackReport": "kseq.packing.pack_report",
    "RandomAffine": "kseq.training.affine_augment",
    "RandomErasing": "kseq.training.color_augment",
    "RandomFlip": "kseq.training.augment",
    "RandomResizedCrop": "kseq.training.augment",
    "RandomRotation": "kseq.training.affine_augment",
    "RandomTranslation": "kseq.training.affine_augment",
    "RandomZoom": "kseq.training.affine_augment",
    "Rejected": "kseq.storage.rejected",
    "RelabelReport": "kseq.editing.relabel",
    "RenameClassReport": "kseq.editing.rename_class",
    "ResumeTraining": "kseq.training.resume_training",
    "SOURCE_FORMATS": "kseq.sources.formats",
    "ShardDataset": "kseq.reading.dataset",
    "ShardSequence": "kseq.training.sequence",
    "SplitCounts": "kseq.reading.label_counts",
    "SplitReport": "kseq.editing.split",
    "TARGET_KINDS": "kseq.sources.column_roles",
    "TorchBatches": "kseq.training.torch_batches",
    "UndoReport": "kseq.editing.undo",
    "VerifyReport": "kseq.reading.verify",
    "Viewer": "kseq.viewing.viewer",
    "add_field": "kseq.editing.add_field",
    "append": "kseq.editing.append",
    "card": "kseq.exporting.card",
    "compact": "kseq.editing.compact",
    "copy": "kseq.editing.copy",
    "drop": "kseq.editing.drop",
    "export": "kseq.exporting.export",
    "instance_masks": "kseq.training.instance_masks",
    "merge": "kseq.editing.merge",
    "pack": "kseq.packing.pack",
    "prefetch_to_device": "kseq.training.jax_devices",
    "relabel": "kseq.editing.relabel",
    "rename_class": "kseq.editing.rename_class",
    "split": "kseq.editing.split",
    "undo": "kseq.editing.undo",
    "verify": "kseq.reading.verify",
}


# No process forks while a thread loads a name: the module would stay half loaded in the child, which waits for it for ever.
_loading = threading.RLock()
_at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release)


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kseq' has no attribute {name!r}")
    from kseq.platforms.stop_signals import stopping_once

    # numpy makes an ImportError of Ctrl-C, and Python itself may forget it here, or wait for ever for its lock of a module.
    with _loading, stopping_once():
        found = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
