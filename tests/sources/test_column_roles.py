"""`kseq.Columns`: the forms in which columns are named, and those that are refused."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError
from kseq.packing.settings import format_settings
from kseq.sources.column_roles import image_field_names, mask_field_name
from tests.helpers.messages import Parts, raises


def test_columns_in_other_forms_are_equal() -> None:
    one = kseq.Columns(image="photo", targets="height")
    assert one == kseq.Columns(image=["photo"], targets={"height": "height"})
    assert (
        one == kseq.Columns(image=("photo",), targets=["height"]) == kseq.Columns(image="photo", targets=[("height", "height")])
    )
    assert hash(one) == hash(kseq.Columns(image=["photo"], targets=["height"]))
    assert (one.image, one.targets) == (("photo",), (("height", "height"),))
    assert kseq.Columns(targets={"height": "height_cm"}).targets == (("height", "height_cm"),)
    assert kseq.Columns() == kseq.Columns(image=[], targets={}) != one


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (kseq.Columns(image="photo", mask="outline"), ["image", "outline"]),
        (kseq.Columns(image="photo", mask="Lesion Mask.png"), ["image", "lesion_mask"]),
        (kseq.Columns(image=["left.jpg", "Right"], mask="seg.png"), ["left", "right", "seg"]),
        (kseq.Columns(image={"photo": "path"}, mask={"where": "mask"}), ["photo", "where"]),
        (kseq.Columns(image=["left", ("right", "b.png")]), ["left", "right"]),
        (kseq.Columns(image="png", mask="mask"), ["image", "mask"]),
        (kseq.Columns(mask="image/segmentation/class/encoded"), ["image", "mask"]),
    ],
)
def test_images_and_masks_are_called_like_their_columns_or_as_they_are_named(columns: kseq.Columns, names: list[str]) -> None:
    masks = [] if columns.mask is None else [mask_field_name(columns)]
    assert [*image_field_names(columns), *masks] == names
    assert dataclasses.replace(columns, split="part") == dataclasses.replace(dataclasses.replace(columns), split="part")
    assert image_field_names(dataclasses.replace(columns, split="part")) == image_field_names(columns)
    assert hash(pickle.loads(pickle.dumps(columns))) == hash(columns)


def test_columns_are_copied_with_changes_and_by_pickle() -> None:
    one = kseq.Columns(image=["left", "right"], targets={"height": "cm"}, split="part")
    assert dataclasses.replace(one, split="fold") == kseq.Columns(
        image=["left", "right"], targets={"height": "cm"}, split="fold"
    )
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.split = "fold"  # type: ignore[misc]  # what is tested


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"image": 3}, ("image=3",)),
        ({"image": ["a", 3]}, ("image=",)),
        ({"label": 0}, ("label=0",)),
        ({"sample_weight": ["w"]}, ("sample_weight=",)),
        ({"targets": 3}, ("targets=3",)),
        ({"targets": {"height": 3}}, ("targets=",)),
        ({"targets": ["height", ("a", "b", "c")]}, ("targets=",)),
        ({"box_labels": "kinds"}, ("box_labels='kinds'",)),
        ({"targets": "a", "kinds": {"b": "text"}}, ("kinds={'b': 'text'}", "'b'")),
        ({"targets": "a", "kinds": {"a": "image"}}, ("kinds={'a': 'image'}",)),
        ({"targets": "a", "kinds": "text"}, ("kinds='text'",)),
        ({"targets": "a", "kinds": 3}, ("kinds=3",)),
        ({"targets": "a", "kinds": [(["a"], "text")]}, ("kinds=",)),
        ({"targets": "a", "kinds": [("a", "text"), ("a", "numbers")]}, ("kinds=", "twice")),
        ({"text": ""}, ("text=''",)),
        ({"mask": ""}, ("mask=''",)),
        ({"mask": ["a"]}, ("mask=['a']",)),
        ({"mask": {"a": "x", "b": "y"}}, ("mask={'a': 'x', 'b': 'y'}",)),
        ({"mask": {"a": 3}}, ("mask={'a': 3}",)),
        ({"mask": "2nd"}, ("'2nd'",)),
        ({"mask": "label", "label": "kind"}, ("'label'",)),
        ({"mask": {"A": "x"}}, ("'A'",)),
        ({"mask": "boxes_mask", "boxes": "at"}, ("'boxes_mask'",)),
        ({"mask": "cell_mask", "targets": "cell"}, ("'cell_mask'", "'cell'")),
        ({"image": {"a": 3}}, ("image={'a': 3}",)),
        ({"image": {"a": "x", "label": "y"}, "label": "kind"}, ("'label'",)),
        ({"image": {3: "x"}}, ("image={3: 'x'}",)),
        ({"split": ""}, ("split=''",)),
        ({"image": ["a", "b"], "targets": "a"}, ("'a'",)),
        ({"targets": {"Height": "cm"}}, ("'Height'",)),
    ],
)
def test_refuses_columns_that_make_no_sense(names: dict[str, Any], words: Parts) -> None:
    with raises(ArgumentError, *words):
        kseq.Columns(**names)


@pytest.mark.parametrize("check", ["no", 1, None])
def test_image_settings_take_true_or_false_as_check(check: Any) -> None:
    with raises(ArgumentError, "check="):
        kseq.ImageSettings(check=check)
    assert kseq.ImageSettings(check=np.False_).check is False  # type: ignore[arg-type]  # numpy's, and lists


def test_image_settings_of_numpys_integers_are_those_of_pythons() -> None:
    settings = kseq.ImageSettings("raw", np.array([4, 5]), max_pixels=np.int64(100))  # type: ignore[arg-type]  # numpy's, and lists
    assert settings == kseq.ImageSettings("raw", (4, 5), max_pixels=100)
    assert hash(settings) == hash(kseq.ImageSettings("raw", [4, 5], max_pixels=100))  # type: ignore[arg-type]  # numpy's, and lists
    found, expected = (kseq.ImageSettings("jpeg", quality=quality) for quality in (np.uint8(80), 80))
    assert format_settings(found) == format_settings(expected)
