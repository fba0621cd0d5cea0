"""Tiles of a JPEG: any part, decoded from the tiles under it, is that part of the whole image, pixel for pixel."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

import kseq
from kseq.errors import DamagedError
from kseq.images import crop_decoding
from kseq.images.codecs import decode, encode_jpeg, encode_png
from kseq.images.crop_decoding import CropDecoder, EncodedImages
from kseq.images.jpeg_tiles import TileCuts, choose_interval, find_tiles
from kseq.images.rectangle import Rectangle
from kseq.images.resize import crop_reductions
from kseq.reading.dataset import sample_reader
from kseq.reading.sample_reader import LocatedSamples
from kseq.training.batch_maker import BatchMaker
from kseq.training.image_spec import ImageSpec
from kseq.training.transforms import AugmentationList
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import photo

SAMPLINGS = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:4:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "4:1:1": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
}
NO_TILES = np.empty(0, "<u4")


def jpeg(pixels: np.ndarray, interval: int = 0, sampling: str = "4:2:0", progressive: bool = False) -> bytes:
    parameters = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling], cv2.IMWRITE_JPEG_RST_INTERVAL, interval]
    return cv2.imencode(".jpg", pixels, [*parameters, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])[1].tobytes()


def decode_box(
    data: bytes,
    color_mode: str,
    orientation: int,
    size: tuple[int, int],
    tiles: np.ndarray,
    box: Rectangle,
    target: tuple[int, int],
    fast: bool = False,
) -> np.ndarray:
    """A part of one image."""
    stored = EncodedImages([np.frombuffer(data, np.uint8)], np.array([size]), np.array([orientation]), [tiles])
    return crop_decoder(stored, [box], target, fast).decode(0, color_mode)


def crop_decoder(stored: EncodedImages, parts: list[Rectangle], target: tuple[int, int], fast: bool = False) -> CropDecoder:
    """Decodes parts that are to be resized to a target."""
    crops = np.array(parts, np.int64).reshape(-1, 4)
    return CropDecoder(stored, crops, crop_reductions(crops[:, 2], crops[:, 3], *target), np.full(len(crops), fast))


def cuts_of(data: bytes, tiles: np.ndarray, height: int, width: int, box: Rectangle) -> TileCuts:
    one = Rectangle(*np.array([box]).T)
    return TileCuts([np.frombuffer(data, np.uint8)], [tiles], np.array([[height, width]]), one, np.ones(1, int), 1.0)


@st.composite
def boxes(draw: st.DrawFn, height: int, width: int) -> Rectangle:
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Rectangle(top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[bytes, tuple[int, int], Rectangle, tuple[int, int]]:
    """A JPEG that falls into tiles, its size, a box in it, and what that is to be resized to."""
    height, width, seed = draw(st.integers(1, 150)), draw(st.integers(1, 150)), draw(st.integers(0, 99))
    pixels = photo(seed, height, width)
    if draw(st.booleans()):
        data = jpeg(pixels, draw(st.integers(1, 20)), draw(st.sampled_from(sorted(SAMPLINGS))))
    else:
        data = encode_jpeg(pixels if draw(st.booleans()) else pixels[..., :1], draw(st.integers(1, 100)))
    assume(find_tiles(data).size)
    box = draw(boxes(height, width))
    shrink = draw(st.sampled_from([1, 1, 2, 4, 8, 16]))
    return data, (height, width), box, (max(1, box.height // shrink), max(1, box.width // shrink))


@pytest.mark.slow
@settings(max_examples=400)
@given(case=cases(), color_mode=st.sampled_from(["rgb", "grayscale", "rgba"]), fast=st.booleans())
@example(case=(jpeg(photo(23, 1, 83), 1, "4:2:2"), (1, 83), Rectangle(0, 81, 1, 1), (1, 1)), color_mode="rgb", fast=False)
@example(case=(jpeg(photo(23, 9, 130), 1), (9, 130), Rectangle(0, 126, 8, 4), (4, 2)), color_mode="rgb", fast=False)
@example(case=(jpeg(photo(3, 9, 17), 1, "4:2:2"), (9, 17), Rectangle(0, 0, 9, 6), (2, 1)), color_mode="rgb", fast=False)
@example(case=(jpeg(photo(1, 64, 96), 3), (64, 96), Rectangle(0, 0, 64, 48), (1, 1)), color_mode="rgb", fast=False)
def test_a_part_from_tiles_is_that_part_of_the_whole(
    case: tuple[bytes, tuple[int, int], Rectangle, tuple[int, int]], color_mode: str, fast: bool
) -> None:
    data, size, box, target = case
    most, crop_decoding._MOST_CUT = crop_decoding._MOST_CUT, 1.0
    try:
        part = decode_box(data, color_mode, 1, size, find_tiles(data), box, target, fast)
    finally:
        crop_decoding._MOST_CUT = most
    whole = decode_box(data, color_mode, 1, size, NO_TILES, box, target, fast)
    np.testing.assert_array_equal(part, whole, strict=True)


PNG = encode_png(jpeg(photo(2, 40, 50)))


@settings(max_examples=60)
@given(images=st.lists(st.one_of(cases(), st.just((PNG, (40, 50), Rectangle(3, 5, 30, 20), (10, 10)))), max_size=8))
def test_parts_of_several_images_are_those_of_each_alone(
    images: list[tuple[bytes, tuple[int, int], Rectangle, tuple[int, int]]],
) -> None:
    target = (16, 24)
    stored = EncodedImages(
        [np.frombuffer(data, np.uint8) for data, _, _, _ in images],
        np.array([size for _, size, _, _ in images], np.int64).reshape(-1, 2),
        np.ones(len(images), np.uint8),
        [find_tiles(data) for data, _, _, _ in images],
    )
    together = crop_decoder(stored, [box for _, _, box, _ in images], target)
    for number, (data, size, box, _) in enumerate(images):
        alone = decode_box(data, "rgb", 1, size, NO_TILES, box, target)
        np.testing.assert_array_equal(together.decode(number, "rgb"), alone, strict=True)


@given(height=st.integers(1, 90), width=st.integers(1, 90), data=st.data())
def test_a_part_that_is_not_shrunk_is_a_slice_of_the_plain_decode(height: int, width: int, data: st.DataObject) -> None:
    encoded = encode_jpeg(photo(height, height, width), 90)
    box = data.draw(boxes(height, width))
    found = decode_box(encoded, "rgb", 1, (height, width), find_tiles(encoded), box, (90, 90))
    np.testing.assert_array_equal(found, box.crop(simplejpeg.decode_jpeg(encoded, fastdct=True)), strict=True)


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_box_twice_the_target_is_decoded_at_half_the_size(shrink: int) -> None:
    encoded = encode_jpeg(photo(3, 200, 304), 90)
    box = Rectangle(3, 20, 120, 160)
    found = decode_box(encoded, "rgb", 1, (200, 304), find_tiles(encoded), box, (120 // shrink, 160 // shrink))
    small = simplejpeg.decode_jpeg(encoded, fastdct=True, min_height=200 // shrink, min_width=304 // shrink)
    assert small.shape == (200 // shrink, 304 // shrink, 3)
    np.testing.assert_array_equal(found, box.shrink(shrink, 200, 304).crop(small), strict=True)
    assert found.shape == (120 // shrink, 160 // shrink, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_that_is_turned_is_shrunk_like_one_that_is_not(orientation: int) -> None:
    encoded = encode_jpeg(photo(3, 96, 64), 90)
    size = (96, 64) if orientation < 5 else (64, 96)
    found = decode_box(encoded, "rgb", orientation, size, NO_TILES, Rectangle(8, 16, 32, 48), (16, 24))
    upright = decode(encoded, "rgb", orientation)
    assert found.shape == (16, 24, 3)
    expected = cv2.resize(upright[8:40, 16:64], (24, 16), interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(int) - expected).mean() < 4


@given(width=st.integers(1, 5000), mcu_width=st.sampled_from([8, 16]))
def test_an_interval_divides_the_row_and_is_near_32_pixels(width: int, mcu_width: int) -> None:
    interval, row = choose_interval(width, mcu_width), -(-width // mcu_width)
    assert row % interval == 0
    assert 1 <= interval * mcu_width <= 64
    if row % (32 // mcu_width) == 0:
        assert interval * mcu_width == 32


@pytest.mark.parametrize(
    "data",
    [
        jpeg(photo(1, 64, 96)),
        jpeg(photo(1, 64, 96), 4),
        jpeg(photo(1, 64, 96), 2, progressive=True),
        jpeg(photo(1, 64, 96), 2)[:-2],
        jpeg(photo(1, 64, 96), 2)[:400],
        b"\xff\xd8\xff\xda",
        b"",
        b"\x89PNG\r\n\x1a\n" + bytes(50),
    ],
    ids=["no markers", "out of line", "progressive", "no end", "truncated", "header alone", "empty", "PNG"],
)
def test_finds_no_tiles_where_there_are_none(data: bytes) -> None:
    assert find_tiles(data).size == 0


def test_markers_out_of_turn_are_no_tiles() -> None:
    data = jpeg(photo(1, 64, 96), 2)
    assert find_tiles(data).size
    assert find_tiles(data.replace(b"\xff\xd3", b"\xff\xd5", 1)).size == 0


def test_finds_the_tiles_of_an_image_with_stray_bytes_behind_it() -> None:
    data = jpeg(photo(1, 64, 96), 2)
    np.testing.assert_array_equal(find_tiles(data + bytes(9) + data), find_tiles(data))


def test_a_cut_is_a_jpeg_of_fewer_bytes_that_pillow_opens() -> None:
    data = encode_jpeg(photo(5, 200, 320), 90)
    cuts = cuts_of(data, find_tiles(data), 200, 320, Rectangle(50, 100, 30, 40))
    assert cuts.covered.to_list() == [Rectangle(48, 96, 48, 64)]
    cut = cuts.cut(0).tobytes()
    assert len(cut) < len(data) / 4
    with Image.open(io.BytesIO(cut)) as image:
        assert image.size == (64, 48)
        image.load()


@pytest.mark.slow
def test_more_tiles_than_the_table_of_numbers_holds() -> None:
    data = encode_jpeg(photo(6, 2000, 2400), 50)
    box = Rectangle(1, 1, 1990, 2390)
    assert find_tiles(data).size > 8192
    cuts = cuts_of(data, find_tiles(data), 2000, 2400, box)
    np.testing.assert_array_equal(simplejpeg.decode_jpeg(cuts.cut(0)), simplejpeg.decode_jpeg(data), strict=True)


@settings(max_examples=300)
@given(number=st.integers(0, 28), value=st.integers(0, 2**32 - 1), end=st.integers(1, 29))
def test_a_record_of_tiles_that_was_changed_gives_pixels_or_a_damaged_error(number: int, value: int, end: int) -> None:
    data = jpeg(photo(1, 64, 96), 1)
    record = find_tiles(data)[:end].copy()
    assert find_tiles(data).size == 4 + 24 + 1
    record[number % end] = value
    try:
        found = decode_box(data, "rgb", 1, (64, 96), record, Rectangle(17, 33, 20, 20), (20, 20))
    except DamagedError as error:
        assert_says(str(error), "tiles")
    else:
        assert found.shape == (20, 20, 3)


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 photos of several sizes, encoded anew: each falls into tiles."""
    root = tmp_path_factory.mktemp("tiled")
    (root / "photos" / "a").mkdir(parents=True)
    for number in range(24):
        Image.fromarray(photo(number, 90 + 8 * (number % 5), 120 + 9 * (number % 3))).save(
            root / "photos" / "a" / f"{number}.png"
        )
    kseq.pack(root / "photos", root / "packed", images=kseq.ImageSettings("jpeg"), workers=0)
    return root / "packed"


