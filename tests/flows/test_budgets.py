"""Who pays for failures, for how long, and what a try that was never judged gives back."""

import asyncio
from typing import Any

import httpx
import pytest

from service.app import create
from service.flows import sign_in as sign_in_flow
from service.settings import Settings
from service.world import make_world
from tests.builders import House
from tests.flows.account import (
    AUTHENTICATORS,
    ME,
    NEW_PASSWORD,
    PASSWORD,
    confirm,
    disable,
    origin,
    shown,
    start,
    step_up,
)
from tests.flows.invariants import check, elsewhere, flush, guess, pre_auths, refusal, tally

forced = pytest.mark.parametrize("settings", [{"two_factor.required": "all"}], indirect=True)


# Strangers' budget is used up


@pytest.mark.case("K-28")
async def test_while_strangers_must_wait_no_unknown_device_is_judged_and_sessions_go_on(house: House) -> None:
    ada = await house.a_person().with_totp()
    tokens = await ada.sign_in()
    bearer, old = tokens["access_token"], await ada.pre_auth()
    pending = await start(ada, bearer, "Tablet")
    assert tally(await guess(ada, 5)) == {401: 5}
    for token in (old, await ada.pre_auth()):
        for code in (ada.code(1), ada.codes[0], ada.wrong_code()):
            refused = await elsewhere(ada).verify(token, code)
            assert refusal(refused) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) == 300
            assert refused.headers["ratelimit-policy"] == '"second_factor.person";q=5;w=300'
    # Nothing of the owner's was spent, and what is signed in goes on: it has a budget of its own.
    refreshed = await ada.refresh(tokens["refresh_token"])
    assert refreshed.status_code == 200
    assert (await ada.get(ME, bearer=bearer)).status_code == 200
    assert (await step_up(ada, bearer, ada.code(1))).status_code == 200
    assert (await confirm(ada, bearer, pending)).status_code == 200
    change = {"current_password": ada.password, "new_password": NEW_PASSWORD}
    assert (await ada.post(PASSWORD, change, bearer=bearer)).status_code == 204
    ada.password = NEW_PASSWORD
    assert refusal(await ada.verify(await ada.pre_auth(), ada.codes[0])) == (429, "rate_limited")
    assert (await disable(ada, bearer, ada.codes[0])).status_code == 204
    await check(house, [refreshed])


