"""The pages decide nothing anew: one-time use, budgets and step-up hold across them and the API."""

import asyncio
from collections.abc import Mapping

import httpx
import pytest

from service.app import create
from service.world import make_world
from tests.builders import House, Person
from tests.flows.invariants import check, elsewhere, guess, refusal
from tests.pages.visitor import Form, Page, Visitor

ENABLE = "/account/two-factor/enable"
CODES = "/account/two-factor/backup-codes"
DISABLE = "/account/two-factor/disable"
REAUTHENTICATION = "/account/reauthentication"
SECOND_FACTOR = "/sign-in/second-factor"
forced = pytest.mark.parametrize("settings", [{"two_factor.required": "all"}], indirect=True)


async def at_second_factor(person: Person) -> tuple[Visitor, Page]:
    """A browser whose password was right."""
    visitor = Visitor(person)
    page = await visitor.get("/sign-in")
    page = await visitor.fill(page, "/sign-in", username=person.email, password=person.password)
    assert page.path == SECOND_FACTOR, page.text
    return visitor, page


async def enrolled(house: House, person: Person) -> Visitor:
    """Somebody who turned the second factor on by the pages, just now."""
    visitor = Visitor(person)
    await visitor.sign_in()
    page = await visitor.get(ENABLE)
    page = await visitor.fill(page, ENABLE, name="Phone")
    person.secret = page.secret
    page = await visitor.fill(page, f"{ENABLE}/confirm", code=person.code())
    person.codes = page.codes
    assert len(person.codes) == 5, page.text
    return visitor


@pytest.mark.case("K-13")
async def test_one_code_is_accepted_once_on_all_surfaces_together(house: House) -> None:
    ada = await house.a_person().with_totp()
    tokens = await ada.sign_in(device_token=None)
    bearer = tokens["access_token"]
    house.clock.advance(30)
    code = ada.code()
    visitor, page = await at_second_factor(ada)
    assert (await visitor.fill(page, SECOND_FACTOR, code=code)).path == "/account"

    by_api = await ada.verify(await ada.pre_auth(), code)
    assert refusal(by_api) == (401, "code_already_used")
    proof = {"password": ada.password, "code": code}
    assert refusal(await ada.post("/v1/reauthentication", proof, bearer=bearer)) == (401, "code_already_used")
    assert refusal(await ada.post("/v1/me/two-factor/disable", proof, bearer=bearer)) == (
        401,
        "code_already_used",
    )
    page = await visitor.get(REAUTHENTICATION)
    page = await visitor.fill(page, REAUTHENTICATION, **proof)
    assert "already used" in page.text
    page = await visitor.get(DISABLE)
    page = await visitor.fill(page, DISABLE, **proof)
    assert "already used" in page.text
    other, page = await at_second_factor(ada)
    page = await other.fill(page, SECOND_FACTOR, code=code)
    assert "already used" in page.text
    assert "Activated" in (await visitor.get("/account")).text
    await check(house)


@pytest.mark.case("K-13")
@pytest.mark.case("K-88")
async def test_the_code_of_the_set_up_opens_no_sign_in(house: House) -> None:
    ada = await house.a_person()
    await enrolled(house, ada)
    visitor, page = await at_second_factor(ada)
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.code())
    assert page.path == SECOND_FACTOR
    assert "already used" in page.text
    house.clock.advance(30)
    assert (await visitor.fill(page, SECOND_FACTOR, code=ada.code())).path == "/account"
    await check(house)


@pytest.mark.case("K-28")
async def test_a_locked_second_factor_is_locked_on_the_pages_and_sessions_go_on(house: House) -> None:
    ada = await house.a_person().with_totp()
    known = Visitor(ada)
    await known.sign_in()
    before, early = await at_second_factor(ada)
    before.person = elsewhere(ada)
    house.clock.advance(30)
    await guess(ada, 5)
    for visitor, page in ((before, early), await at_second_factor(elsewhere(ada))):
        for code in (ada.code(), ada.codes[0]):
            page = await visitor.fill(page, SECOND_FACTOR, code=code)
            assert page.path == SECOND_FACTOR
            assert page.answer.status_code == 429
            assert int(page.answer.headers["retry-after"]) > 0
            assert "Too many attempts. Try again in" in page.text
    assert refusal(await ada.verify(await ada.pre_auth(), ada.code())) == (429, "rate_limited")
    assert (await known.get("/account")).path == "/account", "the session goes on"
    page = await known.get(REAUTHENTICATION)
    page = await known.fill(page, REAUTHENTICATION, password=ada.password, code=ada.code())
    assert page.path == "/account", "and its own budget is another"
    await check(house)


