"""The page, as a person sees it in a browser."""

from __future__ import annotations

import base64
import re
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import Browser, Error, Locator, Page, expect

from cluster import Cluster, free_ports
from devserver.models import CreatePromise
from devserver.store import promises
from devserver.store.database import open_database, transaction
from devserver.store.promises import Caller
from tests.browser import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster import Process

FAR = 4_000_000_000_000
HOSTILE = """<img src=x onerror="window.hacked = 'yes'">"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def page(browser: Browser, cluster: Cluster) -> Iterator[Page]:
    """The page of the test's own server; an error in its scripts fails the test."""
    with opened(browser, cluster.url) as page:
        yield page


@contextmanager
def opened(browser: Browser, url: str, password: str | None = None) -> Iterator[Page]:
    credentials = {"username": "me", "password": password} if password else None
    context = browser.new_context(http_credentials=credentials)  # type: ignore[arg-type]
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    expect(page.locator("#link")).to_have_text("live")
    yield page
    context.close()
    assert errors == []


def row_of(page: Page, promise_id: str) -> Locator:
    """Find the row of a promise, if it is on the screen."""
    return page.get_by_role("treeitem").filter(
        has=page.locator(".id").get_by_text(promise_id, exact=True)
    )


def create(cluster: Cluster, promise_id: str, **tags: str) -> None:
    body = {"id": promise_id, "timeout": FAR, "tags": {f"resonate:{k}": tags[k] for k in tags}}
    assert httpx.post(f"{cluster.url}/promises", json=body).status_code == 201


def resolve(cluster: Cluster, promise_id: str, value: str) -> None:
    body = {"state": "RESOLVED", "value": {"data": base64.b64encode(value.encode()).decode()}}
    assert httpx.patch(f"{cluster.url}/promises/{promise_id}", json=body).status_code == 201


def launch(cluster: Cluster, *arguments: str) -> tuple[Process, str]:
    """Start one more server, and return it and where it is."""
    port, poll_port = free_ports(2)
    command = [sys.executable, "-m", "devserver", "--port", str(port)]
    command += ["--poll-port", str(poll_port), *arguments]
    server = cluster.launch("another server", command)
    server.wait_for("Watch it at")
    return server, f"http://127.0.0.1:{port}"


def test_a_kill_in_the_middle_is_told_in_full(page: Page, cluster: Cluster) -> None:
    workers = cluster.start_workers(3, pace=0.3)
    connected = page.locator("#connected")
    for worker in workers:
        expect(connected).to_contain_text(f"pid {worker.pid}")
    client = cluster.start_client(12)
    victim = cluster.wait_for_worker("factorial(6)")
    expect(row_of(page, "factorial-6")).to_be_visible()
    victim.kill()
    held = re.findall(r"^factorial\((\d+)\)$", "\n".join(victim.output), re.MULTILINE)
    name = f"pid {victim.pid}"

    # Who was killed, and what it held.
    gone = page.locator("#gone > li")
    expect(gone).to_contain_text(name)
    expect(connected).not_to_contain_text(name)
    news = page.locator("#news")
    ids = ", ".join(f"factorial-{n}" for n in held)
    expect(news).to_contain_text(f"{name} went away; it held {ids}")
    assert client.wait() == 0

    # Who took over, and the result.
    expect(news).to_contain_text("factorial-12 = 479001600")
    expect(gone.locator(".calls li")).to_have_count(len(held))
    for n in held:
        (heir,) = [w for w in workers if w is not victim and f"factorial({n})" in w.output]
        expect(gone).to_contain_text(f"factorial-{n} ↪ pid {heir.pid} took over")
        expect(news).to_contain_text(f"pid {heir.pid} took over factorial-{n} from {name}")
        row = row_of(page, f"factorial-{n}")
        expect(row).to_contain_text("resolved")
        expect(row).to_contain_text(f"pid {heir.pid}")
        expect(row).to_contain_text(f"↪ from {name}")
    expect(page.locator("#promises .takeover:not(:empty)")).to_have_count(len(held))
    expect(page.locator("#resolved")).to_have_text("12")

    # One who comes only now finds the same.
    page.reload()
    expect(gone).to_contain_text(name)
    expect(gone.locator(".calls li")).to_have_count(len(held))
    expect(gone).to_contain_text(f"held {len(held)}")


