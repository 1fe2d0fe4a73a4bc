"""What a client may do beside getting tokens: ask about them, give them back, push requests, prove a key."""

import base64
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from service.domain.oidc.clients import JWT_BEARER, Client
from service.flows import clients as client_flow
from tests.builders import House
from tests.pages.portal import CALLBACK, PORTAL, VERIFIER, answer, asked, code_for
from tests.pages.visitor import Visitor

ISSUER = "http://127.0.0.1:8400"
KEY = ECKey.generate_key("P-256", parameters={"kid": "one", "alg": "ES256", "use": "sig"})
BACKEND = replace(
    PORTAL,
    id="backend",
    token_endpoint_auth_method="client_secret_post",
    grant_types=("authorization_code", "refresh_token", "client_credentials"),
    scopes=("openid", "email", "reports"),
)
WITH_KEY = replace(
    BACKEND,
    token_endpoint_auth_method="private_key_jwt",
    jwks={"keys": [KEY.as_dict(private=False)]},
)


class Backend:
    """A confidential client and its person."""

    def __init__(self, house: House, visitor: Visitor, secret: str) -> None:
        self.house, self.visitor, self.secret = house, visitor, secret

    async def post(self, path: str, **fields: str) -> httpx.Response:
        body = {"client_id": "backend", "client_secret": self.secret} | fields
        return await self.house.client.post(path, data=body)

    async def tokens(self) -> dict[str, Any]:
        page = await self.visitor.get(asked(client_id="backend"))
        bought = await self.post(
            "/oauth2/token",
            grant_type="authorization_code",
            code=answer(page)["code"],
            redirect_uri=CALLBACK,
            code_verifier=VERIFIER,
        )
        assert bought.status_code == 200, bought.text
        found: dict[str, Any] = bought.json()
        return found

    async def active(self, token: str) -> dict[str, Any]:
        told = await self.post("/oauth2/introspect", token=token)
        assert told.status_code == 200, told.text
        assert told.headers["cache-control"] == "no-store"
        found: dict[str, Any] = told.json()
        return found


@pytest.fixture
async def backend(house: House) -> Backend:
    secret = await client_flow.create(house.world, BACKEND)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    return Backend(house, visitor, secret or "")


async def test_an_active_token_is_told_with_its_members(backend: Backend) -> None:
    tokens = await backend.tokens()
    access = await backend.active(tokens["access_token"])
    assert (access["active"], access["token_type"], access["scope"]) == (True, "Bearer", "openid email")
    assert access["exp"] - access["iat"] == tokens["expires_in"]
    refresh = await backend.active(tokens["refresh_token"])
    assert (refresh["active"], refresh["client_id"], refresh["sub"]) == (True, "backend", access["sub"])
    machine = await backend.post("/oauth2/token", grant_type="client_credentials", scope="reports")
    told = await backend.active(machine.json()["access_token"])
    assert (told["active"], told["scope"], told["sub"]) == (True, "reports", "machine:backend")


@pytest.mark.parametrize("ended", ["sign_out", "disabled", "expired", "revoked", "client"])
@pytest.mark.case("K-58")
async def test_whatever_has_ended_is_inactive_and_nothing_else(backend: Backend, ended: str) -> None:
    house, tokens = backend.house, await backend.tokens()
    if ended == "sign_out":
        page = await backend.visitor.get("/account")
        await backend.visitor.fill(page, "/sign-out")
    elif ended == "disabled":
        await house.rows("UPDATE person SET disabled_at = now() RETURNING 1")
    elif ended == "expired":
        house.clock.advance(90_000)
    elif ended == "revoked":
        assert (await backend.post("/oauth2/revoke", token=tokens["refresh_token"])).status_code == 200
    else:
        machine = await backend.post("/oauth2/token", grant_type="client_credentials")
        other = await client_flow.create(house.world, replace(BACKEND, id="other"))
        told = await house.client.post(
            "/oauth2/introspect",
            data={"client_id": "other", "client_secret": other, "token": machine.json()["access_token"]},
        )
        assert told.json() == {"active": False}
        return
    assert await backend.active(tokens["access_token"]) == {"active": False}
    assert await backend.active(tokens["refresh_token"]) == {"active": False}


