"""The page, as a user sees it in a browser."""

from __future__ import annotations

import re
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Locator, Page, expect

from devserver.store import promises
from devserver.store.database import open_database, transaction
from devserver.store.models import CreatePromise
from devserver.store.promises import Caller
from tests.api import FAR, claim, complete, create, encoded
from tests.browser import chromium
from tests.listener import Listener
from tests.programs import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTILE = """<img src=x onerror="window.hacked = 'yes'">"""


class Worker:
    """A process of a group, whose every step a test decides."""

    def __init__(self, server: Server, api: httpx.Client, group: str, pid: int = 1) -> None:
        self._api, self._group = api, group
        self.listener = Listener(server.poll_url, group, f"{pid}-{group}")

    def ask(self, promise_id: str, parent: str | None = None) -> None:
        """Create a call for this worker's group, or find the one that exists."""
        tags = {"resonate:invoke": f"poll://any@{self._group}"}
        tags["resonate:parent"] = parent or promise_id
        create(self._api, promise_id, key=promise_id, tags=tags)

    def claim(self, ttl: int = 60_000) -> None:
        """Claim the next task that the server sends to this worker."""
        self._task = self.listener.next_task()
        self._call = self._task[0].split(":")[1]
        claim(self._api, self._task, self.listener.id, ttl).raise_for_status()

    def call(self, child: str) -> None:
        """Let the claimed call make another one, and wait for it."""
        self.ask(child, parent=self._call)
        body = {"rootPromiseId": self._call, "recv": f"poll://any@{self._group}", "timeout": FAR}
        self._api.post(f"/promises/callback/{child}", json=body).raise_for_status()
        body = {"id": self._task[0], "counter": self._task[1]}
        self._api.post("/tasks/complete", json=body).raise_for_status()

    def finish(self, value: str) -> None:
        """Resolve the promise of the claimed call."""
        complete(self._api, self._call, value=value)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def shared_page(browser: Browser, devserver: Server) -> Iterator[Page]:
    with opened(browser, devserver.url) as page:
        yield page


@pytest.fixture
def page(shared_page: Page, devserver: Server, api: httpx.Client) -> Iterator[Page]:
    """The page of the server that the tests of this module share."""
    shared_page.goto("about:blank")
    shared_page.goto(devserver.url)
    expect(shared_page.locator("#link")).to_have_text("live")
    yield shared_page
    while found := api.get("/promises?id=*&state=pending&limit=100").json()["promises"]:
        for promise in found:
            api.patch(f"/promises/{quote(promise['id'], safe='')}", json={"state": "RESOLVED"})


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Page]:
    """Open the page. An error in its scripts fails the test."""
    with closing(browser.new_context(viewport={"width": 1366, "height": 650})) as context:
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        expect(page.locator("#link")).to_have_text("live")
        yield page
    assert errors == []


def row_of(page: Page, promise_id: str) -> Locator:
    """Find the row of a call, if it is on the screen."""
    return page.locator(f"li.call[data-id='{promise_id}']")


def expect_story(page: Page, words: str) -> None:
    """Wait until the sentence contains these words, in which # is a length of time."""
    pattern = re.escape(words).replace(r"\#", r"[\d.]+\s(ms|s)")
    expect(page.locator("#sentence")).to_have_text(re.compile(pattern))


def expect_accessible(page: Page) -> None:
    """Check the page with axe: on a phone, dark and light."""
    for width, scheme in ((390, "light"), (1366, "dark"), (1366, "light")):
        page.set_viewport_size({"width": width, "height": 650})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


# What happens to workers


