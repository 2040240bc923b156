"""The files of the page, and its stream of events, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from devserver.page.watch import Watch

FOLDER = Path(__file__).parent
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

# The page shows the content of promises, which is untrusted. These headers make the browser load
# and run only the page's own files.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def page_routes(watch: Watch) -> list[Route]:
    """Return the routes of the page. The page itself is at `/`, and its events are at `/watch`."""
    files = [_route(path) for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES]
    events = Route("/watch", watch.respond)
    events.methods = {"GET"}  # not HEAD, which Starlette adds: it would be a stream without an end
    return [events, *files]


def _route(path: Path) -> Route:
    content = path.read_bytes()

    async def respond(_: Request) -> Response:
        return Response(content, headers=HEADERS, media_type=TYPES[path.suffix])

    return Route("/" if path.suffix == ".html" else f"/{path.name}", respond, methods=["GET"])
