"""Portals are told of logouts: once where all is well, again where it is not, and not in vain."""

import json
from typing import Any
from uuid import UUID

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from service.domain.oidc.clients import IdTokenAlg
from service.flows import clients as client_flow
from service.flows.oidc.backchannel import GIVEN_UP, REFUSALS, WAITS, tell_due
from service.settings import Settings
from service.world import make_world
from tests.flows.backchannel.conftest import ISSUER, Owing, verified
from tests.portals import answers, portal
from tests.secure import Authority

pytestmark = [pytest.mark.case("K-114"), pytest.mark.case("F-20")]


# What is told


@pytest.mark.parametrize("alg", ["RS256", "ES256", "Ed25519"])
async def test_a_portal_gets_a_logout_token_that_it_can_prove(
    alg: IdTokenAlg, owing: Owing, trusted: Authority
) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.client("portal", there, id_token_signed_response_alg=alg)
        person = await owing.house.a_person()
        signed_in = jwt.decode(
            (await person.sign_in())["id_token"],
            KeySet.import_key_set((await owing.house.client.get("/oauth2/jwks")).json()),
            algorithms=["ES256"],
        ).claims
        await owing.owe("portal", UUID(signed_in["sid"]))
        assert await tell_due(owing.world) == 1
        assert await tell_due(owing.world) == 0
    (asked,) = there.asked
    assert (asked.method, asked.headers["content-type"]) == ("POST", "application/x-www-form-urlencoded")
    header, claims = await verified(owing.house, asked.token)
    assert header == {"alg": alg, "typ": "logout+jwt", "kid": header["kid"]}
    jti = claims.pop("jti")
    assert len(jti) == 32
    now = int(owing.world.clock.now().timestamp())
    assert claims == {
        "iss": ISSUER,
        "aud": "portal",
        "iat": now,
        "exp": now + 120,
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        "sub": signed_in["sub"],
        "sid": signed_in["sid"],
    }
    row = await owing.notice()
    assert (row["done_at"], row["failure"], row["attempts"]) == (owing.world.clock.now(), None, 1)
    (event,) = await owing.house.events("client:logout_notice:ok")
    assert (event["client_id"], event["person_id"]) == ("portal", person.id)
    assert (str(event["session_id"]), json.loads(event["detail"])) == (signed_in["sid"], {"attempts": 1})


