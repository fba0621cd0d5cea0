"""One rule for each kind of image: formats, colours, depth, alpha, orientation, and what is broken."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from kseq.errors import ImageError, NotAnImageError
from kseq.images.codecs import decode, encode_jpeg, encode_png
from kseq.images.formats import JPEG, MAX_PIXELS, PNG, ImageHeader, read_header
from kseq.images.pixel_form import recolor
from tests.helpers.messages import raises
from tests.helpers.photos import FAST_DCT, encoded, photo

PIXELS = photo(1, 24, 36)


def oriented(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(PIXELS), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_decodes_every_format(kind: str) -> None:
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encoded(Image.fromarray(PIXELS), kind, **options)
    header = read_header(data)
    assert (header.format.name, header.height, header.width, header.orientation) == (kind, 24, 36, 1)
    found = decode(data, "rgb")
    assert found.shape == (24, 36, 3)
    assert found.dtype == np.uint8
    # A GIF has 256 colours, a JPEG loses a little.
    assert np.abs(found.astype(int) - PIXELS).mean() < {"GIF": 8, "JPEG": 5}.get(kind, 1e-9)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_pixels_come_upright(kind: str, orientation: int) -> None:
    data = oriented(kind, orientation)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    header = read_header(data)
    assert (header.height, header.width) == upright.shape[:2]
    found = decode(data, "rgb", header.orientation)
    assert np.abs(found.astype(int) - upright).max() <= (FAST_DCT if kind == "JPEG" else 0)


def with_xmp(orientation: int) -> bytes:
    xmp = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'
    return encoded(Image.fromarray(PIXELS), "JPEG", xmp=xmp.encode())


def with_segment_before(data: bytes, marker: int, inside: bytes) -> bytes:
    """A JPEG with one more segment, right after its first two bytes."""
    return data[:2] + struct.pack(">BBH", 0xFF, marker, 2 + len(inside)) + inside + data[2:]


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(PIXELS), "JPEG"),
        encoded(Image.fromarray(PIXELS[..., 0]), "JPEG", progressive=True),
        oriented("JPEG", 6),
        with_xmp(8),
        # What begins a scan, and what announces EXIF, in the wrong place.
        with_segment_before(oriented("JPEG", 5), 0xEC, b"\xff\xda\0\x08" + bytes(20)),
        with_segment_before(encoded(Image.fromarray(PIXELS), "JPEG"), 0xFE, b"\xff\xe1\0\x10Exif\0\0"),
        # A byte 0xFF that fills the space before a marker, as T.81 allows.
        oriented("JPEG", 7)[:2] + b"\xff" + oriented("JPEG", 7)[2:],
    ],
)
def test_the_header_is_what_pillow_says(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        found = read_header(data)
        assert found == ImageHeader(JPEG, upright.height, upright.width, image.getexif().get(0x0112, 1))


@pytest.mark.parametrize("value", [0, 9, 300])
def test_an_orientation_that_exif_does_not_define_is_none(value: int) -> None:
    assert read_header(oriented("JPEG", value)).orientation == 1


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("color_mode", ["rgb", "grayscale", "rgba"])
def test_decodes_into_the_memory_it_is_given(orientation: int, color_mode: str) -> None:
    data = oriented("JPEG", orientation)
    expected = decode(data, color_mode, orientation)
    out = np.zeros_like(expected)
    assert decode(data, color_mode, orientation, out) is out
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("orientation", [1, 6])
def test_refuses_memory_of_another_size(orientation: int) -> None:
    with raises(ImageError, "9 x 9"):
        decode(oriented("JPEG", orientation), "rgb", orientation, np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize("marked", [True, False])
def test_cmyk_becomes_rgb_whether_or_not_adobe_marked_it(marked: bool) -> None:
    data = encoded(Image.fromarray(PIXELS).convert("CMYK"), "JPEG", quality=98)
    if not marked:
        start = data.index(b"\xff\xee")
        data = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]
    assert (b"Adobe" in data) == marked
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode(data, "rgb") - expected).max() <= 6
    gray = decode(data, "grayscale")
    assert gray.shape == (24, 36, 1)
    assert np.abs(gray[..., 0] - np.asarray(Image.fromarray(PIXELS).convert("L")).astype(int)).mean() < 6


def test_a_palette_becomes_its_colours() -> None:
    palette = Image.fromarray(PIXELS).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    assert np.array_equal(decode(encoded(palette, "PNG"), "rgb"), expected)


def test_the_transparency_of_a_palette_is_alpha() -> None:
    palette = Image.fromarray(PIXELS).quantize(16)
    data = encoded(palette, "PNG", transparency=3)
    transparent = np.asarray(palette) == 3
    found = decode(data, "rgba")
    assert np.array_equal(found[..., 3] == 0, transparent)
    assert np.array_equal(decode(data, "rgb"), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_transparent_colour_is_alpha(mode: str) -> None:
    pixels = Image.fromarray(PIXELS).convert(mode)
    color = pixels.getpixel((0, 0))
    data = encoded(pixels, "PNG", transparency=color)
    plain = np.asarray(pixels.convert("RGB"))
    found = decode(data, "rgba")
    assert np.array_equal(found[..., 3] == 0, (plain == plain[0, 0]).all(axis=2))
    assert np.array_equal(decode(data, "rgb"), plain)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_high_byte(kind: str) -> None:
    values = (np.arange(24 * 36).reshape(24, 36) * 75).astype(np.uint16)
    data = encoded(Image.fromarray(values), kind)
    assert np.array_equal(decode(data, "grayscale")[..., 0], values // 256)
    assert np.array_equal(decode(data, "rgb"), np.repeat(values[..., None] // 256, 3, axis=2))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_sixteen_bit_colours_keep_their_high_byte() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    assert np.array_equal(decode(data, "rgb"), values // 256)


def test_one_bit_becomes_0_and_255() -> None:
    bits = Image.fromarray(PIXELS).convert("1")
    assert np.array_equal(decode(encoded(bits, "PNG"), "grayscale")[..., 0], np.asarray(bits) * 255)


def test_alpha_is_dropped_or_kept_and_else_opaque() -> None:
    alpha = np.random.default_rng(0).integers(0, 256, (24, 36, 1), np.uint8)
    data = encoded(Image.fromarray(np.concatenate([PIXELS, alpha], axis=2)), "PNG")
    assert np.array_equal(decode(data, "rgb"), PIXELS)
    assert np.array_equal(decode(data, "rgba")[..., 3:], alpha)
    assert (decode(encoded(Image.fromarray(PIXELS), "PNG"), "rgba")[..., 3] == 255).all()
    assert (decode(encoded(Image.fromarray(PIXELS), "JPEG"), "rgba")[..., 3] == 255).all()


def test_gray_with_alpha_keeps_both() -> None:
    gray = np.asarray(Image.fromarray(PIXELS).convert("LA"))
    data = encoded(Image.fromarray(gray, "LA"), "PNG")
    assert np.array_equal(decode(data, "rgba")[..., 0], gray[..., 0])
    assert np.array_equal(decode(data, "grayscale")[..., 0], gray[..., 0])


def test_gray_is_the_luma_of_bt_601() -> None:
    expected = PIXELS @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(encoded(Image.fromarray(PIXELS), "PNG"), "grayscale")[..., 0] - expected).max() <= 1
    jpeg = encoded(Image.fromarray(PIXELS), "JPEG", quality=98, subsampling=0)
    assert np.abs(decode(jpeg, "grayscale")[..., 0] - expected).max() <= 6


def test_a_gray_jpeg_decodes_to_every_colour_mode() -> None:
    gray = Image.fromarray(PIXELS).convert("L")
    data = encoded(gray, "JPEG", quality=98)
    found = decode(data, "rgb")
    assert (found[..., 0] == found[..., 2]).all()
    assert np.array_equal(decode(data, "grayscale")[..., 0], found[..., 0])


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.fromarray(photo(number, 8, 8)).quantize(64) for number in range(3)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.abs(decode(data, "rgb").astype(int) - np.asarray(frames[0].convert("RGB"))).max() == 0


@pytest.mark.parametrize(("mode", "said"), [("F", "float32 of shape (4, 4)"), ("LAB", "'LAB'")])
def test_pixels_without_a_rule_are_refused(mode: str, said: str) -> None:
    data = encoded(Image.new(mode, (4, 4)), "TIFF")
    with raises(ImageError, said):
        decode(data, "rgb")


@pytest.mark.parametrize(("least", "most"), [(-1, 5), (0, 65536)])
def test_whole_numbers_that_need_more_than_sixteen_bits_are_refused(least: int, most: int) -> None:
    with raises(ImageError, str(least), str(most), "65535"):
        decode(encoded(Image.fromarray(np.array([[least, most]], np.int32)), "TIFF"), "rgb")


def test_whole_numbers_of_32_bits_that_need_sixteen_are_read() -> None:
    data = encoded(Image.fromarray(np.array([[0, 65535]], np.int32)), "TIFF")
    assert decode(data, "grayscale")[0, :, 0].tolist() == [0, 255]


def test_a_jpeg_with_more_pictures_behind_it_is_a_jpeg() -> None:
    frames = [Image.fromarray(photo(number, 8, 8)) for number in range(2)]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert read_header(data).format is JPEG
    by_pillow = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    assert np.abs(decode(data, "rgb", strict=True) - by_pillow).max() <= FAST_DCT


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_a_truncated_image_is_refused(kind: str) -> None:
    data = encoded(Image.fromarray(photo(2, 60, 80)), kind)
    half = data[: len(data) * 2 // 3]
    with pytest.raises(ImageError) as caught:
        read_header(half)
        decode(half, "rgb", strict=True)
    assert not isinstance(caught.value, NotAnImageError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_cut_anywhere_is_an_image_error_or_has_its_size(kind: str) -> None:
    """Without `strict`, as a dataset is read: libjpeg fills what is missing."""
    data = encoded(Image.fromarray(PIXELS), kind)
    for length in range(3 if kind == "JPEG" else 8, len(data)):
        for size in ((24, 36), None):
            try:
                assert decode(data[:length], "rgb", size=size).shape == (24, 36, 3)
            except ImageError as error:
                assert "\n" not in str(error)
        with contextlib.suppress(ImageError):
            assert read_header(data[:length]).height == 24


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_an_image_of_another_size_than_is_expected_is_refused(kind: str, orientation: int) -> None:
    data = encoded(Image.fromarray(PIXELS), kind)
    upright = (24, 36) if orientation == 1 else (36, 24)
    assert decode(data, "rgb", orientation, size=upright).shape == (*upright, 3)
    with raises(ImageError, *upright):
        decode(data, "rgb", orientation, size=upright[::-1])
    with raises(ImageError, *upright, 25):
        decode(data, "rgb", orientation, np.empty((25, 36, 3), np.uint8))


@pytest.mark.parametrize("missing", [12, 16, 20, 100])
def test_a_png_without_its_end_is_refused(missing: int) -> None:
    with raises(ImageError, "PNG"):
        decode(encoded(Image.fromarray(PIXELS), "PNG")[:-missing], "rgb", strict=True)


def test_a_changed_byte_in_a_png_is_refused_or_changes_nothing() -> None:
    whole = encoded(Image.fromarray(PIXELS[:8, :8]), "PNG")
    refused = 0
    for offset in range(len(whole)):
        changed = bytearray(whole)
        changed[offset] ^= 0x10
        try:
            assert np.array_equal(decode(bytes(changed), "rgb", strict=True), PIXELS[:8, :8])
        except ImageError:
            refused += 1
    assert refused > len(whole) * 0.9


@pytest.mark.parametrize("color_mode", ["rgb", "grayscale"])
def test_a_jpeg_whose_pixels_end_too_early_is_refused(color_mode: str) -> None:
    data = encoded(Image.fromarray(photo(2, 60, 80)), "JPEG")
    early = data[: len(data) * 2 // 3] + b"\xff\xd9"
    assert decode(early, color_mode).shape[:2] == (60, 80)
    with raises(ImageError):
        decode(early, color_mode, strict=True)


def test_stray_bytes_that_libjpeg_skips_are_accepted() -> None:
    data = encoded(Image.fromarray(PIXELS), "JPEG", quality=90)
    second = 4 + int.from_bytes(data[4:6], "big")
    stray = data[:second] + b"\x00\x11\x22" + data[second:]
    with pytest.raises(ValueError, match="extraneous bytes"):
        simplejpeg.decode_jpeg(stray, strict=True)
    assert np.abs(decode(stray, "rgb", strict=True).astype(int) - decode(data, "rgb")).max() <= FAST_DCT


def test_stray_bytes_amid_the_image_change_nothing() -> None:
    data = encoded(Image.fromarray(PIXELS), "JPEG", quality=90)
    stray = data[:-2] + b"\x00\x11\x22" + data[-2:]
    with pytest.raises(ValueError, match="extraneous bytes"):
        simplejpeg.decode_jpeg(stray, strict=True)
    assert np.array_equal(decode(stray, "rgb", strict=True), decode(stray, "rgb"))
    assert np.array_equal(decode(stray, "rgb", strict=True), decode(data, "rgb"))


@pytest.mark.parametrize("data", [b"", b"hello, this is a text", b"\0" * 100, b"%PDF-1.7 ...", b"RIFF1234WAVEfmt "])
def test_what_is_no_image_is_told_apart(data: bytes) -> None:
    with pytest.raises(NotAnImageError):
        read_header(data)


@pytest.mark.parametrize("data", [b"\xff\xd8\xff\xe0broken", b"\x89PNG\r\n\x1a\nbroken", b"GIF89a", b"RIFF1234WEBPbroken"])
def test_what_begins_like_an_image_is_a_broken_one(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        read_header(data)
    assert not isinstance(caught.value, NotAnImageError)


@pytest.mark.parametrize("side", [13_400, 60_000])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert side * side > MAX_PIXELS
    with raises(ImageError, MAX_PIXELS):
        read_header(data, MAX_PIXELS)
    assert read_header(data, side * side).height == side


def test_the_orientation_of_a_png_is_known_before_its_pixels_are_decoded() -> None:
    whole = oriented("PNG", 6)
    first = whole.index(b"eXIf") - 4
    exif = whole[first : first + 12 + int.from_bytes(whole[first : first + 4], "big")]
    header = struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    for data in (start + exif + png_chunk(b"IDAT", b""), start + png_chunk(b"IDAT", b"") + exif + png_chunk(b"IEND", b"")):
        assert read_header(data) == ImageHeader(PNG, 60_000, 50_000, 6)


def test_memory_of_another_size_is_refused_before_a_png_is_decoded() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")
    with raises(ImageError, "50000 x 60000", "4 x 4"):
        decode(data, "rgb", 1, np.empty((4, 4, 3), np.uint8))


def test_limits_that_others_set_in_pillow_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
    data = encoded(Image.fromarray(PIXELS), "PNG")
    assert read_header(data, 24 * 36) == ImageHeader(PNG, 24, 36, 1)
    assert np.array_equal(decode(data, "rgb"), PIXELS)


@pytest.mark.parametrize("size", [(1, 1), (30_000, 1), (1, 30_000)])
def test_odd_sizes_survive(size: tuple[int, int]) -> None:
    pixels = photo(3, *size)
    assert np.array_equal(decode(encode_png(encoded(Image.fromarray(pixels), "PNG")), "rgb"), pixels)
    assert decode(encode_jpeg(pixels, 90), "rgb").shape == pixels.shape


def test_a_side_too_long_for_a_jpeg_is_refused() -> None:
    with raises(ImageError, "65501 x 1", "JPEG"):
        encode_jpeg(np.zeros((65_501, 1, 3), np.uint8), 90)


def test_threads_that_decode_leave_the_filters_of_warnings_alone() -> None:
    data = encoded(Image.fromarray(photo(3, 100, 100)), "PNG")
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [decode(data, "rgb") for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "WEBP"])
def test_a_png_made_of_another_format_has_its_pixels_upright(kind: str) -> None:
    data = oriented(kind, 6) if kind in ("TIFF", "WEBP") else encoded(Image.fromarray(PIXELS), kind)
    png = encode_png(data)
    assert read_header(png).orientation == 1
    assert np.array_equal(decode(png, "rgb"), decode(data, "rgb", read_header(data).orientation))


def test_a_png_made_of_another_format_keeps_its_alpha() -> None:
    rgba = np.concatenate([PIXELS, PIXELS[..., :1]], axis=2)
    assert np.array_equal(decode(encode_png(encoded(Image.fromarray(rgba), "TIFF")), "rgba"), rgba)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_is_near_its_pixels(channels: int) -> None:
    pixels = recolor(photo(4, 40, 60), "grayscale" if channels == 1 else "rgb")
    found = decode(encode_jpeg(pixels, 95), "grayscale" if channels == 1 else "rgb")
    assert np.abs(found.astype(int) - pixels).mean() < 8


@pytest.mark.parametrize("source", [1, 3, 4])
@pytest.mark.parametrize(("color_mode", "channels"), [("grayscale", 1), ("rgb", 3), ("rgba", 4)])
def test_recolor_gives_the_channels_of_the_mode(source: int, color_mode: str, channels: int) -> None:
    pixels = np.repeat(PIXELS[..., :1], source, axis=2)
    found = recolor(pixels, color_mode)
    assert found.shape == (24, 36, channels)
    assert np.abs(found[..., 0].astype(int) - PIXELS[..., 0]).max() <= 1
