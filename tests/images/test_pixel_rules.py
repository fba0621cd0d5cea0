"""Pixels of rare depths and palettes, as images and as masks, and formats that few people bring: the right value of each."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.DdsImagePlugin import DdsRgbDecoder

from kseq.errors import ImageError
from kseq.images.codecs import decode, decode_mask, encode_png
from kseq.images.deep_pixels import read_numbers
from kseq.images.formats import read_header
from kseq.images.pillow_pixels import PixelRules
from kseq.images.pixel_form import PixelForm
from tests.helpers.photos import photo
from tests.helpers.pillow_versions import since_pillow_13
from tests.packing.test_odd_images import chunk, png16, with_chunk


def bmp_of_16_bits(pixels: np.ndarray, masks: tuple[int, int, int]) -> bytes:
    """`(height, width)` uint16 as a BMP whose bits mean what the masks say."""
    height, width = pixels.shape
    rows = b"".join(row.astype("<u2").tobytes().ljust(-(-width * 2 // 4) * 4, b"\0") for row in pixels[::-1])
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 3, len(rows), 0, 0, 0, 0) + struct.pack("<III", *masks)
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + rows


def psd(pixels: np.ndarray) -> bytes:
    """The flat image of a Photoshop file without layers."""
    height, width, channels = pixels.shape
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, channels, height, width, 8, 3) + bytes(12)
    return head + b"\0\0" + np.moveaxis(pixels, 2, 0).tobytes()


def saved(pixels: np.ndarray, format: str, **options: Any) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format, **options)
    return target.getvalue()


def sun_raster(pixels: np.ndarray) -> bytes:
    """A Sun raster file of colours, in the order blue, green, red."""
    height, width, _ = pixels.shape
    rows = b"".join(row[:, ::-1].tobytes().ljust(-(-width * 3 // 2) * 2, b"\0") for row in pixels)
    return struct.pack(">8I", 0x59A66A95, width, height, 24, len(rows), 1, 0, 0) + rows


def xpm(pixels: np.ndarray) -> bytes:
    """An X pixmap of the two colours of the first and the last pixel."""
    first, last = (bytes(pixels[place]).hex() for place in ((0, 0), (-1, -1)))
    lines = [
        f"{pixels.shape[1]} {pixels.shape[0]} 2 1",
        f"a c #{first}",
        f"b c #{last}",
        *("".join("a" if bytes(pixel).hex() == first else "b" for pixel in row) for row in pixels),
    ]
    return ("/* XPM */\nstatic char *photo[] = {\n" + ",\n".join(f'"{line}"' for line in lines) + "\n};\n").encode()


def cursor(pixels: np.ndarray) -> bytes:
    """A cursor of Windows with one picture, without transparency: 24 bits a pixel, then a mask of one."""
    height, width, _ = pixels.shape
    rows = b"".join(row[:, ::-1].tobytes().ljust(-(-width * 3 // 4) * 4, b"\0") for row in pixels[::-1])
    bitmap = struct.pack("<IiiHHIIiiII", 40, width, 2 * height, 1, 24, 0, len(rows), 0, 0, 0, 0) + rows
    bitmap += bytes(-(-width // 32) * 4 * height)
    return struct.pack("<HHH4BHHII", 0, 2, 1, width, height, 0, 0, 1, 1, len(bitmap), 22) + bitmap


TWO_COLOURS = np.where(np.arange(63).reshape(9, 7, 1) % 3 == 0, [[[250, 20, 30]]], [[[4, 5, 6]]]).astype(np.uint8)
BLACK_AND_WHITE = np.where(np.arange(63).reshape(9, 7) % 3 == 0, np.uint8(0), np.uint8(255))


def test_a_mask_in_a_pgm_has_the_values_that_the_file_has() -> None:
    for most in (1, 3, 20, 100, 254, 255):
        values = np.arange(most + 1, dtype=np.uint8)
        binary = b"P5 %d 1 %d\n" % (most + 1, most) + values.tobytes()
        plain = b"P2\n# classes\n%d 1\n%d\n" % (most + 1, most) + b" ".join(b"%d" % value for value in values)
        for data in (binary, plain):
            np.testing.assert_array_equal(decode_mask(data)[0, :, 0], values)
    deep = b"P5 2 1 65535\n" + struct.pack(">HH", 7, 256)
    with pytest.raises(ImageError):
        decode_mask(deep)


def test_one_is_black_in_a_pbm_and_the_class_one_in_a_mask() -> None:
    for data in (b"P1 4 1\n1 0 0 1\n", b"P4 4 1\n" + bytes([0b10010000])):
        np.testing.assert_array_equal(decode(data, "grayscale")[0, :, 0], [0, 255, 255, 0])
        np.testing.assert_array_equal(decode_mask(data)[0, :, 0], [1, 0, 0, 1])
    # In a PNG of one bit 1 is white, and the class one too.
    png = saved(np.array([[True, False]]), "PNG")
    np.testing.assert_array_equal(decode(png, "grayscale")[0, :, 0], [255, 0])
    np.testing.assert_array_equal(decode_mask(png)[0, :, 0], [1, 0])


def test_a_bmp_of_five_six_five_bits_has_256_levels_and_is_not_deep() -> None:
    red, green, blue = np.array([0, 1, 16, 31]), np.array([0, 2, 33, 63]), np.array([31, 16, 1, 0])
    notes: list[str] = []
    data = bmp_of_16_bits((red << 11 | green << 5 | blue).astype(np.uint16)[None], (0xF800, 0x7E0, 0x1F))
    found = decode(data, "rgb", rules=PixelRules(note=notes.append))
    expected = np.stack([red * 255 // 31, green * 255 // 63, blue * 255 // 31], axis=1)
    assert np.abs(found[0].astype(int) - expected).max() <= 1
    assert found[0].max() == 255
    assert not notes
    assert decode(encode_png(data), "rgb").tolist() == found.tolist()


@pytest.mark.parametrize("color_mode", ["rgb", "rgba"])
def test_a_transparent_colour_counts_at_8_bits_and_not_at_16(color_mode: str) -> None:
    colours = np.array([[[1000, 2000, 3000], [65535, 0, 30000]]], np.uint16)
    deep = with_chunk(png16(colours), chunk(b"tRNS", struct.pack(">HHH", 1000, 2000, 3000)))
    found = decode(deep, color_mode)
    np.testing.assert_array_equal(found[..., :3], colours >> 8)
    grey = with_chunk(png16(colours[..., :1]), chunk(b"tRNS", struct.pack(">H", 1000)))
    np.testing.assert_array_equal(decode(grey, color_mode)[..., 0], colours[..., 0] >> 8)
    eight = with_chunk(saved((colours >> 8).astype(np.uint8), "PNG"), chunk(b"tRNS", struct.pack(">HHH", 3, 7, 11)))
    if color_mode == "rgba":
        assert (found[..., 3] == 255).all()
        assert decode(eight, color_mode)[0, :, 3].tolist() == [0, 255]


@pytest.mark.parametrize("bits", [None, 8, 12, 16])
def test_a_pgm_says_itself_how_many_bits_it_has(bits: int | None) -> None:
    rules = PixelRules(bits=bits)
    for most in (4095, 1023, 65535):
        data = b"P5 3 1 %d\n" % most + struct.pack(">HHH", 0, most // 2, most)
        assert decode(data, "grayscale", rules=rules)[0, :, 0].tolist() == [0, 127, 255]
    assert decode(b"P5 3 1 255\n\0\x7f\xff", "grayscale", rules=rules)[0, :, 0].tolist() == [0, 127, 255]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("TGA", saved(photo(1, 9, 7), "TGA"), photo(1, 9, 7)),
        ("TGA", saved(photo(1, 9, 7), "TGA", compression="tga_rle", orientation=-1), photo(1, 9, 7)),
        ("TGA", saved(photo(1, 9, 7)[..., 0], "TGA"), photo(1, 9, 7)[..., :1].repeat(3, 2)),
        ("TGA", bytes([*saved(photo(1, 9, 7), "TGA")[:7], 24]) + saved(photo(1, 9, 7), "TGA")[8:], photo(1, 9, 7)),
        ("DDS", saved(photo(5, 9, 7), "DDS"), photo(5, 9, 7)),
        ("PCX", saved(photo(6, 9, 7), "PCX"), photo(6, 9, 7)),
        ("SGI", saved(photo(7, 9, 7), "SGI"), photo(7, 9, 7)),
        ("SUN", sun_raster(photo(8, 9, 7)), photo(8, 9, 7)),
        ("CUR", cursor(photo(9, 9, 7)), photo(9, 9, 7)),
        ("XPM", xpm(TWO_COLOURS), TWO_COLOURS),
        ("XBM", saved(BLACK_AND_WHITE == 255, "XBM"), BLACK_AND_WHITE[..., None].repeat(3, 2)),
        ("QOI", saved(photo(2, 9, 7), "QOI"), photo(2, 9, 7)),
        ("PSD", psd(photo(3, 9, 7)), photo(3, 9, 7)),
        ("ICO", saved(np.dstack([photo(4, 32, 32), np.full((32, 32), 255, np.uint8)]), "ICO"), photo(4, 32, 32)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_formats_of_games_icons_and_painters_are_read(name: str, data: bytes, expected: np.ndarray) -> None:
    header = read_header(data)
    assert (header.format.name, header.height, header.width) == (name, *expected.shape[:2])
    assert not header.has_more_pages
    np.testing.assert_array_equal(decode(data, "rgb", strict=True), expected)
    for end in range(0, len(data) - 1, 7):
        # Whatever is left of a file is refused, or decoded by Pillow to pixels of the same size, never a traceback.
        with suppress(ImageError):
            assert decode(data[:end], "rgb").shape == expected.shape


def colours_of(*colours: str) -> bytes:
    """An X pixmap of one row, with a pixel of each of these colours."""
    keys = "abcdefgh"[: len(colours)]
    lines = [
        f"{len(keys)} 1 {len(keys)} 1",
        *(f"{key} s x c {colour} m white" for key, colour in zip(keys, colours, strict=True)),
    ]
    text = ",\n".join(f'"{line}"' for line in [*lines, keys])
    return f"/* XPM */\nstatic char *photo[] = {{\n{text}}};\n".encode()


def sun_row(kind: int, *values: int) -> bytes:
    """A Sun raster of one pixel of four bytes."""
    return struct.pack(">8I", 0x59A66A95, 1, 1, 32, 4, kind, 0, 0) + bytes(values)


def cursors(*pictures: tuple[int, int, list[list[int]]]) -> bytes:
    """A cursor of Windows of several pictures: each has a side, bits a pixel, and a pixel that is repeated; its mask hides all
    but the first column."""
    head, bodies, start = struct.pack("<HHH", 0, 2, len(pictures)), b"", 6 + 16 * len(pictures)
    for side, bits, pixel in pictures:
        rows = (bytes(pixel) * side).ljust(-(-side * bits // 32) * 4, b"\0") * side
        mask = (b"\x7f" + b"\xff" * 35)[: -(-side // 32) * 4] * side
        body = struct.pack("<IiiHHIIiiII", 40, side, 2 * side, 1, bits, 0, 0, 0, 0, 0, 0) + rows + mask
        # The two numbers are a spot, where an icon has its depth.
        head += struct.pack("<4BHHII", side % 256, side % 256, 0, 0, 3, 4, len(body), start + len(bodies))
        bodies += body
    return head + bodies


def palette_texture() -> bytes:
    """A DDS of two pixels, whose palette has alpha."""
    words = struct.pack("<7I", 124, 0x100F, 1, 2, 2, 0, 0) + bytes(44) + struct.pack("<3I", 32, 0x20, 0)
    return (
        b"DDS "
        + words
        + struct.pack("<5I", 8, 0, 0, 0, 0)
        + bytes(20)
        + bytes([10, 20, 30, 0, 40, 50, 60, 255]).ljust(1024)
        + b"\0\1"
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (colours_of("#f00", "#0123456789ab", "#fff000888"), [[255, 0, 0, 255], [1, 69, 137, 255], [255, 0, 136, 255]]),
        (colours_of("Green", "light blue", "none"), [[0, 255, 0, 255], [173, 216, 230, 255], [0, 0, 0, 0]]),
        (sun_row(1, 9, 10, 20, 30), [[30, 20, 10, 255]]),
        (sun_row(3, 9, 10, 20, 30), [[10, 20, 30, 255]]),
        (cursors((2, 32, [10, 20, 30, 40]), (1, 32, [1, 1, 1, 1])), [[30, 20, 10, 40]] * 2),
        (cursors((2, 24, [10, 20, 30]), (1, 24, [1, 1, 1])), [[30, 20, 10, 255], [30, 20, 10, 0]]),
        (cursors((256, 24, [10, 20, 30]), (16, 24, [1, 1, 1])), [[30, 20, 10, 255], *[[30, 20, 10, 0]] * 255]),
        (palette_texture(), [[10, 20, 30, 0], [40, 50, 60, 255]]),
        pytest.param(
            bytes([0, 1, 1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 2, 0, 1, 0, 8, 0x20, 30, 20, 10, 0, 60, 50, 40, 255, 0, 1]),
            [[10, 20, 30, 0], [40, 50, 60, 255]],
            marks=since_pillow_13,
        ),
    ],
    ids=("digits", "names", "sun", "sun-rgb", "cursor-alpha", "cursor-mask", "large-cursor", "texture-palette", "tga-palette"),
)
def test_colours_and_transparency_of_old_formats_are_those_of_their_programs(data: bytes, expected: list[list[int]]) -> None:
    notes: list[str] = []
    assert decode(data, "rgba", rules=PixelRules(keeps_alpha=True))[0].tolist() == expected
    assert decode(data, "rgb", rules=PixelRules(note=notes.append))[0].tolist() == [pixel[:3] for pixel in expected]
    assert any("transparent" in note for note in notes) == any(pixel[3] < 255 for pixel in expected)
    header = read_header(data)
    assert header.width == len(expected)
    assert header.has_alpha or not notes


def test_a_colour_of_a_pixmap_that_is_not_known_is_named() -> None:
    for colour in ("#12345", "chartreuse5", "rgb:ff/ff/ff"):
        with pytest.raises(ImageError, match=f"{colour}.*PNG"):
            read_header(colours_of(colour))


def test_more_than_sixteen_bits_of_a_jpeg_2000_are_no_numbers() -> None:
    data = bytearray(saved(np.array([[0, 16, 100, 200]], np.uint16), "JPEG2000", no_jp2=True))
    data[data.index(b"\xff\x4f\xff\x51") + 42] = 19
    with pytest.raises(ImageError, match="20 bits.*16"):
        read_numbers(bytes(data), PixelForm("uint16", 1), 10**6, PixelRules())


def test_a_photoshop_file_of_sixteen_bits_is_refused_with_the_way_out() -> None:
    data = bytearray(psd(photo(3, 9, 7)))
    data[23] = 16
    with pytest.raises(ImageError, match="16.*PNG"):
        read_header(bytes(data))


def test_a_texture_of_whole_bytes_is_not_read_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(DdsRgbDecoder, "decode")
    masks = {"R": 0xFF, "G": 0xFF00, "B": 0xFF0000}, {"R": 0xFF0000, "G": 0xFF00, "B": 0xFF}
    for places in masks:
        for bits, alpha in ((24, 0), (32, 0), (32, 0xFF000000)):
            words = (
                struct.pack("<7I", 124, 0x100F, 1, 2, 0, 0, 0) + bytes(44) + struct.pack("<3I", 32, 0x41 if alpha else 0x40, 0)
            )
            pixel = [10, 20, 30, 40][: bits // 8]
            data = b"DDS " + words + struct.pack("<5I", bits, *places.values(), alpha) + bytes(20) + bytes(pixel * 2)
            colours = [10, 20, 30] if places["R"] == 0xFF else [30, 20, 10]
            assert decode(data, "rgba")[0].tolist() == [[*colours, 40 if alpha else 255]] * 2


@pytest.mark.parametrize(("place", "value", "is_more"), [(132, 4, True), (136, 4, True), (140, 2, True), (140, 1, False)])
def test_a_texture_of_several_layers_says_that_its_first_is_taken(place: int, value: int, is_more: bool) -> None:
    # DXGI_FORMAT_R8G8B8A8_UNORM, a flat texture.
    words = struct.pack("<7I", 124, 0x100F, 1, 2, 0, 0, 0) + bytes(44) + struct.pack("<2I", 32, 4) + b"DX10" + bytes(40)
    data = bytearray(b"DDS " + words + struct.pack("<5I", 28, 3, 0, 1, 0) + bytes(8))
    data[place] = value
    assert read_header(bytes(data)).has_more_pages == is_more


def test_a_texture_that_is_a_cube_says_that_its_first_face_is_taken() -> None:
    data = bytearray(saved(photo(5, 9, 7), "DDS"))
    assert not read_header(bytes(data)).has_more_pages
    data[113] |= 2
    assert read_header(bytes(data)).has_more_pages


def test_a_jpeg_2000_says_itself_how_many_bits_it_has() -> None:
    # Twelve bits are written as sixteen, then said to be twelve: zero lies in the middle of either.
    values = np.array([[0, 16, 100, 200]], np.uint16)
    data = bytearray(saved(values + 30_720, "JPEG2000", no_jp2=True))
    assert decode(bytes(data), "grayscale")[0, :, 0].tolist() == [120, 120, 120, 120]
    place = data.index(b"\xff\x4f\xff\x51") + 42
    assert data[place] == 15
    data[place] = 11
    notes: list[str] = []
    for bits in (None, 12, 16):
        rules = PixelRules(bits=bits, note=notes.append)
        assert decode(bytes(data), "grayscale", rules=rules)[0, :, 0].tolist() == [0, 1, 6, 12]
    assert not any("taken as" in note for note in notes)
    numbers, _ = read_numbers(bytes(data), PixelForm("uint16", 1), 10**6, PixelRules())
    np.testing.assert_array_equal(numbers[..., 0], values)


def test_lab_is_refused_with_the_way_out() -> None:
    target = io.BytesIO()
    Image.new("LAB", (8, 8)).save(target, "TIFF")
    with pytest.raises(ImageError, match="RGB"):
        decode(target.getvalue(), "rgb")
