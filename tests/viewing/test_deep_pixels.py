"""Images of more than 8 bits, of many channels, and maps, as the page shows them."""

from __future__ import annotations

import numpy as np
import pytest

from kseq.viewing.pixels import as_rgb, fit


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 64])
def test_pixels_of_any_form_are_shown_as_colours_of_a_size(dtype: str, channels: int) -> None:
    pixels = np.zeros((40, 60, channels), dtype)
    pixels[:20] = 200
    shown = as_rgb(fit(pixels, 30))
    assert shown.shape == (20, 30, 3)
    assert shown.dtype == np.uint8
    assert shown[0].mean() > shown[-1].mean() or channels == 4
