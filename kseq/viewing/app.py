"""Which address has which answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from kseq.errors import ArgumentError, KseqError, LockedError, OutOfRangeError, SourceError
from kseq.viewing.answers import NOT_CACHED, Answer, Answers, json_response

__all__ = ["make_app"]

_PAGE = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

# So much may be sent with a change, in bytes.
_MOST_SENT = 4 << 20


def make_app(answers: Answers) -> Starlette:
    """The application that answers the page, without any check of who asks: `kseq.viewing.guard` does that."""
    routes = [Route("/", functools.partial(_send_file, "index.html"))]
    routes += [
        Route(f"/{path.name}", functools.partial(_send_file, path.name)) for path in _PAGE.iterdir() if path.suffix in _TYPES
    ]
    for name, answer in answers.found.items():
        routes.append(Route(f"/api/{name}", functools.partial(_answer, answer)))
    routes.append(Route("/api/change/{change}", functools.partial(_change, answers), methods=["POST"]))
    return Starlette(routes=routes)


async def _send_file(name: str, _: Request) -> Response:
    # All names are known; none comes from the address.
    return Response(_page_bytes(name), media_type=_TYPES[Path(name).suffix], headers=NOT_CACHED)


@functools.cache
def _page_bytes(name: str) -> bytes:
    return (_PAGE / name).read_bytes()


async def _answer(answer: Answer, request: Request) -> Response:
    return await run_in_threadpool(_guarded, answer, dict(request.query_params))


def _guarded(answer: Callable[..., Response], *arguments: Any) -> Response:
    """An answer, or the one line of what kseq refuses."""
    try:
        return answer(*arguments)
    except KseqError as error:
        is_wrong = isinstance(error, (ArgumentError, OutOfRangeError, SourceError))
        return json_response({"error": str(error)}, 409 if isinstance(error, LockedError) else 400 if is_wrong else 500)
    except MemoryError:
        return json_response({"error": "there is not enough memory for this"}, 500)
    except Exception as error:
        # A fault of kseq, or of a function in somebody's Sequence: one line on the page, and the server goes on.
        return json_response({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}, 500)


async def _change(answers: Answers, request: Request) -> Response:
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > _MOST_SENT:
                return json_response({"error": f"too much was sent: allowed are {_MOST_SENT} bytes"}, 413)
    except ClientDisconnect:
        return json_response({"error": "the page went away"}, 400)
    return await run_in_threadpool(_guarded, answers.change, request.path_params["change"], body)
