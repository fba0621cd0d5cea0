"""The base class of field kinds, with the behaviour that most kinds share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np

from kseq.errors import ArgumentError, DamagedError
from kseq.images.movement import Movement
from kseq.images.pixel_form import PixelForm
from kseq.storage.array_schema import ArraySchema
from kseq.storage.field_names import name_after_column

if TYPE_CHECKING:
    from kseq.storage.fields import Field
    from kseq.storage.shard_writer import EncodedImage

__all__ = ["FieldKind", "ImageDescription", "LabelEncoder", "RowArray", "SampleEncoder", "is_number"]

ImageSpec = TypeVar("ImageSpec")

# What training does with labels: `(n,)` int32 class numbers become what `label_mode` says.
LabelEncoder = Callable[[np.ndarray], np.ndarray]


class RowArray(NamedTuple):
    """An array of a shard that holds the stored bytes of a field.

    Attributes:
        name: The array's name in the shard.
        offsets: The name of the array that says where the elements of each row begin; None where every row is as long as the
            others, so that row `i` of the array is row `i` of the shard.
    """

    name: str
    offsets: str | None


class SampleEncoder(Protocol):
    """What packing offers a kind that encodes a value."""

    def encode_image(self, value: bytes | np.ndarray) -> EncodedImage | np.ndarray:
        """An image file, or `(height, width[, channels])` pixels, as the settings of the packing store it."""

    def encode_mask(self, value: bytes | np.ndarray, dtype: str) -> EncodedImage | np.ndarray:
        """A mask file, or `(height, width[, 1])` values, resized as the first image is and stored without loss as `"uint8"` or
        `"uint16"`."""

    def encode_map(self, value: bytes | np.ndarray, name: str, interpolation: str) -> np.ndarray:
        """A file of numbers, or `(height, width[, channels])` numbers, of the field `name`, resized as the first image is, and
        stored as the settings of the packing say."""


class ImageDescription(NamedTuple):
    """The image that a value of the same sample is exported with.

    Attributes:
        height: Of the upright image, in pixels.
        width: Of the upright image, in pixels.
        has_one_image: Whether the sample has no other image.
    """

    height: int
    width: int
    has_one_image: bool


class FieldKind:
    """What all fields of one kind have in common; an object of the class speaks for one field.

    The class attributes are plain facts. A subclass sets `name`, `dtypes`, `shape` and `meaning`, and overrides what differs.

    Args:
        field: The field that the object speaks for.

    Attributes:
        name: The kind's name in files, messages and arguments.
        dtypes: The little-endian dtypes that a value may have, the usual one first.
        shape: The shape of one value, with None for a length that may differ between samples; None where fields choose.
        meaning: What a value is, in a few words, for `kseq info`.
        is_pixels: Whether a value has a number for each pixel of an image, shape `(height, width, channels)`.
        is_image: Whether a value is an image that a model sees.
        is_label: Whether a value is the class of its sample, whose class names are those of the dataset.
        has_class_names: Whether numbers of a value stand for class names.
        has_positions: Whether the elements of a value lie somewhere in the image, so that they move when it is cropped, resized
            or flipped. Where elements that leave the image leave the value, the shape is `(None, ...)`.
        is_ordered: Whether the place of an element in a value says what it is, such as a left eye: in a mirrored image, left
            and right change places.
        has_order: Whether values can be compared by `<` and `>`.
        blends: Whether the mean of the values of two samples means something in a batch, as of images and of one-hot labels.
        is_default_target: Whether a model learns it where the user names no targets and samples have no label.
        padding: What fills the rows of a padded batch after the last element.
        obeys_pad_to: Whether the user's `pad_to` decides how long padded rows are.
        can_be_encoded: Whether pixels may be stored as JPEG or PNG bytes; others are numbers of one size.
        decodes_crops: Whether a part of an encoded image may be decoded alone, and at a fraction of its size.
        column: The argument of `kseq.Columns` that names the column of such a field; None where `targets` does.
        can_be_target: Whether the `kinds` argument of `kseq.Columns` can make a target such a field.
        can_be_added: Whether `kseq.add_field` can give a packed dataset such a field.
    """

    name: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]]
    shape: ClassVar[tuple[int | None, ...] | None] = None
    meaning: ClassVar[str]

    is_pixels: ClassVar[bool] = False
    is_image: ClassVar[bool] = False
    is_label: ClassVar[bool] = False
    has_class_names: ClassVar[bool] = False
    has_positions: ClassVar[bool] = False
    is_ordered: ClassVar[bool] = False
    has_order: ClassVar[bool] = False
    blends: ClassVar[bool] = False
    is_default_target: ClassVar[bool] = True
    padding: ClassVar[int] = 0
    obeys_pad_to: ClassVar[bool] = True
    can_be_encoded: ClassVar[bool] = True
    decodes_crops: ClassVar[bool] = False
    column: ClassVar[str | None] = None
    can_be_target: ClassVar[bool] = True
    can_be_added: ClassVar[bool] = True

    def __init__(self, field: Field) -> None:
        self.field = field

    # Storage: which arrays a shard has of the field.

    def check(self) -> None:
        """Raise ArgumentError unless the field's dtype, shape and encoding are allowed for the kind."""
        field = self.field
        if field.dtype not in self.dtypes or (self.shape is not None and self.shape != field.shape):
            shape = "any shape" if self.shape is None else f"shape {self.shape}"
            raise ArgumentError(
                f"field {field.name}: {field.dtype} of shape {field.shape}, allowed for {self.name} is "
                f"{' or '.join(self.dtypes)} of {shape}"
            )
        self._check_form()

    def _check_form(self) -> None:
        field = self.field
        if field.mirror_order:
            raise ArgumentError(f"field {field.name}: has a mirror_order, which goes with keypoints")
        if field.encoded:
            raise ArgumentError(f"field {field.name}: is encoded, allowed for images and masks")
        if None in field.shape[1:]:
            raise ArgumentError(
                f"field {field.name}: shape {field.shape}, allowed is a first length that differs, and no other"
            )

    @property
    def is_ragged(self) -> bool:
        """Whether samples differ in how many elements they have; the elements of all rows then form one array, with offsets."""
        return self.field.shape[:1] == (None,)

    @property
    def row_arrays(self) -> tuple[RowArray, ...]:
        """The arrays that hold the stored bytes of the field, the main one first; checksums cover them in this order."""
        name = self.field.name
        return (RowArray(f"{name}/values", f"{name}/offsets"),) if self.is_ragged else (RowArray(name, None),)

    @property
    def element_shape(self) -> tuple[int, ...]:
        """The shape of what the main array holds side by side: of one row, or of one element where rows differ in length."""
        return tuple(length for length in self.field.shape if length is not None)

    def schema(self, num_rows: int | None) -> dict[str, ArraySchema]:
        """Every array that a shard has of the field, by name: dtype and shape; `num_rows` is None for any number of rows."""
        field = self.field
        if not self.is_ragged:
            return {field.name: ArraySchema(field.dtype, (num_rows, *field.shape))}
        num_offsets = None if num_rows is None else num_rows + 1
        return {
            f"{field.name}/values": ArraySchema(field.dtype, field.shape),
            f"{field.name}/offsets": ArraySchema("<u8", (num_offsets,)),
        }

    @property
    def array_attributes(self) -> Mapping[str, str | int]:
        """Attributes of the main array, by which other programs know what it holds; no reader of kseq's looks at them."""
        return {}

    # Packing: how a value from a source becomes the value that is stored.

    def encode(self, value: Any, encoder: SampleEncoder) -> EncodedImage | np.ndarray:
        """A value from a source as it is stored; values with positions are moved to the stored image afterwards.

        Raises:
            ImageError: If it is a broken image, or does not go with its image.
        """
        return np.asarray(value, self.field.dtype)

    def stored_pixels(self, images: PixelForm, maps: PixelForm) -> tuple[str, int]:
        """The little-endian dtype and the number of channels of the pixels of the field, only for pixels.

        Args:
            images: What the pixels of images become.
            maps: What the numbers of maps become.
        """
        raise NotImplementedError

    # Reading: what a reader gives.

    def value(self, elements: np.ndarray) -> Any:
        """What a reader gives of one sample, where samples differ in length.

        Args:
            elements: `(count, ...)`: the stored elements, a view of the file.
        """
        return elements.copy()

    def decode(
        self,
        data: np.ndarray,
        orientation: int,
        size: tuple[int, int],
        color_mode: str | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """`(height, width, channels)` pixels of an encoded field, upright.

        Args:
            data: `(n,)` uint8: the stored bytes.
            orientation: EXIF's, 1 to 8.
            size: Height and width that the upright pixels must have; nothing is decoded that says otherwise in its header.
            color_mode: `"rgb"`, `"grayscale"` or `"rgba"`, where the kind has colours; None for that of the field.
            out: Where the pixels go, if given; of exactly their shape.

        Raises:
            ImageError: If the bytes are broken, of another size, or take more memory than there is.
        """
        raise NotImplementedError

    # Batches: the arrays that a batch buffer has of the field, and what leaves in the end.

    @property
    def is_padded(self) -> bool:
        """Whether a batch buffer has an axis as long as the longest sample of the batch, with a bool array `NAME_mask` that
        says where there are elements."""
        return self.is_ragged

    @property
    def has_padding_mask(self) -> bool:
        """Whether users can ask for `NAME_mask`."""
        return self.is_padded

    def batch_shape(self, length: int | None = None) -> tuple[int, ...]:
        """The shape of one sample in a batch buffer; of a padded field, with room for `length` elements."""
        return self.element_shape if length is None else (length, *self.element_shape)

    @property
    def batch_dtype(self) -> str:
        """The dtype of the batch buffer."""
        return self.field.dtype

    def check_elements(self, elements: np.ndarray, room: int | None) -> None:
        """Raise DamagedError unless stored elements of a sample go into a row of a batch buffer.

        Args:
            elements: `(count, ...)`.
            room: How many elements there is room for, in a padded field.
        """
        if room is not None and len(elements) > room:
            raise DamagedError(f"has {len(elements)} elements in {self.field.name}, the index says {room} at most")

    def fill(self, rows: np.ndarray, mask: np.ndarray | None, values: Sequence[np.ndarray]) -> None:
        """Fill rows of a batch buffer with samples that differ in length. (Others are copied straight from the shards.)

        Args:
            rows: `(n, *batch_shape)` of the batch buffer.
            mask: `(n, longest)` bool, of a padded field.
            values: `(count, ...)` stored elements of each of the `n` samples.
        """
        assert mask is not None
        rows[:] = self.padding
        mask[:] = False
        for row, is_element, elements in zip(rows, mask, values, strict=True):
            row[: len(elements)] = elements
            is_element[: len(elements)] = True

    def batch_value(self, rows: np.ndarray, encode_label: LabelEncoder) -> np.ndarray:
        """What models and losses want of a batch buffer, still padded, and images before the user's functions.

        Args:
            rows: `(n, *batch_shape)`: the filled buffer.
            encode_label: Encodes `(n,)` int32 labels.

        Returns:
            `(n, ...)` numbers.
        """
        return rows

    def readable_value(self, rows: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """What the user's functions get, and who asks for lists, where that is not what models want.

        Args:
            rows: `(n, ...)`: what `batch_value` made.
            mask: `(n, longest)` bool, of a padded field.
        """
        return rows

    def model_value(self, values: np.ndarray) -> np.ndarray:
        """`(n, ...)` numbers: what models want of what `readable_value` made, or of what a function gave in its place."""
        return values

    def image_spec(self, spec: ImageSpec) -> ImageSpec:
        """What the pixels of the field are like in a batch, only for pixels.

        Args:
            spec: What images are like: a dataclass like `kseq.training.image_spec.ImageSpec`.
        """
        raise NotImplementedError

    # Moving along: elements with a position in the image, when it is cropped, resized and augmented. Only for kinds with
    # `has_positions`. By default, whatever can pass for boxes moves as they do, and leaves the value if they leave the image.

    def check_positions(self, values: np.ndarray, height: int, width: int) -> np.ndarray:
        """The values as they are stored, once they were checked against their image.

        Args:
            values: `(count, ...)`, in pixels of the upright image.
            height: Of the image, in pixels.
            width: Of the image, in pixels.

        Raises:
            ImageError: If a position makes no sense in an image of this size.
        """
        return values

    def judge_positions(self, values: np.ndarray, height: int, width: int) -> tuple[np.ndarray, Mapping[str, int]]:
        """Which elements show something of the image; the others are left out when it is packed, and counted.

        Args:
            values: `(count, ...)`, in pixels of the upright image; `check_positions` let them pass.
            height: Of the image, in pixels.
            width: Of the image, in pixels.

        Returns:
            `(count,)` bool: which elements stay; and how many elements there are of some names in
            `kseq.storage.box_counts.SHARD_FACTS`.
        """
        return np.ones(len(values), bool), {}

    def as_boxes(self, values: np.ndarray) -> np.ndarray:
        """`(count, 4)` float32: x1, y1, x2, y2 of each element, in pixels; of a point, a box without area."""
        raise NotImplementedError

    def from_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """`(count, ...)`: the elements that `as_boxes` made boxes of, after the boxes were moved."""
        raise NotImplementedError

    def move(
        self, values: np.ndarray, movements: Sequence[Movement], order: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The values of a sample after its image was moved, step by step.

        Args:
            values: `(count, ...)`, in pixels; they may be changed in place.
            movements: The steps.
            order: `(points,)` int64, of a kind with `is_ordered`: which point takes the place of each in a mirrored image;
                None where nobody has said.

        Returns:
            `(m, ...)`: the elements that stay, moved; and `(count,)` bool: which of the elements stay.

        Raises:
            ArgumentError: If the image is mirrored, and left and right of the values are not known.
        """
        boxes, numbers = self.as_boxes(values), np.arange(len(values))
        for movement in movements:
            boxes, stay = movement.move_boxes(boxes)
            numbers = numbers[stay]
        stays = np.zeros(len(values), bool)
        stays[numbers] = True
        return self.from_boxes(boxes), stays

    @property
    def leader(self) -> str | None:
        """The kind whose elements those of this field describe, one for one, such as `"boxes"` for their labels: when one of
        the leader leaves the image, its counterpart leaves too. None for most kinds."""
        return None

    @property
    def follows_image(self) -> bool:
        """Whether elements of a value leave it when the image is cropped, so that both have to be stored together."""
        return self.has_positions or self.leader is not None

    # Conditions and groups.

    def condition_value(self, value: Any, class_names: Sequence[str]) -> Any:
        """The value of a condition in the form in which values are stored.

        Args:
            value: What the user wrote.
            class_names: The class of each number of the field.

        Raises:
            ArgumentError: If no value of the field can be equal to it.
        """
        if not is_number(value, "iuf"):
            raise ArgumentError(f"where {self.field.name}={value!r}: allowed is a number")
        # As it is stored: 0.1 is not the float32 nearest to it.
        dtype = np.dtype(self.field.dtype)
        return dtype.type(value).item() if dtype.kind == "f" else value

    def equals_any(self, values: np.ndarray | list[Any], wanted: Sequence[Any]) -> np.ndarray:
        """`(n,)` bool: which samples have one of some values; of several numbers in a sample, one that is equal is enough.

        Args:
            values: Of the `n` samples, as a reader gives them.
            wanted: What `condition_value` made of the values.
        """
        if not isinstance(values, np.ndarray):
            return np.array([np.isin(value, wanted).any() for value in values], bool)
        is_equal: np.ndarray = np.isin(values, wanted)
        return np.any(is_equal, axis=tuple(range(1, is_equal.ndim)))

    def parse_condition(self, text: str, class_names: Sequence[str]) -> list[Any]:
        """The values that a condition of the command line names, separated by commas.

        Raises:
            ValueError: If a part is not a value, with the part and the reason.
        """
        return [_parse_number(part.strip()) for part in text.split(",")]

    @property
    def can_group(self) -> bool:
        """Whether samples of the same value can be kept together in a split."""
        return False

    # Class names.

    def class_names(self, dataset_names: Sequence[str]) -> tuple[str, ...]:
        """The class that each number of the field stands for; `dataset_names` are those of the dataset's label."""
        return self.field.class_names

    def renumber(self, values: np.ndarray, numbers: np.ndarray | None) -> np.ndarray:
        """Values of the field whose classes have other numbers now.

        Args:
            values: Of any shape.
            numbers: `(classes,)` int32: the new number of each class; None where classes keep their numbers.
        """
        return values

    def accepts(self, other: Field) -> bool:
        """Whether values of another field can be stored in this one: the same form, or whole numbers in place of others."""
        field = self.field
        return (
            other.kind == field.kind
            and other.shape == field.shape
            and (other.dtype == field.dtype or (other.dtype, field.dtype) == ("<i8", "<f4"))
        )

    # Sources and exports.

    @classmethod
    def from_cell(cls, cell: Any, parse: Callable[[Any], Any]) -> np.ndarray:
        """The value of one cell of a table or record: by default numbers of the kind's shape, in lists; no elements for a cell
        that is missing if samples may differ in length.

        Args:
            cell: As the source has it, None where it is missing.
            parse: Reads a cell that may be text: to None, a number, a word, or a list of these.

        Raises:
            ValueError: If the cell is not a value of this kind: what is wrong, as the end of a sentence about the sample.
        """
        shape, value = cls.shape or (), parse(cell)
        try:
            given = np.asarray([] if value is None else value)
            with np.errstate(over="ignore", invalid="ignore"):
                numbers = given.astype(cls.dtypes[0]) if given.dtype.kind in "iuf" else np.full(1, np.nan)
        except (ValueError, OverflowError):
            # Lists of several lengths.
            given = numbers = np.full(1, np.nan)
        if shape[:1] == (None,) and numbers.size == 0:
            return numbers.reshape(0, *shape[1:])
        lengths = (len(numbers), *shape[1:]) if shape[:1] == (None,) and numbers.ndim else shape
        # A dtype of whole numbers would round others.
        is_exact = numbers.dtype.kind == "f" or np.array_equal(numbers, given)
        if numbers.shape != lengths or not is_exact or not np.isfinite(numbers).all():
            what = "whole" if numbers.dtype.kind in "iu" else "finite"
            allowed = f"{what} numbers of shape ({_describe_shape(shape)})" if shape else f"one {what} number"
            raise ValueError(f"has {cls.name} {str(value)[:40]}, allowed: {allowed}")
        return numbers

    @classmethod
    def common_shape(cls, shapes: set[tuple[int, ...]]) -> tuple[int | None, ...]:
        """The shape of a field, of a kind whose fields choose it, from the shapes of all its values.

        Raises:
            ValueError: If they do not go together: what is allowed instead.
        """
        if len(shapes) == 1 and not any(0 in shape for shape in shapes):
            return next(iter(shapes))
        if any(len(shape) != 1 for shape in shapes):
            raise ValueError("one shape, or plain lists")
        return (None,)

    @classmethod
    def from_array(cls, array: np.ndarray) -> np.ndarray:
        """The values of many samples in the dtype in which they are stored.

        Args:
            array: `(n, ...)` numbers, one row for each sample.

        Raises:
            ValueError: If a row is not a value of this kind: what is allowed instead.
            NotImplementedError: If the kind is not read from arrays.
        """
        raise NotImplementedError

    @property
    def is_told_by_cells(self) -> bool:
        """Whether packing knows the kind of a target from the cells of its column alone."""
        return False

    def pack_options(self, column: str, has_one_image: bool = True) -> list[str]:
        """The options of `kseq pack` that make the field from a column of an export, of samples with one image or several."""
        name = self.field.name
        if self.is_pixels:
            name_of_column = "image" if self.is_image and has_one_image else name_after_column(column)
            return [f"--{self.column}", column if name == name_of_column else f"{name}={column}"]
        if self.column is not None and name == self.name:
            return [f"--{self.column.replace('_', '-')}", column]
        kind = [] if self.is_told_by_cells else ["--kind", f"{name}={self.name}"]
        return ["--target", f"{name}={column}", *kind]

    def as_json(self, value: np.ndarray, class_names: Sequence[str]) -> Any:
        """A stored value as JSON has it, so that packing it again gives the same value."""
        return _shortest_decimals(value) if value.dtype == np.float32 else value.tolist()

    @property
    def fits_csv(self) -> bool:
        """Whether a cell of a CSV gives a value back as it is; whole numbers, text and lists need JSON Lines."""
        return self.field.shape == () and self.field.dtype == "<f4"

    @property
    def fits_png(self) -> bool:
        """Whether a PNG of 8 bits holds a value; only for pixels."""
        raise NotImplementedError

    def feature_name(self, has_one_image: bool) -> str:
        """The feature of a `tf.train.Example` that `kseq pack` reads the field from."""
        return self.field.name

    def features(
        self, value: np.ndarray, class_names: Sequence[str], image: ImageDescription
    ) -> Mapping[str, np.ndarray | Sequence[bytes]]:
        """The features of a `tf.train.Example` that hold a value.

        Args:
            value: As it is stored.
            class_names: The class of each number of the field.
            image: The first image of the sample.

        Returns:
            Feature name to `(m,)` numbers or to byte strings.
        """
        shape = self.field.shape
        # A list of numbers only where reading it gives the same shape.
        is_list = shape == () or (len(shape) == 1 and (shape[0] or 0) > 1)
        return {self.field.name: value.reshape(-1) if is_list else [json.dumps(self.as_json(value, class_names)).encode()]}

    def image_features(self, data: bytes, format: str, image: ImageDescription) -> Mapping[str, Sequence[bytes]]:
        """The features of a `tf.train.Example` that hold an image file; only for pixels.

        Args:
            data: The bytes of the file.
            format: `"jpeg"`, `"png"` or `"npy"`.
            image: The first image of the sample.
        """
        return {self.feature_name(image.has_one_image): [data]}

    # Descriptions.

    def describe(self) -> str:
        """What the field holds, for messages: `boxes, float32 (any number x 4)`."""
        shape = _describe_shape(self.field.shape)
        return f"{self.name}, {np.dtype(self.field.dtype).name}{f' ({shape})' if shape else ''}"

    def describe_storage(self, settings: Mapping[str, Any]) -> str:
        """How the field is stored, for `kseq info`; `settings` are those that the dataset was packed with."""
        shape = _describe_shape(self.field.shape)
        return f"{np.dtype(self.field.dtype).name}{', ' if shape else ''}{shape}, {self.meaning}"


def is_number(value: Any, dtype_kinds: str) -> bool:
    """Whether a value is one number of some of numpy's kinds of dtypes, such as `"iuf"`."""
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in dtype_kinds


def _describe_shape(shape: Sequence[int | None]) -> str:
    return " x ".join("any number" if length is None else str(length) for length in shape)


def _parse_number(text: str) -> int | float:
    try:
        return int(text) if re.fullmatch("[+-]?[0-9]{1,18}", text) else float(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a number") from error


def _shortest_decimals(value: np.ndarray) -> Any:
    """Float32 numbers as the shortest decimals that give them back, in lists as they were in arrays."""
    return [_shortest_decimals(row) for row in value] if value.ndim else float(str(value[()]))
