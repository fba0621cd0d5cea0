"""Packing: a folder of images to a dataset, shard by shard, in worker processes."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kseq.arguments import absolute, choice, instance, spelled
from kseq.errors import ArgumentError, ImageError
from kseq.packing.build_shard import ShardTask
from kseq.packing.disk_space import free_bytes, planned_bytes
from kseq.packing.open_source import opened_source, target_apart
from kseq.packing.pack_result import PackResult, nothing_packed, read_pack_result
from kseq.packing.plan import Plan, make_plan
from kseq.packing.progress import Progress
from kseq.packing.resume import advising_to_resume, open_shard, resumable, whole_shards
from kseq.packing.resume_record import ResumeRecord
from kseq.packing.run import check_workers, run_tasks
from kseq.packing.settings import ImageSettings
from kseq.sources.base import FileSource, Source, SourceImage
from kseq.sources.column_roles import Columns
from kseq.storage.index import Contents
from kseq.storage.index_writer import write_index
from kseq.storage.layout import INDEX_NAME, shard_name
from kseq.storage.output_folder import check_target, target_folder
from kseq.storage.rejected import Rejected, count_reasons

__all__ = ["PackReport", "pack"]

ON_ERROR = ("skip", "fail")


@dataclass(frozen=True)
class PackReport:
    """What a packing did; `packed + len(rejected) == found`.

    Attributes:
        path: The dataset's folder.
        found: Files that were found.
        packed: Samples in the dataset.
        rejected: The files that were left out, each with `path` (bytes, below the source folder) and `reason`.
        shards: Shards in the dataset.
        bytes: Size of all its files, in bytes.
        seconds: How long it took.
        class_names: The class of each label number.
        splits: Split name to the number of its samples.
        class_counts: Split name to the number of samples of each class; nothing where samples have no label.
        resumed: Shards that an earlier, unfinished run had made.
        free: Bytes that are free on its disk: at the end, or for a dry run now.

    Of a dry run, it says what would be done: `bytes` is an estimate, and of files that turn out to be broken it knows nothing.
    """

    path: str
    found: int
    packed: int
    rejected: list[Rejected] = field(repr=False)
    shards: int
    bytes: int
    seconds: float
    class_names: tuple[str, ...]
    splits: dict[str, int]
    class_counts: dict[str, list[int]]
    resumed: int = 0
    free: int = 0

    @property
    def reasons(self) -> dict[str, int]:
        """Why files were left out, without what is of one file alone, and how many; the most frequent first."""
        return count_reasons(self.rejected)

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """The classes of which nothing was packed; none where samples have no label."""
        counts = [sum(each) for each in zip(*self.class_counts.values(), strict=True)]
        return tuple(name for name, count in zip(self.class_names, counts, strict=False) if not count)


def pack(
    source: str | os.PathLike[str] | Iterable[Any],
    dataset: str | os.PathLike[str],
    *,
    columns: Columns | None = None,
    images: ImageSettings | None = None,
    source_format: str | None = None,
    root: str | os.PathLike[str] | None = None,
    follow_links: bool = False,
    class_names: Sequence[str] | None = None,
    val: float = 0.0,
    test: float = 0.0,
    stratify: bool = True,
    seed: int = 0,
    on_error: str = "skip",
    shard_bytes: int | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PackReport:
    """Pack a collection of images into a dataset of HDF5 shards.

    The bytes of the dataset depend on the images and on the arguments down to `shard_bytes`, on nothing else.

    Args:
        source: A folder: `class/.../image`, or the same below folders called `train`, `val` and `test`. Or a table: CSV (its
            first line names the columns), JSON Lines or Parquet. Or COCO's JSON, a folder as YOLO has it, WebDataset tars,
            TFRecords, ArrayRecords, Hugging Face's Parquet or Arrow: one, a folder of them, or a pattern (`*.tar`,
            `{000..009}.tar`). Or a zip of class folders. Or `.npz`, `.npy`, HDF5 arrays.
            Or an iterable: dicts, pairs of image and label, a `tf.data.Dataset`, what `keras.datasets` gives. The rules of
            each are at the top of its module in `kseq/sources`.
        dataset: The folder to make.
        columns: Which columns of the source are what; None for the usual names. A source that has no columns, such as a folder,
            takes none.
        images: How images are stored; None for `ImageSettings()`, which keeps JPEG and PNG files as they are.
        source_format: `"folder"`, `"csv"`, `"jsonl"`, `"parquet"`, `"coco"`, `"yolo"`, `"webdataset"`, `"zip"`, `"tfrecord"`,
            `"arrayrecord"`, `"huggingface"` or `"arrays"`; None to tell by what lies at `source` and by its name.
        root: The folder that the paths of a table are relative to; None for the table's own.
        follow_links: Follow links out of the folder of images, and links to folders; without it, they are left out and listed.
        class_names: All classes, to number them in another order than the sorted one.
        val: Share of the images for the split `val`, in (0, 1), where the folders name none.
        test: The same for `test`.
        stratify: Take these shares of each class alike.
        seed: Draws the splits.
        on_error: `"skip"` leaves broken images out and lists them, `"fail"` stops at the first.
        shard_bytes: About how large each shard is; None for 256 MiB, or less for a small collection.
        workers: Processes; None for as many as there are cores, 0 to work in this one. A process that dies (memory ran out, a
            codec crashed) is survived: its shard is built again; if it dies again, each sample of the shard alone, and what
            kills a process twice is left out. In this process nothing of that can be survived, nor in threads.
        executor: Builds the shards instead: anything with the interface of `concurrent.futures.Executor`, such as Dask's
            `client.get_executor()`, whose workers have kseq and see the same files. It is not shut down. What its workers die
            over is built by processes of this one.
        overwrite: Replace a dataset that lies there, once the new one is whole.
        resume: Go on with a packing that was killed.
        dry_run: Only look at the source, and tell what would be packed; nothing is written. Not of an iterable.
        progress: Called now and then with how many images are done and how many there are.

    Raises:
        ArgumentError: Where arguments have values that are not allowed, or do not go together.
        SourceError: Where the source is no folder that can be packed, or no image in it can.
        DatasetExistsError: Where something lies at `dataset` already, or `resume` finds other images or arguments than it was
            begun with.
        LockedError: Where another process packs there.
        ImageError: At the first broken image, with `on_error="fail"`.
        WriteError: Where the disk refuses, or cannot hold the dataset (the rule is at the top of `kseq/packing/disk_space.py`).
        WorkerDiedError: Where worker processes die whatever they do, or memory ran out in this one; what is whole stays, for
            `resume`.
    """
    started = time.monotonic()
    choice("on_error", on_error, ON_ERROR)
    check_workers(workers, executor)
    if overwrite and resume:
        raise ArgumentError(f"{spelled('overwrite')} and {spelled('resume')} exclude each other: give one of the two")
    wanted = instance("columns", columns, Columns)
    settings = instance("images", images, ImageSettings)
    if executor is not None:
        # Its workers may be in other folders.
        source, root = absolute(source), absolute(root)
    shares = {"val": val, "test": test}
    arguments = {**shares, "stratify": stratify, "seed": seed, "shard_bytes": shard_bytes}
    target = os.path.normpath(target_apart(source, dataset))
    with ExitStack() as stack:
        stack.enter_context(advising_to_resume(target))
        if dry_run:
            check_target(target, overwrite=overwrite, resume=resume)
            folder = ""
        else:
            folder = stack.enter_context(target_folder(target, overwrite=overwrite, resume=resume))
        opened = opened_source(source, folder, source_format, wanted, root, class_names, follow_links=follow_links)
        found = stack.enter_context(opened)
        plan = make_plan(found, settings, shares, stratify=stratify, seed=seed, shard_bytes=shard_bytes)
        if dry_run:
            resumed = whole_shards(target, plan, ResumeRecord.of(plan, arguments)) if resume else set()
            return replace(_foresee(plan, target, resumed), seconds=time.monotonic() - started)
        resumed = stack.enter_context(resumable(folder, plan, arguments))
        tasks = [
            ShardTask.of(
                plan, number, os.path.abspath(os.path.join(folder, shard_name(number))), stop_at_error=on_error == "fail"
            )
            for number in range(plan.num_shards)
            if number not in resumed
        ]
        run_tasks(tasks, workers, executor, _progress(plan, resumed, progress))
        report = _publish(plan, folder, len(resumed))
    return replace(report, path=target, seconds=time.monotonic() - started, free=free_bytes(target))


def _progress(plan: Plan, resumed: set[int], call: Callable[[int, int], None] | None) -> Progress:
    done = sum(len(plan.shard_images(number)) for number in resumed)
    return Progress(done, len(plan.source.images), call)


def _publish(plan: Plan, target: str, num_resumed: int) -> PackReport:
    """Read back what the shards hold, and write the index that makes them a dataset."""
    outcome = read_pack_result(plan, functools.partial(open_shard, plan, target))
    splits = outcome.splits()
    contents = Contents(
        dataset_id=plan.dataset_id,
        fields=outcome.fields,
        class_names=plan.source.class_names,
        shards=outcome.entries,
        splits=splits,
        rejected=outcome.rejected,
        settings=plan.settings.as_text(),
    )
    write_index(target, contents)
    return PackReport(
        path=target,
        found=len(plan.source.images),
        packed=len(outcome.packed),
        rejected=outcome.rejected,
        shards=len(outcome.entries),
        bytes=sum(each.num_bytes for each in outcome.entries) + os.path.getsize(os.path.join(target, INDEX_NAME)),
        seconds=0.0,
        class_names=plan.source.class_names,
        splits={name: len(ids) for name, ids in splits.items()},
        class_counts=outcome.class_counts(splits),
        resumed=num_resumed,
    )


def _refused(source: Source, image: SourceImage) -> str | None:
    """Why an image will be left out, as far as that is known; a file without a known size is looked at: it may be missing."""
    if image.rejection is None and image.num_bytes == 0 and isinstance(source, FileSource):
        try:
            source.read(image)
        except ImageError as error:
            return str(error)
    return image.rejection


def _foresee(plan: Plan, target: str, resumed: set[int]) -> PackReport:
    """What a packing would report, as far as it can be known before any image is read."""
    images = plan.source.images
    reasons = [_refused(plan.source, image) for image in images]
    planned = [number for number, reason in enumerate(reasons) if reason is None]
    refused = [Rejected(image.path, reason) for image, reason in zip(images, reasons, strict=True) if reason is not None]
    if not planned:
        raise nothing_packed(plan, refused)
    outcome = PackResult(plan, [], refused, np.array(planned, np.int64), {})
    splits = outcome.splits()
    return PackReport(
        path=target,
        found=len(images),
        packed=len(planned),
        rejected=refused,
        shards=plan.num_shards,
        bytes=planned_bytes(plan, range(plan.num_shards)),
        seconds=0.0,
        class_names=plan.source.class_names,
        splits={name: len(ids) for name, ids in splits.items()},
        class_counts=outcome.class_counts(splits),
        resumed=len(resumed),
        free=free_bytes(target),
    )
