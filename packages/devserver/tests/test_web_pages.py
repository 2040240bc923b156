"""A web page of another site attacks the server from a real browser.

The server here records what reaches it, instead of answering it. The browser takes one of its names
for another machine, to which it sends no `Sec-Fetch-Site`; the same goes for two odd addresses.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import uvicorn
from playwright.sync_api import Error
from starlette.responses import HTMLResponse

from devserver.http.guard import Guard
from tests.browser import PATIENCE, chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page
    from starlette.types import Receive, Scope, Send

HOSTS = ["127.0.0.1", "server.test", "0.0.0.0", "[::ffff:127.0.0.1]"]  # noqa: S104
# Each sends a request, and returns what the page could read.
REQUESTS = [
    'fetch(api + "/promises", {method: "POST", mode: "no-cors", body: "{}"})',
    'fetch(api + "/promises", {method: "POST", headers: {"content-type": "application/json"}})',
    'fetch(api + "/promises/p", {method: "PATCH", body: "{}"})',
    'navigator.sendBeacon(api + "/promises", "{}")',
    'fetch(api + "/promises?id=*").then(r => r.text())',
    'fetch(api + "/promises?id=*", {mode: "no-cors", referrerPolicy: "no-referrer"})',
    'loaded("img", {src: api + "/schedules?id=*"})',
    'loaded("link", {rel: "stylesheet", href: api + "/promises?id=*"})',
    'loaded("link", {rel: "prefetch", href: api + "/promises?id=*"})',
    'loaded("video", {src: api + "/promises?id=*"})',
    'loaded("iframe", {sandbox: "allow-scripts", src: api + "/promises?id=*"})',
    'void open(api + "/promises?id=*", "_blank", "noopener")',
    'opened(new EventSource(api + "/watch"))',
    'opened(new WebSocket(api.replace("http", "ws") + "/watch"))',
    'loaded("img", {src: api + "/tasks/claim/t/1"})',
    'loaded("script", {src: api + "/tasks/complete/t/1"})',
    'loaded("iframe", {src: api + "/tasks/drop/t/1"})',
    'fetch(poll + "/group/id", {mode: "no-cors"})',
    'opened(new EventSource(poll + "/group/id"))',
    'loaded("img", {src: api + "/poll/group/id"})',
]
# Each leaves the attacker's page for the server.
NAVIGATIONS = [
    'submit("post", api + "/promises")',
    'submit("get", api + "/promises")',
    'void (location = api + "/promises?id=*")',
    'void (location = api + "/tasks/claim/t/1")',
    'void (location = poll + "/group/id")',
]
HELPERS = """
    const opened = source => new Promise((resolve, reject) => {
        source.onmessage = event => resolve(event.data);
        source.onerror = () => { source.close(); reject(new Error("not opened")); };
    });
    const loaded = (tag, properties) => new Promise((resolve, reject) => {
        const element = document.createElement(tag);
        element.onload = () => resolve(null);
        element.onerror = () => reject(new Error("not loaded"));
        for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
        document.body.append(element);
    });
    const submit = (method, action) => {
        const form = document.createElement("form");
        Object.assign(form, {method, enctype: "text/plain", action});
        form.append(Object.assign(document.createElement("input"), {name: "id", value: "*"}));
        document.body.append(form);
        form.submit();
    };
"""


class EvilPage(BaseHTTPRequestHandler):
    """An empty page; with `?URL`, a redirect to that URL."""

    def do_GET(self) -> None:
        _, _, url = self.path.partition("?")
        self.send_response(302 if url else 200)
        self.send_header("location" if url else "content-type", url or "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Evil</title><body>")

    def log_message(self, *_: object) -> None:
        pass


class Recorder:
    """A server whose guard is the real one.

    It notes when a request reaches it, and records those that the guard lets through.
    """

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.passed: list[str] = []
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.port, self.poll_port = (one.getsockname()[1] for one in self.sockets)
        self._guard = Guard(self._answer, ["server.test"], self.poll_port)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/favicon.ico":
            self.reached.set()
            await self._guard(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.passed.append(f"{scope['method']} {scope['path']}")
        await HTMLResponse("<title>Secret</title>")(scope, receive, send)


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    server = uvicorn.Server(
        uvicorn.Config(recorder.app, interface="asgi3", lifespan="off", log_config=None, ws="none")
    )
    thread = threading.Thread(target=server.run, args=[recorder.sockets])
    thread.start()
    yield recorder
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def attacker() -> Iterator[str]:
    """The address of the attacker's page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EvilPage) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://evil.test:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    rules = "MAP evil.test 127.0.0.1, MAP server.test 127.0.0.1"
    with chromium(f"--host-resolver-rules={rules}") as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, recorder: Recorder, attacker: str) -> Iterator[Page]:
    """The attacker's page. At the end of the test, no request may have passed the guard."""
    recorder.reached.clear()
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(attacker)
        yield page
    passed = recorder.passed.copy()
    recorder.passed.clear()
    assert passed == []


