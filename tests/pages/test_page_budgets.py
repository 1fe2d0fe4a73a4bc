"""The pages that everybody meets are light and soon there: budgets B1 and B2 of the pages' design."""

import asyncio
import io

import pytest
from PIL import Image
from playwright.async_api import Browser, Route

from tests.load.pages import measured
from tests.programs import Dev


@pytest.mark.case("U-14")
async def test_sign_in_second_factor_and_consent_keep_their_budgets(chromium: Browser, running: Dev) -> None:
    for one in await measured(chromium, running, rounds=3):
        assert one.compressed <= 14_000, one
        assert one.whole <= 50_000, one
        assert one.requests <= 5, one
        assert 0 < one.largest_paint <= 1_000, one


@pytest.mark.case("U-08")
async def test_nothing_is_painted_before_the_style_sheet_is_there(chromium: Browser, running: Dev) -> None:
    """A page that is light first, or bare, would flash in the eyes of whoever asked for dark."""
    context = await chromium.new_context(base_url=running.url, color_scheme="dark")
    page = await context.new_page()

    async def late(route: Route) -> None:
        await asyncio.sleep(0.5)
        await route.continue_()

    await page.route("**/doorward.css*", late)
    await page.goto("/sign-in")
    painted, styled = await page.evaluate("""async () => {
      await new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)));
      const [sheet] = performance.getEntriesByType("resource").filter(one => one.name.includes(".css"));
      return [performance.getEntriesByName("first-paint")[0].startTime, sheet.responseEnd];
    }""")
    assert styled >= 500, "the sheet came late"
    assert painted >= styled
    with Image.open(io.BytesIO(await page.screenshot())) as picture:
        corner = picture.convert("RGB").getpixel((5, 5))
    await context.close()
    assert isinstance(corner, tuple)
    assert sum(corner) < 150, "dark"
