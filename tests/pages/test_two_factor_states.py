"""What the account says of a second factor in each of its states, and what its forms ask for."""

import pytest

from tests.builders import House
from tests.flows.account import another, authenticators
from tests.flows.invariants import check
from tests.pages.visitor import Page, Visitor

ENABLE = "/account/two-factor/enable"
CODES = "/account/two-factor/backup-codes"
DISABLE = "/account/two-factor/disable"
REAUTHENTICATION = "/account/reauthentication"
SAVED = f"{CODES}/saved"
forced = pytest.mark.parametrize("settings", [{"two_factor.required": "all"}], indirect=True)


def links(page: Page) -> set[str]:
    return {told["href"] for tag, told in page.tags if tag == "a" and "href" in told}


@pytest.mark.case("U-62")
@pytest.mark.case("U-59")
async def test_the_account_tells_each_state_in_words(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    assert "Not activated" in page.text
    assert ENABLE in links(page)
    assert DISABLE not in links(page)

    page = await visitor.fill(await visitor.get(ENABLE), ENABLE, name="Phone")
    ada.secret = page.secret
    shown = await visitor.fill(page, f"{ENABLE}/confirm", code=ada.code())
    assert "no-store" in shown.answer.headers["cache-control"]
    page = await visitor.get("/account")
    assert "Activated" in page.text
    assert "You have no saved codes" in page.text
    assert {DISABLE, CODES} <= links(page)
    page = await visitor.fill(shown, SAVED)
    assert "Your backup codes are saved." in page.text
    assert "5 backup codes left." in page.text
    page = await visitor.post(shown.form(SAVED))
    assert page.path == "/account", "said again, it stands"

    # Few, none, and no set at all.
    for left, words in ((2, "Only 2 backup codes left."), (1, "Only 1 backup code left.")):
        await house.rows(
            "UPDATE backup_code SET used_at = now() WHERE person_id = $1 AND ordinal > $2", ada.id, left
        )
        assert words in (await visitor.get("/account")).text
    await house.rows("UPDATE backup_code SET used_at = now() WHERE person_id = $1", ada.id)
    assert "no backup codes left" in (await visitor.get("/account")).text
    await house.rows("UPDATE backup_set SET replaced_at = now() WHERE person_id = $1", ada.id)
    page = await visitor.get("/account")
    assert "no backup codes left" in page.text
    assert "Activated" in page.text
    page = await visitor.get(CODES)
    assert "You have no backup codes" in page.text
    new = await visitor.fill(page, CODES)
    assert len(new.codes) == 5
    again = await visitor.post(page.form(CODES))
    assert not again.codes
    assert "already shown" in again.text
    late = await visitor.post(shown.form(SAVED))
    assert "already shown" in late.text, "what is said of a dead set changes nothing"
    assert "You have no saved codes" in (await visitor.get("/account")).text


@pytest.mark.case("U-62")
@pytest.mark.case("U-59")
@forced
async def test_what_a_policy_requires_gives_its_reason_and_no_way_off(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    assert page.path == "/sign-in/enrolment"
    page = await visitor.fill(page, "/sign-in/enrolment", name="x" * 65)
    assert "1 to 64" in page.text
    page = await visitor.fill(page, "/sign-in/enrolment", name="Phone")
    ada.secret = page.secret
    shown = await visitor.fill(page, "/sign-in/enrolment/confirm", code=ada.code())
    page = await visitor.get("/account")
    assert DISABLE not in links(page)
    assert "Your organisation requires two-factor authentication" in page.text
    assert "You have no saved codes" in page.text
    page = await visitor.fill(shown, SAVED)
    assert page.path == "/account"
    assert "You have no saved codes" not in page.text
    await check(house)


@pytest.mark.case("U-54")
async def test_turning_it_on_needs_a_fresh_proof_and_a_confirmed_address(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    intro = await visitor.get(ENABLE)
    house.clock.advance(301)
    assert (await visitor.get(ENABLE)).path == REAUTHENTICATION
    page = await visitor.fill(intro, ENABLE, name="Phone")
    assert page.path == REAUTHENTICATION
    await visitor.fill(page, REAUTHENTICATION, password=ada.password)
    await house.rows("UPDATE person SET email_verified_at = NULL WHERE id = $1", ada.id)
    page = await visitor.fill(await visitor.get(ENABLE), ENABLE, name="Phone")
    assert "Confirm your e-mail address first" in page.text
    assert not [told for tag, told in page.tags if told.get("id") == "key"]
    assert await authenticators(house, ada) == {}


@pytest.mark.case("U-60")
@pytest.mark.case("U-58")
async def test_authenticators_go_by_their_names(house: House) -> None:
    ada = await house.a_person().with_totp()
    second = await another(house, ada, "<script>alert(1)</script>")
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    assert "&lt;script&gt;alert(1)" in page.answer.text
    assert "<script>alert" not in page.answer.text
    page = await visitor.get(ENABLE)
    assert page.form(ENABLE).fields["name"] == "Authenticator"
    page = await visitor.fill(page, ENABLE, name="Phone")
    assert "You have an authenticator of that name already" in page.text
    assert page.form(ENABLE).fields["name"] == "Phone", "what was typed is kept"
    page = await visitor.fill(page, ENABLE, name="Tablet")
    secret = page.secret
    page = await visitor.fill(page, f"{ENABLE}/confirm", code=ada.wrong_code())
    assert "not valid" in page.text
    assert page.secret == secret, "a wrong code changes no picture"
    page = await visitor.get("/account")
    rename = f"/account/two-factor/authenticators/{second}/rename"
    page = await visitor.fill(page, rename, name="Phone")
    assert "of that name already" in page.text
    page = await visitor.fill(page, rename, name="Watch")
    assert "has its new name" in page.text
    page = await visitor.fill(page, f"/account/two-factor/authenticators/{ada.authenticator}/remove")
    assert "was removed" in page.text
    assert await authenticators(house, ada) == {str(second): "Watch"}
    assert not [form for form in page.forms if form.action.endswith("/remove")], "the last one stays"
    await check(house)


@pytest.mark.case("U-48")
@pytest.mark.parametrize(
    "settings", [{"two_factor.codes_seconds": 0}, {"two_factor.codes_seconds": 45}], indirect=True
)
async def test_the_limit_is_a_setting_and_gives_way_to_whoever_asks(house: House) -> None:
    limit = house.world.settings.two_factor.codes_seconds
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    await visitor.sign_in()
    for asked in ({}, {"no_limit": "yes"}):
        page = await visitor.get(CODES)
        offered = [told for _, told in page.tags if told.get("name") == "no_limit"]
        assert bool(offered) is bool(limit)
        assert not [told for told in offered if "checked" in told], "nobody is asked to undo it"
        form = page.form(CODES)
        form.fields.pop("no_limit", None)
        shown = await visitor.post(form, follow=True, **asked)
        (dialog,) = [told for tag, told in shown.tags if tag == "dialog"]
        assert dialog["data-seconds"] == ("0" if asked else str(limit))
        assert ("seconds left" in shown.text) is (dialog["data-seconds"] != "0")
    assert not [name for name in visitor.cookies if "limit" in name]
