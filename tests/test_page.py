"""The page, as a user sees it in a browser."""

from __future__ import annotations

import base64
import json
import re
import signal
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from msgspec import Raw
from playwright.sync_api import Browser, Error, Locator, Page, expect

from demo.cluster import Cluster, free_ports
from devserver.models import ClaimTask, CompletePromise, CreateCallback, CreatePromise, TaskRef
from devserver.store import processes, promises, tasks
from devserver.store.database import open_database, transaction
from devserver.store.promises import Caller
from tests.api import FAR
from tests.browser import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.processes import Process
    from devserver.store.database import Database

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
    """Find the row of a call, if it is on the screen."""
    return page.locator(f"li.call[data-id={json.dumps(promise_id)}]")


def create(cluster: Cluster, promise_id: str, **tags: str) -> None:
    body = {"id": promise_id, "timeout": FAR, "tags": {f"resonate:{k}": tags[k] for k in tags}}
    assert httpx.post(f"{cluster.url}/promises", json=body).status_code == 201


def resolve(cluster: Cluster, promise_id: str, value: str) -> None:
    body = {"state": "RESOLVED", "value": {"data": base64.b64encode(value.encode()).decode()}}
    assert httpx.patch(f"{cluster.url}/promises/{promise_id}", json=body).status_code == 201


def hold(cluster: Cluster, promise_id: str) -> None:
    """Create the promise of a call before its caller does: the caller waits for `resolve`."""
    body = {"id": promise_id, "timeout": FAR}
    headers = {"idempotency-key": promise_id}
    answer = httpx.post(f"{cluster.url}/promises", json=body, headers=headers)
    assert answer.status_code == 201


def start_and_hold(
    page: Page, cluster: Cluster, n: int, *, at: int, workers: int
) -> tuple[Process, Process]:
    """Start workers and a client for factorial(n), and wait until a call waits for a held one.

    Returns:
        The client, and the worker that runs the waiting call.
    """
    hold(cluster, f"factorial-{at}")
    cluster.start_workers(workers)
    client = cluster.start_client(n)
    worker = cluster.wait_for_worker(f"factorial({at + 1})")
    expect(row_of(page, f"factorial-{at + 1}").locator(".what")).to_have_text(f"waits for {at}")
    return client, worker


def launch(cluster: Cluster, *arguments: str) -> tuple[Process, str]:
    """Start one more server, and return it and where it is."""
    port, poll_port = free_ports(2)
    command = [sys.executable, "-m", "devserver", "--port", str(port)]
    command += ["--poll-port", str(poll_port), *arguments]
    server = cluster.launch("another server", command)
    server.wait_for("Watch it at")
    return server, f"http://127.0.0.1:{port}"


def held_by(victim: Process) -> list[str]:
    """The ids of the calls that a worker has started, if none of them has finished."""
    started = re.findall(r"^factorial\((\d+)\)$", "\n".join(victim.output), re.MULTILINE)
    return [f"factorial-{n}" for n in started]


