"""Tries a request to a store again until a deadline, and makes one error of what failed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kseq.errors import DatasetNotFoundError, KseqError, ReadError
from kseq.storage.remote_errors import DENIED, MISSING, TRANSIENT, Redactor, meaning

__all__ = ["NOT_LISTED", "RangeError", "RefusedError", "Retries", "WrongLengthError"]

# To the deadline of what moves many bytes, the time is added that they take at a slow rate, in bytes a second.
_LEAST_RATE = 1 << 18
# One try takes at most this share of the deadline, so that a stalled connection is given up while there is time for others.
_SHARE_OF_A_TRY = 0.25

# Seconds before the second try, on average half of them; twice as many before each further one, up to the second number.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
# Not Python's generator, which a user seeds: all ranks would knock at the same moment.
_RANDOM = random.SystemRandom()

# So many answers of a wrong length are enough: the file is shorter than it should be, or the server knows no ranges.
_MOST_WRONG = 5

NOT_LISTED = "cannot be listed"


class RefusedError(ReadError):
    """The store answers, and refuses this file: another file may be readable."""


class RangeError(Exception):
    """One of several ranges failed."""

    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(name)
        self.name = name
        self.error = error


class WrongLengthError(EOFError):
    """An answer is not as long as what was asked for."""


class Retries:
    """Calls what asks a store, again and again if what fails may be gone at the next try.

    Args:
        deadline: So many seconds a call may take in all; one that moves many bytes takes longer.
        redactor: Gives the URL of a file for messages, and takes credentials out of them.
        prepare: Called before the time of a call begins, for what is loaded once.
    """

    def __init__(self, deadline: float, redactor: Redactor, prepare: Callable[[], None]) -> None:
        self._deadline = deadline
        self._redactor = redactor
        self._prepare = prepare

    def call(self, name: str, failed: str, call: Callable[[float], Any], num_bytes: int, error: type[KseqError]) -> Any:
        """Call until it works, until it fails for good, or until the deadline.

        Args:
            name: Of the file.
            failed: What did not work, for the message.
            call: Gets the seconds that it may take.
            num_bytes: How many bytes it moves.
            error: What to raise.

        Raises:
            DatasetNotFoundError: If there is no such file or folder.
            RefusedError: If the store refuses, and `error` is ReadError.
            KseqError: What `error` says, in all other cases.
        """
        self._prepare_once()
        extra = num_bytes / _LEAST_RATE
        began, pause, number = time.monotonic(), _FIRST_PAUSE, 0
        last = began + self._deadline + extra
        while True:
            number += 1
            try:
                return call(min(self._deadline * _SHARE_OF_A_TRY + extra, max(last - time.monotonic(), 0.001)))
            except KseqError:
                raise
            except Exception as failure:
                # Not raised from here: the error would carry the text of fsspec's, with whatever URL that has.
                met: Exception = failure
            if isinstance(met, RangeError):
                name, cause = met.name, met.error
            else:
                cause = met
            kind, waited = meaning(cause), _RANDOM.uniform(0, pause)
            is_settled = isinstance(cause, WrongLengthError) and number >= _MOST_WRONG
            if kind != TRANSIENT or is_settled or time.monotonic() + waited > last:
                break
            time.sleep(waited)
            pause = min(2 * pause, _LONGEST_PAUSE)
        del met
        raise self._error(name, failed, kind, cause, number, time.monotonic() - began, error)

    def once(self, name: str, failed: str, call: Callable[[float], Any], error: type[KseqError]) -> bool:
        """Call once; whether it worked. What may be gone at the next try, which is the caller's, is no error, but a pause.

        The arguments and what it raises else are those of `call`; what is called gets the seconds that it may stand still.
        """
        self._prepare_once()
        try:
            call(self._deadline * _SHARE_OF_A_TRY)
            return True
        except KseqError:
            raise
        except Exception as failure:
            # As in `call`.
            met: Exception = failure
        kind = meaning(met)
        if kind != TRANSIENT:
            raise self._error(name, failed, kind, met, 1, 0, error)
        time.sleep(_RANDOM.uniform(0, _FIRST_PAUSE))
        return False

    def _prepare_once(self) -> None:
        # The call itself meets what fails here, and says so.
        with suppress(Exception):
            self._prepare()

    def _error(
        self, name: str, failed: str, kind: str, cause: BaseException, tries: int, waited: float, error: type[KseqError]
    ) -> KseqError:
        path, reason = self._redactor.shown(name), self._redactor.reason(cause)
        if not str(cause).strip() and kind == TRANSIENT:
            reason = "no answer in time" if "imeout" in type(cause).__name__ else type(cause).__name__
        if kind == MISSING:
            return DatasetNotFoundError(f"{path}: there is no such {'folder' if failed == NOT_LISTED else 'file'}")
        if kind != TRANSIENT and error is ReadError:
            error = RefusedError
        if kind == DENIED:
            return error(f"{path}: {failed}: access is denied ({reason}): look at the credentials, or pass storage_options")
        if kind == TRANSIENT:
            return error(
                f"{path}: {failed}: {reason} ({tries} tries in {waited:.0f} s; storage_options={{'deadline': SECONDS}} allows "
                f"more than {self._deadline:g})"
            )
        return error(f"{path}: {failed}: {reason}")
