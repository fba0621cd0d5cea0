"""Appending: more images to a packed dataset, in shards of their own."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kseq.arguments import absolute, instance, path_text, shown_url, spelled
from kseq.display.progress_bar import progress_shown
from kseq.editing.adapt_source import AdaptedSource, adapt_source
from kseq.editing.columns import FieldArrays, concatenate_column, has_column, make_column
from kseq.editing.transaction import Transaction, begin_transaction, remove_leftovers
from kseq.errors import ArgumentError, KseqError, SourceError
from kseq.packing.destination import kept_notes
from kseq.packing.left_out_classes import check_class_list, leave_out_classes
from kseq.packing.open_source import check_source_apart, open_or_spool
from kseq.packing.pack_result import PackResult, read_pack_result
from kseq.packing.plan import Plan, make_plan
from kseq.packing.resume import advising_to_resume
from kseq.packing.resume_record import source_stamp
from kseq.packing.run import build_shards, check_run_arguments
from kseq.packing.settings import image_form, parse_settings
from kseq.sources.column_roles import Columns
from kseq.storage.box_counts import BoxCounts, add_facts
from kseq.storage.checksums import Digest
from kseq.storage.compatibility import common_field
from kseq.storage.duplicate_counts import DuplicateCounts
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.layout import shard_name
from kseq.storage.notes import note_lines
from kseq.storage.rejected import Rejected, count_reasons
from kseq.storage.remote_system import check_storage_options
from kseq.storage.report import Report
from kseq.storage.shard_reader import ShardReader

__all__ = ["AppendReport", "append"]


@dataclass(frozen=True)
class AppendReport(Report):
    """What `kseq.append` did; `num_samples + len(rejected) == num_found`.

    Attributes:
        path: The dataset's folder.
        new_class_names: The classes that are new; their numbers follow those of the other classes.
        splits: Split name to the number of samples that were appended to it.
        rejected: The files that were left out, each with its path below the source folder and the reason.
        num_found: How many files were found.
        num_samples: How many samples were appended.
        num_known: How many of the appended samples the dataset had already, byte for byte.
        num_shards: How many shards were appended.
        num_resumed: How many of these shards an earlier, unfinished run had built.
        num_bytes: The size of these shards, in bytes.
        seconds: How long it took.
        notes: What else a user should know, a line each: what was guessed, or not used.
        image_notes: What is worth knowing of files that were appended all the same, as in `PackReport`.
        image_note_examples: Note to the path of one of its files.
        boxes: The boxes of the appended samples, and what was left out; None if samples have no boxes.
        duplicates: The byte-identical images among the appended samples.
    """

    path: str
    new_class_names: tuple[str, ...]
    splits: dict[str, int]
    rejected: list[Rejected] = field(repr=False)
    num_found: int
    num_samples: int
    num_known: int
    num_shards: int
    num_resumed: int
    num_bytes: int
    seconds: float
    notes: tuple[str, ...] = ()
    image_notes: dict[str, int] = field(default_factory=dict, repr=False)
    image_note_examples: dict[str, str] = field(default_factory=dict, repr=False)
    boxes: BoxCounts | None = field(default=None, repr=False)
    duplicates: DuplicateCounts | None = None

    @property
    def lines(self) -> list[str]:
        """What a user should know, a line each: notes of images, `notes`, and duplicates; `kseq info` shows them later."""
        duplicates = [] if self.duplicates is None else self.duplicates.lines
        return [*note_lines(self.image_notes, self.image_note_examples), *self.notes, *duplicates]

    @property
    def reasons(self) -> dict[str, int]:
        """Reason to the number of files that were left out for it, the most frequent first; details of single files are cut."""
        return count_reasons(self.rejected)


def append(
    dataset: str | os.PathLike[str],
    source: str | os.PathLike[str] | Iterable[Any],
    *,
    columns: Columns | None = None,
    source_format: str | None = None,
    root: str | os.PathLike[str] | None = None,
    label_pattern: str | re.Pattern[str] | None = None,
    suffix: str | None = None,
    shape: Sequence[int] | None = None,
    text_encoding: str | None = None,
    follow_links: bool = False,
    without_class: Sequence[str] | None = None,
    val: float = 0.0,
    test: float = 0.0,
    stratify: bool = True,
    seed: int = 0,
    on_error: str = "skip",
    shard_bytes: int | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    niceness: int = 0,
    again: bool = False,
    resume: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | bool | None = None,
) -> AppendReport:
    """Pack more images into a dataset, with the image settings that it was packed with.

    The new samples lie in new shards and have new sample ids, after those of the dataset. They go to the splits that the source
    names, to `val` and `test` by their shares, and else to `train`. They hold the same fields as the other samples. Classes are
    matched by name: known classes keep their numbers, new ones follow.

    A run that is killed leaves the dataset as it was. The shards that it built are used by the same run with `resume`, and
    removed by any other change.

    Args:
        dataset: The folder of the dataset.
        source: A folder, a file, a pattern, a URL or an iterable. This argument and those down to `on_error` are as in
            `kseq.pack`.
        columns: Which column of the source holds what; None for the usual names. `Columns.group` holds only new samples
            together.
        source_format: The format of the source; None to choose by its name and content.
        root: The folder that the paths of a table are relative to; None for the folder of the table.
        label_pattern: A regular expression for the path of an image below the source, whose first group finds the label; None
            for the label that the source says.
        suffix: What the paths of a table lack at their ends, such as `".jpg"`; None to look for files where paths have no
            suffix.
        shape: Height and width of the images in a table of pixels, with the channels behind them (`(28, 28, 3)`, pixel by
            pixel) or before them (`(3, 32, 32)`, channel by channel); None for square images of one channel.
        text_encoding: The encoding of text files without a byte order mark, as Python calls it, such as `"cp1252"` or
            `"shift_jis"`; None for UTF-8.
        follow_links: Follow links that lead out of the folder of images, and links to folders.
        without_class: Classes of the source that are left out, see `kseq.pack`.
        val: The share of the new images, in (0, 1), that goes to the split `val`; 0 for none.
        test: The same for the split `test`.
        stratify: Take these shares of each class alike.
        seed: Decides which images go to which split.
        on_error: `"skip"` leaves broken images out and lists them, `"fail"` stops at the first.
        shard_bytes: About how large each new shard is, in bytes; None for 256 MiB, or less for a small source.
        workers: How many processes build shards; None for one for each core, 0 to build them in this process.
        executor: Builds the shards instead, see `kseq.pack`.
        niceness: By how many steps the processes that build shards stand back, see `kseq.pack`.
        again: Append the samples even if the dataset has all of them already.
        resume: Go on with the same run, which was killed.
        storage_options: What fsspec's file systems are made with, for URLs of the source: keys, an endpoint and so on.
        progress: A function that is called now and then with how many images are done and there are.
            None: a bar where a person looks, on a terminal or in a notebook, else nothing. False: nothing. True: a bar.

    Returns:
        What was appended, and which files were left out and why.

    Raises:
        ArgumentError: If arguments have values that are not allowed, or do not go together, or the dataset has all samples
            already.
        DatasetNotFoundError: If there is no dataset.
        DamagedError: If the bytes of the index have changed.
        SourceError: If the source holds other fields, or nothing that can be packed.
        ImageError: At the first broken image, with `on_error="fail"`.
        LockedError: If another process changes the dataset.
        WriteError: If the disk refuses to write.
        WorkerDiedError: If worker processes die whatever they do, or memory runs out in this process. Finished shards stay, for
            `resume`.

    Examples:
        >>> kseq.append("flowers", "photos-of-june")
    """
    started = time.monotonic()
    check_run_arguments(on_error, workers, executor, niceness)
    columns = instance("columns", columns, Columns)
    if executor is not None:
        # Its workers may be in other folders.
        source, root = absolute(source), absolute(root)
    fractions = {"val": val, "test": test}
    target = path_text("dataset", dataset)
    check_storage_options(storage_options)
    check_source_apart(source, target)
    with ExitStack() as stack:
        show = stack.enter_context(progress_shown(progress, "images"))
        change = stack.enter_context(begin_transaction(target, keep_leftovers=resume))
        index = change.index
        index.check_digest()
        settings = parse_settings(index.settings, index.path)
        opened_source = stack.enter_context(
            open_or_spool(
                source,
                index.path,
                source_format,
                columns,
                root,
                None,
                label_pattern=label_pattern,
                follow_links=follow_links,
                suffix=suffix,
                shape=shape,
                text_encoding=text_encoding,
                storage_options=storage_options,
                form=image_form(settings),
            )
        )
        name = os.fsdecode(source) if isinstance(source, (str, bytes, os.PathLike)) else "the iterable"
        opened_source = leave_out_classes(opened_source, check_class_list("without_class", without_class))
        adapted = adapt_source(opened_source, name, index, settings)
        plan = make_plan(adapted.source, settings, fractions, stratify=stratify, seed=seed, shard_bytes=shard_bytes)
        shards = _NewShards(change, plan)
        with advising_to_resume(shards.has_any):
            num_resumed = shards.build(workers, executor, niceness, show, stop_at_error=on_error == "fail")
        report = _publish(change, adapted, shards, _describe(name, fractions, seed), again=again)
    return replace(report, num_resumed=num_resumed, seconds=time.monotonic() - started)


def _describe(name: str, fractions: Mapping[str, float], seed: int) -> str:
    """The run in words, for the history of the dataset."""
    shares = [f"{split} {share:g}" for split, share in fractions.items() if share]
    details = f" ({', '.join([*shares, f'seed {seed}'])})" if shares else ""
    return f"append {os.path.basename(os.path.normpath(shown_url(name)))}{details}"


class _NewShards:
    """The shards of a plan, in the folder of the dataset that they are appended to.

    Args:
        change: The change of the dataset.
        plan: What is to be appended.

    Attributes:
        plan: The plan, with a dataset id that only the same run on the same dataset has, if no file was written since.
        first: The number in the file name of the first shard.
        image_checksums: The checksums of the images of the shards that were built.
    """

    def __init__(self, change: Transaction, plan: Plan) -> None:
        self.image_checksums: dict[int, np.ndarray] = {}
        self._index = change.index
        self.first = change.next_shard_number()
        run = f"append {plan.dataset_id} {change.index.digest} {source_stamp(plan.source).hex()}"
        self.plan = replace(plan, dataset_id=Digest(run.encode()).hexdigest())

    def _path(self, number: int) -> str:
        return os.path.join(self._index.path, shard_name(self.first + number))

    def open(self, number: int) -> ShardReader:
        """Open a shard by its number in the plan.

        Raises:
            KseqError: If there is no such shard, or it belongs to another run.
        """
        reader = ShardReader(self._path(number), self._index.stored_fields)
        reader.check_origin(self.plan.dataset_id, number)
        return reader

    def has_any(self) -> bool:
        """Whether any of the shards is there."""
        return any(os.path.exists(self._path(number)) for number in range(self.plan.num_shards))

    def open_all(self) -> Iterator[ShardReader]:
        return (self.open(number) for number in range(self.plan.num_shards))

    def build(
        self,
        workers: int | None,
        executor: Executor | None,
        niceness: int,
        progress: Callable[[int, int], None] | None,
        *,
        stop_at_error: bool,
    ) -> int:
        """Build the shards that are not there yet. Returns how many are there."""
        plan = self.plan
        finished = {number for number in range(plan.num_shards) if self._is_finished(number)}
        paths = {number: self._path(number) for number in range(plan.num_shards) if number not in finished}
        # Fields that lie beside the shards of the dataset do not go into these shards either.
        fields, built = self._index.stored_fields, self.image_checksums.__setitem__
        build_shards(
            plan, paths, workers, executor, niceness, progress, stop_at_error=stop_at_error, fields=fields, built=built
        )
        return len(finished)

    def _is_finished(self, number: int) -> bool:
        try:
            self.open(number)
        except KseqError:
            return False
        return True


def _publish(change: Transaction, adapted: AdaptedSource, shards: _NewShards, description: str, *, again: bool) -> AppendReport:
    """Publish an index that names the new shards too."""
    index = change.index
    result, num_known = _read_result(index, shards, description, again=again)
    splits = result.splits()
    new_ids = {name: (positions + index.num_samples).astype("<u8") for name, positions in splits.items()}
    none = np.empty(0, "<u8")
    report = AppendReport(
        path=index.path,
        new_class_names=tuple(adapted.source.class_names[len(index.class_names) :]),
        splits={name: len(ids) for name, ids in new_ids.items()},
        rejected=result.rejected,
        num_found=len(adapted.source.images),
        num_samples=len(result.packed),
        num_known=num_known,
        num_shards=len(result.entries),
        num_resumed=0,
        num_bytes=sum(entry.num_bytes for entry in result.entries),
        seconds=0.0,
        notes=result.plan.source.notes,
        image_notes=dict(result.image_notes.counts),
        image_note_examples=dict(result.image_notes.examples),
        boxes=result.box_counts(splits),
        duplicates=result.duplicates(),
    )
    notes = [*index.packing_notes(), *kept_notes(report.lines, adapted.source.place)]
    change.publish(
        f"{description}: {len(result.packed)} samples",
        fields=_fields(index, adapted.fields, result),
        stored_fields=_fields(index, index.stored_fields, result, adapted.fields),
        class_names=adapted.source.class_names,
        shards=[*index.contents().shards, *result.entries],
        splits={
            **index.splits,
            **{name: np.concatenate([index.splits.get(name, none), ids]) for name, ids in new_ids.items()},
        },
        rejected=[*index.rejected(), *result.rejected],
        columns=_columns(index, adapted, shards, result),
        box_facts=add_facts([index.box_facts(), result.box_facts]),
        packing_notes=tuple(dict.fromkeys(notes)),
    )
    return report


def _read_result(index: Index, shards: _NewShards, description: str, *, again: bool) -> tuple[PackResult, int]:
    """What the new shards hold, and how many of their samples the dataset has already."""
    try:
        result = read_pack_result(shards.plan, shards.open, shards.first, shards.image_checksums)
        num_known = _count_known(index, shards)
        if num_known == len(result.packed) and not again:
            raise ArgumentError(
                f"{description}: all {num_known} samples are in {index.path} already "
                f"({spelled('again', True)} appends them once more)"
            )
    except (ArgumentError, SourceError):
        # Nothing is left that could be resumed.
        remove_leftovers(index.path)
        raise
    return result, num_known


def _fields(index: Index, fields: Sequence[Field], result: PackResult, with_classes: Sequence[Field] = ()) -> tuple[Field, ...]:
    """Fields of the dataset with the new samples: image sizes may differ now, and classes may be new.

    Args:
        index: The index of the dataset.
        fields: The fields of the dataset.
        result: The new samples.
        with_classes: Fields of the same names, which have the new classes.
    """
    new_fields = {new_field.name: new_field for new_field in result.fields}
    class_names = {new_field.name: new_field.class_names for new_field in with_classes}
    source = result.plan.source.place

    def merge(old_field: Field) -> Field:
        merged = old_field
        if old_field.is_pixels:
            merged = common_field(old_field, new_fields[old_field.name], index.path, source)
        return replace(merged, class_names=class_names.get(merged.name, merged.class_names))

    return tuple(map(merge, fields))


def _columns(index: Index, adapted: AdaptedSource, shards: _NewShards, result: PackResult) -> dict[str, np.ndarray]:
    """The columns of the index with the values of the new samples, from the new shards or from the source."""
    columns: dict[str, np.ndarray] = {}
    for adapted_field in adapted.fields:
        if not has_column(index, adapted_field):
            continue
        old = FieldArrays(index.path, index.columns.__getitem__)
        if adapted_field.name in adapted.beside:
            arrays = make_column(adapted_field, adapted.values(adapted_field, result.packed))
            new = [FieldArrays(result.plan.source.place, arrays.__getitem__)]
        else:
            new = [FieldArrays(reader.path, reader.array) for reader in shards.open_all()]
        columns |= concatenate_column(adapted_field, [old, *new])
    return columns


def _count_known(index: Index, shards: _NewShards) -> int:
    """How many of the new samples the dataset has already, by the checksums of their stored bytes."""
    new_checksums, counts = np.unique(
        np.concatenate([reader.loaded("checksum") for reader in shards.open_all()]), return_counts=True
    )
    is_known = np.zeros(len(new_checksums), bool)
    # Most old samples are told from all new ones by the first 16 bits of their checksums, at little more than reading them.
    begins_like_new = np.zeros(1 << 16, bool)
    begins_like_new[_first_bits(new_checksums)] = True
    bounds = np.searchsorted(index.dropped, index.starts)
    for number in range(index.num_shards):
        reader = ShardReader(index.shard_path(number), index.stored_fields, index.entry(number))
        checksums = reader.loaded("checksum")
        rows = np.flatnonzero(begins_like_new[_first_bits(checksums)])
        dropped_rows = index.dropped[bounds[number] : bounds[number + 1]].astype(np.int64) - index.starts[number]
        old_checksums = checksums[rows[~np.isin(rows, dropped_rows)]]
        candidates = np.minimum(np.searchsorted(new_checksums, old_checksums), len(new_checksums) - 1)
        is_known[candidates[new_checksums[candidates] == old_checksums]] = True
    return int(counts[is_known].sum())


def _first_bits(checksums: np.ndarray) -> np.ndarray:
    """`(n,)` uint16: the upper bits of `(n,)` uint64."""
    return np.ascontiguousarray(checksums, "<u8").view("<u2")[3::4]
