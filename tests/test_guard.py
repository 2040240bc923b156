"""Requests as web pages make browsers send them, and as programs send them; byte for byte."""

from __future__ import annotations

import json
import re
import socket
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import httpx
import pytest

from demo.cluster import ROOT, Cluster, free_ports
from tests.api import FAR
from tests.listener import Listener
from tests.programs import run

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = ("me", "secret")
BASIC = "authorization: Basic bWU6c2VjcmV0"
BROWSER = "user-agent: Mozilla/5.0 (X11; Linux x86_64)"


@dataclass(frozen=True)
class Port:
    """A port of a server, a path on it that answers 200, and the headers that this takes."""

    port: int
    path: str
    headers: tuple[str, ...]

    def ask(self, *headers: str, request: str = "") -> tuple[int, str]:
        """Send the head of a request and return the status and the body.

        Args:
            headers: lines of the head. `PORT` in them becomes this port.
            request: the request line, unless it is a GET of the port's path by HTTP/1.1.
        """
        lines = [request or f"GET {self.path} HTTP/1.1", *headers, *self.headers]
        head = "\r\n".join(lines).replace("PORT", str(self.port)) + "\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(head.encode())
            with connection.makefile("rb") as stream:
                return read_answer(stream)


def read_answer(stream: BinaryIO) -> tuple[int, str]:
    """Read one answer; of one without a length, such as a stream of messages, the head alone."""
    status = int(stream.readline().split()[1])
    length = 0
    while line := stream.readline().strip():
        if match := re.fullmatch(rb"content-length: (\d+)", line):
            length = int(match[1])
    return status, stream.read(length).decode()


def detail(body: str) -> str:
    text: str = json.loads(body)["error"]["details"][0]["message"]
    return text


@pytest.fixture(scope="module", params=["open", "password"])
def guarded(request: pytest.FixtureRequest) -> Iterator[dict[str, Port]]:
    """Both ports of a server: one for this machine, and one for all addresses with a password."""
    port, poll_port = free_ports(2)
    command = [sys.executable, "-m", "devserver", "--memory"]
    command += ["--port", str(port), "--poll-port", str(poll_port)]
    command += ["--allow-host", "proxy.test", "--allow-host", "Other.Test"]
    headers: tuple[str, ...] = ()
    if request.param == "password":
        command += ["--host", "0.0.0.0", "--username", USER[0], "--password", USER[1]]  # noqa: S104
        headers = (BASIC,)
    with Cluster() as cluster:
        process = cluster.launch("guarded", command)
        process.wait_for("Watch it at")
        yield {
            "api": Port(port, "/promises?id=*", headers),
            "poll": Port(poll_port, "/g/i", headers),
        }
        assert process.errors == []


@pytest.fixture(params=["api", "poll"])
def port(request: pytest.FixtureRequest, guarded: dict[str, Port]) -> Port:
    return guarded[request.param]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:PORT",
        "LocalHost:PORT",
        "localhost.:PORT",
        "localhost:",
        " \tlocalhost:PORT \t",
        "any.name.localhost:PORT",
        "127.0.0.1:PORT",
        "127.0.0.2",
        "192.168.178.20:PORT",
        "[::1]:PORT",
        "[::1]",
        "[2001:DB8::1]:PORT",
        "[fe80::1%25eth0]:PORT",
        "proxy.test",
        "Proxy.Test.:443",
        "other.test:PORT",
        f"{socket.gethostname()}:PORT",
        socket.gethostname().upper(),
    ],
)
def test_the_servers_own_names_are_answered(port: Port, host: str) -> None:
    assert port.ask(f"host: {host}")[0] == 200


@pytest.mark.parametrize(
    "name",
    [
        "evil.test",
        "localhost.evil.test",
        "evillocalhost",
        "127.0.0.1.evil.test",
        "127.1",
        "0x7f000001",
        "proxy.test.evil.test",
        "evilproxy.test",
        "sub.proxy.test",
        "localhost,evil.test",
        "löcalhost",
    ],
)
def test_other_names_are_refused(port: Port, name: str) -> None:
    status, body = port.ask(f"host: {name}:PORT")
    assert (status, json.loads(body)["error"]["code"]) == (403, 40300)
    if name.isascii():
        assert f"--allow-host {name.removesuffix('.')}" in detail(body)


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["localhost", "localhost"],
        ["localhost", "evil.test"],
        ["me:secret@localhost"],
        ["localhost@evil.test"],
        ["http://localhost"],
        ["localhost/"],
        ["localhost evil.test"],
        ["localhost:x"],
        ["localhost:1:2"],
        ["localhost:" + "1" * 5_000],
        ["localhost:\N{ARABIC-INDIC DIGIT ONE}"],
        ["::1"],
        ["[::1"],
        ["[::1]x"],
        ["[evil.test]"],
        [":PORT"],
    ],
)
def test_a_request_needs_one_valid_host(port: Port, hosts: list[str]) -> None:
    status, body = port.ask(*(f"host: {host}" for host in hosts))
    assert status == 400
    assert detail(body) == "The request must have one valid Host header."


