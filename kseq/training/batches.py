"""Batches: what makes up any batch of any epoch, as a pure function; numpy only, no Keras."""

from __future__ import annotations

import contextlib
import dataclasses
import operator
import os
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kseq.arguments import absolute, choice, seconds, whole
from kseq.display.words import format_count, format_names
from kseq.errors import (
    ArgumentError,
    ClosedError,
    DamagedError,
    KseqError,
    OutOfRangeError,
    ReadTimeoutError,
    WorkerDiedError,
    warn,
)
from kseq.ordering.epoch_order import Order
from kseq.platforms.processes import usable_cores
from kseq.reading.dataset import ShardDataset
from kseq.storage.fields import Field
from kseq.threads import program_ends, start_thread, watch_end
from kseq.training.arguments import (
    check_flags,
    check_sample_weight,
    check_scale,
    choose_image_spec,
    choose_pad_to,
    choose_ragged,
    find_fields,
    sort_augment,
)
from kseq.training.batch_maker import BatchMaker
from kseq.training.batch_outputs import FieldEncoder
from kseq.training.block_shuffle import BlockShuffle
from kseq.training.damaged_samples import ON_ERROR, DamagedSample, Damages
from kseq.training.dataset_argument import RemoteArguments, choose_split, open_dataset_argument
from kseq.training.error_places import add_place, list_samples, names_sample
from kseq.training.fetch_ahead import warn_of_small_cache
from kseq.training.input_stats import WAIT, InputMeter, InputStats
from kseq.training.joined_batches import joined_batches
from kseq.training.keras_layout import KerasLayout, check_layout
from kseq.training.label_mode import label_encoder
from kseq.training.loader import Loader
from kseq.training.mixing import Mixture, RowsToMix, check_mixing
from kseq.training.moving_fields import check_moves, choose_orders, choose_unmoved, target_images
from kseq.training.position import find_position, to_state
from kseq.training.rank_failures import begin_to_watch, check_ranks, note_failure, note_success, watch_ranks
from kseq.training.ranks import AUTO, check_unchanged, choose_world
from kseq.training.read_ahead import LoadedBatch
from kseq.training.row_weights import RowWeights
from kseq.training.sample_functions import SampleFunctions, last_size
from kseq.training.sampling_argument import choose_order
from kseq.training.stage_times import ASSEMBLE, Stopwatch
from kseq.training.tf_sharing import check_shared_once
from kseq.training.transforms import AugmentationList, sample_keys
from kseq.workers import IDLE_SECONDS

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Batches", "check_number", "describe", "describe_order"]

# With more threads than this, they spend more time waiting for the interpreter than reading.
_MOST_DEFAULT_WORKERS = 16

# So many threads for each core read by default while other jobs take the cores, and at most so many.
_CROWDED_WORKERS, _MOST_CROWDED_WORKERS = 4, 32


