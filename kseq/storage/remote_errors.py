"""What a failed request to a store means: try again, or which error; no credential is in its text."""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from kseq.arguments import shown_url, url_logins
from kseq.errors import one_line

__all__ = ["DENIED", "FULL_DISK_ERRNOS", "MISSING", "REFUSED", "TRANSIENT", "Redactor", "meaning"]

# What a failure means. Only the first may be gone at the next try.
TRANSIENT, MISSING, DENIED, REFUSED = "transient", "missing", "denied", "refused"

# Beside those of 500 and more: a request that came too slowly, too early, too often.
_TRANSIENT_STATUS = {408, 425, 429}
_MEANINGS = {401: DENIED, 403: DENIED, 407: DENIED, 404: MISSING, 410: MISSING}

# What the local disk says when it has no room for more of an open file.
FULL_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
# What it says besides while a file is written there, and what a URL that names something else gets.
_LASTING_ERRNOS = {
    *FULL_DISK_ERRNOS,
    *(errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.EMFILE, errno.ENFILE),
}
# Base classes of what breaks on the way, by name, since they belong to packages that need not be installed: of aiohttp,
# botocore, urllib3, requests, httpx, google-auth, azure-core.
_TRANSIENT_CLASSES = {
    *("ClientConnectionError", "ClientPayloadError", "ServerDisconnectedError"),
    *("HTTPClientError", "IncompleteReadError", "ResponseStreamingError", "ChecksumError", "FlexibleChecksumError"),
    *("ProtocolError", "TimeoutError", "ConnectionError", "Timeout", "ChunkedEncodingError", "ContentDecodingError"),
    *("TransportError", "RemoteProtocolError", "ServiceRequestError", "ServiceResponseError", "IncompleteRead"),
}

# Of storage_options: names whose values are secrets.
_SECRET_NAME = re.compile(r"key|secret|token|passw|pwd|cred|auth|sign|sas\b|cookie|header|connection_string|session|user", re.I)
# Of a URL inside a text: who logs in, and the query, as which presigned URLs carry their signature.
_LOGIN_IN_TEXT = re.compile(r"(?<=://)(?:[^/\s'\"@]+|[^/\s'\"@:]*:(?!\d+/)[^\s'\"@]*)@")
_QUERY_IN_TEXT = re.compile(r"(://[^\s'\"<>?]*)\?[^\s'\"<>]+")
_SIGNED_IN_TEXT = re.compile(
    r"((?:X-Amz-[\w-]+|X-Goog-[\w-]+|Signature|sig|AWSAccessKeyId|token|access_token|Authorization|Bearer)(?:=|:\s*|\s+))[^\s&'\",;]+",
    re.I,
)
_HIDDEN = "***"
# A shorter text is no secret, and would be found in every message.
_LEAST_SECRET = 4


def meaning(error: BaseException) -> str:
    """What an error of a file system of fsspec's means: `TRANSIENT`, `MISSING`, `DENIED`, or `REFUSED` for all others."""
    chain = list(_causes(error))
    # First: aiohttp gives a body that breaks off the status 400.
    if any(map(_is_broken_connection, chain)):
        return TRANSIENT
    status = next((status for status in map(_status, chain) if status is not None), None)
    if status is not None:
        return TRANSIENT if status >= 500 or status in _TRANSIENT_STATUS else _MEANINGS.get(status, REFUSED)
    if isinstance(error, FileNotFoundError):
        return MISSING
    if isinstance(error, PermissionError):
        return DENIED
    is_transient = isinstance(error, (OSError, EOFError)) and error.__class__ not in (IsADirectoryError, NotADirectoryError)
    return TRANSIENT if is_transient and getattr(error, "errno", None) not in _LASTING_ERRNOS else REFUSED


def _is_broken_connection(error: BaseException) -> bool:
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    if isinstance(error, (FileNotFoundError, PermissionError, ValueError, TypeError, ImportError)):
        return False
    return any(base.__name__ in _TRANSIENT_CLASSES for base in type(error).__mro__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was raised from; fsspec makes "not found" of whatever happened while it asked."""
    seen: set[int] = set()
    part: BaseException | None = error
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        yield part
        part = part.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error was made of, wherever its package keeps it."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        metadata = response.get("ResponseMetadata")
        candidates = [metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None]
    else:
        candidates = [getattr(response, "status_code", None), getattr(response, "status", None)]
    for candidate in itertools.chain(candidates, _own_status(error)):
        if isinstance(candidate, str) and candidate.isdigit():
            candidate = int(candidate)
        if isinstance(candidate, int) and not isinstance(candidate, bool) and 100 <= candidate < 600:
            return candidate
    return None


def _own_status(error: BaseException) -> Iterator[Any]:
    # One after the other: aiohttp warns of the last.
    yield getattr(error, "status", None)
    yield getattr(error, "status_code", None)
    yield getattr(error, "code", None)


class Redactor:
    """Takes credentials out of texts.

    Args:
        url: Of the store. Who logs in and the query are taken out of it, the login wherever it comes up, in parts too.
        options: `storage_options`: every text under a name such as `secret` or `token` is taken out, wherever it comes up.

    Attributes:
        url: The URL, for messages.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.url = shown_url(url)
        secrets = {text for text in (*_secrets(options, is_secret=False), *_logins(url)) if len(text) >= _LEAST_SECRET}
        # The longest first: one may be a part of another.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def shown(self, name: str) -> str:
        """The URL of a file below that URL, for messages."""
        return shown_url(f"{self.url.rstrip('/')}/{name}") if name else self.url

    def reason(self, error: BaseException) -> str:
        """The message of an error on one line."""
        return self.text(one_line(error))

    def text(self, text: str) -> str:
        """A text without credentials."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        text = _QUERY_IN_TEXT.sub(r"\1", _LOGIN_IN_TEXT.sub("", text))
        return _SIGNED_IN_TEXT.sub(rf"\1{_HIDDEN}", text)


def _logins(url: str) -> Iterator[str]:
    for login in url_logins(url):
        # A file system that knows no logins takes them for the name of a bucket, up to a slash.
        for text in (login, *re.split("[:/@]", login)):
            yield text
            yield unquote(text)


def _secrets(value: Any, *, is_secret: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _secrets(part, is_secret=is_secret or bool(_SECRET_NAME.search(str(name))))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _secrets(part, is_secret=is_secret)
    elif is_secret and isinstance(value, str):
        yield value
    elif hasattr(value, "password") and isinstance(value.password, str):
        # aiohttp's BasicAuth.
        yield value.password
