"""One's own second factor: named, removed, turned off, and taken over by nobody."""

import asyncio

import pytest

from tests.builders import House
from tests.flows.account import (
    AUTHENTICATORS,
    BACKUP_CODES,
    DISABLE,
    ME,
    NEW_PASSWORD,
    NOBODY,
    PASSWORD,
    all_of_it,
    another,
    authenticators,
    codes_of,
    confirm,
    disable,
    in_browser,
    living,
    refreshed,
    remove,
    rename,
    start,
    two_factor,
    without_step_up,
)
from tests.flows.invariants import ROUNDS, check, claims, elsewhere, refusal, tally

required = pytest.mark.parametrize("settings", [{"two_factor.required": "all"}], indirect=True)


# Named


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "Pho\0ne", "Pho\nne", "\u202enohp", None, 7])
async def test_what_is_no_name_is_refused(house: House, name: object) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    for answer in (
        await rename(ada, bearer, ada.authenticator, name),
        await ada.post(AUTHENTICATORS, {"name": name}, bearer=bearer),
    ):
        assert refusal(answer) == (400, "invalid_request")
        assert answer.json()["errors"][0]["pointer"] == "/name"
    assert list((await authenticators(house, ada)).values()) == ["Phone"]


async def test_a_name_that_is_taken_is_refused_by_its_pointer(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    second = await another(house, ada, "Tablet")
    bearer = (await ada.sign_in())["access_token"]
    for answer in (
        await rename(ada, bearer, second, "Phone"),
        await rename(ada, bearer, second, "  Phone "),
        await ada.post(AUTHENTICATORS, {"name": "Tablet"}, bearer=bearer),
    ):
        assert refusal(answer) == (400, "invalid_request")
        assert answer.json()["errors"] == [{"pointer": "/name", "code": "taken"}]
    assert (await rename(ada, bearer, second, "Tablet")).status_code == 204, "its own name is free to it"
    bobs = (await bob.sign_in())["access_token"]
    assert (await rename(bob, bobs, bob.authenticator, "Tablet")).status_code == 204, "as is another's"
    await check(house)


async def test_a_pending_or_unknown_or_anothers_authenticator_is_neither_named_nor_removed(
    house: House,
) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    await another(house, bob)
    bearer = (await ada.sign_in())["access_token"]
    pending = await start(ada, bearer)
    before = await all_of_it(house)
    for one in (bob.authenticator, NOBODY, pending["id"]):
        assert refusal(await rename(ada, bearer, one, "Mine")) == (404, "not_found")
        assert refusal(await remove(ada, bearer, one)) == (404, "not_found")
    assert await all_of_it(house) == before
    await check(house)


async def test_a_renamed_authenticator_works_on_and_no_session_ends(house: House) -> None:
    ada = await house.a_person().with_totp()
    first = await ada.sign_in()
    house.clock.advance(30)
    second = await ada.sign_in()
    answer = await rename(ada, second["access_token"], ada.authenticator, "  Fox 🦊 ")
    assert answer.status_code == 204
    (told,) = (await two_factor(ada, second["access_token"]))["authenticators"]
    assert (told["id"], told["name"]) == (str(ada.authenticator), "Fox 🦊")
    assert (await ada.refresh(first["refresh_token"])).status_code == 200
    assert (await ada.verify(await ada.pre_auth(), ada.code(1))).status_code == 200
    (event,) = await house.events("two_factor:renaming:ok")
    assert (event["person_id"], event["factor_id"]) == (ada.id, ada.authenticator)
    assert await house.letters(ada) == []
    await check(house)


async def test_without_a_name_a_new_authenticator_gets_a_free_one(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    for _ in range(3):
        assert (await confirm(ada, bearer, await start(ada, bearer))).status_code == 200
    names = sorted((await authenticators(house, ada)).values())
    assert names == ["Authenticator", "Authenticator 2", "Authenticator 3"]
    await check(house)


async def test_a_name_taken_while_an_enrolment_was_pending_stands_once(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    pending = await start(ada, bearer, "Tablet")
    await rename(ada, bearer, ada.authenticator, "Tablet")
    await confirm(ada, bearer, pending)
    names = list((await authenticators(house, ada)).values())
    assert len(set(names)) == len(names), names


# Removed


async def test_the_last_authenticator_is_not_removed(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    await start(ada, bearer)
    before = await all_of_it(house)
    assert refusal(await remove(ada, bearer, ada.authenticator)) == (409, "last_authenticator")
    assert await all_of_it(house) == before
    assert (await ada.verify(await ada.pre_auth(), ada.code(1))).status_code == 200
    await check(house)


async def test_a_removed_authenticator_opens_nothing_and_the_other_sessions_end(house: House) -> None:
    ada = await house.a_person().with_totp()
    second = await another(house, ada)
    other = await ada.sign_in()
    house.clock.advance(30)
    acting = await ada.sign_in()
    pending = await ada.pre_auth()
    assert (await remove(ada, acting["access_token"], ada.authenticator)).status_code == 204
    assert await authenticators(house, ada) == {str(second): "Tablet"}
    gone = "SELECT count(*) FROM authenticator WHERE id = $1"
    assert await house.value(gone, ada.authenticator) == 0, "its seed goes with its row"
    assert (await ada.refresh(other["refresh_token"])).json()["reason"] == "two_factor_changed"
    assert refusal(await ada.get(ME, bearer=other["access_token"])) == (401, "invalid_token")
    assert refusal(await ada.verify(pending, ada.code(1))) == (401, "invalid_pre_auth_token")
    assert refusal(await ada.verify(await ada.pre_auth(), ada.code(1))) == (401, "invalid_code")
    assert (await ada.verify(await ada.pre_auth(), ada.codes[0])).status_code == 200, "the codes stay"
    acting = await refreshed(ada, acting)
    assert claims(acting["access_token"])["amr"] == ["pwd", "otp", "mfa"]
    assert "authenticator_removed" in await house.letters(ada)
    (event,) = await house.events("two_factor:removal:ok")
    assert (event["person_id"], event["factor_id"]) == (ada.id, ada.authenticator)
    assert refusal(await remove(ada, acting["access_token"], ada.authenticator)) == (404, "not_found")
    await check(house)


@ROUNDS
async def test_of_two_authenticators_removed_at_once_one_stays(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        second = await another(house, ada)
        bearer = (await ada.sign_in())["access_token"]
        answers = await asyncio.gather(
            *(remove(elsewhere(ada), bearer, one) for one in (ada.authenticator, second) * 4)
        )
        assert tally(answers)[204] == 1
        assert codes_of(answers) <= {(409, "conflict"), (409, "last_authenticator"), (404, "not_found")}
        assert len(await authenticators(house, ada)) == 1
        assert len(await living(house, ada)) == 1
        await check(house)


# Turned off


@pytest.mark.case("K-84")
async def test_nothing_but_both_secrets_of_this_person_turns_it_off(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    tokens = await ada.sign_in()
    bearer, spent = tokens["access_token"], ada.code()
    regenerated = (await ada.post(BACKUP_CODES, None, bearer=bearer)).json()["codes"]
    assert (await ada.verify(await ada.pre_auth(), regenerated[0])).status_code == 200
    before = await all_of_it(house)
    bodies: list[tuple[object, str]] = [
        (None, ""),
        ({}, "/password"),
        ({"password": ada.password}, "/code"),
        ({"code": ada.code(1)}, "/password"),
        ({"password": ada.password, "code": None}, "/code"),
        ({"password": ada.password, "code": ""}, "/code"),
        ({"password": ada.password, "code": "12345"}, "/code"),
        ({"password": ada.password, "code": "١٢٣٤٥٦"}, "/code"),
        ({"password": ada.password, "code": ada.code(1), "force": True}, "/force"),
    ]
    for body, pointer in bodies:
        answer = await ada.post(DISABLE, body, bearer=bearer)
        assert refusal(answer) == (400, "invalid_request"), body
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert refusal(await disable(ada, bearer, ada.code(1), password="not it")) == (401, "invalid_credentials")
    assert refusal(await disable(ada, bearer, ada.code(1), password=bob.email)) == (
        401,
        "invalid_credentials",
    )
    for code, told in (
        (spent, "code_already_used"),
        (regenerated[0], "code_already_used"),
        (ada.codes[0], "invalid_code"),
        (bob.code(), "invalid_code"),
    ):
        assert refusal(await disable(ada, bearer, code)) == (401, told)
    assert (await disable(ada, bearer, bob.codes[0])).json()["attempts_left"] == 0
    assert refusal(await disable(ada, bearer, ada.code(1))) == (429, "rate_limited")
    assert refusal(await disable(ada, await ada.pre_auth(), ada.code(1))) == (401, "invalid_token")
    assert await all_of_it(house) == before
    assert (await two_factor(ada, bearer))["status"] == "activated"
    house.clock.advance(240)
    await check(house)


async def test_there_is_nothing_to_turn_off_without_an_authenticator(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    await start(ada, bearer)
    assert refusal(await disable(ada, bearer, "123456")) == (409, "no_authenticator")
    assert await house.value("SELECT cardinality(known_failures) FROM person") == 0
    await check(house)


@required
async def test_what_policy_requires_is_not_turned_off(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    before = await all_of_it(house)
    for password in (ada.password, "not it"):
        refused = await disable(ada, bearer, ada.code(1), password=password)
        assert refusal(refused) == (409, "two_factor_required_by_policy")
    assert await all_of_it(house) == before
    assert (await two_factor(ada, bearer))["required_by"] == "policy"
    assert (await ada.verify(await ada.pre_auth(), ada.code(1))).status_code == 200, "no code is spent"
    await check(house)


@pytest.mark.parametrize("by", ["totp", "backup_code"])
async def test_password_and_code_turn_it_off_whatever_the_age_of_the_last_proof(
    house: House, by: str
) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    await another(house, ada)
    other = await ada.sign_in()
    house.clock.advance(30)
    acting = await without_step_up(house, ada, await ada.sign_in())
    bearer, pending = acting["access_token"], await ada.pre_auth()
    code = ada.code() if by == "totp" else ada.codes[0].lower()
    assert (await disable(ada, bearer, code)).status_code == 204

    state = await two_factor(ada, bearer)
    assert (state["status"], state["authenticators"], state["backup_codes_left"]) == ("not_activated", [], 0)
    assert await house.value("SELECT count(*) FROM authenticator WHERE person_id = $1", ada.id) == 0
    assert (await ada.refresh(other["refresh_token"])).json()["reason"] == "two_factor_changed"
    assert refusal(await ada.verify(pending, ada.code(1))) == (401, "invalid_pre_auth_token")
    acting = await refreshed(ada, acting)
    told = claims(acting["access_token"])
    assert (told["amr"], told["acr"]) == (["pwd"], "urn:doorward:acr:1fa")
    assert await living(house, ada) == {acting["session"]["id"]}
    assert (await ada.login()).json()["status"] == "complete"
    assert refusal(await disable(ada, acting["access_token"], ada.codes[1])) == (409, "no_authenticator")
    assert (await bob.verify(await bob.pre_auth(), bob.code())).status_code == 200
    (event,) = await house.events("two_factor:disable:ok")
    assert (event["person_id"], str(event["session_id"])) == (ada.id, acting["session"]["id"])
    assert await house.letters(ada) == ["two_factor_off"], by
    await check(house)


async def test_an_administrators_session_of_one_factor_has_no_scope_of_an_administrator(house: House) -> None:
    ada = await house.a_person().with_totp().with_role("admin")
    acting = await ada.sign_in()
    assert "admin" in claims(acting["access_token"])["scope"].split()
    assert (await disable(ada, acting["access_token"], ada.codes[0])).status_code == 204
    told = claims((await refreshed(ada, acting))["access_token"])
    assert told["acr"] == "urn:doorward:acr:1fa"
    assert "admin" not in told["scope"].split()


async def test_turning_it_off_is_no_new_proof_for_what_else_needs_one(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await without_step_up(house, ada, await ada.sign_in()))["access_token"]
    assert (await disable(ada, bearer, ada.code())).status_code == 204
    change = {"current_password": ada.password, "new_password": NEW_PASSWORD}
    refused = await ada.post(PASSWORD, change, bearer=bearer)
    assert refusal(refused) == (403, "reauthentication_required")
    await check(house)


async def test_codes_of_before_are_known_as_replaced_once_it_is_on_again(house: House) -> None:
    ada = await house.a_person().with_totp()
    tokens = await ada.sign_in()
    bearer = tokens["access_token"]
    assert (await disable(ada, bearer, ada.codes[0])).status_code == 204
    off = ada.now
    house.clock.advance(30)
    confirmed = await confirm(ada, bearer, await start(ada, bearer))
    new = confirmed.json()["backup_codes"]["codes"]
    house.clock.advance(30)
    for old in ada.codes[:2]:
        refused = await ada.verify(await ada.pre_auth(), old)
        assert refusal(refused) == (401, "invalid_code")
        assert refused.json()["replaced_at"] == off.isoformat()
    assert refusal(await ada.verify(await ada.pre_auth(), ada.code())) == (401, "invalid_code")
    assert (await ada.verify(await ada.pre_auth(), new[0])).status_code == 200
    await check(house)


async def test_a_browsers_session_gets_a_new_cookie_at_each_change_of_the_second_factor(house: House) -> None:
    ada = await house.a_person().with_totp()
    second = await another(house, ada)
    browser = await in_browser(house, ada)
    for method, path, body in (
        ("DELETE", f"{AUTHENTICATORS}/{second}", None),
        ("POST", DISABLE, {"password": ada.password, "code": ada.codes[0]}),
    ):
        old = browser.cookie
        assert (await browser.own(method, path, body)).status_code == 204
        assert browser.cookie != old
        assert (await browser.send("GET", ME)).status_code == 200
        new, browser.cookie = browser.cookie, old
        assert refusal(await browser.send("GET", ME)) == (401, "invalid_token")
        browser.cookie = new


@ROUNDS
async def test_turned_off_many_times_at_once_it_is_off_once(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        bearer = (await ada.sign_in())["access_token"]
        codes = [ada.code(1), *ada.codes[:3]]
        answers = await asyncio.gather(*(disable(elsewhere(ada), bearer, code) for code in codes))
        assert tally(answers)[204] == 1
        assert codes_of(answers) <= {(401, "invalid_token"), (409, "no_authenticator"), (401, "invalid_code")}
        used = "SELECT count(*) FROM backup_code WHERE person_id = $1 AND used_at IS NOT NULL"
        assert await house.value(used, ada.id) <= 1
        assert (await house.letters(ada)).count("two_factor_off") == 1
        await check(house)
