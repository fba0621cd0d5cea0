"""What a batch holds, and how any rows of it are filled from samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from kseq.augment import Crop, RandomFlip, draw
from kseq.boxes import Box
from kseq.buffers import ArraySpec
from kseq.dataset import ShardDataset
from kseq.errors import ArgumentError, DamagedError, ImageError
from kseq.fields import Field
from kseq.images import CHANNELS, recolor
from kseq.parts import Parts
from kseq.resize import INTERPOLATIONS, RESIZES, resize, resize_to
from kseq.shard import ShardReader

__all__ = ["BatchMaker", "ImageForm"]

_DTYPES = ("uint8", "float16", "float32")
_DATA_FORMATS = ("channels_last", "channels_first")

# What is worth handing to another worker, in images that are decoded, and in bytes that are copied (1 to 2 ms either way).
_LEAST_DECODED = 8
_LEAST_COPIED_BYTES = 16 << 20


@dataclass(frozen=True)
class ImageForm:
    """The form in which images leave: every image of a batch has the same.

    Attributes:
        height: In pixels.
        width: In pixels.
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`.
        data_format: `"channels_last"` or `"channels_first"`.
        dtype: `"uint8"`, `"float16"` or `"float32"`.
        scale: What floating-point pixels are multiplied by, from [0, 255].
        fit: `"stretch"`, `"crop"` or `"pad"`: how an image of another aspect ratio is resized.
        interpolation: One of Keras's names.
    """

    height: int
    width: int
    color_mode: str = "rgb"
    data_format: str = "channels_last"
    dtype: str = "uint8"
    scale: float | None = None
    fit: str = "stretch"
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        choices: list[tuple[str, Any, Sequence[str]]] = [
            ("color_mode", self.color_mode, tuple(CHANNELS)),
            ("data_format", self.data_format, _DATA_FORMATS),
            ("dtype", self.dtype, _DTYPES),
            ("fit", self.fit, RESIZES),
            ("interpolation", self.interpolation, INTERPOLATIONS),
        ]
        for name, value, allowed in choices:
            if value not in allowed:
                raise ArgumentError(f"{name}={value!r}: allowed are {', '.join(allowed)}")
        if self.scale is not None and self.dtype == "uint8":
            raise ArgumentError(f"scale={self.scale}: goes with dtype='float32' or 'float16', found dtype='uint8'")

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return self.height, self.width, CHANNELS[self.color_mode]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image in a batch, in the order of `data_format`."""
        height, width, channels = self.pixel_shape
        return (height, width, channels) if self.data_format == "channels_last" else (channels, height, width)

    @property
    def is_plain(self) -> bool:
        """Whether images leave as uint8 pixels, channels last: just as they are decoded."""
        return self.dtype == "uint8" and self.data_format == "channels_last"

    def convert(self, pixels: np.ndarray, out: np.ndarray) -> None:
        """Uint8 (or other) pixels, channels last, into `out` of this form; one image or a batch."""
        moved = pixels if self.data_format == "channels_last" else np.moveaxis(pixels, -1, -3)
        if self.scale is None:
            np.copyto(out, moved, casting="unsafe")
        else:
            np.multiply(moved, np.float32(self.scale), out=out, dtype=np.float32, casting="unsafe")


class BatchMaker:
    """Fills rows of batch buffers; picklable, so that worker processes fill them just as threads do.

    Args:
        dataset: Where the samples are.
        fields: The names of the fields that a batch holds.
        form: The form of its images.
        crop: How a box is cut out of each image, or None.
        flips: How each image is mirrored.
        seed: Draws crops and flips, together with the epoch and the sample id.
    """

    def __init__(
        self,
        dataset: ShardDataset,
        fields: Sequence[str],
        form: ImageForm,
        crop: Crop | None = None,
        flips: Sequence[RandomFlip] = (),
        seed: int = 0,
    ) -> None:
        self.dataset = dataset
        self.form = form
        self._fields = {name: dataset.fields[name] for name in fields}
        self._crop = crop
        self._flips = tuple(flips)
        self._seed = seed
        self._specs: dict[int, dict[str, ArraySpec]] = {}

    def specs(self, num_samples: int) -> dict[str, ArraySpec]:
        """The arrays of a batch: field name to shape and dtype."""
        if num_samples not in self._specs:
            self._specs[num_samples] = self._make_specs(num_samples)
        return self._specs[num_samples]

    def _make_specs(self, num_samples: int) -> dict[str, ArraySpec]:
        return {
            name: ArraySpec((num_samples, *self.form.shape), self.form.dtype)
            if field.content == "image"
            else ArraySpec((num_samples, *(length or 0 for length in field.shape)), field.dtype)
            for name, field in self._fields.items()
        }

    def fill(self, arrays: Mapping[str, np.ndarray], start: int, sample_ids: np.ndarray, epoch: int) -> None:
        """Fill the rows from `start` on with samples.

        Args:
            arrays: The arrays of a batch, as `specs` says.
            start: The first row.
            sample_ids: `(n,)` int64: what goes into rows `start` to `start + n - 1`.
            epoch: The epoch that crops and flips are drawn for.

        Raises:
            DamagedError: Where stored bytes have changed.
            ImageError: Where an image cannot be decoded.
        """
        self.dataset.check(sample_ids)
        for name, field in self._fields.items():
            rows = arrays[name][start : start + len(sample_ids)]
            if field.content == "image" and not self._is_copied(field):
                self._fill_images(field, rows, sample_ids, epoch)
            else:
                self.dataset.gather(name, sample_ids, rows)

    def least_rows(self, batch_size: int) -> int:
        """How many rows are worth handing to a worker, of a batch of `batch_size`.

        Decoding a few images takes longer than handing them over; plain copies are large before they do.
        """
        if not all(self._is_copied(field) for field in self._fields.values() if field.content == "image"):
            return _LEAST_DECODED
        row_bytes = sum(spec.num_bytes for spec in self.specs(batch_size).values()) / batch_size
        return max(_LEAST_DECODED, round(_LEAST_COPIED_BYTES / row_bytes))

    def _is_copied(self, field: Field) -> bool:
        """Whether an image leaves byte for byte as it is stored."""
        plain = not field.encoded and self._crop is None and not self._flips and self.form.is_plain
        return plain and field.shape == self.form.pixel_shape

    def _fill_images(self, field: Field, rows: np.ndarray, sample_ids: np.ndarray, epoch: int) -> None:
        work = None if self.form.is_plain else np.empty(self.form.pixel_shape, np.uint8)
        flips = self._flip_codes(sample_ids, epoch)
        render = self._renderer(field, sample_ids, epoch)
        for place, code in enumerate(flips):
            pixels = rows[place] if work is None else work
            render(place, pixels)
            if code is not None:
                _flip(pixels, code)
            if work is not None:
                self.form.convert(work, rows[place])

    def _renderer(self, field: Field, sample_ids: np.ndarray, epoch: int) -> Callable[[int, np.ndarray], None]:
        """What brings one of some samples' images, cropped or fitted, into `(height, width, channels)` uint8."""
        if self._crop is None:
            places = list(self.dataset.places(sample_ids))
            return lambda place, out: self._render_whole(field, *places[place], out)
        draws = draw(self._seed, epoch, 0, sample_ids, self._crop.num_draws)
        if field.encoded:
            stored = self.dataset.stored(field.name, sample_ids)
            parts = Parts(stored, self._crop.boxes(stored.sizes, draws), self._crop.size)
            return functools.partial(self._render_part, parts, sample_ids)
        sizes = np.array([field.shape[:2]] * len(sample_ids))
        boxes, places = Box(*self._crop.boxes(sizes, draws).T).each(), list(self.dataset.places(sample_ids))
        return lambda place, out: self._render_slice(field, *places[place], boxes[place], out)

    def _render_part(self, parts: Parts, sample_ids: np.ndarray, place: int, out: np.ndarray) -> None:
        try:
            pixels = parts.decode(place, self.form.color_mode)
        except (ImageError, DamagedError) as error:
            raise self.dataset.at(int(sample_ids[place]), error) from error
        resize(pixels, out, self.form.interpolation)

    def _render_slice(self, field: Field, reader: ShardReader, row: int, box: Box, out: np.ndarray) -> None:
        pixels = recolor(box.of(reader.array(field.name)[row]), self.form.color_mode)
        resize(pixels, out, self.form.interpolation)

    def _render_whole(self, field: Field, reader: ShardReader, row: int, out: np.ndarray) -> None:
        form = self.form
        if not field.encoded:
            resize_to(recolor(reader.array(field.name)[row], form.color_mode), out, form.fit, form.interpolation)
        elif field.shape[:2] == (form.height, form.width):
            reader.decode(field.name, row, form.color_mode, out)
        else:
            resize_to(reader.decode(field.name, row, form.color_mode), out, form.fit, form.interpolation)

    def _flip_codes(self, sample_ids: np.ndarray, epoch: int) -> list[int | None]:
        """OpenCV's code for each image: 0 top to bottom, 1 left to right, -1 both, None neither."""
        mirrored = np.zeros((len(sample_ids), 2), bool)
        for place, flip in enumerate(self._flips, start=1):
            mirrored ^= flip.flips(draw(self._seed, epoch, place, sample_ids, flip.num_draws))
        codes = {(True, False): 0, (False, True): 1, (True, True): -1}
        return [codes.get((down, across)) for down, across in mirrored.tolist()]


def _flip(pixels: np.ndarray, code: int) -> None:
    """Mirror in place; OpenCV is given no channel axis of length 1, which it would drop."""
    view = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    cv2.flip(view, code, dst=view)