def test_the_page_describes_a_kill_in_full(page: Page, cluster: Cluster) -> None:
    hold(cluster, "factorial-5")
    workers = cluster.start_workers(3)
    for worker in workers:
        expect(page.locator("#workers")).to_contain_text(f"(pid {worker.pid})")
    client = cluster.start_client(9)
    victim = cluster.wait_for_worker("factorial(6)")
    expect(row_of(page, "factorial-6").locator(".what")).to_have_text("waits for 5")
    victim.kill()
    held = held_by(victim)
    names = {w: f"worker {i}" for i, w in enumerate(workers, 1)}

    # Which worker died when, and what it had.
    sentence = page.locator("#sentence")
    numbers = [promise_id.removeprefix("factorial-") for promise_id in held]
    had = ", ".join(numbers[:-1]) + f" and {numbers[-1]}" if numbers[1:] else numbers[0]
    start = rf"Worker {names[victim][-1]} \(pid {victim.pid}\) died at \d+\.\d\ss\. It had {had}"
    expect(sentence).to_have_text(re.compile(start))
    expect(page.locator("#workers .died")).to_contain_text(f"pid {victim.pid}")
    expect(page.locator("li.run text.killed")).to_contain_text(f"✕ {names[victim]} died at")
    for promise_id in held:
        expect(row_of(page, promise_id).locator("text.cross")).to_have_text("✕")
    expect(sentence).to_contain_text("not need a worker until")
    resolve(cluster, "factorial-5", "120")

    # Which workers took over, how long that took, and the result.
    assert client.wait() == 0
    expect(sentence).to_contain_text("factorial-9 = 362880 after")
    expect(page.locator("#resolved")).to_have_text("5")
    page.get_by_text("All events").click()
    for promise_id in held:
        n = promise_id.removeprefix("factorial-")
        (heir,) = [w for w in workers if w is not victim and f"factorial({n})" in w.output]
        expect(row_of(page, promise_id).locator(".worker")).to_have_text(f"↪ {names[heir]}")
        expect(row_of(page, promise_id).locator("text.taken")).to_contain_text("↪")
        expect(page.locator("#news")).to_contain_text(
            f"{names[heir]} took over {promise_id} from {names[victim]}"
        )
        expect(sentence).to_have_text(re.compile(rf"{names[heir]} took over .*\b{n}\b"))
    expect(page.locator("#promises text.taken")).to_have_count(len(held))

    # A reload keeps the story, the names and the colours.
    story, news = sentence.inner_text(), page.locator("#news").inner_text()
    colours = [lane.get_attribute("class") for lane in page.locator("#workers li").all()]
    page.reload()
    expect(sentence).to_have_text(story)
    page.get_by_text("All events").click()
    expect(page.locator("#news")).to_have_text(news, use_inner_text=True)
    assert [row.get_attribute("class") for row in page.locator("#workers li").all()] == colours


def test_a_call_says_which_shared_call_it_waits_for(page: Page, cluster: Cluster) -> None:
    hold(cluster, "factorial-6")
    cluster.start_workers(2)
    cluster.start_client(8)
    expect(row_of(page, "factorial-8").locator(".what")).to_have_text("waits for 7")
    cluster.start_client(10)
    caller = row_of(page, "factorial-9")
    expect(caller.locator(".what")).to_have_text("waits for 8")
    expect(caller.locator(".refs")).to_have_text("↗ 8")
    caller.locator("[data-ref]").click()
    expect(page.locator("li:focus")).to_have_attribute("data-id", "factorial-8")


def test_a_worker_that_leaves_with_nothing_to_do_has_not_died(page: Page, cluster: Cluster) -> None:
    one, _two = cluster.start_workers(2)
    assert cluster.start_client(6).wait() == 0
    expect(page.locator("#resolved")).to_have_text("6")
    one.send_signal(signal.SIGINT)
    lane = page.locator("#workers li").filter(has_text=f"pid {one.pid}")
    expect(lane.locator(".status")).to_have_text("disconnected")
    expect(page.locator("#others")).to_have_text("")
    assert page.locator(".died, text.cross, text.killed").count() == 0
    assert "✕" not in page.locator("#promises").inner_text()
    assert "died" not in page.locator("#sentence").inner_text()


def test_a_waiting_call_of_a_dead_worker_needs_no_worker(page: Page, cluster: Cluster) -> None:
    _, worker = start_and_hold(page, cluster, 3, at=1, workers=1)
    worker.kill()
    sentence = page.locator("#sentence")
    expect(sentence).to_contain_text(
        "It had 3 and 2; they do not need a worker until 2 and 1 have finished"
    )
    resolve(cluster, "factorial-1", "1")
    expect(sentence).to_contain_text("3 does not need a worker until 2 has finished")
    expect(sentence).to_contain_text("2 waits for a worker")
    expect(row_of(page, "factorial-3").locator(".orphan")).to_be_visible()
    expect(row_of(page, "factorial-2").locator(".needed")).to_be_visible()


def test_a_worker_that_hangs_is_named_before_its_time_is_up(page: Page, cluster: Cluster) -> None:
    (worker,) = cluster.start_workers(1)
    expect(page.locator("#workers")).to_contain_text(f"pid {worker.pid}")
    worker.send_signal(signal.SIGSTOP)
    create(cluster, "other")
    expect(row_of(page, "other")).to_be_visible()
    # A script in the page records the words, because they are visible for only a few seconds.
    page.evaluate(
        """() => {
            window.shown = "";
            const remember = () => { window.shown += document.querySelector("main").innerText; };
            new MutationObserver(remember).observe(document.querySelector("main"), {
                subtree: true, childList: true, characterData: true,
            });
        }"""
    )
    create(cluster, "stuck", invoke="poll://any@factorial-worker")
    expect(page.locator("#workers .silent .status")).to_have_text("does not answer")
    shown = page.evaluate("window.shown")
    assert re.search(r"sent to worker 1 \d+\.\d s ago, not claimed", shown)
    said = rf"Worker 1 \(pid {worker.pid}\) does not answer: it has not claimed stuck, which"
    assert re.search(said, shown)
    worker.send_signal(signal.SIGCONT)


