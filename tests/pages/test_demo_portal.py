"""The example portal of `doorward dev` in headless Chromium, beside Doorward on another port."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page

from service.commands.dev import _portal as registered
from tests.builders import House
from tests.pages.browsing import PASSWORD, Authenticator, person
from tests.programs import Dev, clean_environ, doorward


@pytest.fixture
async def guest(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A browser without JavaScript that has been nowhere."""
    made = await chromium.new_context(java_script_enabled=False)
    made.set_default_timeout(15_000)
    yield made
    await made.close()


async def by_password(page: Page, email: str) -> None:
    """From the portal's button to Doorward's form, and on."""
    await page.click("#sign-in")
    await page.wait_for_url("**/sign-in?**")
    await page.fill("#username", email)
    await page.fill("#password", PASSWORD)
    await page.click("#sign-in")


async def enrolled(page: Page, running: Dev) -> Authenticator:
    """Turn on two-factor authentication for whoever is signed in."""
    await page.goto(f"{running.url}/account/two-factor/enable")
    await page.click("main form button")
    app = Authenticator((await page.inner_text("#key")).replace(" ", ""))
    await page.fill("#code", app.code())
    await page.click("main form:has(#code) button")
    return app


async def test_signed_in_with_a_passcode_refreshed_twice_and_signed_out_everywhere(
    guest: BrowserContext, running: Dev, shots: Path
) -> None:
    email = person(running, "hopper@example.com")
    page, violations = await guest.new_page(), list[str]()
    page.on("console", lambda message: violations.append(message.text))
    await page.goto(running.portal)
    await page.screenshot(path=shots / "portal-signed-out.png", full_page=True)
    await by_password(page, email)
    await page.wait_for_url(f"{running.portal}/")
    assert "(one factor)" in await page.inner_text("#proofs")
    app = await enrolled(page, running)
    # Anew, in a browser that knows nothing, with both factors.
    await page.goto(f"{running.url}/account")
    await page.click("text=Sign out")
    await guest.clear_cookies()
    await page.goto(running.portal)
    await by_password(page, email)
    await page.wait_for_url("**/sign-in/second-factor**")
    await page.fill("#code", app.code())
    await page.click("main button")
    await page.wait_for_url(f"{running.portal}/")
    assert await page.inner_text("#email") == f"{email} (verified)"
    assert "password and a code of an authenticator app (two factors)" in await page.inner_text("#proofs")
    session = await page.inner_text("#sid")
    for told in ("1 time ", "2 times "):
        await page.click("#refresh")
        assert told in await page.inner_text("#notice")
    assert await page.inner_text("#sid") == session
    await page.click("summary")
    assert session in await page.inner_text("details")
    await page.screenshot(path=shots / "portal-signed-in.png", full_page=True)
    names = {cookie["name"].partition("-")[0] for cookie in await guest.cookies()}
    assert names == {"demo", "doorward"}, "both keep cookies at this host"
    await page.click("#sign-out")
    await page.wait_for_url(f"{running.portal}/signed-out?state=*")
    assert "signed out here and at Doorward" in await page.inner_text("#notice")
    # Nobody is signed in at Doorward any more: it asks again.
    await page.click("#sign-in")
    await page.wait_for_url(f"{running.url}/sign-in?**")
    assert await page.locator("#password").count() == 1
    assert violations == [], "the browser had nothing to say, about the content security policy least of all"


async def test_signing_out_at_doorward_ends_the_portals_session_too(
    guest: BrowserContext, running: Dev
) -> None:
    """By the back channel: the portal hears of it from Doorward, not from the browser."""
    email = person(running, "lovelace@example.com")
    page, account = await guest.new_page(), await guest.new_page()
    await page.goto(running.portal)
    await by_password(page, email)
    await page.wait_for_url(f"{running.portal}/")
    assert await page.inner_text("#name") == email
    await account.goto(f"{running.url}/account")
    await account.click("text=Sign out")
    for _ in range(40):
        await page.goto(running.portal)
        if await page.locator("#sign-in").count():
            break
        await asyncio.sleep(0.25)
    assert "your session there ended" in await page.inner_text("#notice")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_at_the_portal(
    chromium: Browser, running: Dev, shots: Path, scheme: str
) -> None:
    email = person(running, f"portal-{scheme}@example.com")
    context = await chromium.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": 320, "height": 568} if scheme == "dark" else {"width": 1280, "height": 800},
    )
    context.set_default_timeout(15_000)
    page, found = await context.new_page(), {}

    async def look(name: str) -> None:
        result = await Axe().run(
            page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
        )
        found[name] = [one["id"] for one in result.response["violations"]]
        await page.screenshot(path=shots / f"{scheme}-portal-{name}.png", full_page=True)
        wide = await page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        assert not wide, f"{name} scrolls sideways"
        assert await page.locator("h1").count() == 1

    await page.goto(running.portal)
    await look("signed-out")
    await page.goto(f"{running.portal}/callback?state=other&error=access_denied")
    await look("problem")
    await page.click("text=Home")
    await by_password(page, email)
    await page.wait_for_url(f"{running.portal}/")
    await look("signed-in")
    await page.click("#refresh")
    await page.click("summary")
    await look("refreshed")
    await context.close()
    assert {name: ids for name, ids in found.items() if ids} == {}


def test_a_taken_port_of_the_portal_is_told_before_anything_starts(running: Dev, tmp_path: Path) -> None:
    port = running.portal.rpartition(":")[2]
    words = ("dev", "--port", "1", "--data", str(tmp_path / "data"), "--portal-port")
    for asked, code, said in ((port, 1, "Address already in use"), ("1", 2, "a port of its own")):
        refused = doorward(*words, asked, environ=clean_environ())
        assert (refused.returncode, said in refused.stderr) == (code, True), refused.stderr
    assert not (tmp_path / "data").exists()


async def test_it_is_registered_anew_for_another_port_and_with_another_secret(house: House) -> None:
    for port in (8401, 9401):
        await registered(house.world, port)
        (client,) = await house.rows("SELECT * FROM client WHERE id = 'doorward-demo'")
        assert client["redirect_uris"] == [f"http://127.0.0.1:{port}/callback"]
        assert client["backchannel_logout_uri"] == f"http://127.0.0.1:{port}/backchannel-logout"
    living = await house.value(
        "SELECT count(*) FROM client_secret WHERE client_id = 'doorward-demo'"
        " AND (expires_at IS NULL OR expires_at > $1)",
        house.clock.now(),
    )
    assert living == 1
