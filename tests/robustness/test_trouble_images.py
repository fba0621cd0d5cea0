"""Images that make trouble, each packed with every encoding: its pixels by the stated rule, or why it is left out."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image, ImageOps

import kseq
from kseq.errors import SourceError
from kseq.images.codecs import decode, encode_jpeg
from tests.helpers.messages import raises
from tests.helpers.photos import FAST_DCT, encoded, photo
from tests.helpers.writers import write_tar

PIXELS = photo(5, 30, 40)
FRAMES = [Image.fromarray(photo(number, 30, 40)) for number in (5, 6, 7)]
SIXTEEN = np.random.default_rng(0).integers(0, 65536, (30, 40, 3), np.uint16)
FLOATS = encoded(Image.new("F", (40, 30)), "TIFF")
GRAY = np.repeat(SIXTEEN[..., :1] >> 8, 3, 2)
PALETTE = Image.fromarray(PIXELS).quantize(16)
BOMB = Image.new("1", (300, 200))


def animated(kind: str, **options: Any) -> bytes:
    return encoded(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:], **options)


def rgb(data: bytes) -> np.ndarray:
    """What Pillow makes of it, upright."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def half(kind: str) -> bytes:
    whole = encoded(Image.fromarray(PIXELS), kind, **({"quality": 95} if kind == "JPEG" else {}))
    return whole[: len(whole) * 2 // 3]


def by_opencv(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes()


def without_adobe(data: bytes) -> bytes:
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    return encoded(Image.fromarray(PIXELS), kind, exif=exif, **options)


class Row(NamedTuple):
    """A file, and the pixels that come of it, or the reason why none do; off by at most so much where it is lossy."""

    trouble: str
    name: str
    data: bytes
    becomes: np.ndarray | str
    off: int = 0

    @property
    def size(self) -> tuple[int, int]:
        return (30, 40) if isinstance(self.becomes, str) else self.becomes.shape[:2]


JPEG = encoded(Image.fromarray(PIXELS), "JPEG", quality=95)
CMYK = encoded(Image.fromarray(PIXELS).convert("CMYK"), "JPEG", quality=98)
CMYK_TIFF = encoded(Image.fromarray(PIXELS).convert("CMYK"), "TIFF")
TURNED = [Row(f"EXIF {n}", f"a.{kind}", turned(kind, n), rgb(turned(kind, n)), FAST_DCT * (kind == "JPEG"))
          for n in range(1, 9) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]  # fmt: skip

ROWS = [
    Row("truncated JPEG", "a.jpg", half("JPEG"), "broken JPEG: "),
    Row("truncated PNG", "a.png", half("PNG"), "broken PNG: "),
    Row("truncated GIF", "a.gif", half("GIF"), "broken GIF: "),
    Row("truncated WebP", "a.webp", half("WEBP"), "broken WEBP header: "),
    Row("truncated TIFF", "a.tif", half("TIFF"), "broken TIFF: "),
    Row("truncated BMP", "a.bmp", half("BMP"), "broken BMP: "),
    Row("zero bytes", "a.jpg", b"", "is empty"),
    Row("a PNG called .jpg", "a.jpg", encoded(FRAMES[0], "PNG"), PIXELS),
    Row("a JPEG called .png", "a.png", JPEG, rgb(JPEG), FAST_DCT),
    Row("a BMP called .gif", "a.gif", encoded(FRAMES[0], "BMP"), PIXELS),
    Row("a text called .jpg", "a.jpg", b"hello", "is not an image of a known format (JPEG, "),
    Row("bomb", "a.png", encoded(BOMB, "PNG"), "has more pixels than the 50000 allowed: 200 x 300"),
    Row("bomb", "a.gif", encoded(BOMB, "GIF"), "has more pixels than the 50000 allowed: 200 x 300"),
    Row("bomb", "a.jpg", encoded(BOMB.convert("L"), "JPEG"), "has more pixels than the 50000 allowed: 200 x 300"),
    Row("bomb", "a.tif", encoded(BOMB, "TIFF"), "has more pixels than the 50000 allowed: 200 x 300"),
    Row("animated GIF", "a.gif", animated("GIF"), rgb(animated("GIF"))),
    Row("animated PNG", "a.png", animated("PNG"), PIXELS),
    Row("animated PNG with another still", "a.png", animated("PNG", default_image=True), PIXELS),
    Row("animated WebP", "a.webp", animated("WEBP", lossless=True), PIXELS),
    Row("TIFF of several pages", "a.tiff", animated("TIFF"), PIXELS),
    Row("CMYK, marked by Adobe", "a.jpg", CMYK, rgb(CMYK), FAST_DCT),
    Row("CMYK without the mark", "a.jpg", without_adobe(CMYK), rgb(CMYK), FAST_DCT),
    Row("CMYK in a TIFF", "a.tif", CMYK_TIFF, rgb(CMYK_TIFF)),
    Row("16 bits, PNG", "a.png", by_opencv(".png", SIXTEEN), (SIXTEEN >> 8).astype(np.uint8)),
    Row("16 bits, TIFF", "a.tiff", by_opencv(".tiff", SIXTEEN), (SIXTEEN >> 8).astype(np.uint8)),
    Row("16 bits, gray PNG", "a.png", encoded(Image.fromarray(SIXTEEN[..., 0]), "PNG"), GRAY),
    Row("16 bits, gray TIFF", "a.tif", encoded(Image.fromarray(SIXTEEN[..., 0]), "TIFF"), GRAY),
    Row("floats", "a.tif", FLOATS, "is float32 of shape (30, 40), for which there is no rule"),
    Row("palette with transparency, PNG", "a.png", encoded(PALETTE, "PNG", transparency=3), np.asarray(PALETTE.convert("RGB"))),
    Row("palette with transparency, GIF", "a.gif", encoded(PALETTE, "GIF", transparency=3), np.asarray(PALETTE.convert("RGB"))),
    Row("1 x 1", "a.png", encoded(Image.fromarray(photo(1, 1, 1)), "PNG"), photo(1, 1, 1)),
    Row("30,000 x 1", "a.png", encoded(Image.fromarray(photo(1, 30_000, 1)), "PNG"), photo(1, 30_000, 1)),
    Row("1 x 30,000", "a.bmp", encoded(Image.fromarray(photo(1, 1, 30_000)), "BMP"), photo(1, 1, 30_000)),
    *TURNED,
]  # fmt: skip

# For each encoding, what packing does to pixels of the size that is stored.
ENCODINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "keep": lambda pixels: pixels,
    "raw": lambda pixels: pixels,
    "jpeg": lambda pixels: decode(encode_jpeg(pixels.astype(np.uint8), 90), "rgb"),
}


def pack_rows(folder: Path, rows: Sequence[Row], encoding: str, **settings: Any) -> dict[str, np.ndarray | bytes | str]:
    """What became of each file: its pixels, and below its name in capitals its bytes; or the reason why it was left out."""
    for size in {row.size for row in rows}:
        place = folder / f"{size[0]} x {size[1]}"
        (place / "a").mkdir(parents=True)
        for row in rows:
            if row.size == size:
                (place / "a" / file_name(row)).write_bytes(row.data)
        # For what is left out, so that something is packed.
        Image.fromarray(photo(8, *size)).save(place / "a/zzz.png")
        images = kseq.ImageSettings(encoding, size if encoding == "raw" else None, max_pixels=50_000, **settings)
        kseq.pack(place, place.with_name(f"{place.name} packed"), images=images, workers=0)
    found: dict[str, Any] = {}
    for path in folder.glob("* packed"):
        dataset = kseq.ShardDataset(path)
        found |= {os.fsdecode(rejection.path): rejection.reason for rejection in dataset.rejected()}
        for number in range(len(dataset)):
            found[dataset.source(number)] = dataset[number]["image"]
            if encoding != "raw":
                found[dataset.source(number).upper()] = dataset.stored_bytes(number)
    return found


def file_name(row: Row) -> str:
    return f"{next(number for number, entry in enumerate(ROWS) if entry is row):03d}-{row.name}"


@pytest.fixture(scope="module")
def all_packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray | bytes | str]]:
    return {entry: pack_rows(tmp_path_factory.mktemp(entry), ROWS, entry) for entry in ENCODINGS}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.trouble}, {row.name}")
