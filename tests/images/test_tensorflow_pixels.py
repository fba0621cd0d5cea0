"""Decoded JPEGs are those of TensorFlow, bit for bit, and so those of Keras's own loaders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kseq.images.codecs import decode
from tests.helpers.photos import encoded, photo
from tests.helpers.processes import RunPython

THEIRS = """
import sys
from pathlib import Path
import numpy as np, tensorflow as tf
for path in Path(sys.argv[1]).glob("*.jpg"):
    for channels in (1, 3):
        np.save(path.with_suffix(f".{channels}.npy"), tf.io.decode_image(path.read_bytes(), channels, expand_animations=False))
"""
SIZES = [(64, 64), (97, 131), (1, 1), (3, 200), (17, 16), (300, 5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run_python: RunPython) -> Path:
    """JPEGs of several sizes, qualities, samplings and kinds, and what TensorFlow makes of each."""
    folder = tmp_path_factory.mktemp("jpegs")
    for number, (height, width) in enumerate(SIZES):
        for quality, sampling, progressive in ((50, "4:2:0", False), (95, "4:4:4", True), (88, "4:2:2", False)):
            options = {"quality": quality, "subsampling": sampling, "progressive": progressive}
            data = encoded(Image.fromarray(photo(number, height, width)), "JPEG", **options)
            (folder / f"{number}-{quality}.jpg").write_bytes(data)
        (folder / f"{number}-gray.jpg").write_bytes(encoded(Image.fromarray(photo(number, height, width)[..., 0]), "JPEG"))
    run_python(THEIRS, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("color_mode", "channels"), [("rgb", 3), ("grayscale", 1)])
def test_pixels_of_a_jpeg_are_those_of_tensorflow(color_mode: str, channels: int, folder: Path) -> None:
    paths = sorted(folder.glob("*.jpg"))
    assert len(paths) == 4 * len(SIZES)
    for path in paths:
        theirs = np.load(path.with_suffix(f".{channels}.npy"))
        np.testing.assert_array_equal(decode(path.read_bytes(), color_mode), theirs, err_msg=path.name, strict=True)
