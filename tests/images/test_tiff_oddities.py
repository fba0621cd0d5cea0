"""What Pillow takes for something else in a TIFF: corrected, refused by name, and not printed."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ImageError, NotAnImageError
from kseq.images.codecs import decode, decode_mask, encode_png
from kseq.images.deep_pixels import read_numbers
from kseq.images.pillow_pixels import PixelRules
from kseq.images.pixel_form import PixelForm
from kseq.platforms import libtiff_messages
from tests.helpers.messages import raises
from tests.helpers.photos import photo
from tests.helpers.pillow_versions import since_pillow_13

tifffile = pytest.importorskip("tifffile", reason="TIFF files of every kind are written by tifffile")

PHOTO = photo(3, 24, 32)


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, pixels, **options)
    return data.getvalue()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(("compression", "top"), [(None, 257), (None, 16), ("zlib", 257)])
def test_colours_of_sixteen_bits_that_lie_one_by_one_are_those_of_the_file(
    byteorder: str, compression: str | None, top: int
) -> None:
    planes = np.moveaxis(PHOTO.astype(np.uint16) * top, 2, 0)
    data = tiff(planes, photometric="rgb", planarconfig="separate", byteorder=byteorder, compression=compression)
    np.testing.assert_array_equal(decode(data, "rgb"), PHOTO)


@pytest.mark.parametrize(("dtype", "byteorder"), [("uint8", "<"), ("uint8", ">"), ("uint16", "<")])
def test_gray_in_which_white_is_zero_is_turned_round_whatever_its_depth(byteorder: str, dtype: str) -> None:
    most = np.iinfo(dtype).max
    data = tiff(most - PHOTO[..., 0].astype(dtype) * (most // 255), photometric="miniswhite", byteorder=byteorder)
    np.testing.assert_array_equal(decode(data, "grayscale")[..., 0], PHOTO[..., 0])


@pytest.mark.parametrize("top", [257, 1])
def test_colours_of_a_palette_have_sixteen_bits_or_eight(top: int) -> None:
    colours = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 70)]).astype(np.uint16)
    indices = PHOTO[..., 0]
    data = tiff(indices, photometric="palette", colormap=colours * top)
    np.testing.assert_array_equal(decode(data, "rgb"), np.moveaxis(colours[:, indices], 0, 2))
    np.testing.assert_array_equal(decode_mask(data)[..., 0], indices)


def test_colours_below_zero_in_a_palette_are_at_most_a_fault_of_the_file() -> None:
    colours = np.stack([np.arange(256)] * 3).astype(np.uint16)
    colours[0, 0] = 65535
    data = tiff(PHOTO[..., 0], photometric="palette", colormap=colours)
    # SSHORT in place of SHORT: the first number is then -1.
    signed = data.replace(struct.pack("<HHI", 320, 3, 768), struct.pack("<HHI", 320, 8, 768))
    assert signed != data
    # Versions of Pillow differ in whether they take it.
    with contextlib.suppress(ImageError):
        assert decode(signed, "rgb").shape == (24, 32, 3)


@pytest.mark.parametrize("photometric", [pytest.param("minisblack", marks=since_pillow_13), "rgb"])
def test_pixels_that_are_multiplied_by_their_alpha_are_divided_by_it(photometric: str) -> None:
    alpha = np.full((24, 32, 1), 128, np.uint8)
    alpha[:12] = 255
    plain = PHOTO[..., : 1 if photometric == "minisblack" else 3]
    multiplied = np.rint(plain.astype(float) * alpha / 255).astype(np.uint8)
    data = tiff(np.dstack([multiplied, alpha]), photometric=photometric, extrasamples=["ASSOCALPHA"])
    found = decode(data, "rgba")
    np.testing.assert_array_equal(found[..., 3:], alpha)
    assert np.abs(found[..., :3].astype(int) - plain).max() <= 1
    np.testing.assert_array_equal(decode(encode_png(data), "rgba"), found)


def test_a_tiff_of_twelve_bits_is_as_dark_as_it_is() -> None:
    values = [0, 16, 200, 255, 100, 48]
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in zip(values[::2], values[1::2], strict=True))
    tags = {256: 6, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    packed += b"\0" * (len(packed) % 2)
    data = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)
    notes: list[str] = []
    assert decode(data, "grayscale", rules=PixelRules(note=notes.append))[0, :, 0].tolist() == [v >> 4 for v in values]
    assert not any("taken as" in note for note in notes)


def test_what_is_wrong_with_a_header_is_said_in_words_of_the_file() -> None:
    indices = tiff(PHOTO[..., 0], photometric="palette", colormap=np.zeros((3, 256), np.uint16))
    without_colours = indices.replace(struct.pack("<HHI", 320, 3, 768), struct.pack("<HHI", 60000, 3, 768))
    width = struct.pack("<HHII", 256, 4, 1, 32)
    no_columns = tiff(PHOTO).replace(width, struct.pack("<HHII", 256, 4, 1, 0))
    signed = tiff(PHOTO.astype(np.int16), photometric="rgb")
    for data, word in ((without_colours, "field 320"), (no_columns, "columns"), (signed, "int16 of shape (")):
        with raises(ImageError, word):
            decode(data, "rgb")


@pytest.mark.parametrize("back_to", [0, 1])
def test_pages_that_lead_back_to_an_earlier_one_are_read_once(back_to: int) -> None:
    data = io.BytesIO()
    with tifffile.TiffWriter(data) as file:
        for value in (7, 9):
            file.write(np.full((4, 4), value, np.uint16), metadata=None)
    offsets, places = [], [4]
    for _ in range(2):
        (offset,) = struct.unpack_from("<I", data.getbuffer(), places[-1])
        (count,) = struct.unpack_from("<H", data.getbuffer(), offset)
        offsets.append(offset)
        places.append(offset + 2 + 12 * count)
    struct.pack_into("<I", data.getbuffer(), places[-1], offsets[back_to])
    pixels, _ = read_numbers(data.getvalue(), PixelForm("uint16", 2), 10**6, PixelRules())
    assert pixels[0, 0].tolist() == [7, 9]


def raw(**tags: Any) -> bytes:
    """A small picture as the first page, and the pixels of a sensor below it, as cameras write them."""
    data = io.BytesIO()
    with tifffile.TiffWriter(data) as file:
        file.write(PHOTO, photometric="rgb", subfiletype=1, subifds=1, metadata=None, **tags)
        file.write(np.zeros((48, 64), np.uint16), photometric="minisblack", metadata=None)
    return data.getvalue()


DNG = [(50706, "B", 4, (1, 4, 0, 0), True)]


@pytest.mark.parametrize(
    "data",
    [raw(), raw(extratags=DNG), tiff(PHOTO, photometric="rgb", extratags=DNG), b"II*\0\x10\0\0\0CR\2\0" + tiff(PHOTO)[12:]],
    ids=["nef", "dng", "linear dng", "cr2"],
)
def test_a_raw_file_of_a_camera_is_not_taken_for_its_small_picture(data: bytes) -> None:
    for read in (lambda: decode(data, "rgb"), lambda: encode_png(data)):
        with pytest.raises(ImageError):
            read()
    if data[8:10] != b"CR":
        with raises(NotAnImageError, "DNG"):
            decode(data, "rgb")
        with raises(NotAnImageError, "DNG"):
            read_numbers(data, PixelForm("uint16", 3), 10**6, PixelRules())


def test_a_smaller_copy_behind_a_picture_makes_no_raw_file_of_it() -> None:
    data = io.BytesIO()
    with tifffile.TiffWriter(data) as file:
        file.write(PHOTO, photometric="rgb", subifds=1, metadata=None)
        file.write(PHOTO[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    np.testing.assert_array_equal(decode(data.getvalue(), "rgb"), PHOTO)


def test_pixels_that_begin_as_the_mark_of_a_raw_file_make_none_of_a_scan() -> None:
    """Scanners write the pixels first, and what is said of them behind."""
    pixels = np.full((8, 8), 90, np.uint8)
    pixels[0, :4] = 67, 82, 2, 0
    tags = [(256, 8), (257, 8), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 8), (279, 64)]
    page = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    data = b"II*\0" + struct.pack("<I", 8 + 64) + pixels.tobytes() + page
    np.testing.assert_array_equal(decode(data, "grayscale")[..., 0], pixels)


def broken_tiff() -> bytes:
    """One whose pixels are compressed, and damaged: libtiff prints what it finds."""
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
        data, "TIFF", compression="tiff_adobe_deflate"
    )
    return data.getvalue()[:200] + b"\xff" * 200 + data.getvalue()[400:]


def test_libtiff_prints_nothing_while_kseq_decodes_and_its_words_are_the_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in" / "c").mkdir(parents=True)
    Image.fromarray(PHOTO).save(tmp_path / "in" / "c" / "a.png")
    (tmp_path / "in" / "c" / "b.tif").write_bytes(broken_tiff())
    for workers in (0, 1):
        report = kseq.pack(tmp_path / "in", tmp_path / f"out{workers}", workers=workers)
        assert "ZIPDecode" in report.rejected[0].reason
    assert "ZIPDecode" not in "".join(capfd.readouterr())


def test_threads_that_begin_at_once_replace_the_handlers_of_libtiff_once(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[int] = []

    def replace(_: Any) -> None:
        time.sleep(0.05)
        replaced.append(threading.get_ident())

    monkeypatch.setattr(libtiff_messages, "_installed", [])
    monkeypatch.setattr(libtiff_messages, "_replace", replace)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: decode(tiff(PHOTO), "rgb"), range(4)))
    assert len(replaced) in (0, 2)


def test_what_libtiff_says_to_others_is_printed_all_the_while(capfd: pytest.CaptureFixture[str]) -> None:
    data = broken_tiff()
    stop, failed = threading.Event(), threading.Event()

    def decode_on() -> None:
        while not stop.is_set():
            with pytest.raises(ImageError):
                decode(data, "rgb")
            failed.set()

    thread = threading.Thread(target=decode_on)
    thread.start()
    try:
        assert failed.wait(60)
        capfd.readouterr()
        with Image.open(io.BytesIO(data)) as image, pytest.raises(OSError, match="decoder"):
            image.load()
    finally:
        stop.set()
        thread.join()
    assert capfd.readouterr().err.count("ZIPDecode") == 1