def test_trouble_becomes_pixels_or_a_reason(row: Row, encoding: str, all_packed: dict[str, dict[str, Any]]) -> None:
    name = f"a/{file_name(row)}"
    found = all_packed[encoding][name]
    if isinstance(row.becomes, str):
        assert found.startswith(row.becomes)
        assert "\n" not in found
        return
    assert found.shape == row.becomes.shape
    # A JPEG of pixels that are nearly the same is nearly the same.
    off = np.abs(found.astype(int) - ENCODINGS[encoding](row.becomes))
    assert off.max() <= row.off * (1 if encoding != "jpeg" else 8)
    if encoding == "keep":
        assert (all_packed[encoding][name.upper()] == row.data) == row.data.startswith((b"\xff\xd8", b"\x89PNG"))


@pytest.mark.parametrize("encoding", ["keep", "raw"])
def test_the_transparency_of_a_palette_is_alpha_with_rgba(tmp_path: Path, encoding: str) -> None:
    rows = [row for row in ROWS if row.trouble.startswith("palette with transparency")]
    packed = pack_rows(tmp_path, rows, encoding, color_mode="rgba")
    assert len(rows) == 2
    for row in rows:
        found = packed[f"a/{file_name(row)}"]
        assert np.array_equal(found[..., 3], np.where(np.asarray(PALETTE) == 3, 0, 255))
        assert np.array_equal(found[..., :3], row.becomes)


