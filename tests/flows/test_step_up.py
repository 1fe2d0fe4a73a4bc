"""What is a proof of oneself, for how long, and of which session."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from uuid import UUID

import pytest

from service.errors import Conflict, DoorwardError, InvalidToken
from service.flows import me as me_flow
from service.flows import reauthentication as reauthentication_flow
from service.flows import two_factor as two_factor_flow
from service.flows.sessions import Caller
from tests.builders import House, Person
from tests.flows.account import (
    BACKUP_CODES,
    END_OTHERS,
    NEW_PASSWORD,
    all_of_it,
    another,
    authenticators,
    call,
    caller,
    confirm,
    origin,
    refreshed,
    shown,
    start,
    step_up,
)
from tests.flows.invariants import check, claims, refusal

Act: TypeAlias = Callable[[House, Person, Caller, Any], Awaitable[object]]


async def _step_up(house: House, ada: Person, who: Caller, second: Any) -> object:
    return await reauthentication_flow.reauthenticate(
        house.world, origin(ada), who, ada.password, ada.code(1)
    )


async def _regenerate(house: House, ada: Person, who: Caller, second: Any) -> object:
    return await two_factor_flow.regenerate(house.world, origin(ada), who)


async def _start(house: House, ada: Person, who: Caller, second: Any) -> object:
    return await two_factor_flow.start(house.world, origin(ada), who, None)


async def _disable(house: House, ada: Person, who: Caller, second: Any) -> object:
    return await two_factor_flow.disable(house.world, origin(ada), who, ada.password, ada.code(1))


async def _remove(house: House, ada: Person, who: Caller, second: Any) -> object:
    return await two_factor_flow.remove(house.world, origin(ada), who, second)


async def _rename(house: House, ada: Person, who: Caller, second: Any) -> object:
    await two_factor_flow.rename(house.world, origin(ada), who, second, "Mine")
    return None


async def _password(house: House, ada: Person, who: Caller, second: Any) -> object:
    return await me_flow.change_password(house.world, origin(ada), who, ada.password, NEW_PASSWORD)


async def _profile(house: House, ada: Person, who: Caller, second: Any) -> object:
    await me_flow.change_profile(house.world, origin(ada), who, {"name": "Eve"})
    return None


async def _end_others(house: House, ada: Person, who: Caller, second: Any) -> object:
    return await me_flow.end_other_sessions(house.world, origin(ada), who)


ACTS: list[Act] = [
    _step_up,
    _regenerate,
    _start,
    _disable,
    _remove,
    _rename,
    _password,
    _profile,
    _end_others,
]


async def _refusal(act: Awaitable[object]) -> DoorwardError | None:
    try:
        await act
    except DoorwardError as refused:
        return refused
    return None


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__.strip("_"))
async def test_a_session_that_ended_meanwhile_does_nothing_more(house: House, act: Act) -> None:
    ada = await house.a_person().with_totp()
    second = await another(house, ada)
    tokens = await ada.sign_in()
    who = await caller(house, tokens["access_token"])
    assert (await ada.post("/v1/sign-out", None, bearer=tokens["access_token"])).status_code == 204
    before = await all_of_it(house)
    refused = await _refusal(act(house, ada, who, second))
    assert isinstance(refused, InvalidToken), refused
    assert await all_of_it(house) == before
    assert await house.value("SELECT cardinality(known_failures) FROM person") == 0
    assert (await ada.verify(await ada.pre_auth(), ada.code(1))).status_code == 200, "no code was spent"
    assert "two_factor_off" not in await house.letters(ada)
    await check(house)


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__.strip("_"))
async def test_a_session_ended_by_another_does_nothing_more(house: House, act: Act) -> None:
    ada = await house.a_person().with_totp()
    second = await another(house, ada)
    ended = await ada.sign_in()
    house.clock.advance(30)
    acting = await ada.sign_in()
    who = await caller(house, ended["access_token"])
    assert (await ada.post(END_OTHERS, None, bearer=acting["access_token"])).json() == {"ended": 1}
    before = await all_of_it(house)
    refused = await _refusal(act(house, ada, who, second))
    assert isinstance(refused, InvalidToken), refused
    assert await all_of_it(house) == before
    await check(house)


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__.strip("_"))
async def test_a_session_that_lived_through_a_change_acts_on_no_older_view(house: House, act: Act) -> None:
    ada = await house.a_person().with_totp()
    second = await another(house, ada)
    tokens = await ada.sign_in()
    who = await caller(house, tokens["access_token"])
    assert (await ada.post(END_OTHERS, None, bearer=tokens["access_token"])).status_code == 200
    before = await all_of_it(house)
    refused = await _refusal(act(house, ada, who, second))
    assert isinstance(refused, Conflict | InvalidToken), refused
    assert await all_of_it(house) == before
    await check(house)


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__.strip("_"))
async def test_a_person_disabled_meanwhile_does_nothing_more(house: House, act: Act) -> None:
    ada = await house.a_person().with_totp()
    second = await another(house, ada)
    who = await caller(house, (await ada.sign_in())["access_token"])
    await house.rows("UPDATE person SET disabled_at = now(), epoch = epoch + 1")
    before = await all_of_it(house)
    refused = await _refusal(act(house, ada, who, second))
    assert isinstance(refused, InvalidToken), refused
    assert await all_of_it(house) == before


async def test_confirming_an_authenticator_is_no_new_step_up(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    proved_at = int(ada.now.timestamp())
    house.clock.advance(290)
    started = await start(ada, tokens["access_token"])
    tokens = await refreshed(ada, tokens)
    house.clock.advance(15)
    assert (await confirm(ada, tokens["access_token"], started)).status_code == 200
    tokens = await refreshed(ada, tokens)
    assert claims(tokens["access_token"])["auth_time"] == proved_at
    assert claims(tokens["access_token"])["amr"] == ["pwd", "otp", "mfa"]
    bearer = tokens["access_token"]
    (only,) = await authenticators(house, ada)
    for answer in (
        await ada.post(BACKUP_CODES, None, bearer=bearer),
        await ada.post("/v1/me/two-factor/authenticators", {}, bearer=bearer),
        await call(ada, "DELETE", f"/v1/me/two-factor/authenticators/{only}", bearer=bearer),
    ):
        assert refusal(answer) == (403, "reauthentication_required")
    await check(house)


async def test_a_step_up_is_of_its_own_session_and_renews_nothing_else(house: House) -> None:
    ada = await house.a_person().with_totp()
    first = await ada.sign_in()
    house.clock.advance(30)
    second = await ada.sign_in()
    house.clock.advance(301)
    first, second = await refreshed(ada, first), await refreshed(ada, second)
    ended = await house.value("SELECT max(absolute_at) FROM refresh_family")
    assert (await step_up(ada, first["access_token"], ada.code())).status_code == 200
    assert (await ada.post(BACKUP_CODES, None, bearer=first["access_token"])).status_code == 200
    refused = await ada.post(BACKUP_CODES, None, bearer=second["access_token"])
    assert refusal(refused) == (403, "reauthentication_required")
    assert await house.value("SELECT max(absolute_at) FROM refresh_family") == ended
    await check(house)


async def test_a_password_alone_is_no_step_up_of_somebody_enrolled_meanwhile(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    started = await start(ada, tokens["access_token"])
    assert (await confirm(ada, tokens["access_token"], started)).status_code == 200
    house.clock.advance(301)
    tokens = await refreshed(ada, tokens)
    missing = await step_up(ada, tokens["access_token"])
    assert refusal(missing) == (400, "invalid_request")
    refused = await ada.post(BACKUP_CODES, None, bearer=tokens["access_token"])
    assert refusal(refused) == (403, "reauthentication_required")
    await check(house)


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
async def test_a_guess_of_a_session_that_ended_meanwhile_is_not_judged(house: House, right: bool) -> None:
    ada = await house.a_person().with_totp()
    tokens = await ada.sign_in()
    who, where = await caller(house, tokens["access_token"]), origin(ada)
    started = await start(ada, tokens["access_token"], "Tablet")
    assert (await ada.post("/v1/sign-out", None, bearer=tokens["access_token"])).status_code == 204
    before = await all_of_it(house)
    code = ada.code(1) if right else ada.wrong_code()
    new = shown(ada, started, 0 if right else 7)
    for act in (
        reauthentication_flow.reauthenticate(house.world, where, who, ada.password, code),
        two_factor_flow.disable(house.world, where, who, ada.password, code),
        two_factor_flow.confirm(house.world, where, who, UUID(started["id"]), new),
    ):
        refused = await _refusal(act)
        assert isinstance(refused, InvalidToken), refused
    assert await all_of_it(house) == before
    assert await house.value("SELECT cardinality(known_failures) + known_streak FROM person") == 0
    await check(house)
