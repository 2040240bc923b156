"""Requests as web pages make browsers send them, and as programs send them; byte for byte."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.programs import Server, run

if TYPE_CHECKING:
    from collections.abc import Iterator

BASIC = "authorization: Basic bWU6c2VjcmV0"
BROWSER = "user-agent: Mozilla/5.0 (X11; Linux x86_64)"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    options = ["--username", "me", "--password", "secret"]
    options += ["--allow-host", "proxy.test", "--allow-host", "Other.Test"]
    with Server(options=options) as server:
        yield server
        assert server.process.errors == []


@pytest.fixture(params=["api", "poll"])
def port(request: pytest.FixtureRequest, guarded: Server) -> int:
    """Each of the server's ports."""
    return guarded.port if request.param == "api" else guarded.poll_port


def ask(
    port: int, *headers: str, request: str = "GET /poll/g/i HTTP/1.1", auth: str = BASIC
) -> tuple[int, str]:
    """Send the head of a request, and return the status and the body.

    Args:
        port: the port, which also replaces `PORT` in the headers.
        headers: lines of the head.
        request: the request line. The default opens a stream on both ports.
        auth: another line of the head.
    """
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
        connection.makefile("rb") as stream,
    ):
        lines = "\r\n".join([request, *headers, auth, "connection: close"]).replace(
            "PORT", str(port)
        )
        connection.sendall(f"{lines}\r\n\r\n".encode())
        status = int(stream.readline().split()[1])
        return status, "" if status == 200 else stream.read().decode()


# Hosts, and how they are answered. Browsers take those in the fourth line for other machines.
HOSTS = """
200 localhost localhost:PORT LocalHost:PORT localhost.:PORT localhost: any.name.localhost:PORT
200 127.0.0.1:PORT 127.0.0.2 192.168.178.20:PORT [::1]:PORT [::1] [2001:DB8::1]:PORT
200 [fe80::1%25eth0]:PORT proxy.test Proxy.Test.:443 other.test:PORT HOSTNAME:PORT HOSTNAME
403 0.0.0.0:PORT [::]:PORT [::ffff:127.0.0.1]:PORT [::ffff:7f00:1]
403 evil.test localhost.evil.test:PORT evillocalhost 127.0.0.1.evil.test 127.1 0x7f000001
403 evilproxy.test proxy.test.evil.test sub.proxy.test localhost,evil.test löcalhost:PORT
400 me:secret@localhost localhost@evil.test http://localhost localhost/ localhost:x localhost:1:2
400 localhost:123456 localhost:1٢ ::1 [::1 [::1]x [evil.test] :PORT
"""
REASONS = {200: "", 400: "one valid Host header", 403: "start devserver with --allow-host"}


def test_a_host_must_be_one_of_the_servers_names(port: int) -> None:
    for status, *hosts in map(str.split, HOSTS.strip().splitlines()):
        for host in hosts:
            name = host.replace("HOSTNAME", socket.gethostname().upper())
            answered, body = ask(port, f"host: {name}")
            assert answered == int(status), name
            assert REASONS[answered] in body
    assert ask(port, "host: \tlocalhost ")[0] == 200


def test_a_request_needs_one_valid_host(port: int) -> None:
    twice = [["host: localhost", f"host: {host}"] for host in ("localhost", "evil.test")]
    for lines in ([], ["host:"], ["host: localhost evil.test"], *twice):
        assert ask(port, *lines)[0] == 400, lines
    # HTTP 1.0 needs none, but a wrong one counts.
    for lines, status in (([], 200), (["host: localhost"], 200), (["host: evil.test"], 403)):
        assert ask(port, *lines, request="GET /poll/g/i HTTP/1.0")[0] == status
    # A target with a host does not replace the header.
    for target in ("http://localhost:PORT", "http://evil.test", "http://"):
        request = f"GET {target}/poll/g/i HTTP/1.1"
        assert ask(port, request=request)[0] == 400
        assert ask(port, "host: evil.test", request=request)[0] in {400, 403}


