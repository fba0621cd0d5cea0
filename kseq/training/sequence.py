"""ShardSequence: a packed dataset as a `keras.utils.Sequence`."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kseq.arguments import whole
from kseq.reading.dataset import ShardDataset
from kseq.training.batch_listeners import note_served
from kseq.training.batch_look import batches_in_html, show_batch
from kseq.training.batches import Batches, check_number, describe
from kseq.training.block_shuffle import BlockShuffle
from kseq.training.damaged_samples import DamagedSample
from kseq.training.epoch_count import Pass
from kseq.training.epochs import Passes
from kseq.training.input_stats import InputStats
from kseq.training.keras_use import check_use, find_use
from kseq.training.looked_batches import LookedBatches
from kseq.training.ranks import AUTO
from kseq.workers import IDLE_SECONDS

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ShardSequence", "next_position"]


class ShardSequence(keras.utils.PyDataset):
    """Batches of a packed dataset, for `fit`, `evaluate` and `predict`.

    Each pass of Keras over it serves every sample of the split exactly once (unless `balance`, `sampling_weights` or several
    datasets say how often), in an order that depends on `seed` and the number of the pass alone; Keras's own shuffling of batch
    numbers changes nothing. Batch `i` is `sequence[i]`: `(images, labels)`, where images are `(n, height, width, channels)`
    uint8 in [0, 255] unless other arguments say otherwise.

    Args:
        dataset: The dataset's folder; or a `ShardDataset`, such as a selection, which stays yours and may be closed; or a dict
            of several of either to their proportions, `{"flowers": 0.7, "more-flowers": 0.3}`: each epoch has exactly so much
            of each, and each batch as nearly as possible. The samples of each dataset come in turn as those of a class do with
            `balance`.
        split: `"train"`, `"val"`, `"test"`, the name of any split, or `"all"`. None: `"train"` of a folder, and all samples of
            a `ShardDataset`, for which no other value is allowed.
        batch_size: Samples per batch of this process. `world_size` processes that train together share a global batch of
            `batch_size * world_size`; several devices of one process share its `batch_size`. None: 32, unless
            `global_batch_size` is given.
        global_batch_size: In place of `batch_size`: samples per batch of all ranks together, so that a run goes on on any
            number of them with the same global batches. The shares of ranks that do not divide it differ by one; each rank, and
            each device of it, gets equally many rows, of which those that no sample is left for repeat others, with weight 0.
            Batches then have weights, as with `remainder="pad"`, so that the gradient of a step is that of the global batch.
        input_shape: `(height, width, channels)` that every image is brought to; None for the size that all of them have.
        data_format: `"channels_last"` or `"channels_first"`.
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`; None for that of the packed images.
        label_mode: `"int"`: `(n,)` int32; `"categorical"`: `(n, classes)` float32, one-hot; `"binary"`: `(n, 1)`
            float32, 0 or 1; None: images alone.
        interpolation: How images are resized, by Keras's names.
        antialias: Average over all pixels where an image is shrunk, as Keras's `antialias` does; the default is Keras's too. A
            JPEG that becomes 2.5 or more times smaller may then be decoded at a fraction of its size, see `decode`.
        decode: How a JPEG is decoded that is shrunk to a half or less. `"exact"`: as all others are, to the very pixels that
            TensorFlow decodes, and so Keras's own loaders. `"fast"`: a crop, or what `antialias` averages anyway, at a half of
            its size or less, so that photos differ by about 5 of 255 without and less than 2 with `antialias`; and whole photos
            with the colours, which most JPEGs store at half the size, repeated in place of smoothed, so that they differ by 0.2
            on average, and the worst of 372 by 2.3.
        crop_to_aspect_ratio: Crop to the ratio of `input_shape` before resizing, as Keras does, instead of stretching.
        pad_to_aspect_ratio: Pad with zeros to that ratio, as Keras does.
        dtype: Of the images: `"uint8"`, `"float32"` or `"float16"`. None: that in which they are stored, which is uint8 unless
            they were packed as uint16 or float32. Of these, numbers are those of the files: uint16 leaves as `"uint16"`,
            `"float32"` or, with a `scale`, `"float16"`, float32 as `"float32"` or `"float16"`, and no number is divided.
        scale: What pixels are multiplied by, from the numbers that are stored, such as `1 / 255` for uint8 and `1 / 65535` for
            uint16; only for floating-point images.
        shuffle: True for a new order in each pass; `"block"` or a `BlockShuffle` for collections that do not fit in memory,
            which goes through them block by block and mixes the samples of a window of blocks; False for the same order in each
            pass. None: True for splits that are for training, which are all but `"all"` and those named after an evaluation
            (`"val"`, `"fold0-val"`, `"test"`, `"validation"` and the like), and with `balance`, `sampling_weights` or several
            datasets.
        seed: Draws the order and the augmentations; any whole number.
        remainder: What becomes of the samples at the end of a pass that do not fill a batch on every rank. `"keep"`: the last
            batch is smaller. `"drop"`: they are left out, others in each epoch of a split that is shuffled. `"pad"`: every
            batch has equally many rows; what is missing is filled up with other samples of the split, whose weight is 0. Each
            batch then has float32 weights as a third element (multiplied by those of `sample_weight`), with the mean 1 over all
            rows of an epoch. So the loss and all `weighted_metrics` of `evaluate` are those of the samples alone, on any number
            of ranks; `metrics` without weights count all rows. Batches without targets have no weights: `is_counted` says which
            rows count. None: `"keep"` for one process. For several, which must make equally many steps, with
            `global_batch_size`, and where Keras divides batches among several devices on JAX: `"drop"` for shuffled splits that
            are for training, and `"pad"` for others.
        augment: One or a list of augmentations (`RandomResizedCrop`, `CenterCrop`, `RandomFlip`, and your own, see
            `Augmentation`), applied in the order of the list to images, masks, boxes and keypoints alike; of changes of colour,
            images that are no inputs are left out. Then `Compose`: functions over whole samples. After them, functions: one
            that gets a batch of images that are inputs, `(n, height, width, channels)` in the dtype that is stored, uint8 or
            what they were packed as, and returns as many; or a `BatchFunction`, which gets all fields of the batch; or `MixUp`
            and `CutMix`.
        rank: This process's number, from 0, among the `world_size` processes that train together. `"auto"`: what
            `keras.distribution`, a strategy of TensorFlow or its TF_CONFIG, JAX or `torch.distributed` say, 0 where they speak
            of no other process; connect the processes before.
        world_size: How many processes train together, each of which gets its own share of every global batch; `"auto"` as for
            `rank`. Processes that hold parts of one model, and need the same samples, are one here.
        workers: Threads (or processes) that read; 0 to read in the calling thread; None for one per core, at most 16, and for
            four per core, at most 32, while other jobs keep the cores busy and the training waits (threads only, on Linux, with
            `niceness=0` and one rank).
        use_multiprocessing: Read in processes, for machines with many cores.
        max_queue_size: How many batches to read ahead at most.
        idle_seconds: How long workers stay when no batch is asked for, in seconds; the next batch starts them again.
            `float("inf")`: until `close`.
        niceness: By how many steps, 0 to 19, workers stand back from all other threads of the machine, those of the training
            and those of strangers; only on Linux. 0: not at all. On a machine that others use too, more than 0 costs speed.
        timeout: A batch that takes longer than so many seconds to be read is a `ReadTimeoutError`, which names what was waited
            for; with `workers=0`, nobody looks at the clock. None: a wait for a disk that does not answer, say, takes as long
            as it takes; after five seconds, one line says who waits for what, and Ctrl-C breaks off.
        on_error: What becomes of a damaged sample that is met. `"raise"`: an error that names it. `"substitute"`: its row is a
            copy of the next whole one of the batch, with weight 0 (batches then have weights), so that batches and ranks keep
            their sizes. `"skip"`: its batch is smaller; not with several ranks, nor where Keras divides batches among devices
            on JAX. With both, one line at the end of each epoch names such samples, and `damaged_samples` lists them; a batch
            without a whole sample is an error still, and so is a system or a store that refuses to read.
        inputs: The name of a field; or model input name to field name, for a dict of inputs; None for the image, or a dict of
            all images.
        targets: The name of a field; or model output name to field name, for a dict of targets, which Keras wants for models
            with several outputs: of a dict with one entry, a batch has the array alone. None for the label or, without a label,
            for all other fields: the one field, or a dict of them. `FIELD_mask` is the array that says where a field is padded.
        sample_weight: `(samples of the split,)` numbers, or the name of a field of numbers: a third element of each batch, by
            which Keras multiplies the losses; `(n,)` float32 or, for targets of three and more axes, such as masks, of their
            shape without the last axis.
        ragged: Give fields whose samples differ in length as lists of arrays, one for each sample, instead of padded, and text
            as `(n,)` str: True for all of them, or the names of some. No model takes such lists.
        pad_to: How many boxes, or other elements, each batch has room for, so that all batches have one shape and JAX compiles
            once: a number for all fields but text, or a dict of fields to numbers (of a text, to bytes); None for as many as
            the sample of the batch with the most.
        mirror_pairs: Which keypoints change places where an augmentation mirrors the image, such as the left and the right eye:
            pairs of point numbers `[(0, 1), (2, 3)]`, or a dict of fields to such pairs; `[]`: none. None: as the dataset
            knows from its source; where it does not, `RandomFlip` is refused.
        unmoved: The name of a field of numbers, or several, that do not lie in the image. Numbers that look as if they did (of
            two and more axes, or called like `landmarks` or `depth`) are refused with augmentations that move pixels.
        layout: `"keras"`: each batch is one dict, as the layers of Keras take it: `images`, `labels`, `bounding_boxes`, which
            is a dict of `boxes` and `labels` (padded with 0 and -1; 0 for all boxes where they have no classes),
            `segmentation_masks`, further targets by their own names, and `sample_weight` where batches have weights. `inputs`
            is then the name of one image, and `targets` that of one field, None for everything that samples hold. None: inputs
            and targets apart.
        bounding_box_format: With `layout="keras"`, how boxes are written, by Keras's names: `"xyxy"`, `"yxyx"`, `"xywh"` or
            `"center_xywh"` in pixels of the image as the model gets it, or in shares of it with `"rel_"` before.
        balance: `"class"`: in each pass, every class comes as often as any other, give or take one; classes without samples are
            left out. The samples of a class come in turn, from one pass into the next: each comes once before one comes again,
            and none comes twice in a pass in which another sample of its class does not come.
        sampling_weights: `(samples of the split,)` numbers of 0 or more, or the name of a field of numbers: in each pass, a
            sample comes `epoch_size * weight / sum` times, rounded down or up; over many passes, as often as that on average.
        epoch_size: Samples per pass, for `balance`, `sampling_weights` and several datasets; None for as many as there are
            samples, so that a pass takes as long as without these.
        verify: When stored bytes are compared with their checksums: see `ShardDataset`.
        read: How bytes come from the files, `"map"`, `"pread"` or `"auto"`: see `ShardDataset`. Of a `ShardDataset`, `"auto"`
            reads as that does.
        cache_dir: Of a URL: the folder of this machine for copies of shards, see `ShardDataset`. They are fetched ahead, in the
            order in which the batches need them.
        cache_bytes: Of a URL: how many bytes all copies may take, 0 for none, see `ShardDataset`.
        storage_options: Of a URL: what fsspec's file system gets, see `ShardDataset`.
        option: Another name for `split`.

    A sample that comes several times in a pass is augmented anew each time.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        ArgumentError: If an argument is not allowed, or does not go with the dataset, or processes of which several train are
            not connected. `fit` and `evaluate` raise it, too, where each process would train a model of its own, or ranks are
            not those of the processes.

    Source of the interface: `keras.utils.PyDataset`, `keras.utils.image_dataset_from_directory`.
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
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        # To Keras, this is a plain sequence without workers: kseq reads in parallel.
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=max_queue_size)
        self._batches = Batches(**arguments)
        self._passes = self._new_passes()
        self._looked = LookedBatches()

    def _new_passes(self) -> Passes:
        return Passes(
            len(self._batches),
            keras.utils.PyDataset.__module__,
            f"<ShardSequence {self._batches.split}>",
            warns=bool(self._batches.shuffle),
        )

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for name in ("on_epoch_begin", "on_epoch_end"):
            own, base = getattr(cls, name), getattr(ShardSequence, name)
            if own is not base:
                setattr(cls, name, _then(own, base))

    def __getstate__(self) -> dict[str, Any]:
        # What a subclass or Keras has set goes along.
        others = {name: value for name, value in self.__dict__.items() if name not in ("_batches", "_passes", "_looked")}
        return {"attributes": others, "batches": self._batches.__getstate__(), "position": (self.epoch, self._passes.start)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        self._batches = object.__new__(Batches)
        self._batches.__setstate__(state["batches"])
        self._passes = self._new_passes()
        self._passes.make_copy(*state["position"])
        self._looked = LookedBatches()

    # What Keras asks for.

    @property
    def num_batches(self) -> int:
        """Batches per pass."""
        return self._passes.on_num_batches_read(self, sys._getframe(1))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Any:
        """Batch number `index` of `epoch`; within a pass of Keras, the batch that comes next.

        Raises:
            OutOfRangeError: If it is not in [0, len).
        """
        asked = time.perf_counter()
        epoch, number, is_look, adapter = self._passes.locate(self, index, sys._getframe(1))
        batch = self._looked.take(adapter, epoch, number)
        if batch is None:
            batch = self._batches.batch(epoch, number)
        if is_look:
            self._looked.keep(adapter, epoch, number, batch)
        else:
            note_served(adapter, asked)
        return batch

    def on_epoch_begin(self) -> None:
        """Called by Keras."""
        self._passes.on_epoch_begin(self, sys._getframe(1))

    def on_epoch_end(self) -> None:
        """Called by Keras. In a loop of your own over `sequence[i]`, call it after the last batch of each epoch.

        It is needed where the numbers do not come in their order, or come from several threads.
        """
        self._passes.on_epoch_end(self, sys._getframe(1))

    def __iter__(self) -> Iterator[Any]:
        """One pass: every batch, in order."""
        return self._iterate()

    def generator(self) -> Iterator[Any]:
        """The same batches without end, pass after pass, for code that needs a generator and `steps_per_epoch`."""
        current = None
        while True:
            current = self._passes.begin(current)
            yield from self._iterate(current)

    def _iterate(self, current: Pass | None = None) -> Iterator[Any]:
        current = self._passes.begin() if current is None else current
        # The only batch may have been a look: then the pass is complete when the iterator ends.
        last_number = len(self) - 1 if len(self) > 1 else None
        is_served = False
        try:
            for number in range(current.start, len(self)):
                batch = self._batches.batch(current.epoch, number)
                if number == last_number:
                    is_served = True
                    self._passes.will_finish(current)
                self._passes.note_read(current.epoch, number)
                yield batch
            is_served = True
        finally:
            if is_served:
                self._passes.finish(current)

    def to_tf_dataset(self) -> Any:
        """The batches as a `tf.data.Dataset`, each iteration of which is one pass, in the epoch that is next.

        So `repeat()` goes on with the next epoch, and an iteration that breaks off is begun again, as one of the sequence is.
        `element_spec` has the dtypes and shapes, with None for the axes that differ between batches: the first one with
        `remainder="keep"`, and that of boxes and other lists without `pad_to`. kseq reads ahead by itself. `len(dataset)` is
        the number of batches; a run that goes on within an epoch calls `load_state_dict` before, and has none.

        Errors in reading become those of TensorFlow, with the text of kseq's.

        Raises:
            ArgumentError: If TensorFlow is not installed, or batches have lists (`ragged`).
            KseqError: As `sequence[0]` does: a batch is read to learn the shapes.
        """
        from kseq.training.tf_dataset import make_tf_dataset

        return make_tf_dataset(self, self._batches)

    @property
    def workers(self) -> int:
        """1, so that Keras does not start workers of its own. The argument of this name is for kseq's workers."""
        caller = sys._getframe(1)
        self._passes.on_workers_read(self, caller)
        use = find_use(self, caller)
        if use is not None:
            check_use(self._batches, use)
        return 1

    @property
    def use_multiprocessing(self) -> bool:
        """False, so that Keras does not start processes of its own; see `workers`."""
        return False

    # What it is, and which epoch is next.

    @property
    def epoch(self) -> int:
        """The epoch with which the next pass begins, from 0: one more than the highest of which a pass is complete.

        Set it to go on where another run stopped. A pass that is going on keeps its epoch.
        """
        return self._passes.epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        epoch = whole("epoch", value, 0)
        self._batches.forget_state()
        self._passes.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """The place of a loop over the sequence, after the batch that was handed out last: see `Batches.state_dict`.

        Within a `fit`, whose steps lag behind what Keras has fetched, it is the beginning of the epoch that is going on;
        [`ResumeTraining`][kseq.ResumeTraining] knows the step.
        """
        return self._batches.state_dict(*self._passes.next_in_loop())

    def load_state_dict(self, state: Mapping[str, Any], *, on_change: str = "fail") -> tuple[int, int]:
        """Let the next pass, of a loop or of `fit`, go on where another run stopped: see `Batches.load_state_dict`.

        Returns:
            The epoch, and the number of the batch that comes next in it.

        Raises:
            ArgumentError: If it is no state, or is of another dataset, split, seed or order.
        """
        position = self._batches.load_state_dict(state, on_change=on_change)
        self._looked.clear()
        self._passes.set(*position)
        return position

    def sample_ids(self, batch_number: int, epoch: int | None = None) -> np.ndarray:
        """`(n,)` int64: the sample ids of a batch, in its order.

        Args:
            batch_number: In [0, len).
            epoch: The epoch; None for what `sequence[batch_number]` was just before, or would be: within a pass of Keras, in a
                `__getitem__` of your own, that is the batch that came for this number.

        Raises:
            OutOfRangeError: If the batch number is not in [0, len).
        """
        return self._batches.sample_ids(*self._find(batch_number, epoch, sys._getframe(1)))

    def is_counted(self, batch_number: int, epoch: int | None = None) -> np.ndarray:
        """`(n,)` bool: which rows of a batch count; others only fill it up, with weight 0, see `remainder` and
        `global_batch_size`.

        Args:
            batch_number: In [0, len).
            epoch: The epoch; None for that of `sequence[batch_number]`, as for `sample_ids`.

        Raises:
            OutOfRangeError: If the batch number is not in [0, len).
        """
        return self._batches.is_counted(*self._find(batch_number, epoch, sys._getframe(1)))

    def _find(self, batch_number: int, epoch: int | None, caller: FrameType) -> tuple[int, int]:
        number = check_number(self._batches, batch_number)
        return self._passes.find(self, number, caller) if epoch is None else (epoch, number)

    @property
    def batches(self) -> Batches:
        """The batches by epoch and number, without any state."""
        return self._batches

    @property
    def damaged_samples(self) -> tuple[DamagedSample, ...]:
        """The damaged samples that were met so far with `on_error="skip"` or `"substitute"`, each once, by sample id."""
        return self._batches.damaged_samples

    @property
    def stats(self) -> InputStats:
        """What the batches that were handed out so far have cost: waiting, and the stages of loading.

        [`InputMonitor`][kseq.InputMonitor] prints it for each epoch of a `fit`, beside the time of a step.
        """
        return self._batches.stats

    @property
    def split(self) -> str:
        """The split that the samples are of, or `"all"`."""
        return self._batches.split

    @property
    def option(self) -> str:
        """Another name for `split`."""
        return self.split

    @property
    def shuffle(self) -> bool | str:
        """Whether each pass has an order of its own: True, False, or `"block"`."""
        return self._batches.shuffle

    @property
    def num_samples(self) -> int:
        """Samples per pass: those of the split, or `epoch_size`."""
        return self._batches.num_samples

    @property
    def batch_size(self) -> int:
        """Rows per batch on this rank, some of which may not count: see `is_counted`."""
        return self._batches.batch_size

    @property
    def global_batch_size(self) -> int:
        """Samples per batch on all ranks together."""
        return self._batches.global_batch_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class of each label number."""
        return self._batches.class_names

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of one image as the model gets it, in the order of `data_format`."""
        return self._batches.input_shape

    @property
    def digest(self) -> str:
        """32 hexadecimal digits, to log with a run: another content of the dataset gives other digits."""
        return self._batches.digest

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {describe(self._batches)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the batch that comes next, with its labels, the order, the shapes, and what is cropped."""
        return batches_in_html(type(self).__name__, self._batches, *next_position(self))

    def show(
        self,
        batch_number: int = 0,
        epoch: int | None = None,
        *,
        rows: int = 16,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        """Show a batch as a figure of matplotlib, as the model gets it: images, with boxes, masks and points drawn over them.

        It is made for this look alone: a `fit` or a loop that goes on is not moved.

        Args:
            batch_number: In [0, len).
            epoch: 0 or more; None for that of the pass that comes next.
            rows: How many rows are shown, from the first on, at most 64.
            path: The file to write the figure to, such as `"batch.png"`; None to show it, in a notebook or a window.

        Raises:
            OutOfRangeError: If there is no batch of this number.
            ArgumentError: If matplotlib is not installed (the extra `notebook`), has no window here, or knows no such files.
            WriteError: If the file cannot be written.
            KseqError: As `Batches.batch` raises it.
        """
        show_batch(self._batches, self.epoch if epoch is None else whole("epoch", epoch, 0), batch_number, rows, path)

    def close(self) -> None:
        """End the workers and close the files; batches that were handed out stay valid."""
        self._looked.clear()
        self._batches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def next_position(sequence: ShardSequence) -> tuple[int, int]:
    """The epoch and the number of the batch with which the next pass begins."""
    return sequence.epoch, sequence._passes.start


def _then(own: Any, base: Any) -> Any:
    """A method of a subclass, then that of its base, which nobody is used to calling; to be called twice changes nothing."""

    @functools.wraps(own)
    def both(self: ShardSequence) -> None:
        own(self)
        base(self)

    return both
