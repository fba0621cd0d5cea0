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
from kseq.reading.dataset import ShardDataset
from kseq.storage.fields import Field
from kseq.training.arguments import (
    check_flags,
    check_sample_weight,
    check_scale,
    choose_image_spec,
    find_fields,
    sort_augment,
)
from kseq.training.batch_maker import BatchMaker
from kseq.training.batch_outputs import FieldEncoder
from kseq.training.block_shuffle import BlockShuffle
from kseq.training.dataset_argument import choose_split, open_dataset_argument
from kseq.training.epochs import EpochTracker
from kseq.training.label_mode import label_encoder
from kseq.training.loader import Loader
from kseq.training.sampling_argument import choose_order
from kseq.training.transforms import AugmentationList
from kseq.workers import usable_cores

__all__ = ["ShardSequence"]

# With more threads than this, they spend more time waiting for the interpreter than reading.
_MOST_DEFAULT_WORKERS = 16

# So many jumps of the batch number in one pass are not by chance: Keras was asked to shuffle.
_JUMPS_TO_WARN = 3


class ShardSequence(keras.utils.PyDataset):
    """Batches of a packed dataset, for `fit`, `evaluate` and `predict`.

    Each pass of Keras over it serves every sample of the split exactly once (unless `balance`, `sampling_weights` or several
    datasets say how often), in an order that depends on `seed` and the number of the pass alone. Batch `i` is `sequence[i]`:
    `(images, labels)`, where images are `(n, height, width, channels)` uint8 in [0, 255] unless other arguments say otherwise.

    Give `shuffle=False` to `fit`: the order is kseq's own, and if `fit` shuffles the batch numbers, kseq cannot read ahead.

    Args:
        dataset: The dataset's folder; or a `ShardDataset`, such as a selection, which stays yours and may be closed; or a dict
            of several of either to their proportions, `{"flowers": 0.7, "more-flowers": 0.3}`: each epoch has exactly so much
            of each, and each batch as nearly as possible. The samples of each dataset come in turn as those of a class do with
            `balance`.
        split: `"train"`, `"val"`, `"test"`, the name of any split, or `"all"`. None: `"train"` of a folder, and all samples of
            a `ShardDataset`, for which no other value is allowed.
        batch_size: Samples per batch (on this rank).
        input_shape: `(height, width, channels)` that every image is brought to; None for the size that all of them have.
        data_format: `"channels_last"` or `"channels_first"`.
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`; None for that of the packed images.
        label_mode: `"int"`: `(n,)` int32; `"categorical"`: `(n, classes)` float32, one-hot; `"binary"`: `(n, 1)`
            float32, 0 or 1; None: images alone.
        interpolation: How images are resized, by Keras's names.
        antialias: Average over all pixels where an image is shrunk, as Keras's `antialias` does; the default is Keras's too. A
            JPEG that becomes 2.5 or more times smaller is then decoded at a fraction of its size; its pixels differ from those
            of the full decode by less than 2 of 255 on average.
        crop_to_aspect_ratio: Crop to the ratio of `input_shape` before resizing, as Keras does, instead of stretching.
        pad_to_aspect_ratio: Pad with zeros to that ratio, as Keras does.
        dtype: Of the images: `"uint8"`, `"float32"` or `"float16"`.
        scale: What pixels are multiplied by, from [0, 255], such as `1 / 255`; not for uint8.
        shuffle: True for a new order in each pass; `"block"` or a `BlockShuffle` for collections that do not fit in memory,
            which goes through them block by block and mixes the samples of a window of blocks; False for the same order in each
            pass. None: True for the split `"train"`, and with `balance`, `sampling_weights` or several datasets.
        seed: Draws the order and the augmentations; any whole number.
        drop_remainder: Leave out a last batch that would be smaller.
        augment: One or a list of augmentations (`RandomResizedCrop`, `CenterCrop`, `RandomFlip`, and your own, see
            `Augmentation`), applied in the order of the list to images, masks and boxes alike. After them, functions: one that
            gets a batch of images, `(n, height, width, channels)` uint8, and returns as many; or a `BatchFunction`, which gets
            all fields of the batch.
        rank: This process's number among the `world_size` processes that train together.
        world_size: How many processes share each global batch of `batch_size * world_size` samples.
        workers: Threads (or processes) that read; 0 to read in the calling thread; None for one per core.
        use_multiprocessing: Read in processes, for machines with many cores.
        max_queue_size: How many batches to read ahead at most.
        inputs: Model input name to field name, for a dict of inputs; None for the image, or a dict of all images.
        targets: Model output name to field name, for a dict of targets; None for the label or, without a label, for all other
            fields: the one field, or a dict of them. `FIELD_mask` is the array that says where a field is padded.
        sample_weight: `(samples of the split,)` numbers, or the name of a field of numbers: a third element of each batch, by
            which Keras multiplies the losses.
        ragged: Give fields whose samples differ in length as lists of arrays, one for each sample, instead of padded.
        pad_to: How many boxes, or other elements, each batch has room for, so that all batches have one shape and JAX compiles
            once; None for as many as the sample of the batch with the most.
        balance: `"class"`: in each pass, every class comes as often as any other, give or take one; classes without samples are
            left out. The samples of a class come in turn, from one pass into the next: each comes once before one comes again,
            and none comes twice in a pass in which another sample of its class does not come.
        sampling_weights: `(samples of the split,)` numbers of 0 or more, or the name of a field of numbers: in each pass, a
            sample comes `epoch_size * weight / sum` times, rounded down or up; over many passes, as often as that on average.
        epoch_size: Samples per pass, for `balance`, `sampling_weights` and several datasets; None for as many as there are
            samples, so that a pass takes as long as without these.
        verify: When stored bytes are compared with their checksums: see `ShardDataset`.
        option: Another name for `split`.

    A sample that comes several times in a pass is augmented anew each time.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        ArgumentError: If an argument is not allowed, or does not go with the dataset.

    Source of the interface: `keras.utils.PyDataset`, `keras.utils.image_dataset_from_directory`.
    """

    def __init__(
        self,
        dataset: str | os.PathLike[str] | ShardDataset | Mapping[Any, float],
        split: str | None = None,
        *,
        batch_size: int = 32,
        input_shape: tuple[int, int, int] | None = None,
        data_format: str = "channels_last",
        color_mode: str | None = None,
        label_mode: str | None = "int",
        interpolation: str = "bilinear",
        antialias: bool = False,
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        dtype: str = "uint8",
        scale: float | None = None,
        shuffle: bool | str | BlockShuffle | None = None,
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
        sampling_weights: Any = None,
        epoch_size: int | None = None,
        verify: str = "first",
        option: str | None = None,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_flags(
            drop_remainder=drop_remainder,
            use_multiprocessing=use_multiprocessing,
            crop_to_aspect_ratio=crop_to_aspect_ratio,
            pad_to_aspect_ratio=pad_to_aspect_ratio,
            antialias=antialias,
            ragged=ragged,
        )
        check_scale(scale)
        if pad_to is not None:
            whole("pad_to", pad_to, 1)
        # To Keras, this is a plain sequence without workers: the loader reads in parallel.
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=max_queue_size)

        # The samples, and their order.
        source = open_dataset_argument(dataset, choose_split(split, option), verify)
        self._dataset = source.dataset
        self._arguments["dataset"] = source.origin
        self._order = choose_order(
            source,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_remainder=drop_remainder,
            rank=rank,
            world_size=world_size,
            balance=balance,
            sampling_weights=sampling_weights,
            epoch_size=epoch_size,
        )

        # The fields of a batch, and what is done to its images.
        self._inputs, self._targets = find_fields(self._dataset, inputs, targets, label_mode)
        self._sample_weight = check_sample_weight(self._dataset, self._targets, sample_weight)
        listed, functions = sort_augment(augment)
        augmentations = AugmentationList(listed, self._order.seed)
        self._spec = choose_image_spec(
            self._dataset,
            self._first_image(),
            augmentations.size,
            input_shape=input_shape,
            data_format=data_format,
            color_mode=color_mode,
            dtype=dtype,
            scale=scale,
            crop_to_aspect_ratio=crop_to_aspect_ratio,
            pad_to_aspect_ratio=pad_to_aspect_ratio,
            interpolation=interpolation,
            antialias=antialias,
        )

        # What reads batches, and what makes of them what Keras gets.
        spec = self._spec.plain() if functions else self._spec
        maker = BatchMaker(self._dataset, self._field_names(), spec, augmentations, pad_to=None if ragged else pad_to)
        encode_label = label_encoder(self._dataset, label_mode)
        self._encoder = FieldEncoder(self._dataset.fields, encode_label, self._spec, functions, ragged)
        self._loader = Loader(
            maker,
            self._order,
            workers=min(usable_cores(), _MOST_DEFAULT_WORKERS) if workers is None else workers,
            use_multiprocessing=use_multiprocessing,
            max_queue_size=max_queue_size,
        )
        self._closer = weakref.finalize(self, self._loader.close)

        # Which pass of Keras it is.
        self._tracker = EpochTracker(self._order.num_batches)
        # How often the batch number jumped in this pass of Keras; None between passes.
        self._jumps: int | None = None
        self._last_number = -1
        self._has_warned = False

    def _first_image(self) -> Field:
        """The first image field among the inputs, which says what all images of a batch are like by default."""
        fields = self._dataset.fields
        return next(fields[name] for name in self._inputs.values() if name in fields and fields[name].is_image)

    def _field_names(self) -> list[str]:
        """The fields that a batch is made of."""
        names = [*self._inputs.values(), *self._targets.values()]
        if isinstance(self._sample_weight, str):
            names.append(self._sample_weight)
        return [name for name in self._dataset.fields if name in names or f"{name}_mask" in names]

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self._arguments, "epoch": self.epoch, "digest": self.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]  # opens files and starts workers of its own
        self.epoch = state["epoch"]
        if self.digest != state["digest"]:
            raise DamagedError(
                f"{self._dataset.path}: has digest {self.digest}, expected is {state['digest']}: it was packed again meanwhile"
            )

    # What Keras asks for.

    @property
    def num_batches(self) -> int:
        """Batches per pass. Keras reads it at the start of each pass, by which kseq notices the pass."""
        self._tracker.on_num_batches_read()
        self._jumps, self._last_number = 0, -1
        return self._order.num_batches

    def __len__(self) -> int:
        return self._order.num_batches

    def __getitem__(self, index: int) -> Any:
        """Batch number `index` of the epoch.

        Raises:
            OutOfRangeError: If it is not in [0, len).
        """
        batch_number = self._check_number(index)
        self._notice_shuffling(batch_number)
        epoch = self.epoch
        arrays = self._loader.batch(epoch, batch_number)
        self._tracker.on_batch_served(batch_number)
        return self._output(arrays, batch_number, epoch)

    def _check_number(self, batch_number: int) -> int:
        if not 0 <= operator.index(batch_number) < len(self):
            raise OutOfRangeError(f"{self._dataset.path}: batch number {batch_number} is not in [0, {len(self)})")
        return operator.index(batch_number)

    def on_epoch_begin(self) -> None:
        """Called by Keras."""
        self._tracker.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Called by Keras. In a loop of your own, call it after the last batch of each epoch."""
        self._tracker.on_epoch_end()
        self._jumps = None

    def __iter__(self) -> Iterator[Any]:
        """One pass: every batch, in order."""
        self.on_epoch_begin()
        for batch_number in range(self.num_batches):
            yield self[batch_number]
        self.on_epoch_end()

    def generator(self) -> Iterator[Any]:
        """The same batches without end, pass after pass, for code that needs a generator and `steps_per_epoch`."""
        while True:
            yield from self

    @property
    def workers(self) -> int:
        """1, so that Keras does not start workers of its own. The argument of this name is for kseq's workers."""
        return 1

    @property
    def use_multiprocessing(self) -> bool:
        """False, so that Keras does not start processes of its own; see `workers`."""
        return False

    # What it is, and which epoch is next.

    @property
    def split(self) -> str:
        """The split that the samples are of, or `"all"`."""
        return self._dataset.split or "all"

    @property
    def option(self) -> str:
        """Another name for `split`."""
        return self.split

    @property
    def epoch(self) -> int:
        """The current pass or, between passes, the next one, from 0. Set it to go on where another run stopped."""
        return self._tracker.epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._tracker.epoch = whole("epoch", value, 0)

    def sample_ids(self, batch_number: int, epoch: int | None = None) -> np.ndarray:
        """`(n,)` int64: the sample ids of a batch, in its order; of the current epoch if `epoch` is None.

        Raises:
            OutOfRangeError: If the batch number is not in [0, len).
        """
        epoch = self.epoch if epoch is None else whole("epoch", epoch, 0)
        return self._loader.sample_ids(epoch, self._check_number(batch_number))

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
        """The shape of one image as the model gets it, in the order of `data_format`."""
        return self._spec.shape

    @property
    def digest(self) -> str:
        """32 hexadecimal digits, to log with a run: another content of the dataset gives other digits."""
        return self._dataset.digest

    def __repr__(self) -> str:
        return (
            f"<ShardSequence {self._dataset.path!r} {self.split}: {self.num_samples} samples, "
            f"{len(self)} batches of {self.batch_size}>"
        )

    def close(self) -> None:
        """End the workers and close the files; batches that were handed out stay valid."""
        self._closer()

    def __enter__(self) -> ShardSequence:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # How a batch is handed to Keras.

    def _output(self, arrays: dict[str, np.ndarray], batch_number: int, epoch: int) -> Any:
        values = self._encoder.encode(arrays)
        inputs = _named(self._inputs, values, self._arguments["inputs"] is not None)
        if not self._targets:
            return inputs
        targets = _named(self._targets, values, self._arguments["targets"] is not None)
        if self._sample_weight is None:
            return inputs, targets
        if isinstance(self._sample_weight, str):
            return inputs, targets, values[self._sample_weight]
        return inputs, targets, self._sample_weight[self._order.positions(epoch, batch_number)]

    def _notice_shuffling(self, batch_number: int) -> None:
        """Warn once that kseq cannot read ahead while Keras permutes the batch numbers."""
        if self._jumps is None:
            return
        self._jumps += batch_number not in (0, self._last_number + 1)
        self._last_number = batch_number
        if self._jumps == _JUMPS_TO_WARN and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "Keras asks for the batches in an order of its own, so kseq cannot read ahead: give shuffle=False to fit. "
                "kseq shuffles the samples itself, in a new order in each epoch.",
                stacklevel=3,
            )


def _named(names: Mapping[str, str], values: Mapping[str, Any], as_dict: bool) -> Any:
    """The values of some fields: a dict if the user named them or there are several, else the value of the only one."""
    named = {name: values[field] for name, field in names.items()}
    return named if as_dict or len(named) > 1 else next(iter(named.values()))
