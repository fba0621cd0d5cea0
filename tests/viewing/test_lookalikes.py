"""Which images `kseq view` calls copies: those that were saved anew, scaled, brightened or mirrored, and no two others."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

import kseq
from kseq.reading.dataset import ShardDataset
from kseq.viewing.features import COARSE_EDGES, mirror_coarse_edges
from kseq.viewing.lookalikes import Group, find_groups, mirror_looks
from kseq.viewing.measures import Measures, _look
from kseq.viewing.opened import Opened
from tests.viewing.test_measures import features_of

Change = Callable[[Image.Image], Image.Image]


def scaled(image: Image.Image, share: float) -> Image.Image:
    return image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)


def saved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def inner(image: Image.Image, share: float) -> Image.Image:
    across, down = round(image.width * share), round(image.height * share)
    return image.crop((across, down, image.width - across, image.height - down))


COPIES: dict[str, Change] = {
    "saved anew": lambda image: saved(image, 90),
    "saved badly": lambda image: saved(image, 25),
    "half": lambda image: scaled(image, 0.5),
    "a quarter": lambda image: scaled(image, 0.25),
    "larger": lambda image: scaled(image, 1.5),
    "squeezed": lambda image: image.resize((96, 96)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "paler": lambda image: ImageEnhance.Color(image).enhance(0.5),
    "gray": lambda image: image.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
    "mirrored, smaller, saved anew": lambda image: saved(scaled(ImageOps.mirror(image), 0.5), 70),
}
OTHERS: dict[str, Change] = {
    "a tenth cut off": lambda image: inner(image, 0.1),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "upside down": ImageOps.flip,
}


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Eighteen parts of two real photos: neighbours overlap by half, as photos of one thing from two places do."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the two real photos come with scikit-learn")
    images = [Image.fromarray(image) for image in datasets.load_sample_images().images]
    places = itertools.product(range(0, 427 - 200, 100), range(0, 640 - 240, 120))
    corners = list(places)
    return [image.crop((left, top, left + 240, top + 200)) for image in images for top, left in corners]


def groups_of(images: list[Image.Image], folder: Path) -> list[Group]:
    (folder / "images/a").mkdir(parents=True)
    for number, image in enumerate(images):
        image.save(folder / f"images/a/{number:03d}.png")
    kseq.pack(folder / "images", folder / "packed", workers=0)
    with ShardDataset(folder / "packed") as dataset:
        opened = Opened(dataset)
        measures = Measures(opened)
        measures.start()
        for _ in range(1200):
            if measures.is_complete:
                break
            threading.Event().wait(0.05)
        found = find_groups(opened, measures)
        measures.close()
    return found


def test_photos_of_one_thing_from_two_places_are_no_copies(photos: list[Image.Image], tmp_path: Path) -> None:
    assert len(photos) > 16
    assert groups_of(photos, tmp_path) == []


def test_copies_are_found_however_they_were_made_and_others_are_not(photos: list[Image.Image], tmp_path: Path) -> None:
    original = photos[1]
    changed = [change(original) for change in (*COPIES.values(), *OTHERS.values())]
    (group,) = groups_of([original, *changed, *photos[2:]], tmp_path)
    names = [*COPIES, *OTHERS]
    assert {names[number - 1] for number in group.ids[1:]} == set(COPIES)
    assert (group.ids[0], group.is_same, group.is_mirrored) == (0, False, True)


def test_the_same_bytes_are_a_group_that_says_so(photos: list[Image.Image], tmp_path: Path) -> None:
    (group,) = groups_of([photos[1], photos[5], photos[1]], tmp_path)
    assert group == Group([0, 2], is_same=True, is_mirrored=False)


def test_clothes_of_one_form_and_two_colours_are_no_copies(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    # Lit from one side, as photos are.
    light = np.linspace(1.2, 0.6, 160)[None, :, None] * np.linspace(1.1, 0.8, 200)[:, None, None]
    ground = np.array([180, 60, 140]) * light
    shirts = []
    # Both are as bright as each other.
    for color in ((150, 150, 150), (205, 133, 100)):
        shirt = ground.copy()
        shirt[40:180, 40:120] = shirt[40:80, 20:140] = 0
        is_shirt = (shirt == 0).all(axis=2)
        shirt[is_shirt] = (np.array(color) * light)[is_shirt] + rng.normal(0, 3, (is_shirt.sum(), 3))
        shirts.append(Image.fromarray(np.clip(shirt, 0, 255).astype(np.uint8)))
    assert groups_of(shirts, tmp_path / "two") == []
    assert len(groups_of([shirts[0], ImageEnhance.Color(shirts[0]).enhance(0.7)], tmp_path / "one")) == 1


def test_what_is_derived_for_a_mirror_image_is_what_is_measured_of_it(photos: list[Image.Image]) -> None:
    pixels = np.asarray(photos[3])
    mirrored = np.ascontiguousarray(pixels[:, ::-1])
    edges = features_of(pixels)[COARSE_EDGES][None].astype(np.int16)
    measured = features_of(mirrored)[COARSE_EDGES]
    # Edges that are exactly upright or level belong to either of two directions.
    assert np.abs(mirror_coarse_edges(edges) - measured).mean() < 2.5 < np.abs(edges - measured).mean()
    looks = np.array([_look(np.asarray(Image.fromarray(image).convert("L"))) for image in (pixels, mirrored)])
    assert bin(int(mirror_looks(looks)[0] ^ looks[1])).count("1") <= 2
