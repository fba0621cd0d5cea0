"""Images of more than 8 bits or of other channels than colours have: the numbers of the file, from source to batch."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError, KseqError, SourceError
from kseq.images.codecs import encode_pixels
from kseq.images.deep_pixels import convert_numbers, read_numbers
from kseq.images.pillow_pixels import PixelRules
from kseq.images.pixel_form import PixelForm
from kseq_tools.main import main
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import photo
from tests.packing.test_odd_images import png16

tifffile = pytest.importorskip("tifffile", reason="TIFF files of every kind are written by tifffile")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 1 << 16, (12, 16, 1), np.uint16)
COLOURS = RNG.integers(0, 1 << 16, (12, 16, 3), np.uint16)
BANDS = RNG.integers(0, 1 << 16, (12, 16, 7), np.uint16)
FLOATS = RNG.normal(0, 1e3, (12, 16, 1)).astype(np.float32)


def raw(dtype: str, size: tuple[int, int] = (12, 16), **settings: Any) -> kseq.ImageSettings:
    return kseq.ImageSettings("raw", size, dtype=dtype, **settings)


def pack(folder: Path, files: dict[str, bytes], images: kseq.ImageSettings) -> tuple[kseq.PackReport, dict[str, np.ndarray]]:
    """Pack files as one class; the report, and the pixels by file name."""
    photos = folder / "photos" / "c"
    photos.mkdir(parents=True)
    for name, data in files.items():
        (photos / name).write_bytes(data)
    report = kseq.pack(folder / "photos", folder / "packed", workers=0, images=images)
    assert report.num_found == len(files) == report.num_samples + len(report.rejected)
    with kseq.ShardDataset(folder / "packed", "all") as dataset:
        return report, {os.path.basename(dataset.source(i)): dataset[i]["image"] for i in range(len(dataset))}


def npy(array: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    target = io.BytesIO()
    tifffile.imwrite(target, array, **options)
    return target.getvalue()


def pillow(array: np.ndarray, format: str, **options: Any) -> bytes:
    target = io.BytesIO()
    Image.fromarray(array).save(target, format, **options)
    return target.getvalue()


def pnm(array: np.ndarray, most: int) -> bytes:
    kind = b"P5" if array.shape[2] == 1 else b"P6"
    return kind + b" 16 12\n# a comment\n%d\n" % most + array.astype(">u2" if most > 255 else "u1").tobytes()


def pfm(array: np.ndarray, order: str) -> bytes:
    scale = {"<": b"-1.0", ">": b"1"}[order]
    return (b"Pf" if array.shape[2] == 1 else b"PF") + b"\n16 12\n" + scale + b"\n" + array[::-1].astype(f"{order}f4").tobytes()


def test_whole_numbers_of_16_bits_are_those_of_the_file_in_every_format(tmp_path: Path) -> None:
    twelve = GREY >> 4
    files = {
        "a.npy": (npy(GREY[..., 0]), GREY),
        "big.npy": (npy(GREY.astype(">u2")), GREY),
        "signed.npy": (npy(twelve.astype(np.int32)), twelve),
        "fortran.npy": (npy(np.asfortranarray(GREY)), GREY),
        "a.png": (png16(GREY), GREY),
        "twelve.png": (png16(twelve), twelve),
        "a.tif": (tiff(GREY[..., 0]), GREY),
        "big.tif": (tiff(GREY[..., 0], byteorder=">"), GREY),
        "zip.tif": (tiff(GREY[..., 0], compression="zlib"), GREY),
        "tiled.tif": (tiff(GREY[..., 0], tile=(16, 16)), GREY),
        "pillow.tif": (pillow(GREY[..., 0], "TIFF"), GREY),
        "signed.tif": (tiff(np.full((12, 16), 9, np.int8)), np.full((12, 16, 1), 9)),
        "a.jp2": (pillow(GREY[..., 0], "JPEG2000", irreversible=False), GREY),
        "a.pgm": (pnm(GREY, 65535), GREY),
        "twelve.pgm": (pnm(twelve, 4095), twelve),
        "eight.pgm": (pnm(twelve >> 6, 100), twelve >> 6),
        "text.pgm": (b"P2 16 12 4095\n" + b" ".join(b"%d" % value for value in twelve.ravel()), twelve),
        "eight.png": (pillow(photo(1, 12, 16)[..., 0], "PNG"), photo(1, 12, 16)[..., :1]),
    }
    files["eight.pgm"] = (pnm(np.minimum(twelve >> 6, 63), 100), np.minimum(twelve >> 6, 63))
    report, found = pack(tmp_path, {name: data for name, (data, _) in files.items()}, raw("uint16", color_mode="grayscale"))
    assert not report.rejected
    for name, (_, expected) in files.items():
        assert found[name].dtype == np.uint16, name
        np.testing.assert_array_equal(found[name], expected, name)
    # Whoever opens the shard without kseq sees the same.
    with h5py.File(tmp_path / "packed" / "shard-00000.h5") as file:
        assert (file["image"].dtype, file["image"].shape) == (np.dtype("<u2"), (len(files), 12, 16, 1))
    assert any("8 bits" in note for note in report.image_notes)


def test_colours_of_16_bits_keep_their_order_and_become_grey_by_the_usual_weights(tmp_path: Path) -> None:
    turned = Image.fromarray(photo(2, 12, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    target = io.BytesIO()
    turned.save(target, "PNG", exif=exif)
    files = {
        "a.png": png16(COLOURS),
        "alpha.png": png16(np.concatenate([COLOURS, GREY], axis=2)),
        "a.tif": tiff(COLOURS, photometric="rgb"),
        "planes.tif": tiff(np.moveaxis(COLOURS, 2, 0), photometric="rgb", planarconfig="separate"),
        "a.ppm": pnm(COLOURS, 65535),
        "a.npy": npy(COLOURS),
    }
    report, found = pack(tmp_path / "rgb", {**files, "turned.png": target.getvalue()}, raw("uint16", (16, 12)))
    assert not report.rejected
    resized = cv2.resize(COLOURS, (12, 16))
    for name in files:
        np.testing.assert_array_equal(found[name], resized, name)
    np.testing.assert_array_equal(found["turned.png"], np.rot90(photo(2, 12, 16), -1))
    assert any("alpha" in note for note in report.image_notes)
    _, grey = pack(tmp_path / "grey", files, raw("uint16", color_mode="grayscale"))
    expected = COLOURS @ np.array([0.299, 0.587, 0.114])
    for name in files:
        assert np.abs(grey[name][..., 0] - expected).max() <= 2, name
    _, alpha = pack(
        tmp_path / "rgba", {"a.png": files["a.png"], "alpha.png": files["alpha.png"]}, raw("uint16", color_mode="rgba")
    )
    assert (alpha["a.png"][..., 3] == 65535).all()
    np.testing.assert_array_equal(alpha["alpha.png"][..., 3:], GREY)


def test_floats_keep_every_bit_and_what_is_no_number_is_counted(tmp_path: Path) -> None:
    holed = FLOATS.copy()
    holed[3, 4], holed[5, 6] = np.nan, np.inf
    files = {
        "a.npy": (npy(FLOATS), FLOATS),
        "double.npy": (npy(FLOATS.astype(np.float64)), FLOATS),
        "holed.npy": (npy(holed), holed),
        "a.tif": (tiff(FLOATS[..., 0]), FLOATS),
        "pillow.tiff": (pillow(FLOATS[..., 0], "TIFF"), FLOATS),
        "little.pfm": (pfm(FLOATS, "<"), FLOATS),
        "big.pfm": (pfm(FLOATS, ">"), FLOATS),
        "whole.npy": (npy(GREY), GREY.astype(np.float32)),
    }
    report, found = pack(tmp_path, {name: data for name, (data, _) in files.items()}, raw("float32", color_mode="grayscale"))
    for name, (_, expected) in files.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], expected, name)
    (count,) = (count for note, count in report.image_notes.items() if "NaN" in note)
    assert count == 1


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bands.tif", tiff(BANDS, photometric="minisblack", planarconfig="contig")),
        ("planes.tif", tiff(np.moveaxis(BANDS, 2, 0), photometric="minisblack", planarconfig="separate")),
        ("pages.tif", tiff(np.moveaxis(BANDS, 2, 0), photometric="minisblack")),
        ("imagej.tif", tiff(np.moveaxis(BANDS, 2, 0), imagej=True)),
        ("ome.tif", tiff(np.moveaxis(BANDS, 2, 0), ome=True, metadata={"axes": "CYX"}, photometric="minisblack")),
        ("volume.tif", tiff(np.moveaxis(BANDS, 2, 0), volumetric=True, tile=(16, 16, 16))),
        ("bands.npy", npy(BANDS)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_seven_channels_come_from_bands_planes_and_pages(tmp_path: Path, name: str, data: bytes) -> None:
    report, found = pack(tmp_path, {name: data}, raw("uint16", channels=7))
    np.testing.assert_array_equal(found[name], BANDS)
    assert not report.image_notes
    with kseq.Batches(tmp_path / "packed", "all", batch_size=1) as batches:
        images, _ = batches.batch(0, 0)
    assert images.dtype == np.uint16
    np.testing.assert_array_equal(np.asarray(images)[0], BANDS)


def test_the_first_page_is_taken_where_pages_are_no_channels_and_copies_are_no_pages(tmp_path: Path) -> None:
    target = io.BytesIO()
    with tifffile.TiffWriter(target) as writer:
        writer.write(GREY[..., 0])
        writer.write(GREY[::2, ::2, 0], subfiletype=1)
    files = {"pages.tif": tiff(np.moveaxis(BANDS, 2, 0), photometric="minisblack"), "pyramid.tif": target.getvalue()}
    report, found = pack(tmp_path, files, raw("uint16", color_mode="grayscale"))
    np.testing.assert_array_equal(found["pages.tif"], BANDS[..., :1])
    np.testing.assert_array_equal(found["pyramid.tif"], GREY)
    assert list(report.image_notes.values()) == [1]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_alpha_of_eight_bits_is_255_from_files_and_from_arrays(tmp_path: Path, dtype: str) -> None:
    colours = photo(3, 12, 16)
    opaque = np.dstack([colours, np.full((12, 16), 255, np.uint8)])
    notes: list[str] = []
    for pixels in (colours, opaque):
        for mode, expected in (("rgba", opaque), ("rgb", colours)):
            form = PixelForm(dtype, None, mode)
            from_array = convert_numbers(pixels, form, 10**6, PixelRules(note=notes.append))
            from_file, _ = read_numbers(encode_pixels(pixels), form, 10**6, PixelRules())
            for found in (from_array, from_file):
                assert found.dtype == dtype
                np.testing.assert_array_equal(found, expected)
    assert not notes


def test_numbers_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    files = {
        "negative.npy": npy(np.full((12, 16), -1, np.int16)),
        "large.npy": npy(np.full((12, 16), 70_000, np.int32)),
        "fraction.npy": npy(np.full((12, 16), 0.5)),
        "nan.npy": npy(np.full((12, 16), np.nan)),
        "bands.npy": npy(BANDS),
        "text.npy": npy(np.full((12, 16), "a")),
        "broken.npy": npy(GREY)[:200],
        "objects.npy": b"\x93NUMPY\x01\x00\x46\x00"
        + b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }".ljust(69)
        + b"\n",
        "pages.tif": tiff(np.moveaxis(BANDS, 2, 0), photometric="minisblack"),
        "broken.tif": tiff(GREY[..., 0])[:300],
        "broken.png": png16(GREY)[:80],
        "short.pgm": pnm(GREY, 65535)[:100],
        "bad.pgm": pnm(GREY, 100 + 900),
        "short.pfm": pfm(FLOATS, "<")[:100],
        "complex.tif": tiff((GREY + 1j).astype(np.complex64)[..., 0]),
        "signed.tif": tiff(np.full((12, 16), -9, np.int8)),
        "good.npy": npy(GREY),
    }
    report, found = pack(tmp_path, files, raw("uint16", channels=1))
    assert set(found) == {"good.npy", "pages.tif"}
    reasons = {os.path.basename(os.fsdecode(file.path)): file.explanation for file in report.rejected}
    for name in ("negative.npy", "large.npy", "fraction.npy", "nan.npy"):
        assert_says(reasons[name], "uint16", "dtype='float32'")
    assert_says(reasons["bands.npy"], "(12, 16, 7)")
    for name in ("broken.tif", "broken.png", "short.pgm", "bad.pgm", "short.pfm", "text.npy", "broken.npy", "objects.npy"):
        assert_says(reasons[name])
    _, packed = pack(tmp_path / "seven", {"bands.npy": files["bands.npy"]}, raw("uint16", channels=7))
    assert packed
    with raises(SourceError, "channels=7"):
        pack(tmp_path / "rgb", {"bands.npy": files["bands.npy"]}, raw("uint16"))
    with raises(SourceError, "transpose"):
        pack(tmp_path / "first", {"planes.npy": npy(np.moveaxis(BANDS, 2, 0))}, raw("uint16", channels=7))


@pytest.mark.parametrize(
    ("name", "data", "dtype", "channels"),
    [
        ("a.npy", npy(GREY), "uint16", 3),
        ("a.npy", npy(BANDS), "uint16", 7),
        ("a.npy", npy(FLOATS), "float32", 3),
        ("a.tif", tiff(FLOATS[..., 0]), "float32", 3),
        ("a.tif", tiff(GREY[..., 0].astype(np.int32) * 9), "float32", 3),
        ("a.tif", tiff(BANDS, photometric="minisblack", planarconfig="contig"), "uint16", 7),
        ("a.tif", tiff(BANDS.astype(">u2"), photometric="rgb", planarconfig="contig", byteorder=">"), "uint16", 7),
        (
            "a.tif",
            tiff(np.moveaxis(BANDS, 2, 0).astype(np.float32), photometric="minisblack", planarconfig="separate"),
            "float32",
            7,
        ),
        ("a.tif", tiff(BANDS, photometric="minisblack", planarconfig="contig", bigtiff=True), "uint16", 7),
        ("a.tif", tiff((BANDS >> 8).astype(np.uint8), photometric="minisblack", planarconfig="contig"), "uint8", 7),
        ("a.tif", tiff(BANDS[..., :4].astype(np.int16), photometric="minisblack", planarconfig="contig"), "float32", 4),
    ],
)
def test_numbers_that_are_no_colours_name_the_settings_that_keep_them(
    tmp_path: Path, name: str, data: bytes, dtype: str, channels: int
) -> None:
    with pytest.raises(SourceError) as error:
        pack(tmp_path / "plain", {name: data}, kseq.ImageSettings())
    said = re.search(r"kseq\.ImageSettings\([^()]*\([^()]*\)[^()]*\)", str(error.value))
    assert said is not None, str(error.value)
    settings = eval(said[0], {"kseq": kseq})
    assert settings.dtype == dtype
    _, found = pack(tmp_path / "kept", {name: data}, settings)
    assert found[name].dtype == dtype
    assert found[name].shape == (*BANDS.shape[:2], channels)


def test_a_dtype_that_is_not_asked_for_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos" / "c").mkdir(parents=True)
    (tmp_path / "photos" / "c" / "a.png").write_bytes(png16(GREY >> 4))
    assert main(["pack", str(tmp_path / "photos"), str(tmp_path / "packed"), "--workers", "0"]) == 0
    assert_says(capsys.readouterr().out.replace("\n", " "), "12 bits", "--bits", "--dtype uint16")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"dtype": "uint16"}, ("dtype='uint16'", "encoding='raw'", "keep")),
        ({"dtype": "float32", "encoding": "jpeg"}, ("dtype='float32'", "jpeg")),
        ({"channels": 5}, ("channels=5", "encoding='raw'")),
        ({"dtype": "int16"}, ("dtype='int16'", "uint8", "uint16", "float32")),
        ({"channels": 65, "encoding": "raw", "image_size": (4, 4)}, ("channels=65", "64")),
        ({"channels": 5, "color_mode": "rgba", "encoding": "raw", "image_size": (4, 4)}, ("channels=5", "color_mode='rgba'")),
        ({"dtype": "uint16", "bits": 12, "encoding": "raw", "image_size": (4, 4)}, ("bits=12", "dtype='uint16'")),
        ({"dtype": "uint16", "background": "white", "encoding": "raw", "image_size": (4, 4)}, ("background", "dtype='uint16'")),
    ],
)
def test_settings_that_do_not_go_together_are_refused(arguments: dict[str, Any], parts: tuple[str, ...]) -> None:
    with raises(ArgumentError, *parts):
        kseq.ImageSettings(**arguments)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets of 10 images of 7 channels, of uint16 and of float32, from one `.npz`."""
    folder = tmp_path_factory.mktemp("arrays")
    images = RNG.integers(0, 1 << 16, (10, 12, 16, 7), np.uint16)
    np.savez(folder / "a.npz", images=images, labels=np.arange(10) % 3)
    for dtype in ("uint16", "float32"):
        kseq.pack(folder / "a.npz", folder / dtype, images=raw(dtype, channels=7), workers=0, val=0.3)
    return folder


