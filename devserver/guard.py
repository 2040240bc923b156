"""Protection against web pages that try to use this server through your browser.

A browser sends requests to loopback addresses and to your network for any page, and adds the
password if it knows it. Three headers that a page cannot change tell these requests apart:

- `Host` names the server as the page's URL did. With DNS rebinding, it is the attacker's name.
- `Origin` names the page's origin. Browsers send it with each POST, and with each request whose
  answer the page could read.
- `Sec-Fetch-Site` says how the page's origin relates to the server. Browsers send it to loopback
  addresses and over HTTPS, but not over plain HTTP to another machine.

The SDK, curl and other programs send no Origin and no Sec-Fetch-Site. A page whose origin you allow
counts as a program, if its request has an Origin.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple, Self

from devserver.errors import Code, ProtocolError, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

# A name or an address, and a port: RFC 9110, section 7.2. A user name is not allowed.
_AUTHORITY = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.%-]+)?)\]|([^\s:/?#@\[\]]+))(?::([0-9]{0,5}))?", re.ASCII
)
_HTTP_PORT = 80
_HEADERS = frozenset(
    (b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"user-agent")
)


class Host(NamedTuple):
    """A host as a `Host` or `Origin` header gives it.

    Args:
        name: a name in lower case and without the dot that may end it, or an IP address.
        port: the TCP port.
    """

    name: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `name:port`, `1.2.3.4:port` or `[::1]:port`; the port may be missing.

        Returns:
            The host, or None if the text is not of that form.
        """
        match = _AUTHORITY.fullmatch(text)
        if match is None:
            return None
        address, name, port = match.groups()
        return cls(address or name.lower().removesuffix("."), int(port or _HTTP_PORT))


class Guard:
    """Refuses requests that web pages of other sites send, before anything else looks at them.

    Args:
        app: handles the requests that are not refused.
        names: the host names of this server, besides `localhost`, the names under `.localhost`
            and all IP addresses. DNS rebinding needs a name, so an address is safe.
        origins: the origins whose pages may use this server as a program does, and by the name of
            their own host.
        poll_port: the message port, where a GET request joins a worker group.
    """

    def __init__(
        self, app: ASGIApp, names: Iterable[str], origins: Iterable[str], poll_port: int
    ) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower().removesuffix(".") for name in names)}
        self._origins = frozenset(origins)
        self._names |= {host.name for host in map(_host_of, self._origins) if host is not None}
        self._poll_port = poll_port
        # The Host header of the latest request that had no other header of _HEADERS, which only a
        # program sends. Such a request with the same header is accepted again.
        self._accepted: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 or 403, or pass the request on."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        app = self._app if refusal is None else refuse(refusal)
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProtocolError | None:
        """Return why the request is refused, or None. Reads only the head of the request."""
        found = [header for header in scope["headers"] if header[0] in _HEADERS]
        if found and found == self._accepted:
            return None
        headers: dict[bytes, list[str]] = {}
        for name, value in found:
            headers.setdefault(name, []).append(value.decode("latin-1").strip())
        hosts = headers.get(b"host", [])
        host = Host.parse(hosts[0]) if len(hosts) == 1 else None
        if host is None and (hosts or scope["http_version"] != "1.0"):
            return ProtocolError(Code.INVALID, "The request must have one valid Host header.")
        if host is not None and not self._is_own(host.name):
            return ProtocolError(
                Code.FORBIDDEN,
                f"{host.name} is not a name of this server. "
                f"To allow the name, start devserver with --allow-host {host.name}.",
            )
        if host is not None and len(found) == 1:
            self._accepted = found
            return None
        origins = headers.get(b"origin", [])
        if len(origins) == 1 and origins[0] in self._origins:
            return None
        return self._refusal_of_page(scope, headers, host)

    def _refusal_of_page(
        self, scope: Scope, headers: dict[bytes, list[str]], host: Host | None
    ) -> ProtocolError | None:
        for origin in headers.get(b"origin", []):
            scheme = origin.partition("://")[0]
            if host is None or (scheme, _host_of(origin)) != (scope["scheme"], host):
                return _forbidden(f"The request came from a page of another origin, {origin}.")
        for site in headers.get(b"sec-fetch-site", []):
            if site in {"cross-site", "same-site"} and not _opens_the_page(scope, headers):
                return _forbidden(
                    f"The request came from a page of another site (Sec-Fetch-Site: {site})."
                )
        if self._is_for_programs(scope) and _is_browser(headers):
            return _forbidden("The request came from a browser, and would change something.")
        return None

    def _is_own(self, name: str) -> bool:
        return name in self._names or name.endswith(".localhost") or _is_address(name)

    def _is_for_programs(self, scope: Scope) -> bool:
        """Tell whether a GET request claims, completes or drops a task, or joins a worker group.

        A browser sends such a request without an Origin when it follows a link or a redirect. Then
        it may also leave out `Sec-Fetch-Site`, or send `none`.
        """
        port: int = scope["server"][1]
        path: str = scope["path"]
        return port == self._poll_port or path.startswith(("/tasks/", "/poll/"))


def _forbidden(reason: str) -> ProtocolError:
    explanation = "Only programs, this server's page, and pages from an --allow-origin may send it."
    return ProtocolError(Code.FORBIDDEN, f"{reason} {explanation}")


def _host_of(origin: str) -> Host | None:
    return Host.parse(origin.partition("://")[2])


def _opens_the_page(scope: Scope, headers: dict[bytes, list[str]]) -> bool:
    """Tell whether the browser opens the page in a tab, which the linking site cannot read."""
    return (
        scope["method"] == "GET"
        and scope["path"] == "/"
        and headers.get(b"sec-fetch-mode") == ["navigate"]
        and headers.get(b"sec-fetch-dest") == ["document"]
    )


def _is_browser(headers: dict[bytes, list[str]]) -> bool:
    # All browsers begin with this. A page cannot change it without asking the server first (CORS).
    return any(agent.startswith("Mozilla/") for agent in headers.get(b"user-agent", []))


@lru_cache(maxsize=64)  # almost all requests have the same one
def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