def test_each_kill_cuts_off_one_call_and_no_stored_one(
    browser: Browser, page: Page, devserver: Server, api: httpx.Client, tmp_path: Path
) -> None:
    one, two, three = (Worker(devserver, api, "kill", pid) for pid in (1, 2, 3))
    one.ask("k-3")
    one.claim()
    one.call("k-2")
    two.claim()
    expect(page.locator("#workers .busy")).to_have_text("kill 2pid 2runs 2")
    expect_accessible(page)
    two.listener.close()
    three.claim()
    told = (
        "Kill 2 was killed. Only 2 was running; kill 3 restarted it after #. 1 stored call "
        "noticed nothing."
    )
    expect_story(page, told)
    expect(page.locator("#workers .killed .status")).to_contain_text("killed at")
    marks, lanes = "text.cross, .lost, .again", page.locator("#lanes")
    expect(row_of(page, "k-2").locator(marks)).to_have_count(3)
    for part in ("#promises", "#lanes"):
        expect(page.locator(part).locator(marks)).to_have_count(3)
    expect(page.locator("#promises .kill.killed")).to_have_count(3)
    expect(lanes.locator(".kill.killed")).to_have_count(1)
    expect(lanes.locator(".note")).to_have_text(re.compile("2 again on .*, .* later"))
    expect(lanes).to_contain_text("kill 2 was killed: 2 cut off, 1 stored call untouched")
    expect(lanes.locator(".lost title")).to_contain_text(re.compile("2 on kill 2 .* cut off"))
    expect(lanes.locator(".pass")).to_have_count(1)

    one.listener.close()  # it waits for a result, and does not run a call
    expect(page.locator("#workers .left .status")).to_contain_text("disconnected at")
    three.listener.close()
    expect_story(
        page,
        f"{told} Kill 1 disconnected. It was not running a call. 2 stored calls noticed nothing. "
        "Kill 3 was killed. Only 2 was running; it waits for a worker. 1 stored call noticed "
        "nothing. No worker of the group kill is connected. The calls stay stored until you start "
        "one. k-3 is pending after #",
    )
    expect(row_of(page, "k-2").locator(".what")).to_have_text("needs a worker")
    expect(row_of(page, "k-2").locator("text.cross")).to_have_count(2)
    expect(row_of(page, "k-3").locator("text.cross")).to_have_count(0)
    row_of(page, "k-2").click()
    expect(page.get_by_role("complementary")).to_contain_text("worker was killed")
    expect_accessible(page)
    page.keyboard.press("Escape")
    four = Worker(devserver, api, "kill", 4)
    for value in ("2", "the end"):
        four.claim()
        four.finish(value)
    expect_story(page, "k-3 = the end after #.")

    # A reload and a saved copy show the same.
    story, drawn = page.locator("#sentence").inner_text(), lanes.text_content()
    page.reload()
    expect(page.locator("#sentence")).to_have_text(story)
    assert lanes.text_content() == drawn
    four.listener.close()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save HTML").click()
    download.value.save_as(tmp_path / "saved.html")
    check_saved_copy(browser, tmp_path / "saved.html", story)


def check_saved_copy(browser: Browser, copy: Path, story: str) -> None:
    """Open a saved page without a server."""
    with closing(browser.new_context(offline=True)) as context:
        page = context.new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text))
        page.goto(copy.as_uri())
        expect(page.locator("#sentence")).to_have_text(story)
        expect(page.locator("#lanes .lost")).to_have_count(2)
        row_of(page, "k-3").click()
        expect(page.get_by_role("complementary")).to_contain_text("the end")
        assert errors == []


def test_a_worker_that_falls_silent(page: Page, devserver: Server, api: httpx.Client) -> None:
    worker = Worker(devserver, api, "silent")
    worker.ask("s-1")
    worker.claim(ttl=10_000)
    expect_story(page, "Silent 1: no heartbeat for #; its lease on 1 ends in #.")
    expect(row_of(page, "s-1").locator(".step.expired")).to_have_count(1)
    expect_story(page, "Silent 1 stopped answering. Its lease on 1 ended;")
    expect(page.locator("#lanes .kill.expired")).to_have_count(1)
    # It is the only one, so the server sends the task to it again.
    expect(page.locator("#workers .silent .status")).to_contain_text("has not claimed 1 for")
    worker.claim()
    worker.finish("ok")
    expect_story(page, "; silent 1 restarted it after #.")
    worker.listener.close()


