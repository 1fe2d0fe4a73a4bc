"""The steps of a sign-in: what is owed in which order, what each token opens, and what is written down."""

import asyncio
import base64
from typing import Any

import pytest

from service.domain import totp
from tests.builders import House, Person
from tests.flows.invariants import ROUNDS, check, claims, elsewhere, pre_auths, refusal, tally

NEW_PASSWORD = "a new horse and its battery"
PASSWORD_STEP = "/v1/sign-in/password"
EMAIL_STEP = "/v1/sign-in/email-verification"
forced = pytest.mark.parametrize("settings", [{"two_factor.required": "all"}], indirect=True)


async def owed(person: Person, **more: object) -> tuple[str, str]:
    """What a right password leads to: the status and the token for it."""
    answer = await person.login(**more)
    assert answer.status_code == 200, answer.text
    return answer.json()["status"], answer.json().get("pre_auth_token", "")


async def verified(house: House, person: Person) -> None:
    """The link in the letter was followed."""
    await house.rows("UPDATE person SET email_verified_at = now() WHERE id = $1", person.id)


async def change(person: Person, token: str, password: str = NEW_PASSWORD) -> Any:
    return await person.post(PASSWORD_STEP, {"pre_auth_token": token, "new_password": password})


# A new password that is owed


async def test_an_owed_password_change_ends_every_session_and_kills_the_old_password(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    sessions = [await ada.sign_in() for _ in range(2)]
    bobs = await bob.sign_in()
    await house.rows("UPDATE person SET must_change_password = true WHERE id = $1", ada.id)
    (status, token), (_, other) = await owed(ada), await owed(ada)
    assert status == "password_change_required"
    done = await change(ada, token)
    assert done.status_code == 200, done.text
    assert done.json()["status"] == "complete"
    for tokens in sessions:
        ended = await ada.refresh(tokens["refresh_token"])
        assert (ended.status_code, ended.json()["reason"]) == (401, "password_changed")
        assert (await ada.get("/v1/me", bearer=tokens["access_token"])).status_code == 401
    for dead in (token, other):
        assert refusal(await change(ada, dead, "yet another password")) == (401, "invalid_pre_auth_token")
    assert refusal(await ada.login()) == (401, "invalid_credentials")
    ada.password = NEW_PASSWORD
    assert (await owed(ada))[0] == "complete"
    assert (await ada.refresh(done.json()["refresh_token"])).status_code == 200
    assert (await bob.refresh(bobs["refresh_token"])).status_code == 200
    assert await house.letters(ada) == ["password_changed"]
    (event,) = await house.events("account:password_change:ok")
    assert (event["person_id"], event["client_id"], event["result"]) == (ada.id, "doorward", "ok")
    assert str(event["address"]) == ada.address
    await check(house, [done])


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("test-value correct horse", "unchanged"),
        ("sh0rt", "too_short"),
        ("x" * 129, "too_long"),
        ("contextual", "contextual"),
    ],
)
async def test_a_new_password_that_may_not_be_is_refused_and_the_token_lives_on(
    house: House, password: str, fault: str
) -> None:
    ada = await house.a_person().who_must_change_their_password()
    if password == "contextual":
        password = f"{ada.email.partition('@')[0]}!!"
    _, token = await owed(ada)
    refused = await change(ada, token, password)
    assert refusal(refused) == (400, "invalid_request"), refused.text
    assert refused.json()["errors"] == [{"pointer": "/new_password", "code": fault}]
    assert password not in refused.text
    assert (await owed(ada))[0] == "password_change_required", "the old password is the password"
    assert (await change(ada, token)).json()["status"] == "complete"
    await check(house)


async def test_a_new_password_is_the_same_in_every_writing_of_unicode(house: House) -> None:
    ada = await house.a_person().who_must_change_their_password()
    _, token = await owed(ada)
    assert (await change(ada, token, "cafe\u0301 au lait ﬁne")).status_code == 200
    ada.password = "caf\u00e9 au lait fine"
    assert (await owed(ada))[0] == "complete"


