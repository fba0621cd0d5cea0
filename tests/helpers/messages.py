"""What messages must say, without their words: a test names the type of an error, its path and its values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import KseqError, SourceError

# What a message must have, as `assert_says` takes it.
Parts = tuple[object, ...]
Errors = type[BaseException] | tuple[type[BaseException], ...]


def assert_says(message: str, *parts: object) -> None:
    """Check that a message is one line that has all these parts, each as a whole word or number, in any order.

    Args:
        message: The message.
        parts: Paths, names, values and options, or patterns (`re.compile`) for what is not known beforehand.
    """
    assert message.strip()
    assert "\n" not in message.strip(), message
    missing = [part for part in parts if not _pattern(part).search(message)]
    assert not missing, f"{message!r} does not say {missing}"


def _pattern(part: object) -> re.Pattern[str]:
    if isinstance(part, re.Pattern):
        return part
    text = str(part)
    before = r"(?<!\w)" if re.match(r"\w", text) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", text) else ""
    return re.compile(before + re.escape(text) + after)


@contextmanager
def raises(errors: Errors, *parts: object) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """As `pytest.raises`; the message is one line that has all these parts, as `assert_says` checks."""
    with pytest.raises(errors) as caught:
        yield caught
    assert_says(str(caught.value), *parts)


def refusal(source: Path | str, target: Path, error: type[KseqError] = SourceError, **options: Any) -> str:
    """The message with which `kseq.pack` refuses a source: one line. Nothing is left behind."""
    with raises(error) as caught:
        kseq.pack(source, target, workers=0, **options)
    assert not target.exists()
    return str(caught.value)
