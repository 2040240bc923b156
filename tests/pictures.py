"""Take the pictures of the page: `uv run --all-groups python -m tests.pictures`.

It runs factorial(20) and Fibonacci with a kill in the middle, on the real server, and takes the
pictures from the real page in a browser. It takes about a minute and needs an idle machine.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from demo.cluster import ROOT, Cluster
from tests.browser import chromium
from tests.pages import blocks

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from demo.processes import Process


FOLDER = ROOT / "docs"
# The film's width (pixels), the time between two frames and that of the last one (seconds).
FILM_WIDTH = 800
FRAME = 0.1
LAST_FRAME = 3.0


def main() -> None:
    """Take all pictures."""
    with chromium() as browser:
        _factorial(browser)
        _fibonacci(browser)


def _factorial(browser: Browser) -> None:
    with Cluster() as cluster:
        cluster.start_workers(3, pace=0.35)
        light = _open(browser, cluster.url)
        phone = _open(browser, cluster.url, 390, 780)
        client = cluster.start_client(20)
        cluster.wait_for_worker("factorial(10)").kill()
        light.wait_for_timeout(1000)
        light.screenshot(path=FOLDER / "page.png")
        phone.screenshot(path=FOLDER / "page-phone.png")
        film = _open(browser, cluster.url, 960, 900)
        _film(film, client)
        dark = _open(browser, f"{cluster.url}/#/promise/factorial-19", dark=True)
        dark.wait_for_timeout(800)
        dark.screenshot(path=FOLDER / "page-dark.png")


def _film(page: Page, client: Process) -> None:
    """Film the page until a client has its result."""
    images, times = [], [time.monotonic()]
    while client.alive:
        image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        size = (FILM_WIDTH, round(image.height * FILM_WIDTH / image.width))
        images.append(image.resize(size, Image.Resampling.LANCZOS))
        page.wait_for_timeout(max(FRAME - (time.monotonic() - times[-1]), 0) * 1000)
        times.append(time.monotonic())
    shown = [round((after - before) * 1000) for before, after in pairwise(times)]
    images[0].save(
        FOLDER / "page-film.webp",
        save_all=True,
        append_images=images[1:],
        duration=[*shown[:-1], round(LAST_FRAME * 1000)],
        loop=0,
        quality=70,
        method=4,
    )
    images[-1].save(FOLDER / "page-film-still.png", optimize=True)


def _fibonacci(browser: Browser) -> None:
    worker, client = (block.text for block in blocks(FOLDER / "things-to-try.md", "python")[:2])
    # A short sleep in each call leaves time for a kill.
    worker = worker.replace("    one = yield", "    yield ctx.sleep(0.4)\n    one = yield")
    client = client.replace("fibonacci-30", "fibonacci-12").replace("n=30", "n=12")
    with tempfile.TemporaryDirectory() as folder, Cluster() as cluster:
        programs = [Path(folder, "worker.py"), Path(folder, "client.py")]
        for path, text in zip(programs, (worker, client), strict=True):
            path.write_text(text, encoding="utf-8")
        workers = [
            cluster.launch(f"worker {i}", [sys.executable, str(programs[0])]) for i in range(1, 4)
        ]
        for process in workers:
            process.wait_for("running")
        page = _open(browser, cluster.url)
        asked = cluster.launch("client", [sys.executable, str(programs[1])])
        while not (found := [w for w in workers if w.printed("fibonacci(5)")]):
            page.wait_for_timeout(20)
        found[0].kill()
        asked.wait()
        page.wait_for_timeout(800)
        page.screenshot(path=FOLDER / "page-fibonacci.png")


def _open(
    browser: Browser, url: str, width: int = 1280, height: int = 800, *, dark: bool = False
) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.goto(url)
    page.locator("#link.pill:not(.bad)").wait_for()
    return page


if __name__ == "__main__":
    main()
