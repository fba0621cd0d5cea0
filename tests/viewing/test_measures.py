"""What is found out of images: features, and labels that do not go with them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kseq.viewing.features import COARSE_EDGES, MOST_FEATURES, SIDE, describe, num_features
from kseq.viewing.odd_labels import oddness
from tests.helpers.photos import photo


def features_of(pixels: np.ndarray, count: int = MOST_FEATURES) -> np.ndarray:
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return describe(small, cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), count)


def test_fewer_features_are_the_first_of_many_and_together_they_stay_small() -> None:
    pixels = photo(1, 100, 90)
    assert np.array_equal(features_of(pixels, 72), features_of(pixels)[:72])
    assert [num_features(count) for count in (0, 10, 1_000_000, 1 << 30)] == [MOST_FEATURES, MOST_FEATURES, 72, 72]
    assert num_features(300_000) * 300_000 <= 72_000_000


@pytest.mark.parametrize("value", [0, 255])
def test_extremes_have_features_that_fit_into_a_byte(value: int) -> None:
    flat = np.full((SIDE, SIDE, 3), value, np.uint8)
    assert features_of(flat).shape == (MOST_FEATURES,)
    stripes = flat.copy()
    stripes[::2] = 255 - value
    assert 0 < features_of(stripes).min() <= features_of(stripes).max() < 255


def test_copies_have_nearly_the_same_coarse_edges_and_other_photos_have_not() -> None:
    pixels = photo(3, 200, 150)
    own = features_of(pixels)[COARSE_EDGES].astype(int)
    gray = np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    for copy in (cv2.resize(pixels, (75, 100), interpolation=cv2.INTER_AREA), gray):
        assert np.abs(features_of(copy)[COARSE_EDGES] - own).mean() < 4.5
    assert np.abs(features_of(pixels[::-1].swapaxes(0, 1))[COARSE_EDGES] - own).mean() > 4.5


def clusters(count: int, num_features: int, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Features around three centres, and the number of each one's centre."""
    rng = np.random.default_rng(5)
    labels = np.arange(count) % 3
    centres = 128 + distance * rng.standard_normal((3, num_features))
    return np.clip(centres[labels] + 12 * rng.standard_normal((count, num_features)), 0, 255).astype(np.uint8), labels


@pytest.mark.parametrize(("count", "num_features"), [(60, 200), (3000, 40)])
def test_wrong_labels_come_first_whether_samples_are_few_or_many(count: int, num_features: int) -> None:
    features, labels = clusters(count, num_features, 12)
    wrong = np.array([4, 17, 31])
    labels[wrong] = (labels[wrong] + 1) % 3
    scores = oddness(features, labels, np.ones(count, bool), 3)
    assert sorted(np.argsort(-scores)[:3]) == wrong.tolist()


def test_what_is_not_known_or_alone_in_its_class_comes_last() -> None:
    features, labels = clusters(60, 20, 12)
    is_known = np.arange(60) != 7
    labels[7], labels[9] = -1, 3
    scores = oddness(features, labels, is_known, 5)
    assert np.isneginf(scores[[7, 9]]).all()
    assert np.isfinite(np.delete(scores, [7, 9])).all()
    assert np.isneginf(oddness(features, np.zeros(60, int), is_known, 1)).all()
