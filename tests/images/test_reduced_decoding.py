"""JPEGs that are shrunk by an averaging resize are decoded at a fraction of their size, close to the full decode."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

import kseq
from kseq.images.codecs import decode, decode_shrunk
from kseq.images.crop_decoding import CropDecoder, EncodedImages
from kseq.images.formats import SIMPLEJPEG_ERRORS
from kseq.images.resize import placement, reductions, resize, resize_to
from tests.helpers.messages import raises
from tests.helpers.photos import encoded, photo

AVERAGING = [("area", False), ("bilinear", True), ("lanczos3", True)]


def write_photo(folder: Path, height: int, width: int, orientation: int = 1, kind: str = "JPEG") -> bytes:
    """One photo of one class; its bytes."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "exif": exif} if kind == "JPEG" else {}
    data = encoded(Image.fromarray(photo(3, height, width)), kind, **options)
    (folder / "a").mkdir(parents=True)
    (folder / "a" / f"0.{kind.lower()}").write_bytes(data)
    return data


def packed_pixels(folder: Path, settings: kseq.ImageSettings) -> np.ndarray:
    """The one photo of a folder as it is packed."""
    kseq.pack(folder, folder.parent / "packed", images=settings, workers=0)
    with kseq.ShardDataset(folder.parent / "packed") as dataset:
        return np.array(dataset[0]["image"])


def served_pixels(folder: Path, **arguments: object) -> np.ndarray:
    """The one photo of a folder, packed as it is, as a batch holds it."""
    if not (folder.parent / "packed").exists():
        kseq.pack(folder, folder.parent / "packed", workers=0)
    sequence = kseq.ShardSequence(folder.parent / "packed", workers=0, label_mode=None, shuffle=False, **arguments)
    pixels: np.ndarray = np.array(sequence[0][0])
    return pixels


@pytest.mark.parametrize(
    ("times", "expected"), [(1, 1), (2.4, 1), (2.5, 2), (7.9, 2), (8, 4), (15, 4), (16, 8), (100, 8)], ids=str
)
def test_a_half_is_at_least_a_quarter_larger_than_the_target_and_less_is_twice_as_large(times: float, expected: int) -> None:
    sides = np.array([round(100 * times)])
    assert reductions(sides, sides * 2, 100, 100).tolist() == [expected]


@pytest.mark.parametrize(("interpolation", "antialias"), AVERAGING)
def test_a_packed_photo_is_nearly_what_the_full_decode_gives(tmp_path: Path, interpolation: str, antialias: bool) -> None:
    data = write_photo(tmp_path / "photos", 300, 420)
    settings = kseq.ImageSettings("raw", (50, 60), interpolation=interpolation, antialias=antialias)
    stored = packed_pixels(tmp_path / "photos", settings)
    full, reduced = np.empty((50, 60, 3), np.uint8), np.empty((50, 60, 3), np.uint8)
    resize(decode(data, "rgb"), full, interpolation, antialias)
    resize(simplejpeg.decode_jpeg(data, "RGB", fastdct=True, min_height=150, min_width=210), reduced, interpolation, antialias)
    np.testing.assert_array_equal(stored, reduced)
    assert np.abs(stored.astype(int) - full).mean() < 2
    assert not np.array_equal(stored, full)


@pytest.mark.parametrize("fit", kseq.ImageSettings.RESIZES)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("where", ["packed", "served"])
def test_each_fit_of_each_orientation_is_near_the_full_decode(tmp_path: Path, where: str, orientation: int, fit: str) -> None:
    data = write_photo(tmp_path / "photos", 240, 420, orientation)
    expected = np.empty((40, 50, 3), np.uint8)
    resize_to(decode(data, "rgb", orientation), expected, fit, "bilinear", antialias=True)
    if where == "packed":
        pixels = packed_pixels(tmp_path / "photos", kseq.ImageSettings("raw", (40, 50), resize=fit, antialias=True))
    else:
        ratio = {"crop": {"crop_to_aspect_ratio": True}, "pad": {"pad_to_aspect_ratio": True}}.get(fit, {})
        pixels = served_pixels(tmp_path / "photos", input_shape=(40, 50, 3), antialias=True, **ratio)
    assert np.abs(pixels.astype(int) - expected).mean() < 3
    filled = placement(*decode(data, "rgb", orientation).shape[:2], 40, 50, fit).target
    outside = np.ones((40, 50), bool)
    filled.crop(outside)[:] = False
    assert not pixels[outside].any()


