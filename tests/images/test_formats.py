"""The formats of image files: each known by its first bytes, and spelled out in one module."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import kseq
from kseq.errors import NotAnImageError
from kseq.images import formats
from kseq.images.formats import FORMATS, IMAGE_SUFFIXES, JPEG, PNG, STORED_SUFFIXES, detect_format, stored_format

LIBRARY = Path(kseq.__path__[0])

STARTS = {
    "JPEG": [b"\xff\xd8\xff\xe0\0\x10JFIF"],
    "PNG": [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"],
    "WEBP": [b"RIFF\n\n\n\nWEBPVP8 "],
    "BMP": [b"BM\0\0\0\0"],
    "GIF": [b"GIF87a\0", b"GIF89a\0"],
    "AVIF": [b"\0\0\0\x20ftypavif\0\0\0\0", b"\0\0\0\x20ftypmif1\0\0\0\0mif1avifmiaf"],
    "JPEG2000": [b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14", b"\xff\x4f\xff\x51\0"],
    "PPM": [b"P6\n16 16\n255\n", b"P1 2 2"],
    "PSD": [b"8BPS\0\1"],
    "QOI": [b"qoif\0\0"],
    "ICO": [b"\0\0\1\0\2\0\x10\x10"],
    "CUR": [b"\0\0\2\0\1\0"],
    "DDS": [b"DDS |\0\0\0", b"DDS " + bytes(80) + b"DX10" + bytes(40) + b"\x62\0\0\0"],
    "PCX": [b"\x0a\5\1\x08\0\0"],
    "SGI": [b"\x01\xda\1\1\0\3\0\7"],
    "SUN": [b"\x59\xa6\x6a\x95\0\0\0\7"],
    "XPM": [b"/* XPM */\nstatic char"],
    "XBM": [b"#define hand-2_width 7\n"],
    "TGA": [
        b"\0\0\2" + bytes(9) + b"\7\0\5\0\x18\0",
        b"\0\0\2" + bytes(4) + b"\x18" + bytes(4) + b"\7\0\5\0\x18\0",
        b"\0\1\x09\0\0\0\1\x18\0\0\0\0\7\0\5\0\x08\x20",
    ],
    "TIFF": [b"II*\0\x08", b"MM\0*\0", b"II+\0\x08", b"MM\0+\0"],
}


@pytest.mark.parametrize(("name", "start"), [(name, start) for name, starts in STARTS.items() for start in starts])
def test_a_format_is_known_by_its_first_bytes(name: str, start: bytes) -> None:
    assert detect_format(start).name == name


@pytest.mark.parametrize("start", [b"", b"\xff\xd8", b"RIFF\n\n\n\nWAVE", b" \xff\xd8\xff", b"GIF88a", b"II*"])
def test_other_first_bytes_are_no_image(start: bytes) -> None:
    with pytest.raises(NotAnImageError):
        detect_format(start)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("gzip", b"\x1f\x8b\x08\0"),
        ("video", b"\0\0\0\x18ftypisom"),
        ("DICOM", bytes(128) + b"DICM"),
        ("Git LFS", b"version https://git-lfs"),
        ("web page", b"\n<!DOCTYPE html><html>"),
        ("SVG", b"<?xml version='1.0'?>\n<svg xmlns="),
        ("JPEG XL", b"\xff\x0a\xfa"),
        ("floating-point", b"DDS " + bytes(80) + b"DX10" + bytes(40) + b"\x5f\0\0\0"),
        ("PSB", b"8BPS\0\2"),
        ("SGI of 16 bits", b"\x01\xda\0\2\0\3"),
        ("ICNS", b"icns\0\0"),
        ("DCX", b"\xb1\x68\xde\x3a"),
        ("FLC", b"\x24\0\0\0\x12\xaf"),
        ("macOS", b"\0\x05\x16\x07\0\x02"),
    ],
)
def test_what_people_take_for_an_image_is_named(name: str, start: bytes) -> None:
    with pytest.raises(NotAnImageError, match=name):
        detect_format(start)


def test_jpeg_and_png_are_stored_as_they_are() -> None:
    assert STORED_SUFFIXES == (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng")
    assert set(STORED_SUFFIXES) < set(IMAGE_SUFFIXES)
    assert stored_format(STARTS["JPEG"][0]) is JPEG
    assert stored_format(STARTS["PNG"][0]) is PNG


def test_the_page_on_images_names_every_suffix_that_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs/explanation/images.md").read_text()
    section = page.partition("## What is read")[2].partition("## What is left out")[0]
    assert {f".{word}" for word in re.findall(r"`\.(\w+)`", section.partition("JPEG and PNG are stored")[0])} == set(
        IMAGE_SUFFIXES
    )


def test_no_other_module_spells_out_a_suffix_or_first_bytes() -> None:
    spelled = []
    for module in LIBRARY.rglob("*.py"):
        if module != Path(formats.__file__):
            constants = [node.value for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Constant)]
            texts = [value.decode("latin-1") if isinstance(value, bytes) else value for value in constants]
            suffixes = {value for value in texts if isinstance(value, str) and value.lower() in IMAGE_SUFFIXES}
            starts = {
                value for value in constants if isinstance(value, bytes) and any(known.begins(value) for known in FORMATS)
            }
            spelled += [(module.name, value) for value in suffixes | starts]
    assert not spelled