def test_arrays_of_every_container_keep_their_numbers(arrays: Path, tmp_path: Path) -> None:
    with np.load(arrays / "a.npz") as file:
        images, labels = file["images"], file["labels"]
    np.savez_compressed(tmp_path / "b.npz", images=images, labels=labels)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["images"], file["labels"] = images, labels
    with h5py.File(tmp_path / "chunks.h5", "w") as file:
        file.create_dataset("images", data=images.astype(">u2"), chunks=(3, 12, 16, 7), compression="gzip")
        file["labels"] = labels
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "images.npy", images.astype(np.int32))
    np.save(tmp_path / "npy" / "labels.npy", labels)
    sources: list[Any] = [tmp_path / "b.npz", tmp_path / "c.h5", tmp_path / "chunks.h5", tmp_path / "npy" / "images.npy"]
    sources += [(images, labels), [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]]
    for number, source in enumerate([arrays / "a.npz", *sources]):
        for dtype in ("uint16", "float32"):
            packed = tmp_path / f"packed-{number}-{dtype}"
            kseq.pack(source, packed, images=raw(dtype, channels=7), workers=0)
            with kseq.ShardDataset(packed, "all") as dataset:
                found = dataset.read(range(10))["image"]
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, images)
    # MATLAB has its axes in the reverse order.
    with h5py.File(tmp_path / "m.mat.h5", "w") as file:
        file["images"], file["labels"] = images.transpose(3, 2, 1, 0), labels
        file["images"].attrs["MATLAB_class"] = np.bytes_("uint16")
    with raises(SourceError, "transpose", 10):
        kseq.pack(tmp_path / "m.mat.h5", tmp_path / "m", images=raw("uint16", channels=7), workers=0)
    with raises(SourceError, "channels=7"):
        kseq.pack(arrays / "a.npz", tmp_path / "m", images=raw("uint16"), workers=0)
    np.savez(tmp_path / "grey.npz", images=images[..., 0], labels=labels)
    with raises(SourceError, "dtype='uint16'"):
        kseq.pack(tmp_path / "grey.npz", tmp_path / "m", workers=0)


