"""How long a sign-in under way may last, what its token may buy, and which letters it sends."""

import asyncio
import base64
from typing import Any

import pytest

from service.domain import totp
from tests.builders import House, Person
from tests.flows.account import NEW_PASSWORD, confirm, shown, start, step_up
from tests.flows.invariants import check, elsewhere, guess, pre_auths, refusal, tally

EMAIL_STEP = "/v1/sign-in/email-verification"
ENROLMENT = "/v1/sign-in/enrolment"
PASSWORD_STEP = "/v1/sign-in/password"
forced = pytest.mark.parametrize("settings", [{"two_factor.required": "all"}], indirect=True)


async def change(person: Person, token: str, password: str = NEW_PASSWORD) -> Any:
    return await person.post(PASSWORD_STEP, {"pre_auth_token": token, "new_password": password})


# An enrolment by force


@forced
async def test_no_forced_enrolment_keeps_a_sign_in_alive_beyond_twenty_minutes(house: House) -> None:
    ada = await house.a_person()
    token = await ada.pre_auth()
    house.clock.advance(299)
    lived = 299
    while lived < 1199:
        started = await ada.post(ENROLMENT, {"pre_auth_token": token})
        assert started.status_code == 200, (lived, started.text)
        house.clock.advance(100)
        lived += 100
    late = await ada.post(ENROLMENT, {"pre_auth_token": token})
    assert late.status_code == 200, "a second before its end"
    house.clock.advance(1)
    refused = await ada.post(ENROLMENT, {"pre_auth_token": token})
    assert refusal(refused) == (401, "invalid_pre_auth_token")
    body = {"pre_auth_token": token, "id": late.json()["id"], "code": shown(ada, late.json())}
    refused = await ada.post(f"{ENROLMENT}/confirm", body)
    assert refusal(refused) == (401, "invalid_pre_auth_token")
    assert await house.value("SELECT count(*) FROM session") == 0
    await check(house)


@forced
async def test_starting_again_never_shortens_what_a_sign_in_has_left(house: House) -> None:
    ada = await house.a_person()
    token = await ada.pre_auth()
    until = "SELECT expires_at - created_at FROM pre_auth"
    lives = []
    for _ in range(4):
        assert (await ada.post(ENROLMENT, {"pre_auth_token": token})).status_code == 200
        lives.append((await house.value(until)).total_seconds())
        house.clock.advance(250)
    assert lives == [900, 1150, 1200, 1200]
    await check(house)


# A letter to prove an address


async def test_asking_for_the_letter_again_prolongs_no_sign_in(house: House) -> None:
    ada = await house.a_person().unverified()
    token, told = await ada.pre_auth(), []
    for _ in range(5):
        answer = await ada.post(EMAIL_STEP, {"pre_auth_token": token})
        assert answer.status_code == 200, answer.text
        token = answer.json()["pre_auth_token"]
        told.append(answer.json()["expires_in"])
        house.clock.advance(59)
    assert told == [300, 241, 182, 123, 64]
    house.clock.advance(4)
    assert (await ada.post(EMAIL_STEP, {"pre_auth_token": token})).json()["expires_in"] == 1
    house.clock.advance(1)
    await house.rows("UPDATE person SET email_verified_at = now()")
    refused = await ada.post(EMAIL_STEP, {"pre_auth_token": token})
    assert refusal(refused) == (401, "invalid_pre_auth_token")
    await check(house)


async def test_a_letter_that_is_withheld_is_written_down_as_refused(house: House) -> None:
    ada, bob = await house.a_person().unverified(), await house.a_person().unverified()
    token = await ada.pre_auth()
    for _ in range(7):
        answer = await ada.post(EMAIL_STEP, {"pre_auth_token": token})
        assert answer.json()["status"] == "email_verification_required"
        token = answer.json()["pre_auth_token"]
    assert (await bob.post(EMAIL_STEP, {"pre_auth_token": await bob.pre_auth()})).status_code == 200
    assert await house.letters(ada) == ["verify_email"] * 5
    assert await house.letters(bob) == ["verify_email"]
    sent = await house.events("account:verification_letter:ok")
    withheld = await house.events("account:verification_letter:refused")
    assert [row["person_id"] for row in sent].count(ada.id) == 5
    assert [(row["person_id"], row["result"]) for row in withheld] == [(ada.id, "refused")] * 2
    await check(house)


# A password that is owed


