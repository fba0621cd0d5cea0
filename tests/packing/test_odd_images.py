"""Images that are read all the same: depths, side chunks, profiles, hidden colours, pages, masks; and what is said of them."""

from __future__ import annotations

import os
import struct
import subprocess
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError
from kseq.images.deep_pixels import to_dtype
from kseq_tools.main import main
from tests.helpers.photos import encoded, photo
from tests.helpers.processes import kseq_command

RAMP = np.linspace(0, 4095, 256).round().astype(np.uint16)[None].repeat(8, 0)
PHOTO = photo(3, 24, 32)


def pack(folder: Path, files: dict[str, bytes], **arguments: Any) -> tuple[kseq.PackReport, dict[str, np.ndarray]]:
    """Pack files as one class; the report, and the pixels by file name."""
    photos = folder / "photos" / "c"
    photos.mkdir(parents=True)
    for name, data in files.items():
        (photos / name).write_bytes(data)
    report = kseq.pack(folder / "photos", folder / "packed", workers=0, **arguments)
    assert report.num_found == len(files) == report.num_samples + len(report.rejected)
    with kseq.ShardDataset(folder / "packed", "all") as dataset:
        return report, {os.path.basename(dataset.source(i)): dataset[i]["image"] for i in range(len(dataset))}