def test_a_server_that_restarts(browser: Browser) -> None:
    with Server() as server, httpx.Client(base_url=server.url) as api:
        worker = Worker(server, api, "again")
        worker.ask("r-1")
        worker.claim()
        with opened(browser, server.url) as page:
            row = row_of(page, "r-1")
            expect(row.locator(".what")).to_contain_text("runs")
            page.evaluate("window.same = true")
            server.process.kill()
            worker.listener.close()
            expect(page.get_by_role("alert")).to_contain_text("has disconnected")
            page.wait_for_timeout(200)  # until the frame that was being drawn is on the screen
            age = row.locator(".age").inner_text()
            page.wait_for_timeout(500)  # in which the age would grow
            assert row.locator(".age").inner_text() == age
            server.start()
            expect(page.get_by_role("alert")).to_be_hidden()
            with closing(Listener(server.poll_url, "again", worker.listener.id)):
                worker.finish("1")
                expect_story(page, "The server was down for #. All stored calls were still there.")
            expect(row.locator(".outage")).to_be_visible()
            expect(page.locator("#promises .kill")).to_have_count(0)
            assert page.evaluate("window.same"), "it was not loaded again"


def test_without_a_worker_the_page_says_how_to_start_one(
    browser: Browser, page: Page, devserver: Server, api: httpx.Client
) -> None:
    create(api, "n-1", tags={"resonate:invoke": "poll://any@factorial-worker"})
    expect_story(
        page,
        "No worker of the group factorial-worker is connected. The calls stay stored until you "
        "start one: uv run python factorial_worker.py. n-1 is pending after #",
    )
    expect(row_of(page, "n-1").locator(".queued")).to_be_visible()
    with closing(browser.new_context()) as context:
        waiting = context.new_page()
        waiting.route("**/watch", lambda _: None)  # it gets no answer
        waiting.goto(page.url)
        expect(waiting.locator("#link")).to_have_text("connecting")
        assert waiting.locator("main").is_hidden()

    # Workers are told from clients by what they do, not by the name of their group.
    complete(api, "n-1")
    worker = Worker(devserver, api, "http-client", 7)
    with closing(Listener(devserver.poll_url, "asks", "8-asks")):
        worker.ask("c-1")
        body = {"recv": "poll://uni@asks/8-asks", "timeout": FAR, "id": "x"}
        api.post("/promises/subscribe/c-1", json=body).raise_for_status()
        worker.claim()
        expect(page.locator("#workers .busy")).to_have_text("client 1pid 7runs 1")
        expect(page.locator("#others")).to_have_text("1 client connected")
        worker.finish("ok")
        expect(page.locator("#workers .idle")).to_have_text("client 1pid 7idle")
    worker.listener.close()
    expect(page.locator("#workers .left").filter(has_text="client 1")).to_be_visible()
    expect(page.locator("#lanes .kill")).to_have_count(0)  # it was idle


# Outcomes


def test_the_sentence_counts_the_outcomes_of_all_roots(page: Page, api: httpx.Client) -> None:
    for name in ("p-1", "p-2", "p-3"):
        create(api, name)
    complete(api, "p-1", value="1")
    complete(api, "p-2", "REJECTED", "no")
    expect_story(page, "3 calls: 1 resolved, 1 rejected, 1 pending.")
    expect(row_of(page, "p-2").locator(".what")).to_have_text("rejected no")
    complete(api, "p-3")
    expect(row_of(page, "p-3").locator(".mark")).to_have_text("✓")  # its axis does not grow now
    whole, lanes = page.get_by_role("button", name="Whole run"), page.locator("#lanes")
    lanes.hover(position={"x": 50, "y": 10})
    page.mouse.down()
    lanes.hover(position={"x": 300, "y": 10})
    page.mouse.up()
    expect(whole).to_be_visible()  # the drag has zoomed the axis
    page.keyboard.press("0")
    expect(whole).to_be_hidden()

    create(api, "alone")
    complete(api, "alone", "REJECTED_CANCELED")
    expect_story(page, "alone was canceled after #.")


