"""Protection against web pages that try to use this server through your browser.

A browser sends requests to loopback addresses and to your network for any page, and adds the
password if it knows it. Three headers that a page cannot change tell these requests apart:

- `Host` names the server as the page's URL did. With DNS rebinding, it is the attacker's name.
- `Origin` names the page's origin. Browsers send it with each POST, and with each request whose
  answer the page could read.
- `Sec-Fetch-Site` says how the page's origin relates to the server. Browsers send it to loopback
  addresses and over HTTPS, but not over plain HTTP to another machine.

The SDK, curl and other programs send no Origin and no Sec-Fetch-Site.

If a browser follows a link in a mail or a redirect, or prefetches a link for a page, it sends no
Origin, and `none` or nothing as Sec-Fetch-Site. So there are more rules for GET requests.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from devserver.http.responses import refuse
from devserver.store.errors import Code, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

# A name or an address, and a port: RFC 9110, section 7.2. A user name is not allowed.
_HOST = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.%-]+)?)\]|([^\s:/?#@\[\]]+))(?::([0-9]{0,5}))?", re.ASCII
)


class Guard:
    """Refuses requests that web pages of other sites send, before anything else looks at them.

    Args:
        app: handles the requests that are not refused.
        names: the host names of this server, besides `localhost`, the names under `.localhost`
            and almost all IP addresses. DNS rebinding needs a name, so an address is safe.
        poll_port: the message port, where a GET request joins a worker group.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], poll_port: int) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower().removesuffix(".") for name in names)}
        self._poll_port = poll_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 or 403, or pass the request on."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        app = self._app if refusal is None else refuse(refusal)
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProtocolError | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = parse_host(hosts[0].strip()) if len(hosts) == 1 else None
        if host is None and (hosts or scope["http_version"] != "1.0"):
            return ProtocolError(Code.INVALID, "The request must have one valid Host header.")
        if host is None or self._is_own(host[0]):
            reason = self._mark_of_a_page(scope, headers, host)
        else:
            reason = f"{host[0]} is not a name of this server. "
            reason += f"To allow the name, start devserver with --allow-host {host[0]}."
        return None if reason is None else ProtocolError(Code.FORBIDDEN, reason)

    def _mark_of_a_page(
        self, scope: Scope, headers: Headers, host: tuple[str, int] | None
    ) -> str | None:
        """Return what shows that a page of another site may have sent the request, or None."""
        for origin in headers.getlist("origin"):
            scheme, _, authority = origin.partition("://")
            if host is None or (scheme, parse_host(authority)) != (scope["scheme"], host):
                return f"The request came from a page of another origin, {origin}."
        site = headers.get("sec-fetch-site")
        if site in {"cross-site", "same-site"} and not _opens_the_page(scope, headers):
            return f"The request came from a page of another site (Sec-Fetch-Site: {site})."
        is_prefetch = "prefetch" in headers.get("sec-purpose", "")
        if is_prefetch and site != "same-origin" and scope["path"] != "/":
            return "A browser may have sent the request for a page of another site (Sec-Purpose)."
        # All browsers begin their name with this, which a page cannot change.
        is_browser = headers.get("user-agent", "").startswith("Mozilla/")
        if is_browser and (self._has_effect(scope) or (site is None and _is_search(scope))):
            return "A browser may have sent the request for a page of another site (User-Agent)."
        return None

    def _is_own(self, name: str) -> bool:
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        # Browsers take these two for addresses of other machines, and send no Sec-Fetch-Site.
        is_mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
        return not (address.is_unspecified or is_mapped)

    def _has_effect(self, scope: Scope) -> bool:
        """Tell whether a GET request claims, completes or drops a task, or joins a worker group."""
        is_poll: bool = scope["server"][1] == self._poll_port
        return is_poll or scope["path"].startswith(("/tasks/", "/poll/"))


def parse_host(text: str) -> tuple[str, int] | None:
    """Read `name:port`, `1.2.3.4:port` or `[::1]:port`; without a port, it is 80.

    Returns:
        The name in lower case and without a dot at its end, or the address; and the port. None if
        the text is not of that form.
    """
    match = _HOST.fullmatch(text)
    if match is None:
        return None
    address, name, port = match.groups()
    return address or name.lower().removesuffix("."), int(port or 80)


def _opens_the_page(scope: Scope, headers: Headers) -> bool:
    """Tell whether the browser opens the page in a tab, which the linking site cannot read."""
    return (
        (scope["method"], scope["path"]) == ("GET", "/")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _is_search(scope: Scope) -> bool:
    """Tell whether the request makes the server work for a while."""
    return scope["path"].rstrip("/") in {"/promises", "/schedules"}
