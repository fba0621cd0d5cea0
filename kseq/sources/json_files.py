"""JSON files of annotations: read whole, or refused in one line."""

from __future__ import annotations

import json
from typing import Any

from kseq.arguments import spelled
from kseq.errors import ImageError, SourceError
from kseq.sources.text import describe_bytes, open_text
from kseq.storage.rejected import with_remedy

__all__ = ["load_json", "read_json"]


def read_json(path: str) -> Any:
    """What a JSON file holds.

    Raises:
        SourceError: If it cannot be read, or is no JSON.
    """
    try:
        return load_json(path)
    except ImageError as error:
        # More than one object.
        lines = f" ({spelled('source_format', 'jsonl')} reads an object on each line)" if "Extra data" in str(error) else ""
        raise SourceError(f"{path}: {with_remedy(str(error))}{lines}") from error


def load_json(path: str) -> Any:
    """What a JSON file holds, of the annotations of an image.

    Raises:
        ImageError: If it cannot be read, or is no JSON; the message continues the name of the file.
    """
    try:
        with open_text(path, strict=True) as file:
            return json.load(file)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise ImageError(describe_bytes(error)) from error
    except (ValueError, RecursionError) as error:
        raise ImageError(f"is not JSON: {error}") from error