def test_ids_are_cut_where_they_are_the_same(page: Page, cluster: Cluster) -> None:
    for end in ("first", "second"):
        create(cluster, f"a-very-long-name-of-a-call-that-does-not-fit-{end}")
    rows = page.get_by_role("treeitem")
    expect(rows).to_have_count(2)
    for row in rows.all():
        tail = row.locator(".tail")
        assert tail.evaluate("it => it.scrollWidth <= it.clientWidth"), "the end is shown whole"
    assert [row.locator(".tail").inner_text() for row in rows.all()] == ["t-second", "it-first"]


def test_a_phone_shows_calls_in_the_middle_of_a_kill(page: Page, cluster: Cluster) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    _, victim = start_and_hold(page, cluster, 8, at=3, workers=3)
    victim.kill()
    expect(page.locator("#workers .died")).to_be_visible()
    expect(page.locator("#sentence")).to_contain_text("died at")
    expect(row_of(page, "factorial-4")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_chain_is_shown_from_its_root_down(page: Page, cluster: Cluster) -> None:
    create(cluster, "factorial-2")
    create(cluster, "factorial-1", parent="factorial-2")
    create(cluster, "factorial-2.1", timeout="true")
    create(cluster, "another")
    rows = page.get_by_role("treeitem")
    expect(rows).to_have_count(4)
    expect(rows.nth(0)).to_contain_text("another")
    expect(rows.nth(1)).to_contain_text("factorial-2")
    expect(rows.nth(1)).to_contain_text("2 calls")
    expect(row_of(page, "factorial-2")).to_contain_text("sleeps")
    levels = [row.get_attribute("aria-level") for row in rows.all()]
    assert levels == ["1", "1", "2", "3"]
    expect(page.locator("#timers")).to_have_text("1")
    resolve(cluster, "factorial-1", "1")
    expect(row_of(page, "factorial-1")).to_contain_text("✓")


def test_branches_are_indented(page: Page, cluster: Cluster) -> None:
    create(cluster, "f-3")
    for child, parent in [("f-2", "f-3"), ("f-1", "f-3"), ("f-0", "f-2")]:
        create(cluster, child, parent=parent)
    rows = page.get_by_role("treeitem")
    expect(rows).to_have_count(5)
    expect(rows.locator(".tail, .head").filter(has_text=re.compile(r"."))).to_have_text(
        ["f-3", "3", "2", "0", "1"]
    )
    left = {
        name: row_of(page, name).locator(".mark").bounding_box()["x"]  # type: ignore[index]
        for name in ("f-3", "f-2", "f-1", "f-0")
    }
    assert left["f-3"] < left["f-2"] == left["f-1"] == left["f-0"]


def test_what_others_write_is_text(page: Page, cluster: Cluster) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    create(cluster, HOSTILE, invoke=HOSTILE, parent=HOSTILE + "2")
    resolve(cluster, HOSTILE, HOSTILE)
    row = page.get_by_role("treeitem")
    expect(row.locator(".id")).to_have_text(f"✓{HOSTILE}")
    expect(row.locator(".what")).to_have_text(HOSTILE)
    expect(page.locator("#sentence")).to_contain_text("<img src=x")
    page.get_by_text("All events").click()
    expect(page.locator("#news")).to_contain_text(f"{HOSTILE} was called")
    page.get_by_label("Filter").fill("<img")
    row.click()
    panel = page.get_by_role("complementary")
    expect(panel.get_by_role("heading", level=2)).to_have_text(HOSTILE)
    expect(panel.locator("dd", has_text=HOSTILE)).not_to_have_count(0)
    page.evaluate(  # a round through the queue in which an onerror would be
        "() => new Promise((done) => setTimeout(done))"
    )
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked") is None
    assert {url.split("?")[0].rsplit("/", 1)[0] for url in asked} <= {
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
    expect(page.get_by_role("alert")).to_contain_text("has disconnected")
    expect(page.locator("#link")).to_have_text("disconnected")
    expect(rows).to_contain_text("before")
    assert page.locator("main").evaluate("it => getComputedStyle(it).filter") == "grayscale(1)"
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    age = rows.locator(".age").inner_text()
    page.wait_for_timeout(500)  # in which the age would grow
    assert rows.locator(".age").inner_text() == age
    cluster.start_server()
    expect(page.locator("#link")).to_have_text("live")
    expect(page.get_by_role("alert")).to_be_hidden()
    page.get_by_text("All events").click()
    expect(page.locator("#news")).to_contain_text("The server restarted")
    create(cluster, "after")
    expect(rows).to_have_count(2)
    assert page.evaluate("window.same"), "it was not loaded again"


def test_an_outage_is_a_band_and_no_death(page: Page, cluster: Cluster) -> None:
    client, worker = start_and_hold(page, cluster, 4, at=2, workers=1)
    cluster.server.kill()
    cluster.start_server()
    resolve(cluster, "factorial-2", "2")
    assert client.wait() == 0
    sentence = page.locator("#sentence")
    expect(sentence).to_have_text(
        re.compile(r"The server was down from \d+\.\d\ss to \d+\.\d\ss\.")
    )
    expect(sentence).to_contain_text("factorial-4 = 24")
    assert "died" not in sentence.inner_text()
    expect(page.locator("#workers .live")).to_contain_text(f"worker 1 (pid {worker.pid})")
    expect(page.locator("li.run text.down")).to_contain_text("server down")
    expect(row_of(page, "factorial-4").locator(".outage")).to_be_visible()


def test_an_empty_store_says_what_to_type(page: Page, cluster: Cluster) -> None:
    hint = page.locator("#empty")
    expect(hint).to_contain_text("uv run python factorial_worker.py")
    expect(hint).to_contain_text("uv run python factorial_client.py 10")
    create(cluster, "p")
    expect(hint).to_be_hidden()


def test_the_filter_shows_what_matches_and_what_leads_there(page: Page, cluster: Cluster) -> None:
    (worker,) = cluster.start_workers(1)
    assert cluster.start_client(5).wait() == 0
    create(cluster, "other")
    create(cluster, "other.1", timeout="true")
    rows = page.locator("li.call")
    expect(rows).to_have_count(6)
    search = page.get_by_label("Filter")
    page.keyboard.press("/")
    expect(search).to_be_focused()
    search.fill("factorial-4")
    expect(rows).to_have_count(2)
    expect(row_of(page, "factorial-5")).to_be_visible()
    search.fill("other")
    expect(rows).to_have_count(1)
    assert "other.1" not in page.locator("main").inner_text()
    search.fill("pending")
    expect(rows).to_have_count(1)
    search.fill(f"pid {worker.pid}")
    expect(rows).to_have_count(5)
    search.fill("nowhere")
    expect(page.locator("#nothing")).to_be_visible()
    search.fill("")
    expect(rows).to_have_count(6)


def test_a_promise_has_an_address_of_its_own(page: Page, cluster: Cluster) -> None:
    client, _ = start_and_hold(page, cluster, 3, at=1, workers=1)
    resolve(cluster, "factorial-1", "1")
    assert client.wait() == 0
    row_of(page, "factorial-2").click()
    panel = page.get_by_role("complementary")
    expect(panel.get_by_role("heading", level=2)).to_have_text("factorial-2")
    expect(panel).to_contain_text('{"func": "factorial", "args": [2]')
    expect(panel.locator("tbody tr")).to_have_count(2)
    expect(panel.locator("tbody tr").first).to_contain_text("worker 1")
    expect(panel.locator("tbody tr").first).to_contain_text("waited")
    expect(panel.locator("tbody tr").last).to_contain_text("finished")
    expect(row_of(page, "factorial-3")).to_be_visible()
    panel.get_by_role("link", name="factorial-1").click()
    expect(page).to_have_url(f"{cluster.url}/#/promise/factorial-1")
    page.reload()
    expect(panel.get_by_role("heading", level=2)).to_have_text("factorial-1")
    expect(panel.get_by_role("link", name="factorial-2")).to_be_visible()
    page.go_back()
    expect(panel.get_by_role("heading", level=2)).to_have_text("factorial-2")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    page.goto(f"{cluster.url}/#/promise/nowhere")
    expect(panel).to_contain_text("The server does not have a promise with this id.")


def test_an_open_promise_is_kept_up_to_date(page: Page, cluster: Cluster) -> None:
    param = base64.b64encode(b'{"func": "f", "args": [12345678901234567890]}').decode()
    body = {"id": "a/b?c#d", "timeout": FAR, "param": {"data": param}, "tags": {"colour": "blue"}}
    httpx.post(f"{cluster.url}/promises", json=body)
    page.get_by_role("treeitem").click()
    panel = page.get_by_role("complementary")
    expect(panel).to_contain_text('{"func": "f", "args": [12345678901234567890]}')
    expect(panel).to_contain_text("blue")
    expect(panel).to_contain_text("not yet")
    body = {"state": "REJECTED", "value": {"data": "/w=="}}
    httpx.patch(f"{cluster.url}/promises/a/b%3Fc%23d", json=body)
    expect(panel).to_contain_text("1 bytes, not text: ff")
    expect(panel).to_contain_text("rejected")
    page.get_by_role("button", name="Close").click()
    expect(panel).to_be_hidden()


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
        # A long chain is folded: its beginning, and its end, where calls happen now.
        expect(rows.filter(has_text="more")).to_have_count(1)
        expect(row_of(page, "deep-1")).to_be_in_viewport()
        rows.filter(has_text="more").click()
        expect(rows.filter(has_text="more")).to_have_count(0)
        page.mouse.wheel(0, 10_000_000)
        last = row_of(page, "deep-1")
        expect(last).to_be_in_viewport()
        assert last.get_attribute("aria-level") == "5001"
        mark = last.locator(".mark").bounding_box()
        assert mark is not None
        assert mark["x"] < 200, "it is not indented off the screen"
        assert page.locator("*").count() < 1000
        httpx.patch(f"{url}/promises/deep-1", json={"state": "RESOLVED"})
        expect(last).to_contain_text("✓")


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
    expect(page.get_by_role("complementary")).to_contain_text("pending")
    page.keyboard.press("Escape")
    expect(page.get_by_role("complementary")).to_be_hidden()
    expect(focused).to_contain_text("p-0")
    resolve(cluster, "p-0", "1")
    expect(focused).to_contain_text("✓")


def test_the_arrow_keys_fold(page: Page, cluster: Cluster) -> None:
    create(cluster, "f-2")
    create(cluster, "f-1", parent="f-2")
    rows = page.get_by_role("treeitem")
    expect(rows).to_have_count(3)
    rows.first.focus()
    page.keyboard.press("ArrowLeft")
    expect(rows).to_have_count(1)
    expect(rows.first).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("ArrowRight")
    expect(rows).to_have_count(3)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("li:focus")).to_have_attribute("data-id", "f-1")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("li:focus")).to_have_attribute("data-id", "f-2")


