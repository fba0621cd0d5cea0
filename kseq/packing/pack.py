"""Packing: a collection of images to a dataset of HDF5 shards."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from kseq.arguments import absolute, flag, instance, spelled
from kseq.errors import ArgumentError
from kseq.packing.disk_space import free_bytes
from kseq.packing.dry_run import predict_report
from kseq.packing.open_source import check_target_path, open_or_spool
from kseq.packing.pack_report import PackReport
from kseq.packing.pack_result import read_pack_result
from kseq.packing.plan import Plan, make_plan
from kseq.packing.resume import advising_to_resume, find_shards, first_number, open_shard, resumable
from kseq.packing.resume_record import ResumeRecord
from kseq.packing.run import build_shards, check_run_arguments
from kseq.packing.settings import ImageSettings, format_settings
from kseq.sources.column_roles import Columns
from kseq.storage.index import Contents
from kseq.storage.index_writer import write_index
from kseq.storage.layout import INDEX_NAME, shard_name
from kseq.storage.output_folder import check_target, target_folder

__all__ = ["pack"]


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
    niceness: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PackReport:
    """Pack a collection of images into a dataset of HDF5 shards.

    The bytes of the dataset depend on the images and on the arguments down to `shard_bytes`, and on nothing else.

    Args:
        source: A folder of images, `CLASS/.../IMAGE`, or the same below folders called `train`, `val` and `test`; a zip of such
            a folder; a table of paths (CSV, whose first line names the columns, JSON Lines or Parquet); a JSON file of COCO; a
            folder of YOLO; WebDataset tars, TFRecords, ArrayRecords, or Parquet or Arrow files of Hugging Face: one file, a
            folder of them, or a pattern (`*.tar`, `{000..009}.tar`); arrays in `.npz`, `.npy` or HDF5 files. Or an iterable of
            dicts, or of pairs of image and label; a `tf.data.Dataset`; the arrays of `keras.datasets`.
        dataset: The folder to make.
        columns: Which column of the source holds what; None for the usual names. A source that has no columns, such as a folder
            of images, takes none.
        images: How images are stored; None for `ImageSettings()`, which keeps JPEG and PNG files as they are.
        source_format: `"folder"`, `"csv"`, `"jsonl"`, `"parquet"`, `"coco"`, `"yolo"`, `"webdataset"`, `"zip"`, `"tfrecord"`,
            `"arrayrecord"`, `"huggingface"` or `"arrays"`; None to choose by the name and the content of `source`.
        root: The folder that the paths of a table are relative to; None for the folder of the table.
        follow_links: Follow links that lead out of the folder of images, and links to folders. Without it, such links are left
            out and listed.
        class_names: All classes, in the order of their numbers; None for the classes that are found, sorted.
        val: The share of the images, in (0, 1), that goes to the split `val`; 0 for none. Images to which the source gives
            another split than `train` stay there.
        test: The same for the split `test`.
        stratify: Take these shares of each class alike.
        seed: Decides which images go to which split.
        on_error: `"skip"` leaves broken images out and lists them, `"fail"` stops at the first.
        shard_bytes: About how large each shard is, in bytes; None for 256 MiB, or less for a small collection.
        workers: How many processes build shards; None for one for each core, 0 to build them in this process. If a process
            dies (out of memory, or a codec crashed), its shard is built again; if it dies again, each image of the shard is
            encoded alone, and an image over which two processes die is left out. Nothing of that is possible with 0.
        executor: Builds the shards instead: an object with the interface of `concurrent.futures.Executor`, such as the
            `client.get_executor()` of Dask, whose workers have kseq and see the same files. It is not shut down. Shards over
            which its workers die are built by processes of this machine.
        niceness: By how many steps, 0 to 19, the processes that build shards stand back from all other threads of the machine;
            only on Linux. 0: not at all. With `workers=0` nothing stands back.
        overwrite: Replace a dataset that lies there, once the new one is complete.
        resume: Go on with a packing that was killed.
        dry_run: Only look at the source, and report what would be packed; nothing is written. Not for iterables.
        progress: Called now and then with how many images are done and how many there are.

    Returns:
        What was packed, and which files were left out and why.

    Raises:
        ArgumentError: If arguments have values that are not allowed, or do not go together.
        SourceError: If the source cannot be packed, or none of its images can.
        DatasetExistsError: If something lies at `dataset` already, or `resume` finds other images or arguments than the packing
            was started with.
        LockedError: If another process packs there.
        ImageError: At the first broken image, with `on_error="fail"`.
        WriteError: If the disk refuses to write, or is too full for the dataset.
        WorkerDiedError: If worker processes die whatever they do, or memory runs out in this process. Finished shards stay, for
            `resume`.

    Examples:
        >>> kseq.pack("photos", "flowers", val=0.2)
        >>> kseq.pack("photos.csv", "small", columns=kseq.Columns(label="kind"), images=kseq.ImageSettings("raw", (64, 64)))
    """
    started = time.monotonic()
    check_run_arguments(on_error, workers, executor, niceness)
    flags = {"stratify": stratify, "follow_links": follow_links, "overwrite": overwrite, "resume": resume, "dry_run": dry_run}
    for name, value in flags.items():
        flag(name, value)
    if overwrite and resume:
        raise ArgumentError(f"{spelled('overwrite')} and {spelled('resume')} exclude each other: give one of the two")
    columns, settings = instance("columns", columns, Columns), instance("images", images, ImageSettings)
    if executor is not None:
        # Its workers may be in other folders.
        source, root = absolute(source), absolute(root)
    target = os.path.normpath(check_target_path(source, dataset))
    fractions = {"val": val, "test": test}
    arguments = {**fractions, "stratify": stratify, "seed": seed, "shard_bytes": shard_bytes}
    with ExitStack() as stack:
        stack.enter_context(advising_to_resume(target))
        folder = "" if dry_run else stack.enter_context(target_folder(target, overwrite=overwrite, resume=resume))
        if dry_run:
            check_target(target, overwrite=overwrite, resume=resume)
        opened_source = stack.enter_context(
            open_or_spool(source, folder, source_format, columns, root, class_names, follow_links=follow_links)
        )
        plan = make_plan(opened_source, settings, fractions, stratify=stratify, seed=seed, shard_bytes=shard_bytes)
        if dry_run:
            finished = find_shards(target, plan, ResumeRecord.of(plan, arguments)) if resume else set()
            report = predict_report(plan, len(finished))
        else:
            finished = stack.enter_context(resumable(folder, plan, arguments))
            _build(plan, folder, finished, workers, executor, niceness, progress, stop_at_error=on_error == "fail")
            report = _publish(plan, folder, len(finished))
    return replace(report, path=target, seconds=time.monotonic() - started, num_bytes_free=free_bytes(target))


def _build(
    plan: Plan,
    folder: str,
    finished: set[int],
    workers: int | None,
    executor: Executor | None,
    niceness: int,
    progress: Callable[[int, int], None] | None,
    *,
    stop_at_error: bool,
) -> None:
    """Build the shards of a plan that are not finished yet."""
    first = first_number(folder)
    paths = {
        number: os.path.abspath(os.path.join(folder, shard_name(first + number)))
        for number in range(plan.num_shards)
        if number not in finished
    }
    build_shards(plan, paths, workers, executor, niceness, progress, stop_at_error=stop_at_error)


def _publish(plan: Plan, folder: str, num_resumed: int) -> PackReport:
    """Read what the shards hold, and write the index that makes them a dataset."""
    first = first_number(folder)
    result = read_pack_result(plan, functools.partial(open_shard, plan, folder, first=first), first)
    splits = result.splits()
    contents = Contents(
        dataset_id=plan.dataset_id,
        fields=result.fields,
        class_names=plan.source.class_names,
        shards=result.entries,
        splits=splits,
        rejected=result.rejected,
        settings=format_settings(plan.settings),
    )
    write_index(folder, contents)
    num_bytes = sum(entry.num_bytes for entry in result.entries) + os.path.getsize(os.path.join(folder, INDEX_NAME))
    return result.report(splits, num_resumed=num_resumed, num_bytes=num_bytes)