@pytest.mark.case("K-34")
async def test_a_limit_outlives_a_restart_and_holds_at_another_worker(house: House) -> None:
    ada = await house.a_person().with_totp()
    await guess(ada, 5)
    other = make_world(house.world.settings, clock=house.clock)
    await other.refresh()
    transport = httpx.ASGITransport(create(other), client=("127.0.0.1", 1))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8400") as client:
        there = elsewhere(ada)
        there.client = client
        visitor, page = await at_second_factor(there)
        page = await visitor.fill(page, SECOND_FACTOR, code=ada.code())
        assert page.answer.status_code == 429
        assert refusal(await there.verify(await there.pre_auth(), ada.code())) == (429, "rate_limited")
    await other.close()
    await check(house)


@pytest.mark.case("K-80")
async def test_adding_an_authenticator_needs_a_fresh_proof_and_the_very_session(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    await visitor.sign_in()
    page = await visitor.get(ENABLE)
    form = page.form(ENABLE)
    house.clock.advance(301)
    asked = await visitor.get(ENABLE)
    assert asked.path == REAUTHENTICATION
    refused = await visitor.post(form, name="Thief's")
    assert refused.path == REAUTHENTICATION
    assert await house.value("SELECT count(*) FROM authenticator") == 1
    page = await visitor.fill(asked, REAUTHENTICATION, password=ada.password, code=ada.code())
    assert page.path == ENABLE
    page = await visitor.fill(page, ENABLE, name="Tablet")
    confirming = page.form(f"{ENABLE}/confirm")

    house.clock.advance(30)
    other = Visitor(ada)
    await other.sign_in()
    strange = await other.get("/account")
    token = strange.forms[0].fields["csrf_token"]
    confirming.fields["csrf_token"] = token
    page = await other.post(confirming, code="000000")
    assert "no longer there" in page.text
    assert await house.value("SELECT count(*) FROM authenticator WHERE confirmed_at IS NOT NULL") == 1
    await check(house)


@pytest.mark.case("K-81")
@forced
async def test_a_sign_in_of_an_enrolled_person_opens_no_set_up(house: House) -> None:
    ada = await house.a_person().with_totp()
    for path, fields in (
        ("/sign-in/enrolment", {"name": "Thief's"}),
        ("/sign-in/enrolment/confirm", {"id": str(ada.authenticator), "code": "000000"}),
    ):
        visitor, page = await at_second_factor(ada)
        assert (await visitor.get("/sign-in/enrolment")).path == SECOND_FACTOR
        assert (await visitor.get(ENABLE)).path == "/sign-in"
        token = page.form(SECOND_FACTOR).fields["csrf_token"]
        assert (await visitor.post(Form(path, "post", {"csrf_token": token} | fields))).path == "/sign-in"
    assert await house.value("SELECT count(*) FROM authenticator") == 1


@pytest.mark.case("K-81")
@forced
async def test_a_set_up_that_is_owed_is_done_within_the_sign_in(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.get("/sign-in?return_to=/account/two-factor/backup-codes")
    page = await visitor.fill(page, "/sign-in", username=ada.email, password=ada.password)
    assert page.path == "/sign-in/enrolment"
    assert (await visitor.get("/account")).path == "/sign-in", "no session before it is done"
    page = await visitor.get("/sign-in/enrolment?return_to=/account/two-factor/backup-codes")
    page = await visitor.fill(page, "/sign-in/enrolment", name="Phone")
    ada.secret = page.secret
    confirming = page.form("/sign-in/enrolment/confirm")
    wrong = await visitor.post(confirming, code=ada.wrong_code())
    assert "not valid" in wrong.text
    assert wrong.secret == ada.secret, "a wrong code keeps the picture"
    shown = await visitor.post(confirming, code=ada.code())
    assert len(shown.codes) == 5, shown.text
    again = await visitor.post(confirming, code=ada.code())
    assert not again.codes
    assert "already shown" in again.text
    assert again.path == "/account/two-factor/backup-codes"
    await check(house)


@pytest.mark.case("U-57")
@pytest.mark.case("K-82")
async def test_a_second_start_replaces_the_first_and_neither_is_active(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    page = await visitor.fill(await visitor.get(ENABLE), ENABLE, name="Phone")
    first, old = page.form(f"{ENABLE}/confirm"), page.secret
    page = await visitor.fill(page, ENABLE, name="Phone")
    assert page.secret != old
    ada.secret = old
    refused = await visitor.post(first, code=ada.code())
    assert "no longer open" in refused.text
    assert (await Visitor(ada).sign_in()).path == "/account", "2FA is off until a code was right"
    assert "Not activated" in (await visitor.get("/account")).text


@pytest.mark.case("K-83")
async def test_one_confirmation_sent_twice_at_once_turns_it_on_once(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    page = await visitor.fill(await visitor.get(ENABLE), ENABLE, name="Phone")
    ada.secret = page.secret
    form = page.form(f"{ENABLE}/confirm")
    pages = await asyncio.gather(*(visitor.post(form, follow=False, code=ada.code()) for _ in range(8)))
    assert sum(bool(page.codes) for page in pages) == 1
    sent_on = {page.answer.headers["location"] for page in pages if not page.codes}
    assert ENABLE not in sent_on, "the others hear that it is done, not that it is no longer open"
    assert await house.value("SELECT count(*) FROM authenticator WHERE confirmed_at IS NOT NULL") == 1
    assert await house.value("SELECT count(*) FROM backup_code") == 5
    await check(house)


@pytest.mark.case("U-52")
@pytest.mark.case("U-63")
@pytest.mark.case("K-84")
async def test_codes_and_the_second_factor_itself_need_their_proofs(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    visitor = Visitor(ada)
    await visitor.sign_in()
    spent, form = ada.code(), (await visitor.get(CODES)).form(CODES)
    house.clock.advance(301)
    assert (await visitor.get(CODES)).path == REAUTHENTICATION
    assert (await visitor.post(form)).path == REAUTHENTICATION
    page = await visitor.get(DISABLE)
    tries: list[Mapping[str, str]] = [
        {},
        {"password": ada.password},
        {"code": ada.code()},
        {"password": "not the one", "code": ada.code()},
        {"password": ada.password, "code": spent},
        {"password": ada.password, "code": bob.code()},
        {"password": ada.password, "code": bob.codes[0]},
    ]
    for fields in tries:
        page = await visitor.post(page.form(DISABLE), follow=True, **fields)
        assert page.path == DISABLE, page.text
        assert 'role="alert"' in page.answer.text
    assert "Activated" in (await visitor.get("/account")).text
    assert await house.value("SELECT count(*) FROM backup_code WHERE used_at IS NOT NULL") == 0
    await check(house)


@pytest.mark.case("K-84")
@forced
async def test_what_a_policy_requires_cannot_be_turned_off(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    assert "Turn off" not in page.text
    page = await visitor.get(DISABLE)
    assert "cannot be turned off" in page.text
    assert [form.action for form in page.forms] == ["/sign-out"]


@pytest.mark.case("K-89")
async def test_turning_it_on_ends_the_other_sessions_on_both_surfaces(house: House) -> None:
    ada = await house.a_person()
    other, tokens = Visitor(ada), await ada.sign_in()
    await other.sign_in()
    visitor = await enrolled(house, ada)
    page = await other.get("/account")
    assert page.path == "/sign-in"
    assert "your two-factor authentication was changed" in page.text
    assert refusal(await ada.refresh(tokens["refresh_token"])) == (401, "invalid_refresh_token")
    assert refusal(await ada.get("/v1/me", bearer=tokens["access_token"])) == (401, "invalid_token")
    assert (await visitor.get("/account")).path == "/account"
    await check(house)


@pytest.mark.case("K-80")
async def test_every_rise_in_privilege_gives_the_cookie_a_new_value(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    values = [visitor.cookies["doorward-dev"]]
    page = await visitor.fill(await visitor.get(REAUTHENTICATION), REAUTHENTICATION, password=ada.password)
    values.append(visitor.cookies["doorward-dev"])
    page = await visitor.fill(await visitor.get(ENABLE), ENABLE, name="Phone")
    ada.secret = page.secret
    await visitor.fill(page, f"{ENABLE}/confirm", code=ada.code())
    values.append(visitor.cookies["doorward-dev"])
    assert len(set(values)) == 3
    for old in values[:-1]:
        thief = Visitor(ada)
        thief.client.cookies.set("doorward-dev", old)
        assert (await thief.get("/account")).path == "/sign-in"
    assert (await visitor.get("/account")).path == "/account"


async def test_a_phone_whose_clock_is_behind_is_told_so(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.code(-10))
    assert "the clock on your phone is about 5 min 0 s behind" in page.text
    assert "Server time:" in page.text
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.wrong_code())
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.wrong_code(but=1))
    assert "2 attempts left" in page.text


@pytest.mark.case("K-16")
async def test_a_backup_code_works_in_either_field_and_once(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    page = await visitor.fill(page, SECOND_FACTOR, code=f" {ada.codes[0].lower()} ")
    assert page.path == "/account"
    assert "4 are left" in page.text
    visitor, page = await at_second_factor(ada)
    page = await visitor.get("/sign-in/backup-code")
    page = await visitor.fill(page, "/sign-in/backup-code", code=ada.codes[0])
    assert "already used" in page.text
    for left, code in zip((3, 2, 1, 0), ada.codes[1:], strict=True):
        visitor, _ = await at_second_factor(ada)
        page = await visitor.get("/sign-in/backup-code")
        page = await visitor.fill(page, "/sign-in/backup-code", code=code)
        assert page.path == "/account"
        assert (f"{left} left" in page.text) or (f"{left} are left" in page.text) or left == 0
    assert "That was your last backup code" in page.text
    await check(house)
