"""Whose scripts may read what: the client's own origins at three endpoints, everybody at the public ones."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from service.app import create
from service.embedded import Servers
from service.flows import clients as client_flow
from service.world import make_world
from tests.builders import House
from tests.conftest import settings_of
from tests.pages.portal import CALLBACK, PORTAL, VERIFIER, code_for
from tests.pages.visitor import Visitor

APP = "https://app.example"
OTHER = "https://other.example:8443"
OWN = ("/oauth2/token", "/oauth2/userinfo", "/oauth2/revoke")
PUBLIC = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/oauth2/jwks")
#: K-97: none of these is `https://app.example`, whatever it looks like.
STRANGERS = [
    "https://evil.example",
    "https://fooapp.example",
    "https://app.example.evil.example",
    "https://app.examplea",
    "https://sub.app.example",
    "https://app.example:8443",
    "https://app.example:443",
    "http://app.example",
    "https://APP.example",
    "HTTPS://app.example",
    "https://app.example/",
    "https://app.example.",
    "https://app.example https://evil.example",
    "https://app.example,https://evil.example",
    "https://evil.example@app.example",
    "https://app.example%00",
    "https://app_example",
    "https://*",
    "*",
    "null",
    "",
    "file://",
    "https://" + "a" * 10_000,
]


@pytest.fixture
async def registered(house: House) -> House:
    """Two apps of their own origins."""
    await client_flow.create(house.world, replace(PORTAL, cors_origins=(APP,)))
    await client_flow.create(house.world, replace(PORTAL, id="other", cors_origins=(OTHER,)))
    return house


async def preflight(house: House, path: str, origin: str, method: str = "POST") -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type",
    }
    return await house.client.options(path, headers=headers)


def said(answer: httpx.Response) -> dict[str, str]:
    """The headers of the CORS protocol."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def readable_by(answer: httpx.Response, origin: str) -> bool:
    """What a browser decides for a request without credentials; never may credentials be allowed."""
    assert "access-control-allow-credentials" not in answer.headers
    allowed = answer.headers.get_list("access-control-allow-origin")
    assert len(allowed) < 2
    return allowed in ([origin], ["*"])


async def post(house: House, path: str, origin: str, **fields: str) -> httpx.Response:
    return await house.client.post(path, data=fields, headers={"origin": origin})


async def tokens(house: House) -> dict[str, Any]:
    """What the app gets, asking from its own origin; the answer itself is one it may read."""
    answer = await post(
        house,
        "/oauth2/token",
        APP,
        grant_type="authorization_code",
        code=await code_for(house, Visitor(await house.a_person())),
        redirect_uri=CALLBACK,
        code_verifier=VERIFIER,
        client_id="portal",
    )
    assert answer.status_code == 200, answer.text
    assert readable_by(answer, APP)
    assert answer.headers["access-control-expose-headers"] == "WWW-Authenticate, Retry-After, X-Request-Id"
    told: dict[str, Any] = answer.json()
    return told


@pytest.mark.case("K-97")
@pytest.mark.parametrize("path", OWN)
async def test_a_preflight_allows_the_very_origin_of_a_client(registered: House, path: str) -> None:
    for origin in (APP, OTHER):
        answer = await preflight(registered, path, origin)
        assert (answer.status_code, answer.content) == (204, b"")
        assert said(answer) == {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "GET, POST" if path == "/oauth2/userinfo" else "POST",
            "access-control-allow-headers": "authorization, content-type",
            "access-control-max-age": "600",
        }
        assert answer.headers["vary"] == "Origin"


@pytest.mark.case("K-97")
@pytest.mark.parametrize("path", OWN)
async def test_a_stranger_gets_no_header_at_all(registered: House, path: str) -> None:
    for origin in STRANGERS:
        answer = await preflight(registered, path, origin)
        assert (answer.status_code, said(answer)) == (204, {}), origin
        assert answer.headers["vary"] == "Origin"
        answer = await post(registered, path, origin, client_id="portal", grant_type="refresh_token")
        assert said(answer) == {}, origin
        assert "Origin" in answer.headers["vary"]


@pytest.mark.case("K-97")
@pytest.mark.parametrize("path", OWN)
async def test_two_origins_are_none(registered: House, path: str) -> None:
    for pair in ((APP, APP), (APP, "https://evil.example"), ("https://evil.example", APP)):
        twice = [("origin", one) for one in pair]
        answer = await registered.client.options(
            path, headers=[*twice, ("access-control-request-method", "POST")]
        )
        assert (answer.status_code, said(answer)) == (204, {})
        assert said(await registered.client.post(path, headers=twice)) == {}


@pytest.mark.case("K-97")
async def test_a_disabled_clients_origin_is_nobodys(registered: House) -> None:
    await client_flow.disable(registered.world, "portal")
    assert said(await preflight(registered, "/oauth2/token", APP)) == {}
    assert said(await post(registered, "/oauth2/token", APP, client_id="portal")) == {}
    assert said(await preflight(registered, "/oauth2/token", OTHER)) != {}
    await client_flow.enable(registered.world, "portal")
    assert said(await preflight(registered, "/oauth2/token", APP)) != {}