def test_batches_have_the_numbers_in_the_dtype_that_is_asked_for(arrays: Path) -> None:
    with np.load(arrays / "a.npz") as file:
        images = file["images"]
    for stored in ("uint16", "float32"):
        with kseq.Batches(arrays / stored, "all", batch_size=10) as batches:
            found, _ = batches.batch(0, 0)
        assert found.dtype == stored
        np.testing.assert_array_equal(found, images)
        with kseq.Batches(arrays / stored, "all", batch_size=10, dtype="float32", scale=1 / 65535) as batches:
            found, _ = batches.batch(0, 0)
        np.testing.assert_array_equal(found, images.astype(np.float32) * np.float32(1 / 65535))
        options: dict[str, Any] = {"dtype": "float16", "scale": 1 / 65535, "data_format": "channels_first"}
        with kseq.Batches(arrays / stored, "all", batch_size=10, **options) as batches:
            found, _ = batches.batch(0, 0)
        assert (found.dtype, found.shape) == (np.float16, (10, 7, 12, 16))
        for wrong in ({"dtype": "uint8"}, {"color_mode": "rgb"}, {"input_shape": (12, 16, 3)}):
            with raises(ArgumentError, *(str(value) for value in wrong.values())):
                kseq.Batches(arrays / stored, "all", **wrong)
    with raises(ArgumentError, "float16", 65504, "scale"):
        kseq.Batches(arrays / "uint16", "all", dtype="float16")
    with raises(ArgumentError, "scale", "uint16"):
        kseq.Batches(arrays / "uint16", "all", scale=0.5)