@pytest.mark.parametrize("size", [(401, 533), (533, 401), (535, 399)], ids=str)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("where", ["packed", "served"])
def test_sides_that_are_not_divided_evenly_do_not_move_the_picture(
    tmp_path: Path, where: str, orientation: int, size: tuple[int, int]
) -> None:
    # Cells as large as a pixel of the result: one that moved by a fraction of itself differs much.
    cells = np.random.default_rng(0).integers(0, 255, (size[0] // 12, size[1] // 12, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(cells).resize(size[::-1], Image.Resampling.BICUBIC), "JPEG", quality=95, exif=exif)
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "0.jpeg").write_bytes(data)
    full = np.empty((33, 57, 3), np.uint8)
    resize(decode(data, "rgb", orientation), full, "area")
    if where == "packed":
        pixels = packed_pixels(tmp_path / "photos", kseq.ImageSettings("raw", (33, 57), interpolation="area"))
    else:
        pixels = served_pixels(tmp_path / "photos", input_shape=(33, 57, 3), interpolation="area")
    # Where the picture moves by a column, it is 6 to 17.
    assert np.abs(pixels.astype(float) - full).mean() < 5


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_cannot_be_decoded_smaller_is_decoded_whole(tmp_path: Path, kind: str) -> None:
    data = write_photo(tmp_path / "photos", 90, 120, kind=kind)
    expected = np.empty((20, 20, 1), np.uint8)
    resize(decode(data, "grayscale"), expected, "area")
    settings = kseq.ImageSettings("raw", (20, 20), color_mode="grayscale", interpolation="area")
    np.testing.assert_array_equal(packed_pixels(tmp_path / "photos", settings), expected)


def test_a_truncated_photo_that_is_decoded_smaller_is_still_left_out(tmp_path: Path) -> None:
    data = write_photo(tmp_path / "photos", 300, 420)
    (tmp_path / "photos" / "a" / "0.jpeg").write_bytes(data[: len(data) // 2])
    (tmp_path / "photos" / "a" / "1.jpeg").write_bytes(data)
    settings = kseq.ImageSettings("raw", (50, 60), interpolation="area")
    report = kseq.pack(tmp_path / "photos", tmp_path / "packed", images=settings, workers=0)
    assert [rejected.path for rejected in report.rejected] == [b"a/0.jpeg"]
    assert report.num_samples == 1


def test_without_antialias_a_whole_photo_is_decoded_whole(tmp_path: Path) -> None:
    data = write_photo(tmp_path / "photos", 300, 420)
    expected = np.empty((50, 60, 3), np.uint8)
    resize(decode(data, "rgb"), expected, "bilinear")
    np.testing.assert_array_equal(served_pixels(tmp_path / "photos", input_shape=(50, 60, 3), decode="exact"), expected)


CROP = kseq.RandomResizedCrop(40, scale=(1, 1), ratio=(1, 1))


@pytest.mark.parametrize("size", [79, 80, 81])
def test_colours_of_a_photo_that_is_shrunk_to_a_half_are_repeated_unless_decode_is_exact(tmp_path: Path, size: int) -> None:
    data = write_photo(tmp_path / "photos", size, 90)
    fast, exact = (served_pixels(tmp_path / "photos", input_shape=(40, 40, 3), decode=decode) for decode in ("fast", "exact"))
    np.testing.assert_array_equal(served_pixels(tmp_path / "photos", input_shape=(40, 40, 3)), fast)
    for pixels, repeated in ((fast, size >= 80), (exact, False)):
        expected = np.empty_like(pixels)
        resize(simplejpeg.decode_jpeg(data, "RGB", fastdct=True, fastupsample=repeated), expected, "bilinear")
        np.testing.assert_array_equal(pixels, expected)
    # These colours change from pixel to pixel; on real photos it is 0.2.
    assert np.abs(fast.astype(int) - exact).mean() < 3


@pytest.mark.parametrize("size", [40, 60, 79])
def test_a_crop_that_is_not_shrunk_to_a_half_is_exact(tmp_path: Path, size: int) -> None:
    write_photo(tmp_path / "photos", size, size)
    fast, exact = (served_pixels(tmp_path / "photos", augment=CROP, decode=decode) for decode in ("fast", "exact"))
    np.testing.assert_array_equal(fast, exact)


@pytest.mark.parametrize(
    "arguments", [{"input_shape": (40, 40, 3), "antialias": True}, {"augment": CROP}], ids=["whole", "crop"]
)
def test_decode_exact_decodes_nothing_smaller(tmp_path: Path, arguments: dict) -> None:
    data = write_photo(tmp_path / "photos", 200, 200)
    expected = np.empty((40, 40, 3), np.uint8)
    resize(decode(data, "rgb"), expected, "bilinear", antialias="antialias" in arguments)
    np.testing.assert_array_equal(served_pixels(tmp_path / "photos", **arguments, decode="exact"), expected)
    assert not np.array_equal(served_pixels(tmp_path / "photos", **arguments), expected)


def test_another_way_to_decode_is_refused(tmp_path: Path) -> None:
    write_photo(tmp_path / "photos", 8, 8)
    with raises(kseq.errors.ArgumentError, "decode", "best", "fast", "exact"):
        served_pixels(tmp_path / "photos", decode="best")


def test_a_random_crop_obeys_antialias(tmp_path: Path) -> None:
    data = write_photo(tmp_path / "photos", 300, 300)
    pixels = served_pixels(tmp_path / "photos", antialias=True, augment=kseq.RandomResizedCrop(40, scale=(1, 1), ratio=(1, 1)))
    expected = np.empty((40, 40, 3), np.uint8)
    resize(decode(data, "rgb"), expected, "bilinear", antialias=True)
    assert np.abs(pixels.astype(int) - expected).mean() < 2


def lossless_jpeg(values: np.ndarray) -> bytes:
    """`(height, width)` uint8 as a lossless JPEG (ITU-T T.81, annex H): the difference to the value on the left, or above."""
    height, width = values.shape
    values = values.astype(int)
    predicted = np.full((height, width), 128)
    predicted[1:, 0], predicted[:, 1:] = values[:-1, 0], values[:, :-1]
    bits = ""
    for difference in (values - predicted).ravel().tolist():
        size = abs(difference).bit_length()
        coded = difference if difference > 0 else difference + (1 << size) - 1
        bits += f"{size:04b}" + (f"{coded:0{size}b}" if size else "")
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = b"\xff\xc3\0\x0b\x08" + struct.pack(">HH", height, width) + b"\1\1\x11\0"
    # Nine codes of four bits: how many bits a difference has.
    codes = b"\xff\xc4\0\x1c\0" + bytes([0, 0, 0, 9, *[0] * 12, *range(9)])
    return b"\xff\xd8" + frame + codes + b"\xff\xda\0\x08\1\1\0\1\0\0" + scan + b"\xff\xd9"


def test_a_lossless_jpeg_is_never_decoded_smaller_and_keeps_its_pixels() -> None:
    values = photo(4, 96, 128)[..., 0]
    data = lossless_jpeg(values)
    for reduction in (1, 2, 8):
        np.testing.assert_array_equal(decode(data, "grayscale", reduction=reduction)[..., 0], values)
        # Bytes between segments hide what frame it is.
        hidden = data[:2] + b"\xff" + data[2:]
        np.testing.assert_array_equal(decode(hidden, "grayscale", reduction=reduction)[..., 0], values)
    stored = np.frombuffer(data, np.uint8)
    with pytest.raises(SIMPLEJPEG_ERRORS):
        decode_shrunk(stored, "grayscale", 2, 96, 128, fast=True)
    images = EncodedImages([stored], np.array([[96, 128]]), np.array([1], np.uint8), [np.empty(0, "<u4")])
    crops = CropDecoder(images, np.array([[8, 16, 64, 64]]), np.array([4]), np.array([True]))
    np.testing.assert_array_equal(crops.decode(0, "grayscale")[..., 0], values[8:72, 16:80])
