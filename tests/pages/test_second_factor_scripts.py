"""The second step of a sign-in in Chromium with scripts: codes typed, pasted, filled in, and out of time."""

import pytest
from playwright.async_api import BrowserContext, expect

from tests.pages.browsing import PASSWORD, password, watched
from tests.pages.scripted import Sent, database, enrolled, paste
from tests.programs import Dev

MINE = "@second-factor.example"


@pytest.mark.case("U-29")
@pytest.mark.case("U-37")
@pytest.mark.case("U-38")
@pytest.mark.case("U-39")
async def test_a_code_is_taken_however_it_comes(scripted: BrowserContext, running: Dev) -> None:
    email, page, sent = f"coding{MINE}", await scripted.new_page(), Sent()
    app, codes = await enrolled(running, email)
    said = watched(page)
    await password(page, email, "/sign-in?return_to=/account/two-factor/disable")
    await page.wait_for_url("**/sign-in/second-factor**")
    await sent.watch(page, "**/sign-in/second-factor**")
    field, box = page.locator("#code"), page.locator("[data-code]")
    await expect(field).to_be_focused()

    # Typed: shown plainly, and never sent by itself.
    await page.keyboard.type("12-3 45")
    assert await field.input_value() == "12345"
    await field.fill("١٢٣ ٤٥٦")
    assert await field.input_value() == "123456"
    await field.fill("００００００")
    assert await field.input_value() == "000000"
    await page.wait_for_timeout(300)
    assert sent.bodies == []
    await field.press("Enter")
    await expect(page.locator("#notice")).to_contain_text("That code is not valid. Codes change every 30 s")
    await expect(field).to_be_focused()
    assert await field.input_value() == ""
    assert len(sent.bodies) == 1

    # A backup code has its room, and waits for the person.
    await paste(page, codes[0].lower())
    await expect(box).to_have_attribute("data-long", "")
    assert await field.input_value() == codes[0].lower()
    await field.fill("")
    await expect(box).not_to_have_attribute("data-long", "")
    assert len(sent.bodies) == 1

    # Pasted whole: sent once.
    await field.press("Backspace")
    code = app.code()
    await paste(page, f" {code[:3]} {code[3:]}\n")
    await page.wait_for_url(f"{running.url}/account/two-factor/disable")
    assert [body["code"] for body in sent.bodies[1:]] == [[code]]

    # Back from here: no error, no question whether to send it again.
    await page.unroute_all()
    await page.go_back()
    await expect(page.locator("main")).to_contain_text(f"You are signed in as {email}.")
    await page.click("#go-on")
    await page.wait_for_url(f"{running.url}/account/two-factor/disable")
    assert said == []


@pytest.mark.case("U-38")
async def test_after_an_error_nothing_is_sent_before_somebody_touches_the_field(
    scripted: BrowserContext, running: Dev
) -> None:
    email, page, sent = f"again{MINE}", await scripted.new_page(), Sent()
    await enrolled(running, email)
    await password(page, email)
    await page.wait_for_url("**/sign-in/second-factor**")
    await sent.watch(page, "**/sign-in/second-factor**")
    await paste(page, "000000")
    await expect(page.locator("#notice")).to_be_visible()
    assert len(sent.bodies) == 1
    # As a browser fills it in by itself, and as somebody does who pastes the same again.
    await page.evaluate(
        """() => { const field = document.querySelector("#code"); field.value = "000000";
          field.dispatchEvent(new Event("input", {bubbles: true})); }"""
    )
    await page.keyboard.press("Control+A")
    await paste(page, "000000")
    await page.wait_for_timeout(300)
    assert len(sent.bodies) == 1
    await page.keyboard.press("Backspace")
    await page.keyboard.press("Control+A")
    await paste(page, "000001")
    await expect(page.locator("#notice")).to_contain_text("Server time")
    assert [body["code"] for body in sent.bodies] == [["000000"], ["000001"]]


@pytest.mark.case("U-30")
@pytest.mark.case("U-43")
async def test_a_step_that_runs_out_says_so_by_itself(scripted: BrowserContext, running: Dev) -> None:
    email, page = f"late{MINE}", await scripted.new_page()
    app, _ = await enrolled(running, email)
    await page.clock.install()
    await password(page, email, "/sign-in?return_to=/account/two-factor/disable")
    await page.wait_for_url("**/sign-in/second-factor**")
    text = await page.inner_text("main")
    assert "min" not in text, "nobody is pressed"
    store = await database(running)
    await store.execute(
        "UPDATE pre_auth SET expires_at = now() WHERE person_id = (SELECT id FROM person WHERE email = $1)",
        email,
    )
    await store.close()
    await page.clock.fast_forward(302_000)
    await page.wait_for_url("**/sign-in?return_to=**")
    await expect(page.locator("#notice")).to_have_text("Your sign-in timed out. Start again.")
    assert await page.input_value("#username") == email
    await page.fill("#password", PASSWORD)
    await page.click("#sign-in")
    await page.fill("#code", app.code())
    await page.click("#check")
    await page.wait_for_url(f"{running.url}/account/two-factor/disable")