def test_only_the_servers_own_origin_is_answered(port: int) -> None:
    for host in ("localhost:PORT", "127.0.0.1:PORT", "[::1]:PORT", "proxy.test"):
        assert ask(port, f"host: {host}", f"origin: http://{host}")[0] == 200
    assert ask(port, "host: PROXY.TEST", "origin: http://proxy.test:80")[0] == 200
    others = ["null", "", "http://evil.test", "http://evil.test:PORT", "http://localhost"]
    others += ["http://localhost:1", "https://localhost:PORT", "http://127.0.0.1:PORT"]
    others += ["http://sub.localhost:PORT", "http://localhost:PORT/", "//localhost:PORT"]
    others += ["http://localhost:PORT@evil.test", "http://localhost:PORT http://evil.test"]
    others += ["http://localhost:PORT\r\norigin: http://evil.test", "localhost:PORT"]
    for origin in [*others, "chrome-extension://abcdefghijklmnop"]:
        lines = "host: localhost:PORT", f"origin: {origin}", "sec-fetch-site: same-origin"
        status, body = ask(port, *lines)
        assert status == 403, origin
        assert "another origin" in body


def test_pages_of_other_sites_can_only_link_to_the_page(guarded: Server) -> None:
    headers = {"host": "localhost", "sec-fetch-site": "cross-site"}
    headers |= {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}

    def link(request: str = "GET /", **changes: str) -> int:
        changed = headers | {key.replace("_", "-"): value for key, value in changes.items()}
        lines = [f"{name}: {value}" for name, value in changed.items()]
        return ask(guarded.port, *lines, request=f"{request} HTTP/1.1")[0]

    assert link() == link(sec_fetch_site="same-site") == 200
    for changes in (
        {"sec_fetch_dest": "iframe"},
        {"sec_fetch_mode": "no-cors"},
        {"host": "evil.test"},
        {"origin": "null"},
    ):
        assert link(**changes) == 403
    for request in ("HEAD /", "POST /", "GET //", "GET /page.js", "GET /watch", "GET /promises/"):
        assert link(request) == 403
    for site in ("cross-site", "same-site"):
        assert ask(guarded.poll_port, "host: localhost", f"sec-fetch-site: {site}")[0] == 403


@pytest.mark.parametrize("site", ["same-origin", "none", None])
def test_what_a_browser_can_get(guarded: Server, site: str | None) -> None:
    """A link in a mail, a redirect and a prefetch have no Origin, and no site or `none`."""
    network = "host: 192.168.178.20:PORT"  # over plain HTTP, browsers send no Sec-Fetch-Site to it
    head = [network, BROWSER, f"sec-fetch-site: {site}" if site else "x: y"]
    prefetch = "sec-purpose: prefetch;prerender"

    def get(path: str, *more: str, port: int = guarded.port) -> int:
        return ask(port, *head, *more, request=f"GET {path} HTTP/1.1")[0]

    assert get("/") == get("/", prefetch) == 200
    for path in ("/page.js", "/watch", "/promises?id=*", "/schedules?id=*"):
        assert get(path) == (403 if site is None and "?" in path else 200)
        assert get(path, prefetch) == (200 if site == "same-origin" else 403)
    for path in (f"/tasks/{action}/x/1" for action in ("claim", "complete", "drop", "heartbeat")):
        assert get(path) == 403
        assert ask(guarded.port, network, request=f"GET {path} HTTP/1.1")[0] in {200, 404}
    assert get("/poll/g/i") == get("/poll/g/i", port=guarded.poll_port) == 403


def test_a_refusal_comes_before_the_password_and_the_body(port: int) -> None:
    for lines in (["host: evil.test"], ["host: localhost", "origin: http://evil.test"]):
        lines += ["content-length: 1000", "expect: 100-continue"]
        for auth in (BASIC, "x: y"):
            assert ask(port, *lines, request="POST /promises HTTP/1.1", auth=auth)[0] == 403


@pytest.mark.parametrize("name", ["http://proxy.test", "proxy.test:80"])
def test_a_name_to_allow_has_no_scheme_and_no_port(name: str) -> None:
    ended = run("-m", "devserver", "--memory", f"--allow-host={name}")
    assert ended.wait() == 2
    assert ended.printed(f"{name!r} is not a host name without a scheme or a port")
