"""Field kinds: what each says of a field, and that a kind of one's own needs nothing but a class."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

from kseq.errors import ArgumentError, ImageError
from kseq.storage.field_kinds import KINDS, FieldKind, ImageDescription
from kseq.storage.fields import IMAGE, LABEL, Field, parse_fields, write_fields
from kseq.training.image_spec import ImageSpec
from tests.helpers.messages import Parts, raises

MASK = Field("mask", "mask", False, "|u1", (6, 8, 1))
MULTI = Field("tags", "multi_label", False, "<i4", (None,), ("a", "b", "c"))
NUMBERS = Field("vector", "numbers", False, "<i8", (3,))
TRACE = Field("trace", "numbers", False, "<f4", (None,))
POINTS = Field("points", "keypoints", False, "<f4", (5, 3))
BOXES = Field("boxes", "boxes", False, "<f4", (None, 4))
LABELS = Field("labels", "labels", False, "<i4", (None,), ("car", "cow"))
TEXT = Field("text", "text", False, "|u1", (None,))
WEIGHT = Field("sample_weight", "sample_weight", False, "<f4", ())
DEPTH = Field("depth", "map", False, "<f2", (6, 8, 2))
INDEX = Field("nearest", "nearest_map", False, "<f4", (6, 8, 1))
BANDS = Field("bands", "image", False, "<u2", (6, 8, 13))
OBJECTS = Field("objects", "instances", True, "|u1", (None, None, 1))
CROWDED = Field("crowded", "wide_instances", True, "<u2", (None, None, 1))
IDS = Field("ids", "instance_ids", False, "<i4", (None,))
OTHERS = (MULTI, NUMBERS, TRACE, POINTS, BOXES, LABELS, IDS, TEXT, WEIGHT)
FIELDS = (IMAGE, BANDS, LABEL, MASK, OBJECTS, CROWDED, DEPTH, INDEX, *OTHERS)


def parsed(cell: Any) -> Any:
    return json.loads(cell) if isinstance(cell, str) else cell


def batch(field: Field, values: list[np.ndarray], longest: int) -> tuple[np.ndarray, np.ndarray | None]:
    """A batch buffer with values of a field whose samples differ in length, and the mask of its padding."""
    handler = field.handler
    length = longest if handler.is_padded else None
    rows = np.full((len(values), *handler.batch_shape(length)), 77, handler.batch_dtype)
    mask = np.ones((len(values), longest), bool) if handler.is_padded else None
    handler.fill(rows, mask, values)
    return rows, mask


def test_every_kind_is_registered_by_its_name() -> None:
    assert all(kind.name == name and issubclass(kind, FieldKind) for name, kind in KINDS.items())
    assert {field.kind for field in FIELDS} == set(KINDS)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_field_comes_back_from_json_and_pickle(field: Field) -> None:
    assert field.handler.field is field
    assert parse_fields(write_fields((field,)), "a.h5") == (field,)
    copy = pickle.loads(pickle.dumps(field))
    assert copy == field and hash(copy) == hash(field)
    assert "handler" not in vars(pickle.loads(pickle.dumps(field)))


@pytest.mark.parametrize(
    ("field", "arrays"),
    [
        (
            IMAGE,
            {
                "image/bytes": ("|u1", (None,)), "image/offsets": ("<u8", (6,)), "image/size": ("<u4", (5, 2)),
                "image/orientation": ("|u1", (5,)), "image/tiles": ("<u4", (None,)), "image/tile_offsets": ("<u8", (6,)),
            },
        ),
        (MASK, {"mask": ("|u1", (5, 6, 8, 1))}),
        (BANDS, {"bands": ("<u2", (5, 6, 8, 13))}),
        (DEPTH, {"depth": ("<f2", (5, 6, 8, 2))}),
        (LABEL, {"label": ("<i4", (5,))}),
        (NUMBERS, {"vector": ("<i8", (5, 3))}),
        (TRACE, {"trace/values": ("<f4", (None,)), "trace/offsets": ("<u8", (6,))}),
        (BOXES, {"boxes/values": ("<f4", (None, 4)), "boxes/offsets": ("<u8", (6,))}),
        (TEXT, {"text/values": ("|u1", (None,)), "text/offsets": ("<u8", (6,))}),
    ],
    ids=lambda value: value.name if isinstance(value, Field) else "",
)  # fmt: skip
def test_a_shard_has_these_arrays_of_a_field(field: Field, arrays: dict[str, Any]) -> None:
    schema = field.handler.schema(5)
    assert {name: (entry.dtype, entry.shape) for name, entry in schema.items()} == arrays
    for array in field.handler.row_arrays:
        assert array.name in schema
        assert array.offsets is None or array.offsets in schema


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("image", True, "|u1", (None, None, 2)), ("(height, width, 1 or 3 or 4)",)),
        (("image", True, "<u2", (None, None, 3)), ("encoded", "<u2")),
        (("image", False, "<i2", (4, 4, 3)), ("<i2", "|u1", "<u2", "<f4")),
        (("image", False, "<u2", (4, 4, 65)), (64,)),
        (("map", True, "<f4", (4, 4, 1)), ("encoded",)),
        (("map", False, "|u1", (4, 4, 1)), ("|u1", "<f4", "<f2")),
        (("mask", True, "|u1", (None, None, 3)), ("(height, width, 1)",)),
        (("label", False, "<i8", ()), ("<i4",)),
        (("boxes", False, "<f4", (None, 5)), ("<f4", 4)),
        (("numbers", False, "<f4", (2, None)), ()),
        (("numbers", True, "<f4", (2,)), ("encoded",)),
        (("sound", False, "<f4", ()), ("'sound'", "image", "label", "mask")),
    ],
)
def test_refuses_what_a_kind_does_not_allow(arguments: tuple[Any, ...], words: Parts) -> None:
    with raises(ArgumentError, *words):
        Field("it", *arguments)


def test_a_reader_gives_text_as_str_and_else_a_copy() -> None:
    stored = np.frombuffer("aé\xff".encode("latin-1"), np.uint8)
    assert TEXT.handler.value(stored) == "a\ufffd\ufffd"
    numbers = np.array([1.5, 2], "<f4")
    copy = TRACE.handler.value(numbers)
    np.testing.assert_array_equal(copy, numbers, strict=True)
    assert not np.shares_memory(copy, numbers)


def test_padded_fields_have_a_mask_and_their_own_padding() -> None:
    values = [np.array([1, 0], "<i4"), np.empty(0, "<i4"), np.array([1], "<i4")]
    rows, mask = batch(LABELS, values, 3)
    np.testing.assert_array_equal(rows, np.array([[1, 0, -1], [-1, -1, -1], [1, -1, -1]], "<i4"), strict=True)
    assert mask is not None
    assert mask.tolist() == [[True, True, False], [False] * 3, [True, False, False]]
    assert LABELS.handler.batch_value(rows, np.negative) is rows


def test_boxes_are_padded_by_zeros() -> None:
    rows, mask = batch(BOXES, [np.ones((1, 4), "<f4"), np.empty((0, 4), "<f4")], 2)
    assert rows.shape == (2, 2, 4)
    assert rows[0, 0].tolist() == [1, 1, 1, 1]
    assert not rows[0, 1].any() and not rows[1].any()
    assert mask is not None and mask.tolist() == [[True, False], [False, False]]


def test_several_labels_are_zeros_and_ones() -> None:
    rows, mask = batch(MULTI, [np.array([2, 0], "<i4"), np.empty(0, "<i4")], 2)
    assert mask is None
    np.testing.assert_array_equal(rows, np.array([[1, 0, 1], [0, 0, 0]], "<f4"), strict=True)
    assert MULTI.handler.batch_value(rows, np.negative) is rows


def test_texts_leave_as_bytes_and_functions_get_str() -> None:
    texts = ["wörd", "", "a\0b"]
    rows, mask = batch(TEXT, [np.frombuffer(text.encode(), np.uint8) for text in texts], 9)
    assert TEXT.handler.batch_value(rows, np.negative) is rows
    readable = TEXT.handler.readable_value(rows, mask)
    assert readable.tolist() == texts
    np.testing.assert_array_equal(TEXT.handler.model_value(readable), rows[:, :5], strict=True)
    np.testing.assert_array_equal(TEXT.handler.model_value(np.array(["", ""])), np.zeros((2, 1), np.uint8), strict=True)
    tokens = np.array([[1, 2]])
    assert TEXT.handler.model_value(tokens) is tokens
    assert not TEXT.handler.has_padding_mask
    assert not TEXT.handler.obeys_pad_to


def test_numbers_leave_as_float32_and_labels_as_training_says() -> None:
    rows = np.array([[1, 2, 3]], "<i8")
    np.testing.assert_array_equal(
        NUMBERS.handler.batch_value(rows, np.negative), np.array([[1, 2, 3]], np.float32), strict=True
    )
    assert LABEL.handler.batch_value(np.array([4]), np.negative).tolist() == [-4]


def test_a_mask_leaves_as_uint8_whatever_images_leave_as() -> None:
    spec = ImageSpec(4, 5, "rgb", "channels_first", "float32", 1 / 255, "pad", "bicubic")
    assert IMAGE.handler.image_spec(spec) == spec
    assert MASK.handler.image_spec(spec) == ImageSpec(4, 5, "grayscale", "channels_first", fit="pad", interpolation="nearest")


def test_boxes_are_checked_against_their_image() -> None:
    checked = BOXES.handler.check_positions(np.array([[-1, 2, 9, 5]]), 4, 6)
    np.testing.assert_array_equal(checked, np.array([[0, 2, 6, 4]], np.float32), strict=True)
    with raises(ImageError, "box 0", 5, 0, 3, 2):
        BOXES.handler.check_positions(np.array([[5, 0, 3, 2]]), 4, 6)
    stays, facts = BOXES.handler.judge_positions(np.array([[7, 0, 9, 2], [1, 1, 3, 1], [0, 0, 6, 4]]), 4, 6)
    assert (stays.tolist(), facts) == ([False, False, True], {"flat": 1, "outside": 1})
    assert LABELS.handler.leader == "boxes"


@pytest.mark.parametrize(
    ("field", "values", "condition", "expected"),
    [
        (LABEL, np.array([0, 1, 0]), "cat", [True, False, True]),
        (LABEL, np.array([0, 1, 0]), 1, [False, True, False]),
        (MULTI, [np.array([0, 2]), np.array([]), np.array([1])], "c", [True, False, False]),
        (NUMBERS, np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), 5, [False, True, False]),
        (TRACE, [np.array([0.1], np.float32), np.array([]), np.array([1], np.float32)], 0.1, [True, False, False]),
        (WEIGHT, np.array([0.1, 1, 2], np.float32), 0.1, [True, False, False]),
        (TEXT, ["a", "b", ""], "b", [False, True, False]),
    ],
)
def test_a_condition_is_compared_in_stored_form(field: Field, values: Any, condition: Any, expected: list[bool]) -> None:
    wanted = field.handler.condition_value(condition, field.handler.class_names(["cat", "dog"]))
    assert field.handler.equals_any(values, [wanted]).tolist() == expected


@pytest.mark.parametrize(
    ("field", "condition", "words"),
    [
        (LABEL, "cow", ("'cow'", "'cat'", "'dog'")),
        (LABEL, 2, ("[0, 2)",)),
        (LABEL, 0.5, ()),
        (MULTI, "cat", ("'cat'", "'a'", "'b'", "'c'")),
        (NUMBERS, "5", ("vector='5'",)),
        (TEXT, 5, ("text=5",)),
        (BOXES, 5, ()),
    ],
)
def test_refuses_a_condition_that_no_value_meets(field: Field, condition: Any, words: Parts) -> None:
    with raises(ArgumentError, *words):
        field.handler.condition_value(condition, field.handler.class_names(["cat", "dog"]))


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        (LABEL, "cat, dog", ["cat", "dog"]),
        (LABEL, "a,b", ["a,b"]),
        (LABEL, "7,12", ["7", 12]),
        (TEXT, "a, b", ["a, b", "a", " b"]),
        (NUMBERS, "1, 2.5", [1, 2.5]),
    ],
)
def test_a_condition_of_the_command_line_is_several_values(field: Field, text: str, expected: list[Any]) -> None:
    assert field.handler.parse_condition(text, ["cat", "dog", "a,b", "7"]) == expected


def test_refuses_what_is_not_a_number_on_the_command_line() -> None:
    with raises(ValueError, "'x'"):
        NUMBERS.handler.parse_condition("1,x", [])


def test_only_single_values_group_samples() -> None:
    assert [field.name for field in FIELDS if field.handler.can_group] == ["label", "vector", "text"]


def test_class_numbers_are_renumbered_and_others_are_not() -> None:
    numbers = np.array([2, 0, 1], "<i4")
    assert MULTI.handler.renumber(np.array([0, 2, 7, -1]), numbers).tolist() == [2, 1, 7, -1]
    assert MULTI.handler.renumber(np.array([0, 2]), None).tolist() == [0, 2]
    assert NUMBERS.handler.renumber(np.array([0, 2, 1]), numbers).tolist() == [0, 2, 1]


def test_whole_numbers_go_where_others_are() -> None:
    floats = Field("vector", "numbers", False, "<f4", (3,))
    assert floats.handler.accepts(NUMBERS)
    assert not NUMBERS.handler.accepts(floats)
    assert TRACE.handler.accepts(Field("trace", "numbers", False, "<i8", ()))
    assert not TRACE.handler.accepts(Field("trace", "numbers", False, "<f4", (2, 2)))
    assert not WEIGHT.handler.accepts(Field("sample_weight", "numbers", False, "<f4", ()))


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        ("boxes", "[[1, 2, 3, 4]]", [[1, 2, 3, 4]]),
        ("boxes", [1, 2, 3, 4], [[1, 2, 3, 4]]),
        ("boxes", None, []),
        ("text", "007", [48, 48, 55]),
        ("text", None, []),
        ("sample_weight", "0.5", 0.5),
    ],
)
def test_a_cell_becomes_a_value(kind: str, cell: Any, expected: Any) -> None:
    value = KINDS[kind].from_cell(cell, parsed)
    assert value.dtype == KINDS[kind].dtypes[0]
    assert value.tolist() == expected


@pytest.mark.parametrize(
    ("kind", "cell", "words"),
    [
        ("boxes", "[[1, 2, 3]]", (1, 2, 3)),
        ("text", ["a"], ("'a'",)),
        ("sample_weight", "-1", (-1, 0)),
        ("sample_weight", None, ()),
    ],
)
def test_refuses_a_cell_that_is_not_a_value(kind: str, cell: Any, words: Parts) -> None:
    with raises(ValueError, *words):
        KINDS[kind].from_cell(cell, parsed)


def test_an_array_becomes_values_where_each_row_is_one() -> None:
    assert KINDS["numbers"].from_array(np.ones((2, 3), np.uint8)).dtype == "<i8"
    assert KINDS["numbers"].from_array(np.ones((2, 3))).dtype == "<f4"
    assert KINDS["sample_weight"].from_array(np.ones(2, int)).dtype == "<f4"
    for kind, array in (
        ("numbers", np.array([np.nan])),
        ("numbers", np.array([1e39])),
        ("numbers", np.empty((2, 0))),
        ("sample_weight", np.array([-1.0])),
        ("sample_weight", np.ones((2, 1))),
    ):
        with raises(ValueError):
            KINDS[kind].from_array(array)
    with pytest.raises(NotImplementedError):
        KINDS["text"].from_array(np.ones(2))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (LABEL, np.array(1), "dog"),
        (MULTI, np.array([2, 0]), ["c", "a"]),
        (NUMBERS, np.array([1, 2, 3]), [1, 2, 3]),
        (TRACE, np.array([0.1, 2], np.float32), [0.1, 2.0]),
        (TEXT, np.frombuffer(b"a\xff", np.uint8), "a\udcff"),
        (WEIGHT, np.array(0.3, np.float32), 0.3),
    ],
)
def test_a_value_is_exported_as_json(field: Field, value: np.ndarray, expected: Any) -> None:
    assert field.handler.as_json(value, field.handler.class_names(["cat", "dog"])) == expected


def test_a_value_is_exported_as_features() -> None:
    image = ImageDescription(10, 20, True)
    features = BOXES.handler.features(np.array([[2, 1, 10, 5]], np.float32), (), image)
    assert {name: np.asarray(value).tolist() for name, value in features.items() if name != "boxes"} == {
        "image/object/bbox/xmin": [pytest.approx(0.1)],
        "image/object/bbox/ymin": [pytest.approx(0.1)],
        "image/object/bbox/xmax": [0.5],
        "image/object/bbox/ymax": [0.5],
    }
    assert features["boxes"] == [b"[[2.0, 1.0, 10.0, 5.0]]"]
    label = LABEL.handler.features(np.array(1, "<i4"), ("cat", "dog"), image)
    assert np.asarray(label["image/class/label"]).tolist() == [1]
    assert label["image/class/text"] == [b"dog"]
    assert MASK.handler.image_features(b"...", "png", image) == {
        "image/segmentation/class/encoded": [b"..."],
        "image/segmentation/class/format": [b"png"],
    }


def test_only_some_fields_fit_into_csv() -> None:
    fitting = [field.name for field in FIELDS if field.handler.fits_csv]
    assert fitting == ["image", "bands", "label", "mask", "objects", "crowded", "depth", "nearest", "sample_weight"]


def test_options_of_pack_bring_fields_back() -> None:
    assert [" ".join(field.handler.pack_options("x")) for field in FIELDS] == [
        "--image x", "--image bands=x", "--label x", "--mask mask=x", "--target objects=x:instances",
        "--target crowded=x:wide_instances",
        "--target depth=x:map", "--target nearest=x:nearest_map",
        "--target tags=x --kind tags=multi_label", "--target vector=x",
        "--target trace=x", "--target points=x --kind points=keypoints",
            "--boxes x", "--box-labels x", "--target ids=x --kind ids=instance_ids", "--text x", "--sample-weight x",
    ]  # fmt: skip
    assert MASK.handler.pack_options("mask.png") == ["--mask", "mask.png"]
    assert MASK.handler.pack_options("image/segmentation/class/encoded") == ["--mask", "image/segmentation/class/encoded"]
    photo = Field("photo", "image", True, "|u1", (None, None, 3))
    assert photo.handler.pack_options("path") == ["--image", "photo=path"]
    assert photo.handler.pack_options("photo") == ["--image", "photo=photo"]
    assert photo.handler.pack_options("photo", has_one_image=False) == ["--image", "photo"]
    caption = Field("caption", "text", False, "|u1", (None,))
    assert caption.handler.pack_options("x") == ["--target", "caption=x", "--kind", "caption=text"]
    whole = Field("trace", "numbers", False, "<i8", (None,))
    assert whole.handler.pack_options("x") == ["--target", "trace=x", "--kind", "trace=numbers"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (IMAGE, "image, encoded, of sizes that differ, 3 channels"),
        (MASK, "mask, raw pixels, 6 x 8, 1 channel"),
        (BOXES, "boxes, float32 (any number x 4)"),
        (LABEL, "label, int32"),
    ],
)
def test_a_field_is_described(field: Field, expected: str) -> None:
    assert field.handler.describe() == expected


def test_storage_is_described() -> None:
    settings = {"encoding": "keep", "quality": 90, "color_mode": "rgb"}
    assert IMAGE.handler.describe_storage(settings) == "JPEG or PNG as found, sizes differ, 3 channels (rgb)"
    assert MASK.handler.describe_storage(settings) == "uint8 values, 6 x 8, a value for each pixel"
    assert BOXES.handler.describe_storage(settings) == "float32, any number x 4, x1, y1, x2, y2 in pixels"
    assert LABEL.handler.describe_storage(settings) == "int32, a class number"
