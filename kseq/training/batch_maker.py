"""What a batch holds, and how any rows of it are filled from samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from kseq.errors import ArgumentError
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.fields import Field
from kseq.training.buffers import ArraySpec
from kseq.training.image_spec import ImageSpec
from kseq.training.pixel_readers import PixelReader, cut_reader, fitted_reader, whole_reader
from kseq.training.transforms import AugmentationList, Transforms

__all__ = ["PADDING", "BatchMaker"]

# What is worth handing to another worker, in images that are decoded, and in bytes that are copied (1 to 2 ms either way).
_LEAST_DECODED = 8
_LEAST_COPIED_BYTES = 16 << 20

# What stands where a sample has fewer elements than the longest of its batch.
PADDING = {"labels": -1}


class BatchMaker:
    """Fills rows of batch buffers; picklable, so that worker processes fill them just as threads do.

    A field whose samples differ in length is padded, with an array `NAME_mask` beside it that is True where there are elements;
    several labels are a row of zeros and ones.

    Args:
        dataset: Where the samples are.
        fields: The names of the fields that a batch holds.
        spec: What its images are like: size, channels, dtype.
        augmentations: What is done to its images, masks and boxes; None for nothing.
        pad_to: How many elements to make room for in every batch; None for as many as the longest of its samples has.
    """

    def __init__(
        self,
        dataset: ShardDataset,
        fields: Sequence[str],
        spec: ImageSpec,
        augmentations: AugmentationList | None = None,
        *,
        pad_to: int | None = None,
    ) -> None:
        self.dataset = dataset
        self._spec = spec
        self._mask_spec = replace(spec, color_mode="grayscale", dtype="uint8", scale=None, interpolation="nearest")
        self._fields = {name: dataset.fields[name] for name in fields}
        self._augmentations = AugmentationList() if augmentations is None else augmentations
        self._pad_to = pad_to
        self._padded = [name for name, each in self._fields.items() if each.is_ragged and each.kind != "multi_label"]
        self._array_specs: dict[int, dict[str, ArraySpec]] = {}

    def specs(self, sample_ids: np.ndarray) -> dict[str, ArraySpec]:
        """The arrays of a batch of samples: name to shape and dtype.

        Raises:
            ArgumentError: If a sample has more elements than `pad_to`.
        """
        specs = self._fixed_specs(len(sample_ids))
        if self._padded:
            specs = dict(specs)
            samples = sample_reader(self.dataset).locate(sample_ids)
            for name in self._padded:
                shape = (len(samples), self._room(name, samples))
                specs[name] = ArraySpec((*shape, *_lengths(self._fields[name].shape[1:])), self._fields[name].dtype)
                specs[f"{name}_mask"] = ArraySpec(shape, "bool")
        return specs

    def _room(self, name: str, samples: LocatedSamples) -> int:
        counts = samples.counts(name)
        longest = int(counts.max(initial=0))
        if self._pad_to is None or self._fields[name].kind == "text":
            # An axis of length 0 would trouble more models than one row of padding.
            return max(longest, 1)
        if longest > self._pad_to:
            error = ArgumentError(f"has {longest} elements in {name}, allowed by pad_to are {self._pad_to}")
            raise samples.error_at(int(counts.argmax()), error)
        return self._pad_to

    def _fixed_specs(self, num_samples: int) -> dict[str, ArraySpec]:
        if num_samples not in self._array_specs:
            fixed = (field for name, field in self._fields.items() if name not in self._padded)
            self._array_specs[num_samples] = {field.name: self._fixed_spec(field, num_samples) for field in fixed}
        return self._array_specs[num_samples]

    def _fixed_spec(self, field: Field, num_samples: int) -> ArraySpec:
        if field.is_pixels:
            spec = self._spec_of(field)
            return ArraySpec((num_samples, *spec.shape), spec.dtype)
        if field.kind == "multi_label":
            return ArraySpec((num_samples, len(field.class_names)), "float32")
        return ArraySpec((num_samples, *_lengths(field.shape)), field.dtype)

    def batch_bytes(self, batch_size: int) -> int:
        """About how much memory a batch takes."""
        return sum(spec.num_bytes for spec in self._fixed_specs(batch_size).values())

    def fill(
        self,
        arrays: Mapping[str, np.ndarray],
        start: int,
        sample_ids: np.ndarray,
        epoch: int,
        turns: np.ndarray | None = None,
    ) -> None:
        """Fill the rows from `start` on with samples.

        Args:
            arrays: The arrays of a batch, as `specs` says.
            start: The first row.
            sample_ids: `(n,)` int64: what goes into rows `start` to `start + n - 1`.
            epoch: The epoch that augmentations are drawn for.
            turns: `(n,)` int64: how often each sample came before in the epoch; None for 0.

        Raises:
            DamagedError: If stored bytes have changed.
            ImageError: If an image cannot be decoded.
            ArgumentError: If an augmentation returns something that is not allowed.
        """
        samples = sample_reader(self.dataset).locate(sample_ids)
        samples.check()
        transforms = self._augmentations.drawn(epoch, sample_ids, turns)
        rows = {name: array[start : start + len(sample_ids)] for name, array in arrays.items()}
        for name, field in self._fields.items():
            if field.is_pixels:
                self._fill_pixels(field, rows[name], samples, transforms)
            elif field.kind == "multi_label":
                _fill_multi_hot(rows[name], samples.pieces(name))
            elif not field.is_ragged:
                samples.gather(name, rows[name])
            elif field.kind not in ("boxes", "labels"):
                _fill_padded(rows[name], rows[f"{name}_mask"], samples.pieces(name), 0)
        self._fill_objects(rows, samples, transforms)

    def least_rows(self, batch_size: int) -> int:
        """How many rows are worth handing to a worker, of a batch of `batch_size`.

        Decoding a few images takes longer than handing them over; plain copies do so only if they are large.
        """
        pixels = [field for field in self._fields.values() if field.is_pixels]
        if self._augmentations or not all(self._is_stored_as_served(field) for field in pixels):
            return _LEAST_DECODED
        row_bytes = self.batch_bytes(batch_size) / batch_size
        return max(_LEAST_DECODED, round(_LEAST_COPIED_BYTES / max(row_bytes, 1)))

    def _spec_of(self, field: Field) -> ImageSpec:
        return self._spec if field.kind == "image" else self._mask_spec

    def _is_stored_as_served(self, field: Field) -> bool:
        """Whether a batch holds the pixels byte for byte as they are stored, unless they are augmented."""
        spec = self._spec_of(field)
        return not field.encoded and spec.is_plain and field.shape == spec.pixel_shape

    def _fill_pixels(self, field: Field, rows: np.ndarray, samples: LocatedSamples, transforms: Transforms) -> None:
        spec = self._spec_of(field)
        sizes = None if self._augmentations.size is None else samples.sizes(field.name)
        chain = transforms.pixel_chain(sizes, spec, is_mask=field.kind == "mask")
        if sizes is None and self._is_stored_as_served(field):
            samples.gather(field.name, rows)
            if chain:
                for number, out in enumerate(rows):
                    _put(chain.run(number, out), out)
            return
        read = self._reader(field, spec, samples, sizes, transforms)
        if spec.is_plain:
            for number, out in enumerate(rows):
                _put(chain.run(number, read(number, out)), out)
        else:
            work = np.empty(spec.pixel_shape, np.uint8)
            for number, out in enumerate(rows):
                spec.convert(chain.run(number, read(number, work)), out)

    def _reader(
        self, field: Field, spec: ImageSpec, samples: LocatedSamples, sizes: np.ndarray | None, transforms: Transforms
    ) -> PixelReader:
        """Reads pixels up to the first crop or, without a crop, in the size of the batch."""
        if sizes is None:
            return fitted_reader(samples, field, spec)
        if self._augmentations.crops_at_decoding:
            return cut_reader(samples, field, spec, *transforms.first_cut(sizes))
        return whole_reader(samples, field, spec)

    def _fill_objects(self, rows: Mapping[str, np.ndarray], samples: LocatedSamples, transforms: Transforms) -> None:
        """Boxes and their labels, moved as their image is; those that do not stay are left out of both."""
        wanted = [name for name, field in self._fields.items() if field.kind in ("boxes", "labels")]
        if not wanted:
            return
        fields = self.dataset.fields
        boxes = next(name for name, field in fields.items() if field.kind == "boxes")
        image = next(name for name, field in fields.items() if field.kind == "image")
        chain = transforms.box_chain(samples.sizes(image), self._spec)
        moved, stay = [], []
        for number, stored in enumerate(samples.pieces(boxes)):
            moved_boxes, numbers = chain.run(number, (stored.copy(), np.arange(len(stored))))
            moved.append(moved_boxes)
            stay.append(numbers)
        for name in wanted:
            if fields[name].kind == "boxes":
                pieces = moved
            else:
                pieces = [labels[kept] for labels, kept in zip(samples.pieces(name), stay, strict=True)]
            _fill_padded(rows[name], rows[f"{name}_mask"], pieces, PADDING.get(fields[name].kind, 0))


def _put(pixels: np.ndarray, out: np.ndarray) -> None:
    if pixels is not out:
        np.copyto(out, pixels)


def _lengths(shape: Sequence[int | None]) -> list[int]:
    return [length or 0 for length in shape]


def _fill_padded(rows: np.ndarray, mask: np.ndarray, pieces: Sequence[np.ndarray], padding: int) -> None:
    rows[:] = padding
    mask[:] = False
    for row, is_filled, piece in zip(rows, mask, pieces, strict=True):
        row[: len(piece)] = piece
        is_filled[: len(piece)] = True


def _fill_multi_hot(rows: np.ndarray, pieces: Sequence[np.ndarray]) -> None:
    rows[:] = 0
    for row, piece in zip(rows, pieces, strict=True):
        row[piece] = 1