def test_http_1_0_needs_no_host(port: Port) -> None:
    request = f"GET {port.path} HTTP/1.0"
    assert port.ask(request=request)[0] == 200
    assert port.ask("host: localhost", request=request)[0] == 200
    assert port.ask("host: evil.test", request=request)[0] == 403
    assert port.ask("origin: http://localhost:PORT", request=request)[0] == 403


@pytest.mark.parametrize("target", ["http://localhost:PORT", "http://evil.test", "http://"])
def test_a_target_with_a_host_does_not_replace_the_host(port: Port, target: str) -> None:
    request = f"GET {target}{port.path} HTTP/1.1"
    assert port.ask(request=request)[0] == 400
    assert port.ask("host: evil.test", request=request)[0] in {400, 403}


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:PORT", "http://localhost:PORT"),
        ("LOCALHOST:PORT", "http://localhost:PORT"),
        ("127.0.0.1:PORT", "http://127.0.0.1:PORT"),
        ("[::1]:PORT", "http://[::1]:PORT"),
        ("proxy.test", "http://proxy.test"),
        ("proxy.test", "http://proxy.test:80"),
    ],
)
def test_the_servers_own_origin_is_answered(port: Port, host: str, origin: str) -> None:
    assert port.ask(f"host: {host}", f"origin: {origin}")[0] == 200


