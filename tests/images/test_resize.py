"""Resizing, against TensorFlow and Keras: every interpolation, both ways, and the three fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kseq.images.resize import INTERPOLATIONS, resize, resize_to
from tests.helpers.photos import photo
from tests.helpers.processes import RunPython

SIZES = [(40, 60), (200, 300), (97, 50), (31, 262), (2, 3)]
SOURCE = (97, 131)

THEIRS = """
import sys
import keras, numpy as np, tensorflow as tf
from tests.helpers.photos import photo
target, height, width, methods, sizes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(), eval(sys.argv[5])
pixels = photo(5, height, width)
found = {}
for size in sizes:
    for method in methods:
        found[f"{method} {size}"] = tf.image.resize(pixels, size, method=method).numpy()
        found[f"{method} {size} antialias"] = tf.image.resize(pixels, size, method=method, antialias=True).numpy()
    found[f"crop {size}"] = np.array(keras.preprocessing.image.smart_resize(pixels.astype("float32"), size))
    found[f"pad {size}"] = tf.image.resize_with_pad(pixels, *size).numpy()
np.savez(target, **found)
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, run_python: RunPython) -> dict[str, np.ndarray]:
    target: Path = tmp_path_factory.mktemp("resized") / "theirs.npz"
    run_python(THEIRS, target, *SOURCE, " ".join(INTERPOLATIONS), SIZES, backend="tensorflow")
    with np.load(target) as found:
        return dict(found)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_interpolations_are_those_of_tensorflow(
    interpolation: str, size: tuple[int, int], theirs: dict[str, np.ndarray]
) -> None:
    out = np.empty((*size, 3), np.uint8)
    resize(photo(5, *SOURCE), out, interpolation)
    assert np.abs(np.clip(theirs[f"{interpolation} {size}"], 0, 255) - out).max() < 1


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_antialiased_interpolations_are_those_of_tensorflow(
    interpolation: str, size: tuple[int, int], theirs: dict[str, np.ndarray]
) -> None:
    out = np.empty((*size, 3), np.uint8)
    resize(photo(5, *SOURCE), out, interpolation, antialias=True)
    # Pillow rounds twice: after the rows, and after the columns.
    assert np.abs(np.clip(theirs[f"{interpolation} {size} antialias"], 0, 255) - out).max() < 1.6


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_fits_are_those_of_keras(fit: str, size: tuple[int, int], theirs: dict[str, np.ndarray]) -> None:
    out = np.full((*size, 3), 99, np.uint8)
    resize_to(photo(5, *SOURCE), out, fit, "bilinear")
    assert np.abs(theirs[f"{fit} {size}"] - out).max() < 1


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("antialias", [False, True], ids=["plain", "antialias"])
@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos3", "area", "gaussian"])
def test_each_channel_is_resized_alike(interpolation: str, antialias: bool, fit: str, channels: int) -> None:
    pixels = photo(6, 30, 50)
    expected, out = np.empty((20, 20, 3), np.uint8), np.empty((20, 20, channels), np.uint8)
    resize_to(pixels, expected, fit, interpolation, antialias)
    resize_to(np.ascontiguousarray(pixels[..., [0, 1, 2, 0][:channels]]), out, fit, interpolation, antialias)
    assert np.array_equal(out, expected[..., [0, 1, 2, 0][:channels]])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_same_size_is_a_copy(interpolation: str) -> None:
    pixels = photo(7, 12, 10)
    out = np.zeros_like(pixels)
    resize(pixels, out, interpolation)
    assert np.array_equal(out, pixels)


@pytest.mark.parametrize("antialias", [False, True], ids=["plain", "antialias"])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_view_into_a_larger_image_is_resized_as_itself(interpolation: str, antialias: bool) -> None:
    pixels = photo(8, 40, 40)
    view, out, expected = pixels[5:25, 7:31], np.empty((9, 9, 3), np.uint8), np.empty((9, 9, 3), np.uint8)
    resize(view, out, interpolation, antialias)
    resize(view.copy(), expected, interpolation, antialias)
    assert np.array_equal(out, expected)