def test_a_stored_result_that_is_used_again_is_marked(
    page: Page, devserver: Server, api: httpx.Client
) -> None:
    worker = Worker(devserver, api, "reuse")
    worker.ask("u-8")
    worker.claim()
    worker.finish("8")
    expect(row_of(page, "u-8").locator(".what")).to_have_text("8")
    worker.ask("u-8")
    expect(row_of(page, "u-8").locator(".reuse")).to_have_text("↺ used again")
    expect_story(page, "The stored result of 8 was used again.")
    worker.ask("u-9")
    worker.claim()
    worker.ask("u-8", parent="u-9")
    worker.finish("9")
    expect(row_of(page, "u-8").locator(".reuse")).to_have_text("↺ used again 2 times")
    row_of(page, "u-9").locator("[data-ref]").click()
    expect(row_of(page, "u-8")).to_be_focused()
    worker.listener.close()


# Rows


def test_what_is_next_is_on_the_screen_however_long_the_chain(
    browser: Browser, tmp_path: Path
) -> None:
    with closing(open_database(str(tmp_path / "many.db"))) as db, transaction(db):
        for n in range(3_000, 0, -1):
            tags = {"resonate:parent": f"deep-{n + 1}"} if n < 3_000 else {}
            promises.create(db, CreatePromise(f"deep-{n}", timeout=FAR, tags=tags), Caller(), 1)
    with (
        Server(options=["--db", str(tmp_path / "many.db")]) as server,
        httpx.Client(base_url=server.url) as api,
        opened(browser, server.url) as page,
    ):
        for width, height in [(1440, 900), (390, 844), (1366, 650)]:
            page.set_viewport_size({"width": width, "height": height})
            expect(row_of(page, "deep-1")).to_be_in_viewport(ratio=0.9)
            expect(row_of(page, "deep-3000")).to_be_in_viewport(ratio=0.9)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.get_by_role("treeitem").count() * 24 > height / 3, "the room is used"
        page.get_by_role("treeitem").filter(has_text="more").click()
        expect(row_of(page, "deep-2999")).to_be_visible()
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        expect(row_of(page, "deep-2000")).to_have_count(1)  # paper is not scrolled
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.keyboard.press("End")
        expect(row_of(page, "deep-1")).to_be_focused()
        expect(row_of(page, "deep-1")).to_have_attribute("aria-level", "3001")
        assert page.locator("*").count() < 1500
        before = row_of(page, "deep-10").bounding_box()
        for n in range(3):  # new rows do not move those that the user reads
            create(api, f"new-{n}")
        expect(page.locator("#pending")).to_have_text("3,003")
        assert row_of(page, "deep-10").bounding_box() == before


def test_a_page_that_is_open_for_long_forgets_what_is_finished(page: Page) -> None:
    most, *kept = page.evaluate(
        """async () => {
            const { Model } = await import("/model.js");
            const model = new Model();
            let most = 0;
            for (let i = 0; i < 24; i += 1) {
                const promises = Array.from({ length: 1000 }, (_, k) => ({
                    sortId: 1000 * i + k, id: `${i}-${k}`, createdOn: i, completedOn: i,
                    state: k ? "RESOLVED" : "PENDING",
                }));
                model.apply({ now: i, promises });
                model.forget(({ id }) => id === "0-5");
                most = Math.max(most, model.promises.size);
            }
            const has = (id) => model.promises.has(id);
            return [most, has("0-5"), has("0-0"), has("0-6"), model.leftOut];
        }"""
    )
    assert most <= 10_000
    assert kept == [True, True, False, True]


