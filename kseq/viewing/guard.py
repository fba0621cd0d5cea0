"""Who may ask, and what a browser may do with the answer.

- Every address begins with a token that only this process and the page that it opened know.
- Programs show the addresses that they were started with to everybody on the machine. So a browser is started with a ticket,
  which is good for one visit and leads to the address with the token.
- The name of the host must be an address or a name of this machine: a page of a stranger whose name was pointed to this machine
  (DNS rebinding) is refused before anything is looked at.
- A change must come from the page itself: browsers say where a request comes from, and no form can send JSON.
- An answer may load nothing from elsewhere, run no script but those of the package, and be shown in no frame.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["Guard", "host_name"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """Passes on the requests of the page, without the token in their path, and refuses all others.

    Args:
        application: What answers them.
        token: What every path begins with, after the first slash.
        host: The name or address that the server listens at; an address that is none of this machine alone lets in who knows
            the token from elsewhere.
    """

    def __init__(self, application: Application, token: str, host: str) -> None:
        self._application = application
        self._token = token.encode()
        self._tickets: set[bytes] = set()
        self._names = {host.lower(), "localhost"}
        self._is_loopback = is_loopback(host)

    def add_ticket(self) -> str:
        """Another first part of a path, which leads to the page once."""
        ticket = secrets.token_urlsafe(24)
        self._tickets.add(ticket.encode())
        return ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        first, slash, rest = scope["path"].removeprefix("/").partition("/")
        given = first.encode("utf-8", "surrogatepass")
        if not self._is_known_host(headers.get("host", "")):
            await _refuse(send, 421, "nobody has given this name to the machine; the host of kseq view does")
        elif scope["method"] == "GET" and self._takes_ticket(given):
            await _send(send, 303, b"", (b"location", b"/" + self._token + b"/"))
        elif not hmac.compare_digest(given, self._token) or not slash:
            await _refuse(send, 403, "the address lacks the token: open the one that kseq view has printed")
        elif scope["method"] not in ("GET", "HEAD") and not _is_from_page(headers):
            await _refuse(send, 403, "changes are made by the page alone")
        else:
            path = "/" + rest
            await self._application({**scope, "path": path, "raw_path": path.encode()}, receive, _with_headers(send))

    def _takes_ticket(self, given: bytes) -> bool:
        """Whether this is a ticket; it is none any more then."""
        ticket = next((ticket for ticket in self._tickets if hmac.compare_digest(given, ticket)), None)
        self._tickets.discard(ticket or b"")
        return ticket is not None

    def _is_known_host(self, host: str) -> bool:
        name = host_name(host)
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._is_loopback


def is_loopback(host: str) -> bool:
    """Whether a host name or address is reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """The name in a `Host` header, without the port, in small letters."""
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")


def _is_from_page(headers: dict[str, str]) -> bool:
    """Whether a browser says that a request comes from the page of this server."""
    origin = headers.get("origin")
    has_own_origin = origin is None or origin.partition("://")[2] == headers.get("host")
    is_json = headers.get("content-type", "").partition(";")[0].strip() == "application/json"
    return has_own_origin and is_json and headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _with_headers(send: Send) -> Send:
    async def send_safely(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            names = {name for name, _ in message.get("headers", [])}
            added = [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in names]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return send_safely


async def _refuse(send: Send, status: int, reason: str) -> None:
    await _send(send, status, f"kseq view: {reason}\n".encode())


async def _send(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    send = _with_headers(send)
    all_headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})