def test_the_axis_is_zoomed_by_wheel_brush_and_keys(page: Page, cluster: Cluster) -> None:
    cluster.start_workers(1, pace=0.3)
    assert cluster.start_client(4).wait() == 0
    lane = row_of(page, "factorial-4").locator("svg.lane")
    expect(page.locator("#resolved")).to_have_text("4")
    whole = page.get_by_role("button", name="Whole run")
    expect(whole).to_be_hidden()
    ticks = page.locator("li.run text.tick")
    all_ticks = ticks.all_text_contents()
    lane.hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    expect(whole).to_be_visible()
    expect(ticks).not_to_have_text(all_ticks)
    whole.click()
    expect(whole).to_be_hidden()
    expect(ticks).to_have_text(all_ticks)
    page.keyboard.press("+")
    expect(whole).to_be_visible()
    page.keyboard.press("0")
    expect(whole).to_be_hidden()
    box = page.locator("#workers svg.lane").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 5, steps=3)
    page.mouse.up()
    expect(whole).to_be_visible()
    expect(page.locator("#workers .veil")).to_have_count(2)
    page.locator("#workers svg.lane").dblclick()
    expect(whole).to_be_hidden()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_axe_finds_nothing(page: Page, cluster: Cluster, width: int, scheme: str) -> None:
    def check() -> None:
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()

    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    expect(page.locator("#empty")).to_be_visible()
    check()
    client, victim = start_and_hold(page, cluster, 5, at=2, workers=2)
    check()
    victim.kill()
    expect(page.locator("#sentence")).to_contain_text("died at")
    check()
    page.get_by_label("Filter").fill("nothing like this")
    expect(page.locator("#nothing")).to_be_visible()
    check()
    page.get_by_label("Filter").fill("")
    resolve(cluster, "factorial-2", "2")
    assert client.wait() == 0
    page.get_by_text("All events").click()
    row_of(page, "factorial-4").click()
    expect(page.get_by_role("complementary")).to_contain_text("Attempts")
    check()
    cluster.server.kill()
    expect(page.get_by_role("alert")).to_be_visible()
    check()


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
    expect(page.get_by_role("complementary")).to_contain_text("pending")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_saved_run_opens_without_a_server(
    browser: Browser, page: Page, cluster: Cluster, tmp_path: Path
) -> None:
    warnings: list[str] = []
    page.on("console", lambda message: warnings.append(message.text))
    client, victim = start_and_hold(page, cluster, 4, at=1, workers=2)
    victim.kill()
    create(cluster, "long", parent="factorial-4")
    resolve(cluster, "long", "x" * 1_000)
    create(cluster, "longer", parent="factorial-4")
    resolve(cluster, "longer", "y" * 30_000)
    resolve(cluster, "factorial-1", "1")
    assert client.wait() == 0
    expect(page.locator("#resolved")).to_have_text("6")
    create(cluster, "another</script>")
    page.goto(f"{cluster.url}/#/promise/factorial-4")
    sentence = page.locator("#sentence")
    expect(sentence).to_contain_text("factorial-4 = 24")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save HTML").click()
    saved = tmp_path / "run.html"
    download.value.save_as(saved)
    assert warnings == []
    told = sentence.inner_text()
    cluster.server.kill()
    context = browser.new_context(offline=True)
    copy = context.new_page()
    errors: list[str] = []
    copy.on("pageerror", lambda error: errors.append(str(error)))
    copy.on("console", lambda message: errors.append(message.text))
    copy.goto(saved.as_uri())
    expect(copy.locator("#sentence")).to_have_text(told)
    expect(copy.locator("li.call")).to_have_count(6)
    panel = copy.get_by_role("complementary")
    row_of(copy, "factorial-3").click()
    expect(panel).to_contain_text("Attempts")
    expect(panel).to_contain_text('{"func": "factorial", "args": [3]')
    row_of(copy, "long").click()
    expect(panel.locator("dd").filter(has_text="x" * 1_000)).to_have_count(1)
    row_of(copy, "longer").click()
    expect(panel).to_contain_text("yyy… (10,000 more characters are not in this file)")
    context.close()
    assert errors == []


