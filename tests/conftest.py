"""Tiny real photos, packed once for many tests, and the means to run Python in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseq


def numbered_pixels(number: int, height: int = 4, width: int = 4) -> np.ndarray:
    """`(height, width, 3)` uint8 that name a sample: red is the number modulo 256, green the rest, blue 7."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = number % 256, number // 256, 7
    return pixels


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


@pytest.fixture(scope="session")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw dataset of 100 numbered samples of 4 x 4 pixels in 7 shards: 80 train, 20 val, classes a, b, c."""
    root = tmp_path_factory.mktemp("numbered")
    write_numbered(root / "photos", {"a": 50, "b": 30, "c": 20})
    kseq.pack(root / "photos", root / "packed", encoding="raw", image_size=(4, 4), val=0.2, shard_bytes=800, workers=0)
    return root / "packed"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 JPEG photos of several sizes, classes cat (40) and dog (20)."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, {"cat": 40, "dog": 20})
    return folder


@pytest.fixture(scope="session")
def packed_photos(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos as they are (`keep`) in several shards: 48 train, 12 val."""
    target = tmp_path_factory.mktemp("packed") / "photos"
    kseq.pack(photos, target, val=0.2, shard_bytes=30_000, workers=0)
    return target


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs code in a Python of its own; a hang or a non-zero exit fails the test with all that was printed."""

    def run(
        code: str, *arguments: object, backend: str | None = None, timeout: float = 500, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", PYTHONFAULTHANDLER="1")
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), environment.get("PYTHONPATH", "")])
        if backend is not None:
            environment["KERAS_BACKEND"] = backend
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run
