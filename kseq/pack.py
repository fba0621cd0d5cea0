"""Packing: a folder of images to a dataset, shard by shard, in worker processes."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from multiprocessing import get_context
from typing import Any

import numpy as np

from kseq.arguments import whole, whole_pair
from kseq.build import ShardTask, build_shard
from kseq.errors import ArgumentError, SourceError, WorkerDiedError
from kseq.fields import Field
from kseq.format import INDEX_NAME, Rejected, ShardEntry, shard_name
from kseq.images import MAX_PIXELS
from kseq.index import write_index
from kseq.plan import Plan, Settings, make_plan
from kseq.shard import ShardReader
from kseq.sources.columns import Columns
from kseq.sources.files import Source
from kseq.sources.iterables import spooled
from kseq.sources.opening import open_source
from kseq.target import check_apart, open_shard, target_folder
from kseq.workers import process_pool, usable_cores

__all__ = ["PackReport", "pack"]

ON_ERROR = ("skip", "fail")

# Seconds between two calls of `progress`.
_PROGRESS_EVERY = 0.1


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

    @property
    def reasons(self) -> dict[str, int]:
        """Why files were left out, without what is of one file alone, and how many; the most frequent first."""
        return dict(Counter(each.kind for each in self.rejected).most_common())

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """The classes of which nothing was packed; none where samples have no label."""
        counts = [sum(each) for each in zip(*self.class_counts.values(), strict=True)]
        return tuple(name for name, count in zip(self.class_names, counts, strict=False) if not count)


def pack(
    source: str | os.PathLike[str] | Iterable[Any],
    dataset: str | os.PathLike[str],
    *,
    source_format: str | None = None,
    image: str | Sequence[str] | None = None,
    label: str | None = None,
    targets: Mapping[str, str] | None = None,
    mask: str | None = None,
    boxes: str | None = None,
    box_labels: str | None = None,
    text: str | None = None,
    weight: str | None = None,
    split_column: str | None = None,
    group: str | None = None,
    root: str | os.PathLike[str] | None = None,
    follow_links: bool = False,
    encoding: str = "keep",
    image_size: tuple[int, int] | None = None,
    resize: str = "stretch",
    color_mode: str = "rgb",
    interpolation: str = "bilinear",
    quality: int = 90,
    max_side: int | None = None,
    check: bool = True,
    max_pixels: int = MAX_PIXELS,
    class_names: Sequence[str] | None = None,
    val: float = 0.0,
    test: float = 0.0,
    stratify: bool = True,
    seed: int = 0,
    on_error: str = "skip",
    shard_bytes: int | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PackReport:
    """Pack a collection of images into a dataset of HDF5 shards.

    The bytes of the dataset depend on the images and on the arguments down to `shard_bytes`, on nothing else.

    Args:
        source: A folder: `class/.../image`, or the same below folders called `train`, `val` and `test`. Or a table: CSV (its
            first line names the columns), JSON Lines or Parquet. Or COCO's JSON, a folder as YOLO has it, WebDataset tars,
            TFRecords, Hugging Face's Parquet or Arrow: one, a folder of them, or a pattern. Or `.npz`, `.npy`, HDF5 arrays.
            Or an iterable: dicts, pairs of image and label, a `tf.data.Dataset`, what `keras.datasets` gives. The rules of
            each are at the top of its module in `kseq/sources`.
        dataset: The folder to make.
        source_format: `"folder"`, `"csv"`, `"jsonl"`, `"parquet"`, `"coco"`, `"yolo"`, `"webdataset"`, `"tfrecord"`,
            `"huggingface"` or `"arrays"`; None to tell by what lies at `source` and by its name.
        image: The column of the paths, or the feature, array or key of the images; None for the first of the usual names (in a
            table `image`, `path`, `file`, `filename` and the like). Several make a field each, called like their columns.
        label: That of the classes; None for the first of the usual names (in a table `label`, `class`, `class_name` or
            `category`), `""` for no label.
        targets: Field name to column, for numbers, vectors, and several labels a sample (a list, or separated by `|`).
        mask: The column of paths of masks, images of one channel whose pixels are values: kept losslessly, resized by nearest.
        boxes: The column of boxes, each a list of `[x1, y1, x2, y2]` in pixels of the upright image.
        box_labels: The column of their classes, lists as long.
        text: The column of text.
        weight: The column of weights, numbers of 0 or more.
        split_column: The column of its splits: `train`, `val` or `test`, or nothing, for what `val` and `test` share out.
        group: A column: all images with the same value fall into one split, and a share is a share of such groups.
        root: The folder that the paths of a table are relative to; None for the table's own.
        follow_links: Follow links out of the folder of images, and links to folders; without it, they are left out and listed.
        encoding: `"keep"` stores JPEG and PNG files as they are and everything else as PNG; `"raw"` stores
            uint8 pixels of one size; `"jpeg"` encodes every image anew.
        image_size: `(height, width)` in pixels to resize to, needed for `"raw"`, possible for `"jpeg"`.
        resize: `"stretch"`, `"crop"` (Keras's `crop_to_aspect_ratio`) or `"pad"` (`pad_to_aspect_ratio`).
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`: what the images are, or are decoded to when read.
        interpolation: Keras's names, such as `"bilinear"`.
        quality: Of `"jpeg"`, 1 to 100.
        max_side: For `"jpeg"`, shrink images whose longer side has more pixels than this.
        check: Decode every image once; False leaves that out for `"keep"`.
        max_pixels: Refuse images that announce more pixels than this, before they are decoded.
        class_names: All classes, to number them in another order than the sorted one.
        val: Share of the images for the split `val`, in (0, 1), where the folders name none.
        test: The same for `test`.
        stratify: Take these shares of each class alike.
        seed: Draws the splits.
        on_error: `"skip"` leaves broken images out and lists them, `"fail"` stops at the first.
        shard_bytes: About how large each shard is; None for 256 MiB, or less for a small collection.
        workers: Processes; None for as many as there are cores, 0 to work in this one.
        overwrite: Replace a dataset that lies there, once the new one is whole.
        resume: Go on with a packing that was killed.
        progress: Called now and then with how many images are done and how many there are.

    Raises:
        ArgumentError: Where arguments have values that are not allowed, or do not go together.
        SourceError: Where the source is no folder that can be packed, or no image in it can.
        DatasetExistsError: Where something lies at `dataset` already.
        ImageError: At the first broken image, with `on_error="fail"`.
        WriteError: Where the disk refuses.
        WorkerDiedError: Where a worker process was killed; what is whole stays, for `resume`.
    """
    started = time.monotonic()
    size = None if image_size is None else whole_pair("image_size", image_size)
    settings = Settings(
        encoding, size, resize, color_mode, interpolation, quality, max_side, check, whole("max_pixels", max_pixels, 1)
    )
    if on_error not in ON_ERROR:
        raise ArgumentError(f"on_error={on_error!r}: allowed are {', '.join(ON_ERROR)}")
    workers = usable_cores() if workers is None else whole("workers", workers, 0)
    if overwrite and resume:
        raise ArgumentError("overwrite and resume exclude each other: give one of the two")
    target = _path("dataset", dataset)
    columns = Columns(
        image=(image,) if isinstance(image, str) else tuple(image or ()),
        label=label,
        split=split_column,
        group=group,
        targets=tuple((targets or {}).items()),
        mask=mask,
        boxes=boxes,
        box_labels=box_labels,
        text=text,
        weight=weight,
    )
    opened = _open(
        source, target, source_format, columns, None if root is None else _path("root", root), class_names, follow_links
    )
    with ExitStack() as stack:
        found = stack.enter_context(opened)
        plan = make_plan(found, settings, {"val": val, "test": test}, stratify=stratify, seed=seed, shard_bytes=shard_bytes)
        folder, resumed = stack.enter_context(target_folder(target, plan, overwrite=overwrite, resume=resume))
        tasks = [
            ShardTask.of(plan, number, os.path.join(folder, shard_name(number)), stop_at_error=on_error == "fail")
            for number in range(plan.num_shards)
            if number not in resumed
        ]
        _run(tasks, workers, _Progress(plan, resumed, progress))
        report = _publish(plan, folder, len(resumed))
    return replace(report, path=target, seconds=time.monotonic() - started)


@contextmanager
def _open(
    source: Any,
    target: str,
    source_format: str | None,
    columns: Columns,
    root: str | None,
    class_names: Sequence[str] | None,
    follow_links: bool,
) -> Iterator[Source]:
    """What is to be packed, good until the end of the block."""
    if not isinstance(source, (str, bytes, os.PathLike)) and source_format is None and root is None and not follow_links:
        with spooled(source, os.path.dirname(os.path.abspath(target)), columns, class_names) as found:
            yield found
        return
    place = _path("source", source)
    check_apart(place, target)
    yield open_source(place, source_format, columns, root, class_names, follow_links=follow_links)


def _path(name: str, value: Any) -> str:
    try:
        return os.fsdecode(value)
    except TypeError as error:
        raise ArgumentError(f"{name}={value!r}: allowed is a path") from error


class _Progress:
    """Counts images done and passes the number on."""

    def __init__(self, plan: Plan, resumed: set[int], call: Callable[[int, int], None] | None) -> None:
        self.total = len(plan.source.images)
        self.done = sum(len(plan.shard_images(number)) for number in resumed)
        self._call = call

    def show(self, more: int) -> bool:
        self.done += more
        if self._call is not None:
            self._call(self.done, self.total)
        return True


def _run(tasks: list[ShardTask], workers: int, progress: _Progress) -> None:
    progress.show(0)
    if workers == 0:
        for task in tasks:
            build_shard(task, progress.show)
        return
    shared = get_context("spawn")
    done, stop = shared.Value("Q", 0), shared.Event()
    with process_pool(min(workers, max(len(tasks), 1)), _remember_shared, (done, stop)) as executor:
        try:
            for _ in _as_completed(executor, tasks, 2 * workers):
                progress.show(_take_count(done))
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                "a worker process was killed (out of memory?): --resume goes on from the shards that are whole, "
                "unless this run was to overwrite: then the old dataset stays as it was"
            ) from error
        except BaseException:
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
    progress.show(_take_count(done))


def _as_completed(executor: Executor, tasks: Iterable[ShardTask], most: int) -> Iterator[None]:
    """Run tasks, at most `most` handed over at a time; yields now and then, and when each is done."""
    waiting: set[Future] = set()
    rest = iter(tasks)
    while True:
        waiting |= {executor.submit(_build_in_worker, task) for task in islice(rest, most - len(waiting))}
        if not waiting:
            return
        done, waiting = wait(waiting, _PROGRESS_EVERY, FIRST_COMPLETED)
        for future in done:
            future.result()
        yield


def _take_count(counter: Any) -> int:
    with counter.get_lock():
        count: int = counter.value
        counter.value = 0
    return count


# In a worker process: the counter of images done, and the event that says to stop.
_shared: tuple[Any, Any] | None = None


def _remember_shared(done: Any, stop: Any) -> None:
    global _shared
    _shared = (done, stop)


def _build_in_worker(task: ShardTask) -> None:
    build_shard(task, _report_shared)


def _report_shared(more: int) -> bool:
    assert _shared is not None
    done, stop = _shared
    with done.get_lock():
        done.value += more
    return not stop.is_set()


def _publish(plan: Plan, target: str, num_resumed: int) -> PackReport:
    """Read back what the shards hold, and write the index that makes them a dataset."""
    entries: list[ShardEntry] = []
    rejected: list[Rejected] = []
    sizes: dict[str, set[tuple[int, int]]] = {}
    packed: list[int] = []
    for number in range(plan.num_shards):
        reader = open_shard(plan, target, number)
        entries.append(reader.entry(number))
        left_out = reader.rejected()
        rejected += left_out
        for each in (each for each in plan.fields() if each.is_pixels):
            sizes.setdefault(each.name, set()).update(_image_sizes(reader, each))
        packed += _packed(plan, number, left_out)
    if not packed:
        reason = f"{os.fsdecode(rejected[0].path)}: {rejected[0].reason}"
        raise SourceError(f"{plan.source.root}: none of {len(plan.source.images)} files can be packed (first: {reason})")
    fields = plan.fields({name: found.pop() for name, found in sizes.items() if len(found) == 1})
    names = np.array(plan.splits)[packed]
    splits = {name: np.flatnonzero(names == name) for name in sorted(set(plan.splits)) if (names == name).any()}
    write_index(
        target,
        dataset_id=plan.dataset_id,
        fields=fields,
        class_names=plan.source.class_names,
        shards=entries,
        splits=splits,
        rejected=rejected,
        settings=json.dumps(asdict(plan.settings), sort_keys=True),
    )
    return PackReport(
        path=target,
        found=len(plan.source.images),
        packed=len(packed),
        rejected=rejected,
        shards=len(entries),
        bytes=sum(each.num_bytes for each in entries) + os.path.getsize(os.path.join(target, INDEX_NAME)),
        seconds=0.0,
        class_names=plan.source.class_names,
        splits={name: len(ids) for name, ids in splits.items()},
        class_counts=_class_counts(plan, np.array(packed), splits),
        resumed=num_resumed,
    )


def _class_counts(plan: Plan, packed: np.ndarray, splits: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Split name to the number of samples of each class; nothing where samples have no label."""
    if not any(each.content == "label" for each in plan.source.fields):
        return {}
    labels = np.array([each.label for each in plan.source.images])[packed]
    num_classes = len(plan.source.class_names)
    return {name: np.bincount(labels[ids], minlength=num_classes).tolist() for name, ids in splits.items()}


def _packed(plan: Plan, number: int, left_out: list[Rejected]) -> list[int]:
    """Which images of the plan a shard holds. Of those with the same path, all but one were refused before they were read."""
    images = plan.shard_images(number)
    refused = {(image.path, image.refused) for image in images}
    failed = {each.path for each in left_out if (each.path, each.reason) not in refused}
    places = [place for place, image in enumerate(images) if image.refused is None and image.path not in failed]
    return [plan.shard_starts[number] + place for place in places]


def _image_sizes(reader: ShardReader, image: Field) -> set[tuple[int, int]]:
    """The different sizes of the images of a shard; two are enough to know that they differ."""
    if not image.encoded:
        return {(int(image.shape[0] or 0), int(image.shape[1] or 0))}
    sizes = np.unique(reader.array(f"{image.name}/size")[:], axis=0)[:2]
    return {(int(height), int(width)) for height, width in sizes}
