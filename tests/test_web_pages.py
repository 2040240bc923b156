"""Web pages of other sites attack the server from a real browser.

The attacker's page comes from a public address or from another port of this machine. The server
listens on this machine, or under a name that the browser takes for another machine; then the
browser sends no `Sec-Fetch-Site`.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Error, expect

from demo.cluster import Cluster, free_ports
from tests.api import FAR
from tests.browser import PATIENCE, chromium
from tests.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page


# Each returns when the browser is done with the request, and returns what the page could read.
REQUESTS = {
    "create a promise": """fetch(api + "/promises", {
        method: "POST", mode: "no-cors", credentials: "include",
        body: JSON.stringify({id: name + "-evil", timeout})})""",
    "resolve a promise": """fetch(api + "/promises/" + name, {
        method: "PATCH", credentials: "include", body: '{"state": "RESOLVED"}'})""",
    "read the promises": """fetch(api + "/promises?id=*", {credentials: "include"})
        .then(r => r.text())""",
    "read the promises, opaquely": """fetch(api + "/promises?id=*", {
        mode: "no-cors", credentials: "include"}).then(r => r.text())""",
    "watch": """opened(new EventSource(api + "/watch", {withCredentials: true}))""",
    "watch by a socket": """opened(new WebSocket(api.replace("http", "ws") + "/watch"))""",
    "claim by an image": """loaded("img", api + "/tasks/claim/" + task)""",
    "claim and complete by images": """loaded("img", api + "/tasks/claim/" + task)
        .catch(() => loaded("img", api + "/tasks/complete/" + task))""",
    "drop by a frame": """loaded("iframe", api + "/tasks/drop/" + task)""",
    "claim by a script": """loaded("script", api + "/tasks/claim/" + task)""",
    "join the group": """fetch(poll + "/" + name + "/intruder", {
        mode: "no-cors", credentials: "include"})""",
    "join and read": """opened(new EventSource(poll + "/" + name + "/intruder",
        {withCredentials: true}))""",
}
# Each leaves the attacker's page for the server.
NAVIGATIONS = {
    "create a promise by a form": """submit(api + "/promises",
        {id: name + "-evil", timeout})""",
    "resume by a form": """submit(api + "/promises/callback/" + name,
        {rootPromiseId: name + "-root", timeout, recv: "poll://any@" + name})""",
    "claim by a link": """location = api + "/tasks/claim/" + task""",
    "complete by a link": """location = api + "/tasks/complete/" + task""",
    "join the group by a link": """location = poll + "/" + name + "/intruder\"""",
}
HELPERS = """
    const opened = source => new Promise((resolve, reject) => {
        source.onmessage = event => resolve(event.data);
        source.onerror = () => { source.close(); reject(new Error("no stream")); };
    });
    const loaded = (tag, src) => new Promise((resolve, reject) => {
        const element = document.createElement(tag);
        element.onload = () => resolve(null);
        element.onerror = () => reject(new Error("not loaded"));
        element.src = src;
        document.body.append(element);
    });
    const submit = (action, content) => {
        const form = document.createElement("form");
        Object.assign(form, {method: "post", enctype: "text/plain", action});
        const input = document.createElement("input");
        // A text/plain form sends `name=value`.
        input.name = JSON.stringify(content).replace(/}$/, ',"x":"');
        input.value = '"}';
        form.append(input);
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


@dataclass(frozen=True)
class Target:
    """A server, as the browser reaches it and as the test does."""

    api: str
    poll: str
    local_poll: str
    client: httpx.Client
    auth: tuple[str, str] | None

    def members(self, group: str) -> list[str]:
        """Return the names of the processes that are connected in a group."""
        with self.client.stream("GET", "/watch") as response:
            line = next(line for line in response.iter_lines() if line.startswith("data: "))
        event = json.loads(line.removeprefix("data: "))
        return [process["id"] for process in event["processes"] if process["group"] == group]


@dataclass(frozen=True)
class Victim:
    """A promise whose task was sent to the process `worker`, which has not claimed it yet."""

    target: Target
    name: str
    task: tuple[str, int]

    @property
    def arguments(self) -> dict[str, object]:
        """The arguments of the attacks."""
        task_id, counter = self.task
        return {
            "api": self.target.api,
            "poll": self.target.poll,
            "name": self.name,
            "task": f"{task_id}/{counter}",
            "timeout": FAR,
        }

    def check_untouched(self) -> None:
        client = self.target.client
        found = client.get("/promises", params={"id": f"{self.name}*"}).json()["promises"]
        assert [(p["id"], p["state"]) for p in found] == [(self.name, "PENDING")]
        assert self.target.members(self.name) == ["worker"]
        task_id, counter = self.task
        claim = {"id": task_id, "counter": counter, "processId": "worker", "ttl": 60_000}
        assert client.post("/tasks/claim", json=claim).status_code == 201
        callback = {
            "rootPromiseId": f"{self.name}-root",
            "timeout": FAR,
            "recv": "poll://any@nobody",
        }
        created = client.post(f"/promises/callback/{self.name}", json=callback)
        assert created.status_code == 201, "it existed already"


@contextmanager
def victim_of(target: Target) -> Iterator[Victim]:
    name = f"victim-{uuid4().hex}"
    with Listener(target.local_poll, name, "worker", auth=target.auth) as listener:
        body = {"id": name, "timeout": FAR, "tags": {"resonate:invoke": f"poll://any@{name}"}}
        assert target.client.post("/promises", json=body).status_code == 201
        yield Victim(target, name, listener.next_task())


@pytest.fixture(scope="module")
def attackers() -> Iterator[dict[str, str]]:
    """The pages of two attackers; the browser takes one for a page at a public address."""
    with ExitStack() as stack:
        pages = {}
        for name in ("public", "neighbour"):
            server = ThreadingHTTPServer(("127.0.0.1", 0), EvilPage)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever).start()
            pages[name] = f"http://evil.test:{server.server_port}/"
        yield pages


@pytest.fixture(scope="module")
def browser(attackers: dict[str, str]) -> Iterator[Browser]:
    public = urlsplit(attackers["public"]).port
    with chromium(
        "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP server.test 127.0.0.1",
        f"--ip-address-space-overrides=127.0.0.1:{public}=public",
    ) as browser:
        yield browser


@pytest.fixture(scope="module", params=["loopback", "password", "network"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    port, poll_port = free_ports(2)
    command = [sys.executable, "-m", "devserver", "--memory"]
    command += ["--port", str(port), "--poll-port", str(poll_port)]
    auth = None if request.param == "loopback" else ("me", "secret")
    if auth is not None:
        command += ["--username", auth[0], "--password", auth[1]]
    host = "127.0.0.1"
    if request.param == "network":
        host = "server.test"
        command += ["--allow-host", host]
    local = f"http://127.0.0.1:{port}"
    with Cluster() as cluster, httpx.Client(base_url=local, auth=auth) as client:
        cluster.launch("target", command).wait_for("Watch it at")
        yield Target(
            api=f"http://{host}:{port}",
            poll=f"http://{host}:{poll_port}",
            local_poll=f"http://127.0.0.1:{poll_port}",
            client=client,
            auth=auth,
        )


@pytest.fixture
def context(browser: Browser, target: Target) -> Iterator[BrowserContext]:
    """A browser that has opened the server's ports, and was given the password if there is one."""
    context = browser.new_context(
        http_credentials={"username": target.auth[0], "password": target.auth[1]}
        if target.auth
        else None
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    for url in (f"{target.api}/", f"{target.poll}/"):
        page.goto(url)
    yield context
    context.close()


@pytest.fixture(params=["public", "neighbour"])
def attacker(request: pytest.FixtureRequest, attackers: dict[str, str]) -> str:
    """The address of an attacker's page."""
    return attackers[request.param]


def run(page: Page, attack: str, arguments: dict[str, object]) -> Any:
    """Run an attack in a page, and return what the page could read."""
    script = f"async ({{api, poll, name, task, timeout}}) => {{ {HELPERS}; return await {attack} }}"
    try:
        return page.evaluate(script, arguments)
    except Error as e:  # the page was not allowed to read the answer
        return e.message


def test_a_page_cannot_send_a_request(
    context: BrowserContext, target: Target, attacker: str, subtests: pytest.Subtests
) -> None:
    page = context.new_page()
    page.goto(attacker)
    for name, attack in REQUESTS.items():
        with subtests.test(name), victim_of(target) as victim:
            assert victim.name not in str(run(page, attack, victim.arguments))
            victim.check_untouched()


def test_a_page_cannot_navigate_to_the_server(
    context: BrowserContext, target: Target, attacker: str, subtests: pytest.Subtests
) -> None:
    ports = target.api, target.poll
    for name, attack in NAVIGATIONS.items():
        # A page of its own: an earlier attack's navigation may still be under way.
        with subtests.test(name), victim_of(target) as victim, context.new_page() as page:
            page.goto(attacker)
            with page.expect_response(lambda response: response.url.startswith(ports)) as answer:
                run(page, f"({attack}, null)", victim.arguments)
            assert answer.value.status == 403
            victim.check_untouched()


def test_a_typed_address_cannot_lead_to_a_task(
    context: BrowserContext, target: Target, attacker: str, subtests: pytest.Subtests
) -> None:
    """The browser sends `Sec-Fetch-Site: none`, also for a link in a mail, and after redirects."""
    page = context.new_page()
    for path in ("claim", "complete", "drop", "heartbeat", "group"):
        with subtests.test(path), victim_of(target) as victim:
            known = victim.arguments
            url = f"{target.api}/tasks/{path}/{known['task']}"
            if path == "group":
                url = f"{target.poll}/{victim.name}/intruder"
            for address in (url, f"{attacker}?{url}"):
                answer = page.goto(address)
                assert answer is not None
                assert answer.status == 403
            victim.check_untouched()


@pytest.mark.parametrize("port", ["api", "poll"])
def test_a_page_cannot_rebind_its_name(
    context: BrowserContext, target: Target, port: str, subtests: pytest.Subtests
) -> None:
    """The attacker's name now has the server's address, so the server is of the page's origin."""
    rebound = {
        name: f"http://evil.test:{urlsplit(url).port}"
        for name, url in (("api", target.api), ("poll", target.poll))
    }
    page = context.new_page()
    # Chromium stops a page of a public address here. One of a local address it does not stop,
    # and the script has to run in such a page: in the server's own answer.
    page.goto(f"{rebound[port]}/")
    for name, attack in REQUESTS.items():
        with subtests.test(name), victim_of(target) as victim:
            assert victim.name not in str(run(page, attack, victim.arguments | rebound))
            victim.check_untouched()


def test_a_link_opens_the_servers_page(
    context: BrowserContext, target: Target, attacker: str
) -> None:
    page = context.new_page()
    page.goto(attacker)
    page.evaluate("url => { location = url }", f"{target.api}/")
    expect(page.locator("#link")).to_have_text("live")


def test_a_page_cannot_run_code_in_a_worker(
    browser: Browser, attackers: dict[str, str], tmp_path: Path
) -> None:
    """The plain SDK decodes this header with jsonpickle, which calls the function in it."""
    trace = tmp_path / "trace"
    call = {"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(trace)]}]}
    data = base64.b64encode(b'{"func": "factorial", "args": [3], "kwargs": {}}').decode()
    promise = {
        "id": "evil",
        "timeout": FAR,
        "param": {"headers": {"resonate:format-py": json.dumps(call)}, "data": data},
        "tags": {"resonate:invoke": "poll://any@factorial-worker"},
    }
    attack = f"(submit(api + '/promises', {json.dumps(promise)}), null)"
    with Cluster() as cluster, closing(browser.new_page()) as page:
        cluster.start_workers(1)
        page.goto(attackers["public"])
        with page.expect_response(lambda response: response.url.startswith(cluster.url)) as answer:
            run(page, attack, {"api": cluster.url})
        assert answer.value.status == 403
        assert httpx.get(f"{cluster.url}/promises/evil").status_code == 404
        # The only worker answers, so it has handled all that came before.
        client = cluster.start_client(3)
        assert client.wait() == 0, client.errors
        assert not trace.exists()
