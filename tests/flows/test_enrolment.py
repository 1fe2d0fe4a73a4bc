"""Turning the second factor on: from a session, by force at the sign-in, and against hijackers."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from service.domain import totp
from tests.builders import House
from tests.flows.account import (
    AUTHENTICATORS,
    BACKUP_CODES,
    backup_codes,
    confirm,
    refreshed,
    secret_of,
    start,
    two_factor,
)
from tests.flows.invariants import ROUNDS, check, claims, elsewhere, refusal, tally


@pytest.mark.case("K-81")
async def test_a_pre_auth_token_of_an_enrolled_person_enrols_nothing(house: House) -> None:
    ada = await house.a_person().with_totp()
    token = await ada.pre_auth()
    at_start = await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": token})
    assert refusal(at_start) == (401, "invalid_pre_auth_token")
    body = {"pre_auth_token": token, "id": str(ada.authenticator), "code": ada.code()}
    at_confirm = await ada.post("/v1/sign-in/enrolment/confirm", body)
    assert refusal(at_confirm) == (401, "invalid_pre_auth_token")
    for path in (AUTHENTICATORS, f"{AUTHENTICATORS}/{ada.authenticator}/confirm", BACKUP_CODES):
        answer = await ada.post(path, {"code": ada.code()} if "confirm" in path else {}, bearer=token)
        assert refusal(answer) == (401, "invalid_token")
    assert await house.value("SELECT count(*) FROM authenticator") == 1
    assert await house.value("SELECT attempts FROM pre_auth") == 0
    assert (await ada.verify(token, ada.code())).status_code == 200
    await check(house)


@pytest.mark.case("K-82")
async def test_a_pending_secret_is_not_active_and_a_second_start_replaces_the_first(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    first = await start(ada, bearer)
    shown = await ada.get(f"{AUTHENTICATORS}/{first['id']}", bearer=bearer)
    assert shown.json() == first, "its starter may see it again until it is confirmed"
    second = await start(ada, bearer)
    assert first["id"] != second["id"]
    assert first["secret"] != second["secret"]
    assert len(secret_of(second)) == 20

    assert refusal(await confirm(ada, bearer, first)) == (409, "enrolment_replaced")
    gone = await ada.get(f"{AUTHENTICATORS}/{first['id']}", bearer=bearer)
    assert refusal(gone) == (409, "enrolment_replaced")
    assert await house.value("SELECT seed FROM authenticator WHERE id = $1", UUID(first["id"])) is None
    old = totp.code_at(secret_of(first), totp.step_at(ada.now))
    assert refusal(await confirm(ada, bearer, second, old)) == (401, "invalid_code")

    assert (await ada.login()).json()["status"] == "complete", "a pending secret asks for nothing"
    assert (await two_factor(ada, bearer))["status"] == "not_activated"
    assert (await confirm(ada, bearer, second)).status_code == 200
    assert (await ada.login()).json()["status"] == "second_factor_required"
    assert (await two_factor(ada, bearer))["status"] == "activated"
    await check(house)


async def test_a_wrong_code_keeps_the_secret_and_tells_a_slow_clock(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    started = await start(ada, bearer)
    now = totp.step_at(ada.now)
    late = await confirm(ada, bearer, started, totp.code_at(secret_of(started), now - 4))
    assert refusal(late) == (401, "invalid_code")
    assert late.json()["clock_skew"]["seconds_behind"] == 120
    early = await confirm(ada, bearer, started, totp.code_at(secret_of(started), now + 2))
    assert refusal(early) == (401, "invalid_code")
    assert "clock_skew" not in early.json()
    assert early.json()["attempts_left"] == 3
    shapeless = await confirm(ada, bearer, started, "K7QM-2XRT-9FHD")
    assert refusal(shapeless) == (400, "invalid_request")
    assert (await confirm(ada, bearer, started)).status_code == 200
    failed = await house.events("two_factor:confirmation:failed")
    assert [str(row["factor_id"]) for row in failed] == [started["id"]] * 2
    await check(house)


@pytest.mark.case("K-80")
async def test_another_session_or_person_can_neither_see_nor_confirm_an_enrolment(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    bearer, other = (await ada.sign_in())["access_token"], (await ada.sign_in())["access_token"]
    bobs = (await bob.sign_in())["access_token"]
    started = await start(ada, bearer)
    for person, token in ((ada, other), (bob, bobs)):
        assert refusal(await confirm(person, token, started)) == (404, "not_found")
        seen = await person.get(f"{AUTHENTICATORS}/{started['id']}", bearer=token)
        assert refusal(seen) == (404, "not_found")
    assert (await confirm(ada, bearer, started)).status_code == 200
    await check(house)


@pytest.mark.case("K-80")
async def test_adding_to_an_existing_factor_needs_a_fresh_proof_of_both(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    house.clock.advance(270)
    tokens = await ada.sign_in()
    house.clock.advance(31)
    # This session is too old by now, and another's proof does not count for it.
    assert (await ada.get("/v1/me", bearer=bearer)).status_code == 401
    bearer = tokens["access_token"]
    house.clock.advance(268)
    assert (await ada.post(AUTHENTICATORS, {}, bearer=bearer)).status_code == 201
    house.clock.advance(1)
    answer = await ada.post(AUTHENTICATORS, {}, bearer=(await refreshed(ada, tokens))["access_token"])
    assert refusal(answer) == (403, "reauthentication_required")
    assert (await ada.verify(await ada.pre_auth(), ada.code())).status_code == 200
    await check(house)


@pytest.mark.case("K-83")
@ROUNDS
async def test_of_two_equal_confirmations_and_a_start_one_turns_it_on(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        bearer = (await ada.sign_in())["access_token"]
        started = await start(ada, bearer)
        answers = await asyncio.gather(*(confirm(elsewhere(ada), bearer, started) for _ in range(2)))
        assert sorted(a.status_code for a in answers) == [200, 409]
        assert {refusal(a) for a in answers if a.status_code != 200} == {(409, "enrolment_replaced")}
        active = "SELECT count(*) FROM authenticator WHERE person_id = $1 AND confirmed_at IS NOT NULL"
        assert await house.value(active, ada.id) == 1
        assert len(await backup_codes(house, ada)) == 5
        assert await house.letters(ada) == ["two_factor_on"]
        winner = next(a for a in answers if a.status_code == 200).json()
        house.clock.advance(30)
        used = await ada.verify(await ada.pre_auth(), winner["backup_codes"]["codes"][0])
        assert used.status_code == 200, "the set that was shown is the set that works"
        await check(house, [*answers, used])


@pytest.mark.case("K-83")
@ROUNDS
async def test_a_start_in_the_middle_of_confirmations_leaves_one_factor_or_none(
    house: House, rounds: int
) -> None:
    for number in range(rounds):
        ada = await house.a_person()
        bearer = (await ada.sign_in())["access_token"]
        started = await start(ada, bearer)
        racers: list[Any] = [confirm(elsewhere(ada), bearer, started) for _ in range(8)]
        racers.insert(number % 8, elsewhere(ada).post(AUTHENTICATORS, {}, bearer=bearer))
        answers = list(await asyncio.gather(*racers))
        begun = answers.pop(number % 8)
        won = tally(answers)[200]
        assert won <= 1
        assert {refusal(a) for a in answers if a.status_code != 200} == {(409, "enrolment_replaced")}
        active = "SELECT count(*) FROM authenticator WHERE person_id = $1 AND confirmed_at IS NOT NULL"
        assert await house.value(active, ada.id) == won
        assert len(await backup_codes(house, ada)) == 5 * won
        # A start that was overtaken by the confirmation may be refused; otherwise it is the pending one.
        assert begun.status_code in (201, 401, 409), begun.text
        assert won or begun.status_code == 201
        assert (await two_factor(ada, bearer))["status"] == ("activated" if won else "not_activated")
        await check(house, answers)


@pytest.mark.case("K-83")
@ROUNDS
async def test_of_thirty_two_equal_confirmations_one_turns_it_on(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        bearer = (await ada.sign_in())["access_token"]
        started = await start(ada, bearer)
        answers = await asyncio.gather(*(confirm(elsewhere(ada), bearer, started) for _ in range(32)))
        assert tally(answers) == {200: 1, 409: 31}
        await check(house, answers)


@pytest.mark.case("K-84")
async def test_new_backup_codes_need_a_step_up_of_this_session(house: House) -> None:
    ada = await house.a_person().with_totp()
    tokens = await ada.sign_in()
    house.clock.advance(301)
    tokens = await refreshed(ada, tokens)
    bearer, before = tokens["access_token"], await backup_codes(house, ada)
    assert refusal(await ada.post(BACKUP_CODES, {}, bearer=bearer)) == (403, "reauthentication_required")

    async def prove(**proof: str) -> httpx.Response:
        return await ada.post("/v1/reauthentication", proof, bearer=bearer)

    good = {"password": ada.password, "code": ada.code()}
    wrong_password = await prove(**good | {"password": "not my password"})
    assert refusal(wrong_password) == (401, "invalid_credentials")
    missing = await prove(password=ada.password)
    assert refusal(missing) == (400, "invalid_request")
    assert missing.json()["errors"] == [{"pointer": "/code", "code": "missing"}]
    wrong_code = await prove(**good | {"code": ada.wrong_code()})
    assert refusal(wrong_code) == (401, "invalid_code")
    assert wrong_code.json()["attempts_left"] == 4
    for _ in range(2):
        assert refusal(await ada.post(BACKUP_CODES, {}, bearer=bearer)) == (403, "reauthentication_required")
    assert await backup_codes(house, ada) == before

    right = await prove(**good)
    assert (right.status_code, right.json()) == (200, {"expires_in": 300})
    replaced = await ada.post(BACKUP_CODES, {}, bearer=bearer)
    assert replaced.status_code == 200, replaced.text
    assert len(set(replaced.json()["codes"])) == 5
    fresh = claims((await refreshed(ada, tokens))["access_token"])
    assert fresh["auth_time"] == int(ada.now.timestamp())
    assert (await two_factor(ada, bearer))["backup_codes_left"] == 5

    token = await ada.pre_auth()
    for old in ada.codes[:2]:
        assert refusal(await ada.verify(token, old)) == (401, "invalid_code")
    assert (await ada.verify(token, replaced.json()["codes"][3])).status_code == 200
    names = "SELECT name FROM audit_event WHERE name LIKE 'session:reauth%' ORDER BY name"
    assert [row["name"] for row in await house.rows(names)] == [
        "session:reauthentication:failed",
        "session:reauthentication:failed",
        "session:reauthentication:ok",
    ]
    assert len(await house.events("two_factor:backup_codes:ok")) == 1
    assert "backup_codes_replaced" in await house.letters(ada)
    await check(house)


@pytest.mark.case("K-84")
async def test_a_step_up_takes_no_used_code_no_others_code_and_counts_for_one_session_only(
    house: House,
) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    first = await ada.sign_in()
    house.clock.advance(30)
    second = await ada.sign_in()
    house.clock.advance(301)
    first, second = await refreshed(ada, first), await refreshed(ada, second)
    used = await ada.verify(await ada.pre_auth(), ada.codes[0])
    assert used.status_code == 200
    for code, answer in (
        (ada.codes[0], "code_already_used"),
        (bob.code(), "invalid_code"),
        (bob.codes[1], "invalid_code"),
    ):
        proof = {"password": ada.password, "code": code}
        refused = await ada.post("/v1/reauthentication", proof, bearer=first["access_token"])
        assert refusal(refused) == (401, answer)
    proof = {"password": ada.password, "code": ada.codes[1]}
    stepped = await ada.post("/v1/reauthentication", proof, bearer=first["access_token"])
    assert stepped.status_code == 200, stepped.text
    refused = await ada.post(BACKUP_CODES, {}, bearer=second["access_token"])
    assert refusal(refused) == (403, "reauthentication_required")
    assert claims((await refreshed(ada, first))["access_token"])["amr"] == ["pwd", "backup_code", "mfa"]
    assert (await ada.post(BACKUP_CODES, {}, bearer=first["access_token"])).status_code == 200
    await check(house)


async def test_without_a_factor_a_password_is_the_whole_step_up_and_there_are_no_codes(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    bearer = tokens["access_token"]
    assert refusal(await ada.post(BACKUP_CODES, {}, bearer=bearer)) == (409, "no_authenticator")
    house.clock.advance(301)
    bearer = (await refreshed(ada, tokens))["access_token"]
    assert refusal(await ada.post(AUTHENTICATORS, {}, bearer=bearer)) == (403, "reauthentication_required")
    proof = {"password": ada.password}
    assert (await ada.post("/v1/reauthentication", proof, bearer=bearer)).status_code == 200
    assert (await confirm(ada, bearer, await start(ada, bearer))).status_code == 200
    assert len(await house.events("session:reauthentication:ok")) == 1
    await check(house)


@pytest.mark.case("K-84")
@ROUNDS
async def test_sets_made_at_once_leave_one_living_set(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        bearer = (await ada.sign_in())["access_token"]
        answers = await asyncio.gather(
            *(elsewhere(ada).post(BACKUP_CODES, {}, bearer=bearer) for _ in range(8))
        )
        assert tally(answers) == {200: 8}
        living = await backup_codes(house, ada)
        assert len(living) == 5
        (shown,) = [a.json() for a in answers if a.json()["set_id"] == str(living[0]["set_id"])]
        assert (await ada.verify(await ada.pre_auth(), shown["codes"][0])).status_code == 200
        await check(house, answers)


@pytest.mark.case("K-89")
async def test_the_other_sessions_end_and_the_acting_one_becomes_one_of_two_factors(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    acting, other = await ada.sign_in(), await ada.sign_in()
    bobs = await bob.sign_in()
    assert claims(acting["access_token"])["acr"] == "urn:doorward:acr:1fa"
    bearer = acting["access_token"]
    proved_at = int(ada.now.timestamp())
    started = await start(ada, bearer, "Phone")
    house.clock.advance(20)
    confirmed = await confirm(ada, bearer, started)
    assert confirmed.status_code == 200
    told = confirmed.json()
    assert told["authenticator"] == {"id": started["id"], "name": "Phone"}
    assert len(set(told["backup_codes"]["codes"])) == 5

    ended = await ada.refresh(other["refresh_token"])
    assert (ended.status_code, ended.json()["reason"]) == (401, "two_factor_changed")
    assert refusal(await ada.get("/v1/me", bearer=other["access_token"])) == (401, "invalid_token")
    assert (await ada.get("/v1/me", bearer=bearer)).status_code == 200
    fresh = await refreshed(ada, acting)
    for token in (fresh["access_token"], fresh["id_token"]):
        assert claims(token)["amr"] == ["pwd", "otp", "mfa"]
        assert claims(token)["acr"] == "urn:doorward:acr:2fa"
        assert claims(token)["auth_time"] == proved_at, "the password was proved then, and not since"
        assert claims(token)["sid"] == acting["session"]["id"]
    assert (await bob.refresh(bobs["refresh_token"])).status_code == 200
    (event,) = await house.events("two_factor:confirmation:ok")
    assert (event["person_id"], str(event["session_id"]), str(event["factor_id"])) == (
        ada.id,
        acting["session"]["id"],
        started["id"],
    )
    assert await house.letters(ada) == ["two_factor_on"]
    await check(house)


@pytest.mark.case("K-89")
async def test_a_pre_auth_token_from_before_the_change_is_dead(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    token = await ada.pre_auth()
    second = await start(ada, bearer, "Tablet")
    assert (await confirm(ada, bearer, second)).status_code == 200
    assert refusal(await ada.verify(token, ada.code(1))) == (401, "invalid_pre_auth_token")
    assert await house.letters(ada) == ["authenticator_added"]
    await check(house)


async def test_a_second_authenticator_brings_no_codes_and_both_open(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    second = await start(ada, bearer, "Tablet")
    confirmed = await confirm(ada, bearer, second)
    assert confirmed.status_code == 200
    assert confirmed.json().get("backup_codes") is None
    house.clock.advance(30)
    assert (await ada.verify(await ada.pre_auth(), ada.code())).status_code == 200
    other = totp.code_at(secret_of(second), totp.step_at(ada.now))
    assert (await ada.verify(await ada.pre_auth(), other)).status_code == 200
    assert refusal(await ada.verify(await ada.pre_auth(), other)) == (401, "code_already_used")
    assert (await ada.verify(await ada.pre_auth(), ada.codes[0])).status_code == 200
    names = [one["name"] for one in (await two_factor(ada, bearer))["authenticators"]]
    assert sorted(names) == ["Phone", "Tablet"]
    await check(house)


async def test_an_enrolment_that_waited_too_long_is_gone(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    started = await start(ada, tokens["access_token"])
    house.clock.advance(899)
    tokens = await refreshed(ada, tokens)
    assert (
        await ada.get(f"{AUTHENTICATORS}/{started['id']}", bearer=tokens["access_token"])
    ).status_code == 200
    house.clock.advance(1)
    for answer in (
        await confirm(ada, tokens["access_token"], started),
        await ada.get(f"{AUTHENTICATORS}/{started['id']}", bearer=tokens["access_token"]),
    ):
        assert refusal(answer) == (409, "enrolment_replaced")
    assert (await two_factor(ada, tokens["access_token"]))["status"] == "not_activated"
    await check(house)


async def test_a_person_has_at_most_eight_authenticators(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    for number in range(8):
        answer = await confirm(ada, bearer, await start(ada, bearer, f"Phone {number}"))
        assert answer.status_code == 200, answer.text
    ninth = await ada.post(AUTHENTICATORS, {"name": "Phone 9"}, bearer=bearer)
    assert refusal(ninth) == (409, "too_many_authenticators")
    assert len((await two_factor(ada, bearer))["authenticators"]) == 8
    await check(house)
