"""A portal sends somebody to our sign-in page and gets its code, by plain HTML and one redirect at a time."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from service.domain.oidc.clients import Client, GrantType
from service.flows import clients as client_flow
from tests.builders import House
from tests.flows.invariants import check, claims
from tests.pages.visitor import Page, Visitor

CALLBACK = "https://portal.example/callback"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
PORTAL = Client(
    "portal",
    "The Portal",
    token_endpoint_auth_method="none",
    redirect_uris=(CALLBACK,),
    scopes=("openid", "profile", "email"),
    first_party=True,
)


def asked(**changes: str) -> str:
    """The address a portal sends its people to."""
    good = {
        "client_id": "portal",
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid email",
        "state": "s" * 128,
        "nonce": "n-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return "/oauth2/authorize?" + urlencode({k: v for k, v in (good | changes).items() if v})


def answer(page: Page) -> dict[str, str]:
    """What the redirect, or the page on its way out, carries to the portal."""
    address = page.answer.headers.get("location")
    if address is None:
        (found,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', page.answer.text)
        address = unescape(found)
    url = urlsplit(address)
    assert f"{url.scheme}://{url.netloc}{url.path}" == CALLBACK
    return {name: values[0] for name, values in parse_qs(url.query).items()}


async def exchange(house: House, bought: str, **changes: Any) -> httpx.Response:
    body = {
        "grant_type": "authorization_code",
        "code": bought,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
        "client_id": "portal",
    } | changes
    return await house.client.post("/oauth2/token", data={k: v for k, v in body.items() if v is not None})


async def code_for(house: House, visitor: Visitor) -> str:
    page = await visitor.get(asked())
    if page.path == "/sign-in":
        page = await visitor.post(
            page.form("/sign-in"), username=visitor.person.email, password=visitor.person.password
        )
    return answer(page)["code"]


async def test_a_portals_sign_in_survives_both_steps_and_ends_at_the_portal(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    page = await visitor.get(asked(login_hint=ada.email))
    assert page.path == "/sign-in"
    form = page.form("/sign-in")
    assert form.fields["username"] == ada.email
    page = await visitor.post(form, password=ada.password)
    assert page.path == "/sign-in/second-factor"
    page = await visitor.post(page.form("/sign-in/second-factor"), code=ada.code())
    told = answer(page)
    assert told["state"] == "s" * 128
    assert told["iss"] == "http://127.0.0.1:8400"
    assert told["code"].startswith("dwc_")
    issued = await exchange(house, told["code"])
    assert issued.status_code == 200, issued.text
    assert issued.headers["cache-control"] == "no-store"
    tokens = issued.json()
    assert (tokens["token_type"], tokens["scope"]) == ("Bearer", "openid email")
    assert "refresh_token" not in tokens
    keys = KeySet.import_key_set((await house.client.get("/oauth2/jwks")).json())
    identity = jwt.decode(tokens["id_token"], keys, algorithms=["RS256"])
    assert identity.header["alg"] == "RS256"
    said = identity.claims
    assert (said["aud"], said["nonce"], said["acr"]) == ("portal", "n-1", "urn:doorward:acr:2fa")
    assert "email" not in said, "in the code flow the userinfo endpoint carries it"
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert said["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
    access = claims(tokens["access_token"])
    assert (access["client_id"], access["sub"], access["sid"]) == ("portal", said["sub"], said["sid"])
    # Signed in already: the next request needs no form.
    page = await visitor.get(asked(state="again"))
    assert answer(page)["state"] == "again"
    await check(house)


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


@pytest.mark.case("K-41")
@pytest.mark.case("K-42")
@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "unknown"},
        {"client_id": ""},
        {"client_id": "portal\0"},
        {"redirect_uri": ""},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": CALLBACK + "/"},
        {"redirect_uri": CALLBACK + "?a=b"},
        {"redirect_uri": CALLBACK + "#f"},
        {"redirect_uri": "https://portal.example@evil.example/callback"},
    ],
)
async def test_nothing_is_redirected_before_client_and_address_are_proved(
    house: House, changes: dict[str, str]
) -> None:
    await client_flow.create(house.world, PORTAL)
    for wrong in ({}, {"response_type": "token"}, {"scope": ""}, {"code_challenge": ""}):
        refused = await house.client.get(asked(**(changes | wrong)))
        assert refused.status_code == 400
        assert "location" not in refused.headers
        assert "evil.example" not in refused.text


@pytest.mark.case("K-47")
async def test_a_refusal_carries_state_and_issuer_to_the_portal(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    for changes, error in (
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "email"}, "invalid_scope"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
    ):
        refused = await house.client.get(asked(**changes))
        assert refused.status_code == 303
        url = urlsplit(refused.headers["location"])
        told = parse_qs(url.query)
        assert told["error"] == [error]
        assert told["state"] == ["s" * 128]
        assert told["iss"] == ["http://127.0.0.1:8400"]


@pytest.mark.case("K-62")
async def test_prompt_none_shows_nothing_and_says_what_is_missing(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.get(asked(prompt="none"))
    assert answer(page)["error"] == "login_required"
    await visitor.sign_in()
    assert "code" in answer(await visitor.get(asked(prompt="none")))


@pytest.mark.case("K-62")
async def test_prompt_login_and_max_age_ask_for_the_password_again(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    house.clock.advance(100)
    code = answer(await visitor.get(asked(max_age="10000")))["code"]
    first = claims((await exchange(house, code)).json()["id_token"])
    for changes in ({"prompt": "login"}, {"max_age": "60"}, {"max_age": "0"}):
        house.clock.advance(100)
        page = await visitor.get(asked(**changes))
        assert page.path == "/account/reauthentication", changes
        page = await visitor.post(page.form("/account/reauthentication"), password=ada.password)
        issued = claims((await exchange(house, answer(page)["code"])).json()["id_token"])
        assert issued["auth_time"] == int(ada.now.timestamp())
        assert issued["sid"] == first["sid"], "the session goes on: no other portal loses it"


@pytest.mark.case("K-62")
async def test_a_proof_that_is_cancelled_leaves_no_new_session(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    house.clock.advance(100)
    await visitor.get(asked(prompt="login"))
    page = await visitor.get(asked(max_age="60", prompt="none"))
    assert answer(page)["error"] == "login_required"
    assert await house.value("SELECT count(*) FROM session") == 1


async def test_who_signs_in_as_another_answers_for_themselves(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada, eve = await house.a_person(), await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    house.clock.advance(100)
    page = await visitor.get(asked(prompt="select_account"))
    assert ada.email in page.text
    stay = next(form for form in page.forms if form.fields.get("decision") == "stay")
    kept = claims((await exchange(house, answer(await visitor.post(stay))["code"])).json()["id_token"])
    page = await visitor.get(asked(prompt="select_account"))
    (another,) = re.findall(r'id="another" href="([^"]+)"', page.answer.text)
    page = await visitor.get(unescape(another))
    page = await visitor.post(page.form("/sign-in"), username=eve.email, password=eve.password)
    changed = claims((await exchange(house, answer(page)["code"])).json()["id_token"])
    assert kept["sub"] != changed["sub"]


async def test_a_hint_is_answered_about_its_person_or_not_at_all(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada, eve = await house.a_person(), await house.a_person()
    visitor, other = Visitor(ada), Visitor(eve)
    hint = (await exchange(house, await code_for(house, visitor))).json()["id_token"]
    house.clock.advance(4000)
    assert "code" in answer(await visitor.get(asked(prompt="none", id_token_hint=hint))), "it may be old"
    await other.sign_in()
    house.clock.advance(10)
    assert answer(await other.get(asked(prompt="none", id_token_hint=hint)))["error"] == "login_required"
    page = await other.get(asked(id_token_hint=hint))
    assert page.path == "/sign-in"
    page = await other.post(page.form("/sign-in"), username=eve.email, password=eve.password)
    assert answer(page)["error"] == "login_required"
    forged = hint[:-4] + ("AAAA" if hint[-4:] != "AAAA" else "BBBB")
    assert answer(await visitor.get(asked(id_token_hint=forged)))["error"] == "invalid_request"


async def test_a_portal_that_wants_a_second_factor_gets_somebody_who_sets_one_up(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    wish = {"acr_values": "urn:doorward:acr:2fa"}
    silent = answer(await visitor.get(asked(prompt="none", **wish)))
    assert silent["error"] == "interaction_required"
    both = {"acr_values": "urn:doorward:acr:2fa urn:doorward:acr:1fa"}
    assert "code" in answer(await visitor.get(asked(**both))), "one factor is among what it takes"
    page = await visitor.get(asked(**wish))
    assert page.path == "/account/two-factor/enable"
    page = await visitor.post(page.form("/account/two-factor/enable"), name="Phone")
    ada.secret = page.secret
    page = await visitor.post(page.form("/account/two-factor/enable/confirm"), code=ada.code())
    (onward,) = re.findall(r'class="button" href="([^"]+)"', page.answer.text)
    told = answer(await visitor.get(unescape(onward)))
    issued = claims((await exchange(house, told["code"])).json()["id_token"])
    assert (issued["acr"], issued["amr"]) == ("urn:doorward:acr:2fa", ["pwd", "otp", "mfa"])


@pytest.mark.case("K-62")
async def test_a_third_party_is_allowed_by_the_person_once(house: House) -> None:
    await client_flow.create(house.world, replace(PORTAL, first_party=False))
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    assert answer(await visitor.get(asked(prompt="none")))["error"] == "consent_required"
    page = await visitor.get(asked())
    assert "The Portal" in page.text
    allow, deny = [form for form in page.forms if "decision" in form.fields]
    refused = await visitor.post(deny)
    assert answer(refused)["error"] == "access_denied"
    page = await visitor.get(asked())
    allow = next(form for form in page.forms if form.fields.get("decision") == "allow")
    assert "code" in answer(await visitor.post(allow))
    assert "code" in answer(await visitor.get(asked(prompt="none"))), "it is remembered"


async def test_two_tabs_return_to_their_own_portal_and_a_second_load_carries_no_code(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    other = replace(PORTAL, id="other", redirect_uris=(CALLBACK + "2",))
    await client_flow.create(house.world, other)
    ada = await house.a_person()
    visitor = Visitor(ada)
    first = await visitor.get(asked())
    second = await visitor.get(asked(client_id="other", redirect_uri=CALLBACK + "2"))
    one = await visitor.post(first.form("/sign-in"), username=ada.email, password=ada.password)
    assert "code" in answer(one)
    query = urlsplit(second.form("/sign-in").action).query
    (target,) = parse_qs(query)["return_to"]
    two = await visitor.get(target)
    assert CALLBACK + "2?" in unescape(two.answer.text)
    again = await visitor.get(target)
    assert "answered already" in again.text
    assert "dwc_" not in again.answer.text


async def test_a_request_goes_on_in_the_browser_that_began_it_only(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada, eve = Visitor(await house.a_person()), Visitor(await house.a_person())
    page = await ada.get(asked())
    (target,) = parse_qs(urlsplit(page.form("/sign-in").action).query)["return_to"]
    await eve.sign_in()
    stolen = await eve.get(target)
    assert stolen.answer.status_code == 400
    assert "dwc_" not in stolen.answer.text


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


async def test_a_request_by_post_from_another_site_becomes_our_own_get(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    fields = dict(part.split("=", 1) for part in asked().partition("?")[2].split("&"))
    sent = await visitor.client.post(
        "/oauth2/authorize",
        content="&".join(f"{k}={v}" for k, v in fields.items()),
        headers={"content-type": "application/x-www-form-urlencoded", "origin": "https://portal.example"},
    )
    assert sent.status_code == 303
    assert "code" in answer(await visitor.get(sent.headers["location"]))


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


async def userinfo(house: House, token: str, method: str = "GET", **more: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return await house.client.request(method, "/oauth2/userinfo", headers=headers, **more)


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


async def test_the_answer_by_form_post_is_a_form_to_the_portal(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    page = await visitor.get(asked(response_mode="form_post"))
    (form,) = [one for one in page.forms if one.action == CALLBACK]
    assert form.method == "post"
    assert set(form.fields) == {"code", "state", "iss"}
    assert "form-action" not in page.answer.headers["content-security-policy"]
    assert (await exchange(house, form.fields["code"])).status_code == 200
    refused = await visitor.get(asked(response_mode="form_post", scope="email"))
    (form,) = [one for one in refused.forms if one.action == CALLBACK]
    assert form.fields["error"] == "invalid_scope"


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
