"""Class names in messages."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["no_such_class"]

# So many names are listed.
_SHOWN = 10


def no_such_class(name: str, class_names: Sequence[str]) -> str:
    """Says that there is no class of a name, and which classes may have been meant."""
    near = difflib.get_close_matches(name, class_names, n=3)
    if near:
        return f"there is no class {name!r}: is it {' or '.join(map(repr, near))}?"
    more = f" and {len(class_names) - _SHOWN} more" if len(class_names) > _SHOWN else ""
    return f"there is no class {name!r}, there is {', '.join(map(repr, class_names[:_SHOWN])) or 'none'}{more}"
