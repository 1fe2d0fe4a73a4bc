"""The journeys of the pages, form by form, in a browser without JavaScript."""

from service.domain import totp
from tests.builders import House
from tests.flows.invariants import check
from tests.pages.visitor import Visitor


async def test_the_whole_life_of_a_second_factor_by_forms(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    assert page.path == "/account", page.text
    assert "Not activated" in page.text
    page = await visitor.get("/account/two-factor/enable")
    page = await visitor.fill(page, "/account/two-factor/enable", name="Phone")
    ada.secret = page.secret
    shown = await visitor.fill(
        page, "/account/two-factor/enable/confirm", code=f"{ada.code()[:3]} {ada.code()[3:]}"
    )
    ada.codes = shown.codes
    assert len(set(ada.codes)) == 5
    again = await visitor.post(page.form("/account/two-factor/enable/confirm"), code=ada.code())
    assert "already shown" in again.text
    assert not again.codes
    page = await visitor.get("/account")
    assert "Activated" in page.text
    page = await visitor.fill(page, "/sign-out")
    assert page.path == "/sign-in"
    assert "You are signed out" in page.text

    page = await visitor.sign_in(ada.code(1))
    assert page.path == "/account", page.text
    page = await visitor.fill(page, "/sign-out")
    page = await visitor.get("/sign-in?return_to=/account/two-factor/backup-codes")
    page = await visitor.fill(page, "/sign-in", username=f" {ada.email.upper()} ", password=ada.password)
    page = await visitor.get("/sign-in/backup-code?return_to=/account/two-factor/backup-codes")
    page = await visitor.fill(page, "/sign-in/backup-code", code=ada.codes[0].lower())
    assert page.path == "/account/two-factor/backup-codes", page.text
    assert "4 are left" in page.text
    new = await visitor.fill(page, "/account/two-factor/backup-codes")
    assert len(set(new.codes) - set(ada.codes)) == 5
    again = await visitor.post(page.form("/account/two-factor/backup-codes"))
    assert "already shown" in again.text
    assert not again.codes
    page = await visitor.get("/account/two-factor/disable")
    page = await visitor.fill(page, "/account/two-factor/disable", password=ada.password, code=new.codes[0])
    assert "Two-factor authentication is off" in page.text
    await check(house)
    assert totp.is_code(ada.code())
