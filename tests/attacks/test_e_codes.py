"""Authorization codes (security design §6, E): used once, by whom they were made for, within their minute."""

import asyncio
from collections import Counter
from dataclasses import replace

import httpx
import pytest

from service.flows import clients as client_flow
from tests.attacks.doors import WEB, doors
from tests.attacks.test_e_authorization import APP, EVIL
from tests.builders import House
from tests.flows.invariants import RACERS, ROUNDS, check
from tests.pages.portal import CALLBACK, VERIFIER


@pytest.mark.case("K-44")
async def test_a_code_that_comes_again_takes_all_that_it_bought_with_it(house: House) -> None:
    made = await doors(house)
    living = dict(made.tokens)
    for again in ({}, {"code_verifier": "A" * 43}, {"redirect_uri": EVIL}, {"code_verifier": ""}):
        code = await made.code()
        tokens = (await made.exchange(code)).json()
        renewed = (
            await made.post(
                "/oauth2/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"]
            )
        ).json()
        refused = await made.exchange(code, **again)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        for one in (tokens, renewed):
            assert not await made.me(one["access_token"])
            assert not await made.userinfo(one["access_token"])
            assert not await made.introspect(one["access_token"])
            assert not await made.introspect(one["refresh_token"])
            assert not await made.refresh(one["refresh_token"])
    made.tokens = living
    assert await made.me(living["access_token"]), "another grant of the same client goes on"
    assert await made.refresh(living["refresh_token"])
    reasons = await house.rows("SELECT end_reason FROM refresh_family WHERE ended_at IS NOT NULL")
    assert [row["end_reason"] for row in reasons] == ["code_reuse"] * 4
    assert len(await house.events("client:code_exchange:refused")) == 4
    await check(house)


@pytest.mark.case("K-44")
async def test_a_code_that_two_bring_at_once_leaves_neither_with_tokens(house: House) -> None:
    """One of the two is a thief, whichever was faster: as when one comes a moment later."""
    made = await doors(house)
    kept = []
    for turn in range(20):
        code = await made.code(state=f"s{turn}")
        raced = await asyncio.gather(made.exchange(code), made.exchange(code))
        bought = [one.json() for one in raced if one.status_code == 200]
        kept += [turn for one in bought if await made.me(one["access_token"])]
    assert kept == []


@pytest.mark.case("K-45")
@ROUNDS
@pytest.mark.parametrize("redis", ["up", "forgetting"])
async def test_a_code_is_exchanged_once_however_many_try_at_once(
    house: House, rounds: int, redis: str
) -> None:
    made = await doors(house)
    await client_flow.create(house.world, APP)
    answers: list[httpx.Response] = []
    for turn in range(rounds):
        if redis == "forgetting":
            await house.world.memory.run(("FLUSHALL",))
        code = await made.code(state=f"s{turn}")
        thief = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
            "client_id": "app",
        }
        raced = await asyncio.gather(
            *(made.exchange(code) for _ in range(RACERS)),
            *(made.exchange(code, code_verifier="A" * 43) for _ in range(4)),
            *(made.send("/oauth2/token", **thief) for _ in range(4)),
        )
        told = Counter(one.json().get("error", "issued") for one in raced)
        assert told["issued"] <= 1, told
        assert set(told) <= {"issued", "invalid_grant"}, told
        answers += raced
    await check(house, answers)


@pytest.mark.case("K-45")
async def test_a_code_is_bound_to_its_client_address_key_minute_and_session(house: House) -> None:
    made = await doors(house)
    other = await client_flow.create(house.world, replace(WEB, id="other"))
    await client_flow.create(house.world, APP)
    code = await made.code()
    right = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    by_another = await house.client.post("/oauth2/token", data=right, auth=("other", other or ""))
    by_the_app = await made.send("/oauth2/token", client_id="app", **right)
    by_nobody = await made.send("/oauth2/token", client_id="web", **right)
    swapped = await made.exchange(code, redirect_uri="http://127.0.0.1:8411/callback")
    unproved = await made.exchange(code, code_verifier=VERIFIER[::-1])
    told = [one.json()["error"] for one in (by_another, by_the_app, by_nobody, swapped, unproved)]
    assert told == ["invalid_grant", "invalid_grant", "invalid_client", "invalid_grant", "invalid_grant"]
    assert (await made.exchange(code)).status_code == 200, "nobody's failure costs the client its code"
    late = await made.code()
    house.clock.advance(61)
    assert (await made.exchange(late)).json()["error"] == "invalid_grant"
    in_time = await made.code()
    house.clock.advance(59)
    assert (await made.exchange(in_time)).status_code == 200
    left = await made.code()
    await made.visitor.fill(await made.visitor.get("/account"), "/sign-out")
    assert (await made.exchange(left)).json()["error"] == "invalid_grant"
    await check(house)
