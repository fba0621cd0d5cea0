"""Draws docs/images/view-*.png: the pages of `kseq view` in a browser.

Usage: python docs/scripts/view_pictures.py PHOTOS

PHOTOS is the folder of https://github.com/alexeygrigorev/clothing-dataset-small, whose photos are in the public domain (CC0).
It needs `pip install playwright`, and the Chromium of the system.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import kseq

PICTURES = Path(__file__).parents[1] / "images"
WIDTH, HEIGHT = 1100, 640


def pack_objects(photos: Path, folder: Path) -> Path:
    """A dataset of pictures with several photos each, a box and a mask around every one."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(3)
    classes = sorted(path.name for path in (photos / "train").iterdir())
    rows = []
    for number in range(40):
        picture, mask = Image.new("RGB", (660, 400), "#ece8e1"), Image.new("L", (660, 400))
        boxes, names = [], []
        for place in range(3):
            name = classes[int(rng.integers(len(classes)))]
            files = sorted((photos / "train" / name).iterdir())
            with Image.open(files[int(rng.integers(len(files)))]) as photo:
                photo.thumbnail((200, int(rng.integers(180, 360))))
                left, top = place * 220 + int(rng.integers(0, 20)), int(rng.integers(0, 400 - photo.height))
                picture.paste(photo, (left, top))
                mask.paste(classes.index(name) + 1, (left, top, left + photo.width, top + photo.height))
                boxes.append([left, top, left + photo.width, top + photo.height])
                names.append(name)
        picture.save(folder / f"images/{number}.jpg", quality=92)
        mask.save(folder / f"images/{number}.png")
        row = {"path": f"images/{number}.jpg", "mask": f"images/{number}.png", "boxes": boxes, "box_labels": names}
        rows.append(json.dumps({**row, "split": "val" if number % 5 == 0 else "train"}))
    (folder / "table.jsonl").write_text("\n".join(rows))
    columns = kseq.Columns(image="path", mask="mask", boxes="boxes", box_labels="box_labels", split="split")
    kseq.pack(folder / "table.jsonl", folder / "objects", columns=columns)
    return folder / "objects"


def draw(browser: Any, viewer: kseq.Viewer, place: str, name: str, **options: Any) -> None:
    """A picture of a page, once nothing is loaded any more."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, **options)
    page = context.new_page()
    page.goto(viewer.url + place)
    page.wait_for_load_state("networkidle")
    time.sleep(2)
    page.screenshot(path=PICTURES / name)
    context.close()
    with Image.open(PICTURES / name) as picture:
        # 256 colours make the file a third of its size.
        small = picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(PICTURES / name, optimize=True)


def main() -> None:
    """Pack the photos into a temporary folder, show them, and draw what is shown."""
    photos = Path(sys.argv[1])
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        # The page shows the paths: no picture has one of this machine.
        os.chdir(folder)
        kseq.pack(photos, "clothes")
        pack_objects(photos, Path("work"))
        shutil.move("work/objects", "objects")
        browser = driver.chromium.launch(executable_path=chromium, args=arguments)
        with kseq.Viewer("clothes") as clothes, kseq.Viewer("objects") as objects:
            draw(browser, clothes, "#view=samples&order=odd", "view-grid.png", color_scheme="dark")
            time.sleep(10)
            draw(browser, clothes, "#view=samples&order=odd", "view-grid.png", color_scheme="dark")
            draw(browser, objects, "#view=samples&open=7&at=7", "view-sample.png")
            draw(browser, clothes, "#view=batches&height=128&width=128&augment=crop,flip", "view-batch.png")
            draw(browser, clothes, "#view=charts", "view-charts.png")
        browser.close()


if __name__ == "__main__":
    main()