async def test_no_door_takes_a_logout_token(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.one(there, id_token_signed_response_alg="ES256")
        await tell_due(owing.world)
    token = there.asked[0].token
    for path in ("/v1/me", "/oauth2/userinfo"):
        answer = await owing.house.client.get(path, headers={"authorization": f"Bearer {token}"})
        assert (path, answer.status_code) == (path, 401)


async def test_204_is_as_good_as_200_and_each_client_is_told_by_itself(
    owing: Owing, trusted: Authority
) -> None:
    async with portal(answers(204), trusted) as one, portal(answers(200), trusted) as other:
        await owing.client("one", one)
        await owing.client("other", other)
        (session,) = await owing.sessions(1)
        await owing.owe("one", session)
        await owing.owe("other", session)
        assert await tell_due(owing.world) == 2
    told = [(await verified(owing.house, there.asked[0].token))[1] for there in (one, other)]
    assert [claims["aud"] for claims in told] == ["one", "other"]
    assert told[0]["jti"] != told[1]["jti"]
    assert await owing.left() == 0


# What is told again


async def test_a_portal_that_fails_is_told_again_later_and_later_until_it_takes_it(
    owing: Owing, trusted: Authority
) -> None:
    statuses = (500, 503, 404, 201, 502, 429)
    async with portal(answers(*statuses, 200), trusted) as there:
        await owing.one(there)
        assert await tell_due(owing.world) == 1
        for wait in [*WAITS, WAITS[-1]]:
            row = await owing.notice()
            assert row["next_at"] == owing.world.clock.now() + wait
            assert (row["done_at"], row["failure"]) == (None, None)
            owing.house.clock.advance(wait.total_seconds() - 1)
            assert await tell_due(owing.world) == 0
            owing.house.clock.advance(1)
            assert await tell_due(owing.world) == 1
    row = await owing.notice()
    assert (row["attempts"], row["failure"]) == (len(statuses) + 1, None)
    assert row["done_at"] == owing.world.clock.now()
    tokens = [(await verified_later(owing, asked.token)) for asked in there.asked]
    assert len({claims["jti"] for claims in tokens}) == 1, "a portal can tell that it was told already"
    assert len({claims["iat"] for claims in tokens}) == len(statuses) + 1
    (event,) = await owing.house.events("client:logout_notice:ok")
    assert json.loads(event["detail"]) == {"attempts": len(statuses) + 1}
    assert await owing.house.events("client:logout_notice:failed") == []


async def verified_later(owing: Owing, token: str) -> dict[str, Any]:
    _, claims = await verified(owing.house, token)
    return claims


async def test_a_portal_that_never_takes_it_is_given_up_after_a_day(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(500), trusted) as there:
        await owing.one(there)
        began, tries = owing.world.clock.now(), 0
        while await owing.left():
            tries += await tell_due(owing.world)
            owing.house.clock.advance(1800)
            assert tries < 40
    row = await owing.notice()
    assert (row["failure"], row["attempts"]) == ("wrong_status", tries)
    assert GIVEN_UP - WAITS[-1] <= row["done_at"] - began <= GIVEN_UP
    assert len(there.asked) == tries
    (event,) = await owing.house.events("client:logout_notice:failed")
    detail = json.loads(event["detail"])
    assert detail == {"attempts": tries, "failure": "wrong_status", "reason": "status 500"}
    assert await owing.house.events("client:logout_notice:ok") == []


async def test_a_portal_that_says_the_token_is_wrong_is_told_a_few_times(
    owing: Owing, trusted: Authority
) -> None:
    async with portal(answers(400), trusted) as there:
        await owing.one(there)
        for _ in range(10):
            await tell_due(owing.world)
            owing.house.clock.advance(WAITS[-1].total_seconds())
    assert len(there.asked) == REFUSALS
    assert (await owing.notice())["failure"] == "refused"


async def test_a_redirect_is_not_followed_and_is_told_again(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as other:
        away = answers(307, headers=f"location: {other.url()}\r\n")
        async with portal(away, trusted) as there:
            await owing.one(there)
            await tell_due(owing.world)
            owing.house.clock.advance(WAITS[0].total_seconds())
            assert await tell_due(owing.world) == 1
        assert (len(there.asked), other.connections) == (2, 0)
    assert (await owing.notice())["done_at"] is None


async def test_a_portal_that_is_away_is_told_when_it_is_back(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.one(there)
    assert await tell_due(owing.world) == 1
    owing.house.clock.advance(WAITS[0].total_seconds())
    async with portal(answers(200), trusted, port=there.port) as back:
        assert await tell_due(owing.world) == 1
    assert len(back.asked) == 1
    assert await owing.left() == 0


@pytest.mark.parametrize("settings", [{"outgoing.private_addresses": False}], indirect=True)
async def test_an_address_in_a_network_of_ours_is_never_asked(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.one(there)
        while await owing.left():
            await tell_due(owing.world)
            owing.house.clock.advance(1800)
    assert there.connections == 0
    (event,) = await owing.house.events("client:logout_notice:failed")
    detail = json.loads(event["detail"])
    assert detail["failure"] == (await owing.notice())["failure"] == "forbidden_address"
    assert "localhost is at" in detail["reason"]


async def test_an_http_address_is_never_asked(owing: Owing) -> None:
    async with portal(answers(200)) as there:
        await owing.one(there)
        assert await tell_due(owing.world) == 1
    assert there.connections == 0
    assert (await owing.notice())["attempts"] == 1
    assert await owing.left() == 1


@pytest.mark.parametrize("settings", [{"dev": True, "issuer": "http://127.0.0.1:8400"}], indirect=True)
async def test_in_dev_a_portal_on_this_machine_is_told_by_http(owing: Owing) -> None:
    async with portal(answers(200)) as there:
        await owing.one(there)
        await tell_due(owing.world)
    assert len(there.asked) == 1
    assert await owing.left() == 0


# What is not told any more


async def test_a_disabled_client_is_not_told(owing: Owing, trusted: Authority) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.one(there)
        await client_flow.disable(owing.world, "portal")
        assert await tell_due(owing.world) == 1
        assert await tell_due(owing.world) == 0
    assert there.connections == 0
    row = await owing.notice()
    assert (row["failure"], row["done_at"]) == ("client_disabled", owing.world.clock.now())
    (event,) = await owing.house.events("client:logout_notice:failed")
    assert json.loads(event["detail"])["failure"] == "client_disabled"


async def test_a_client_without_an_address_any_more_is_not_told(owing: Owing) -> None:
    await owing.one(None)
    assert await tell_due(owing.world) == 1
    assert (await owing.notice())["failure"] == "no_address"
    assert await owing.left() == 0


async def test_before_the_keys_are_read_nothing_is_tried(
    owing: Owing, settings: Settings, trusted: Authority
) -> None:
    async with portal(answers(200), trusted) as there:
        await owing.one(there)
        early = make_world(settings, clock=owing.house.clock)
        assert await tell_due(early) == 0
        await early.close()
    assert (await owing.notice())["attempts"] == 0