@pytest.mark.parametrize("stored", ["uint16", "float32"])
def test_batches_resize_crop_and_flip_in_the_stored_dtype(arrays: Path, stored: str) -> None:
    with np.load(arrays / "a.npz") as file:
        images = file["images"].astype(stored)
    resized = np.stack([cv2.resize(image, (8, 6)) for image in images])
    with kseq.Batches(arrays / stored, "all", batch_size=10, input_shape=(6, 8, 7)) as batches:
        found, _ = batches.batch(0, 0)
    np.testing.assert_array_equal(found, resized)
    augment = [kseq.CenterCrop((8, 8)), kseq.RandomFlip()]
    with kseq.Batches(arrays / stored, "all", batch_size=10, shuffle=False, augment=augment, seed=1) as batches:
        found, _ = batches.batch(0, 0)
    cropped = images[:, 2:10, 4:12]
    is_flipped = [np.array_equal(image, crop[:, ::-1]) for image, crop in zip(found, cropped, strict=True)]
    assert 0 < sum(is_flipped) < 10
    expected = np.where(np.array(is_flipped)[:, None, None, None], cropped[:, :, ::-1], cropped)
    np.testing.assert_array_equal(found, expected)
    moved = kseq.RandomAffine(translate=(0.5, 0.5), fill=60_000)
    with kseq.Batches(arrays / stored, "all", batch_size=10, shuffle=False, augment=moved) as batches:
        found, _ = batches.batch(0, 0)
    assert found.dtype == stored
    assert (found == 60_000).all(axis=3).any()
    # A colour that is changed is not cut at 255, and all channels change.
    jitter, erasing = kseq.ColorJitter(brightness=0.5), kseq.RandomErasing(1.0, value=50_000)
    with kseq.Batches(arrays / stored, "all", batch_size=10, shuffle=False, augment=[jitter, erasing]) as batches:
        found, _ = batches.batch(0, 0)
    is_erased = (found == 50_000).all(axis=3)
    assert is_erased.any(axis=(1, 2)).all()
    for one, image, hidden in zip(found, images, is_erased, strict=True):
        ratios = np.median(one[~hidden] / image[~hidden], axis=0)
        assert np.ptp(ratios) < 1e-3
    for augmentation in (kseq.RandomAffine(fill=70_000), kseq.RandomErasing(value=-1)):
        if stored == "uint16":
            with raises(ArgumentError, 65535):
                kseq.Batches(arrays / stored, "all", augment=augmentation)
        else:
            kseq.Batches(arrays / stored, "all", augment=augmentation).close()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("interpolation", kseq.ImageSettings.INTERPOLATIONS)
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (20, 30)])
def test_resizing_follows_the_rules_of_eight_bits(
    dtype: str, interpolation: str, antialias: bool, size: tuple[int, int]
) -> None:
    from kseq.images.resize import resize

    image = photo(5, 12, 16)
    eight = np.empty((*size, 3), np.uint8)
    resize(image, eight, interpolation, antialias)
    # The same picture, with more channels than Pillow or most of OpenCV know.
    wide = np.concatenate([image, image[..., ::-1], image[..., :1]], axis=2).astype(dtype)
    deep = np.empty((*size, 7), dtype)
    resize(wide, deep, interpolation, antialias)
    assert np.abs(np.clip(deep[..., :3], 0, 255) - eight.astype(np.float64)).max() <= 1.5
    np.testing.assert_array_equal(deep[..., 5:2:-1], deep[..., :3])
    high = np.empty((*size, 7), dtype)
    factor = 257
    resize(wide * np.array(factor, dtype), high, interpolation, antialias)
    # Values beyond 8 bits are not cut.
    assert np.abs(high / factor - deep).max() <= 1
    if dtype == "float32":
        holed = wide.copy()
        holed[0, 0] = np.nan
        found = np.empty((*size, 7), dtype)
        resize(holed, found, interpolation, antialias)
        assert np.isnan(found).any() or interpolation == "nearest"
        assert np.isnan(found[:, :, 0]).mean() < 1
        is_left = ~np.isnan(found)
        np.testing.assert_allclose(found[is_left], deep[is_left], atol=1e-3)


