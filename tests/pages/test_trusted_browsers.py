"""The box, the cookie and the list of trusted browsers, and what portals get of one."""

from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from service.flows import clients as client_flow
from tests.builders import House, Person
from tests.flows.invariants import check, claims
from tests.pages import browsing
from tests.pages.portal import PORTAL, answer, asked, exchange
from tests.pages.test_surfaces import SECOND_FACTOR, at_second_factor
from tests.pages.test_two_factor import at_the_code
from tests.pages.visitor import Page, Visitor
from tests.programs import Dev

ALLOWED = pytest.mark.parametrize("settings", [{"two_factor.trust_days": 30}], indirect=True)
COOKIE = "doorward-dev-trust"
REAUTHENTICATION = "/account/reauthentication"
pytestmark = pytest.mark.case("U-45")


def box(page: Page) -> dict[str, Any] | None:
    return next((told for tag, told in page.tags if tag == "input" and told.get("name") == "trust"), None)


async def trusting(house: House, person: Person) -> tuple[Visitor, Page]:
    """A browser whose box was ticked; it is signed in."""
    house.clock.advance(30)
    visitor, page = await at_second_factor(person)
    page = await visitor.fill(page, SECOND_FACTOR, code=person.code(), trust="on")
    assert page.path == "/account"
    return visitor, page


async def signed_out(visitor: Visitor) -> None:
    page = await visitor.get("/account")
    assert (await visitor.fill(page, "/sign-out")).path == "/sign-in"


async def by_password(visitor: Visitor, path: str = "/sign-in", person: Person | None = None) -> Page:
    """The first form alone; the page it leads to."""
    page, who = await visitor.get(path), person or visitor.person
    return await visitor.post(page.form("/sign-in"), username=who.email, password=who.password)


