"""By which law a sequence draws its samples, from its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from kseq.arguments import whole
from kseq.errors import ArgumentError
from kseq.ordering.sampling import MOST_DRAWS, Proportions, RoundRobin, Sampler, Shares, Weights, apportion
from kseq.reading.dataset import ShardDataset
from kseq.training.dataset_argument import DatasetArgument

__all__ = ["check_number_field", "choose_sampler", "number_per_sample", "repeats"]


def choose_sampler(
    given: DatasetArgument, balance: Any, weights: Any, epoch_size: Any, seed: int
) -> tuple[Sampler | None, int]:
    """What draws the samples, None where each comes once, and how many are drawn in an epoch.

    Raises:
        ArgumentError: Where an argument is not allowed, does not go with another, or not with the dataset.
    """
    dataset, count = given.dataset, len(given.dataset)
    asked = [name for name, value in (("balance", balance), ("weights", weights)) if value is not None]
    asked += ["shares of several datasets"] * (given.shares is not None)
    if len(asked) > 1:
        raise ArgumentError(f"{' and '.join(asked)} exclude each other: give one of them")
    if not asked:
        if epoch_size is not None:
            raise ArgumentError(f"epoch_size={epoch_size!r}: goes with balance, weights, or shares of several datasets")
        return None, count
    if count > MOST_DRAWS:
        raise ArgumentError(f"{dataset.path}: {asked[0]} of {count} samples, allowed are {MOST_DRAWS}")
    length = count if epoch_size is None else whole("epoch_size", epoch_size, 1, MOST_DRAWS)
    seed = whole("seed", seed)
    if balance is not None:
        return _balanced(dataset, balance, length, seed), length
    if weights is not None:
        return Weights(_checked_weights(dataset, weights), length, seed), length
    assert given.shares is not None
    groups = np.repeat(np.arange(len(given.sizes)), given.sizes)
    return Shares(groups, len(given.sizes), Proportions(apportion(length, given.shares)), seed), length


def _balanced(dataset: ShardDataset, balance: Any, length: int, seed: int) -> Sampler:
    if not isinstance(balance, str) or balance != "class":
        raise ArgumentError(f"balance={balance!r}: allowed are 'class' and None")
    if "label" not in dataset.fields:
        raise ArgumentError(f"balance='class' needs a label, {dataset.path} has {', '.join(dataset.fields)}")
    # Classes without samples get no number here.
    found, groups = np.unique(dataset.values("label"), return_inverse=True)
    return Shares(groups, len(found), RoundRobin(len(found), length, seed), seed)


def _checked_weights(dataset: ShardDataset, weights: Any) -> np.ndarray:
    """`(len,)` float64 of 0 or more, not all 0."""
    if isinstance(weights, str):
        check_number_field("weights", dataset, weights)
        numbers = np.asarray(dataset.values(weights), np.float64)
    else:
        numbers = number_per_sample("weights", weights, len(dataset)).astype(np.float64)
    if not np.isfinite(numbers).all() or (numbers < 0).any():
        wrong = int(np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))[0])
        raise ArgumentError(f"weights has {numbers[wrong]:g} for sample {wrong}, allowed are finite numbers of 0 or more")
    if not numbers.any():
        raise ArgumentError("weights are all 0, at least one above 0 is needed")
    return numbers


def check_number_field(argument: str, dataset: ShardDataset, name: str) -> None:
    """Raise ArgumentError unless a field holds a number for each sample."""
    names = [each.name for each in dataset.fields.values() if each.kind in ("sample_weight", "numbers") and not each.shape]
    if name not in names:
        raise ArgumentError(
            f"{argument}={name!r}: allowed is a field with a number for each sample, {dataset.path} has "
            f"{', '.join(names) or 'none'}"
        )


def number_per_sample(argument: str, given: Any, count: int) -> np.ndarray:
    """`(count,)` numbers of an argument.

    Raises:
        ArgumentError: Where it is anything else.
    """
    try:
        found = np.asarray(given)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{argument}: allowed is one number per sample of the split ({error})") from error
    if found.dtype.kind not in "biuf":
        raise ArgumentError(f"{argument} holds {found.dtype}: allowed is one number per sample of the split")
    if found.shape != (count,):
        raise ArgumentError(f"{argument} has shape {found.shape}, expected is ({count},), one number per sample of the split")
    return found


def repeats(sample_ids: np.ndarray | None) -> np.ndarray | None:
    """`(n,)` int64: how often each of `(n,)` sample ids stands before its place; None where none comes twice."""
    if sample_ids is None:
        return None
    order = np.argsort(sample_ids, kind="stable")
    ordered = sample_ids[order]
    is_new = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    if is_new.all():
        return None
    first = np.maximum.accumulate(np.where(is_new, np.arange(len(ordered)), 0))
    found = np.empty(len(ordered), np.int64)
    found[order] = np.arange(len(ordered)) - first
    return found
