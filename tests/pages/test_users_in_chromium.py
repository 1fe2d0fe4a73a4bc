"""The users page in a browser without scripts: by keyboard, as cards, and a reset from end to end."""

import pytest
from playwright.async_api import BrowserContext, Page

from tests.pages.browsing import PASSWORD, Authenticator, password, person
from tests.programs import Dev, doorward


async def enrolled(page: Page, email: str) -> Authenticator:
    """Sign in and turn the second factor on, by hand."""
    await password(page, email, "/sign-in?return_to=/account/two-factor/enable")
    await page.fill("#name", "Phone")
    await page.click("main form:has(#name) button")
    app = Authenticator((await page.inner_text("#key")).replace(" ", ""))
    await page.fill("#code", app.code())
    await page.click("main form:has(#code) button")
    await page.wait_for_selector(".codes")
    return app


@pytest.mark.case("U-68")
@pytest.mark.case("U-70")
async def test_a_list_is_sorted_by_keyboard_read_as_cards_and_leads_to_a_reset(
    context: BrowserContext, running: Dev
) -> None:
    boss, lost = "chief.of.users@example.com", person(running, "lost.phone@example.com")
    words = ("user", "create", boss, "--password-stdin", "--role", "admin", "--name", "The Chief")
    assert doorward(*words, environ=running.environ, stdin=PASSWORD).returncode == 0
    page = await context.new_page()
    await enrolled(page, lost)
    await context.clear_cookies()
    await enrolled(page, boss)

    await page.goto("/admin/users?status=active")
    await page.locator("th a", has_text="Name").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/admin/users?status=active&sort=name")
    assert await page.locator("th[aria-sort=ascending]").inner_text() == "Name"
    await page.locator("th[aria-sort] a").press("Enter")
    await page.wait_for_url("**/admin/users?status=active&sort=-name")
    assert await page.locator("th[aria-sort=descending]").inner_text() == "Name"

    await page.set_viewport_size({"width": 320, "height": 700})
    await page.select_option("#two_factor", "activated")
    await page.fill("#q", "lost.phone")
    await page.press("#q", "Enter")
    await page.wait_for_url("**two_factor=activated**")
    assert (await page.inner_text("#count")).startswith("1 of ")
    labels = await page.locator("tbody tr > *").evaluate_all(
        "cells => cells.map(cell => getComputedStyle(cell, '::before').content.replaceAll('\"', ''))"
    )
    assert labels[:4] == ["E-mail address", "Name", "Two-factor authentication", "Status"]
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320

    await page.click("tbody a")
    await page.click("#reset summary")
    await page.fill("#reason", "lost phone")
    await page.click("#reset-now")
    assert "Two-factor authentication was reset" in await page.inner_text("#notice")
    assert "Not activated" in await page.inner_text("#two-factor")
    await context.clear_cookies()
    await password(page, lost)
    await page.wait_for_url("**/account")
