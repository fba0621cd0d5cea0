"""Photos with bright rectangles, their masks and their boxes, and the check that the three agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import kseq

HEIGHT, WIDTH, COUNT = 60, 90, 12
# The second object lies at the edge, where crops take it away.
KINDS = ["cup", "plate"]


def write_objects(folder: Path) -> Path:
    """Gray photos with two bright rectangles each, masks that have the same rectangles, and their boxes, as a table."""
    rng = np.random.default_rng(3)
    rows = []
    for number in range(COUNT):
        image, mask = np.full((HEIGHT, WIDTH, 3), 40, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
        tops, lefts = rng.integers(0, [10, 40]), rng.integers(0, [20, 60])
        boxes = [[int(left), int(top), int(left) + 28, int(top) + 18] for top, left in zip(tops, lefts, strict=True)]
        boxes[1][0] = max(boxes[1][0], boxes[0][2] + 2)
        boxes[1][2] = min(boxes[1][0] + 28, WIDTH)
        for value, (x1, y1, x2, y2) in enumerate(boxes, start=1):
            image[y1:y2, x1:x2, value] = 220
            mask[y1:y2, x1:x2] = 100 * value
        Image.fromarray(image).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}-mask.png")
        rows.append(
            {"image": f"{number}.png", "mask": f"{number}-mask.png", "boxes": boxes, "kinds": KINDS, "caption": f"no {number}"}
        )
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "table.jsonl"


def pack_objects(table: Path, target: Path, **options: Any) -> Path:
    columns = {"columns": kseq.Columns(mask="mask", boxes="boxes", box_labels="kinds", text="caption")}
    kseq.pack(table, target, workers=0, shard_bytes=20_000, **(columns | options))
    return target


def bounds(marked: np.ndarray) -> list[int]:
    """x1, y1, x2, y2 around what is True."""
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def assert_objects_agree(image: np.ndarray, mask: np.ndarray, boxes: np.ndarray, labels: np.ndarray, slack: float) -> None:
    """Each box lies around the pixels of its object, in the image and in the mask."""
    for label, box in zip(labels.tolist(), boxes, strict=True):
        np.testing.assert_allclose(box, bounds(mask[..., 0] == 100 * (label + 1)), atol=slack)
        np.testing.assert_allclose(box, bounds(image[..., label + 1] > 130), atol=slack)
