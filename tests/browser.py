"""Debian's Chromium for tests of pages, and what is seen of a page."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Request, expect, sync_playwright

from tests.tracing import untraced

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

# A bound on hanging: a machine with other work has needed more than the usual 5 s.
expect.set_options(timeout=30_000)


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser; without one the tests are skipped, but never in CI."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        message = "no Chromium: apt install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    # Playwright runs in greenlets: a tracer that tells them apart costs four times as much
    with untraced(), sync_playwright() as playwright:
        # Chromium refuses to sandbox root's pages
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=sandbox)
        yield browser
        browser.close()


def pixels(part: Page | Locator) -> NDArray[np.uint8]:
    """What is seen of a page, or of a part of it: uint8 [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(part.screenshot())).convert("RGB"))


def count_colours(seen: NDArray[np.uint8]) -> int:
    """Return how many colours pixels [..., 3] have; of rows, `np.unique` is slow."""
    return len(np.unique(seen.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)))


def watched(page: Page) -> list[str]:
    """Take down errors, and requests for more than a file and the data in it."""
    wrong: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            wrong.append(request.url)

    page.on("request", note)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console", lambda message: wrong.append(message.text) if message.type == "error" else None
    )
    return wrong
