"""What a batch holds, and how any rows of it are filled from samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from kseq.errors import ArgumentError, DamagedError, KseqError
from kseq.reading.dataset import ShardDataset, from_state, sample_reader, state_for_workers, without_samples
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.field_kinds import Map
from kseq.storage.fields import Field
from kseq.training.buffers import ArraySpec, AttachedBuffers, Buffer, BufferPool
from kseq.training.damaged_samples import is_damage
from kseq.training.error_places import add_place, list_samples, names_sample
from kseq.training.image_spec import ImageSpec
from kseq.training.pixel_readers import PixelReader, cut_reader, fitted_reader, whole_reader
from kseq.training.read_ahead import DamagedRow, Filled
from kseq.training.sample_functions import SampleFunctions
from kseq.training.stage_times import ASSEMBLE, AUGMENT, DECODE, READ, Stopwatch, TimedSteps, times_stages
from kseq.training.transforms import AugmentationList, Chain, Transforms, sample_keys

__all__ = ["BatchMaker"]

# What is worth handing to another worker, in images that are decoded, and in bytes that are copied (1 to 2 ms either way).
_LEAST_DECODED = 8
_LEAST_COPIED_BYTES = 16 << 20


class _Moved(NamedTuple):
    """The values of a field with positions, of one sample, after they were moved.

    Attributes:
        values: `(m, ...)` float32: the elements that stay.
        stay: `(count,)` bool: which of the elements stay.
    """

    values: np.ndarray
    stay: np.ndarray


class BatchMaker:
    """Fills rows of batch buffers; picklable, so that worker processes fill them just as threads do.

    A field whose samples differ in length is padded, with an array `NAME_mask` beside it that is True where there are elements;
    several labels are a row of zeros and ones.

    Args:
        dataset: Where the samples are.
        fields: The names of the fields that a batch holds.
        spec: What its images are like: size, channels, dtype.
        augmentations: What is done to its images, masks and boxes; None for nothing.
        functions: What is done to whole samples after that; None for nothing.
        target_images: The images that a model learns and does not see.
        orders: Field name to `(points,)` int64: which keypoint takes the place of each in a mirrored image.
        pad_to: Field name to how many elements every batch has room for; of other fields, as many as the longest of its
            samples has.
        tolerates_damage: Whether a damaged sample is no error, but a row that is left as it is.

    Attributes:
        tolerates_damage: As passed.
    """

    def __init__(
        self,
        dataset: ShardDataset,
        fields: Sequence[str],
        spec: ImageSpec,
        augmentations: AugmentationList | None = None,
        *,
        functions: SampleFunctions | None = None,
        target_images: Collection[str] = (),
        orders: Mapping[str, np.ndarray] | None = None,
        pad_to: Mapping[str, int] | None = None,
        tolerates_damage: bool = False,
    ) -> None:
        self.dataset = dataset
        self.tolerates_damage = tolerates_damage
        self._spec = spec
        all_fields = dataset.fields
        self._fields = {name: all_fields[name] for name in fields}
        # What the pixels of each field are like in a batch.
        self._specs = {name: field.handler.image_spec(spec) for name, field in self._fields.items() if field.is_pixels}
        self._augmentations = AugmentationList() if augmentations is None else augmentations
        self._functions = functions
        # Whether images come in their stored size to the augmentations, or to the functions.
        self._keeps_size = self._augmentations.size is not None or (functions is not None and functions.size is not None)
        self._target_images = frozenset(target_images)
        self._orders = dict(orders or {})
        self._pad_to = dict(pad_to or {})
        self._padded = [field for field in self._fields.values() if field.handler.is_padded]
        self._fixed_specs: dict[int, dict[str, ArraySpec]] = {}
        # Which samples worker processes have compared with their checksums, and the process that made it.
        self._flags: Buffer | None = None
        self._flags_process = 0
        # No lock: two threads that get one number both time their stages, or neither does.
        self._num_fills = 0

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes, which parse no file, and share with this one which samples they have compared."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("dataset", "_flags")}
        # Workers are told sample ids: which of them the dataset holds, a number for each sample, need not go to every one.
        dataset = state_for_workers(without_samples(self.dataset))
        return {**state, "dataset": dataset, "flags": self._share_flags().name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        dataset, name = from_state(state.pop("dataset")), state.pop("flags")
        self.__dict__.update(state, dataset=dataset, _flags=None, _num_fills=0)
        reader, self._attached = sample_reader(dataset), AttachedBuffers()
        # Where the other process has ended, or may not be looked into, this one compares samples for itself.
        with suppress(OSError):
            reader.share_flags(self._attached.arrays(name, _flag_specs(reader.num_flags))["verified"])

    def _share_flags(self) -> Buffer:
        """The flags in memory that other processes can map by its name, as long as this process lives."""
        if self._flags is None or self._flags_process != os.getpid():
            reader = sample_reader(self.dataset)
            self._flags = BufferPool(shared=True).take(_flag_specs(reader.num_flags))
            self._flags_process = os.getpid()
            reader.share_flags(self._flags.arrays["verified"])
        return self._flags

    def specs(self, sample_ids: np.ndarray) -> dict[str, ArraySpec]:
        """The arrays of a batch of samples: name to shape and dtype.

        Raises:
            ArgumentError: If a sample has more elements than `pad_to`.
        """
        specs = self._specs_of_fixed_size(len(sample_ids))
        if self._padded:
            specs = dict(specs)
            samples = sample_reader(self.dataset).locate(sample_ids)
            for field in self._padded:
                length = self._padded_length(field, samples)
                shape = (len(samples), *field.handler.batch_shape(length))
                specs[field.name] = ArraySpec(shape, field.handler.batch_dtype)
                specs[f"{field.name}_mask"] = ArraySpec((len(samples), length), "bool")
        return specs

    def _padded_length(self, field: Field, samples: LocatedSamples) -> int:
        counts = samples.counts(field.name)
        longest = int(counts.max(initial=0))
        room = self._pad_to.get(field.name)
        if room is None:
            # An axis of length 0 would trouble more models than one row of padding.
            return max(longest, 1)
        if longest > room:
            error = ArgumentError(f"has {longest} elements in {field.name}, allowed by pad_to are {room}")
            raise samples.error_at(int(counts.argmax()), error)
        return room

    def _specs_of_fixed_size(self, num_samples: int) -> dict[str, ArraySpec]:
        if num_samples not in self._fixed_specs:
            fixed = [field for field in self._fields.values() if not field.handler.is_padded]
            self._fixed_specs[num_samples] = {field.name: self._spec_of_fixed_size(field, num_samples) for field in fixed}
        return self._fixed_specs[num_samples]

    def _spec_of_fixed_size(self, field: Field, num_samples: int) -> ArraySpec:
        if field.is_pixels:
            spec = self._specs[field.name]
            return ArraySpec((num_samples, *spec.shape), spec.dtype)
        return ArraySpec((num_samples, *field.handler.batch_shape()), field.handler.batch_dtype)

    def batch_bytes(self, batch_size: int) -> int:
        """About how much memory a batch takes."""
        return sum(spec.num_bytes for spec in self._specs_of_fixed_size(batch_size).values())

    def fill(
        self,
        arrays: Mapping[str, np.ndarray],
        start: int,
        sample_ids: np.ndarray,
        epoch: int,
        turns: np.ndarray | None = None,
    ) -> Filled:
        """Fill the rows from `start` on with samples.

        Args:
            arrays: The arrays of a batch, as `specs` says.
            start: The first row.
            sample_ids: `(n,)` int64: what goes into rows `start` to `start + n - 1`.
            epoch: The epoch that augmentations are drawn for.
            turns: `(n,)` int64: how often each sample came before in the epoch; None for 0.

        Returns:
            The rows whose samples are damaged, none unless that is tolerated; and the time that it took.

        Raises:
            DamagedError: If stored bytes have changed.
            ImageError: If an image cannot be decoded.
            ArgumentError: If an augmentation returns something that is not allowed.

            All of these, and what an augmentation raises, name the sample, or the samples among which it is.
        """
        watch = Stopwatch(times_stages(self._num_fills))
        self._num_fills += 1
        damaged: list[DamagedRow] = []
        try:
            self._fill(arrays, start, sample_ids, epoch, turns, watch)
        except Exception as error:
            if self.tolerates_damage and is_damage(error):
                damaged = self._fill_singly(arrays, start, sample_ids, epoch, turns, watch)
            else:
                if not names_sample(error):
                    add_place(error, f"among {list_samples(sample_ids)}", is_sample=True)
                raise
        return Filled(damaged, watch.times(len(sample_ids)))

    def _fill_singly(
        self,
        arrays: Mapping[str, np.ndarray],
        start: int,
        sample_ids: np.ndarray,
        epoch: int,
        turns: np.ndarray | None,
        watch: Stopwatch,
    ) -> list[DamagedRow]:
        damaged = []
        for row in range(len(sample_ids)):
            one = slice(row, row + 1)
            try:
                self._fill(arrays, start + row, sample_ids[one], epoch, None if turns is None else turns[one], watch)
            except KseqError as error:
                if not is_damage(error):
                    raise
                damaged.append(DamagedRow(start + row, str(error)))
        return damaged

    def _fill(
        self,
        arrays: Mapping[str, np.ndarray],
        start: int,
        sample_ids: np.ndarray,
        epoch: int,
        turns: np.ndarray | None,
        watch: Stopwatch,
    ) -> None:
        samples = sample_reader(self.dataset).locate(sample_ids)
        samples.check()
        if watch.is_running:
            # What is waited for while a mapped image is decoded cannot be told from decoding.
            for field in self._fields.values():
                if field.is_pixels and not self._is_stored_as_served(field):
                    samples.wait_for_pages(field.name)
        watch.lap(READ)
        transforms = self._augmentations.drawn(epoch, sample_ids, turns)
        rows = {name: array[start : start + len(samples)] for name, array in arrays.items()}
        if self._functions:
            self._fill_changed(rows, samples, transforms, self._functions.seeds(epoch, sample_keys(sample_ids, turns)), watch)
            watch.lap(ASSEMBLE)
            return
        moved: dict[str, list[_Moved]] = {}
        for name, field in self._fields.items():
            if field.is_pixels:
                watch.lap(ASSEMBLE)
                self._fill_pixels(field, rows[name], samples, transforms, watch)
            elif field.is_ragged:
                pieces = self._moved_pieces(field, samples, transforms, moved)
                self._check_pieces(field, rows[name], samples, pieces)
                field.handler.fill(rows[name], rows.get(f"{name}_mask"), pieces)
            elif field.handler.has_positions:
                rows[name][:] = self._moved_pieces(field, samples, transforms, moved)
            else:
                samples.gather(name, rows[name])
                if field.is_label:
                    samples.check_labels(rows[name])
        watch.lap(ASSEMBLE)

    def _fill_changed(
        self,
        rows: Mapping[str, np.ndarray],
        samples: LocatedSamples,
        transforms: Transforms,
        seeds: Sequence[int],
        watch: Stopwatch,
    ) -> None:
        """Fill rows with samples that functions change as a whole."""
        assert self._functions is not None
        run, size = self._functions.run, (self._spec.height, self._spec.width)
        moved: dict[str, list[_Moved]] = {}
        values = {name: self._whole_values(field, samples, transforms, moved, watch) for name, field in self._fields.items()}
        watch.lap(ASSEMBLE)
        changed: list[dict[str, np.ndarray]] = []
        _for_each(
            samples,
            lambda position: changed.append(run({name: of[position] for name, of in values.items()}, seeds[position], size)),
        )
        watch.lap(AUGMENT)
        for name, field in self._fields.items():
            pieces = [sample[name] for sample in changed]
            if field.is_pixels:
                for pixels, row in zip(pieces, rows[name], strict=True):
                    self._specs[name].convert(pixels, row)
            elif field.is_ragged:
                self._check_pieces(field, rows[name], samples, pieces)
                field.handler.fill(rows[name], rows.get(f"{name}_mask"), pieces)
            else:
                rows[name][:] = pieces

    def _whole_values(
        self,
        field: Field,
        samples: LocatedSamples,
        transforms: Transforms,
        moved: dict[str, list[_Moved]],
        watch: Stopwatch,
    ) -> Sequence[np.ndarray]:
        """The value of each sample after the augmentations, in memory of its own."""
        if field.is_pixels:
            spec = replace(self._specs[field.name], dtype=np.dtype(field.dtype).name, scale=None, data_format="channels_last")
            sizes = samples.sizes(field.name) if self._keeps_size else None
            watch.lap(ASSEMBLE)
            chain = _timed(transforms.pixel_chain(sizes, spec, self._role(field)), watch)
            read, pixels = self._reader(field, spec, samples, sizes, transforms), []
            _for_each(
                samples,
                lambda position: pixels.append(chain.run(position, read(position, np.empty(spec.pixel_shape, field.dtype)))),
            )
            watch.lap(DECODE)
            return pixels
        if field.is_ragged or field.handler.has_positions:
            return [elements.copy() for elements in self._moved_pieces(field, samples, transforms, moved)]
        values = np.empty((len(samples), *field.handler.batch_shape()), field.handler.batch_dtype)
        samples.gather(field.name, values)
        if field.is_label:
            samples.check_labels(values)
        return list(values.copy()) if values.ndim > 1 else [np.array(value) for value in values]

    def _check_pieces(self, field: Field, rows: np.ndarray, samples: LocatedSamples, pieces: Sequence[np.ndarray]) -> None:
        """Raise DamagedError unless the elements of each sample go into its row."""
        room = rows.shape[1] if field.handler.is_padded else None
        for position, elements in enumerate(pieces):
            try:
                field.handler.check_elements(elements, room)
            except DamagedError as error:
                raise samples.error_at(position, error) from error

    def least_rows(self, batch_size: int) -> int:
        """How many rows are worth handing to a worker, of a batch of `batch_size`.

        Decoding a few images takes longer than handing them over; plain copies do so only if they are large.
        """
        pixels = [field for field in self._fields.values() if field.is_pixels]
        if self._augmentations or self._functions or not all(self._is_stored_as_served(field) for field in pixels):
            return _LEAST_DECODED
        row_bytes = self.batch_bytes(batch_size) / batch_size
        return max(_LEAST_DECODED, round(_LEAST_COPIED_BYTES / max(row_bytes, 1)))

    def _is_stored_as_served(self, field: Field) -> bool:
        """Whether a batch holds the pixels byte for byte as they are stored, unless they are augmented."""
        spec = self._specs[field.name]
        return not field.encoded and spec.is_plain and field.shape == spec.pixel_shape

    def _fill_pixels(
        self, field: Field, rows: np.ndarray, samples: LocatedSamples, transforms: Transforms, watch: Stopwatch
    ) -> None:
        spec = self._specs[field.name]
        sizes = None if self._augmentations.size is None else samples.sizes(field.name)
        steps = transforms.pixel_chain(sizes, spec, self._role(field))
        if sizes is None and self._is_stored_as_served(field):
            samples.gather(field.name, rows)
            watch.lap(READ)
            if steps:
                _for_each(samples, lambda position: _put(steps.run(position, rows[position]), rows[position]))
                watch.lap(AUGMENT)
            return
        chain = _timed(steps, watch)
        read = self._reader(field, spec, samples, sizes, transforms)
        if spec.is_plain:
            _for_each(samples, lambda position: _put(chain.run(position, read(position, rows[position])), rows[position]))
        else:
            work = np.empty(spec.pixel_shape, spec.stored_dtype)
            _for_each(samples, lambda position: spec.convert(chain.run(position, read(position, work)), rows[position]))
        watch.lap(DECODE)

    def _role(self, field: Field) -> str:
        """What augmentations take the pixels of a field for."""
        if not field.is_image:
            return "map" if type(field.handler) is Map else "mask"
        return "target_image" if field.name in self._target_images else "image"

    def _reader(
        self, field: Field, spec: ImageSpec, samples: LocatedSamples, sizes: np.ndarray | None, transforms: Transforms
    ) -> PixelReader:
        """Reads pixels up to the first crop or, without a crop, in the size of the batch."""
        if sizes is None:
            return fitted_reader(samples, field, spec)
        if self._augmentations.crops_at_decoding:
            return cut_reader(samples, field, spec, *transforms.first_cut(sizes))
        return whole_reader(samples, field, spec)

    def _moved_pieces(
        self, field: Field, samples: LocatedSamples, transforms: Transforms, moved: dict[str, list[_Moved]]
    ) -> list[np.ndarray]:
        """The elements of each sample, after they were moved with the first image.

        Args:
            field: The field: one with positions, or one whose samples differ in length.
            samples: The samples.
            transforms: What moves their images.
            moved: What was moved before, by field name; added to.

        Raises:
            DamagedError: If a sample has another number of boxes than of what describes them.
        """
        if field.handler.has_positions:
            pieces = [values for values, _ in self._move(field, samples, transforms, moved)]
        else:
            pieces = samples.pieces(field.name)
        leader = self._leader(field)
        if leader is None:
            return pieces
        leaders = self._move(leader, samples, transforms, moved)
        for position, (elements, (_, stay)) in enumerate(zip(pieces, leaders, strict=True)):
            if len(elements) != len(stay):
                error = DamagedError(f"has {len(stay)} {leader.name} and {len(elements)} {field.name}, expected are as many")
                raise samples.error_at(position, error)
        return [elements[stay] for elements, (_, stay) in zip(pieces, leaders, strict=True)]

    def _leader(self, field: Field) -> Field | None:
        """The field whose elements this one describes, one for one."""
        return next((other for other in self.dataset.fields.values() if other.kind == field.handler.leader), None)

    def _move(
        self, field: Field, samples: LocatedSamples, transforms: Transforms, moved: dict[str, list[_Moved]]
    ) -> list[_Moved]:
        if field.name not in moved:
            image = next(other for other in self.dataset.fields.values() if other.is_image)
            # Where functions say what size images have, these come in their own.
            fitted = None if self._keeps_size else self._spec
            movements = transforms.movements(samples.sizes(image.name), fitted)
            pieces, found = _elements(field, samples), moved.setdefault(field.name, [])
            order, move = self._orders.get(field.name), field.handler.move
            # A copy, since an augmentation may change what it gets.
            _for_each(
                samples, lambda position: found.append(_Moved(*move(pieces[position].copy(), movements(position), order)))
            )
        return moved[field.name]


def _timed(steps: Chain, watch: Stopwatch) -> Chain | TimedSteps:
    """The steps, timed while the stages are."""
    return TimedSteps(steps.run, watch) if steps and watch.is_running else steps


def _elements(field: Field, samples: LocatedSamples) -> Sequence[np.ndarray]:
    """The stored value of each sample."""
    if field.is_ragged:
        return samples.pieces(field.name)
    rows = np.empty((len(samples), *field.handler.element_shape), field.dtype)
    samples.gather(field.name, rows)
    return list(rows)


def _flag_specs(num_flags: int) -> dict[str, ArraySpec]:
    return {"verified": ArraySpec((num_flags,), "bool")}


def _for_each(samples: LocatedSamples, do: Callable[[int], None]) -> None:
    """Do something for each sample, by its position; an error names the sample that it is about."""
    position = 0
    try:
        for position in range(len(samples)):
            do(position)
    except Exception as error:
        if not names_sample(error):
            add_place(error, f"of {_place(samples, position)}", is_sample=True)
        raise


def _place(samples: LocatedSamples, position: int) -> str:
    try:
        return samples.place_at(position)
    except KseqError:
        # Its shard is gone meanwhile, say.
        return samples.where(position)


def _put(pixels: np.ndarray, out: np.ndarray) -> None:
    if pixels is not out:
        np.copyto(out, pixels)
