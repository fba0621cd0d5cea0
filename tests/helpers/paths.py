"""Where the repository lies."""

from __future__ import annotations

from pathlib import Path

# Of the repository: `kseq`, `tools`, `tests` and the documentation are below it.
ROOT = Path(__file__).parents[2]

# Real photos, CC0, that may lie beside the repository; tests that need them are skipped without.
CLOTHING = ROOT.parent / "shared" / "data" / "clothing-dataset-small"
