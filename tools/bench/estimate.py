"""What a run of the benchmark will take, before it starts: minutes and bytes, roughly, by its tables."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..console.text import format_bytes, format_count
from .folders import tree_bytes
from .reading import Setting
from .roster import CONTESTANTS

__all__ = ["Estimate", "estimate"]

# Bytes of an image in the stores of a table: raw pixels, and JPEGs of three bits a pixel.
_IMAGE_BYTES = {"R": 224 * 224 * 3, "RC": 256 * 256 * 3, "J": 33_000, "N": 85_000}
# Images a second on two cores: of the middle contestant of a table, and of writing a store.
_READ, _WRITTEN = {"R": 6_000, "RC": 3_000, "J": 1_500, "N": 900}, 2_000
# Of the other tables, for 10,000 images and five rounds on two cores: minutes, and bytes for each image.
_OTHERS = {
    "F": (20, 0), "D": (15, 90_000), "P": (5, 0), "W": (15, 400_000), "overlap": (6, 0), "processes": (3, 0), "cold": (5, 0),
    "scale": (3, 0), "plan": (5, 10_000), "start": (3, 0), "remote": (8, 200_000),
}  # fmt: skip
_USUAL_IMAGES, _USUAL_ROUNDS = 10_000, 5
# Tables that take their minutes for each backend.
_PER_BACKEND = ("F", "D", "P", "overlap", "start")
# Each package that is installed into an environment of its own.
_ENVIRONMENT_BYTES, _ENVIRONMENT_MINUTES = 600_000_000, 1.0


@dataclass(frozen=True)
class Estimate:
    """What is expected of a run.

    Attributes:
        minutes: On two cores.
        num_bytes: In the folder to work in, at the end.
        num_bytes_there: Of it, what the folder holds already.
        num_bytes_free: On its disk.
    """

    minutes: float
    num_bytes: int
    num_bytes_there: int
    num_bytes_free: int

    @property
    def lines(self) -> list[str]:
        """Time and disk, and a warning where the disk is too small."""
        hours = f"{self.minutes / 60:.1f} hours" if self.minutes >= 90 else format_count(max(round(self.minutes), 1), "minute")
        there = f", {format_bytes(self.num_bytes_there)} of it there from earlier" if self.num_bytes_there else ""
        lines = [
            f"takes roughly {hours} on two quiet cores, and {format_bytes(self.num_bytes)} of disk{there} "
            f"({format_bytes(self.num_bytes_free)} are free); --tables, --num-images and --rounds make it less",
            "Ctrl-C stops it: the tables so far are printed, and stores are used again by the next run",
        ]
        if self.num_bytes - self.num_bytes_there > self.num_bytes_free:
            lines.append("the disk may become full: take fewer tables or images, or another --folder")
        return lines


def estimate(tables: Collection[str], setting: Setting) -> Estimate:
    """What a run will take.

    Args:
        tables: Their keys.
        setting: Of the run.
    """
    there = tree_bytes(setting.folder)
    minutes, num_bytes = 0.0, 0
    for table in tables:
        more_minutes, more_bytes = _reading(table, setting) if table in _READ else _other(table, setting)
        minutes, num_bytes = minutes + more_minutes, num_bytes + more_bytes
    installed = {each.package for each in _chosen(tables, setting) if each.requirements}
    minutes += _ENVIRONMENT_MINUTES * len(installed)
    num_bytes += _ENVIRONMENT_BYTES * len(installed)
    return Estimate(minutes, num_bytes, min(there, num_bytes), shutil.disk_usage(os.path.dirname(setting.folder) or ".").free)


def _chosen(tables: Iterable[str], setting: Setting) -> list:
    return [each for each in CONTESTANTS if setting.wants(each.name) and set(each.tables) & set(tables)]


def _reading(table: str, setting: Setting) -> tuple[float, int]:
    """Minutes and bytes of a table in which every contestant reads a store of its own."""
    chosen = _chosen([table], setting)
    stores = sum(not each.baseline for each in chosen)
    images = setting.num_images
    seconds = len(chosen) * (setting.rounds + 1) * images / _READ[table] + (stores + 1) * images / _WRITTEN
    # The source is one more.
    return seconds / 60, (stores + 1) * images * _IMAGE_BYTES[table]


def _other(table: str, setting: Setting) -> tuple[float, int]:
    minutes, image_bytes = _OTHERS[table]
    backends = len(setting.photo_backends if table == "D" else setting.backends) if table in _PER_BACKEND else 1
    share = setting.num_images / _USUAL_IMAGES
    return minutes * backends * max(share * setting.rounds / _USUAL_ROUNDS, 0.1), int(image_bytes * setting.num_images)