@forced
@pytest.mark.case("K-28")
async def test_a_forced_enrolment_waits_as_long_as_any_stranger(house: House) -> None:
    ada = await house.a_person()
    first, second = await pre_auths(ada, 2)
    begun = (await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": first})).json()
    body: dict[str, Any] = {"pre_auth_token": first, "id": begun["id"]}
    for number in range(5):
        code = shown(ada, begun, 400 + number)
        wrong = await ada.post("/v1/sign-in/enrolment/confirm", body | {"code": code})
        assert refusal(wrong) == (401, "invalid_code")
    begun = (await ada.post("/v1/sign-in/enrolment", {"pre_auth_token": second})).json()
    body = {"pre_auth_token": second, "id": begun["id"], "code": shown(ada, begun)}
    assert refusal(await ada.post("/v1/sign-in/enrolment/confirm", body)) == (429, "rate_limited")
    house.clock.advance(300)
    body["code"] = shown(ada, begun)
    assert (await ada.post("/v1/sign-in/enrolment/confirm", body)).status_code == 200
    await check(house)


@pytest.mark.case("K-34")
async def test_the_limit_of_a_person_outlives_the_process_and_what_redis_knew(
    house: House, settings: Settings
) -> None:
    ada = await house.a_person().with_totp()
    *tokens, kept = await pre_auths(ada, 4)
    for number, token in enumerate(tokens):
        wrong = await elsewhere(ada).verify(token, ada.wrong_code(but=number))
        assert wrong.json()["attempts_left"] == 4 - number
    await flush(house)
    other = make_world(settings, clock=house.clock)
    try:
        await other.refresh()
        app: Any = create(other)
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8400") as client:
            again = elsewhere(ada)
            again.world, again.client = other, client
            for left in (1, 0):
                wrong = await again.verify(kept, ada.wrong_code(but=10 + left))
                assert (refusal(wrong), wrong.json()["attempts_left"]) == ((401, "invalid_code"), left)
            for token in (kept, await again.pre_auth()):
                assert refusal(await again.verify(token, ada.code())) == (429, "rate_limited")
            for number in range(5):
                assert (await elsewhere(again).login(password=f"not it {number}")).status_code == 401
    finally:
        await other.close()
    assert refusal(await ada.verify(kept, ada.code())) == (429, "rate_limited")
    assert refusal(await ada.login()) == (429, "rate_limited"), "passwords are counted for all as well"
    house.clock.advance(300)
    assert (await ada.verify(await ada.pre_auth(), ada.code())).status_code == 200
    await check(house)


async def test_a_device_is_a_strangers_after_a_new_password(house: House) -> None:
    ada = await house.a_person().with_totp()
    tokens = await ada.sign_in()
    device = tokens["device_token"]
    assert tally(await guess(ada, 5)) == {401: 5}
    assert (await ada.login(device_token=device)).json()["attempts_left"] == 5
    change = {"current_password": ada.password, "new_password": NEW_PASSWORD}
    assert (await ada.post(PASSWORD, change, bearer=tokens["access_token"])).status_code == 204
    ada.password = NEW_PASSWORD
    owed = (await ada.login(device_token=device)).json()
    assert owed["attempts_left"] == 0
    assert refusal(await ada.verify(owed["pre_auth_token"], ada.code(1))) == (429, "rate_limited")
    house.clock.advance(300)
    fresh = await ada.sign_in(device_token=device)
    assert (await ada.login(device_token=fresh["device_token"])).json()["attempts_left"] == 5
    await check(house)


# What is written down of refusals


@pytest.mark.parametrize("settings", [{"two_factor.per_hour": 5}], indirect=True)
async def test_refusals_by_a_persons_budget_are_written_down_once_in_five_minutes(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    for person in (ada, bob):
        assert tally(await guess(person, 5)) == {401: 5}
    refused = "account:second_factor:refused"
    for moment in (0, 200, 99, 1, 299):
        house.clock.advance(moment)
        token = await elsewhere(ada).pre_auth()
        for _ in range(4):
            assert (await elsewhere(ada).verify(token, ada.code())).status_code == 429
    assert len(await house.events(refused)) == 2
    first, second = await house.events(refused)
    assert (second["at"] - first["at"]).total_seconds() == 300
    assert {row["person_id"] for row in (first, second)} == {ada.id}
    assert "budget" in first["detail"]
    assert (await bob.verify(await bob.pre_auth(), bob.code())).status_code == 429
    assert len(await house.events(refused)) == 3, "each person's own"
    await check(house)


async def test_refusals_of_a_password_and_of_a_step_up_are_written_down_apart(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    for number in range(5):
        assert (await elsewhere(ada).login(password=f"not it {number}")).status_code == 401
        body = {"password": f"not it {number}"}
        assert (await ada.post("/v1/reauthentication", body, bearer=bearer)).status_code == 401
    for _ in range(6):
        assert (await elsewhere(ada).login()).status_code == 429
        assert (await step_up(ada, bearer)).status_code == 429
    nobody = {"email": "nobody@example.com", "password": "not it"}
    for _ in range(8):
        await elsewhere(ada).post("/v1/sign-in", nobody)
    assert len(await house.events("account:sign_in:refused")) == 1
    assert len(await house.events("session:reauthentication:refused")) == 1
    await check(house)


# What was never judged


async def test_a_cancelled_password_try_gives_its_place_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await house.a_person()
    hashing, real = asyncio.Event(), house.world.pool.verify_password

    async def never(encoded: str | None, password: str) -> bool:
        hashing.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(house.world.pool, "verify_password", never)
    for _ in range(8):
        hashing.clear()
        tried = asyncio.create_task(
            sign_in_flow.sign_in(house.world, origin(ada), ada.email, "not it", "doorward", None)
        )
        await hashing.wait()
        assert await house.value("SELECT max(pending) FROM password_tries") == 1
        tried.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tried
        assert await house.value("SELECT max(pending) FROM password_tries") == 0
    monkeypatch.setattr(house.world.pool, "verify_password", real)
    assert await house.value("SELECT max(failures) FROM password_tries") == 0
    assert (await elsewhere(ada).login()).status_code == 200
    await check(house)


async def test_a_try_cancelled_at_any_moment_keeps_nobody_waiting(house: House) -> None:
    """Wherever the sender hangs up, no place stays taken beyond the verdict's own transaction."""
    ada = await house.a_person()
    for moment in range(12):
        tried = asyncio.create_task(
            sign_in_flow.sign_in(house.world, origin(ada), ada.email, ada.password, "doorward", None)
        )
        await asyncio.sleep(moment / 200)
        tried.cancel()
        await asyncio.gather(tried, return_exceptions=True)
    house.clock.advance(16)
    assert (await elsewhere(ada).login()).status_code == 200, "at the latest after the stale time"
    await check(house)


async def test_calls_with_dead_tokens_do_not_use_up_the_networks_limit(house: House) -> None:
    ada = await house.a_person().with_totp()
    changing = await house.a_person().who_must_change_their_password()
    spent = await ada.pre_auth()
    assert (await ada.verify(spent, ada.code())).status_code == 200
    for number in range(35):
        for answer in (
            await ada.verify(spent, ada.wrong_code(but=number)),
            await ada.post("/v1/sign-in/password", {"pre_auth_token": spent, "new_password": NEW_PASSWORD}),
            await ada.post(
                "/v1/sign-in/enrolment/confirm",
                {"pre_auth_token": spent, "id": str(ada.authenticator), "code": "123456"},
            ),
        ):
            assert refusal(answer) == (401, "invalid_pre_auth_token"), number
    assert (await ada.verify(await ada.pre_auth(), ada.code(1))).status_code == 200
    changing.address = ada.address
    body = {"pre_auth_token": await changing.pre_auth(), "new_password": NEW_PASSWORD}
    assert (await changing.post("/v1/sign-in/password", body)).status_code == 200
    await check(house)


@pytest.mark.case("K-71")
@pytest.mark.parametrize("settings", [{"limits.sign_in_network": 3}], indirect=True)
async def test_wrong_passwords_inside_a_session_use_up_the_networks_limit_too(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    bob.address = ada.address
    bearer = (await ada.sign_in())["access_token"]
    body = {"current_password": "not it", "new_password": NEW_PASSWORD}
    answers = [
        await ada.post(PASSWORD, body, bearer=bearer),
        await ada.post("/v1/reauthentication", {"password": "not it"}, bearer=bearer),
        await ada.post(PASSWORD, body, bearer=bearer),
        await bob.login(password="not it"),
    ]
    assert [one.status_code for one in answers] == [401, 401, 401, 429]
    assert (await ada.post(AUTHENTICATORS, {}, bearer=bearer)).status_code == 201
    await check(house)
