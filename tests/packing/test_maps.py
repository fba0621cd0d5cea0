"""Maps: numbers for each pixel, such as depth, from files and arrays to batches, resized and moved with their images."""

from __future__ import annotations

import csv
import os
import shlex
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError, SourceError
from kseq_tools.main import main
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import photo
from tests.packing.test_deep_images import npy, pfm, pillow, tiff
from tests.packing.test_odd_images import png16

RNG = np.random.default_rng(0)
DEPTH = RNG.uniform(0.5, 9, (12, 16, 1)).astype(np.float32)
MILLIMETRES = np.rint(DEPTH * 1000).astype(np.uint16)
SETTINGS = kseq.ImageSettings("raw", (12, 16))


def write_table(folder: Path, maps: dict[str, bytes]) -> Path:
    """A table of photos and their maps, files in folders beside each other."""
    for name in ("images", "maps"):
        (folder / name).mkdir(parents=True)
    with open(folder / "depth.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "depth", "label"])
        for number, (name, data) in enumerate(maps.items()):
            Image.fromarray(photo(number, 12, 16)).save(folder / "images" / f"{number}.png")
            (folder / "maps" / name).write_bytes(data)
            writer.writerow([f"images/{number}.png", f"maps/{name}", "abc"[number % 3]])
    return folder / "depth.csv"


def columns(kind: str = "map") -> kseq.Columns:
    return kseq.Columns(label="", targets={"depth": "depth"}, kinds={"depth": kind})


def read(dataset: Path) -> dict[str, np.ndarray]:
    with kseq.ShardDataset(dataset, "all") as opened:
        return opened.read(range(len(opened)))


def test_maps_of_every_format_have_the_numbers_of_their_files(tmp_path: Path) -> None:
    holed = DEPTH.copy()
    holed[2:4, 3] = np.nan
    expected = {
        "a.npy": (npy(DEPTH), DEPTH),
        "half.npy": (npy(DEPTH.astype(np.float16)), DEPTH.astype(np.float16)),
        "holed.npy": (npy(holed[..., 0]), holed),
        "a.pfm": (pfm(DEPTH, "<"), DEPTH),
        "a.tif": (pillow(DEPTH[..., 0], "TIFF"), DEPTH),
        "zip.tif": (tiff(DEPTH[..., 0], compression="zlib"), DEPTH),
        "a.png": (png16(MILLIMETRES), MILLIMETRES),
        "eight.png": (pillow(photo(1, 12, 16)[..., 0], "PNG"), photo(1, 12, 16)[..., :1]),
    }
    table = write_table(tmp_path, {name: data for name, (data, _) in expected.items()})
    report = kseq.pack(table, tmp_path / "packed", columns=columns(), images=SETTINGS, workers=0)
    found = read(tmp_path / "packed")["depth"]
    assert (report.num_samples, found.dtype) == (len(expected), np.float32)
    for number, (name, (_, values)) in enumerate(expected.items()):
        np.testing.assert_array_equal(found[number], values.astype(np.float32), name)
    assert {count for note, count in report.image_notes.items() if "depth" in note} == {1}
    # A scale makes metres of millimetres; a source that has metres needs none.
    scaled = kseq.ImageSettings("raw", (12, 16), map_scale=0.001, map_dtype="float16")
    kseq.pack(table, tmp_path / "scaled", columns=columns(), images=scaled, workers=0)
    found = read(tmp_path / "scaled")["depth"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found[6], (MILLIMETRES * np.float32(0.001)).astype(np.float16))


@pytest.mark.parametrize("kind", ["map", "nearest_map"])
@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_maps_are_resized_with_their_images_and_never_rounded(tmp_path: Path, kind: str, encoding: str) -> None:
    holed = DEPTH.copy()
    holed[5, 7] = np.nan
    table = write_table(tmp_path, {"a.npy": npy(DEPTH), "b.npy": npy(holed)})
    for resize, part in (("stretch", np.s_[:, :]), ("crop", np.s_[:, 2:14])):
        size = (6, 8) if resize == "stretch" else (8, 8)
        settings = kseq.ImageSettings(encoding, size, resize=resize)
        kseq.pack(table, tmp_path / resize, columns=columns(kind), images=settings, workers=0, overwrite=True)
        found = read(tmp_path / resize)["depth"]
        flag = cv2.INTER_LINEAR if kind == "map" else cv2.INTER_NEAREST_EXACT
        for values, stored in zip((DEPTH, holed), found, strict=True):
            expected = cv2.resize(np.ascontiguousarray(values[part]), size[::-1], interpolation=flag)
            np.testing.assert_array_equal(stored[..., 0], expected)
        if kind == "nearest_map":
            assert np.isin(found[0], DEPTH).all()
            assert np.isnan(found[1]).sum() <= 1


@pytest.mark.parametrize("map_dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["map", "nearest_map"])
@pytest.mark.parametrize("channels", [1, 6])
def test_maps_move_with_their_images_in_batches(tmp_path: Path, map_dtype: str, kind: str, channels: int) -> None:
    # A map whose numbers are the pixels of its image, which shows whether both moved alike.
    images = np.stack([photo(number, 24, 32) for number in range(6)])
    depth = np.concatenate([images[..., :1]] * channels, axis=-1).astype(np.float32) / 2
    samples = [{"image": image, "depth": values} for image, values in zip(images, depth, strict=True)]
    settings = kseq.ImageSettings("raw", (24, 32), map_dtype=map_dtype, map_channels=channels)
    kseq.pack(samples, tmp_path / "packed", columns=columns(kind), images=settings, workers=0)
    augmentations: list[Any] = [
        [kseq.CenterCrop((16, 16)), kseq.RandomFlip("horizontal_and_vertical")],
        [kseq.RandomResizedCrop((12, 12)), kseq.RandomFlip()],
        [kseq.RandomAffine(translate=(0.4, 0.4), degrees=20)],
        [],
    ]
    for number, augment in enumerate(augmentations):
        with kseq.Batches(tmp_path / "packed", "all", batch_size=6, shuffle=False, augment=augment, seed=number) as batches:
            found, maps = batches.batch(0, 0)
        assert maps.dtype == map_dtype
        assert maps.shape == (*found.shape[:3], channels)
        difference = np.abs(maps * 2 - found[..., :1].astype(np.float32))
        # Images are rounded to whole numbers, and those of RandomAffine interpolated with few bits.
        limit = (1.5 if number != 2 else 5) if kind == "map" else 0 if number in (0, 3) else 300
        assert difference.max() <= limit, number
        if kind == "nearest_map":
            assert np.isin(maps, np.append(depth, 0).astype(map_dtype)).all()
    options = {"augment": kseq.RandomAffine(translate=(0.9, 0.9), map_fill=float("nan")), "data_format": "channels_first"}
    with kseq.Batches(tmp_path / "packed", "all", batch_size=6, shuffle=False, dtype="float32", **options) as batches:
        found, maps = batches.batch(0, 0)
    assert maps.shape == (6, channels, 24, 32)
    assert np.isnan(maps).any()
    # Functions over the whole batch see maps too.
    seen = {}
    function = kseq.BatchFunction(lambda batch: seen.update(batch) or {"depth": batch["depth"] * 0})
    with kseq.Batches(tmp_path / "packed", "all", batch_size=6, augment=function) as batches:
        _, changed = batches.batch(0, 0)
    assert seen["depth"].shape == (6, 24, 32, channels)
    assert not np.asarray(changed).any()


def test_maps_come_from_arrays_and_pass_every_edit_and_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.stack([photo(number, 12, 16) for number in range(5)])
    depth = RNG.normal(size=(5, 12, 16, 2))
    np.savez(tmp_path / "a.npz", images=images, depth=depth, labels=np.arange(5) % 2)
    chosen = kseq.Columns(targets={"depth": "depth"}, kinds={"depth": "map"})
    settings = kseq.ImageSettings("raw", (12, 16), map_channels=2)
    packed = tmp_path / "packed"
    kseq.pack(tmp_path / "a.npz", packed, columns=chosen, images=settings, workers=0)
    np.testing.assert_array_equal(read(packed)["depth"], depth.astype(np.float32))
    np.savez(tmp_path / "b.npz", images=images[::-1], depth=depth, labels=np.arange(5) % 2)
    kseq.append(packed, tmp_path / "b.npz", columns=chosen, workers=0)
    kseq.pack(tmp_path / "a.npz", tmp_path / "other", columns=chosen, images=settings, workers=0)
    kseq.merge([packed, tmp_path / "other"], tmp_path / "merged")
    np.testing.assert_array_equal(read(tmp_path / "merged")["depth"], np.concatenate([depth] * 3).astype(np.float32))
    assert main(["verify", str(packed)]) == main(["info", str(packed)]) == 0
    assert_says(capsys.readouterr().out.replace("\n", " "), "depth", "float32", "2 channels")
    for format in kseq.EXPORT_FORMATS:
        report = kseq.export(packed, tmp_path / format, format=format)
        words = shlex.split(report.pack_command)
        assert main([*words[1:3], str(tmp_path / f"{format}-again"), *words[4:], "--workers", "0"]) == 0
        capsys.readouterr()
        order = [
            sorted(map(bytes, values.reshape(10, -1)))
            for values in (read(packed)["depth"], read(Path(f"{tmp_path / format}-again"))["depth"])
        ]
        assert order[0] == order[1]


def test_what_is_no_map_is_refused_by_name(tmp_path: Path) -> None:
    table = write_table(
        tmp_path,
        {
            "good.npy": npy(DEPTH),
            "small.npy": npy(DEPTH[::2]),
            "three.npy": npy(np.repeat(DEPTH, 3, axis=2)),
            "colours.png": pillow(photo(1, 12, 16), "PNG"),
            "large.npy": npy(DEPTH * 1e5),
            "text.npy": b"depth",
        },
    )
    half = kseq.ImageSettings("raw", (12, 16), map_dtype="float16")
    report = kseq.pack(table, tmp_path / "packed", columns=columns(), images=half, workers=0)
    assert report.num_samples == 1
    reasons = {os.path.basename(os.fsdecode(file.path)): file.reason for file in report.rejected}
    assert_says(reasons["1.png"], "depth", "6 x 16", "12 x 16")
    assert_says(reasons["2.png"], "depth", "(12, 16, 3)")
    assert_says(reasons["3.png"], "depth", "(12, 16, 3)")
    assert_says(reasons["4.png"], "depth", "float16")
    assert "5.png" in reasons
    with raises(ArgumentError, "depth", "encoding='raw'", "keep"):
        kseq.pack(table, tmp_path / "keep", columns=columns(), workers=0)
    for wrong in ({"map_scale": 0}, {"map_dtype": "uint8"}, {"map_channels": 0}):
        with raises(ArgumentError, *wrong):
            kseq.ImageSettings(**wrong)
    with raises(SourceError, "depth", "(1, 4)"):
        kseq.pack([{"image": photo(0, 12, 16), "depth": np.zeros(4)}], tmp_path / "list", columns=columns(), images=half)


def test_the_refusal_of_depth_as_numbers_names_maps(tmp_path: Path) -> None:
    samples = [{"image": photo(0, 8, 8), "depth": np.zeros((8, 8)).tolist()}]
    chosen = kseq.Columns(label="", targets={"depth": "depth"})
    kseq.pack(samples, tmp_path / "packed", columns=chosen, images=kseq.ImageSettings("raw", (8, 8)), workers=0)
    with raises(ArgumentError, "depth", "'map'"):
        kseq.Batches(tmp_path / "packed", "all", augment=kseq.RandomFlip())


def test_the_command_packs_a_map_by_a_word_behind_its_column(tmp_path: Path) -> None:
    table = write_table(tmp_path, {"a.png": png16(MILLIMETRES)})
    options = [
        "--label",
        "",
        "--target",
        "depth=depth:map",
        "--map-scale",
        "0.001",
        "--encoding",
        "raw",
        "--image-size",
        "12",
        "16",
    ]
    assert main(["pack", str(table), str(tmp_path / "packed"), *options, "--workers", "0"]) == 0
    np.testing.assert_array_equal(read(tmp_path / "packed")["depth"][0], MILLIMETRES * np.float32(0.001))


@pytest.mark.slow
def test_a_depth_model_learns_from_maps(tmp_path: Path) -> None:
    import keras

    images = RNG.integers(0, 256, (64, 16, 16, 3), np.uint8)
    samples = [{"image": image, "depth": image.mean(2, keepdims=True) / 64} for image in images.astype(np.float32)]
    for sample, image in zip(samples, images, strict=True):
        sample["image"] = image
    kseq.pack(samples, tmp_path / "packed", columns=columns(), images=kseq.ImageSettings("raw", (16, 16)), workers=0)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(1, 1, name="depth")]
    )
    model.compile(keras.optimizers.Adam(0.1), "mse")
    with kseq.ShardSequence(tmp_path / "packed", "all", augment=kseq.RandomFlip(), seed=0, shuffle=True) as sequence:
        losses = model.fit(sequence, epochs=80, verbose=0).history["loss"]
    # Only a map that is flipped with its image is a function of its pixels.
    assert losses[-1] < 0.01 < losses[0]
