"""ShardSequence: a packed dataset as a `keras.utils.Sequence`."""

from __future__ import annotations

import operator
import os
import warnings
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from kseq.arguments import whole
from kseq.errors import DamagedError, OutOfRangeError
from kseq.ordering.epoch_order import Order
from kseq.ordering.sampling import SampledOrder
from kseq.reading.dataset import ShardDataset, selected_ids
from kseq.training.arguments import (
    check_flags,
    check_scale,
    check_weights,
    choose_blocks,
    choose_fit,
    choose_shuffle,
    find_fields,
    image_shape,
    label_encoder,
    sort_augment,
)
from kseq.training.batch_maker import BatchMaker
from kseq.training.batch_outputs import FieldEncoder
from kseq.training.dataset_argument import open_dataset_argument
from kseq.training.epochs import EpochTracker
from kseq.training.image_spec import ImageSpec
from kseq.training.loader import Loader
from kseq.training.sampling_argument import choose_sampler, repeats
from kseq.workers import usable_cores

__all__ = ["ShardSequence"]

# More threads than this wait for each other's turn with the interpreter more than they read.
_MOST_DEFAULT_WORKERS = 16

# So many jumps of the batch number in one pass are no chance: Keras was asked to shuffle.
_JUMPS_TO_WARN = 3