def test_a_label_covers_no_other_one(page: Page, cluster: Cluster) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    _, victim = start_and_hold(page, cluster, 3, at=1, workers=2)
    victim.kill()
    labels = page.locator("li.run text")
    expect(labels.filter(has_text="died at")).to_have_count(1)
    expect(labels.filter(has_text=re.compile("^0 s$"))).to_have_count(1)
    boxes = page.evaluate(
        """() => [...document.querySelectorAll("li.run text")].map((label) => {
            const {left, right, top, bottom} = label.getBoundingClientRect();
            return [left, right, top, bottom];
        })"""
    )
    for i, (left, right, top, bottom) in enumerate(boxes):
        for left2, right2, top2, bottom2 in boxes[i + 1 :]:
            # Lines of text are higher than their letters.
            apart = left >= right2 or left2 >= right or top + 3 >= bottom2 or top2 + 3 >= bottom
            assert apart, boxes


def many(path: Path, count: int) -> None:
    """Fill a store with finished promises, and with one that is pending."""
    with closing(open_database(str(path))) as db, transaction(db):
        promises.create(db, CreatePromise("pending", timeout=FAR), Caller(), 1)
        for n in range(count):
            promises.create(db, CreatePromise(f"old-{n}", timeout=FAR), Caller(), 2)
            promises.complete(db, f"old-{n}", CompletePromise("RESOLVED"), Caller(), 3)


