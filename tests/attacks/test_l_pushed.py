"""Pushed requests (security design §6, K-119): used again, raced for, another client's, late."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from service.flows import clients as client_flow
from tests.attacks.doors import WEB, Doors, doors
from tests.attacks.test_e_authorization import APP, EVIL, page_alone
from tests.builders import House
from tests.flows.invariants import RACERS
from tests.pages.portal import CALLBACK, answer, asked


@pytest.mark.case("K-119")
async def test_a_pushed_request_is_opened_by_one_of_many(house: House) -> None:
    made = await doors(house)
    await client_flow.create(house.world, replace(WEB, id="other"))
    for turn in range(3):
        handle = await _pushed(made, state=f"s{turn}")
        silent = {"prompt": "none"} if turn == 2 else {}
        query = "/oauth2/authorize?" + urlencode({"client_id": "web", "request_uri": handle} | silent)
        stolen = "/oauth2/authorize?" + urlencode({"client_id": "other", "request_uri": handle})
        raced = await asyncio.gather(
            *(made.visitor.client.get(one) for one in [query] * RACERS + [stolen] * 4)
        )
        assert Counter(one.status_code for one in raced) == {303: 1, 400: RACERS + 3}
        for one in raced:
            if one.status_code == 400:
                page_alone(one, "the others")
    begun = await house.value("SELECT count(*) FROM authorization_request")
    assert begun == 1 + 3, "the one that signed the person in, and one for each that was pushed"


@pytest.mark.case("K-119")
async def test_a_pushed_request_is_of_its_client_its_time_and_whole(house: House) -> None:
    made = await doors(house)
    await client_flow.create(house.world, replace(WEB, id="other"))
    await client_flow.create(house.world, APP)

    async def opened(**parameters: Any) -> httpx.Response:
        return await made.visitor.client.get("/oauth2/authorize?" + urlencode(parameters, doseq=True))

    handle = await _pushed(made)
    for silent in ({}, {"prompt": "none"}):
        for wrong in (
            {"client_id": "other"},
            {"client_id": "app", "redirect_uri": CALLBACK, "response_type": "code"},
            {"client_id": ""},
            {"client_id": ["web", "other"]},
            {"client_id": "web", "request_uri": [handle, handle]},
            {"client_id": "web", "request_uri": handle[:-1]},
            {"client_id": "web", "request_uri": handle + "A"},
            {"client_id": "web", "request_uri": handle.upper()},
            {"client_id": "web\0"},
        ):
            page_alone(await opened(**({"request_uri": handle} | wrong | silent)), wrong)
    beside = await opened(
        client_id="web", request_uri=handle, redirect_uri=EVIL, scope="openid admin", state="x"
    )
    page = await made.visitor.get(beside.headers["location"])
    assert answer(page)["state"] == "s" * 128, "what stands beside the handle counts for nothing"
    for silent in ({}, {"prompt": "none"}):
        page_alone(await opened(client_id="web", request_uri=handle, **silent), "used")
        late = await _pushed(made, prompt="none")
        house.clock.advance(91)
        page_alone(await opened(client_id="web", request_uri=late, **silent), "expired")
    disabled = await _pushed(made)
    await client_flow.disable(house.world, "web")
    page_alone(await opened(client_id="web", request_uri=disabled), "a disabled client's")


async def _pushed(made: Doors, **changes: str) -> str:
    fields = dict(httpx.QueryParams(asked(client_id="web", **changes).partition("?")[2]))
    sent = await made.post("/oauth2/par", **fields)
    assert sent.status_code == 201, sent.text
    assert sent.headers["cache-control"] == "no-store"
    return str(sent.json()["request_uri"])