async def test_a_resource_server_hears_of_tokens_that_are_for_it(house: House) -> None:
    secret = await client_flow.create(house.world, BACKEND)
    resource = Client("reports-api", "Reports", grant_types=("client_credentials",), scopes=("reports",))
    own = await client_flow.create(house.world, resource)
    await client_flow.apply(house.world, [replace(BACKEND, audience="reports-api")])
    machine = await house.client.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials", "client_id": "backend", "client_secret": secret},
    )
    told = await house.client.post(
        "/oauth2/introspect", data={"token": machine.json()["access_token"]}, auth=("reports-api", own or "")
    )
    assert (told.json()["active"], told.json()["client_id"]) == (True, "backend")
    await client_flow.disable(house.world, "backend")
    told = await house.client.post(
        "/oauth2/introspect", data={"token": machine.json()["access_token"]}, auth=("reports-api", own or "")
    )
    assert told.json() == {"active": False}, "its client was disabled meanwhile"


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_a_revoked_token_takes_its_grant_with_it_and_no_session(backend: Backend, kind: str) -> None:
    tokens, others = await backend.tokens(), await backend.tokens()
    given_back = await backend.post("/oauth2/revoke", token=tokens[kind])
    assert (given_back.status_code, given_back.content) == (200, b"")
    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert await backend.active(token) == {"active": False}
    assert (await backend.active(others["access_token"]))["active"], "another grant of the same client"
    assert (await backend.visitor.get("/account")).path == "/account"
    (event,) = await backend.house.events("client:revocation:ok")
    assert event["client_id"] == "backend"
    refused = await backend.post(
        "/oauth2/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert refused.json()["error"] == "invalid_grant"


async def test_what_cannot_be_revoked_is_said_and_what_is_unknown_is_not(backend: Backend) -> None:
    machine = await backend.post("/oauth2/token", grant_type="client_credentials")
    told = await backend.post("/oauth2/revoke", token=machine.json()["access_token"])
    assert (told.status_code, told.json()["error"]) == (400, "unsupported_token_type")
    for nothing in ("unknown", "dwr_" + "A" * 70, "a.b.c"):
        assert (await backend.post("/oauth2/revoke", token=nothing)).status_code == 200
    assert (await backend.post("/oauth2/revoke")).json()["error"] == "invalid_request"
    public = await backend.house.client.post("/oauth2/introspect", data={"client_id": "portal", "token": "x"})
    assert (public.status_code, public.json()["error"]) == (401, "invalid_client")


@pytest.mark.case("K-119")
async def test_a_pushed_request_is_opened_once_by_its_client(backend: Backend) -> None:
    house, visitor = backend.house, backend.visitor
    await client_flow.create(house.world, PORTAL)
    query = dict(httpx.QueryParams(asked(client_id="backend", state="pushed").partition("?")[2]))
    pushed = await backend.post("/oauth2/par", **query)
    assert (pushed.status_code, pushed.json()["expires_in"]) == (201, 90)
    handle = pushed.json()["request_uri"]
    assert handle.startswith("urn:ietf:params:oauth:request_uri:")

    def sent(client: str, **more: str) -> str:
        return "/oauth2/authorize?" + urlencode({"client_id": client, "request_uri": handle} | more)

    stolen = await visitor.get(sent("portal"))
    assert stolen.answer.status_code == 400
    assert answer(await visitor.get(sent("backend", state="ignored")))["state"] == "pushed"
    again = await visitor.get(sent("backend", prompt="none"))
    assert again.answer.status_code == 400
    late = (await backend.post("/oauth2/par", **query)).json()["request_uri"]
    house.clock.advance(91)
    expired = await visitor.get(
        "/oauth2/authorize?" + urlencode({"client_id": "backend", "request_uri": late})
    )
    assert expired.answer.status_code == 400


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "email"}, "invalid_scope"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"request_uri": "urn:ietf:params:oauth:request_uri:x"}, "invalid_request"),
        ({"request": "e30.e30."}, "request_not_supported"),
        ({"id_token_hint": "e30.e30."}, "invalid_request"),
        ({"client_secret": "dwx_wrong"}, "invalid_client"),
    ],
)
async def test_a_wrong_request_is_refused_when_it_is_pushed(
    backend: Backend, changes: dict[str, str], error: str
) -> None:
    query = dict(httpx.QueryParams(asked(client_id="backend").partition("?")[2]))
    refused = await backend.post("/oauth2/par", **(query | changes))
    assert (refused.status_code, refused.json()["error"]) == (
        401 if error == "invalid_client" else 400,
        error,
    )
    assert await backend.house.value("SELECT count(*) FROM pushed_request") == 0