class Batches:
    """The batches of a packed dataset, for loops of one's own, JAX, PyTorch, and all that is not Keras. It never imports Keras.

    `batches.batch(epoch, number)` is a pure function of its two numbers and the arguments below: no call changes what another
    returns, in whatever order, thread or process. So a run can stop anywhere and go on elsewhere with the same samples. In an
    epoch, the batches serve every sample of the split exactly once (unless `balance`, `sampling_weights` or several datasets
    say how often).

    Batches are read ahead where their numbers come in sequence. Safe to use from many threads and after a fork; pickles to its
    arguments.

    Args:
        dataset: The dataset's folder, a `ShardDataset`, or several of either in proportion.
        split: The name of a split, or `"all"`.

    These and all other arguments are those of [`ShardSequence`][kseq.ShardSequence], which has the same batches.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        ArgumentError: If an argument is not allowed, or does not go with the dataset.

    Examples:
        >>> batches = kseq.Batches("flowers", "train", input_shape=(64, 64, 3))
        >>> for epoch in range(10):
        ...     for images, labels in batches.epoch(epoch):
        ...         ...
    """

    def __init__(
        self,
        dataset: str | os.PathLike[str] | ShardDataset | Mapping[Any, float],
        split: str | None = None,
        *,
        batch_size: int | None = None,
        global_batch_size: int | None = None,
        input_shape: tuple[int, int, int] | None = None,
        data_format: str = "channels_last",
        color_mode: str | None = None,
        label_mode: str | None = "int",
        interpolation: str = "bilinear",
        antialias: bool = False,
        decode: str = "fast",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        dtype: str | None = None,
        scale: float | None = None,
        shuffle: bool | str | BlockShuffle | None = None,
        seed: int = 0,
        remainder: str | None = None,
        augment: Any = (),
        rank: int | str = AUTO,
        world_size: int | str = AUTO,
        workers: int | None = None,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
        idle_seconds: float = IDLE_SECONDS,
        niceness: int = 0,
        timeout: float | None = None,
        on_error: str = "raise",
        inputs: str | Mapping[str, str] | None = None,
        targets: str | Mapping[str, str] | None = None,
        sample_weight: Any = None,
        ragged: bool | str | Sequence[str] = False,
        pad_to: int | Mapping[str, int] | None = None,
        mirror_pairs: Mapping[str, Sequence[tuple[int, int]]] | Sequence[tuple[int, int]] | None = None,
        unmoved: str | Sequence[str] = (),
        layout: str | None = None,
        bounding_box_format: str = "xyxy",
        balance: str | None = None,
        sampling_weights: Any = None,
        epoch_size: int | None = None,
        verify: str = "first",
        read: str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
        option: str | None = None,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name != "self"}
        # A subclass may have set some before.
        others = set(self.__dict__)
        self._arguments = arguments
        check_flags(
            use_multiprocessing=use_multiprocessing,
            crop_to_aspect_ratio=crop_to_aspect_ratio,
            pad_to_aspect_ratio=pad_to_aspect_ratio,
            antialias=antialias,
        )
        check_scale(scale)
        choice("on_error", on_error, ON_ERROR)
        self._world = choose_world(rank, world_size)
        if self._world.size > 1:
            begin_to_watch(self._world.rank, self._world.size)
        # The samples, and their order.
        remote = RemoteArguments(cache_dir, cache_bytes, storage_options)
        self._arguments["cache_dir"] = absolute(cache_dir)
        source = open_dataset_argument(dataset, choose_split(split, option), verify, read, remote)
        self._dataset = source.dataset
        self._order = choose_order(
            source,
            batch_size=batch_size,
            global_batch_size=global_batch_size,
            shuffle=shuffle,
            seed=seed,
            remainder=remainder,
            world=self._world,
            balance=balance,
            sampling_weights=sampling_weights,
            epoch_size=epoch_size,
        )
        self._say_what_is_left_out(remainder)
        # A copy opens its own files, but is of the same process among several, wherever it is made.
        chosen = {"rank": self.rank, "world_size": self.world_size, "remainder": self.remainder}
        self._arguments |= {"dataset": source.origin, **chosen}

        if on_error == "skip" and self._order.world_size > 1:
            raise ArgumentError(
                f"on_error='skip' with {self._order.world_size} ranks: their batches would differ in size; "
                "on_error='substitute' keeps them as they are"
            )
        warn_of_small_cache(self._dataset, self._order)

        # The fields of a batch, and what is done to its images.
        check_layout(layout, bounding_box_format, inputs, targets, ragged)
        self._inputs, self._targets = find_fields(self._dataset, inputs, targets, label_mode, all_targets=layout == "keras")
        self._weights = RowWeights(
            check_sample_weight(self._dataset, self._targets, sample_weight),
            self._order.row_weight,
            # Alike on any number of ranks, whether or not they divide the global batch.
            may_not_count=self._order.remainder == "pad" or global_batch_size is not None or on_error == "substitute",
        )
        listed, composed, functions = sort_augment(augment)
        augmentations = AugmentationList(listed, self._order.seed)
        for augmentation in listed:
            augmentation.check_dtype(np.dtype(self._first_image().dtype).name)
        self._spec = choose_image_spec(
            self._dataset,
            self._first_image(),
            last_size(composed) or augmentations.size,
            input_shape=input_shape,
            data_format=data_format,
            color_mode=color_mode,
            dtype=dtype,
            scale=scale,
            crop_to_aspect_ratio=crop_to_aspect_ratio,
            pad_to_aspect_ratio=pad_to_aspect_ratio,
            interpolation=interpolation,
            antialias=antialias,
            decode=decode,
        )

        # What reads batches, and what makes of them what Keras gets.
        spec = self._spec.plain() if functions else self._spec
        fields = self._fields_of_a_batch()
        lists = choose_ragged(fields, ragged)
        unseen, orders = target_images(fields, self._inputs), choose_orders(fields, mirror_pairs)
        steady = choose_unmoved(fields, unmoved)
        check_moves(fields, listed, composed, functions, targets=unseen, orders=orders, unmoved=steady)
        has_targets, dtype_of_batch = bool(self._targets), self._spec.dtype
        check_mixing(fields, functions, label_mode=label_mode, has_targets=has_targets, unmoved=steady, dtype=dtype_of_batch)
        maker = BatchMaker(
            self._dataset,
            list(fields),
            spec,
            augmentations,
            functions=SampleFunctions(composed, self._order.seed, fields, unseen, orders, self.class_names),
            target_images=unseen,
            orders=orders,
            pad_to=choose_pad_to(fields, pad_to, lists),
            tolerates_damage=on_error != "raise",
        )
        self._layout = None
        if layout == "keras":
            self._layout = KerasLayout(list(fields.values()), (self._spec.height, self._spec.width), bounding_box_format)
        self._damages = Damages(f"{self._dataset.path}, {self.split}", on_error)
        encode_label = label_encoder(self._dataset, label_mode)
        self._encoder = FieldEncoder(fields, encode_label, self._spec, functions, lists, unseen)
        # Who says how many workers there are, or that they stand back, means it. Ranks on one machine would crowd each other.
        may_crowd = workers is None and not niceness and self.world_size == 1
        self._loader = Loader(
            maker,
            self._order,
            workers=min(usable_cores(), _MOST_DEFAULT_WORKERS) if workers is None else workers,
            use_multiprocessing=use_multiprocessing,
            max_queue_size=max_queue_size,
            idle_seconds=idle_seconds,
            niceness=niceness,
            crowded_workers=min(_CROWDED_WORKERS * usable_cores(), _MOST_CROWDED_WORKERS) if may_crowd else 0,
            timeout=None if timeout is None else seconds("timeout", timeout),
        )
        self._meter = InputMeter()
        self._closer = weakref.finalize(self, _close_elsewhere, self._loader, self._damages)
        watch_end()
        # Where the next `epoch` of this number begins, after `load_state_dict`; and the batch that `epoch` hands out next.
        self._start = 0, 0
        self._next = 0, 0
        self._internals = frozenset(self.__dict__) - others

    def _say_what_is_left_out(self, remainder: str | None) -> None:
        if remainder is None and self._order.num_left_out and self.rank == 0:
            reason = "devices on JAX divide batches of one size"
            if self.world_size > 1 or self._arguments["global_batch_size"] is not None:
                reason = "all ranks make equally many steps"
            warn(
                f"{self._dataset.path} {self.split}: {self._order.num_left_out} of {self.num_samples} samples are left out, "
                f"others in each epoch, since {reason}: give remainder='drop' to say so, 'pad' for all",
                stacklevel=3,
            )

    def _first_image(self) -> Field:
        """The first image field among the inputs, which says what all images of a batch are like by default."""
        fields = self._dataset.fields
        return next(fields[name] for name in self._inputs.values() if name in fields and fields[name].is_image)

    def _fields_of_a_batch(self) -> dict[str, Field]:
        """The fields that a batch is made of."""
        names = [*self._inputs.values(), *self._targets.values()]
        if self._weights.field is not None:
            names.append(self._weights.field)
        return {name: field for name, field in self._dataset.fields.items() if name in names or f"{name}_mask" in names}

    def __getstate__(self) -> dict[str, Any]:
        # What a subclass has set goes along.
        others = {name: value for name, value in self.__dict__.items() if name not in self._internals and name != "_internals"}
        position = {"rest": self._order.rest, "start": self._start}
        return {"attributes": others, "arguments": self._arguments, "digest": self.digest, "position": position}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Opens files and starts workers of its own.
        Batches.__init__(self, **state["arguments"])
        self.__dict__.update(state["attributes"])
        self._go_on(state["position"]["start"], dataclasses.replace(self._order, rest=state["position"]["rest"]))
        if self.digest != state["digest"]:
            raise DamagedError(
                f"{self._dataset.path}: has digest {self.digest}, expected is {state['digest']}: it was packed again meanwhile"
            )

    # The batches.

    def batch(self, epoch: int, number: int) -> Any:
        """Batch `number` of an epoch.

        All errors in reading, and those that a function or an augmentation of yours raises, keep their class; their text names
        the dataset, the epoch, the batch and the sample.

        Args:
            epoch: 0 or more.
            number: In [0, num_batches).

        Returns:
            `(images, targets)`: `(n, height, width, channels)` uint8 in [0, 255] and `(n,)` int32, unless the arguments say
            otherwise; with `sample_weight`, `global_batch_size` or `remainder="pad"`, `(n,)` float32 as a third element; with
            `label_mode=None`, images alone. With `layout="keras"`, a dict of these.

        Raises:
            ArgumentError: If `epoch` is below 0, or processes were connected only after this was made for one alone, or
                TensorFlow shares out the batches of a rank once more.
            RankFailedError: If another of the ranks has ended with an error.
            OutOfRangeError: If there is no batch of this number.
            DamagedError: If stored bytes have changed, or a shard is missing.
            ReadTimeoutError: If it takes longer than `timeout`.
            WorkerDiedError: If worker processes die of it, whoever reads it.
        """
        epoch, number = whole("epoch", epoch, 0), check_number(self, number)
        check_unchanged(self._world)
        if self.world_size > 1:
            check_shared_once(sys._getframe(1), number)
            watch_ranks(self.rank, self.world_size)
            check_ranks()
        watch = Stopwatch()
        loaded, values, mixtures = self._read(epoch, number, watch)
        batch = self._arrange(loaded, values, mixtures)
        watch.lap(ASSEMBLE)
        self._meter.add(loaded.times, watch, fills_here=self._loader.fills_here)
        return batch

    def _read(
        self, epoch: int, number: int, watch: Stopwatch, *, is_look: bool = False
    ) -> tuple[LoadedBatch, dict[str, Any], Sequence[Mixture]]:
        """A batch as it was loaded, the values of its fields, see `FieldEncoder.encode`, and how its rows were mixed.

        Other ranks are not told of what happens to who only looks.
        """
        try:
            loaded = self._loader.load(epoch, number)
            watch.lap(WAIT)
            damaged = [row for row, _ in loaded.damaged]
            if damaged:
                loaded = self._damages.mend(loaded, self.sample_ids(epoch, number), epoch, number)
            rows = self._rows_to_mix(loaded, damaged, epoch, number) if self._encoder.mixes else None
            values = self._encoder.encode(loaded.arrays, watch, rows)
        except ClosedError:
            raise
        except Exception as error:
            self._add_place(error, epoch, number)
            if self.world_size > 1 and not is_look:
                note_failure(error)
            raise
        if self.world_size > 1 and not is_look:
            note_success()
        if number == self.num_batches - 1:
            self._damages.end_epoch(epoch)
        return loaded, values, () if rows is None else rows.mixtures

    def _arrange(self, loaded: LoadedBatch, values: Mapping[str, Any], mixtures: Sequence[Mixture] = ()) -> Any:
        """A batch as a model gets it."""
        if self._layout is not None:
            return self._layout.arrange(values, self._weights.of(loaded, values, None, mixtures))
        inputs = _named(self._inputs, values, isinstance(self._arguments["inputs"], Mapping))
        if not self._targets:
            return inputs
        # Keras takes one array for the one output of a model, whatever the model calls it, but no dict if it has no names.
        targets = _named(self._targets, values, as_dict=False)
        # Keras multiplies the losses by them.
        weights = self._weights.of(loaded, values, targets, mixtures)
        return (inputs, targets) if weights is None else (inputs, targets, weights)

    def _rows_to_mix(self, loaded: LoadedBatch, damaged: list[int], epoch: int, number: int) -> RowsToMix:
        drawn = self._loader.samples(epoch, number)
        keys = sample_keys(drawn.sample_ids, drawn.turns)
        if len(loaded.positions) < len(keys):
            keys = np.delete(keys, damaged)
        return RowsToMix(self._order.seed, epoch, keys, self._weights.count(loaded))

    def _add_place(self, error: Exception, epoch: int, number: int) -> None:
        """Say in the text of an error which batch it is about and, if it does not name a sample, which samples that has."""
        if not names_sample(error) and not isinstance(error, (ReadTimeoutError, WorkerDiedError)):
            with contextlib.suppress(KseqError):
                add_place(error, f"with {list_samples(self.sample_ids(epoch, number))}")
        add_place(error, f"in batch {number} of epoch {epoch} of {self._dataset.path}, {self.split}")

    def sample_ids(self, epoch: int, number: int) -> np.ndarray:
        """`(n,)` int64: the sample ids of batch `number` of an epoch, in the order of the batch.

        Raises:
            OutOfRangeError: If there is no batch of this number.
        """
        return self._loader.samples(whole("epoch", epoch, 0), check_number(self, number)).sample_ids

    def is_counted(self, epoch: int, number: int) -> np.ndarray:
        """`(n,)` bool: which rows of batch `number` of an epoch count; others only fill it up, see `remainder` and
        `global_batch_size`.

        Raises:
            OutOfRangeError: If there is no batch of this number.
        """
        return self._loader.samples(whole("epoch", epoch, 0), check_number(self, number)).is_counted

    @property
    def damaged_samples(self) -> tuple[DamagedSample, ...]:
        """The damaged samples that were met so far with `on_error="skip"` or `"substitute"`, each once, by sample id."""
        return self._damages.found

    def epoch(self, epoch: int, start: int | None = None) -> Iterator[Any]:
        """All batches of an epoch, one after the other.

        Args:
            epoch: 0 or more.
            start: The batch to begin with, to go on where another run stopped; `num_batches` for none. None: the first; in the
                epoch of a state that was loaded, the batch that comes next there.
        """
        epoch = whole("epoch", epoch, 0)
        if start is None:
            start = self._start[1] if epoch == self._start[0] else 0
        return self._iterate(epoch, whole("start", start, 0, self.num_batches))

    def _iterate(self, epoch: int, start: int) -> Iterator[Any]:
        for number in range(start, self.num_batches):
            batch = self.batch(epoch, number)
            self._next = epoch, number + 1
            yield batch

    def arrays(self, epoch: int = 0) -> Any:
        """All batches of an epoch as one, for what wants a whole split in memory, such as `fit` of scikit-learn.

        Args:
            epoch: 0 or more; without `shuffle` and `augment`, all are alike.

        Returns:
            As `batch`, with all samples as rows; rows that only fill up a batch are left out.

        Raises:
            ArgumentError: If `epoch` is below 0, or batches differ in how long they are padded.
            KseqError: As `batch` does.
        """
        return joined_batches(self, epoch)

    def state_dict(self, epoch: int | None = None, number: int | None = None) -> dict[str, Any]:
        """The place in the data, to be kept with the weights of a checkpoint: a dict of whole numbers, texts and True or False.

        Args:
            epoch: The epoch.
            number: The batch of it that comes next, in [0, num_batches]. None for both: the batch after the one that `epoch`
                has handed out last, or the place that was loaded.

        Returns:
            `epoch` and `batch`: the next one; `samples`: how many samples of the epoch come before it, on all ranks together;
            and what the order depends on.
        """
        if (epoch is None) != (number is None):
            raise ArgumentError(f"epoch={epoch!r}, number={number!r}: give both, or none for what comes next")
        if epoch is None or number is None:
            epoch, number = self._next
        epoch, number = whole("epoch", epoch, 0), whole("number", number, 0, self.num_batches)
        return to_state(self._order, epoch, number, digest=self.digest, split=self.split)

    def load_state_dict(self, state: Mapping[str, Any], *, on_change: str = "fail") -> tuple[int, int]:
        """Go on where another run stopped: with the samples that come next, on any number of ranks and batches of any size.

        `epoch` then begins with the next batch where it is called for the epoch of the state. If the global batch has another
        size than it had, the batches of that epoch begin with the next sample, and end where the epoch does.

        Args:
            state: What `state_dict` has returned; of any rank, as it is the same on all.
            on_change: `"fail"`: refuse a state of another dataset, split, seed or order. `"warn"`: go on after as many samples
                of the epoch, and say so.

        Returns:
            The epoch, and the number of the batch that comes next in it.

        Raises:
            ArgumentError: If it is no state, or is refused.
        """
        position = find_position(
            self._order, state, digest=self.digest, split=self.split, path=str(self._dataset.path), on_change=on_change
        )
        self._go_on(position[:2], position.order)
        return self._start

    def forget_state(self) -> None:
        """Begin every epoch with its first sample again, as before `load_state_dict`."""
        self._go_on((0, 0), dataclasses.replace(self._order, rest=None))

    def _go_on(self, start: tuple[int, int], order: Order) -> None:
        self._start = self._next = start
        if order.rest != self._order.rest:
            self._order = order
            self._loader.set_order(order)

    # What they are.

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        return self._order.num_batches

    def __len__(self) -> int:
        return self._order.num_batches

    @property
    def num_samples(self) -> int:
        """Samples per epoch: those of the split, or `epoch_size`."""
        return self._order.num_samples

    @property
    def batch_size(self) -> int:
        """Rows per batch on this rank, some of which may not count: see `is_counted`."""
        return self._order.batch_size

    @property
    def global_batch_size(self) -> int:
        """Samples per batch on all ranks together."""
        return self._order.global_batch

    @property
    def remainder(self) -> str:
        """What becomes of the samples that do not fill a batch: `"keep"`, `"drop"` or `"pad"`."""
        return self._order.remainder

    @property
    def rank(self) -> int:
        """This process's number among those that train together."""
        return self._order.rank

    @property
    def world_size(self) -> int:
        """How many processes share each global batch."""
        return self._order.world_size

    @property
    def stats(self) -> InputStats:
        """What the batches that were handed out so far have cost: waiting, and the stages of loading."""
        return self._meter.stats

    @property
    def split(self) -> str:
        """The split that the samples are of, or `"all"`."""
        return self._dataset.split or "all"

    @property
    def shuffle(self) -> bool | str:
        """Whether each epoch has an order of its own: True, False, or `"block"`."""
        return self._order.shuffle

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
        return f"<{type(self).__name__} {describe(self)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: a batch with its labels, the order, the shapes, and what is cropped."""
        # Not for training, and above this module.
        from kseq.training.batch_look import batches_in_html

        return batches_in_html(type(self).__name__, self, *self._start)

    def show(self, epoch: int = 0, number: int = 0, *, rows: int = 16, path: str | os.PathLike[str] | None = None) -> None:
        """Show a batch as a figure of matplotlib, as the model gets it: images, with boxes, masks and points drawn over them.

        Args:
            epoch: 0 or more.
            number: In [0, num_batches).
            rows: How many rows are shown, from the first on, at most 64.
            path: The file to write the figure to, such as `"batch.png"`; None to show it, in a notebook or a window.

        Raises:
            OutOfRangeError: If there is no batch of this number.
            ArgumentError: If matplotlib is not installed (the extra `notebook`), has no window here, or knows no such files.
            WriteError: If the file cannot be written.
            KseqError: As `batch` raises it.
        """
        from kseq.training.batch_look import show_batch

        show_batch(self, whole("epoch", epoch, 0), number, rows, path)

    def close(self) -> None:
        """End the workers and close the files; batches that were handed out stay valid."""
        self._closer.detach()
        _close(self._loader, self._damages)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_number(batches: Batches, number: int) -> int:
    """A batch number as an int.

    Raises:
        OutOfRangeError: If there is no batch of this number.
    """
    index = operator.index(number)
    if not 0 <= index < len(batches):
        raise OutOfRangeError(f"{batches._dataset.path}: batch number {number} is not in [0, {len(batches)})")
    return index


