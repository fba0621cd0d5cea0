"""Packing: a collection of images to a dataset of HDF5 shards."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kseq.arguments import absolute, choice, flag, instance, is_url, path_or_url, spelled
from kseq.display.progress_bar import progress_shown
from kseq.errors import ArgumentError
from kseq.packing.destination import Destination, FolderDestination
from kseq.packing.dry_run import predict_report
from kseq.packing.duplicates import DUPLICATES, drop_copies, find_copies
from kseq.packing.left_out_classes import check_class_list, check_class_names, leave_out_classes
from kseq.packing.open_source import check_source_apart, open_or_spool
from kseq.packing.pack_report import PackReport
from kseq.packing.plan import Plan, make_plan
from kseq.packing.run import build_shards, check_run_arguments
from kseq.packing.settings import ImageSettings, image_form
from kseq.packing.stored_form import with_image_size
from kseq.packing.url_destination import UrlDestination
from kseq.platforms.processes import usable_cores
from kseq.sources.column_roles import Columns
from kseq.storage.remote_system import check_storage_options

__all__ = ["pack"]


def pack(
    source: str | os.PathLike[str] | Iterable[Any],
    dataset: str | os.PathLike[str],
    *,
    columns: Columns | None = None,
    images: ImageSettings | None = None,
    source_format: str | None = None,
    root: str | os.PathLike[str] | None = None,
    label_pattern: str | re.Pattern[str] | None = None,
    suffix: str | None = None,
    shape: Sequence[int] | None = None,
    text_encoding: str | None = None,
    follow_links: bool = False,
    class_names: Sequence[str] | None = None,
    without_class: Sequence[str] | None = None,
    val: float = 0.0,
    test: float = 0.0,
    stratify: bool = True,
    seed: int = 0,
    duplicates: str = "keep",
    on_error: str = "skip",
    shard_bytes: int | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    niceness: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | bool | None = None,
) -> PackReport:
    r"""Pack a collection of images into a dataset of HDF5 shards.

    The bytes of the dataset depend on the images and on the arguments down to `shard_bytes`, and on nothing else.

    Args:
        source: A folder of images, `CLASS/.../IMAGE`, or the same below folders called `train`, `val` and `test`; a zip of such
            a folder; a table of paths (CSV, whose first line names the columns, JSON Lines or Parquet); a JSON file of COCO; a
            folder of YOLO; WebDataset tars, TFRecords, ArrayRecords, or Parquet or Arrow files of Hugging Face: one file, a
            folder of them, or a pattern (`*.tar`, `{000..009}.tar`); arrays in `.npz`, `.npy` or HDF5 files. Or an iterable of
            dicts, or of pairs of image and label; a `tf.data.Dataset`; the arrays of `keras.datasets`.
            A path may be a URL of any file system of fsspec, such as `"s3://bucket/photos"`. Of a folder, image files are read
            when they are packed; all other files are downloaded to the folder for temporary files first (`TMPDIR`). A table may
            name images by URLs.
        dataset: The folder to make, or a URL. There, shards are built in the folder for temporary files, a few at a time, and
            uploaded as they get whole, the index last. There are no locks there: two that pack the same to one URL do no harm,
            and where others are noticed, it ends with an error.
        columns: Which column of the source holds what; None for the usual names. A source that has no columns, such as a folder
            of images, takes none but `Columns(label="")`, for images without classes.
        images: How images are stored; None for `ImageSettings()`, which keeps JPEG and PNG files as they are.
        source_format: One of `kseq.SOURCE_FORMATS`, such as `"csv"`, `"coco"` or `"webdataset"`; None to choose by the name and
            the content of `source`.
        root: The folder that the paths of a table are relative to, or a URL; None for the folder of the table.
        label_pattern: A regular expression for the path of an image below the source, whose first group finds the label, as in
            `r"(cat|dog)\.\d+\.jpg$"`, or `"([^/]+)/[^/]+$"` for the folder that the image lies in; None for the label that
            the source says.
        suffix: What the paths of a table lack at their ends, such as `".jpg"`; None to look for files where paths have no
            suffix.
        shape: Height and width of the images in a table of pixels, with the channels behind them (`(28, 28, 3)`, pixel by
            pixel) or before them (`(3, 32, 32)`, channel by channel); None for square images of one channel.
        text_encoding: The encoding of text files without a byte order mark, as Python calls it, such as `"cp1252"` or
            `"shift_jis"`; None for UTF-8.
        follow_links: Follow links that lead out of the folder of images, and links to folders. Without it, such links are left
            out and listed.
        class_names: The classes in the order of their numbers; None for the classes that are found, sorted. Images whose label
            is another class are left out; boxes of other classes are taken out of their images, and counted.
        without_class: Classes that are left out in the same way. The others keep their order, with numbers from 0 on.
        val: The share of the images, in (0, 1), that goes to the split `val`; 0 for none. Images to which the source gives
            another split than `train` stay there.
        test: The same for the split `test`.
        stratify: Take these shares of each class alike.
        seed: Decides which images go to which split.
        duplicates: What becomes of byte-identical images: `"keep"` packs and counts them, `"drop"` rejects all but the first in
            the order of the source, whatever their splits and labels, `"group"` keeps copies in one split where splits are
            drawn. For the latter two, files of equal size are read once more before.
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
        storage_options: What fsspec's file systems are made with, for all URLs: keys, an endpoint and the like.
        progress: A function that is called now and then with how many images are done and there are.
            None: a bar where a person looks, on a terminal or in a notebook, else nothing. False: nothing. True: a bar.

    Returns:
        What was packed, and which files were left out and why.

    Raises:
        ArgumentError: If arguments have values that are not allowed, or do not go together.
        SourceError: If the source cannot be packed, or none of its images can.
        DatasetExistsError: If something lies at `dataset` already, or `resume` finds other images or arguments than the packing
            was started with.
        LockedError: If another process packs there, as far as that can be known of a URL.
        ImageError: At the first broken image, with `on_error="fail"`.
        ReadError: If a file system behind a URL cannot be reached.
        WriteError: If the disk refuses to write, or is too full for the dataset, or what is uploaded does not arrive.
        WorkerDiedError: If worker processes die whatever they do, or memory runs out in this process. Finished shards stay, for
            `resume`.

    Examples:
        >>> kseq.pack("photos", "flowers", val=0.2)
        >>> kseq.pack("photos.csv", "small", columns=kseq.Columns(label="kind"), images=kseq.ImageSettings("raw", (64, 64)))
    """
    started = time.monotonic()
    check_run_arguments(on_error, workers, executor, niceness)
    choice("duplicates", duplicates, DUPLICATES)
    flags = {"stratify": stratify, "follow_links": follow_links, "overwrite": overwrite, "resume": resume, "dry_run": dry_run}
    for name, value in flags.items():
        flag(name, value)
    if overwrite and resume:
        raise ArgumentError(f"{spelled('overwrite')} and {spelled('resume')} exclude each other: give one of the two")
    without, class_names = check_class_list("without_class", without_class), check_class_names(class_names)
    columns, settings = instance("columns", columns, Columns), instance("images", images, ImageSettings)
    if executor is not None:
        # Its workers may be in other folders.
        source, root = absolute(source), absolute(root)
    options = check_storage_options(storage_options)
    destination = _destination(source, dataset, options, workers, overwrite=overwrite, resume=resume)
    fractions = {"val": val, "test": test}
    arguments = {**fractions, "stratify": stratify, "seed": seed, "shard_bytes": shard_bytes, "duplicates": duplicates}
    with ExitStack() as stack:
        show = stack.enter_context(progress_shown(progress, "images"))
        build = _Building(workers, executor, niceness, show, stop_at_error=on_error == "fail")
        folder = "" if dry_run else stack.enter_context(destination.opened())
        if dry_run:
            destination.check()
        opened_source = stack.enter_context(
            open_or_spool(
                source,
                folder,
                source_format,
                columns,
                root,
                class_names,
                label_pattern=label_pattern,
                follow_links=follow_links,
                suffix=suffix,
                shape=shape,
                text_encoding=text_encoding,
                storage_options=options,
                form=image_form(settings),
            )
        )
        settings = with_image_size(settings, opened_source)
        opened_source = leave_out_classes(opened_source, without)
        copies = None if duplicates == "keep" else find_copies(opened_source)
        if duplicates == "drop" and copies is not None:
            opened_source, copies = drop_copies(opened_source, copies), None
        plan = make_plan(
            opened_source, settings, fractions, stratify=stratify, seed=seed, shard_bytes=shard_bytes, copies=copies
        )
        if dry_run:
            report = predict_report(plan, destination.count_finished(plan, arguments))
        else:
            report = destination.pack(plan, arguments, build)
    seconds = time.monotonic() - started
    return replace(report, path=destination.name, seconds=seconds, num_bytes_free=destination.free_bytes())


def _destination(
    source: Any,
    dataset: str | os.PathLike[str],
    storage_options: dict[str, Any] | None,
    workers: int | None,
    *,
    overwrite: bool,
    resume: bool,
) -> Destination:
    """Where the dataset is to be.

    Raises:
        ArgumentError: If it is no path and no URL, or the source and the dataset lie in each other.
    """
    target = path_or_url("dataset", dataset)
    check_source_apart(source, target)
    if not is_url(target):
        return FolderDestination(target, overwrite=overwrite, resume=resume)
    num_workers = usable_cores() if workers is None else max(1, workers)
    return UrlDestination(target, storage_options, overwrite=overwrite, resume=resume, workers=num_workers)


@dataclass(frozen=True)
class _Building:
    """Builds shards as the arguments of `pack` say, which have the same names: a `BuildShards`."""

    workers: int | None
    executor: Executor | None
    niceness: int
    progress: Callable[[int, int], None] | None
    stop_at_error: bool = field(kw_only=True)

    def __call__(self, plan: Plan, paths: Mapping[int, str], built: Callable[[int, np.ndarray], None]) -> None:
        build_shards(
            plan,
            paths,
            self.workers,
            self.executor,
            self.niceness,
            self.progress,
            stop_at_error=self.stop_at_error,
            built=built,
        )