def assertion(house: House, key: ECKey | RSAKey | OKPKey = KEY, alg: str = "ES256", **changes: Any) -> str:
    now = int(house.clock.now().timestamp())
    claims = {
        "iss": "backend",
        "sub": "backend",
        "aud": ISSUER,
        "exp": now + 60,
        "iat": now,
        "jti": house.world.entropy.token(8).hex(),
    }
    kept = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode({"alg": alg, "kid": key.kid}, kept, key, algorithms=[alg])


async def prove(house: House, text: str, **changes: str) -> httpx.Response:
    fields = {
        "grant_type": "client_credentials",
        "client_assertion_type": JWT_BEARER,
        "client_assertion": text,
    }
    return await house.client.post("/oauth2/token", data=fields | changes)


async def test_a_client_proves_itself_by_its_key_once_for_each_assertion(house: House) -> None:
    await client_flow.create(house.world, WITH_KEY)
    text = assertion(house)
    issued = await prove(house, text)
    assert issued.status_code == 200, issued.text
    again = await prove(house, text)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    for audience in (f"{ISSUER}/oauth2/token", f"{ISSUER}/oauth2/par", [ISSUER, "https://another.example"]):
        assert (await prove(house, assertion(house, aud=audience), client_id="backend")).status_code == 200
    token = issued.json()["access_token"]
    told = await house.client.post(
        "/oauth2/introspect",
        data={"token": token, "client_assertion_type": JWT_BEARER, "client_assertion": assertion(house)},
    )
    assert told.json()["active"]


@pytest.mark.parametrize("kind", ["RS256", "PS256", "Ed25519", "EdDSA"])
async def test_keys_of_every_kind_that_a_record_may_hold(house: House, kind: str) -> None:
    key: RSAKey | OKPKey = (
        OKPKey.generate_key("Ed25519", parameters={"kid": "k"})
        if kind.startswith("Ed")
        else RSAKey.generate_key(2048, parameters={"kid": "k"})
    )
    await client_flow.create(house.world, replace(WITH_KEY, jwks={"keys": [key.as_dict(private=False)]}))
    with pytest.warns() if kind == "EdDSA" else nullcontext():
        text = assertion(house, key, kind)
    assert (await prove(house, text)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other"},
        {"sub": "other"},
        {"aud": "https://another.example"},
        {"aud": None},
        {"exp": None},
        {"exp": 0},
        {"exp": True},
        {"exp": "soon"},
        {"exp": 2**34},
        {"nbf": 2**32},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * 257},
    ],
)
async def test_an_assertion_that_lacks_something_proves_nothing(
    house: House, changes: dict[str, Any]
) -> None:
    await client_flow.create(house.world, WITH_KEY)
    refused = await prove(house, assertion(house, **changes), client_id="backend")
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert await house.value("SELECT count(*) FROM client_assertion") == 0


async def test_an_assertion_ends_within_the_hour_and_is_of_the_clients_own_key(house: House) -> None:
    await client_flow.create(house.world, WITH_KEY)
    now = int(house.clock.now().timestamp())
    hour = int(timedelta(hours=1).total_seconds())
    assert (await prove(house, assertion(house, exp=now + hour))).status_code == 200
    assert (await prove(house, assertion(house, exp=now + hour + 60))).status_code == 401
    stranger = ECKey.generate_key("P-256", parameters={"kid": "one"})
    assert (await prove(house, assertion(house, stranger))).status_code == 401
    two = await prove(house, assertion(house), client_secret="dwx_also")
    assert (two.status_code, two.json()["error"]) == (400, "invalid_request")
    assert (await prove(house, assertion(house), client_assertion_type="saml")).status_code == 400
    basic = base64.b64encode(b"backend:x").decode()
    both = await house.client.post(
        "/oauth2/token",
        data={"client_assertion": assertion(house), "client_assertion_type": JWT_BEARER},
        headers={"authorization": f"Basic {basic}"},
    )
    assert both.json()["error"] == "invalid_request"


async def test_a_code_is_bought_with_an_assertion(house: House) -> None:
    await client_flow.create(house.world, replace(WITH_KEY, id="backend"))
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    await code_for(house, visitor)
    page = await visitor.get(asked(client_id="backend"))
    bought = await prove(
        house,
        assertion(house),
        grant_type="authorization_code",
        code=answer(page)["code"],
        redirect_uri=CALLBACK,
        code_verifier=VERIFIER,
    )
    assert bought.status_code == 200, bought.text
    assert bought.json()["refresh_token"].startswith("dwr_")
