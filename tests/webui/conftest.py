"""The app in a process of its own, and Debian's chromium to look at it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from app_process import AppProcess, started, stub

# As root there is no sandbox; the camera is a made-up one.
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="session")
def app() -> Iterator[AppProcess]:
    """`python app.py` with the embedded model."""
    with started(["app.py", "--port", "0", "--no-open"]) as running:
        yield running


@pytest.fixture(scope="session")
def stub_app() -> Iterator[AppProcess]:
    """The app with a reenactor without networks."""
    with stub(limits={"upload_mb": 1, "waiting": 4}) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; without it the tests are left out, unless LATENT_REENACT_BROWSER=required."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((path for name in names if (path := shutil.which(name))), None)
    if chromium is None:
        if os.environ.get("LATENT_REENACT_BROWSER") == "required":
            pytest.fail("no chromium is installed, and LATENT_REENACT_BROWSER=required: apt-get install chromium")
        pytest.skip("no chromium is installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the app as another user: a context of its own. No request may leave this machine, no script may fail."""
    contexts, outside, errors = [], [], []

    def open_one(url: str, *, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **options)
        contexts.append(context)
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:")) else outside.append(r.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector(".lr-tabs")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not outside, f"requests left this machine: {outside}"
    assert not errors, f"scripts failed: {errors}"