async def test_there_is_no_box_unless_the_operator_allows_it(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    assert box(page) is None
    await visitor.fill(page, SECOND_FACTOR, code=ada.code(), trust="on")
    assert COOKIE not in visitor.cookies
    assert "Trusted browsers" not in (await visitor.get("/account")).text


@ALLOWED
async def test_a_ticked_box_spares_the_code_in_this_browser_until_the_trust_is_revoked(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    ticked = box(page)
    assert ticked is not None
    assert "checked" not in ticked
    assert "Trust this browser for 30 days" in page.text
    await visitor.fill(page, SECOND_FACTOR, code=ada.code())
    assert COOKIE not in visitor.cookies, "nobody ticked it"
    await signed_out(visitor)
    house.clock.advance(30)
    page = await by_password(visitor)
    sent = await visitor.post(page.form(SECOND_FACTOR), follow=False, code=ada.code(), trust="on")
    (line,) = [one for one in sent.answer.headers.get_list("set-cookie") if one.startswith(f"{COOKIE}=dwb_")]
    told = SimpleCookie(line)[COOKIE]
    assert (told["path"], told["max-age"], told["samesite"].lower()) == ("/", str(30 * 86_400), "lax")
    assert told["httponly"]
    assert not told["domain"]

    await signed_out(visitor)
    before = visitor.cookies[COOKIE]
    page = await by_password(visitor)
    assert page.path == "/account"
    assert visitor.cookies[COOKIE] != before, "each use gives it a new value"
    assert "Trusted browsers" in page.text
    assert "this browser" in page.text
    assert (await by_password(Visitor(ada))).path == SECOND_FACTOR, "a fresh browser is asked"
    await check(house)

    shown = await visitor.get("/account")
    (form,) = [one for one in shown.forms if one.action.startswith("/account/trusted-browsers/")]
    page = await visitor.post(form)
    assert page.path == "/account", "whoever revokes is not signed out"
    assert "not trusted any more" in page.text
    assert "No browser is trusted." in page.text
    assert "Trusted browsers" not in (await visitor.get("/account")).text
    await signed_out(visitor)
    assert (await by_password(visitor)).path == SECOND_FACTOR
    await check(house)


@ALLOWED
async def test_ending_the_session_on_the_sessions_page_brings_the_code_back(house: House) -> None:
    ada = await house.a_person().with_totp()
    trusted, _ = await trusting(house, ada)
    house.clock.advance(30)
    other = Visitor(ada)
    page = await other.sign_in()
    (form,) = [one for one in page.forms if one.action.endswith("/end")]
    assert "ended" in (await other.post(form)).text
    assert (await by_password(trusted)).path == SECOND_FACTOR
    await check(house)


@ALLOWED
async def test_a_wrong_code_keeps_the_tick_and_a_backup_code_makes_nothing_trusted(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.wrong_code(), trust="on")
    ticked = box(page)
    assert ticked is not None
    assert "checked" in ticked
    assert COOKIE not in visitor.cookies
    assert box(await visitor.get("/sign-in/backup-code")) is None
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.codes[0], trust="on")
    assert page.path == "/account"
    assert COOKIE not in visitor.cookies
    await check(house)


@ALLOWED
async def test_a_browser_trusted_by_one_person_is_a_strangers_to_another(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    shared, _ = await trusting(house, ada)
    await signed_out(shared)
    page = await by_password(shared, person=bob)
    assert page.path == SECOND_FACTOR
    assert ada.email not in page.answer.text
    await shared.fill(page, SECOND_FACTOR, code=bob.code())
    await signed_out(shared)
    assert (await by_password(shared)).path == "/account", "Ada's trust stands"
    bobs, page = await trusting(house, bob)
    (form,) = [one for one in page.forms if one.action.startswith("/account/trusted-browsers/")]
    hers = await house.value("SELECT id FROM trusted_browser WHERE person_id = $1", ada.id)
    form.action = f"/account/trusted-browsers/{hers}/revoke"
    assert "no longer there" in (await bobs.post(form)).text
    form.fields["csrf_token"] = "x" * 43
    assert (await bobs.post(form)).answer.status_code == 403
    await signed_out(shared)
    assert (await by_password(shared)).path == "/account"
    await check(house)


@ALLOWED
async def test_a_trusted_browsers_session_changes_nothing_before_it_proved_both(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, _ = await trusting(house, ada)
    await signed_out(visitor)
    house.clock.advance(30)
    assert (await by_password(visitor)).path == "/account"
    for path in ("/account/two-factor/enable", "/account/two-factor/backup-codes"):
        page = await visitor.get(path)
        assert page.path == REAUTHENTICATION, path
    page = await visitor.fill(page, REAUTHENTICATION, password=ada.password)
    assert page.path == REAUTHENTICATION, "a password alone is no step-up"
    page = await visitor.fill(page, REAUTHENTICATION, password=ada.password, code=ada.code())
    assert page.path == "/account/two-factor/backup-codes"
    await check(house)


@ALLOWED
@pytest.mark.case("K-90")
async def test_an_administrator_proves_both_factors_before_they_see_anybody_and_goes_on_there(
    house: House,
) -> None:
    ada, bob = await house.a_person().with_totp().with_role("admin"), await house.a_person()
    visitor, _ = await trusting(house, ada)
    await signed_out(visitor)
    house.clock.advance(30)
    assert (await by_password(visitor)).path == "/account"
    page = await visitor.get(f"/admin/users/{bob.id}")
    assert (page.answer.status_code, bob.email in page.text) == (403, False)
    (proof,) = [told["href"] for tag, told in page.tags if tag == "a" and told.get("id") == "go-on"]
    page = await visitor.get(proof)
    page = await visitor.fill(page, REAUTHENTICATION, password=ada.password, code=ada.code())
    assert (page.path, bob.email in page.text) == (f"/admin/users/{bob.id}", True)
    await check(house)


# Portals


async def at_the_portal(house: House, page: Page) -> Any:
    """What the portal's ID token says of the sign-in."""
    return claims((await exchange(house, answer(page)["code"])).json()["id_token"])


@ALLOWED
async def test_a_portal_that_asks_for_nothing_more_is_told_of_one_factor(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person().with_totp()
    visitor, _ = await trusting(house, ada)
    await signed_out(visitor)
    said = await at_the_portal(house, await by_password(visitor, asked()))
    assert (said["acr"], said["amr"]) == ("urn:doorward:acr:1fa", ["pwd"])
    page = await visitor.get(asked(acr_values="urn:doorward:acr:2fa urn:doorward:acr:1fa"))
    assert (await at_the_portal(house, page))["acr"] == "urn:doorward:acr:1fa", "one of those it takes"
    await check(house)


@ALLOWED
@pytest.mark.parametrize(
    "wish",
    [{"acr_values": "urn:doorward:acr:2fa"}, {"prompt": "login"}, {"max_age": "0"}, {"max_age": "99999"}],
)
async def test_a_portal_that_wants_a_fresh_or_a_strong_proof_gets_both_factors(
    house: House, wish: dict[str, str]
) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person().with_totp()
    visitor, _ = await trusting(house, ada)
    await signed_out(visitor)

    # The code is asked for at once, and not by a second form after the password's.
    house.clock.advance(30)
    page = await by_password(visitor, asked(**wish))
    assert page.path == SECOND_FACTOR
    page = await visitor.post(page.form(SECOND_FACTOR), code=ada.code())
    assert (await at_the_portal(house, page))["acr"] == "urn:doorward:acr:2fa"
    await signed_out(visitor)

    # Whoever goes around that, by the plain form in another tab, is asked when the request goes on.
    begun = (await visitor.client.get(asked(**wish))).headers["location"]
    house.clock.advance(30)
    assert (await by_password(visitor)).path == "/account", "trusted where nobody asks for more"
    if "prompt" not in wish:
        assert answer(await visitor.get(asked(prompt="none", **wish)))["error"] == "login_required"
    page = await visitor.get(begun)
    assert page.path == REAUTHENTICATION
    page = await visitor.post(page.form(REAUTHENTICATION), password=ada.password, code=ada.code())
    said = await at_the_portal(house, page)
    assert (said["acr"], said["amr"]) == ("urn:doorward:acr:2fa", ["pwd", "otp", "mfa"])
    await check(house)


# In Chromium


async def test_the_box_in_chromium_with_scripts(chromium: Browser, running: Dev, shots: Path) -> None:
    context = await chromium.new_context(base_url=running.url)
    context.set_default_timeout(15_000)
    page, email = await context.new_page(), "trusting@example.com"
    said = browsing.watched(page)
    app = await at_the_code(page, running, email)
    await page.fill("#code", app.code())
    await page.click("main form:has(#code) button")
    await page.wait_for_selector(".codes li")
    await page.goto("/account")
    await page.click("text=Sign out")

    await browsing.password(page, email)
    await page.wait_for_url("**/sign-in/second-factor")
    assert not await page.is_checked("#trust")
    await page.get_by_label("Trust this browser for 30 days").check()
    await page.screenshot(path=shots / "second-factor-trust.png", full_page=True)
    await page.fill("#code", app.code())
    await page.click("#check")
    await page.wait_for_url("**/account")
    await page.click("text=Sign out")
    await browsing.password(page, email)
    # The same browser is not asked.
    await page.wait_for_url("**/account")

    fresh = await chromium.new_context(base_url=running.url)
    other = await fresh.new_page()
    await browsing.password(other, email)
    await other.wait_for_url("**/sign-in/second-factor")
    await fresh.close()

    assert "this browser" in await page.inner_text("#trusted")
    await page.locator("#trusted").screenshot(path=shots / "account-trusted.png")
    await page.click("#trusted td button")
    assert "not trusted any more" in await page.inner_text("#trusted #notice")
    await page.click("text=Sign out")
    await browsing.password(page, email)
    await page.wait_for_url("**/sign-in/second-factor")
    assert said == []
    await context.close()
