"""What a ShardSequence reads: a packed dataset, a selection, or several of them in proportion."""

from __future__ import annotations

import functools
import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kseq.arguments import is_url, path_or_url, shown_url
from kseq.errors import ArgumentError
from kseq.reading.dataset import ShardDataset, check_no_remote_arguments, reopen
from kseq.storage.opener import absolute_path

__all__ = ["DatasetArgument", "choose_split", "open_dataset_argument"]

_ALLOWED = "the path of a dataset's folder, a str or a pathlib.Path, a ShardDataset, or a dict of them to their proportions"


@dataclass(frozen=True)
class DatasetArgument:
    """The argument `dataset`, opened.

    Attributes:
        dataset: All samples, through files of its own.
        origin: What opens the same samples in another process; picklable.
        sizes: How many samples each of several datasets has; they lie one after the other in `dataset`.
        proportions: How much of an epoch comes from each of several datasets; None for a single one.
    """

    dataset: ShardDataset
    origin: Any
    sizes: tuple[int, ...]
    proportions: tuple[float, ...] | None = None


def choose_split(split: Any, option: Any) -> str | None:
    """The split, from the argument or from its alias.

    Raises:
        ArgumentError: If it is no name, or if both are given and differ.
    """
    for name, value in (("split", split), ("option", option)):
        if value is not None and not isinstance(value, str):
            raise ArgumentError(f"{name}={value!r}: allowed is the name of one split, such as 'train', or 'all'")
    if split is not None and option is not None and split != option:
        raise ArgumentError(f"split={split!r}, option={option!r}: option is another name for split, give split alone")
    return option if split is None else split


class RemoteArguments(NamedTuple):
    """The arguments of `kseq.ShardDataset` for URLs."""

    cache_dir: Any = None
    cache_bytes: Any = None
    storage_options: Any = None


_NO_REMOTE = RemoteArguments()


def open_dataset_argument(
    argument: Any, split: str | None, verify: str, read: str, remote: RemoteArguments = _NO_REMOTE
) -> DatasetArgument:
    """Open what a sequence is to read.

    Args:
        argument: A path, a ShardDataset, or a dict of either to the proportion of an epoch that comes from it.
        split: The name of a split or `"all"`; None for `"train"` of a path, and for all that a ShardDataset holds.
        verify: When stored bytes are compared with their checksums: see `ShardDataset`.
        read: How bytes come from the files: see `ShardDataset`.
        remote: For those that are URLs.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        ArgumentError: If an argument is not allowed, or if there is no such split, or no sample in it.
    """
    if not any(is_url(part) for part in (argument if isinstance(argument, Mapping) else [argument])):
        check_no_remote_arguments("what is read", *remote)
    if not isinstance(argument, Mapping):
        dataset, origin = _open_one(argument, split, verify, read, remote)
        return DatasetArgument(dataset, origin, (len(dataset),))
    if not argument:
        raise ArgumentError(f"dataset={argument!r}: allowed is {_ALLOWED}")
    proportions = tuple(_checked_proportion(part, proportion) for part, proportion in argument.items())
    opened = [_open_one(part, split, verify, read, remote) for part in argument]
    origin = dict(zip([origin for _, origin in opened], proportions, strict=True))
    if len(origin) < len(opened):
        paths = ", ".join(dataset.path for dataset, _ in opened)
        raise ArgumentError(f"dataset: two of its paths are of the same folder: {paths}")
    joined = functools.reduce(ShardDataset.concat, [dataset for dataset, _ in opened])
    return DatasetArgument(joined, origin, tuple(len(dataset) for dataset, _ in opened), proportions)


def _open_one(argument: Any, split: str | None, verify: str, read: str, remote: RemoteArguments) -> tuple[ShardDataset, Any]:
    """A dataset, and what opens it again."""
    if isinstance(argument, ShardDataset):
        own_split = argument.split or "all"
        if split not in (None, own_split):
            raise ArgumentError(f"split={split!r}: {argument!r} has samples of {own_split!r}, allowed are that and None")
        dataset = reopen(argument, verify, read)
        origin: Any = dataset
    else:
        origin = _check_path(argument)
        options = remote._asdict() if is_url(origin) else {}
        dataset = ShardDataset(origin, "train" if split is None else split, verify=verify, read=read, **options)
    if not len(dataset):
        raise ArgumentError(f"{dataset.path}: there are no samples in {dataset!r}")
    return dataset, origin


def _check_path(path: Any) -> str:
    """The folder's path, absolute, so that the program may change its working folder."""
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"dataset={path!r}: allowed is {_ALLOWED}")
    return absolute_path(path_or_url("dataset", name))


def _checked_proportion(part: Any, proportion: Any) -> float:
    is_number = isinstance(proportion, numbers.Real) and not isinstance(proportion, bool)
    if not is_number or not math.isfinite(proportion) or proportion <= 0:
        shown = shown_url(part) if is_url(part) else part
        raise ArgumentError(f"the proportion of {shown!r} is {proportion!r}: allowed are finite numbers above 0")
    return float(proportion)
