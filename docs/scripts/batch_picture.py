"""Draws docs/images/batch.png: one training batch with its labels, as the model gets it.

Usage: python docs/scripts/batch_picture.py PHOTOS

PHOTOS is the folder of https://github.com/alexeygrigorev/clothing-dataset-small, whose photos are
in the public domain (CC0).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import kseq

PICTURE = Path(__file__).parents[1] / "images" / "batch.png"
COLUMNS, ROWS, SIDE, GAP, CAPTION = 8, 2, 112, 6, 20


def draw_batch(images: np.ndarray, names: list[str]) -> Image.Image:
    """`(n, SIDE, SIDE, 3)` uint8 images in a grid, the name of its class under each."""
    width = COLUMNS * (SIDE + GAP) + GAP
    height = ROWS * (SIDE + CAPTION + GAP) + GAP
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=13)
    for number, (pixels, name) in enumerate(zip(images, names, strict=True)):
        left = GAP + number % COLUMNS * (SIDE + GAP)
        top = GAP + number // COLUMNS * (SIDE + CAPTION + GAP)
        picture.paste(Image.fromarray(pixels), (left, top))
        draw.text((left + SIDE / 2, top + SIDE + CAPTION / 2), name, fill="black", font=font, anchor="mm")
    return picture


def main() -> None:
    """Pack the photos into a temporary folder, read the first batch, and draw it."""
    with tempfile.TemporaryDirectory() as folder:
        kseq.pack(sys.argv[1], f"{folder}/clothes")
        augment = [kseq.RandomResizedCrop(SIDE, scale=(0.5, 1.0)), kseq.RandomFlip()]
        with kseq.ShardSequence(f"{folder}/clothes", "train", batch_size=COLUMNS * ROWS, augment=augment, seed=4) as train:
            images, labels = train[0]
            picture = draw_batch(images, [train.class_names[label] for label in labels])
    # 256 colours make the file a third of its size.
    picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.FLOYDSTEINBERG).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
