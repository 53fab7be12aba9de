"""How long the map takes to colour after a click in the Teach tab of a running service.

In Chromium, from the click until the last tile is there:

    loc2vec demo
    python benchmarks/clicks.py http://127.0.0.1:8000 [--clicks 10]
"""

import time

import click
import numpy as np
from playwright.sync_api import Request

from tests.browser import launched

FRAGMENT = "mode=teach&map=15/43.7360/7.4240"
QUIET_S = 0.7  # without a request: the map is coloured


@click.command()
@click.argument("url")
@click.option("--clicks", "count", default=10, show_default=True)
def main(url: str, count: int) -> None:
    """Click places around the middle of the map, and print the times."""
    waiting: set[Request] = set()
    ends, taken = [0.0], list[float]()

    def ended(request: Request) -> None:
        if request in waiting:
            waiting.remove(request)
            ends.append(time.perf_counter())

    with launched() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.on("request", lambda r: waiting.add(r) if r.url.endswith("/predict") else None)
        page.on("requestfinished", ended)
        page.on("requestfailed", ended)
        page.goto(f"{url}/#{FRAGMENT}", wait_until="networkidle")
        for number in range(count):
            start = time.perf_counter()
            angle = 2 * np.pi * number / count
            at = {"x": 420 + 150 * np.cos(angle), "y": 420 + 150 * np.sin(angle)}
            page.locator("#map").click(position={"x": at["x"], "y": at["y"]})
            while waiting or time.perf_counter() - max(start, ends[-1]) < QUIET_S:
                page.wait_for_timeout(10)
            taken.append(ends[-1] - start)
            assert len(ends) > 2 * (number + 1), "the map was not coloured"
    low, middle, high = (float(value) for value in np.percentile(taken, [0, 50, 100]))
    print(f"{count} clicks: {low:.2f} s at least, {middle:.2f} s median, {high:.2f} s at most")
    print(f"{(len(ends) - 1) / count:.0f} questions a click")


if __name__ == "__main__":
    main()
