"""JSON files of annotations: read whole, or refused in one line."""

from __future__ import annotations

import json
from typing import Any

from kseq.arguments import spelled
from kseq.errors import SourceError
from kseq.sources.text import open_text

__all__ = ["read_json"]


def read_json(path: str) -> Any:
    """What a JSON file holds.

    Raises:
        SourceError: If it cannot be read, or is no JSON.
    """
    try:
        with open_text(path, strict=True) as file:
            return json.load(file)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        # More than one object.
        lines = f" ({spelled('source_format', 'jsonl')} reads an object on each line)" if "Extra data" in str(error) else ""
        raise SourceError(f"{path}: is not JSON: {error}{lines}") from error
