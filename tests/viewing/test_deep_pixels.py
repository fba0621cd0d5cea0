"""Images of more than 8 bits, of many channels, and maps, as the page shows them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.display.eye_pixels import as_rgb, fit
from tests.helpers.viewing import ask, ask_json

SIDE = 12
RAMP = np.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE, 1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 64])
def test_pixels_of_any_form_are_shown_as_colours_of_a_size(dtype: str, channels: int) -> None:
    pixels = np.zeros((40, 60, channels), dtype)
    pixels[:20] = 200
    shown = as_rgb(fit(pixels, 30))
    assert shown.shape == (20, 30, 3)
    assert shown.dtype == np.uint8
    assert shown[0].mean() > shown[-1].mean() or channels == 4


def test_numbers_far_from_zero_are_stretched_between_their_own_ends() -> None:
    numbers = 30_000 + 1_000 * RAMP
    holed = numbers.astype(np.float32)
    holed[3, 4:6, 0] = np.nan, np.inf
    for pixels in (numbers.astype(np.uint16), holed):
        shown = as_rgb(pixels)
        assert (shown.min(), shown.max()) == (0, 255)
        assert np.all(np.diff(shown[0, :, 0].astype(int)) >= 0)
    assert shown[3, 4:6, 0].tolist() == [0, 255]


@pytest.mark.parametrize(("dtype", "most"), [("uint16", 4000), ("float32", 0.5), ("float32", 9)])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_batches_of_deep_images_and_maps_are_seen(tmp_path: Path, dtype: str, most: float, channels: int) -> None:
    pytest.importorskip("starlette", reason="the page of `kseq view` needs the extra `view`")
    pytest.importorskip("uvicorn", reason="the page of `kseq view` needs the extra `view`")
    image = np.repeat(RAMP * most, channels, axis=2).astype(dtype)
    depth = (1 + RAMP).astype(np.float32)
    depth[0, 0] = np.nan
    samples = [{"image": image, "depth": depth}] * 2
    columns = kseq.Columns(label="", targets=["depth"], kinds={"depth": "map"})
    settings = kseq.ImageSettings("raw", (SIDE, SIDE), dtype=dtype, channels=channels)
    kseq.pack(samples, tmp_path / "packed", columns=columns, images=settings, workers=0)
    wanted: dict[str, Any] = {"height": SIDE, "width": SIDE, "targets": "depth"}
    with kseq.Viewer(tmp_path / "packed", read_only=True) as viewer:
        settings_shown = ask_json(viewer, "about")["batches"]["settings"]
        batch = ask_json(viewer, "batch", **wanted)
        answers = [ask(viewer, "api/batch-image", field=name, row=1, **wanted) for name in ("image", "depth")]
    assert (batch["images"], batch["masks"], batch["is_stretched"]) == (["image"], ["depth"], True)
    # By default, images leave as they are stored.
    (words,) = (setting["words"] for setting in settings_shown if setting["name"] == "dtype")
    assert (words[""], list(words.values()).count(dtype)) == (dtype, 1)
    shown, colored = (np.asarray(Image.open(io.BytesIO(answer.body))) for answer in answers)
    np.testing.assert_allclose(shown[..., 0], 255 * RAMP[..., 0], atol=1)
    # Each number in a colour of its own, and what is no number in none.
    assert len(np.unique(colored.reshape(-1, 4), axis=0)) > SIDE * SIDE // 2
    assert colored[0, 0, 3] == 0


def test_maps_count_to_what_a_batch_may_take(tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason="the page of `kseq view` needs the extra `view`")
    pytest.importorskip("uvicorn", reason="the page of `kseq view` needs the extra `view`")
    samples = [{"image": np.zeros((4, 4, 3), np.uint8), "heat": np.zeros((4, 4, 64), np.float32)}]
    columns = kseq.Columns(label="", targets=["heat"], kinds={"heat": "map"})
    settings = kseq.ImageSettings("raw", (4, 4), map_channels=64)
    kseq.pack(samples, tmp_path / "packed", columns=columns, images=settings, workers=0)
    wanted: dict[str, Any] = {"height": 1024, "width": 1024, "batch_size": 8, "targets": "heat"}
    with kseq.Viewer(tmp_path / "packed", read_only=True) as viewer:
        answer = ask(viewer, "api/batch", **wanted)
    assert (answer.status, "MiB" in answer.body.decode()) == (400, True)