class ShardSequence(keras.utils.PyDataset):
    """Batches of a packed dataset, for `fit`, `evaluate` and `predict`.

    Each pass of Keras over it serves every sample of the split exactly once (unless `balance`, `weights` or shares say how
    often), in an order that depends on `seed` and the number of the pass alone. Batch `i` is `sequence[i]`:
    `(images, labels)`, where images are `(n, height, width, channels)` uint8 in [0, 255] unless asked for otherwise.

    Give `shuffle=False` to `fit`: the order is kseq's own, and `fit`'s shuffling of the batch numbers would
    keep it from reading ahead.

    Args:
        dataset: The dataset's folder; or a `ShardDataset`, such as a selection, which stays the caller's and may be closed; or
            a dict of several of either to their shares, `{"flowers": 0.7, "more-flowers": 0.3}`: of each epoch, so much is of
            each, exactly, and of each batch as nearly as can be; each is gone through as a class is by `balance`.
        option: `"train"`, `"val"`, `"test"`, the name of any split, or `"all"`. None: `"train"` of a folder, and all that a
            `ShardDataset` holds, for which no other is allowed.
        batch_size: Samples per batch (on this rank).
        input_shape: `(height, width, channels)` to bring every image to; None for the size that all have.
        data_format: `"channels_last"` or `"channels_first"`.
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`; None as it was packed.
        label_mode: `"int"`: `(n,)` int32; `"categorical"`: `(n, classes)` float32, one-hot; `"binary"`: `(n, 1)`
            float32, 0 or 1; None: images alone.
        interpolation: How images are resized, by Keras's names.
        crop_to_aspect_ratio: Crop to the ratio of `input_shape` before resizing, as Keras does, instead of stretching.
        pad_to_aspect_ratio: Pad with zeros to that ratio, as Keras does.
        dtype: Of the images: `"uint8"`, `"float32"` or `"float16"`.
        scale: What pixels are multiplied by, from [0, 255], such as `1 / 255`; not for uint8.
        shuffle: A new order in each pass: True, or `"block"` for collections that do not fit in memory, which goes through
            them block by block and shuffles the samples of a window of blocks; None: for samples of `"train"`, and where
            `balance`, `weights` or shares are given. False with one of these: each pass is as the first one.
        block_size: Samples per block of `shuffle="block"`; None for about 4 MiB, and less (down to 256 KiB) where there are
            many classes: a block is mostly of one class, and a window is to hold two blocks of each.
        window: Samples that `shuffle="block"` mixes with each other; None for about 256 MiB, at least 64 blocks. More is nearer
            to a full shuffle, and as many samples are in memory.
        seed: Draws the order, crops and flips; any whole number.
        drop_remainder: Leave out a last batch that would be smaller.
        augment: One or several of `RandomResizedCrop` or `CenterCrop` (at most one), `RandomFlip`, and functions
            that are given a batch of images, `(n, height, width, channels)` uint8, and return as many.
        rank: This process's number among `world_size` that train together.
        world_size: How many share each global batch of `batch_size * world_size` samples.
        workers: Threads (or processes) that read; 0 to read in the calling thread; None for one per core.
        use_multiprocessing: Read in processes, for machines of many cores.
        max_queue_size: How many batches to read ahead at most.
        inputs: Model input name to field name, for a dict of inputs; None for the image, or a dict of all images.
        targets: Model output name to field name, for a dict of targets; None for the label or, where there is none, for what
            else the samples hold: the one field, or a dict of all. `FIELD_mask` stands for where a field was padded.
        sample_weight: `(samples of the split,)` numbers, or the name of a field of numbers: a third element of each batch.
        ragged: Give fields whose samples differ in length as lists of arrays, one for each sample, instead of padded.
        pad_to: How many boxes, or other elements, each batch has room for, so that all are of one shape, which spares JAX a
            compilation; None for as many as the sample of the batch that has most.
        balance: `"class"`: in each pass every class comes as often as any other, give or take one; classes without samples are
            left out. A class is gone through again and again, from one pass into the next: each of its samples comes once
            before one comes again, and none comes twice in a pass of Keras in which another of its class does not come.
        weights: `(samples of the split,)` numbers of 0 or more, or the name of a field of numbers: in each pass a sample comes
            `epoch_size * weight / sum` times, rounded down or up, and over many passes as often as that on average.
        epoch_size: Samples per pass, for `balance`, `weights` and shares; None for as many as there are samples, so that a pass
            takes as long as without.
        verify: When stored bytes are compared with their checksums: see `ShardDataset`.

    A sample that comes several times in a pass is cropped and flipped anew each time.

    Raises:
        DatasetNotFoundError: Where there is no dataset.
        ArgumentError: Where an argument is not allowed, or does not go with the dataset.

    Source of the interface: `keras.utils.PyDataset`, `keras.utils.image_dataset_from_directory`.
    """

    def __init__(
        self,
        dataset: str | os.PathLike[str] | ShardDataset | Mapping[Any, float],
        option: str | None = None,
        *,
        batch_size: int = 32,
        input_shape: tuple[int, int, int] | None = None,
        data_format: str = "channels_last",
        color_mode: str | None = None,
        label_mode: str | None = "int",
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        dtype: str = "uint8",
        scale: float | None = None,
        shuffle: bool | str | None = None,
        block_size: int | None = None,
        window: int | None = None,
        seed: int = 0,
        drop_remainder: bool = False,
        augment: Any = (),
        rank: int = 0,
        world_size: int = 1,
        workers: int | None = None,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
        inputs: Mapping[str, str] | None = None,
        targets: Mapping[str, str] | None = None,
        sample_weight: Any = None,
        ragged: bool = False,
        pad_to: int | None = None,
        balance: str | None = None,
        weights: Any = None,
        epoch_size: int | None = None,
        verify: str = "first",
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_flags(
            drop_remainder=drop_remainder,
            use_multiprocessing=use_multiprocessing,
            crop_to_aspect_ratio=crop_to_aspect_ratio,
            pad_to_aspect_ratio=pad_to_aspect_ratio,
            ragged=ragged,
        )
        check_scale(scale)
        if pad_to is not None:
            whole("pad_to", pad_to, 1)
        # To Keras, one batch after the other in its simplest loop: reading in parallel is the loader's.
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=max_queue_size)
        given = open_dataset_argument(dataset, option, verify)
        self._arguments["dataset"] = given.origin
        dataset = self._dataset = given.dataset
        self.option = dataset.split or "all"
        self._inputs, self._targets = find_fields(dataset, inputs, targets, label_mode)
        self._weights = check_weights(dataset, self._targets, sample_weight)
        crop, flips, functions = sort_augment(augment)
        image = next(dataset.fields[name] for name in self._inputs.values() if dataset.fields[name].kind == "image")
        shape = image_shape(dataset, image, input_shape, color_mode, crop)
        fit = choose_fit(crop_to_aspect_ratio, pad_to_aspect_ratio)
        self._form = ImageSpec(*shape, data_format, dtype, scale, fit, interpolation)
        # Functions over a batch are given plain pixels; the rest of the form is brought about after them.
        filled = ImageSpec(*shape, fit=fit, interpolation=interpolation) if functions else self._form
        law, num_samples = choose_sampler(given, balance, weights, epoch_size, seed)
        shuffle = choose_shuffle(shuffle, dataset.split == "train", law is not None)
        blocks = choose_blocks(dataset, block_size, window, shuffle)
        settings = (num_samples, batch_size, shuffle, seed, drop_remainder, rank, world_size, *blocks)
        again = repeats(selected_ids(dataset))
        self._order = Order(*settings, again) if law is None else SampledOrder(*settings, again, law)
        self._encoder = FieldEncoder(dataset.fields, label_encoder(dataset, label_mode), self._form, functions, ragged)
        names = [*self._inputs.values(), *self._targets.values(), *filter(_is_name, [self._weights])]
        fields = [name for name in dataset.fields if name in names or f"{name}_mask" in names]
        self._loader = Loader(
            BatchMaker(
                dataset,
                fields,
                filled,
                crop,
                flips,
                self._order.seed,
                mask_format=data_format,
                pad_to=None if ragged else pad_to,
            ),
            self._order,
            workers=min(usable_cores(), _MOST_DEFAULT_WORKERS) if workers is None else workers,
            use_multiprocessing=use_multiprocessing,
            max_queue_size=max_queue_size,
        )
        self._passes = EpochTracker(self._order.num_batches)
        # How often the batch number jumped in this pass of Keras; None between passes.
        self._jumps: int | None = None
        self._last_number = -1
        self._warned = False
        self._closer = weakref.finalize(self, self._loader.close)

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self._arguments, "epoch": self.epoch, "digest": self.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]  # files and workers are made anew
        self.epoch = state["epoch"]
        if self.digest != state["digest"]:
            raise DamagedError(
                f"{self._dataset.path}: has digest {self.digest}, expected is {state['digest']}: it was packed again meanwhile"
            )

    # What Keras asks for.

    @property
    def num_batches(self) -> int:
        """Batches per pass. Keras reads it at the start of each pass, which is how a pass is noticed."""
        self._passes.opened()
        self._jumps, self._last_number = 0, -1
        return self._order.num_batches

    def __len__(self) -> int:
        return self._order.num_batches

    def __getitem__(self, index: int) -> Any:
        """Batch number `index` of the epoch.

        Raises:
            OutOfRangeError: Where it is not in [0, len).
        """
        batch_number = self._check_number(index)
        self._notice_shuffling(batch_number)
        epoch = self.epoch
        arrays = self._loader.batch(epoch, batch_number)
        self._passes.served(batch_number)
        return self._output(arrays, batch_number, epoch)

    def _check_number(self, batch_number: int) -> int:
        if not 0 <= operator.index(batch_number) < len(self):
            raise OutOfRangeError(f"{self._dataset.path}: batch number {batch_number} is not in [0, {len(self)})")
        return operator.index(batch_number)

    def on_epoch_begin(self) -> None:
        """Called by Keras."""
        self._passes.begun()

    def on_epoch_end(self) -> None:
        """Called by Keras; in a loop of one's own, call it after the last batch of each epoch."""
        self._passes.ended()
        self._jumps = None

    def __iter__(self) -> Iterator[Any]:
        """One pass: every batch, in order."""
        self.on_epoch_begin()
        for batch_number in range(self.num_batches):
            yield self[batch_number]
        self.on_epoch_end()

    def generator(self) -> Iterator[Any]:
        """The same batches without end, pass after pass, for code that wants a generator and `steps_per_epoch`."""
        while True:
            yield from self

    @property
    def workers(self) -> int:
        """1, to Keras: its own worker queue stays out of the way. The argument of this name is the loader's."""
        return 1

    @property
    def use_multiprocessing(self) -> bool:
        """False, to Keras; see `workers`."""
        return False

    # What it is and where it stands.

    @property
    def epoch(self) -> int:
        """The pass under way or, between passes, the next. Set it to go on where another run stopped."""
        return self._passes.epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._passes.epoch = whole("epoch", value, 0)

    def sample_ids(self, batch_number: int, epoch: int | None = None) -> np.ndarray:
        """`(n,)` int64: the samples of a batch, as positions in the whole collection; of the current epoch if None."""
        wanted = self.epoch if epoch is None else whole("epoch", epoch, 0)
        return self._loader.sample_ids(wanted, self._check_number(batch_number))

    @property
    def num_samples(self) -> int:
        """Samples per pass: those of the split, or `epoch_size`."""
        return self._order.num_samples

    @property
    def batch_size(self) -> int:
        """Samples per batch on this rank."""
        return self._order.batch_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class of each label number."""
        return self._dataset.class_names

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of one image as the model gets it."""
        return self._form.shape

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for all that the dataset holds: to log with a run."""
        return self._dataset.digest

    def __repr__(self) -> str:
        return (
            f"<ShardSequence {self._dataset.path!r} {self.option}: {self.num_samples} samples, "
            f"{len(self)} batches of {self.batch_size}>"
        )

    def close(self) -> None:
        """End the workers and let go of the files; batches that were handed out stay valid."""
        self._closer()

    def __enter__(self) -> ShardSequence:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # How a batch leaves.

    def _output(self, arrays: dict[str, np.ndarray], batch_number: int, epoch: int) -> Any:
        values = self._encoder.encode(arrays)
        inputs = _named(self._inputs, values, self._arguments["inputs"] is not None)
        if not self._targets:
            return inputs
        targets = _named(self._targets, values, self._arguments["targets"] is not None)
        if self._weights is None:
            return inputs, targets
        if isinstance(self._weights, str):
            return inputs, targets, values[self._weights]
        return inputs, targets, self._weights[self._order.positions(epoch, batch_number)]

    def _notice_shuffling(self, batch_number: int) -> None:
        """Say once that batches cannot be read ahead while Keras permutes their numbers."""
        if self._jumps is None:
            return
        self._jumps += batch_number not in (0, self._last_number + 1)
        self._last_number = batch_number
        if self._jumps == _JUMPS_TO_WARN and not self._warned:
            self._warned = True
            warnings.warn(
                "Keras asks for the batches in an order of its own, so that kseq cannot read ahead: give shuffle=False "
                "to fit. The order is new in every epoch all the same, it is kseq's.",
                stacklevel=3,
            )


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _named(names: Mapping[str, str], values: Mapping[str, Any], as_dict: bool) -> Any:
    """The values of some fields as Keras wants them: a dict if the caller named them or they are several, else the one."""
    named = {name: values[field] for name, field in names.items()}
    return named if as_dict or len(named) > 1 else next(iter(named.values()))