def test_new_rows_do_not_move_those_that_the_user_reads(
    browser: Browser, cluster: Cluster, tmp_path: Path
) -> None:
    many(tmp_path / "many.db", 300)
    _, url = launch(cluster, "--db", str(tmp_path / "many.db"))
    with opened(browser, url) as page, httpx.Client(base_url=url) as api:
        row = row_of(page, "old-150")
        page.mouse.move(600, 600)
        page.mouse.wheel(0, 26 * 150)
        expect(row).to_be_in_viewport()
        before = row.bounding_box()
        for n in range(20):
            api.post("/promises", json={"id": f"new-{n}", "timeout": FAR}).raise_for_status()
        expect(page.locator("#pending")).to_have_text("21")
        assert row.bounding_box() == before


def test_a_page_that_is_open_for_long_keeps_what_the_user_looks_at(
    browser: Browser, cluster: Cluster, tmp_path: Path
) -> None:
    many(tmp_path / "many.db", 4_990)
    _, url = launch(cluster, "--db", str(tmp_path / "many.db"))
    with opened(browser, url) as page:
        row = row_of(page, "old-3000")
        page.mouse.move(600, 600)
        page.mouse.wheel(0, 26 * 1_980)
        expect(row).to_be_in_viewport()
        row.click()
        panel = page.get_by_role("complementary")
        expect(panel).to_contain_text("resolved")
        before = row.bounding_box()
        with httpx.Client(base_url=url) as api:
            for n in range(5_100):
                body = {"id": f"new-{n}", "timeout": FAR}
                api.post("/promises", json=body).raise_for_status()
        expect(page.locator("#left-out")).to_be_visible()
        expect(page.locator("#resolved")).to_have_text("4,990")
        expect(page.locator("#pending")).to_have_text("5,101")
        assert row.bounding_box() == before
        expect(panel.get_by_role("heading", level=2)).to_have_text("old-3000")
        page.get_by_label("Filter").fill("old-305")
        expect(page.locator("li.call")).to_have_count(0)  # what was off the screen is forgotten


