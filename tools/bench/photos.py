"""The photos of the benchmark: made here, or taken from a folder; the same samples for every contestant."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg

from kseq.errors import SourceError
from kseq.processes import ProcessPool
from kseq.sources.folder import FolderSource

from .stamps import make_once

__all__ = [
    "NUM_CLASSES",
    "RAW_SIDES",
    "SIDE",
    "describe",
    "find_images",
    "make_large_source",
    "make_photo_source",
    "make_raw_source",
    "make_sources",
]

SIDE = 224
NUM_CLASSES = 10
# Height and width of raw photos, by table.
RAW_SIDES = {"R": SIDE, "RC": 256}

_QUALITY = 90
_SHORTER_SIDE = 256
# Height and width of made photos, each as often as it stands here: ImageNet's usual sizes, and some larger.
_SIZES = [(375, 500)] * 10 + [(500, 375)] * 5 + [(480, 640)] * 3 + [(600, 800)] * 2
# Of photos of 12 megapixels, as phones and cameras take them.
_LARGE_SIZE = (3000, 4000)
_CANVAS = 1024
_NUM_CANVASES = 12
# Standard deviation of the grain: with it a made photo takes about three bits a pixel at quality 90, as photos do.
_GRAIN = 8.0
# Photos made by one task of a worker.
_CHUNK = 100


def make_sources(folder: str, images: str | None, count: int, workers: int) -> dict[str, str]:
    """Write the samples in the three forms that the tables start from, if they are not there; others are removed.

    Args:
        folder: Where to; `R/images.npy` and `R/labels.npy`, `J/CLASS/NAME.jpg`, `N/CLASS/NAME.jpg`.
        images: A folder of photos; None to make some. Where there are fewer than `count`, further ones are cut out of them.
        count: How many samples.
        workers: Processes.

    Returns:
        Table name to folder.

    Raises:
        SourceError: Where `images` is no folder, has no images, or one that cannot be decoded.
    """
    sources = {table: os.path.join(folder, table) for table in "RJN"}
    make_once(folder, describe(images, count), functools.partial(_make, sources, images, count, workers))
    return sources


def describe(images: str | None, count: int) -> str:
    """What samples there are: equal for the same number of the same folder."""
    return f"{count} {os.path.abspath(images) if images else 'made'}"


def _make(sources: dict[str, str], images: str | None, count: int, workers: int) -> None:
    paths = find_images(images) if images else []
    for table in "JN":
        for label in range(NUM_CLASSES):
            os.makedirs(os.path.join(sources[table], f"class{label}"))
    os.makedirs(sources["R"])
    pixels = np.lib.format.open_memmap(_raw_path(sources), "w+", np.uint8, (count, SIDE, SIDE, 3))
    pixels.flush()
    np.save(os.path.join(sources["R"], "labels.npy"), np.arange(count) % NUM_CLASSES)
    chunks = [(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    with ProcessPool(workers) as pool:
        for _ in pool.map(functools.partial(_make_some, sources, paths), chunks):
            pass


def make_raw_source(folder: str, table: str, small: str, described: str, workers: int) -> str:
    """Write raw photos of another size, of the files of table J, if they are not there: `images.npy` and `labels.npy`.

    Args:
        folder: Where to; the source lies below.
        table: Of `RAW_SIDES`.
        small: The source of table J.
        described: What samples it has.
        workers: Processes.
    """
    source = os.path.join(folder, table)

    def make() -> None:
        paths = [os.path.join(parent, name) for parent, _, names in os.walk(small) for name in names]
        # Their names are their numbers.
        paths.sort(key=os.path.basename)
        os.makedirs(source)
        shape = (len(paths), RAW_SIDES[table], RAW_SIDES[table], 3)
        np.lib.format.open_memmap(os.path.join(source, "images.npy"), "w+", np.uint8, shape).flush()
        np.save(os.path.join(source, "labels.npy"), np.arange(len(paths)) % NUM_CLASSES)
        chunks = [(start, paths[start : start + _CHUNK]) for start in range(0, len(paths), _CHUNK)]
        with ProcessPool(workers) as pool:
            for _ in pool.map(functools.partial(_resize_some, os.path.join(source, "images.npy")), chunks):
                pass

    make_once(source, described, make)
    return source


def _resize_some(target: str, chunk: tuple[int, list[str]]) -> None:
    pixels = np.load(target, mmap_mode="r+")
    for number, path in enumerate(chunk[1], chunk[0]):
        with open(path, "rb") as file:
            image = simplejpeg.decode_jpeg(file.read(), "RGB")
        pixels[number] = cv2.resize(image, pixels.shape[1:3], interpolation=cv2.INTER_AREA)


def make_photo_source(folder: str, images: str | None, native: str, count: int) -> str:
    """Lay photos as they are into folders of classes, if they are not there: the JPEGs of `images`, byte for byte.

    What is no JPEG, and what `images` is too small for, comes from the source of table N, where it was encoded anew.

    Args:
        folder: Where to; the source lies below.
        images: A folder of photos, or None.
        native: The source of table N.
        count: How many samples.
    """
    source = os.path.join(folder, "D")

    def make() -> None:
        paths = find_images(images) if images else []
        for number in range(count):
            name = os.path.join(f"class{number % NUM_CLASSES}", f"{number:06d}.jpg")
            own = number < len(paths) and _is_jpeg(paths[number])
            os.makedirs(os.path.dirname(os.path.join(source, name)), exist_ok=True)
            shutil.copyfile(paths[number] if own else os.path.join(native, name), os.path.join(source, name))

    make_once(source, describe(images, count), make)
    return source


def make_large_source(folder: str, count: int, workers: int) -> str:
    """Make photos of 12 megapixels in folders of classes, if they are not there.

    Args:
        folder: Where to; the source lies below.
        count: How many.
        workers: Processes.
    """
    source = os.path.join(folder, "large")

    def make() -> None:
        for label in range(NUM_CLASSES):
            os.makedirs(os.path.join(source, f"class{label}"))
        with ProcessPool(workers) as pool:
            for _ in pool.map(functools.partial(_make_large, source), range(count)):
                pass

    make_once(source, str(count), make)
    return source


def _make_large(source: str, number: int) -> None:
    _write(os.path.join(source, f"class{number % NUM_CLASSES}", f"{number:06d}.jpg"), _made(number, _LARGE_SIZE))


def _is_jpeg(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(3) == b"\xff\xd8\xff"


def _raw_path(sources: dict[str, str]) -> str:
    return os.path.join(sources["R"], "images.npy")


def find_images(images: str) -> list[str]:
    """The paths of all images below a folder.

    Raises:
        SourceError: Where it is no folder, or has none.
    """
    source = FolderSource.scan(images)
    if not source.images:
        raise SourceError(f"{images}: holds no images")
    return [os.path.join(source.root, os.fsdecode(each.path)) for each in source.images]


def _make_some(sources: dict[str, str], paths: list[str], chunk: tuple[int, int]) -> None:
    pixels = np.load(_raw_path(sources), mmap_mode="r+")
    photo: Callable[[int], np.ndarray] = functools.partial(_taken, paths) if paths else _made
    for number in range(*chunk):
        image = photo(number)
        name = os.path.join(f"class{number % NUM_CLASSES}", f"{number:06d}.jpg")
        scale = _SHORTER_SIDE / min(image.shape[:2])
        height, width = (max(_SHORTER_SIDE, round(side * scale)) for side in image.shape[:2])
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        _write(os.path.join(sources["N"], name), image)
        _write(os.path.join(sources["J"], name), small)
        pixels[number] = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _write(path: str, image: np.ndarray) -> None:
    with open(path, "wb") as file:
        file.write(simplejpeg.encode_jpeg(np.ascontiguousarray(image), _QUALITY, "RGB", "420"))


def _taken(paths: list[str], number: int) -> np.ndarray:
    """A photo of the folder; from the second time on, another part of it."""
    image = cv2.imread(paths[number % len(paths)], cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"{paths[number % len(paths)]}: cannot be decoded")
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if number < len(paths):
        return image
    rng = np.random.default_rng(number)
    height, width = (max(1, round(side * rng.uniform(0.8, 1))) for side in image.shape[:2])
    top, left = rng.integers(image.shape[0] - height + 1), rng.integers(image.shape[1] - width + 1)
    return image[top : top + height, left : left + width]


def _made(number: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """`(height, width, 3)` uint8: shapes before a cloudy ground, with the spectrum and the grain of a photo."""
    rng = np.random.default_rng(number)
    height, width = _SIZES[rng.integers(len(_SIZES))] if size is None else size
    canvas, grain = (_tiled(_canvas(which), height, width) for which in (int(rng.integers(_NUM_CANVASES)), -1))
    top, left = rng.integers(canvas.shape[0] - height + 1), rng.integers(canvas.shape[1] - width + 1)
    image: np.ndarray = canvas[top : top + height, left : left + width] * np.float32(rng.uniform(0.7, 1.1))
    for _ in range(rng.integers(3, 9)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(8, width // 3)), int(rng.integers(8, height // 3)))
        covered = image.copy()
        cv2.ellipse(covered, centre, axes, float(rng.integers(180)), 0, 360, rng.integers(0, 256, 3).tolist(), -1, cv2.LINE_AA)
        alpha = rng.uniform(0.3, 0.9)
        image = cv2.addWeighted(covered, alpha, image, 1 - alpha, 0)
    image += grain[top : top + height, left : left + width]
    return np.clip(image, 0, 255).astype(np.uint8)


def _tiled(canvas: np.ndarray, height: int, width: int) -> np.ndarray:
    """A canvas as it is, or beside its mirror images, so that it is at least as large."""
    for axis, least in enumerate((height, width)):
        while canvas.shape[axis] < least:
            canvas = np.concatenate([canvas, np.flip(canvas, axis)], axis)
    return canvas


@functools.cache
def _canvas(number: int) -> np.ndarray:
    """`(side, side, 3)` float32: noise whose amplitude falls with the frequency, as in photos (D. Field, 1987); -1: grain."""
    rng = np.random.default_rng(1_000_000 + number)
    if number == -1:
        return cv2.GaussianBlur(rng.normal(0, 2 * _GRAIN, (_CANVAS, _CANVAS, 1)).astype(np.float32), (0, 0), 0.6)[..., None]
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_CANVAS), np.fft.rfftfreq(_CANVAS), indexing="ij"))
    frequency[0, 0] = 1
    channels = []
    for _ in range(3):
        phases = np.exp(2j * np.pi * rng.random(frequency.shape))
        channels.append(np.fft.irfft2(phases / frequency**1.2, (_CANVAS, _CANVAS)))
    common = channels[0]
    mixed = np.stack([common + 0.4 * channel for channel in channels], -1)
    return (128 + 45 * mixed / mixed.std()).astype(np.float32)
