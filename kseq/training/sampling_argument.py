"""The order in which a sequence serves samples, and how often each, from its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from kseq.arguments import whole
from kseq.errors import ArgumentError
from kseq.ordering.epoch_order import Order
from kseq.ordering.sampling import (
    MOST_DRAWS,
    GroupSampler,
    Proportions,
    RoundRobin,
    SampledOrder,
    Sampler,
    WeightedSampler,
    apportion,
)
from kseq.reading.dataset import ShardDataset, selected_ids
from kseq.training.block_shuffle import BlockShuffle, choose_blocks
from kseq.training.dataset_argument import DatasetArgument
from kseq.training.ranks import World
from kseq.training.split_purpose import are_for_training

__all__ = ["check_number_field", "choose_order", "number_per_sample", "repeats"]

_DEFAULT_BATCH_SIZE = 32


def choose_order(
    source: DatasetArgument,
    *,
    batch_size: int | None,
    global_batch_size: int | None,
    shuffle: Any,
    seed: int,
    remainder: str | None,
    world: World,
    balance: Any,
    sampling_weights: Any,
    epoch_size: Any,
) -> Order:
    """Which samples make up each batch; the arguments are those of `ShardSequence`.

    Raises:
        ArgumentError: If an argument is not allowed, or does not go with another or with the dataset.
    """
    dataset = source.dataset
    sampler, num_samples = _choose_sampler(source, balance, sampling_weights, epoch_size, seed)
    blocks = _choose_shuffle(shuffle, is_default=sampler is not None or are_for_training(dataset))
    if isinstance(blocks, BlockShuffle) and sampler is not None:
        raise ArgumentError(
            f"shuffle={shuffle!r}: with balance, sampling_weights or several datasets, allowed are True and False"
        )
    kind = "block" if isinstance(blocks, BlockShuffle) else blocks
    sizes = choose_blocks(dataset, blocks if isinstance(blocks, BlockShuffle) else None)
    if remainder is None:
        is_alone = world.size == world.devices == 1 and global_batch_size is None
        remainder = _default_remainder(is_alone=is_alone, leaves_others=bool(blocks) and are_for_training(dataset))
    rows, global_batch = _choose_batch_size(batch_size, global_batch_size, world)
    settings = (num_samples, rows, kind, seed, remainder, world.rank, world.size, *sizes, repeats(selected_ids(dataset)))
    if sampler is None:
        return Order(*settings, global_batch=global_batch)
    return SampledOrder(*settings, sampler, global_batch=global_batch)


def _choose_batch_size(batch_size: int | None, global_batch_size: int | None, world: World) -> tuple[int, int]:
    """The rows of a batch of this rank, and the samples of all ranks' together, 0 for as many as they have rows.

    Ranks and devices get equally many rows, whether or not the samples are divisible by them.
    """
    if global_batch_size is None:
        return _DEFAULT_BATCH_SIZE if batch_size is None else batch_size, 0
    total = whole("global_batch_size", global_batch_size, 1)
    if batch_size is not None:
        raise ArgumentError(
            f"batch_size={batch_size!r} is what each rank gets, and global_batch_size={total} what all get together: give one "
            "of the two"
        )
    parts = world.size * world.devices
    return -(-total // parts) * world.devices, total


def _default_remainder(*, is_alone: bool, leaves_others: bool) -> str:
    """What becomes of the samples at the end of an epoch that do not fill a batch.

    Args:
        is_alone: Whether there are no several ranks, which must make equally many steps on batches of one size, nor several
            devices, which get equal parts of a batch, nor may there be some when the run goes on.
        leaves_others: Whether it is for training that the split is read, and other samples are left out in each epoch.
    """
    if is_alone:
        return "keep"
    return "drop" if leaves_others else "pad"


def _choose_shuffle(shuffle: Any, is_default: bool) -> bool | BlockShuffle:
    if shuffle is None:
        return is_default
    if isinstance(shuffle, str) and shuffle == "block":
        return BlockShuffle()
    if isinstance(shuffle, (bool, np.bool_)):
        return bool(shuffle)
    if isinstance(shuffle, BlockShuffle):
        return shuffle
    raise ArgumentError(f"shuffle={shuffle!r}: allowed are True, False, 'block', and a kseq.BlockShuffle")


def _choose_sampler(
    source: DatasetArgument, balance: Any, sampling_weights: Any, epoch_size: Any, seed: int
) -> tuple[Sampler | None, int]:
    """What draws the samples, None if each comes once, and how many are drawn in an epoch."""
    dataset, count = source.dataset, len(source.dataset)
    chosen = [name for name, value in (("balance", balance), ("sampling_weights", sampling_weights)) if value is not None]
    chosen += ["several datasets"] * (source.proportions is not None)
    if len(chosen) > 1:
        raise ArgumentError(f"{' and '.join(chosen)} exclude each other: give one of them")
    if not chosen:
        if epoch_size is not None:
            raise ArgumentError(f"epoch_size={epoch_size!r}: goes with balance, sampling_weights, or several datasets")
        return None, count
    if count > MOST_DRAWS:
        raise ArgumentError(f"{dataset.path}: {chosen[0]} of {count} samples, allowed are {MOST_DRAWS}")
    length = count if epoch_size is None else whole("epoch_size", epoch_size, 1, MOST_DRAWS)
    seed = whole("seed", seed)
    if balance is not None:
        return _balanced(dataset, balance, length, seed), length
    if sampling_weights is not None:
        return WeightedSampler(_checked_weights(dataset, sampling_weights), length, seed), length
    assert source.proportions is not None
    groups = np.repeat(np.arange(len(source.sizes)), source.sizes)
    return GroupSampler(groups, len(source.sizes), Proportions(apportion(length, source.proportions)), seed), length


def _balanced(dataset: ShardDataset, balance: Any, length: int, seed: int) -> Sampler:
    if not isinstance(balance, str) or balance != "class":
        raise ArgumentError(f"balance={balance!r}: allowed are 'class' and None")
    if "label" not in dataset.fields:
        raise ArgumentError(f"balance='class' needs a label, {dataset.path} has {', '.join(dataset.fields)}")
    # Classes without samples get no number here.
    classes, groups = np.unique(dataset.values("label"), return_inverse=True)
    return GroupSampler(groups, len(classes), RoundRobin(len(classes), length, seed), seed)


def _checked_weights(dataset: ShardDataset, sampling_weights: Any) -> np.ndarray:
    """`(len,)` float64 of 0 or more, not all 0."""
    if isinstance(sampling_weights, str):
        check_number_field("sampling_weights", dataset, sampling_weights)
        weights = np.asarray(dataset.values(sampling_weights), np.float64)
    else:
        weights = number_per_sample("sampling_weights", sampling_weights, len(dataset)).astype(np.float64)
    is_wrong = ~(np.isfinite(weights) & (weights >= 0))
    if is_wrong.any():
        number = int(np.argmax(is_wrong))
        raise ArgumentError(
            f"sampling_weights has {weights[number]:g} for sample {number}, allowed are finite numbers of 0 or more"
        )
    if not weights.any():
        raise ArgumentError("sampling_weights are all 0, at least one above 0 is needed")
    return weights


def check_number_field(argument: str, dataset: ShardDataset, name: str) -> None:
    """Raise ArgumentError unless a field holds a number for each sample."""
    fields = dataset.fields.values()
    names = [field.name for field in fields if field.handler.has_order and field.shape == ()]
    if name not in names:
        raise ArgumentError(
            f"{argument}={name!r}: allowed is a field with a number for each sample, {dataset.path} has "
            f"{', '.join(names) or 'none'}"
        )


def number_per_sample(argument: str, value: Any, count: int) -> np.ndarray:
    """`(count,)` numbers of an argument.

    Raises:
        ArgumentError: If it is anything else.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{argument}: allowed is one number per sample of the split ({error})") from error
    if array.dtype.kind not in "biuf":
        raise ArgumentError(f"{argument} holds {array.dtype}: allowed is one number per sample of the split")
    if array.shape != (count,):
        raise ArgumentError(f"{argument} has shape {array.shape}, expected is ({count},), one number per sample of the split")
    return array


def repeats(sample_ids: np.ndarray | None) -> np.ndarray | None:
    """`(n,)` int64: how often each of `(n,)` sample ids occurs before its position; None if each occurs once."""
    if sample_ids is None or _are_distinct(sample_ids):
        return None
    order = np.argsort(sample_ids, kind="stable")
    ordered = sample_ids[order]
    is_new = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    first = np.maximum.accumulate(np.where(is_new, np.arange(len(ordered)), 0))
    counts = np.empty(len(ordered), np.int64)
    counts[order] = np.arange(len(ordered)) - first
    return counts


def _are_distinct(sample_ids: np.ndarray) -> bool:
    """Whether no sample id occurs twice, at a small part of the cost of sorting them."""
    if (sample_ids[1:] > sample_ids[:-1]).all():
        return True
    is_there = np.zeros(int(sample_ids.max()) + 1, bool)
    is_there[sample_ids] = True
    return int(np.count_nonzero(is_there)) == len(sample_ids)