def test_a_clock_that_is_set_back_takes_no_name_away(
    browser: Browser, cluster: Cluster, tmp_path: Path
) -> None:
    later = int(time.time() * 1000)
    now = later - 3_600_000  # the clock was set back by an hour in the middle of the run
    invoke = {"resonate:invoke": "poll://any@worker"}
    path = str(tmp_path / "clock.db")

    def claim(db: Database, task_id: str, process_id: str, at: int) -> None:
        db.execute("UPDATE tasks SET state = 'ENQUEUED', sent_on = ? WHERE id = ?", (at, task_id))
        tasks.claim(db, ClaimTask(id=task_id, counter=1, process_id=process_id, ttl=10_000), at)

    with closing(open_database(path)) as db, transaction(db):
        for process_id in ("one", "two"):
            processes.connected(db, process_id, "worker", later)
        promises.create(db, CreatePromise("f-2", timeout=FAR, tags=invoke), Caller(), later)
        claim(db, "__invoke:f-2", "one", later + 1)
        tags = invoke | {"resonate:parent": "f-2"}
        promises.create(db, CreatePromise("f-1", timeout=FAR, tags=tags), Caller(), later + 2)
        callback = CreateCallback("f-2", Raw(b'"poll://any@worker"'), FAR)
        promises.create_callback(db, "f-1", callback, Caller(), later + 3)
        tasks.complete(db, TaskRef("__invoke:f-2", 1), later + 4)
        claim(db, "__invoke:f-1", "two", later + 5)
        promises.complete(db, "f-1", CompletePromise("RESOLVED"), Caller(), now)
        claim(db, "__resume:f-2:f-1", "two", now + 2)
        promises.complete(db, "f-2", CompletePromise("RESOLVED"), Caller(), now + 3)
    _, url = launch(cluster, "--db", path)
    with opened(browser, url) as page:
        expect(row_of(page, "f-1").locator(".worker")).to_have_text("worker 2")
        expect(row_of(page, "f-2").locator(".worker")).to_have_text("↪ worker 2")
        row_of(page, "f-2").click()
        attempts = page.get_by_role("complementary").locator("tbody tr")
        expect(attempts).to_have_count(2)
        expect(attempts.first).to_contain_text("worker 1")
        expect(attempts.last).to_contain_text("worker 2")
        expect(attempts.last).to_contain_text("finished")


def test_a_client_is_no_worker_even_if_its_connection_is_reported_early(page: Page) -> None:
    names = page.evaluate(
        """async () => {
            const { Processes } = await import("/processes.js");
            const processes = new Processes();
            const id = "123-0123456789ab";
            processes.take([], [{ id, group: "factorial-client", isSilent: false }]);
            const before = processes.get(id).isClient;
            const event = { type: "connected", processId: id, group: "factorial-client" };
            processes.take([{ ...event, number: 2, createdOn: 5 }], undefined);
            return [before, processes.get(id).isClient, processes.get(id).label];
        }"""
    )
    assert names == [True, True, "client 2 (pid 123)"]
