"""What a ShardSequence is given to read: a packed dataset, a selection, or several of them in proportion."""

from __future__ import annotations

import functools
import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kseq.errors import ArgumentError
from kseq.reading.dataset import ShardDataset, reopen

__all__ = ["DatasetArgument", "open_dataset_argument"]

_ALLOWED = "the path of a dataset's folder, a str or a pathlib.Path, a ShardDataset, or a dict of them to their shares"


@dataclass(frozen=True)
class DatasetArgument:
    """Samples that were opened.

    Attributes:
        dataset: All of them, through files of its own.
        origin: What opens the same in another process; picklable.
        sizes: How many samples each of several datasets has, one after the other.
        shares: What share of the draws is of each; None for a single dataset.
    """

    dataset: ShardDataset
    origin: Any
    sizes: tuple[int, ...]
    shares: tuple[float, ...] | None = None


def open_dataset_argument(given: Any, option: str | None, verify: str) -> DatasetArgument:
    """Open what a sequence is to read.

    Args:
        given: A path, a ShardDataset, or a dict of either to the share of the draws that is its own.
        option: The name of a split or `"all"`; None for `"train"` of a path, and for all that a ShardDataset holds.
        verify: When stored bytes are compared with their checksums: see `ShardDataset`.

    Raises:
        DatasetNotFoundError: Where there is no dataset.
        ArgumentError: Where an argument is not allowed, there is no such split, or it is empty.
    """
    if option is not None and not isinstance(option, str):
        raise ArgumentError(f"option={option!r}: allowed is the name of one split, such as 'train', or 'all'")
    if not isinstance(given, Mapping):
        dataset, origin = _open_one(given, option, verify)
        return DatasetArgument(dataset, origin, (len(dataset),))
    if not given:
        raise ArgumentError(f"dataset={given!r}: allowed is {_ALLOWED}")
    shares = tuple(_checked_share(each, share) for each, share in given.items())
    opened = [_open_one(each, option, verify) for each in given]
    origin = dict(zip([origin for _, origin in opened], shares, strict=True))
    if len(origin) < len(opened):
        raise ArgumentError(f"dataset={given!r}: two of its paths are of the same folder")
    joined = functools.reduce(ShardDataset.concat, [dataset for dataset, _ in opened])
    return DatasetArgument(joined, origin, tuple(len(dataset) for dataset, _ in opened), shares)


def _open_one(given: Any, option: str | None, verify: str) -> tuple[ShardDataset, Any]:
    """A dataset, and what opens it again."""
    if isinstance(given, ShardDataset):
        holds = given.split or "all"
        if option not in (None, holds):
            raise ArgumentError(f"option={option!r}: {given!r} has samples of {holds!r}, allowed are that and None")
        dataset = reopen(given, verify)
        origin: Any = dataset
    else:
        origin = _check_path(given)
        dataset = ShardDataset(origin, "train" if option is None else option, verify=verify)
    if not len(dataset):
        raise ArgumentError(f"{dataset.path}: there are no samples in {dataset!r}")
    return dataset, origin


def _check_path(path: Any) -> str:
    """The folder's path, absolute, so that the program may go elsewhere."""
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"dataset={path!r}: allowed is {_ALLOWED}")
    return os.path.abspath(name)


def _checked_share(given: Any, share: Any) -> float:
    if isinstance(share, bool) or not isinstance(share, numbers.Real) or not math.isfinite(share) or share <= 0:
        raise ArgumentError(f"the share of {given!r} is {share!r}: allowed are finite numbers above 0")
    return float(share)
