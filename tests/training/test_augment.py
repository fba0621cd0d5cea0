"""Crops and flips: inside the image, as likely as they should be, and the same for a sample wherever it is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq import CenterCrop, RandomFlip, RandomResizedCrop
from kseq.errors import ArgumentError
from kseq.training.transforms import draw
from tests.helpers.messages import Parts, raises

SAMPLES = np.arange(4000)


def boxes_of(crop: RandomResizedCrop | CenterCrop, height: int, width: int, count: int = 4000) -> np.ndarray:
    sizes = np.tile([height, width], (count, 1))
    return crop.cut(sizes, draw(1, 0, 0, np.arange(count), crop.num_draws))


@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    low=st.floats(0.01, 1),
    high=st.floats(0.01, 1),
    ratio=st.floats(0.2, 1),
    seed=st.integers(0, 99),
)
def test_boxes_lie_inside_the_image(height: int, width: int, low: float, high: float, ratio: float, seed: int) -> None:
    crop = RandomResizedCrop(8, (min(low, high), max(low, high)), (ratio, 1 / ratio))
    sizes = np.tile([height, width], (50, 1))
    top, left, box_height, box_width = crop.cut(sizes, draw(seed, 0, 0, SAMPLES[:50], crop.num_draws)).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (box_height >= 1).all()
    assert (box_width >= 1).all()
    assert (top + box_height <= height).all()
    assert (left + box_width <= width).all()


def test_areas_and_ratios_are_drawn_as_asked() -> None:
    _, _, height, width = boxes_of(RandomResizedCrop(8, (0.1, 0.4), (1.0, 1.5)), 1000, 2000).T
    area, ratio = height * width / 2e6, width / height
    assert area.min() > 0.099
    assert area.max() < 0.401
    assert abs(area.mean() - 0.25) < 0.01
    assert ratio.min() > 0.99
    assert ratio.max() < 1.51
    assert abs(np.log(ratio).mean() - np.log(1.5) / 2) < 0.01


def test_places_are_drawn_evenly() -> None:
    top, left, height, width = boxes_of(RandomResizedCrop(8, (0.2, 0.2), (1.0, 1.0)), 1000, 1000).T
    for place, room in ((top, 1000 - height), (left, 1000 - width)):
        assert abs((place / room).mean() - 0.5) < 0.02
        assert place.min() < 10
        assert abs(np.corrcoef(top, left)[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(10, 1000, (0, 493, 10, 13)), (1000, 10, (493, 0, 13, 10)), (1, 1, (0, 0, 1, 1))]
)
def test_an_image_that_no_box_fits_gives_its_centre(height: int, width: int, expected: tuple[int, ...]) -> None:
    crop = RandomResizedCrop(8, (1.0, 1.0), (3 / 4, 4 / 3))
    assert [tuple(box) for box in boxes_of(crop, height, width, 3).tolist()] == [expected] * 3


@pytest.mark.parametrize(
    ("size", "image", "expected"),
    [(4, (10, 11), (3, 3, 4, 4)), ((4, 6), (4, 6), (0, 0, 4, 6)), (8, (4, 6), (0, 1, 4, 4)), ((8, 4), (6, 9), (0, 3, 6, 3))],
)
def test_the_centre_is_that_of_keras(size: Any, image: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert tuple(boxes_of(CenterCrop(size), *image, 1)[0]) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "down", "across"), [("horizontal", 0, 0.5), ("vertical", 0.5, 0), ("horizontal_and_vertical", 0.5, 0.5)]
)
def test_flips_come_at_even_odds(mode: str, down: float, across: float) -> None:
    flip = RandomFlip(mode)
    codes = flip.parameters(draw(3, 1, 1, SAMPLES, flip.num_draws))
    mirrored = {None: (False, False), 0: (True, False), 1: (False, True), -1: (True, True)}
    found = np.array([mirrored[code] for code in codes])
    assert np.abs(found.mean(axis=0) - [down, across]).max() < 0.03
    if down and across:
        assert abs(np.corrcoef(found.T)[0, 1]) < 0.05


def test_draws_depend_on_seed_epoch_position_and_sample_alone() -> None:
    found = draw(1, 2, 0, SAMPLES, 3)
    assert np.array_equal(draw(1, 2, 0, SAMPLES[::-7], 3), found[::-7])
    for other in (draw(2, 2, 0, SAMPLES, 3), draw(1, 3, 0, SAMPLES, 3), draw(1, 2, 1, SAMPLES, 3)):
        assert abs(np.corrcoef(found[:, 0], other[:, 0])[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomResizedCrop(0), ("RandomResizedCrop", "size=")),
        (lambda: RandomResizedCrop((1, 2, 3)), ("RandomResizedCrop", "size=(1, 2, 3)")),
        (lambda: RandomResizedCrop(8, (0, 1)), ("scale=(0, 1)",)),
        (lambda: RandomResizedCrop(8, (0.5, 0.2)), ("scale=(0.5, 0.2)",)),
        (lambda: RandomResizedCrop(8, ratio=(2, 1)), ("ratio=(2, 1)",)),
        (lambda: CenterCrop(-1), ("size=",)),
        (lambda: RandomFlip("diagonal"), ("horizontal_and_vertical", "horizontal", "vertical")),
    ],
)
def test_refuses_what_makes_no_sense(make: Any, words: Parts) -> None:
    with raises(ArgumentError, *words):
        make()
