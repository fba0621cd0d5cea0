"""What a batch holds, and how any rows of it are filled from samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np

from kseq.errors import ArgumentError, DamagedError, ImageError
from kseq.images.bounding_boxes import flip_boxes, transform_boxes
from kseq.images.codecs import recolor
from kseq.images.crop_decoding import CropDecoder
from kseq.images.rectangle import Rectangle
from kseq.images.resize import resize, resize_to
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.fields import Field
from kseq.storage.shard_reader import ShardReader
from kseq.training.augment import Crop, RandomFlip
from kseq.training.buffers import ArraySpec
from kseq.training.image_spec import ImageSpec
from kseq.training.transforms import Transforms

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
        form: The form of its images.
        crop: How a box is cut out of each image, or None.
        flips: How each image is mirrored.
        seed: Draws crops and flips, together with the epoch, the sample id and its turn in the epoch.
        mask_format: The `data_format` of masks; None for that of the images.
        pad_to: How many elements to make room for in every batch; None for as many as the longest of its samples has.
    """

    def __init__(
        self,
        dataset: ShardDataset,
        fields: Sequence[str],
        form: ImageSpec,
        crop: Crop | None = None,
        flips: Sequence[RandomFlip] = (),
        seed: int = 0,
        *,
        mask_format: str | None = None,
        pad_to: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.form = form
        self._fields = {name: dataset.fields[name] for name in fields}
        self._mask_form = replace(
            form,
            color_mode="grayscale",
            data_format=mask_format or form.data_format,
            dtype="uint8",
            scale=None,
            interpolation="nearest",
        )
        self._crop = crop
        self._flips = tuple(flips)
        self._seed = seed
        self._pad_to = pad_to
        self._padded = [name for name, each in self._fields.items() if each.is_ragged and each.kind != "multi_label"]
        self._specs: dict[int, dict[str, ArraySpec]] = {}

    def specs(self, sample_ids: np.ndarray) -> dict[str, ArraySpec]:
        """The arrays of a batch of samples: name to shape and dtype.

        Raises:
            ArgumentError: Where a sample has more elements than `pad_to`.
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
        if num_samples not in self._specs:
            fixed = (each for name, each in self._fields.items() if name not in self._padded)
            self._specs[num_samples] = {each.name: self._fixed_spec(each, num_samples) for each in fixed}
        return self._specs[num_samples]

    def _fixed_spec(self, field: Field, num_samples: int) -> ArraySpec:
        if field.is_pixels:
            form = self._form_of(field)
            return ArraySpec((num_samples, *form.shape), form.dtype)
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
            epoch: The epoch that crops and flips are drawn for.
            turns: `(n,)` int64: which of its draws in the epoch each is, from 0; None for all 0.

        Raises:
            DamagedError: Where stored bytes have changed.
            ImageError: Where an image cannot be decoded.
        """
        samples = sample_reader(self.dataset).locate(sample_ids)
        samples.check()
        moves = Transforms(self._crop, self._flips, self._seed, epoch, sample_ids, turns)
        rows = {name: array[start : start + len(sample_ids)] for name, array in arrays.items()}
        for name, field in self._fields.items():
            if field.is_pixels and not self._is_copied(field):
                self._fill_images(field, rows[name], samples, moves)
            elif field.kind == "multi_label":
                _fill_multi_hot(rows[name], samples.pieces(name))
            elif not field.is_ragged:
                samples.gather(name, rows[name])
            elif field.kind not in ("boxes", "labels"):
                _fill_padded(rows[name], rows[f"{name}_mask"], samples.pieces(name), 0)
        self._fill_objects(rows, samples, moves)

    def least_rows(self, batch_size: int) -> int:
        """How many rows are worth handing to a worker, of a batch of `batch_size`.

        Decoding a few images takes longer than handing them over; plain copies are large before they do.
        """
        if not all(self._is_copied(field) for field in self._fields.values() if field.is_pixels):
            return _LEAST_DECODED
        row_bytes = self.batch_bytes(batch_size) / batch_size
        return max(_LEAST_DECODED, round(_LEAST_COPIED_BYTES / max(row_bytes, 1)))

    def _form_of(self, field: Field) -> ImageSpec:
        return self.form if field.kind == "image" else self._mask_form

    def _is_copied(self, field: Field) -> bool:
        """Whether an image leaves byte for byte as it is stored."""
        form = self._form_of(field)
        plain = not field.encoded and self._crop is None and not self._flips and form.is_plain
        return plain and field.shape == form.pixel_shape

    def _fill_images(self, field: Field, rows: np.ndarray, samples: LocatedSamples, moves: Transforms) -> None:
        form = self._form_of(field)
        work = None if form.is_plain else np.empty(form.pixel_shape, np.uint8)
        render = self._renderer(field, form, samples, moves)
        for place, code in enumerate(moves.flip_codes):
            pixels = rows[place] if work is None else work
            render(place, pixels)
            if code is not None:
                _flip(pixels, code)
            if work is not None:
                form.convert(work, rows[place])

    def _renderer(
        self, field: Field, form: ImageSpec, samples: LocatedSamples, moves: Transforms
    ) -> Callable[[int, np.ndarray], None]:
        """What brings one of some samples' images, cropped or fitted, into `(height, width, channels)` uint8."""
        if self._crop is None:
            places = list(samples)
            return lambda place, out: self._render_whole(field, form, *places[place], out)
        boxes = moves.crop_boxes(samples.sizes(field.name))
        if field.encoded and field.kind == "image":
            parts = CropDecoder(samples.encoded_images(field.name), boxes, self._crop.size)
            return functools.partial(self._render_part, parts, samples)
        each, places = Rectangle(*boxes.T).each(), list(samples)
        return lambda place, out: self._render_slice(field, form, *places[place], each[place], out)

    def _render_part(self, parts: CropDecoder, samples: LocatedSamples, place: int, out: np.ndarray) -> None:
        try:
            pixels = parts.decode(place, self.form.color_mode)
        except (ImageError, DamagedError) as error:
            raise samples.error_at(place, error) from error
        resize(pixels, out, self.form.interpolation)

    def _render_slice(
        self, field: Field, form: ImageSpec, reader: ShardReader, row: int, box: Rectangle, out: np.ndarray
    ) -> None:
        whole = reader.decode(field.name, row) if field.encoded else reader.array(field.name)[row]
        resize(recolor(box.of(whole), form.color_mode), out, form.interpolation)

    def _render_whole(self, field: Field, form: ImageSpec, reader: ShardReader, row: int, out: np.ndarray) -> None:
        if not field.encoded:
            resize_to(recolor(reader.array(field.name)[row], form.color_mode), out, form.fit, form.interpolation)
        elif field.kind == "mask":
            resize_to(reader.decode(field.name, row), out, form.fit, form.interpolation)
        elif field.shape[:2] == (form.height, form.width):
            reader.decode(field.name, row, form.color_mode, out)
        else:
            resize_to(reader.decode(field.name, row, form.color_mode), out, form.fit, form.interpolation)

    def _fill_objects(self, rows: Mapping[str, np.ndarray], samples: LocatedSamples, moves: Transforms) -> None:
        """Boxes and their labels, moved as their image is; those whose centre is cropped away are left out of both."""
        wanted = [name for name, field in self._fields.items() if field.kind in ("boxes", "labels")]
        if not wanted:
            return
        fields = self.dataset.fields
        boxes = next(name for name, field in fields.items() if field.kind == "boxes")
        image = next(name for name, field in fields.items() if field.kind == "image")
        moved, stay = self._move(samples.pieces(boxes), samples.sizes(image), moves)
        for name in wanted:
            if fields[name].kind == "boxes":
                pieces = moved
            else:
                pieces = [each[kept] for each, kept in zip(samples.pieces(name), stay, strict=True)]
            _fill_padded(rows[name], rows[f"{name}_mask"], pieces, PADDING.get(fields[name].kind, 0))

    def _move(
        self, boxes: Sequence[np.ndarray], image_sizes: np.ndarray, moves: Transforms
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Boxes as `transform_boxes` gives them for the image of each sample, mirrored with it; and which of them stay."""
        placements = moves.placements(image_sizes, self.form)
        moved, stay = [], []
        for each, placement, (down, across) in zip(boxes, placements, moves.mirrored.tolist(), strict=True):
            kept, which = transform_boxes(each, *placement)
            moved.append(flip_boxes(kept, down, across, self.form.height, self.form.width))
            stay.append(which)
        return moved, stay


def _lengths(shape: Sequence[int | None]) -> list[int]:
    return [length or 0 for length in shape]


def _fill_padded(rows: np.ndarray, mask: np.ndarray, pieces: Sequence[np.ndarray], padding: int) -> None:
    rows[:] = padding
    mask[:] = False
    for row, there, piece in zip(rows, mask, pieces, strict=True):
        row[: len(piece)] = piece
        there[: len(piece)] = True


def _fill_multi_hot(rows: np.ndarray, pieces: Sequence[np.ndarray]) -> None:
    rows[:] = 0
    for row, piece in zip(rows, pieces, strict=True):
        row[piece] = 1


def _flip(pixels: np.ndarray, code: int) -> None:
    """Mirror in place; OpenCV is given no channel axis of length 1, which it would drop."""
    view = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    cv2.flip(view, code, dst=view)