def describe(batches: Batches) -> str:
    """What batches are, in a line."""
    spec = batches._spec
    shape = " x ".join(map(str, spec.shape))
    try:
        names = batches.class_names
        classes = f", {format_count(len(names), 'class')}: {format_names(names)}" if names else ""
    except ClosedError:
        classes = ", closed"
    return (
        f"{batches._dataset.path!r} {batches.split}: {format_count(batches.num_samples, 'sample')}, "
        f"{format_count(len(batches), 'batch')} of {batches.batch_size}, {describe_order(batches)}"
        + (f", rank {batches.rank} of {batches.world_size}" if batches.world_size > 1 else "")
        + f"; images {shape}, {spec.dtype}{classes}"
    )


def describe_order(batches: Batches) -> str:
    """In which order batches have their samples, in words."""
    order = {True: "shuffled anew in each epoch", False: "not shuffled", "block": "shuffled by blocks anew in each epoch"}
    return order[batches.shuffle]


def _close(loader: Loader, damages: Damages) -> None:
    """Close a loader, and tell of what was damaged in epochs that broke off."""
    loader.close()
    damages.end_epoch(None)


def _close_elsewhere(loader: Loader, damages: Damages) -> None:
    """Do so in a thread of its own.

    What is dropped is finalized in whichever thread notices: that may be a worker, which cannot wait for its own end, or one
    that holds a lock which `close` needs.
    """
    if program_ends():
        # No thread would be waited for.
        _close(loader, damages)
    else:
        start_thread(_close, loader, damages, name="kseq-close")


def _named(names: Mapping[str, str], values: Mapping[str, Any], as_dict: bool) -> Any:
    """The values of some fields: a dict if the user named them or there are several, else the value of the only one."""
    named = {name: values[field] for name, field in names.items()}
    return named if as_dict or len(named) > 1 else next(iter(named.values()))
