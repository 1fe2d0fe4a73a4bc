"""What a portal buys with its code: once, and only its own."""

import base64
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from service.domain.oidc.clients import Client, GrantType
from service.flows import clients as client_flow
from tests.builders import House
from tests.flows.invariants import claims
from tests.pages.portal import (
    CALLBACK,
    PORTAL,
    VERIFIER,
    answer,
    asked,
    code_for,
    exchange,
    userinfo,
)
from tests.pages.visitor import Visitor


@pytest.mark.case("K-44")
async def test_a_code_that_comes_twice_ends_what_it_bought(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    code = await code_for(house, visitor)
    first = await exchange(house, code)
    assert first.status_code == 200, first.text
    again = await exchange(house, code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert (
        await house.value("SELECT end_reason FROM refresh_family WHERE client_id = 'portal'") == "code_reuse"
    )
    assert (await visitor.get("/account")).path == "/account", "the person's own session goes on"


@pytest.mark.case("K-45")
@pytest.mark.parametrize(
    "changes",
    [
        {"code": "dwc_unknown"},
        {"code": None},
        {"redirect_uri": "https://portal.example/other"},
        {"redirect_uri": None},
        {"code_verifier": VERIFIER[:-1] + "A"},
        {"code_verifier": None},
        {"client_id": "other"},
        {"client_id": None},
        {"client_secret": "x"},
        {"grant_type": "password"},
        {"grant_type": None},
    ],
)
async def test_whatever_does_not_fit_buys_nothing(house: House, changes: dict[str, Any]) -> None:
    await client_flow.create(house.world, PORTAL)
    code = await code_for(house, Visitor(await house.a_person()))
    refused = await exchange(house, code, **changes)
    assert refused.status_code in (400, 401), refused.text
    assert refused.json()["error"] in {
        "invalid_grant",
        "invalid_client",
        "invalid_request",
        "unsupported_grant_type",
    }
    assert "access_token" not in refused.json()
    assert (await exchange(house, code)).status_code == 200, "and the code is still whole"


@pytest.mark.case("K-45")
async def test_a_code_is_good_for_a_minute(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    code = await code_for(house, Visitor(await house.a_person()))
    house.clock.advance(61)
    refused = await exchange(house, code)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_a_portals_tokens_never_outlive_the_session_behind_them(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person()
    bought = await code_for(house, Visitor(ada))
    (row,) = await house.rows(
        "UPDATE session SET absolute_at = created_at + INTERVAL '100 s'"
        " WHERE person_id = $1 RETURNING absolute_at",
        ada.id,
    )
    tokens = (await exchange(house, bought)).json()
    over = int(row["absolute_at"].timestamp())
    assert tokens["expires_in"] <= 100
    for name in ("access_token", "id_token"):
        assert over - 2 <= claims(tokens[name])["exp"] <= over


async def test_confidential_clients_prove_themselves_by_their_own_method(house: House) -> None:
    secret = await client_flow.create(
        house.world, replace(PORTAL, id="portal", token_endpoint_auth_method="client_secret_basic")
    )
    assert secret is not None
    visitor = Visitor(await house.a_person())
    code = await code_for(house, visitor)
    for changes in ({}, {"client_secret": secret}, {"client_secret": "wrong"}):
        refused = await exchange(house, code, **changes)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        assert refused.headers["www-authenticate"].startswith("Basic")
    basic = base64.b64encode(f"portal:{secret}".encode()).decode()
    body = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    issued = await house.client.post("/oauth2/token", data=body, headers={"authorization": f"Basic {basic}"})
    assert issued.status_code == 200, issued.text
    assert json.loads(issued.text)["token_type"] == "Bearer"


async def test_userinfo_tells_what_the_scope_opens_by_every_way_of_asking(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person()
    visitor = Visitor(ada)
    tokens = (await exchange(house, await code_for(house, visitor))).json()
    access = tokens["access_token"]
    body = {"data": {"access_token": access}}
    for told in (
        await userinfo(house, access),
        await userinfo(house, access, "POST"),
        await userinfo(house, "", "POST", **body),
    ):
        assert told.status_code == 200, told.text
        assert told.headers["cache-control"] == "no-store"
        assert told.json() == {
            "sub": claims(tokens["id_token"])["sub"],
            "email": ada.email,
            "email_verified": True,
        }
    for refused in (
        await userinfo(house, ""),
        await userinfo(house, tokens["id_token"]),
        await userinfo(house, access, "POST", **body),
        await house.client.get("/oauth2/userinfo", params={"access_token": access}),
    ):
        assert refused.status_code in (400, 401)
        assert "email" not in refused.json()
    await visitor.fill(await visitor.get("/account"), "/sign-out")
    assert (await userinfo(house, access)).status_code == 401


async def test_what_is_asked_by_name_is_told_where_it_was_asked_for(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    wanted = {"userinfo": {"name": {"essential": True}}, "id_token": {"email": None, "phone_number": None}}
    page = await visitor.get(asked(scope="openid", claims=json.dumps(wanted)))
    tokens = (await exchange(house, answer(page)["code"])).json()
    assert claims(tokens["id_token"])["email"] == ada.email
    await house.rows("UPDATE person SET name = 'Ada' WHERE id = $1", ada.id)
    assert set((await userinfo(house, tokens["access_token"])).json()) == {"sub", "name"}


@pytest.mark.case("K-61")
async def test_a_portals_refresh_token_rotates_and_is_its_own(house: House) -> None:
    grants: tuple[GrantType, ...] = ("authorization_code", "refresh_token")
    await client_flow.create(house.world, replace(PORTAL, grant_types=grants))
    await client_flow.create(house.world, replace(PORTAL, id="other", grant_types=grants))
    ada = await house.a_person()
    visitor = Visitor(ada)
    tokens = (await exchange(house, await code_for(house, visitor))).json()

    async def refresh(token: str, **more: str) -> httpx.Response:
        body = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "portal"} | more
        return await house.client.post("/oauth2/token", data=body)

    wider = await refresh(tokens["refresh_token"], scope="openid email profile")
    assert (wider.status_code, wider.json()["error"]) == (400, "invalid_scope")
    foreign = await refresh(tokens["refresh_token"], client_id="other")
    assert (foreign.status_code, foreign.json()["error"]) == (400, "invalid_grant")
    second = await refresh(tokens["refresh_token"], scope="openid")
    assert second.status_code == 200, second.text
    assert second.json()["scope"] == "openid"
    assert claims(second.json()["id_token"])["sub"] == claims(tokens["id_token"])["sub"]
    assert claims(second.json()["id_token"]).get("nonce") is None
    third = await refresh(second.json()["refresh_token"])
    assert third.json()["scope"] == "openid email", "the grant itself was not narrowed"
    by_api = await house.client.post(
        "/v1/tokens/refresh", json={"refresh_token": third.json()["refresh_token"]}
    )
    assert by_api.status_code == 401
    house.clock.advance(11)
    theft = await refresh(tokens["refresh_token"])
    assert (theft.status_code, theft.json()["error"]) == (400, "invalid_grant")
    assert (await refresh(third.json()["refresh_token"])).status_code == 400
    reasons = await house.rows("SELECT ended_at, end_reason FROM refresh_family WHERE client_id = 'portal'")
    assert [row["end_reason"] for row in reasons] == ["refresh_reuse"]


async def test_a_disabled_client_gets_nothing_more(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    code = await code_for(house, visitor)
    tokens = (await exchange(house, await code_for(house, visitor))).json()
    await client_flow.disable(house.world, "portal")
    refused = await exchange(house, code)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert (await userinfo(house, tokens["access_token"])).status_code == 401
    assert (await visitor.get(asked())).answer.status_code == 400


async def test_a_machine_acts_as_itself_and_opens_no_persons_door(house: House) -> None:
    machine = Client(
        "machine",
        "A machine",
        grant_types=("client_credentials",),
        scopes=("reports:read", "reports:write"),
        audience="https://reports.example",
    )
    secret = await client_flow.create(house.world, machine)
    auth = httpx.BasicAuth("machine", secret or "")

    async def asked_for(**more: str) -> httpx.Response:
        body = {"grant_type": "client_credentials"} | more
        return await house.client.post("/oauth2/token", data=body, auth=auth)

    refused = await asked_for(scope="reports:read openid")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")
    for grant in ("authorization_code", "refresh_token"):
        wrong = await asked_for(grant_type=grant, code="dwc_x", refresh_token="dwr_x")
        assert (wrong.status_code, wrong.json()["error"]) == (400, "unauthorized_client")
    issued = (await asked_for(scope="reports:read")).json()
    assert set(issued) == {"access_token", "token_type", "expires_in", "scope"}
    told = claims(issued["access_token"])
    assert (told["sub"], told["aud"], told["scope"]) == (
        "machine:machine",
        "https://reports.example",
        "reports:read",
    )
    for path in ("/v1/me", "/oauth2/userinfo"):
        answer = await house.client.get(path, headers={"authorization": f"Bearer {issued['access_token']}"})
        assert answer.status_code == 401


async def test_the_metadata_says_what_there_is(house: House) -> None:
    told = (await house.client.get("/.well-known/openid-configuration")).json()
    issuer = "http://127.0.0.1:8400"
    assert told["authorization_endpoint"] == f"{issuer}/oauth2/authorize"
    assert told["token_endpoint"] == f"{issuer}/oauth2/token"
    assert told["userinfo_endpoint"] == f"{issuer}/oauth2/userinfo"
    assert told["response_types_supported"] == ["code"]
    assert told["response_modes_supported"] == ["query", "form_post"]
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["authorization_response_iss_parameter_supported"] is True
    assert told["request_uri_parameter_supported"] is False
    assert set(told["grant_types_supported"]) == {"authorization_code", "refresh_token", "client_credentials"}
    assert "email" in told["claims_supported"]
    for endpoint in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"):
        answer = await house.client.get(told[endpoint].removeprefix(issuer))
        assert answer.status_code != 404, endpoint
