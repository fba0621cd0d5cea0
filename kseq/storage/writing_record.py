"""The record, beside shards without an index, of what is being copied or packed there."""

from __future__ import annotations

import json
import os
import tempfile

from kseq.errors import DamagedError, DatasetNotFoundError, LockedError
from kseq.storage.layout import WRITING_RECORD_NAME
from kseq.storage.places import Place

__all__ = ["WritingRecord"]


class WritingRecord:
    """Says at a place what is being written there, so that nothing else is written there at the same time.

    It is no lock, which object stores do not have: of two that begin at once the later one has the record, and the other finds
    that when it looks again. Two that write the same have the same record, and do no harm to each other.

    Args:
        place: The place.
        action: `"copy"` or `"pack"`.
        digest: Of what is written: the same for all that write the same bytes.
    """

    def __init__(self, place: Place, action: str, digest: str) -> None:
        self._place = place
        self._text = json.dumps({action: digest}).encode()

    def write(self) -> None:
        """Write the record, in place of any other.

        Raises:
            WriteError: If it cannot be written.
        """
        with tempfile.NamedTemporaryFile(prefix="kseq-", delete=False) as file:
            file.write(self._text)
        try:
            self._place.store(file.name, WRITING_RECORD_NAME)
        finally:
            os.unlink(file.name)

    def is_there(self) -> bool:
        """Whether the record at the place is this one.

        Raises:
            ReadError: If it cannot be read.
        """
        try:
            return self._place.read(WRITING_RECORD_NAME, 0, len(self._text)) == self._text
        except (DamagedError, DatasetNotFoundError):
            return False

    def check(self) -> None:
        """Raise LockedError unless the record at the place is this one."""
        if not self.is_there():
            raise LockedError(
                f"{self._place.name}: another process writes there too, or has removed {WRITING_RECORD_NAME}: no index was "
                "written; when the other has ended, the same call goes on, or take another place"
            )

    def remove(self) -> None:
        """Remove the record.

        Raises:
            WriteError: If it cannot be removed.
        """
        self._place.remove(WRITING_RECORD_NAME)
