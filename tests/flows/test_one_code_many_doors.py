"""One code is good for one door, and an enrolment for whoever may begin it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import httpx
import pytest

from service.domain import totp
from tests.builders import House, Person
from tests.flows.account import (
    AUTHENTICATORS,
    BACKUP_CODES,
    ME,
    NOBODY,
    PASSWORD,
    all_of_it,
    authenticators,
    codes_of,
    confirm,
    disable,
    in_browser,
    living,
    refreshed,
    secret_of,
    start,
    step_up,
    successes,
    two_factor,
    without_step_up,
)
from tests.flows.invariants import ROUNDS, check, elsewhere, pre_auths, refusal, tally

#: Tries a code at one door: (person, bearer, a pre-auth token, a pending enrolment, the code).
Door: TypeAlias = Callable[[Person, str, str, Any, str], Awaitable[httpx.Response]]


async def _sign_in(person: Person, bearer: str, token: str, pending: Any, code: str) -> httpx.Response:
    return await person.verify(token, code)


async def _step_up(person: Person, bearer: str, token: str, pending: Any, code: str) -> httpx.Response:
    return await step_up(person, bearer, code)


async def _confirm(person: Person, bearer: str, token: str, pending: Any, code: str) -> httpx.Response:
    return await confirm(person, bearer, pending, code)


async def _turn_off(person: Person, bearer: str, token: str, pending: Any, code: str) -> httpx.Response:
    return await disable(person, bearer, code)


DOORS: dict[str, Door] = {
    "sign-in": _sign_in,
    "step-up": _step_up,
    "confirm": _confirm,
    "disable": _turn_off,
}


@pytest.mark.case("K-13")
@pytest.mark.parametrize("first", ["sign-in", "step-up"])
async def test_a_code_that_opened_one_door_opens_no_other(house: House, first: str) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    pending, code = await start(ada, bearer, "Tablet"), ada.code(1)
    tokens = await pre_auths(ada, 3)
    opened = await DOORS[first](ada, bearer, tokens[0], pending, code)
    assert opened.status_code == 200, opened.text
    told = {"confirm": "invalid_code"}
    for name, door in DOORS.items():
        answer = await door(ada, bearer, tokens[1], pending, code)
        assert refusal(answer) == (401, told.get(name, "code_already_used")), name
    assert await successes(house, ada) == 2, "the sign-in's own, and the one door's"
    assert (await two_factor(ada, bearer))["status"] == "activated"
    assert await authenticators(house, ada) == {str(ada.authenticator): "Phone"}
    house.clock.advance(30)
    assert (await ada.verify(tokens[2], ada.code(1))).status_code == 200
    await check(house)


@pytest.mark.case("K-13")
async def test_the_code_that_confirmed_a_second_authenticator_opens_no_other_door(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    pending = await start(ada, bearer, "Tablet")
    assert (await confirm(ada, bearer, pending)).status_code == 200
    (added,) = set(await authenticators(house, ada)) - {str(ada.authenticator)}
    step = await house.value("SELECT last_step FROM authenticator WHERE id = $1::text::uuid", added)
    assert step == totp.step_at(ada.now)
    again = await start(ada, bearer, "Watch")
    tablet = Person(ada.world, ada.client, ada.email, ada.id, address=ada.address)
    tablet.secret = secret_of(pending)
    token, other = await pre_auths(ada, 2)
    for name, door in DOORS.items():
        answer = await door(ada, bearer, token, again, tablet.code())
        expected = "invalid_code" if name == "confirm" else "code_already_used"
        assert refusal(answer) == (401, expected), name
    assert (await ada.verify(other, tablet.code(1))).status_code == 200, "its next step is as good as any"
    await check(house)


@pytest.mark.case("K-13")
async def test_the_code_that_turned_it_off_opens_nothing_once_it_is_on_again(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    code = ada.code(1)
    assert (await disable(ada, bearer, code)).status_code == 204
    assert refusal(await disable(ada, bearer, code)) == (409, "no_authenticator")
    pending = await start(ada, bearer)
    assert refusal(await confirm(ada, bearer, pending, code)) == (401, "invalid_code")
    assert (await confirm(ada, bearer, pending)).status_code == 200
    assert refusal(await ada.verify(await ada.pre_auth(), code)) == (401, "invalid_code")
    await check(house)


@pytest.mark.case("K-13")
@ROUNDS
async def test_one_code_at_every_door_at_once_is_accepted_at_one(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        bearer = (await ada.sign_in())["access_token"]
        house.clock.advance(30)
        other = (await ada.sign_in())["access_token"]
        pending = await start(ada, bearer, "Tablet")
        tokens = await pre_auths(ada, 8)
        before, code = await successes(house, ada), ada.code(1)
        racers: list[Any] = [elsewhere(ada).verify(token, code) for token in tokens]
        racers += [step_up(elsewhere(ada), bearer, code) for _ in range(2)]
        racers += [confirm(elsewhere(ada), bearer, pending, code) for _ in range(2)]
        racers += [disable(elsewhere(ada), one, code) for one in (bearer, other)]
        answers = list(await asyncio.gather(*racers))
        assert await successes(house, ada) == before + 1
        assert codes_of(answers) <= {
            (401, "code_already_used"),
            (401, "invalid_code"),
            (401, "invalid_pre_auth_token"),
            (401, "invalid_token"),
            (409, "conflict"),
            (409, "enrolment_replaced"),
            (409, "no_authenticator"),
            (429, "rate_limited"),
            (404, "not_found"),
        }
        assert tally(answers[:8])[200] <= 1
        await check(house, answers[:8])


@pytest.mark.case("K-88")
async def test_the_code_that_turned_it_on_is_no_code_of_the_first_sign_in(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    pending = await start(ada, bearer)
    ada.secret = secret_of(pending)
    code = ada.code()
    assert (await confirm(ada, bearer, pending)).status_code == 200
    token = await ada.pre_auth()
    assert refusal(await ada.verify(token, code)) == (401, "code_already_used")
    assert refusal(await ada.verify(token, ada.code(-1))) == (401, "invalid_code"), "nor an older one"
    assert (await ada.verify(token, ada.code(1))).status_code == 200
    await check(house)


# Whoever may begin an enrolment


@pytest.mark.case("K-80")
async def test_without_a_step_up_nothing_is_enrolled_over_a_factor(house: House) -> None:
    ada = await house.a_person().with_totp()
    tokens = await ada.sign_in()
    started = await start(ada, tokens["access_token"], "Tablet")
    house.clock.advance(30)
    other = await ada.sign_in()
    assert refusal(await confirm(ada, other["access_token"], started)) == (404, "not_found")
    seen = await ada.get(f"{AUTHENTICATORS}/{started['id']}", bearer=other["access_token"])
    assert refusal(seen) == (404, "not_found")
    other = await without_step_up(house, ada, other)
    begun = await ada.post(AUTHENTICATORS, {"name": "Watch"}, bearer=other["access_token"])
    assert refusal(begun) == (403, "reauthentication_required")
    assert await authenticators(house, ada) == {str(ada.authenticator): "Phone"}
    assert (await ada.verify(await ada.pre_auth(), ada.code())).status_code == 200
    # The starter needs no new step-up to confirm what it began.
    tokens = await refreshed(ada, tokens)
    assert (await confirm(ada, tokens["access_token"], started)).status_code == 200
    await check(house)


@pytest.mark.case("K-80")
async def test_a_proof_of_one_factor_is_no_step_up_of_an_enrolled_person(house: House) -> None:
    ada = await house.a_person()
    first, second = await ada.sign_in(), await ada.sign_in()
    pending = await start(ada, first["access_token"])
    assert (await confirm(ada, first["access_token"], pending)).status_code == 200
    for path in (AUTHENTICATORS, BACKUP_CODES, PASSWORD):
        answer = await ada.post(path, {}, bearer=second["access_token"])
        assert refusal(answer) in {(401, "invalid_token"), (400, "invalid_request")}
    assert await living(house, ada) == {first["session"]["id"]}
    await check(house)


@pytest.mark.case("K-81")
async def test_a_pre_auth_token_neither_names_removes_nor_turns_off(house: House) -> None:
    ada = await house.a_person().with_totp()
    token = await ada.pre_auth()
    before = await all_of_it(house)
    one = f"{AUTHENTICATORS}/{ada.authenticator}"
    for method, path, body in (
        ("PATCH", one, {"name": "Mine"}),
        ("DELETE", one, None),
        ("POST", "/v1/me/two-factor/disable", {"password": ada.password, "code": ada.code()}),
        ("POST", BACKUP_CODES, None),
        ("POST", AUTHENTICATORS, {}),
        ("GET", ME, None),
    ):
        headers = {"authorization": f"Bearer {token}", "x-forwarded-for": ada.address}
        answer = await house.client.request(method, path, json=body, headers=headers)
        assert refusal(answer) == (401, "invalid_token"), path
        cookie = {"cookie": f"doorward-dev={token}; doorward-dev-browser={'A' * 43}"}
        answer = await house.client.request(method, path, json=body, headers=cookie)
        assert refusal(answer) == (401, "invalid_token"), path
    for path, more in (
        ("/v1/sign-in/enrolment", {}),
        ("/v1/sign-in/enrolment/confirm", {"id": NOBODY, "code": ada.code()}),
    ):
        answer = await ada.post(path, {"pre_auth_token": token} | more)
        assert refusal(answer) == (401, "invalid_pre_auth_token")
    assert await all_of_it(house) == before
    assert (await ada.verify(token, ada.code())).status_code == 200
    await check(house)


@pytest.mark.case("K-82")
async def test_a_second_start_replaces_the_first_also_for_somebody_who_is_enrolled(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    first = await start(ada, bearer, "Tablet")
    second = await start(ada, bearer, "Tablet")
    assert refusal(await confirm(ada, bearer, first)) == (409, "enrolment_replaced")
    token = await ada.pre_auth()
    tablet = Person(ada.world, ada.client, ada.email, ada.id, secret=secret_of(second))
    assert refusal(await ada.verify(token, tablet.code())) == (401, "invalid_code"), "not active yet"
    assert (await confirm(ada, bearer, second)).status_code == 200
    assert refusal(await confirm(ada, bearer, second)) == (409, "enrolment_replaced")
    assert (await ada.verify(await ada.pre_auth(), tablet.code(1))).status_code == 200
    await check(house)


@pytest.mark.case("K-83")
@ROUNDS
async def test_two_sessions_that_enrol_at_once_leave_one_authenticator_and_one_set(
    house: House, rounds: int
) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        all_tokens = [await ada.sign_in() for _ in range(2)]

        async def enrol(tokens: Any, person: Person = ada) -> httpx.Response:
            begun = await elsewhere(person).post(AUTHENTICATORS, {}, bearer=tokens["access_token"])
            if begun.status_code != 201:
                return begun
            return await confirm(elsewhere(person), tokens["access_token"], begun.json())

        answers = await asyncio.gather(*(enrol(tokens) for tokens in all_tokens * 4))
        won = tally(answers)[200]
        assert codes_of(answers) <= {
            (401, "invalid_token"),
            (403, "reauthentication_required"),
            (404, "not_found"),
            (409, "conflict"),
            (409, "enrolment_replaced"),
        }
        assert len(await authenticators(house, ada)) == won
        sets = "SELECT count(*) FROM backup_set WHERE person_id = $1"
        assert await house.value(sets, ada.id) == min(won, 1)
        shown = [a for a in answers if a.status_code == 200 and a.json().get("backup_codes")]
        assert len(shown) == min(won, 1)
        await check(house)


@pytest.mark.case("K-83")
@ROUNDS
async def test_a_confirmation_raced_twice_while_another_starts(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        bearer = (await ada.sign_in())["access_token"]
        pending = await start(ada, bearer, "Tablet")
        *answers, begun = await asyncio.gather(
            confirm(elsewhere(ada), bearer, pending),
            confirm(elsewhere(ada), bearer, pending),
            elsewhere(ada).post(AUTHENTICATORS, {"name": "Watch"}, bearer=bearer),
        )
        won = tally(answers)[200]
        assert won <= 1
        assert codes_of(answers) == {(409, "enrolment_replaced")}
        assert begun.status_code in (201, 409), begun.text
        assert won or begun.status_code == 201
        assert len(await authenticators(house, ada)) == 1 + won
        codes = "SELECT count(*) FROM backup_set WHERE person_id = $1"
        assert await house.value(codes, ada.id) == 1, "a second authenticator brings no codes"
        await check(house)


@pytest.mark.case("K-89")
async def test_sessions_of_before_end_in_apps_and_browsers_alike(house: House) -> None:
    ada = await house.a_person()
    acting, other, browser = await ada.sign_in(), await ada.sign_in(), await in_browser(house, ada)
    pending = await start(ada, acting["access_token"])
    assert (await confirm(ada, acting["access_token"], pending)).status_code == 200
    assert (await ada.refresh(other["refresh_token"])).json()["reason"] == "two_factor_changed"
    gone = await browser.send("GET", ME)
    assert (refusal(gone), gone.json()["reason"]) == ((401, "invalid_token"), "two_factor_changed")
    assert await living(house, ada) == {acting["session"]["id"]}
    assert (await house.rows("SELECT amr FROM session WHERE ended_at IS NULL"))[0]["amr"] == [
        "pwd",
        "otp",
        "mfa",
    ]
    await check(house)