def test_rows_are_indented_cut_in_the_middle_and_filtered(page: Page, api: httpx.Client) -> None:
    for child, parent in [("f-3", "f-3"), ("f-2", "f-3"), ("f-1", "f-3"), ("f-0", "f-2")]:
        create(api, child, tags={"resonate:parent": parent})
    expect(row_of(page, "f-0")).to_be_visible()
    left = [
        row_of(page, name).locator(".mark").bounding_box()["x"]  # type: ignore[index]
        for name in ("f-3", "f-2", "f-0", "f-1")
    ]
    assert left[0] < left[1] == left[2] == left[3]
    long = f"a-very-long-name-{'x' * 300}-with-an-end"
    create(api, long)
    for width in (320, 1366):
        page.set_viewport_size({"width": width, "height": 650})
        cell = row_of(page, long).locator(".id")
        expect(cell).to_have_text(re.compile("^○a.*….*end$"))
        cell.evaluate(  # nothing is clipped
            """async (it) => {
                while (it.scrollWidth > it.clientWidth) await new Promise(requestAnimationFrame);
            }"""
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("/")
    page.keyboard.type("F-0")
    expect(page.locator("li.call")).to_have_count(3)  # with what leads there
    page.get_by_label("Filter").fill("nowhere")
    expect(page.get_by_text("No call matches the filter.")).to_be_visible()


# Details, keys, safety


def test_the_details_stay_as_they_are_while_the_time_runs(page: Page, api: httpx.Client) -> None:
    param = {"data": encoded('{"args": [12345678901234567890]}')}
    create(api, "a/b?c#d", param=param, tags={"colour": "blue"})
    create(api, "a/b", tags={"resonate:parent": "a/b?c#d"})
    soon = int(time.time() * 1000) + 90_000
    create(api, "a/b?c#d.1", tags={"resonate:timeout": "true"}, timeout=soon)
    row, panel = row_of(page, "a/b?c#d"), page.get_by_role("complementary")
    row.click()
    title = panel.get_by_role("heading", level=2)
    for words in ("pending: pauses for", "[12345678901234567890]", "blue"):
        expect(panel).to_contain_text(words)
    expect(title).to_be_focused()
    expect(row).to_have_attribute("aria-selected", "true")
    link, state = panel.get_by_role("link", name="a/b"), panel.locator("dd").first
    link.focus()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#panel dd.data'))")
    before = state.inner_text()
    expect(state).not_to_have_text(before)
    expect(link).to_be_focused()
    assert page.evaluate("getSelection().toString()") == "none"
    link.click()
    complete(api, "a/b", "REJECTED", "no")
    expect(panel).to_contain_text("rejected")
    page.reload()
    expect(title).to_have_text("a/b")
    page.go_back()
    expect(title).to_have_text("a/b?c#d")
    page.get_by_role("button", name="Copy id").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(row).to_be_focused()
    page.goto(f"{page.url.split('#')[0]}#/promise/nowhere")
    expect(panel).to_contain_text("The server does not have a promise with this id.")


def test_the_keyboard_reaches_everything(page: Page, api: httpx.Client) -> None:
    create(api, "key-2")
    create(api, "key-1", tags={"resonate:parent": "key-2"})
    expect(row_of(page, "key-1")).to_be_visible()
    seen = []
    while "treeitem" not in seen:
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.role"))
    assert seen[-3:] == ["save-html", "query", "treeitem"]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for key, focused in [
        ("ArrowRight", row_of(page, "key-2")),
        ("ArrowDown", row_of(page, "key-1")),
        ("Enter", page.get_by_role("heading", level=2, name="key-1")),
        ("Escape", row_of(page, "key-1")),
        ("ArrowLeft", row_of(page, "key-2")),
    ]:
        page.keyboard.press(key)
        expect(focused).to_be_focused()
    page.reload()
    row_of(page, "key-2").click()
    for key in ("Escape", "ArrowDown"):
        page.keyboard.press(key)
    expect(row_of(page, "key-1")).to_be_focused()


def test_what_others_write_is_text(page: Page, devserver: Server, api: httpx.Client) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    create(api, "hostile", tags={"resonate:invoke": HOSTILE, "resonate:parent": HOSTILE})
    complete(api, "hostile", value=HOSTILE)
    row_of(page, "hostile").click()
    panel = page.get_by_role("complementary")
    expect(panel.locator("dd", has_text=HOSTILE)).not_to_have_count(0)
    expect(page.locator("#sentence")).to_contain_text("<img src=x")
    assert page.locator("img").count() == 0
    # The page's policy would block a script, too.
    with page.expect_console_message(lambda message: "script-src" in message.text):
        page.evaluate("(html) => document.body.insertAdjacentHTML('beforeend', html)", HOSTILE)
    assert page.evaluate("window.hacked") is None
    assert all(url.startswith(devserver.url) for url in asked)
