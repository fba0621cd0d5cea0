"""What older versions of Pillow refuse: the newest for Python 3.10 is of 12."""

from __future__ import annotations

import PIL
import pytest

since_pillow_13 = pytest.mark.skipif(int(PIL.__version__.partition(".")[0]) < 13, reason="Pillow refuses it before version 13")
