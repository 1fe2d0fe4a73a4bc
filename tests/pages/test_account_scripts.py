"""What scripts add to the account page: times where the reader is, and a hint on a new password."""

from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.pages.browsing import PASSWORD, password, person, watched
from tests.programs import Dev

#: Keeps what is given to the live region, whoever writes it there.
HEARD = (
    "window.heard = []; document.addEventListener('doorward:announce', (e) => window.heard.push(e.detail))"
)


@pytest.mark.case("U-65")
@pytest.mark.case("U-66")
async def test_times_are_local_beside_utc_and_a_new_password_is_judged_aloud(
    chromium: Browser, running: Dev, shots: Path
) -> None:
    email = person(running, "kolkata@example.com")
    context = await chromium.new_context(base_url=running.url, timezone_id="Asia/Kolkata", locale="en-GB")
    context.set_default_timeout(15_000)
    await context.add_init_script(HEARD)
    page = await context.new_page()
    said = watched(page)
    await password(page, email)
    await page.wait_for_url("**/account")

    # A pointer finds the exact time; the keyboard has one button for all of them.
    time = page.locator("#sign-ins time").first
    utc = await time.get_attribute("datetime") or ""
    exact = f"{utc[:10]} {utc[11:19]} UTC"
    local = await page.evaluate(
        "at => new Intl.DateTimeFormat('en-GB', {dateStyle: 'medium', timeStyle: 'short',"
        " timeZone: 'Asia/Kolkata'}).format(new Date(at))",
        utc,
    )
    assert (await time.inner_text(), await time.get_attribute("title")) == (local, exact)
    assert "India Standard Time" in await page.inner_text("[data-zoned]")
    button = page.locator("#exact-times")
    await button.focus()
    await page.keyboard.press("Enter")
    assert await button.get_attribute("aria-pressed") == "true"
    assert {await one.inner_text() for one in await page.locator("#sign-ins time").all()} == {exact}
    await page.keyboard.press("Enter")
    assert await time.inner_text() == local

    # The hint follows what is typed, and is said when the typing pauses.
    told = page.locator("[data-strength] [data-words]")
    assert await page.locator("[data-strength]").is_hidden()
    for typed, word in (
        ("abc", "missing: 5"),
        ("aaaaaaaaaaaa", "Weak: easy"),
        ("qwertyuiop123", "Weak: easy"),
        ("hello there", "Fair"),
        ("my Kolkata sun", "your address"),
        ("seven quiet herons by a lake", "Strong"),
    ):
        await page.fill("#new_password", typed)
        assert word in await told.inner_text(), typed
    await page.wait_for_timeout(1100)
    assert await page.evaluate("window.heard") == ["Strong."], "not each of the words on the way"
    await page.screenshot(path=shots / "account-scripts.png", full_page=True)
    await page.fill("#current_password", PASSWORD)
    await page.click("#password form button:not([type=button])")
    assert "Your password was changed" in await page.inner_text("#password #notice")
    assert said == []
    await context.close()