def test_batches_do_not_depend_on_the_tiles(tiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = kseq.ShardDataset(tiled)
    augmentations = AugmentationList([kseq.RandomResizedCrop(32, scale=(0.05, 1)), kseq.RandomFlip()])
    maker = BatchMaker(dataset, ["image"], ImageSpec(32, 32), augmentations)

    def filled() -> np.ndarray:
        out = np.empty((96, 32, 32, 3), np.uint8)
        maker.fill({"image": out}, 0, np.arange(96) % 24, 5)
        return out

    cut: list[int] = []
    make = TileCuts.cut
    monkeypatch.setattr(TileCuts, "cut", lambda self, number: cut.append(number) or make(self, number))
    with_tiles = filled()
    assert 40 < len(cut) < 96
    find = LocatedSamples.encoded_images
    monkeypatch.setattr(LocatedSamples, "encoded_images", lambda *args: find(*args)._replace(tiles=[NO_TILES] * 96))
    cut.clear()
    np.testing.assert_array_equal(filled(), with_tiles)
    assert not cut


def test_a_batch_names_the_sample_whose_tiles_are_damaged(tiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = kseq.ShardDataset(tiled, verify="never")
    find = LocatedSamples.encoded_images
    monkeypatch.setattr(LocatedSamples, "encoded_images", lambda *args: find(*args)._replace(tiles=[np.ones(9, "<u4")] * 3))
    augmentations = AugmentationList([kseq.RandomResizedCrop(8, scale=(0.1, 0.2))])
    maker = BatchMaker(dataset, ["image"], ImageSpec(8, 8), augmentations)
    with raises(DamagedError, "shard-00000.h5", "row 4"):
        maker.fill({"image": np.empty((3, 8, 8, 3), np.uint8)}, 0, np.arange(4, 7), 5)


@pytest.mark.parametrize("interval", [0, 3])
def test_keep_profits_from_markers_that_are_there(tmp_path: Path, interval: int) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    data = jpeg(photo(1, 64, 96), interval)
    (tmp_path / "photos" / "a" / "x.jpg").write_bytes(data)
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert dataset.stored_bytes(0) == data
    ((reader, _),) = sample_reader(dataset).locate(np.array([0]))
    assert reader.array("image/tiles").size == (4 + 4 * 2 + 1 if interval else 0)


@settings(max_examples=500)
@given(offset=st.integers(0, 700), value=st.integers(0, 255), end=st.integers(0, 3000))
def test_a_broken_header_is_no_error(offset: int, value: int, end: int) -> None:
    data = bytearray(jpeg(photo(1, 32, 64), 2))
    data[min(offset, len(data) - 1)] = value
    assert find_tiles(bytes(data[:end])).dtype == np.uint32
    assert find_tiles(bytes(data)).dtype == np.uint32