@pytest.mark.case("K-97")
async def test_a_known_client_is_answered_at_its_own_origins_only(registered: House) -> None:
    token = (await tokens(registered))["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    for origin, mine in ((APP, True), (OTHER, False), ("https://evil.example", False)):
        answer = await registered.client.get("/oauth2/userinfo", headers=headers | {"origin": origin})
        assert answer.status_code == 200
        assert readable_by(answer, origin) is mine
        answer = await post(
            registered, "/oauth2/token", origin, client_id="portal", grant_type="authorization_code", code="x"
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert readable_by(answer, origin) is mine
        answer = await post(registered, "/oauth2/revoke", origin, client_id="portal", token="unknown")
        assert answer.status_code == 200
        assert readable_by(answer, origin) is mine
        assert "Origin" in answer.headers["vary"]


@pytest.mark.case("K-97")
async def test_a_token_of_our_own_frontend_is_for_no_clients_origin(registered: House) -> None:
    ada = await registered.a_person()
    headers = {"authorization": f"Bearer {(await ada.sign_in())['access_token']}", "origin": APP}
    assert said(await registered.client.get("/oauth2/userinfo", headers=headers)) == {}


async def test_before_the_client_is_known_any_clients_origin_reads_what_is_wrong(registered: House) -> None:
    for origin in (APP, OTHER):
        answer = await post(registered, "/oauth2/token", origin, client_id="nobody")
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert readable_by(answer, origin)
        answer = await registered.client.get(
            "/oauth2/userinfo", headers={"origin": origin, "authorization": "Bearer nonsense"}
        )
        assert answer.status_code == 401
        assert readable_by(answer, origin)
        assert "WWW-Authenticate" in answer.headers["access-control-expose-headers"]
        answer = await registered.client.put("/oauth2/token", headers={"origin": origin})
        assert answer.status_code == 405
        assert readable_by(answer, origin)


@pytest.mark.parametrize("path", PUBLIC)
async def test_everybody_may_read_what_is_public(registered: House, path: str) -> None:
    for origin in (APP, "https://evil.example", "null"):
        answer = await registered.client.get(path, headers={"origin": origin})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert "vary" not in answer.headers, "one answer for all, which a cache may keep"
        assert readable_by(answer, origin)
        answer = await preflight(registered, path, origin, "GET")
        assert (answer.status_code, answer.headers["access-control-allow-methods"]) == (204, "GET")
        assert readable_by(answer, origin)
    assert (await registered.client.get(path)).headers["access-control-allow-origin"] == "*"


@pytest.mark.case("K-97")
@pytest.mark.parametrize(
    "path", ["/v1/sign-in", "/v1/me", "/sign-in", "/account", "/oauth2/authorize", "/oauth2/introspect", "/"]
)
async def test_nothing_else_is_open_to_any_origin(registered: House, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = await registered.client.request(
            method, path, headers={"origin": APP, "access-control-request-method": "POST"}
        )
        assert said(answer) == {}, method


async def test_our_own_origin_and_none_need_nothing_and_ask_nothing(
    registered: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(*_: object) -> bool:
        raise AssertionError("Postgres was asked")

    monkeypatch.setattr(client_flow, "allows_origin", asked)
    issuer = registered.world.settings.issuer
    for headers in ({"origin": issuer}, {}):
        answer = await registered.client.post("/oauth2/token", data={"client_id": "portal"}, headers=headers)
        assert answer.status_code == 400
        assert said(answer) == {}
        assert "Origin" in answer.headers["vary"]


async def test_an_options_that_is_no_preflight_is_the_routers(registered: House) -> None:
    answer = await registered.client.options("/oauth2/token", headers={"origin": APP})
    assert answer.headers["allow"] == "OPTIONS, POST"
    assert "access-control-allow-methods" not in answer.headers
    answer = await registered.client.options(
        "/oauth2/token", headers={"access-control-request-method": "POST"}
    )
    assert said(answer) == {}


@pytest.mark.parametrize("path", OWN)
async def test_without_postgres_the_answer_stands_and_no_script_reads_it(servers: Servers, path: str) -> None:
    """Nothing listens on port 1."""
    away = make_world(settings_of(servers, "postgresql://nobody@127.0.0.1:1/nothing"))
    app: Any = create(away)
    transport = httpx.ASGITransport(app)
    headers = {"origin": APP, "access-control-request-method": "POST"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8400") as browser:
        asked = await browser.options(path, headers=headers)
        assert (asked.status_code, said(asked)) == (204, {})
        # Refused for its form, before Postgres is needed.
        refused = await browser.post(path, json={}, headers={"origin": APP})
        assert 400 <= refused.status_code < 500, refused.text
        assert said(refused) == {}
        unknown = await browser.post(path, data={"client_id": "portal"}, headers={"origin": APP})
        assert unknown.status_code != 500
        assert said(unknown) == {}
        keys = await browser.get(PUBLIC[0], headers={"origin": APP})
        assert keys.headers["access-control-allow-origin"] == "*"
    await away.close()