def png16(values: np.ndarray) -> bytes:
    """`(height, width, channels)` uint16 as a PNG of 16 bits a channel."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def with_chunk(png: bytes, inside: bytes) -> bytes:
    """A PNG with a chunk after its header."""
    return png[:33] + inside + png[33:]


@pytest.mark.parametrize("settings", [{}, {"encoding": "raw", "image_size": (8, 256)}], ids=["keep", "raw"])
@pytest.mark.parametrize(("most", "bits"), [(255, 8), (4095, 12), (65535, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_keep_256_levels_in_proportion(
    tmp_path: Path, settings: dict[str, Any], most: int, bits: int, channels: int
) -> None:
    values = np.linspace(0, most, 256).round().astype(np.uint16)[None, :, None].repeat(8, 0).repeat(channels, 2)
    files = {"a.png": png16(values)}
    if channels == 1:
        files["b.tif"] = encoded(Image.fromarray(values[..., 0]), "TIFF")
    report, pixels = pack(tmp_path, files, images=kseq.ImageSettings(**settings))
    for found in pixels.values():
        assert np.array_equal(found[..., 0], values[..., 0] >> (bits - 8))
    assert len(report.image_notes) == (bits < 16)


def test_a_range_that_is_hardly_used_is_said(tmp_path: Path) -> None:
    report, _ = pack(tmp_path, {"a.png": png16((RAMP[..., None] // 8) + 9000)})
    assert [(count, "levels" in note) for note, count in report.image_notes.items()] == [(1, True)]


@pytest.mark.parametrize("settings", [{}, {"encoding": "raw", "image_size": (8, 256)}], ids=["keep", "raw"])
def test_bits_are_one_scale_for_bright_and_dark_images(tmp_path: Path, settings: dict[str, Any]) -> None:
    files = {"a.png": png16(RAMP[..., None] // 16), "b.png": png16(RAMP[..., None] * 2)}
    report, pixels = pack(tmp_path, files, images=kseq.ImageSettings(bits=12, **settings))
    assert np.array_equal(pixels["a.png"][..., 0], RAMP // 256)
    assert np.array_equal(pixels["b.png"][..., 0], np.minimum(RAMP * 2 >> 4, 255))
    assert report.image_note_examples == {note: "c/b.png" if "4095" in note else "c/a.png" for note in report.image_notes}


@pytest.mark.parametrize("kind", ["incomplete", "twice", "numbered 0"])
def test_a_jpeg_with_a_bad_profile_has_its_pixels(tmp_path: Path, kind: str) -> None:
    def profile(number: int, count: int) -> bytes:
        body = b"ICC_PROFILE\0" + bytes([number, count]) + bytes(128)
        return b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body

    whole = encoded(Image.fromarray(PHOTO), "JPEG", quality=95)
    segments = {"incomplete": profile(1, 2), "twice": profile(1, 1) * 2, "numbered 0": profile(0, 1)}[kind]
    broken = whole[:2] + segments + whole[2:]
    report, pixels = pack(tmp_path, {"a.jpg": broken, "b.jpg": whole, "c.jpg": broken[: len(broken) * 3 // 4]})
    assert [os.path.basename(rejected.path) for rejected in report.rejected] == [b"c.jpg"]
    assert np.array_equal(pixels["a.jpg"], pixels["b.jpg"])


def test_faults_beside_the_pixels_of_a_png_are_none_of_the_picture(tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(PHOTO), "PNG")
    report, pixels = pack(
        tmp_path,
        {
            "checksum.png": with_chunk(whole, chunk(b"cLLI", bytes(8), checksum=1)),
            "profile.png": with_chunk(whole, chunk(b"iCCP", b"x\0\0broken", checksum=2)),
            "length.png": with_chunk(whole, chunk(b"pHYs", b"\0")),
            "animation.png": with_chunk(whole, chunk(b"acTL", struct.pack(">II", 3, 0))),
            "behind.png": whole[:-12] + chunk(b"fdAT", struct.pack(">I", 7) + b"zz") + whole[-12:],
            "text.png": whole[:-12] + chunk(b"tEXt", b"a\0b", checksum=3) + whole[-12:],
            "damaged.png": whole[:60] + bytes([whole[60] ^ 1]) + whole[61:],
        },
    )
    assert [os.path.basename(rejected.path) for rejected in report.rejected] == [b"damaged.png"]
    for name, found in pixels.items():
        assert np.array_equal(found, PHOTO), name


def test_avif_jpeg_2000_and_portable_maps_are_packed(tmp_path: Path) -> None:
    image = Image.fromarray(PHOTO)
    files = {"a.avif": encoded(image, "AVIF"), "b.jp2": encoded(image, "JPEG2000"), "c.ppm": encoded(image, "PPM")}
    files["d.pgm"] = b"P5 2 1 4095\n" + struct.pack(">HH", 4095, 2048)
    report, pixels = pack(tmp_path, files)
    assert not report.rejected
    assert np.abs(pixels["a.avif"].astype(int) - PHOTO).mean() < 12
    assert np.array_equal(pixels["b.jp2"], PHOTO)
    assert np.array_equal(pixels["c.ppm"], PHOTO)
    assert pixels["d.pgm"][0, :, 0].tolist() == [255, 128]


LOGO = np.zeros((16, 16, 4), np.uint8)
LOGO[4:12, 4:12, 3] = 255


@pytest.mark.parametrize("settings", [{}, {"encoding": "raw", "image_size": (16, 16)}, {"encoding": "jpeg"}])
def test_a_background_shows_through_transparent_pixels(tmp_path: Path, settings: dict[str, Any]) -> None:
    palette = Image.fromarray(LOGO).quantize(4)
    files = {"a.png": encoded(Image.fromarray(LOGO), "PNG"), "b.png": encoded(palette, "PNG")}
    report, pixels = pack(tmp_path, files, images=kseq.ImageSettings(background="white", **settings))
    for found in pixels.values():
        assert found[0, 0].min() > 250
        assert found[8, 8].max() < 9
    assert not report.image_notes


def test_hidden_colours_are_said(tmp_path: Path) -> None:
    report, pixels = pack(tmp_path, {"a.png": encoded(Image.fromarray(LOGO), "PNG")})
    assert not pixels["a.png"].any()
    assert [(count, "transparent" in note) for note, count in report.image_notes.items()] == [(1, True)]


def test_a_background_is_a_colour_and_needs_images_without_alpha() -> None:
    assert kseq.ImageSettings(background="#ff0010").background == (255, 0, 16)
    for arguments in ({"background": "no colour"}, {"background": (1, 2)}, {"background": "white", "color_mode": "rgba"}):
        with pytest.raises(ArgumentError):
            kseq.ImageSettings(**arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_pages_that_are_left_out_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [Image.fromarray(photo(number, 24, 32)) for number in range(3)]
    more = {"save_all": True, "append_images": pages[1:]}
    files = {"a.tif": encoded(pages[0], "TIFF", **more), "b.gif": encoded(pages[0], "GIF", **more)}
    pack(tmp_path, files | {"c.tif": encoded(pages[0], "TIFF"), "d.jpg": encoded(pages[0], "JPEG")})
    assert main(["pack", str(tmp_path / "photos"), str(tmp_path / "again"), "--workers", "1"]) == 0
    assert "of 2 images, such as c/a.tif" in capsys.readouterr().out


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_mask_without_the_orientation_of_its_image_is_said_or_turned(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((20, 40), np.uint8)
    stored[:5, :10] = 1
    image = Image.fromarray(np.repeat(stored[..., None] * 255, 3, 2))
    (tmp_path / "a.jpg").write_bytes(encoded(image, "JPEG", quality=95, exif=exif.tobytes()))
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(stored), "PNG"))
    (tmp_path / "t.csv").write_text("image,label,mask\na.jpg,x,a.png\n")
    columns = kseq.Columns(mask="mask")
    report = kseq.pack(tmp_path / "t.csv", tmp_path / "packed", columns=columns, workers=0)
    assert [count for note, count in report.image_notes.items() if f"orientation {orientation}" in note] == [1]
    with kseq.ShardDataset(tmp_path / "packed", "all") as dataset:
        sample = dataset[0]
    if orientation == 6:
        assert sample["image"][..., 0][sample["mask"][..., 0] == 1].mean() > 200


@pytest.mark.parametrize(("cut", "options", "is_whole"), [
    (1, {}, True), (2, {}, True), (3, {}, False), (40, {}, False), (2, {"progressive": True}, False),
])  # fmt: skip
def test_a_jpeg_that_lacks_its_end_alone_has_its_pixels(
    tmp_path: Path, cut: int, options: dict[str, Any], is_whole: bool
) -> None:
    data = encoded(Image.fromarray(PHOTO), "JPEG", **options)
    assert data.endswith(b"\xff\xd9")
    report, pixels = pack(tmp_path, {"a.jpg": data[:-cut], "b.jpg": data})
    assert [os.path.basename(os.fsdecode(each.path)) for each in report.rejected] == [] if is_whole else ["a.jpg"]
    if is_whole:
        np.testing.assert_array_equal(pixels["a.jpg"], pixels["b.jpg"])
        assert kseq.verify(tmp_path / "packed").damaged == []
        sequence = kseq.ShardSequence(tmp_path / "packed", "all", input_shape=(24, 32, 3), batch_size=2, shuffle=False)
        images, _ = sequence[0]
        np.testing.assert_array_equal(images[0], images[1])


def _mask(kind: str) -> bytes:
    values = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32) % 5
    opaque = np.full_like(values, 255)
    pixels = {
        "rgb": np.dstack([values] * 3),
        "rgba": np.dstack([values] * 3 + [opaque]),
        "colours": np.dstack([values, values, values + 1]),
        "hidden": np.dstack([values] * 4),
        "int32": values.astype(np.int32),
        "jpeg": values,
    }[kind]
    form = {"int32": "TIFF", "jpeg": "JPEG"}.get(kind, "PNG")
    return encoded(Image.fromarray(pixels), form)


@pytest.mark.parametrize("kind", ["rgb", "rgba", "int32", "jpeg", "colours", "hidden"])
def test_a_mask_of_equal_channels_or_more_bits_is_read_and_one_of_colours_is_not(tmp_path: Path, kind: str) -> None:
    for name, data in {"a.png": encoded(Image.fromarray(PHOTO), "PNG"), "m": _mask(kind), "n": _mask("rgb")}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "b.png").write_bytes(encoded(Image.fromarray(255 - PHOTO), "PNG"))
    (tmp_path / "t.csv").write_text("image,mask\na.png,m\nb.png,n\n")
    columns = kseq.Columns(label="", mask="mask")
    report = kseq.pack(tmp_path / "t.csv", tmp_path / "packed", columns=columns, workers=0)
    assert len(report.rejected) == (kind in ("colours", "hidden"))
    assert any("JPEG" in note for note in report.image_notes) == (kind == "jpeg")
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        if kind in ("rgb", "rgba", "int32"):
            np.testing.assert_array_equal(dataset[0]["mask"][..., 0], np.arange(24 * 32).reshape(24, 32) % 256 % 5)


def test_a_fault_in_sixteen_bits_is_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = png16(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64, 1))
    rows = bytearray(zlib.decompress(data[41:-16]))
    rows[0] = 99
    bad_filter = data[:33] + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    gray_and_alpha = np.dstack([PHOTO[..., 0], np.full((24, 32), 255, np.uint8)])
    eight = encoded(Image.fromarray(gray_and_alpha), "JPEG2000", no_jp2=True)
    # The depths of both channels, of which OpenCV reads none, are said to be nine bits.
    nine = bytearray(eight)
    nine[42] = nine[45] = 8
    files = {"a.png": bad_filter, "b.j2k": bytes(nine), "c.png": data, "d.j2k": eight}
    settings = kseq.ImageSettings(encoding="raw", dtype="uint16", image_size=(24, 32))
    report, pixels = pack(tmp_path, files, images=settings)
    assert [os.path.basename(file.path) for file in report.rejected] == [b"a.png", b"b.j2k"]
    np.testing.assert_array_equal(pixels["d.j2k"][..., 0], PHOTO[..., 0])
    assert capfd.readouterr().err == ""


def test_numbers_of_half_precision_are_compared_with_sixteen_bits_without_a_warning() -> None:
    halves = np.array([[0, 2048, 65504]], np.float16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_dtype(halves, "uint16").tolist() == [[0, 2048, 65504]]


def test_a_fault_beside_sixteen_bits_is_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = png16(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64, 1))
    broken = data[:33] + chunk(b"iCCP", b"bad\0\0" + b"x" * 9, 0) + data[33:]
    settings = kseq.ImageSettings(encoding="raw", dtype="uint16", channels=1, image_size=(64, 64))
    _, pixels = pack(tmp_path, {"a.png": broken, "b.png": data}, images=settings)
    np.testing.assert_array_equal(pixels["a.png"], pixels["b.png"])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("counts", [(0,), (2, 2), (1 << 31 | 1,)])
def test_an_animation_that_makes_no_sense_warns_nobody_who_reads_its_picture(tmp_path: Path, counts: tuple[int, ...]) -> None:
    png = encoded(Image.fromarray(PHOTO), "PNG")
    for count in counts:
        png = with_chunk(png, chunk(b"acTL", struct.pack(">II", count, 0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report, pixels = pack(tmp_path, {"a.png": png})
    assert not report.rejected
    np.testing.assert_array_equal(pixels["a.png"], PHOTO)


def test_what_pillow_logs_of_a_tiff_is_not_printed(tmp_path: Path) -> None:
    many = encoded(Image.fromarray(PHOTO), "TIFF").replace(
        struct.pack("<HHII", 277, 3, 1, 3), struct.pack("<HHII", 277, 3, 1, 9999)
    )
    (tmp_path / "photos" / "c").mkdir(parents=True)
    (tmp_path / "photos" / "c" / "a.tif").write_bytes(many)
    Image.fromarray(PHOTO).save(tmp_path / "photos" / "c" / "b.png")
    # Only a fresh process has no handler of logs, which pytest sets.
    command = kseq_command("pack", tmp_path / "photos", tmp_path / "packed", "--workers", "0")
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "a.tif" in ran.stdout


def test_indices_without_a_palette_are_no_black_image(tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(PHOTO).convert("P"), "PNG")
    start = whole.index(b"PLTE") - 4
    length = int.from_bytes(whole[start : start + 4], "big") + 12
    report, _ = pack(tmp_path, {"a.png": whole, "b.png": whole[:start] + whole[start + length :]})
    assert [(os.path.basename(os.fsdecode(each.path)), "palette" in each.reason) for each in report.rejected] == [
        ("b.png", True)
    ]