def test_a_chain_is_shown_from_its_root_down(page: Page, cluster: Cluster) -> None:
    create(cluster, "factorial-2")
    create(cluster, "factorial-1", parent="factorial-2")
    create(cluster, "factorial-2.1", timeout="true")
    create(cluster, "another")
    rows = page.get_by_role("treeitem")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("another")
    expect(rows.nth(1)).to_contain_text("factorial-2")
    expect(rows.nth(1)).to_contain_text("sleeps")
    expect(rows.nth(2)).to_contain_text("factorial-1")
    assert [row.get_attribute("aria-level") for row in rows.all()] == ["1", "1", "2"]
    expect(page.locator("#timers")).to_have_text("1")
    resolve(cluster, "factorial-1", "1")
    expect(rows.nth(2)).to_contain_text("✓ resolved")


def test_what_others_write_is_text(page: Page, cluster: Cluster) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    create(cluster, HOSTILE, invoke=HOSTILE, parent=HOSTILE + "2")
    resolve(cluster, HOSTILE, HOSTILE)
    row = page.get_by_role("treeitem")
    expect(row.locator(".id")).to_have_text(HOSTILE)
    expect(row.locator(".what")).to_have_text(HOSTILE)
    page.get_by_label("Find by id").fill("<img")
    page.get_by_role("button", name=HOSTILE).click()
    details = page.get_by_role("dialog")
    expect(details.get_by_role("heading")).to_have_text(HOSTILE)
    expect(details.locator("dd", has_text=HOSTILE)).not_to_have_count(0)
    page.evaluate(  # a round through the queue in which an onerror would be
        "() => new Promise((done) => setTimeout(done))"
    )
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked") is None
    assert {url.split("?")[0].rsplit("/", 1)[0] for url in asked} == {
        cluster.url,
        f"{cluster.url}/promises",
    }


def test_even_html_in_the_page_runs_no_script(page: Page) -> None:
    blocked = page.evaluate(
        """(html) => new Promise((done) => {
            addEventListener("securitypolicyviolation", (event) => {
                if (event.violatedDirective.startsWith("script")) done(event.violatedDirective);
            });
            document.body.insertAdjacentHTML("beforeend", html);
        })""",
        HOSTILE,
    )
    assert blocked == "script-src-attr"
    assert page.evaluate("window.hacked") is None


def test_comes_back_by_itself_after_the_server(page: Page, cluster: Cluster) -> None:
    create(cluster, "before")
    rows = page.get_by_role("treeitem")
    expect(rows).to_have_count(1)
    page.evaluate("window.same = true")
    cluster.server.kill()
    expect(page.get_by_role("alert")).to_contain_text("is gone")
    expect(page.locator("#link")).to_have_text("server gone")
    expect(rows).to_contain_text("before")
    cluster.start_server()
    expect(page.locator("#link")).to_have_text("live")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#news")).to_contain_text("The server has started again")
    create(cluster, "after")
    expect(rows).to_have_count(2)
    assert page.evaluate("window.same"), "it was not loaded again"


def test_workers_of_a_server_that_was_restarted_have_not_gone(page: Page, cluster: Cluster) -> None:
    (worker,) = cluster.start_workers(1)
    name = page.locator("#connected").get_by_text(f"pid {worker.pid}")
    expect(name).to_be_visible()
    cluster.server.kill()
    cluster.start_server()
    worker.wait_for("Connected to the server again")
    expect(page.locator("#news")).to_contain_text("The server has started again")
    expect(name).not_to_contain_text("not back yet")
    expect(page.locator("#news")).not_to_contain_text("went away")


def test_an_empty_store_says_what_to_type(page: Page, cluster: Cluster) -> None:
    hint = page.locator("#empty")
    expect(hint).to_contain_text("uv run python factorial_worker.py")
    expect(hint).to_contain_text("uv run python factorial_client.py 10")
    create(cluster, "p")
    expect(hint).to_be_hidden()


