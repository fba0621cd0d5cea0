"""Small data in the form that the datasets of keras.io's examples have: what the pages of docs/examples read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tests.helpers.photos import photo, write_learnable


def write_example_data(folder: Path) -> None:
    """Write the files that the examples name."""
    write_cats_and_dogs(folder / "PetImages")
    write_learnable(folder / "flower_photos", dict.fromkeys(("daisy", "rose", "tulip"), 40))
    write_learnable(folder / "chest_xray", {"NORMAL": 24, "PNEUMONIA": 120})
    write_trimaps(folder / "oxford_pets")
    write_joints(folder / "dogs")
    write_depth(folder / "diode" / "indoors" / "scene_0")
    write_captchas(folder / "captcha_images_v2")
    write_dark_and_bright(folder / "lol_dataset")
    write_look_alikes(folder)
    write_tags(folder / "planet")
    write_detection(folder / "coco")
    write_scans(folder / "scans")
    write_clips(folder / "clips")


def write_cats_and_dogs(folder: Path) -> None:
    """Two classes, with files among them that are no images."""
    write_learnable(folder, {"Cat": 100, "Dog": 100})
    (folder / "Cat" / "666.jpg").write_bytes(b"")
    (folder / "Dog" / "11702.jpg").write_bytes(b"no image at all")


def write_trimaps(folder: Path) -> None:
    """Pets on a ground, and for each a mask: 1 the pet, 2 the ground, 3 the border."""
    rng = np.random.default_rng(1)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations" / "trimaps").mkdir(parents=True)
    for number in range(120):
        height, width = (int(side) for side in rng.integers(60, 90, 2))
        image = Image.fromarray((0.4 * photo(number, height, width)).astype(np.uint8))
        trimap = Image.new("L", image.size, 2)
        left, top, side = int(rng.integers(4, width - 44)), int(rng.integers(4, height - 44)), int(rng.integers(24, 40))
        box = [left, top, left + side, top + side]
        ImageDraw.Draw(image).ellipse(box, fill=(230, 180, 140), outline=(20, 240, 20), width=4)
        ImageDraw.Draw(trimap).ellipse(box, fill=1, outline=3, width=4)
        image.save(folder / "images" / f"pet_{number}.jpg")
        trimap.save(folder / "annotations" / "trimaps" / f"pet_{number}.png")


def write_joints(folder: Path) -> None:
    """A red left and a blue right point in each image, and a green one that is sometimes not there."""
    rng = np.random.default_rng(2)
    (folder / "images").mkdir(parents=True)
    dogs = []
    for number in range(200):
        image = Image.fromarray((0.25 * photo(number, 64, 64)).astype(np.uint8))
        x, y = float(rng.uniform(12, 30)), float(rng.uniform(12, 50))
        joints = [[x, y, 1.0], [x + 20, y, 1.0], [x + 10, y + 8, 1.0] if number % 3 else [0.0, 0.0, 0.0]]
        for (center_x, center_y, visible), color in zip(joints, ((255, 40, 40), (40, 40, 255), (40, 255, 40)), strict=True):
            if visible:
                ImageDraw.Draw(image).ellipse([center_x - 4, center_y - 4, center_x + 4, center_y + 4], fill=color)
        image.save(folder / "images" / f"{number}.jpg", quality=95)
        dogs.append({"img_path": f"{number}.jpg", "img_width": 64, "img_height": 64, "joints": joints})
    (folder / "joints.json").write_text(json.dumps(dogs))


def write_depth(folder: Path) -> None:
    """Photos in which what is darker is farther, and the depth of every pixel; of some, nothing was measured."""
    rng = np.random.default_rng(6)
    folder.mkdir(parents=True)
    for number in range(80):
        pixels = photo(number, 60, 80)
        depth = (5 - pixels.mean(axis=2, keepdims=True) / 64).astype(np.float32)
        depth[rng.random(depth.shape) < 0.05] = 0
        Image.fromarray(pixels).save(folder / f"{number}.png")
        np.save(folder / f"{number}_depth.npy", depth)


def write_captchas(folder: Path) -> None:
    """Images of four digits, each a row of bars, called like what they show."""
    rng = np.random.default_rng(3)
    folder.mkdir()
    for _ in range(400):
        digits = rng.integers(0, 5, 4)
        image = Image.new("L", (64, 24), 255)
        for place, digit in enumerate(digits):
            ImageDraw.Draw(image).rectangle([16 * place + 4, 2 + 4 * int(digit), 16 * place + 11, 6 + 4 * int(digit)], fill=0)
        image.save(folder / f"{''.join(map(str, digits))}.png")


def write_dark_and_bright(folder: Path) -> None:
    """The same scenes twice: dark, and as they are."""
    for part, count in {"our485": 60, "eval15": 12}.items():
        for name in ("low", "high"):
            (folder / part / name).mkdir(parents=True)
        for number in range(count):
            pixels = photo(number + 100 * len(part), 48, 64)
            Image.fromarray(pixels).save(folder / part / "high" / f"{number}.png")
            Image.fromarray((0.15 * pixels).astype(np.uint8)).save(folder / part / "low" / f"{number}.png")


def write_look_alikes(folder: Path) -> None:
    """Pairs of images that look alike, in two folders."""
    rng = np.random.default_rng(4)
    for name in ("left", "right"):
        (folder / name).mkdir()
    for number in range(128):
        color = rng.integers(0, 200, 3)
        for name in ("left", "right"):
            pixels = np.clip(color + rng.normal(20, 12, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:05d}.jpg")


def write_tags(folder: Path) -> None:
    """Photos with tags, in a table: each tag is a square of its own colour and place."""
    rng = np.random.default_rng(5)
    tags = {"clear": ((0, 0), (250, 250, 120)), "primary": ((24, 0), (30, 200, 30)), "water": ((0, 24), (40, 80, 240))}
    (folder / "train-jpg").mkdir(parents=True)
    lines = ["image_name,tags"]
    for number in range(160):
        image = Image.fromarray((0.3 * photo(number, 48, 48)).astype(np.uint8))
        chosen = [tag for tag in tags if rng.random() < 0.5] or ["clear"]
        for tag in chosen:
            (left, top), color = tags[tag]
            ImageDraw.Draw(image).rectangle([left, top, left + 20, top + 20], fill=color)
        image.save(folder / "train-jpg" / f"train_{number}.jpg")
        lines.append(f"train_{number},{' '.join(chosen)}")
    (folder / "train_v2.csv").write_text("\n".join(lines) + "\n")


def write_detection(folder: Path) -> None:
    """Photos with one to three discs and squares in each, and COCO's files of their boxes."""
    rng = np.random.default_rng(7)
    categories = [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]
    (folder / "annotations").mkdir(parents=True)
    for split, count in {"train": 240, "val": 40}.items():
        (folder / split).mkdir()
        images, found = [], []
        for number in range(count):
            height, width = (int(side) for side in rng.integers(64, 96, 2))
            image = Image.fromarray((0.4 * photo(number + len(split), height, width)).astype(np.uint8))
            for _ in range(int(rng.integers(1, 4))):
                category, side = int(rng.integers(2)), int(rng.integers(12, 28))
                left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
                draw = ImageDraw.Draw(image)
                shape = draw.rectangle if category else draw.ellipse
                shape([left, top, left + side, top + side], fill=tuple(rng.integers(140, 256, 3).tolist()))
                box = [left, top, side, side]
                found.append({"id": len(found), "image_id": number, "category_id": category + 1, "bbox": box, "iscrowd": 0})
            image.save(folder / split / f"{number}.jpg")
            images.append({"id": number, "file_name": f"{number}.jpg", "height": height, "width": width})
        content = {"images": images, "annotations": found, "categories": categories}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def write_scans(folder: Path) -> None:
    """Volumes of noise, of which one class has a bright ball in it."""
    rng = np.random.default_rng(8)
    rows, columns, slices = np.mgrid[:48, :48, :16]
    for name in ("CT-0", "CT-23"):
        (folder / name).mkdir(parents=True)
        for number in range(60):
            volume = rng.normal(0, 0.3, (48, 48, 16)).astype(np.float32)
            if name == "CT-23":
                y, x, z = rng.integers((12, 12, 4), (36, 36, 12))
                volume += (rows - y) ** 2 + (columns - x) ** 2 + 4 * (slices - z) ** 2 < 25
            np.save(folder / name / f"{number}.npy", volume)


def write_clips(folder: Path) -> None:
    """Four frames of a disc that moves to the left or to the right."""
    rng = np.random.default_rng(9)
    for name, step in {"left": -4, "right": 4}.items():
        for clip in range(60):
            (folder / name / str(clip)).mkdir(parents=True)
            ground = (0.2 * photo(clip, 32, 32)).astype(np.uint8)
            x, y = int(rng.integers(12, 16)) - 2 * step // 2, int(rng.integers(4, 20))
            for number in range(4):
                image, left = Image.fromarray(ground), x + number * step
                ImageDraw.Draw(image).ellipse([left - 4, y, left + 4, y + 8], fill=(240, 200, 60))
                image.save(folder / name / str(clip) / f"{number}.jpg")