def small_and_large() -> dict[str, bytes]:
    return {name: encoded(Image.new("L", (side, side), 7), "PNG") for name, side in (("small", 8), ("large", 20))}


def write_table(folder: Path) -> tuple[Any, dict[str, Any]]:
    for name, data in small_and_large().items():
        (folder / f"{name}.png").write_bytes(data)
    (folder / "t.csv").write_text("image,label\nsmall.png,a\nlarge.png,a\n")
    return folder / "t.csv", {}


def write_masks(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The image that goes with the large mask is small: that it does not fit would be found out later."""
    write_table(folder)
    (folder / "also.png").write_bytes(small_and_large()["small"])
    (folder / "t.csv").write_text("image,mask\nsmall.png,small.png\nalso.png,large.png\n")
    return folder / "t.csv", {"columns": kseq.Columns(mask="mask", label="")}


def write_members(folder: Path) -> tuple[Any, dict[str, Any]]:
    return write_tar(folder / "t.tar", {f"a/{name}.png": data for name, data in small_and_large().items()}), {}


def write_parquet(folder: Path) -> tuple[Any, dict[str, Any]]:
    rows = [{"image": {"bytes": data, "path": None}, "label": 0} for data in small_and_large().values()]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "t.parquet")
    return folder / "t.parquet", {}


def write_yolo(folder: Path) -> tuple[Any, dict[str, Any]]:
    for name in ("images", "labels"):
        (folder / "t" / name).mkdir(parents=True)
    for name, data in small_and_large().items():
        (folder / "t/images" / f"{name}.png").write_bytes(data)
        (folder / "t/labels" / f"{name}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    return folder / "t", {}


def make_pixels(_: Path) -> tuple[Any, dict[str, Any]]:
    return [{"image": np.full((side, side), 7, np.uint8), "label": "a"} for side in (8, 20)], {}


@pytest.mark.parametrize("make", [write_table, write_masks, write_members, write_parquet, write_yolo, make_pixels])
def test_the_limit_of_pixels_holds_in_every_source(tmp_path: Path, make: Callable[[Path], tuple[Any, dict[str, Any]]]) -> None:
    source, options = make(tmp_path)
    for most, count in ((399, 1), (400, 2)):
        report = kseq.pack(
            source,
            tmp_path.parent / f"{tmp_path.name}-{most}",
            images=kseq.ImageSettings(max_pixels=most),
            workers=0,
            **options,
        )
        reasons = [rejection.reason for rejection in report.rejected]
        if make is write_masks and most == 400:
            assert "expected are those of the image" in reasons[0]
            continue
        assert report.num_samples == count
        assert all(reason.endswith("has more pixels than the 399 allowed: 20 x 20") for reason in reasons)


def test_the_limit_of_pixels_is_one_of_the_settings_that_a_packing_is_resumed_with(tmp_path: Path) -> None:
    source, _ = write_table(tmp_path)
    report = kseq.pack(source, tmp_path.parent / f"{tmp_path.name}-1", workers=0)
    with raises(kseq.errors.DatasetExistsError, report.path, "max_pixels"):
        kseq.pack(source, report.path, images=kseq.ImageSettings(max_pixels=1000), resume=True, workers=0)


def test_arrays_that_are_all_too_large_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", images=np.zeros((3, 20, 20), np.uint8), labels=np.arange(3))
    with raises(SourceError, 3, "images/0", 9):
        kseq.pack(tmp_path / "t.npz", tmp_path / "packed", images=kseq.ImageSettings(max_pixels=9), workers=0)