def test_a_promise_is_found_and_shown_in_full(page: Page, cluster: Cluster) -> None:
    param = base64.b64encode(b'{"func": "f", "args": [12345678901234567890]}').decode()
    body = {"id": "a/b?c#d", "timeout": FAR, "param": {"data": param}, "tags": {"colour": "blue"}}
    httpx.post(f"{cluster.url}/promises", json=body)
    create(cluster, "other")
    expect(page.get_by_role("treeitem")).to_have_count(2)
    page.get_by_label("Find by id").fill("b?c")
    expect(page.get_by_role("heading", name="1 found")).to_be_visible()
    page.get_by_role("button", name="a/b?c#d").click()
    details = page.get_by_role("dialog")
    expect(details).to_contain_text('{"func": "f", "args": [12345678901234567890]}')
    expect(details).to_contain_text("blue")
    expect(details).to_contain_text("not yet")
    body = {"state": "REJECTED", "value": {"data": "/w=="}}
    httpx.patch(f"{cluster.url}/promises/a/b%3Fc%23d", json=body)
    expect(details).to_contain_text("1 bytes, no text: ff")
    expect(details).to_contain_text("rejected")
    page.get_by_role("button", name="Close").click()
    expect(details).to_be_hidden()
    page.get_by_label("Find by id").fill("nowhere")
    expect(page.get_by_role("heading", name="No promise has “nowhere” in its id")).to_be_visible()
    page.get_by_label("Find by id").fill("")
    expect(page.locator("#results")).to_be_hidden()


def test_thousands_of_promises_are_no_burden(
    browser: Browser, cluster: Cluster, tmp_path: Path
) -> None:
    path = str(tmp_path / "many.db")
    with closing(open_database(path)) as db, transaction(db):
        for n in range(5000, 0, -1):
            tags = {"resonate:parent": f"deep-{n + 1}"} if n < 5000 else {}
            request = CreatePromise(f"deep-{n}", timeout=FAR, tags=tags)
            promises.create(db, request, Caller(), 1)
    _, url = launch(cluster, "--db", path)
    with opened(browser, url) as page:
        expect(page.locator("#pending")).to_have_text("5,000")
        rows = page.get_by_role("treeitem")
        expect(rows.first).to_contain_text("deep-5000")
        page.mouse.wheel(0, 10_000_000)
        last = row_of(page, "deep-1")
        expect(last).to_be_in_viewport()
        assert last.get_attribute("aria-level") == "5000"
        assert last.get_attribute("aria-posinset") == "5000"
        assert last.bounding_box()["x"] < 200, "it is not indented off the screen"  # type: ignore[index]
        assert page.locator("*").count() < 1000
        httpx.patch(f"{url}/promises/deep-1", json={"state": "RESOLVED"})
        expect(last).to_contain_text("resolved")


def test_the_keyboard_reaches_everything(page: Page, cluster: Cluster) -> None:
    for n in range(200):
        create(cluster, f"p-{n}")
    expect(page.locator("#pending")).to_have_text("200")
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('[role=treeitem]')"):
            break
    focused = page.locator("[role=treeitem]:focus")
    expect(focused).to_contain_text("p-199")
    page.keyboard.press("ArrowDown")
    expect(focused).to_contain_text("p-198")
    page.keyboard.press("End")
    expect(focused).to_contain_text("p-0")
    expect(focused).to_be_in_viewport()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("pending")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(focused).to_contain_text("p-0")
    resolve(cluster, "p-0", "1")
    expect(focused).to_contain_text("resolved")


def test_the_page_asks_for_the_password(browser: Browser, cluster: Cluster) -> None:
    _, url = launch(cluster, "--memory", "--username", "me", "--password", "secret")
    context = browser.new_context()
    with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        context.new_page().goto(url)
    context.close()
    with opened(browser, url, password="secret") as page:  # noqa: S106
        expect(page.locator("#empty")).to_be_visible()


def test_nothing_is_wider_than_a_phone(page: Page, cluster: Cluster) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    create(cluster, "x" * 300, invoke=f"poll://any@{'g' * 300}")
    page.get_by_role("treeitem").click()
    expect(page.get_by_role("dialog")).to_contain_text("pending")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
