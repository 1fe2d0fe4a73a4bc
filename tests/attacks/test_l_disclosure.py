"""What may be kept, and who the service says it is (security design §6, L), at the provider's endpoints."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from service.flows import keys as key_flow
from service.keyring import SIGNING
from tests.attacks.doors import ISSUER, Signer, doors
from tests.attacks.forgery import opened
from tests.builders import House
from tests.flows.invariants import claims
from tests.pages.portal import answer, asked

PUBLISHED = (
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    "/oauth2/jwks",
)
KINDS = ("access_token", "id_token")
#: What a proxy, a browser or an attacker may say about where we are.
ELSEWHERE: tuple[Mapping[str, str], ...] = (
    {"host": "evil.example"},
    {"host": "evil.example:8400"},
    {"host": "127.0.0.1:8400.evil.example"},
    {"host": "localhost"},
    {"x-forwarded-host": "evil.example"},
    {"x-forwarded-proto": "https", "x-forwarded-port": "443"},
    {"x-forwarded-prefix": "/evil", "x-script-name": "/evil"},
    {"forwarded": "host=evil.example;proto=https"},
    {"x-original-url": "/evil", "x-rewrite-url": "/evil"},
)


def kid(token: str) -> str:
    return str(opened(token.split(".")[0])["kid"])


@pytest.mark.case("K-109")
async def test_no_answer_of_the_provider_that_holds_a_token_or_a_code_may_be_kept(house: House) -> None:
    made, signer = await doors(house), Signer(house, "ES256")
    await signer.register()
    visitor, tokens = made.visitor, made.tokens
    wanted = dict(httpx.QueryParams(asked(client_id="web").partition("?")[2]))
    machine = await made.post("/oauth2/token", grant_type="client_credentials")
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    answers = [
        await made.exchange(await made.code()),
        await made.post("/oauth2/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"]),
        machine,
        await made.post("/oauth2/token", grant_type="nonsense"),
        await made.send("/oauth2/token", grant_type="client_credentials", client_id="web"),
        await made.post("/oauth2/introspect", token=machine.json()["access_token"]),
        await made.post("/oauth2/introspect", token="x"),
        await made.post("/oauth2/introspect"),
        await made.post("/oauth2/revoke", token="x"),
        await made.post("/oauth2/par", **wanted),
        await made.post("/oauth2/par"),
        await house.client.get("/oauth2/userinfo", headers=bearer),
        await house.client.post("/oauth2/userinfo", headers=bearer),
        await house.client.get("/oauth2/userinfo"),
        await visitor.client.get(asked(client_id="web")),
        await visitor.client.get(asked(client_id="web", prompt="none")),
        await visitor.client.get(asked(client_id="web", prompt="none", response_mode="form_post")),
        await visitor.client.get(asked(client_id="web", scope="nonsense")),
        await visitor.client.get(asked(client_id="unknown")),
        (await visitor.get(asked(client_id="web"))).answer,
        (await visitor.get(asked(client_id="web", prompt="consent"))).answer,
        (await visitor.get(asked(client_id="web", prompt="select_account"))).answer,
        await visitor.client.get("/oauth2/logout"),
        await visitor.client.get("/signed-out"),
        await visitor.client.get("/oauth2/logout?id_token_hint=" + tokens["id_token"]),
    ]
    for one in answers:
        assert one.headers["cache-control"] == "no-store", one.request.url
        assert one.headers["referrer-policy"] == "same-origin", one.request.url
        assert "etag" not in one.headers
    for token_bearing in answers[:5]:
        assert token_bearing.headers["pragma"] == "no-cache"
    for path in PUBLISHED:
        kept = await house.client.get(path)
        assert kept.headers["cache-control"] == "public, max-age=300", path
        assert "set-cookie" not in kept.headers


@pytest.mark.case("K-115")
async def test_the_issuer_is_the_configured_one_whatever_is_said_of_where_we_are(house: House) -> None:
    made = await doors(house)
    published = {path: (await house.client.get(path)).content for path in PUBLISHED}
    document = json.loads(published[PUBLISHED[0]])
    assert published[PUBLISHED[0]] == published[PUBLISHED[1]]
    assert document["issuer"] == ISSUER
    for name, value in document.items():
        if name.endswith(("_endpoint", "_uri")):
            assert value.startswith(f"{ISSUER}/"), name
    for headers in ELSEWHERE:
        for path, content in published.items():
            told = await house.client.get(path, headers=headers)
            assert told.status_code == 400 or told.content == content, (path, headers)
        issued = await house.client.post(
            "/oauth2/token", data={"grant_type": "client_credentials"}, auth=made.auth, headers=headers
        )
        assert issued.status_code == 400 or claims(issued.json()["access_token"])["iss"] == ISSUER
        begun = await made.visitor.client.get(asked(client_id="web", prompt="none"), headers=headers)
        assert "evil.example" not in str(begun.headers) + begun.text, headers
        if begun.status_code == 303:
            assert "iss=http%3A%2F%2F127.0.0.1%3A8400" in begun.headers["location"]
        for path in ("/sign-in", "/oauth2/logout", "/account"):
            page = await made.visitor.client.get(path, headers=headers)
            assert "evil.example" not in str(page.headers) + page.text, (path, headers)
    for path in (
        f"//evil.example{PUBLISHED[0]}",
        f"{PUBLISHED[0]}/evil",
        "/evil/.well-known/openid-configuration",
    ):
        told = await house.client.get(path)
        assert told.status_code == 404 or told.content == published[PUBLISHED[0]], path


@pytest.mark.case("K-115")
async def test_the_published_keys_are_public_unlike_and_cover_every_living_token(house: House) -> None:
    made = await doors(house)
    nexts = [await key_flow.rotate(house.world, alg) for alg in SIGNING]
    await house.world.refresh()
    takes_over = max(one.active_from for one in nexts)
    house.clock.advance((takes_over - house.clock.now()).total_seconds() - 2)
    old = await made.buy()
    house.clock.advance(4)
    new = await made.buy()
    assert {kid(old[name]) for name in KINDS}.isdisjoint(kid(new[name]) for name in KINDS)
    machine = (await made.post("/oauth2/token", grant_type="client_credentials")).json()
    keys: list[dict[str, Any]] = (await house.client.get("/oauth2/jwks")).json()["keys"]
    for key in keys:
        assert not {"d", "p", "q", "dp", "dq", "qi", "oth", "k"} & set(key)
        assert key["use"] == "sig"
        assert {"kty", "alg", "kid"} <= set(key)
    names = [key["kid"] for key in keys]
    assert len(set(names)) == len(names)
    material = [json.dumps({k: v for k, v in key.items() if k not in ("kid", "use", "alg")}) for key in keys]
    assert len(set(material)) == len(material), "no key stands there under two names"
    signed = [
        old["access_token"],
        old["id_token"],
        new["access_token"],
        new["id_token"],
        machine["access_token"],
    ]
    for token in signed:
        (key,) = [one for one in keys if one["kid"] == kid(token)]
        assert key["alg"] == opened(token.split(".")[0])["alg"]
    assert await made.me(old["access_token"]), "a token of the key before lives on"
    assert await made.hint(old["id_token"])
    assert "code" in answer(await made.visitor.get(asked(client_id="web", id_token_hint=old["id_token"])))