def test_edits_of_a_deep_dataset_keep_its_form(arrays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(arrays / "a.npz") as file:
        images = file["images"]
    packed = tmp_path / "packed"
    kseq.copy(arrays / "uint16", packed)
    more = RNG.integers(0, 1 << 16, (4, 12, 16, 7), np.uint16)
    np.savez(tmp_path / "more.npz", images=more, labels=np.arange(4) % 3)
    kseq.append(packed, tmp_path / "more.npz", workers=0)
    kseq.merge([packed, arrays / "uint16"], tmp_path / "merged")
    with kseq.ShardDataset(tmp_path / "merged", "all") as dataset:
        found = dataset.read(range(len(dataset)))["image"]
    np.testing.assert_array_equal(found, np.concatenate([images, more, images]))
    kseq.compact(packed)
    for command in (["verify", str(packed)], ["info", str(packed)]):
        assert main(command) == 0
    assert_says(capsys.readouterr().out.replace("\n", " "), "uint16", "7 channels")
    with raises(KseqError, "uint16", "float32"):
        kseq.merge([packed, arrays / "float32"], tmp_path / "mixed")
    np.savez(tmp_path / "plain.npz", images=photo(1, 12, 16)[None], labels=np.zeros(1, int))
    with raises(KseqError, 7):
        kseq.append(packed, tmp_path / "plain.npz", workers=0)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("format", kseq.EXPORT_FORMATS)
def test_an_export_is_packed_again_to_the_same_numbers(
    arrays: Path, tmp_path: Path, dtype: str, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = kseq.export(arrays / dtype, tmp_path / "out", format=format)
    import shlex

    words = shlex.split(report.pack_command)
    assert main([*words[1:3], str(tmp_path / "again"), *words[4:], "--workers", "0"]) == 0, capsys.readouterr()
    with kseq.ShardDataset(arrays / dtype, "all") as before, kseq.ShardDataset(tmp_path / "again", "all") as after:
        first, second = before.read(range(10)), after.read(range(10))
        assert before.class_names == after.class_names
        order = [sorted(map(bytes, np.ascontiguousarray(values["image"]).reshape(10, -1))) for values in (first, second)]
    assert second["image"].dtype == dtype
    assert order[0] == order[1]


def test_a_dataset_without_the_options_is_what_it_was(tmp_path: Path) -> None:
    from kseq.packing.settings import format_settings

    assert "dtype" not in format_settings(kseq.ImageSettings())
    assert "channels" not in format_settings(kseq.ImageSettings())


@pytest.mark.parametrize("data", [tiff(BANDS, photometric="minisblack", planarconfig="contig"), npy(BANDS)], ids=["tif", "npy"])
def test_boxes_go_with_images_that_only_their_numbers_open(tmp_path: Path, data: bytes) -> None:
    for name in ("images", "labels"):
        (tmp_path / "yolo" / name).mkdir(parents=True)
    (tmp_path / "yolo" / "images" / "a.tif").write_bytes(data)
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    kseq.pack(tmp_path / "yolo", tmp_path / "packed", images=raw("uint16", channels=7), workers=0)
    with kseq.ShardDataset(tmp_path / "packed", "all") as dataset:
        np.testing.assert_array_equal(dataset[0]["image"], BANDS)
        np.testing.assert_array_equal(dataset[0]["boxes"], [[6, 3, 10, 9]])


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    lzw = {"a.tif": pillow(GREY[..., 0], "TIFF", compression="tiff_lzw")}
    if importlib.util.find_spec("imagecodecs") is None:
        with raises(SourceError, "a.tif", "LZW", "pip install imagecodecs"):
            pack(tmp_path / "codec", lzw, raw("uint16"))
    else:
        _, found = pack(tmp_path / "codec", lzw, raw("uint16", channels=1))
        np.testing.assert_array_equal(found["a.tif"], GREY)
    deep_tiff = tiff(GREY[..., 0])
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with raises(SourceError, "a.tif", "kseq[tiff]"):
        pack(tmp_path / "tifffile", {"a.tif": deep_tiff}, raw("uint16"))
    # Colours of 8 bits, and all other formats, need no package.
    _, found = pack(tmp_path / "others", {"a.npy": npy(GREY), "a.png": png16(GREY)}, raw("uint16", channels=1))
    assert len(found) == 2
