"""The authorization endpoint and its codes (security design §6, E), over HTTP as an attacker has it."""

import itertools
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from service.flows import clients as client_flow
from tests.attacks.doors import ISSUER, WEB, doors
from tests.builders import House
from tests.flows.invariants import check
from tests.pages.portal import CALLBACK, CHALLENGE, PORTAL, VERIFIER
from tests.pages.visitor import Visitor

APP = replace(
    PORTAL,
    id="app",
    redirect_uris=(CALLBACK, "http://127.0.0.1:8411/callback", "http://localhost:8411/callback"),
)
EVIL = "https://evil.example/callback"
#: Everything that is wrong with a request beside its client and address: each makes an error of its own.
FAULTS: tuple[dict[str, str], ...] = (
    {},
    {"response_type": "token"},
    {"response_type": "id_token"},
    {"response_type": "code id_token"},
    {"response_type": "nonsense"},
    {"response_type": ""},
    {"response_mode": "fragment"},
    {"response_mode": "web_message"},
    {"scope": ""},
    {"scope": "email"},
    {"scope": "no-such-scope"},
    {"code_challenge": ""},
    {"code_challenge": "short"},
    {"code_challenge_method": "plain"},
    {"prompt": "none"},
    {"prompt": "none login"},
    {"prompt": "nonsense"},
    {"max_age": "x"},
    {"claims": "{"},
    {"request": "e30.e30."},
    {"request_uri": "https://evil.example/request"},
    {"id_token_hint": "e30.e30."},
    {"display": "popup", "prompt": "create"},
)
NEAR = "https://portal.example/callback"
#: Addresses that are none of the client's, however near they are.
VARIANTS = (
    EVIL,
    "https://portal.example.evil.example/callback",
    "https://evilportal.example/callback",
    "https://portal.example@evil.example/callback",
    "https://user@portal.example/callback",
    "https://user:test-value@portal.example/callback",
    "https://portal.example:443@evil.example/callback",
    f"{NEAR}/../evil",
    "https://portal.example/x/../callback",
    "https://portal.example/./callback",
    "https://portal.example/x/%2e%2e/callback",
    "https://portal.example%2fcallback",
    "https://portal.example/%2fcallback",
    "https://portal.example/x%252f..%252fcallback",
    f"{NEAR};/evil",
    f"{NEAR}/",
    "https://portal.example//callback",
    f"{NEAR}#",
    f"{NEAR}#fragment",
    f"{NEAR}?",
    f"{NEAR}?added=1",
    f"{NEAR}&added=1",
    "https://portal.example/Callback",
    "https://PORTAL.example/callback",
    "HTTPS://portal.example/callback",
    "https://portal.example:443/callback",
    "https://portal.example:8443/callback",
    "http://portal.example/callback",
    "ftp://portal.example/callback",
    "javascript:alert(1)//https://portal.example/callback",
    "data:text/html,https://portal.example/callback",
    "https:\\\\portal.example\\callback",
    "https://portal.example\\@evil.example/callback",
    "https://portal.example/call\tback",
    f"{NEAR}\n",
    f"{NEAR}\r\nSet-Cookie: a=b",
    f" {NEAR}",
    f"{NEAR} ",
    f"{NEAR}\0",
    "https://portal.example./callback",
    "https://port\u0430l.example/callback",
    "https://xn--portl-4ve.example/callback",
    "https://portal\uff0eexample/callback",
    "//portal.example/callback",
    "/callback",
    "callback",
    "http://127.0.0.1:9000/evil",
    "http://127.0.0.1:9000/callback?x=1",
    "http://127.0.0.1:9000@evil.example/callback",
    "http://127.0.0.1.evil.example:8411/callback",
    "http://127.0.0.1:0/callback",
    "http://127.0.0.1:65536/callback",
    "http://127.0.0.2:8411/callback",
    "http://127.1:8411/callback",
    "http://2130706433:8411/callback",
    "http://[::1]:8411/callback",
    "https://127.0.0.1:8411/callback",
    "http://localhost:9000/callback",
)


