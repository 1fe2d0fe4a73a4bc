"""The second factor turned on because it must be, at the sign-in."""

import asyncio

import pytest

from service.domain import totp
from tests.builders import House
from tests.flows.account import (
    backup_codes,
    secret_of,
    two_factor,
)
from tests.flows.invariants import ROUNDS, check, claims, elsewhere, pre_auths, refusal, tally

forced = pytest.mark.parametrize("settings", [{"two_factor.required": "all"}], indirect=True)


@forced
@pytest.mark.case("K-81")
async def test_a_forced_enrolment_leads_to_a_session_of_two_factors(house: House) -> None:
    ada = await house.a_person()
    owed = (await ada.login()).json()
    assert (owed["status"], owed["expires_in"]) == ("enrolment_required", 300)
    token = owed["pre_auth_token"]
    assert (await ada.get("/v1/me", bearer=token)).status_code == 401

    house.clock.advance(290)
    started = await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": token, "name": "Phone"})
    assert started.status_code == 200, started.text
    assert started.headers["cache-control"] == "no-store"
    house.clock.advance(890)
    now = totp.step_at(ada.now)
    ada.secret = secret_of(started.json())
    body = {"pre_auth_token": token, "id": started.json()["id"], "code": totp.code_at(ada.secret, now)}
    done = await ada.post("/v1/sign-in/enrolment/confirm", body)
    assert done.status_code == 200, done.text
    told = done.json()
    assert told["status"] == "complete"
    assert len(set(told["backup_codes"]["codes"])) == 5
    assert claims(told["access_token"])["amr"] == ["pwd", "otp", "mfa"]
    assert (await two_factor(ada, told["access_token"]))["required_by"] == "policy"
    for path, more in (("/v1/sign-in/enrolment", {}), ("/v1/sign-in/enrolment/confirm", body)):
        again = await ada.post(path, {"pre_auth_token": token} | more)
        assert refusal(again) == (401, "invalid_pre_auth_token"), "only once"

    assert refusal(await ada.verify(await ada.pre_auth(), body["code"])) == (401, "code_already_used")
    used = await ada.verify(await ada.pre_auth(), told["backup_codes"]["codes"][1])
    assert used.status_code == 200
    await check(house, [done, used])


@forced
async def test_a_token_lives_fifteen_minutes_from_the_start_of_a_forced_enrolment(house: House) -> None:
    ada = await house.a_person()
    late, token = await ada.pre_auth(), await ada.pre_auth()
    started = (await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": token})).json()
    house.clock.advance(300)
    not_started = await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": late})
    assert refusal(not_started) == (401, "invalid_pre_auth_token")
    house.clock.advance(599)
    code = totp.code_at(secret_of(started), totp.step_at(ada.now) + 5)
    body = {"pre_auth_token": token, "id": started["id"], "code": code}
    assert refusal(await ada.post("/v1/sign-in/enrolment/confirm", body)) == (401, "invalid_code")
    house.clock.advance(1)
    refused = await ada.post("/v1/sign-in/enrolment/confirm", body)
    assert refusal(refused) == (401, "invalid_pre_auth_token")
    await check(house)


@forced
async def test_wrong_codes_of_a_forced_enrolment_are_counted(house: House) -> None:
    ada = await house.a_person()
    token, other = await pre_auths(ada, 2)
    started = (await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": token})).json()
    ada.secret = secret_of(started)
    body = {"pre_auth_token": token, "id": started["id"]}
    for left in (4, 3, 2, 1, 0):
        wrong = await ada.post("/v1/sign-in/enrolment/confirm", body | {"code": ada.wrong_code(but=left)})
        assert refusal(wrong) == (401, "invalid_code")
        assert wrong.json()["attempts_left"] == left
    right = await ada.post("/v1/sign-in/enrolment/confirm", body | {"code": ada.code()})
    assert refusal(right) == (401, "invalid_pre_auth_token")
    anew = (await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": other})).json()
    code = totp.code_at(secret_of(anew), totp.step_at(ada.now))
    body = {"pre_auth_token": other, "id": anew["id"], "code": code}
    assert refusal(await ada.post("/v1/sign-in/enrolment/confirm", body)) == (429, "rate_limited")
    assert await house.value("SELECT count(*) FROM authenticator WHERE confirmed_at IS NOT NULL") == 0
    house.clock.advance(301)
    body["code"] = totp.code_at(secret_of(anew), totp.step_at(ada.now))
    assert (await ada.post("/v1/sign-in/enrolment/confirm", body)).status_code == 200
    await check(house)


@forced
async def test_anothers_token_cannot_confirm_a_forced_enrolment(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    token, own_other = await pre_auths(ada, 2)
    started = (await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": token})).json()
    code = totp.code_at(secret_of(started), totp.step_at(ada.now))
    for person, other in ((bob, await bob.pre_auth()), (ada, own_other)):
        body = {"pre_auth_token": other, "id": started["id"], "code": code}
        refused = await person.post("/v1/sign-in/enrolment/confirm", body)
        assert refusal(refused) == (404, "not_found")
    # A second sign-in's start replaces the first's.
    anew = (await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": own_other})).json()
    body = {"pre_auth_token": token, "id": started["id"], "code": code}
    replaced = await ada.post("/v1/sign-in/enrolment/confirm", body)
    assert refusal(replaced) == (409, "enrolment_replaced")
    code = totp.code_at(secret_of(anew), totp.step_at(ada.now))
    body = {"pre_auth_token": own_other, "id": anew["id"], "code": code}
    done = await ada.post("/v1/sign-in/enrolment/confirm", body)
    assert done.status_code == 200, done.text
    # Turning it on raised the epoch: the first token is dead.
    dead = await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": token})
    assert refusal(dead) == (401, "invalid_pre_auth_token")
    await check(house, [done])


@forced
@ROUNDS
async def test_one_forced_enrolment_confirmed_thirty_two_times_at_once_opens_one_session(
    house: House, rounds: int
) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        token = await ada.pre_auth()
        started = (await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": token})).json()
        code = totp.code_at(secret_of(started), totp.step_at(ada.now))
        body = {"pre_auth_token": token, "id": started["id"], "code": code}
        racers = [elsewhere(ada).post("/v1/sign-in/enrolment/confirm", body) for _ in range(32)]
        answers = await asyncio.gather(*racers)
        assert tally(answers)[200] == 1
        losers = {refusal(a) for a in answers if a.status_code != 200}
        assert losers <= {(401, "invalid_pre_auth_token"), (409, "enrolment_replaced")}
        assert await house.value("SELECT count(*) FROM session WHERE person_id = $1", ada.id) == 1
        assert len(await backup_codes(house, ada)) == 5
        await check(house, answers)
