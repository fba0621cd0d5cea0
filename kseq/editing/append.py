"""Appending: more images to a packed dataset, in shards of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kseq.arguments import absolute, choice, instance, spelled
from kseq.editing.adapt_source import AdaptedSource, fit
from kseq.editing.columns import FieldArrays, concatenate_column
from kseq.editing.transaction import Transaction, begin_transaction, remove_leftovers
from kseq.errors import ArgumentError, KseqError, SourceError
from kseq.packing.build_shard import ShardTask
from kseq.packing.open_source import opened_source, target_apart
from kseq.packing.pack import ON_ERROR
from kseq.packing.pack_result import PackResult, read_pack_result
from kseq.packing.plan import Plan, make_plan
from kseq.packing.progress import Progress
from kseq.packing.resume_record import stamps_digest
from kseq.packing.run import check_workers, run_tasks
from kseq.packing.settings import ImageSettings
from kseq.sources.column_roles import Columns
from kseq.storage.checksums import Digest
from kseq.storage.compatibility import common_field
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.index_schema import column_schema
from kseq.storage.layout import shard_name
from kseq.storage.rejected import Rejected, count_reasons
from kseq.storage.shard_reader import ShardReader

__all__ = ["AppendReport", "append"]


@dataclass(frozen=True)
class AppendReport:
    """What was appended; `packed + len(rejected) == found`.

    Attributes:
        path: The dataset's folder.
        found: Files that were found.
        packed: Samples that came to the dataset.
        rejected: The files that were left out, each with `path` (bytes, below the source folder) and `reason`.
        known: How many of the samples were in the dataset already, byte for byte.
        shards: New shards.
        bytes: Their size.
        seconds: How long it took.
        new_classes: Names of the classes that are new; their numbers follow those that there were.
        splits: Split name to the number of samples that came to it.
        resumed: Shards that an earlier, unfinished run had made.
    """

    path: str
    found: int
    packed: int
    rejected: list[Rejected] = field(repr=False)
    known: int
    shards: int
    bytes: int
    seconds: float
    new_classes: tuple[str, ...]
    splits: dict[str, int]
    resumed: int = 0

    @property
    def reasons(self) -> dict[str, int]:
        """Why files were left out, without what is of one file alone, and how many; the most frequent first."""
        return count_reasons(self.rejected)


def append(
    dataset: str | os.PathLike[str],
    source: str | os.PathLike[str] | Iterable[Any],
    *,
    columns: Columns | None = None,
    source_format: str | None = None,
    root: str | os.PathLike[str] | None = None,
    follow_links: bool = False,
    val: float = 0.0,
    test: float = 0.0,
    stratify: bool = True,
    seed: int = 0,
    on_error: str = "skip",
    shard_bytes: int | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    again: bool = False,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> AppendReport:
    """Pack more images into a dataset, as it was packed itself.

    New shards come beside those that there are, new sample ids after those that there are, in the splits that the source names
    or `val` and `test` share out among the new samples, else in `train`. Samples hold the same fields as before. Classes go by
    their names: those that there were keep their numbers, new ones follow.

    A run that is killed leaves the dataset as it was. What it had made is used by the same run with `resume`, and removed by
    any other change.

    Args:
        dataset: The dataset's folder.
        source: A folder, a file, a pattern or an iterable: this and the arguments down to `on_error` are as in `kseq.pack`.
        columns: Which columns of the source are what; None for the usual names. By its `group`, only new samples are held
            together.
        source_format: What the source is.
        root: The folder that the paths of a table are relative to.
        follow_links: Follow links out of the folder of images, and links to folders.
        val: Share of the new images for the split `val`.
        test: The same for `test`.
        stratify: Take these shares of each class alike.
        seed: Draws the splits.
        on_error: `"skip"` or `"fail"`.
        shard_bytes: About how large each new shard is; None for 256 MiB, or less for a small source.
        workers: Processes; None for as many as there are cores, 0 to work in this one.
        executor: Builds the shards instead, see `kseq.pack`.
        again: Take samples although all of them are in the dataset already.
        resume: Go on with the same run, which was killed.
        progress: Called now and then with how many images are done and how many there are.

    Raises:
        ArgumentError: Where arguments have values that are not allowed, or do not go together, or all samples are in the
            dataset already.
        DatasetNotFoundError: Where there is no dataset.
        DamagedError: Where the index's bytes have changed.
        SourceError: Where the source holds other fields, or nothing that can be packed.
        ImageError: At the first broken image, with `on_error="fail"`.
        LockedError: Where another process changes the dataset.
        WriteError: Where the disk refuses.
        WorkerDiedError: Where a worker process was killed; what is whole stays, for `resume`.
    """
    started = time.monotonic()
    choice("on_error", on_error, ON_ERROR)
    check_workers(workers, executor)
    if executor is not None:
        # Its workers may be in other folders.
        source, root = absolute(source), absolute(root)
    wanted = instance("columns", columns, Columns)
    with ExitStack() as stack:
        change = stack.enter_context(begin_transaction(target_apart(source, dataset), keep_leftovers=resume))
        index = change.index
        index.check_digest()
        opened = opened_source(source, index.path, source_format, wanted, root, None, follow_links=follow_links)
        found = stack.enter_context(opened)
        settings = ImageSettings.parse(index.settings, index.path)
        name = os.fsdecode(source) if isinstance(source, (str, bytes, os.PathLike)) else "the iterable"
        fitted = fit(found, name, index, settings)
        fractions = {"val": val, "test": test}
        plan = make_plan(fitted.source, settings, fractions, stratify=stratify, seed=seed, shard_bytes=shard_bytes)
        new = _NewShards(change, plan)
        resumed = new.build(workers, executor, on_error == "fail", progress)
        report = _publish(change, fitted, new, again, _said(name, fractions, seed))
    return replace(report, resumed=resumed, seconds=time.monotonic() - started)


def _said(name: str, fractions: Mapping[str, float], seed: int) -> str:
    shares = [f"{split} {share:g}" for split, share in fractions.items() if share]
    options = f" ({', '.join([*shares, f'seed {seed}'])})" if shares else ""
    return f"append {os.path.basename(os.path.normpath(name))}{options}"


class _NewShards:
    """The shards of a plan, beside those of a dataset that it is appended to.

    Args:
        change: The change of the dataset.
        plan: What is to be appended.
    """

    def __init__(self, change: Transaction, plan: Plan) -> None:
        self._index = change.index
        self.first = change.next_shard_number()
        # Found again only by the same run on the same dataset, and of files that were not written again since.
        run = f"append {plan.dataset_id} {change.index.digest} {stamps_digest(plan.source).hex()}"
        origin = Digest(run.encode()).hexdigest()
        self.plan = replace(plan, dataset_id=origin)

    def _path(self, place: int) -> str:
        return os.path.join(self._index.path, shard_name(self.first + place))

    def open(self, place: int) -> ShardReader:
        """A shard by its place in the plan.

        Raises:
            KseqError: Where there is none, or another.
        """
        reader = ShardReader(self._path(place), self._index.stored_fields)
        reader.check_origin(self.plan.dataset_id, place)
        return reader

    def each(self) -> Iterator[ShardReader]:
        """All of them."""
        return (self.open(place) for place in range(self.plan.num_shards))

    def build(
        self, workers: int | None, executor: Executor | None, stop_at_error: bool, call: Callable[[int, int], None] | None
    ) -> int:
        """Build those that are not there yet; how many are."""
        plan = self.plan
        there = [place for place in range(plan.num_shards) if self._is_there(place)]
        tasks = [
            ShardTask.of(plan, place, self._path(place), stop_at_error=stop_at_error)
            for place in range(plan.num_shards)
            if place not in there
        ]
        done = sum(len(plan.shard_images(place)) for place in there)
        # What lies beside the shards of the dataset does not go into these either.
        tasks = [replace(task, fields=self._index.stored_fields) for task in tasks]
        run_tasks(tasks, workers, executor, Progress(done, len(plan.source.images), call))
        return len(there)

    def _is_there(self, place: int) -> bool:
        try:
            self.open(place)
        except KseqError:
            return False
        return True


def _outcome(index: Index, new: _NewShards, again: bool, said: str) -> tuple[PackResult, int]:
    """What the new shards hold, and how many of their samples are in the dataset already."""
    try:
        outcome = read_pack_result(new.plan, new.open, new.first)
        known = _count_known(index, new)
        if known == len(outcome.packed) and not again:
            raise ArgumentError(
                f"{said}: all {known} samples are in {index.path} already ({spelled('again', True)} takes them once more)"
            )
    except (ArgumentError, SourceError):
        # There is nothing to go on with.
        remove_leftovers(index.path)
        raise
    return outcome, known


def _publish(change: Transaction, fitted: AdaptedSource, new: _NewShards, again: bool, said: str) -> AppendReport:
    """Publish the index that names the new shards too."""
    index = change.index
    outcome, known = _outcome(index, new, again, said)
    added = {name: (ids + index.num_samples).astype("<u8") for name, ids in outcome.splits().items()}
    none = np.empty(0, "<u8")
    change.publish(
        f"{said}: {len(outcome.packed)} samples",
        fields=_fields(index, fitted.fields, outcome),
        stored_fields=_fields(index, index.stored_fields, outcome, fitted.fields),
        class_names=fitted.source.class_names,
        shards=[*index.contents().shards, *outcome.entries],
        splits={**index.splits, **{name: np.concatenate([index.splits.get(name, none), ids]) for name, ids in added.items()}},
        rejected=[*index.rejected(), *outcome.rejected],
        columns=_columns(index, fitted, new, outcome),
    )
    return AppendReport(
        path=index.path,
        found=len(fitted.source.images),
        packed=len(outcome.packed),
        rejected=outcome.rejected,
        known=known,
        shards=len(outcome.entries),
        bytes=sum(each.num_bytes for each in outcome.entries),
        seconds=0.0,
        new_classes=tuple(fitted.source.class_names[len(index.class_names) :]),
        splits={name: len(ids) for name, ids in added.items()},
    )


def _fields(index: Index, fields: Sequence[Field], outcome: PackResult, named: Sequence[Field] = ()) -> tuple[Field, ...]:
    """Fields of the dataset where images may differ in size now, with the classes of others of the same names."""
    new = {each.name: each for each in outcome.fields}
    classes = {each.name: each.class_names for each in named}
    common = (
        common_field(each, new[each.name], index.path, outcome.plan.source.root) if each.is_pixels else each for each in fields
    )
    return tuple(replace(each, class_names=classes.get(each.name, each.class_names)) for each in common)


def _columns(index: Index, fitted: AdaptedSource, new: _NewShards, outcome: PackResult) -> dict[str, np.ndarray]:
    """The columns, with the values of the new samples: as their shards hold them, or as the source has them."""
    columns: dict[str, np.ndarray] = {}
    for each in fitted.fields:
        if any(name in index.columns for name in column_schema(each, index.num_samples)):
            old = FieldArrays(index.path, index.columns.__getitem__)
            if each.name in fitted.beside:
                arrays = _arrays(each, fitted.values(each, outcome.packed))
                more = [FieldArrays(outcome.plan.source.root, arrays.__getitem__)]
            else:
                more = [FieldArrays(reader.path, reader.array) for reader in new.each()]
            columns |= concatenate_column(each, [old, *more])
    return columns


def _arrays(field: Field, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The values of some samples as the arrays of a column."""
    if not field.is_ragged:
        return {field.name: np.stack(values)}
    offsets = np.cumsum([0, *map(len, values)]).astype("<u8")
    return {f"{field.name}/values": np.concatenate(values), f"{field.name}/offsets": offsets}


def _count_known(index: Index, new: _NewShards) -> int:
    """How many new samples are in the dataset already, by the checksums of their stored bytes."""
    new_ones, counts = np.unique(np.concatenate([each.array("checksum") for each in new.each()]), return_counts=True)
    is_known = np.zeros(len(new_ones), bool)
    bounds = np.searchsorted(index.dropped, index.starts)
    for place in range(index.num_shards):
        reader = ShardReader(index.shard_path(place), index.stored_fields, index.entry(place))
        dropped = index.dropped[bounds[place] : bounds[place + 1]].astype(np.int64) - index.starts[place]
        there = np.delete(reader.array("checksum"), dropped)
        places = np.minimum(np.searchsorted(new_ones, there), len(new_ones) - 1)
        is_known[places[new_ones[places] == there]] = True
    return int(counts[is_known].sum())
