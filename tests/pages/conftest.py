"""Headless Chromium on a real `doorward dev`."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.programs import Dev, dev, needs

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One service for all of them: each test has people of its own. People may trust their browsers."""
    data = tmp_path_factory.mktemp("dev") / "data"
    with dev(data, DOORWARD_TWO_FACTOR_TRUST_DAYS="30") as found:
        yield found


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    path = needs("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def context(chromium: Browser, running: Dev) -> AsyncIterator[BrowserContext]:
    """A browser of its own without JavaScript: every journey must be complete without it."""
    made = await chromium.new_context(base_url=running.url, java_script_enabled=False)
    made.set_default_timeout(15_000)
    yield made
    await made.close()


@pytest.fixture
async def scripted(chromium: Browser, running: Dev) -> AsyncIterator[BrowserContext]:
    """A browser of its own with JavaScript and a clipboard."""
    made = await chromium.new_context(
        base_url=running.url, permissions=["clipboard-read", "clipboard-write"], locale="en"
    )
    made.set_default_timeout(15_000)
    yield made
    await made.close()


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: the folder of DOORWARD_TEST_SHOTS, or one of this run."""
    import os

    wanted = os.environ.get("DOORWARD_TEST_SHOTS")
    folder = Path(wanted) if wanted else tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