@pytest.mark.parametrize(
    "origins",
    [
        ["null"],
        [""],
        ["http://evil.test"],
        ["http://evil.test:PORT"],
        ["http://localhost"],
        ["http://localhost:1"],
        ["https://localhost:PORT"],
        ["http://127.0.0.1:PORT"],
        ["http://sub.localhost:PORT"],
        ["http://localhost:PORT/"],
        ["http://localhost:PORT@evil.test"],
        ["http://localhost:PORT http://evil.test"],
        ["http://localhost:PORT", "http://evil.test"],
        ["//localhost:PORT"],
        ["localhost:PORT"],
        ["chrome-extension://abcdefghijklmnop"],
    ],
)
def test_other_origins_are_refused(port: Port, origins: list[str]) -> None:
    lines = [f"origin: {origin}" for origin in origins]
    status, body = port.ask("host: localhost:PORT", *lines, "sec-fetch-site: same-origin")
    assert status == 403
    assert "another origin" in detail(body)


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_servers_own_page_is_answered(guarded: dict[str, Port], site: str) -> None:
    fetch = f"sec-fetch-site: {site}"
    assert guarded["api"].ask("host: localhost:PORT", BROWSER, fetch)[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_are_refused(port: Port, site: str) -> None:
    fetch = f"sec-fetch-site: {site}"
    status, body = port.ask("host: localhost:PORT", fetch)
    assert status == 403
    assert site in detail(body)
    navigation = (fetch, "sec-fetch-mode: navigate", "sec-fetch-dest: document")
    assert port.ask("host: localhost:PORT", *navigation)[0] == 403


def test_a_link_to_the_page_is_answered(guarded: dict[str, Port]) -> None:
    headers = {"host": "localhost", "sec-fetch-site": "cross-site"}
    headers |= {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}

    def ask(method: str = "GET", path: str = "/", **changes: str) -> int:
        changed = headers | {key.replace("_", "-"): value for key, value in changes.items()}
        lines = [f"{name}: {value}" for name, value in changed.items()]
        return guarded["api"].ask(*lines, request=f"{method} {path} HTTP/1.1")[0]

    assert ask() == 200
    assert ask(sec_fetch_site="same-site") == 200
    assert ask(sec_fetch_dest="iframe") == 403
    assert ask(sec_fetch_mode="no-cors") == 403
    assert ask(host="evil.test") == 403
    assert ask(origin="null") == 403
    assert ask("HEAD") == 403
    assert ask("POST") == 403
    for path in ("//", "/page.js", "/watch", "/promises", "/promises/", "/tasks/claim/x/1"):
        assert ask(path=path) == 403


@pytest.mark.parametrize("site", [[], ["sec-fetch-site: none"]])
def test_a_browser_that_does_not_name_a_site_can_only_read(
    guarded: dict[str, Port], site: list[str]
) -> None:
    """So it is over plain HTTP to other machines, and after a redirect from a typed address."""
    lan = "host: 192.168.178.20:PORT"
    api, poll = guarded["api"], guarded["poll"]
    for path in ("/", "/page.js", "/promises?id=*", "/watch"):
        assert api.ask(lan, *site, BROWSER, request=f"GET {path} HTTP/1.1")[0] == 200
    for action in ("claim", "complete", "drop", "heartbeat"):
        link = f"GET /tasks/{action}/x/1 HTTP/1.1"
        assert api.ask(lan, *site, BROWSER, request=link)[0] == 403
        assert api.ask(lan, "user-agent: curl/8.5.0", request=link)[0] in {200, 404}
    assert api.ask(lan, *site, BROWSER, request="GET /poll/g/i HTTP/1.1")[0] == 403
    assert poll.ask(lan, *site, BROWSER)[0] == 403
    assert poll.ask(lan, "user-agent: python-requests/2.32")[0] == 200


def test_a_refusal_comes_before_the_password_and_the_body(guarded: dict[str, Port]) -> None:
    for port in guarded.values():
        for lines in (["host: evil.test"], ["host: localhost", "origin: http://evil.test"]):
            lines += ["content-length: 1000"]
            for request in ("POST /promises HTTP/1.1", "POST /nowhere HTTP/1.1"):
                bare = Port(port.port, port.path, ())
                assert bare.ask(*lines, request=request)[0] == 403
                assert port.ask(*lines, "expect: 100-continue", request=request)[0] == 403


def test_each_request_of_a_connection_is_looked_at(guarded: dict[str, Port]) -> None:
    api = guarded["api"]
    body = b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n"
    good = "GET /promises?id=* HTTP/1.1\r\nhost: localhost\r\n"
    bad = f"POST /promises HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
    bad += "origin: http://evil.test\r\n"
    rest = "".join(f"{line}\r\n" for line in api.headers) + "\r\n"
    with (
        socket.create_connection(("127.0.0.1", api.port), timeout=30) as connection,
        connection.makefile("rb") as stream,
    ):
        for head, content, status in ((good, b"", 200), (bad, body, 403), (good, b"", 200)):
            connection.sendall((head + rest).encode() + content)
            answered, text = read_answer(stream)
            assert answered == status
            assert "ok" not in text, "it has taken a body for a request"


def test_ipv6_is_answered() -> None:
    try:
        with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")
    port, poll_port = free_ports(2)
    command = [sys.executable, "-m", "devserver", "--memory", "--host", "::1"]
    with Cluster() as cluster:
        server = cluster.launch(
            "v6", [*command, "--port", str(port), "--poll-port", str(poll_port)]
        )
        server.wait_for("Watch it at")
        url = f"http://[::1]:{port}/promises?id=*"
        assert httpx.get(url).status_code == 200
        assert httpx.get(url, headers={"origin": f"http://[::1]:{port}"}).status_code == 200
        assert httpx.get(url, headers={"host": "evil.test"}).status_code == 403


@pytest.mark.parametrize("name", ["http://proxy.test", "proxy.test:80", "a b", "", "*/x"])
def test_a_name_to_allow_has_no_scheme_and_no_port(name: str) -> None:
    ended = run("-m", "devserver", "--memory", f"--allow-host={name}")
    assert ended.wait() == 2
    assert ended.printed(f"{name!r} is not a host name without a scheme or a port")


APP = "http://app.test:3000"


@pytest.fixture(scope="module", params=["open", "password"])
def with_origin(request: pytest.FixtureRequest) -> Iterator[dict[str, Port]]:
    """Both ports of a server that allows one origin."""
    port, poll_port = free_ports(2)
    command = [sys.executable, "-m", "devserver", "--memory", "--allow-origin", APP]
    command += ["--port", str(port), "--poll-port", str(poll_port)]
    headers: tuple[str, ...] = ()
    if request.param == "password":
        command += ["--username", USER[0], "--password", USER[1]]
        headers = (BASIC,)
    with Cluster() as cluster:
        cluster.launch("with origin", command).wait_for("Watch it at")
        yield {
            "api": Port(port, "/promises?id=*", headers),
            "link": Port(port, "/tasks/heartbeat/t/1", headers),
            "poll": Port(poll_port, "/g/i", headers),
        }


@pytest.mark.parametrize("name", ["api", "link", "poll"])
def test_a_page_of_an_allowed_origin_is_answered(with_origin: dict[str, Port], name: str) -> None:
    port = with_origin[name]
    page = [BROWSER, f"origin: {APP}", "sec-fetch-site: cross-site"]
    for host in ("localhost:PORT", "app.test:3000"):
        assert port.ask(f"host: {host}", *page)[0] == 200
    # Without an Origin, such as from an image or a link, and from other origins.
    assert port.ask("host: localhost:PORT", BROWSER, "sec-fetch-site: cross-site")[0] == 403
    for origin in ("http://app.test", "https://app.test:3000", "http://evil.test", "null"):
        assert port.ask("host: localhost:PORT", BROWSER, f"origin: {origin}")[0] == 403
    both = [f"origin: {APP}", "origin: http://evil.test"]
    assert port.ask("host: localhost:PORT", BROWSER, *both)[0] == 403
    assert port.ask("host: evil.test", *page)[0] == 403


def test_a_page_of_an_allowed_origin_can_read_the_answers(with_origin: dict[str, Port]) -> None:
    port = with_origin["api"]
    url = f"http://localhost:{port.port}/promises"
    # The browser asks first, and never sends a password with that.
    asked = {
        "origin": APP,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,idempotency-key,strict",
    }
    answer = httpx.options(url, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    for name in asked["access-control-request-headers"].split(","):
        assert name in answer.headers["access-control-allow-headers"].lower()
    auth = USER if port.headers else None
    body = {"id": "by a page", "timeout": FAR}
    answer = httpx.post(url, json=body, headers={"origin": APP}, auth=auth)
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-expose-headers"] == "Resonate-Version"
    poll = f"http://localhost:{with_origin['poll'].port}/g/page"
    with httpx.stream("GET", poll, headers={"origin": APP}, auth=auth) as stream:
        assert stream.headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize("origin", ["app.test", "*", "null", "http://", "http://a/b", "ftp://a"])
def test_an_origin_to_allow_is_one(origin: str) -> None:
    ended = run("-m", "devserver", "--memory", f"--allow-origin={origin}")
    assert ended.wait() == 2
    assert ended.printed(f"{origin!r} is not an origin, such as http://localhost:3000")


@pytest.mark.parametrize("script", ["factorial_worker.py", "factorial_client.py"])
def test_the_scripts_say_which_option_allows_their_host(script: str) -> None:
    host = "http://127.1"  # the system takes this for 127.0.0.1, and the server for a name
    with Cluster() as cluster:
        command = ["env", f"RESONATE_HOST={host}", sys.executable, str(ROOT / script)]
        process = cluster.launch("lost", [*command, "3"] if "client" in script else command)
        assert process.wait() == 1
        assert len(process.errors) == 1
        assert "start devserver with --allow-host 127.1" in process.errors[0]


READS = [
    "/promises",
    "/promises?id=*",
    "/promises/known",
    "/promises/unknown",
    "/tasks/claim/__invoke:known/1",
    "/tasks/complete/__invoke:known/1",
    "/tasks/drop/__invoke:known/1",
    "/tasks/heartbeat/__invoke:known/1",
    "/schedules",
    "/schedules/unknown",
    "/ping",
    "/watch",
    "/poll/group/worker",
]


def test_head_has_no_effect(cluster: Cluster) -> None:
    with (
        httpx.Client(base_url=cluster.url) as api,
        Listener(cluster.poll_url, "group", "worker") as worker,
    ):
        tags = {"resonate:invoke": "poll://uni@group/worker"}
        api.post("/promises", json={"id": "known", "timeout": FAR, "tags": tags})
        task_id, counter = worker.next_task()
        for path in READS:
            assert api.head(path).status_code == 404, path
        for path in ("/group/worker", "/group/other"):
            assert httpx.head(f"{cluster.poll_url}{path}").status_code == 405
        claim = {"id": task_id, "counter": counter, "processId": "worker", "ttl": 60_000}
        assert api.post("/tasks/claim", json=claim).status_code == 201
        api.post("/promises", json={"id": "next", "timeout": FAR, "tags": tags})
        message: dict[str, Any] | None = worker.next()
        assert message is not None
        assert message["task"]["id"] == "__invoke:next"