def authorize(**changes: str | list[str]) -> str:
    """A right request of the app but for some changes; an empty one leaves a parameter out."""
    good: dict[str, str | list[str]] = {
        "client_id": "app",
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid email",
        "state": "the-state",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return urlencode({k: v for k, v in (good | changes).items() if v not in ("", [])}, doseq=True)


def page_alone(answer: httpx.Response, name: object) -> None:
    """A 400 page that leads nowhere, and repeats nothing of what was sent."""
    assert answer.status_code == 400, (name, answer.status_code, answer.headers.get("location"))
    assert "location" not in answer.headers, name
    assert "refresh" not in answer.headers, name
    assert 'http-equiv="refresh"' not in answer.text, name
    assert "evil.example" not in answer.text, name


@pytest.mark.case("K-41")
async def test_no_error_leads_to_an_address_that_is_not_proved(house: House) -> None:
    await client_flow.create(house.world, APP)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    unproved: tuple[dict[str, Any], ...] = (
        {"redirect_uri": EVIL},
        {"client_id": "unknown", "redirect_uri": EVIL},
        {"client_id": "unknown"},
        {"client_id": ""},
        {"redirect_uri": ""},
        {"redirect_uri": [CALLBACK, EVIL]},
        {"redirect_uri": [EVIL, CALLBACK]},
        {"redirect_uri": [CALLBACK, CALLBACK]},
        {"client_id": ["app", "unknown"]},
        {"client_id": ["app", "app"]},
    )
    for wrong, fault in itertools.product(unproved, FAULTS):
        query = authorize(**(fault | wrong))
        page_alone(await visitor.client.get("/oauth2/authorize?" + query), (wrong, fault))
    for wrong in unproved:
        form = {"content-type": "application/x-www-form-urlencoded"}
        sent = await visitor.client.post("/oauth2/authorize", content=authorize(**wrong), headers=form)
        assert sent.headers["location"].startswith("/oauth2/authorize?")
        page_alone(await visitor.client.get(sent.headers["location"]), wrong)
    await client_flow.disable(house.world, "app")
    for fault in FAULTS:
        page_alone(await visitor.client.get("/oauth2/authorize?" + authorize(**fault)), fault)
    assert await house.value("SELECT count(*) FROM authorization_code") == 0


@pytest.mark.case("K-42")
@pytest.mark.parametrize("mode", ["query", "form_post"])
async def test_no_address_but_the_clients_own_is_ever_led_to(house: House, mode: str) -> None:
    await client_flow.create(house.world, APP)
    secret = await client_flow.create(house.world, replace(WEB, redirect_uris=(CALLBACK,)))
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    assert len(VARIANTS) >= 40
    for uri in VARIANTS:
        query = authorize(redirect_uri=uri, response_mode=mode)
        page_alone(await visitor.client.get("/oauth2/authorize?" + query), uri)
        fields = dict(httpx.QueryParams(authorize(redirect_uri=uri, client_id="web", response_mode=mode)))
        pushed = await house.client.post("/oauth2/par", data=fields, auth=("web", secret or ""))
        assert (pushed.status_code, pushed.json()["error"]) == (400, "invalid_request"), uri
    for port in ("", ":1", ":9000", ":65535"):
        own = f"http://127.0.0.1{port}/callback"
        query = authorize(redirect_uri=own, prompt="none")
        sent = await visitor.client.get("/oauth2/authorize?" + query)
        assert (sent.status_code, sent.headers["location"].partition("?")[0]) == (303, own)
        assert "code=dwc_" in sent.headers["location"]
    assert await house.value("SELECT count(*) FROM authorization_code") == 4


#: Challenges that are refused with whatever method, and verifiers beside a right challenge.
_CHALLENGES: tuple[dict[str, Any], ...] = (
    {"code_challenge": "", "code_challenge_method": "S256"},
    {"code_challenge_method": ""},
    {"code_challenge_method": "plain"},
    {"code_challenge_method": "s256"},
    {"code_challenge_method": "S512"},
    {"code_challenge": VERIFIER, "code_challenge_method": "plain"},
    {"code_challenge": CHALLENGE[:-1]},
    {"code_challenge": CHALLENGE + "A"},
    {"code_challenge": CHALLENGE + "="},
    {"code_challenge": CHALLENGE[:-1] + "+"},
    {"code_challenge": "A" * 129},
    {"code_challenge": [CHALLENGE, CHALLENGE]},
    {"code_challenge": [CHALLENGE, "A" * 43]},
    {"code_challenge_method": ["S256", "plain"]},
)


@pytest.mark.case("K-43")
@pytest.mark.parametrize("method", ["none", "client_secret_basic"])
async def test_half_a_proof_key_is_no_proof_key(house: House, method: Any) -> None:
    lax = replace(WEB, id="app", token_endpoint_auth_method=method, require_pkce=method == "none")
    secret = await client_flow.create(
        house.world, replace(lax, grant_types=("authorization_code", "refresh_token"), scopes=PORTAL.scopes)
    )
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    none_at_all: dict[str, Any] = {"code_challenge": "", "code_challenge_method": ""}
    for changes in (*_CHALLENGES, *([none_at_all] if method == "none" else [])):
        sent = await visitor.client.get("/oauth2/authorize?" + authorize(prompt="none", **changes))
        told = parse_qs(urlsplit(sent.headers["location"]).query)
        assert (sent.status_code, told["error"]) == (303, ["invalid_request"]), changes
        assert (told["state"], told["iss"]) == (["the-state"], [ISSUER])
    assert await house.value("SELECT count(*) FROM authorization_code") == 0

    async def code(**changes: str) -> str:
        sent = await visitor.client.get("/oauth2/authorize?" + authorize(prompt="none", **changes))
        return parse_qs(urlsplit(sent.headers["location"]).query)["code"][0]

    async def exchange(code: str, **verifier: str) -> tuple[int, str]:
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK} | verifier
        if method == "none":
            sent = await house.client.post("/oauth2/token", data=fields | {"client_id": "app"})
        else:
            sent = await house.client.post("/oauth2/token", data=fields, auth=("app", secret or ""))
        return sent.status_code, sent.json().get("error", "issued")

    challenged = await code()
    wrong = (
        "",
        VERIFIER[:-1],
        VERIFIER + "A",
        VERIFIER[:-1] + "A",
        CHALLENGE,
        "A" * 129,
        VERIFIER + "+",
        " " + VERIFIER,
    )
    for verifier in wrong:
        assert await exchange(challenged, code_verifier=verifier) == (400, "invalid_grant"), verifier
    assert await exchange(challenged) == (400, "invalid_grant")
    assert await exchange(challenged, code_verifier=VERIFIER) == (200, "issued"), "and it is still whole"
    if method != "none":
        bare = await code(**none_at_all)
        assert await exchange(bare, code_verifier=VERIFIER) == (400, "invalid_grant"), "the downgrade"
        assert await exchange(bare) == (200, "issued")
    await check(house)