@ROUNDS
async def test_one_token_raced_for_a_new_password_changes_it_once(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().who_must_change_their_password()
        _, token = await owed(ada)
        words = [f"new password number {number}" for number in range(16)]
        answers = await asyncio.gather(*(change(elsewhere(ada), token, word) for word in words))
        assert tally(answers) == {200: 1, 401: 15}
        assert {refusal(a) for a in answers if a.status_code == 401} == {(401, "invalid_pre_auth_token")}
        ada.password = words[[a.status_code for a in answers].index(200)]
        assert (await owed(ada))[0] == "complete"
        assert await house.letters(ada) == ["password_changed"]
        await check(house, answers)


@pytest.mark.case("K-70")
@ROUNDS
async def test_no_session_of_the_old_password_outlives_its_change(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        tokens = await ada.sign_in()
        await house.rows("UPDATE person SET must_change_password = true WHERE id = $1", ada.id)
        _, token = await owed(ada)
        racers: list[Any] = [elsewhere(ada).refresh(tokens["refresh_token"]) for _ in range(8)]
        racers += [elsewhere(ada).login() for _ in range(4)]
        done, *answers = await asyncio.gather(change(ada, token), *racers)
        assert done.status_code == 200
        living = await house.rows(
            "SELECT id::text FROM session WHERE person_id = $1 AND ended_at IS NULL", ada.id
        )
        assert [row["id"] for row in living] == [done.json()["session"]["id"]]
        for answer in answers:
            if answer.status_code != 200:
                continue
            if "refresh_token" in answer.json():
                after = await ada.refresh(answer.json()["refresh_token"])
                assert (after.status_code, after.json()["reason"]) == (401, "password_changed")
            else:
                after = await change(ada, answer.json()["pre_auth_token"], "another new password")
                assert refusal(after) == (401, "invalid_pre_auth_token")
        await check(house, answers)


# An address that is not verified


async def test_an_unverified_person_gets_five_letters_a_day_and_goes_on_once_verified(house: House) -> None:
    ada = await house.a_person().unverified()
    status, token = await owed(ada)
    assert status == "email_verification_required"
    for number in range(7):
        answer = await ada.post(EMAIL_STEP, {"pre_auth_token": token})
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "email_verification_required"
        assert answer.json()["pre_auth_token"] != token, "with a fresh token"
        again = await ada.post(EMAIL_STEP, {"pre_auth_token": token})
        assert refusal(again) == (401, "invalid_pre_auth_token"), "the old one is spent"
        token = answer.json()["pre_auth_token"]
        assert await house.letters(ada) == ["verify_email"] * min(number + 1, 5)
    house.clock.advance(86_400)
    _, token = await owed(ada)
    answer = await ada.post(EMAIL_STEP, {"pre_auth_token": token})
    assert len(await house.letters(ada)) == 6, "the next day there are letters again"

    token = answer.json()["pre_auth_token"]
    await verified(house, ada)
    done = await ada.post(EMAIL_STEP, {"pre_auth_token": token})
    assert done.json()["status"] == "complete", done.text
    assert len(await house.letters(ada)) == 6
    assert claims(done.json()["access_token"])["amr"] == ["pwd"]
    await check(house, [done])


@ROUNDS
async def test_letters_asked_for_at_once_are_five_at_most(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().unverified()
        tokens = await pre_auths(ada, 12)
        answers = await asyncio.gather(
            *(elsewhere(ada).post(EMAIL_STEP, {"pre_auth_token": token}) for token in tokens)
        )
        assert tally(answers) == {200: 12}
        assert await house.letters(ada) == ["verify_email"] * 5
        await check(house, answers)


async def test_an_unverified_person_with_a_factor_proves_it_before_anything_else(house: House) -> None:
    ada = await house.a_person().with_totp().unverified()
    status, token = await owed(ada)
    assert status == "second_factor_required"
    assert refusal(await ada.post(EMAIL_STEP, {"pre_auth_token": token})) == (401, "invalid_pre_auth_token")
    assert await house.letters(ada) == []
    answer = await ada.verify(token, ada.codes[0])
    told = answer.json()
    assert (told["status"], told["backup_codes_left"]) == ("email_verification_required", 4)
    assert await house.value("SELECT count(*) FROM session") == 0
    await verified(house, ada)
    done = await ada.post(EMAIL_STEP, {"pre_auth_token": told["pre_auth_token"]})
    assert claims(done.json()["access_token"])["amr"] == ["pwd", "backup_code", "mfa"]
    await check(house, [answer, done])


# The order, and the doors


@forced
async def test_a_person_who_owes_it_all_pays_in_order(house: House) -> None:
    ada = await house.a_person().unverified().who_must_change_their_password()
    status, token = await owed(ada)
    born = int(ada.now.timestamp())
    assert status == "email_verification_required"
    await verified(house, ada)
    answer = await ada.post(EMAIL_STEP, {"pre_auth_token": token})
    assert answer.json()["status"] == "password_change_required"
    house.clock.advance(60)
    answer = await change(ada, answer.json()["pre_auth_token"])
    assert answer.json()["status"] == "enrolment_required", answer.text
    token = answer.json()["pre_auth_token"]
    started = (await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": token})).json()
    ada.secret = base64.b32decode(started["secret"].replace(" ", ""))
    assert await house.value("SELECT count(*) FROM session") == 0, "nothing before the last step"
    body = {"pre_auth_token": token, "id": started["id"], "code": ada.code()}
    done = await ada.post("/v1/sign-in/enrolment/confirm", body)
    assert done.json()["status"] == "complete", done.text
    assert claims(done.json()["access_token"])["auth_time"] in (born + 60, born)
    assert sorted(await house.letters(ada)) == ["password_changed", "two_factor_on"]
    await check(house, [done])


async def test_an_enrolled_person_who_owes_it_all_pays_in_order(house: House) -> None:
    ada = await house.a_person().with_totp().unverified().who_must_change_their_password()
    status, token = await owed(ada)
    assert status == "second_factor_required"
    answer = await ada.verify(token, ada.code())
    assert answer.json()["status"] == "email_verification_required"
    await verified(house, ada)
    answer = await ada.post(EMAIL_STEP, {"pre_auth_token": answer.json()["pre_auth_token"]})
    assert answer.json()["status"] == "password_change_required"
    done = await change(ada, answer.json()["pre_auth_token"])
    assert done.json()["status"] == "complete"
    assert claims(done.json()["access_token"])["amr"] == ["pwd", "otp", "mfa"]
    assert claims(done.json()["access_token"])["acr"] == "urn:doorward:acr:2fa"
    await check(house, [done])


@pytest.mark.case("K-03")
@forced
async def test_a_live_token_at_another_steps_door_is_refused_and_nothing_is_counted(house: House) -> None:
    people = {
        "second-factor": await house.a_person().with_totp(),
        "email-verification": await house.a_person().unverified(),
        "password": await house.a_person().who_must_change_their_password(),
        "enrolment": await house.a_person(),
    }
    nobody = "00000000-0000-0000-0000-000000000000"
    doors: dict[str, dict[str, str]] = {
        "second-factor": {"code": "123456"},
        "email-verification": {},
        "password": {"new_password": NEW_PASSWORD},
        "enrolment": {},
        "enrolment/confirm": {"id": nobody, "code": "123456"},
    }
    tokens = {step: (await owed(person))[1] for step, person in people.items()}
    for step, person in people.items():
        for door, body in doors.items():
            if door.partition("/")[0] != step:
                refused = await person.post(f"/v1/sign-in/{door}", {"pre_auth_token": tokens[step]} | body)
                assert refusal(refused) == (401, "invalid_pre_auth_token"), (step, door)
    assert await house.value("SELECT sum(attempts) FROM pre_auth") == 0
    counted = "SELECT sum(cardinality(stranger_failures) + cardinality(known_failures)) FROM person"
    assert await house.value(counted) == 0
    assert await house.value("SELECT count(*) FROM outbox") == 0
    ada = people["second-factor"]
    assert (await ada.verify(tokens["second-factor"], ada.code())).status_code == 200
    assert (await change(people["password"], tokens["password"])).status_code == 200
    await check(house)


@forced
async def test_an_epoch_raised_meanwhile_kills_the_tokens_of_every_step(house: House) -> None:
    ada, dan = await house.a_person().with_totp(), await house.a_person()
    bob = await house.a_person().unverified()
    eve = await house.a_person().who_must_change_their_password()
    tokens = [(await owed(person))[1] for person in (ada, bob, eve, dan)]
    await house.rows("UPDATE person SET epoch = epoch + 1")
    for answer in (
        await ada.verify(tokens[0], ada.code()),
        await bob.post(EMAIL_STEP, {"pre_auth_token": tokens[1]}),
        await change(eve, tokens[2]),
        await dan.post("/v1/sign-in/enrolment", {"pre_auth_token": tokens[3]}),
    ):
        assert refusal(answer) == (401, "invalid_pre_auth_token")
    assert await house.value("SELECT count(*) FROM session") == 0
    assert await house.value("SELECT sum(attempts) FROM pre_auth") == 0
    assert await house.value("SELECT last_step FROM authenticator") == 1
    assert (await ada.verify((await owed(ada))[1], ada.code())).status_code == 200
    await check(house)


# What is written down


@pytest.mark.case("K-112")
async def test_every_act_of_a_sign_in_is_written_down_with_who_what_and_where(house: House) -> None:
    ada = await house.a_person().with_totp()
    assert refusal(await ada.login(password="not my password")) == (401, "invalid_credentials")
    token = await ada.pre_auth()
    wrong = await ada.verify(token, ada.wrong_code())
    right = await ada.verify(token, ada.code())
    await ada.verify(await ada.pre_auth(), ada.codes[0])
    nobody = await ada.post("/v1/sign-in", {"email": "nobody@example.com", "password": "a wrong password"})
    assert nobody.status_code == 401
    rows = await house.rows(
        "SELECT *, detail ->> 'method' AS method FROM audit_event WHERE name <> 'account:creation:ok'"
    )
    found = {(row["name"], row["result"], row["person_id"], row["factor_id"], row["method"]) for row in rows}
    assert found == {
        ("account:sign_in:failed", "failed", ada.id, None, "password"),
        ("account:sign_in:ok", "ok", ada.id, None, "password"),
        ("session:start:ok", "ok", ada.id, None, "totp"),
        ("session:start:ok", "ok", ada.id, None, "backup_code"),
        ("account:second_factor:failed", "failed", ada.id, ada.authenticator, "totp"),
        ("account:second_factor:ok", "ok", ada.id, ada.authenticator, "totp"),
        ("account:second_factor:ok", "ok", ada.id, None, "backup_code"),
        ("account:sign_in:failed", "failed", None, None, "password"),
    }
    assert len(rows) == 9
    assert {row["client_id"] for row in rows} == {"doorward"}
    assert {str(row["address"]) for row in rows} == {ada.address}
    written = {row["request_id"] for row in rows}
    for answer in (wrong, right, nobody):
        assert answer.headers["x-request-id"] in written
    secrets = [ada.password, "not my password", "a wrong password", token, ada.codes[0], ada.code()]
    everything = str([tuple(row.values()) for row in rows])
    assert not [secret for secret in secrets if secret in everything]
    assert sorted(await house.letters(ada)) == ["backup_code_used", "second_factor_failed"]
    await check(house, [wrong, right])


@pytest.mark.case("K-112")
async def test_a_letter_is_addressed_and_tells_where_from_and_no_secret(house: House) -> None:
    ada = await house.a_person().with_totp()
    used = await ada.post(
        "/v1/sign-in/second-factor",
        {"pre_auth_token": await ada.pre_auth(), "code": ada.codes[0]},
        **{"user-agent": "A Browser/1.0"},
    )
    assert used.status_code == 200
    (letter,) = await house.rows("SELECT *, data ->> 'browser' AS browser FROM outbox")
    assert (letter["kind"], letter["recipient"], letter["person_id"]) == (
        "backup_code_used",
        ada.email,
        ada.id,
    )
    assert letter["browser"] == "A Browser/1.0"
    assert ada.address in letter["data"]
    assert '"backup_codes_left": 4' in letter["data"]
    assert ada.codes[0] not in letter["data"]


async def test_known_unknown_and_disabled_people_answer_alike(house: House) -> None:
    ada, dan = await house.a_person().with_totp(), await house.a_person().disabled()
    answers = [
        await ada.login(password="not my password"),
        await dan.login(),
        await ada.post("/v1/sign-in", {"email": "nobody@example.com", "password": ada.password}),
    ]
    bodies = []
    for answer in answers:
        assert refusal(answer) == (401, "invalid_credentials")
        bodies.append({name: value for name, value in answer.json().items() if name != "request_id"})
    assert bodies[0] == bodies[1] == bodies[2]
    assert len({frozenset(a.headers.keys()) for a in answers}) == 1
    assert len({a.headers["content-length"] for a in answers}) == 1


async def test_an_address_is_one_in_every_writing(house: House) -> None:
    ada = await house.a_person()
    ada.email = f"  {ada.email.upper()} "
    assert (await owed(ada))[0] == "complete"
    for number in range(5):
        ada.email = ada.email.swapcase()
        assert refusal(await ada.login(password=f"wrong {number}")) == (401, "invalid_credentials")
    assert refusal(await ada.login()) == (429, "rate_limited"), "all writings share the count"


async def test_a_step_of_the_clock_spent_in_one_arm_is_spent_in_all(house: House) -> None:
    ada = await house.a_person().with_totp().who_must_change_their_password()
    _, token = await owed(ada)
    step = await ada.verify(token, ada.code())
    assert step.json()["status"] == "password_change_required"
    assert await house.value("SELECT last_step FROM authenticator") == totp.step_at(ada.now)
    replay = await ada.verify((await owed(ada))[1], ada.code())
    assert refusal(replay) == (401, "code_already_used")
    assert (await change(ada, step.json()["pre_auth_token"])).status_code == 200
    await check(house)
