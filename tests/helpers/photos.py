"""Tiny real photos whose pixels name them, and the means to tell them again in a batch."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# By how much the fast DCT, with which kseq decodes as TensorFlow does, differs from that of Pillow, in the worst pixel.
FAST_DCT = 9


def numbered_pixels(number: int, height: int = 4, width: int = 4) -> np.ndarray:
    """`(height, width, 3)` uint8 that name a sample: red is the number modulo 256, green the rest, blue 7."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = number % 256, number // 256, 7
    return pixels


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of an image file of a kind that Pillow writes, such as `"PNG"`."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def numbers_of(images: np.ndarray) -> np.ndarray:
    """The numbers of a batch of `numbered_pixels`."""
    images = np.asarray(images)
    return images[:, 0, 0, 0].astype(int) + 256 * images[:, 0, 0, 1].astype(int)


def photo(number: int, height: int, width: int) -> np.ndarray:
    """`(height, width, 3)` uint8: smooth colours with some noise, as a photo has them; the same for a number."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / rng.uniform(3, 30) + y / rng.uniform(3, 30) + rng.uniform(0, 6)) for _ in range(3)]
    return np.clip(127 + 90 * np.stack(waves, -1) + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def write_numbered(folder: Path, counts: Mapping[str, int], height: int = 4, width: int = 4) -> int:
    """Write PNG files `CLASS/00000.png` whose pixels name them, numbered through in the order of packing."""
    number = 0
    for name in sorted(counts):
        (folder / name).mkdir(parents=True)
        for _ in range(counts[name]):
            Image.fromarray(numbered_pixels(number, height, width)).save(folder / name / f"{number:05d}.png")
            number += 1
    return number


def is_shared(name: object) -> bool:
    """Whether another process could map the block of this name."""
    path, _, label = str(name).partition("#")
    if not label:
        return Path("/dev/shm", path).exists()
    try:
        return os.readlink(path) == f"/memfd:{label} (deleted)"
    except OSError:
        return False


def write_photos(folder: Path, counts: Mapping[str, int], suffix: str = ".jpg") -> None:
    """Write photos `CLASS/NAME` of sizes that differ."""
    number = 0
    for name in sorted(counts):
        (folder / name).mkdir(parents=True)
        for _ in range(counts[name]):
            pixels = photo(number, 40 + 5 * (number % 4), 50 + 7 * (number % 3))
            Image.fromarray(pixels).save(folder / name / f"{number:05d}{suffix}")
            number += 1


def write_learnable(folder: Path, counts: Mapping[str, int]) -> None:
    """Write photos `CLASS/NAME` whose class a small network can learn: each class has a colour of its own, in noise."""
    rng = np.random.default_rng(len(counts))
    colors = np.array([(200, 60, 60), (60, 190, 70), (70, 80, 200), (190, 180, 50)])
    for number, name in enumerate(sorted(counts)):
        (folder / name).mkdir(parents=True)
        for row in range(counts[name]):
            waves = photo(row, 48, 40).astype(float) - 127
            pixels = colors[number] + 0.4 * waves + rng.normal(0, 15, 3)
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{row:05d}.jpg")