@pytest.mark.case("K-47")
async def test_every_answer_says_who_answers_and_brings_the_state_back(house: House) -> None:
    await client_flow.create(house.world, APP)
    visitor = Visitor(await house.a_person())
    state = "a&b=c#d%20é+/'\"<script>" + "s" * 480
    for signed_in in (False, True):
        if signed_in:
            await visitor.sign_in()
        for mode, fault in itertools.product(("", "query", "form_post"), FAULTS):
            changes = {"prompt": "none", "response_mode": mode, "state": state} | fault
            sent = await visitor.client.get("/oauth2/authorize?" + authorize(**changes))
            if changes["response_mode"] == "form_post":
                (form,) = (await visitor.get("/oauth2/authorize?" + authorize(**changes))).forms
                told = form.fields
                assert form.action == CALLBACK
            else:
                url = urlsplit(sent.headers["location"])
                assert (sent.status_code, f"https://{url.netloc}{url.path}") == (303, CALLBACK)
                assert url.fragment == ""
                told = {name: one[0] for name, one in parse_qs(url.query).items()}
            assert (told["state"], told["iss"]) == (state, ISSUER), changes
            assert ("code" in told) != ("error" in told), changes
            if "error" in told:
                assert "script" not in told["error_description"]
    wider = await visitor.client.get(
        "/oauth2/authorize?" + authorize(prompt="none", scope="openid account admin")
    )
    code = parse_qs(urlsplit(wider.headers["location"]).query)["code"][0]
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    issued = await house.client.post(
        "/oauth2/token", data=fields | {"client_id": "app", "code_verifier": VERIFIER}
    )
    assert issued.json()["scope"] == "openid", "what is beyond the client's record is left out, and said"
    twice = await visitor.client.get("/oauth2/authorize?" + authorize(state=["a", "b"]))
    assert "state" not in parse_qs(urlsplit(twice.headers["location"]).query), "which of two, nobody can say"


@pytest.mark.case("K-48")
async def test_no_other_grant_or_response_type_is_served_to_anybody(house: House) -> None:
    made = await doors(house)
    await client_flow.create(house.world, APP)
    types = (
        "token",
        "id_token",
        "code token",
        "code id_token",
        "code id_token token",
        "none",
        "Code",
        "code code",
    )
    for kind, client in itertools.product(types, ("app", "web")):
        sent = await made.visitor.client.get(
            "/oauth2/authorize?" + authorize(response_type=kind, client_id=client, prompt="none")
        )
        told = parse_qs(urlsplit(sent.headers["location"]).query)
        assert told["error"] == ["unsupported_response_type"], kind
        assert "#" not in sent.headers["location"]
        pushed = await made.post(
            "/oauth2/par", **dict(httpx.QueryParams(authorize(response_type=kind, client_id="web")))
        )
        assert pushed.json()["error"] == "unsupported_response_type"
    ada = made.visitor.person
    credentials = {"username": ada.email, "password": ada.password, "scope": "openid"}
    for grant in (
        "password",
        "implicit",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "Authorization_Code",
        "authorization_code ",
    ):
        for sent in (
            await made.post("/oauth2/token", grant_type=grant, **credentials),
            await made.send("/oauth2/token", grant_type=grant, client_id="app", **credentials),
        ):
            assert (sent.status_code, sent.json()["error"]) == (400, "unsupported_grant_type"), grant
    for grant in ("client_credentials", "refresh_token"):
        sent = await made.send("/oauth2/token", grant_type=grant, client_id="app", refresh_token="dwr_x")
        assert (sent.status_code, sent.json()["error"]) == (400, "unauthorized_client"), grant
    assert await house.value("SELECT count(*) FROM refresh_family") == 1