def run(page: Page, attack: str, host: str, recorder: Recorder) -> None:
    """Run an attack in a page, which must not read an answer."""
    script = f"async ([api, poll]) => {{ {HELPERS}; return await {attack}; }}"
    urls = [f"http://{host}:{port}" for port in (recorder.port, recorder.poll_port)]
    with suppress(Error):  # the page was not allowed to read the answer, or has left
        assert "Secret" not in str(page.evaluate(script, urls))


@pytest.mark.parametrize("host", HOSTS)
def test_no_request_of_a_page_passes(
    page: Page, recorder: Recorder, attacker: str, host: str, subtests: pytest.Subtests
) -> None:
    for attack in REQUESTS:
        with subtests.test(attack):
            recorder.reached.clear()
            run(page, attack, host, recorder)
            assert recorder.reached.wait(PATIENCE / 1000)
            assert recorder.passed == []
    for attack in NAVIGATIONS:
        with subtests.test(attack):
            page.goto(attacker)
            with page.expect_response(lambda answer: not answer.url.startswith(attacker)) as answer:
                run(page, attack, host, recorder)
            assert answer.value.status == 403
            page.wait_for_url(answer.value.url)


@pytest.mark.parametrize("kind", ["prefetch", "prerender"])
@pytest.mark.parametrize("path", ["/promises?id=*", "/tasks/claim/t/1"])
def test_no_speculation_passes(page: Page, recorder: Recorder, kind: str, path: str) -> None:
    """The browser sends `Sec-Fetch-Site: none`, as for an address that you type."""
    page.evaluate(
        """([kind, url]) => {
            const script = document.createElement("script");
            script.type = "speculationrules";
            script.text = JSON.stringify({[kind]: [{urls: [url], eagerness: "immediate"}]});
            document.body.append(script);
        }""",
        [kind, f"http://127.0.0.1:{recorder.port}{path}"],
    )
    assert recorder.reached.wait(PATIENCE / 1000)


def test_a_page_cannot_rebind_its_name(page: Page, recorder: Recorder) -> None:
    """The attacker's name now has the server's address, so the server is of the page's origin."""
    page.goto(f"http://evil.test:{recorder.port}/")
    for attack in REQUESTS:
        run(page, attack, "evil.test", recorder)


def test_a_typed_address_cannot_lead_to_a_task(
    page: Page, recorder: Recorder, attacker: str
) -> None:
    """The browser sends `Sec-Fetch-Site: none`, also for a link in a mail, and after redirects."""
    api, poll = (f"http://127.0.0.1:{port}" for port in (recorder.port, recorder.poll_port))
    for url in (f"{api}/tasks/claim/t/1", f"{api}/poll/group/id", f"{poll}/group/id"):
        for address in (url, f"{attacker}?{url}"):
            recorder.reached.clear()
            page.goto(address)
            assert recorder.reached.wait(PATIENCE / 1000)


def test_a_link_opens_the_page(page: Page, recorder: Recorder, attacker: str) -> None:
    for host in ("127.0.0.1", "server.test"):
        url = f"http://{host}:{recorder.port}/"
        page.goto(attacker)
        page.evaluate("url => { location = url }", url)
        page.wait_for_url(url)
        assert page.title() == "Secret"
    assert recorder.passed == ["GET /", "GET /"]
    recorder.passed.clear()