async def test_one_token_buys_five_hashes_at_most_and_the_present_password_counts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await house.a_person().who_must_change_their_password()
    token, other = await pre_auths(ada, 2)
    hashed: list[str] = []
    pool = house.world.pool
    real_verify, real_hash = pool.verify_password, pool.hash_password

    async def verify(encoded: str | None, password: str) -> bool:
        hashed.append(password)
        return await real_verify(encoded, password)

    async def hash_anew(password: str) -> str:
        hashed.append(password)
        return await real_hash(password)

    monkeypatch.setattr(pool, "verify_password", verify)
    monkeypatch.setattr(pool, "hash_password", hash_anew)
    for _ in range(5):
        refused = await change(ada, token, ada.password)
        assert refusal(refused) == (400, "invalid_request")
        assert refused.json()["errors"] == [{"pointer": "/new_password", "code": "unchanged"}]
    attempts = await house.rows("SELECT attempts FROM pre_auth ORDER BY attempts")
    assert [row["attempts"] for row in attempts] == [0, 5]
    for password in (ada.password, NEW_PASSWORD):
        assert refusal(await change(ada, token, password)) == (401, "invalid_pre_auth_token")
    assert hashed == [ada.password] * 5
    # What is refused by its form costs no hash, and no try.
    for password in ("sh0rt", "x" * 129, "x" * 600):
        assert refusal(await change(ada, other, password)) == (400, "invalid_request")
    assert len(hashed) == 5
    assert (await change(ada, other)).json()["status"] == "complete"
    assert hashed[5:] == [NEW_PASSWORD] * 2
    await check(house)


async def test_hashes_bought_by_one_token_at_once_are_five_at_most(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await house.a_person().who_must_change_their_password()
    token, hashed = await ada.pre_auth(), []
    real = house.world.pool.verify_password

    async def verify(encoded: str | None, password: str) -> bool:
        hashed.append(password)
        return await real(encoded, password)

    monkeypatch.setattr(house.world.pool, "verify_password", verify)
    answers = await asyncio.gather(*(change(elsewhere(ada), token, ada.password) for _ in range(16)))
    assert tally(answers) == {400: 5, 401: 11}
    assert len(hashed) == 5
    await check(house)


# Letters that strangers can cause


async def test_a_mistyped_first_code_sends_no_letter(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    started = await start(ada, bearer)
    for steps in (5, 6, -4):
        wrong = await confirm(ada, bearer, started, shown(ada, started, steps))
        assert refusal(wrong) == (401, "invalid_code")
    assert await house.letters(ada) == []
    assert (await confirm(ada, bearer, started)).status_code == 200
    assert await house.letters(ada) == ["two_factor_on"]
    await check(house)


@forced
async def test_a_mistyped_first_code_of_a_forced_enrolment_sends_no_letter(house: House) -> None:
    ada = await house.a_person()
    token = await ada.pre_auth()
    started = (await ada.post(ENROLMENT, {"pre_auth_token": token})).json()
    body = {"pre_auth_token": token, "id": started["id"], "code": shown(ada, started, 7)}
    assert refusal(await ada.post(f"{ENROLMENT}/confirm", body)) == (401, "invalid_code")
    assert await house.letters(ada) == []
    secret = base64.b32decode(started["secret"].replace(" ", ""))
    body["code"] = totp.code_at(secret, totp.step_at(ada.now))
    assert (await ada.post(f"{ENROLMENT}/confirm", body)).status_code == 200
    assert await house.letters(ada) == ["two_factor_on"]
    await check(house)


async def test_of_wrong_second_factors_a_person_hears_once_a_burst_and_five_times_a_day(house: House) -> None:
    ada = await house.a_person().with_totp()
    told = []
    for _ in range(8):
        assert tally(await guess(ada, 3)) == {401: 3}
        told.append(len(await house.letters(ada)))
        house.clock.advance(3601)
    assert told == [1, 2, 3, 4, 5, 5, 5, 5]
    assert set(await house.letters(ada)) == {"second_factor_failed"}
    house.clock.advance(86_400)
    await guess(ada, 1)
    assert len(await house.letters(ada)) == 6, "the next day there are letters again"
    await check(house)


async def test_a_wrong_code_at_a_step_up_is_told_like_one_at_the_sign_in(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    for number in range(3):
        assert (await step_up(ada, bearer, ada.wrong_code(but=number))).status_code == 401
    assert await house.letters(ada) == ["second_factor_failed"]
    await check(house)
