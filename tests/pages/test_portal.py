"""A portal sends somebody to our sign-in page and gets its answer: plain HTML, one redirect at a time."""

import base64
import hashlib
import re
from dataclasses import replace
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from service.app import create
from service.flows import clients as client_flow
from service.world import make_world
from tests.builders import House
from tests.flows.invariants import check, claims
from tests.pages.portal import (
    CALLBACK,
    PORTAL,
    answer,
    asked,
    code_for,
    exchange,
)
from tests.pages.visitor import Visitor


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
    (onward,) = re.findall(r'href="([^"]+)" data-onward', page.answer.text)
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


async def test_a_request_survives_a_restart_between_the_steps(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    page = await visitor.get(asked())
    page = await visitor.post(page.form("/sign-in"), username=ada.email, password=ada.password)
    again = make_world(house.world.settings, clock=house.clock)
    await again.refresh()
    app: Any = create(again)
    visitor.client._transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    page = await visitor.post(page.form("/sign-in/second-factor"), code=ada.code())
    code = answer(page)["code"]
    assert (await exchange(house, code)).status_code == 200
    await again.close()


async def test_an_expired_page_begins_again_and_still_ends_at_the_portal(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    page = await visitor.get(asked())
    page = await visitor.post(page.form("/sign-in"), username=ada.email, password=ada.password)
    house.clock.advance(301)
    page = await visitor.post(page.form("/sign-in/second-factor"), code=ada.code())
    assert (page.path, "timed out" in page.text) == ("/sign-in", True)
    page = await visitor.post(page.form("/sign-in"), username=ada.email, password=ada.password)
    page = await visitor.post(page.form("/sign-in/second-factor"), code=ada.code())
    assert "code" in answer(page)


async def test_whoever_goes_back_after_the_answer_finds_no_second_code(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    first = await visitor.get(asked())
    second = await visitor.post(first.form("/sign-in"), username=ada.email, password=ada.password)
    assert "code" in answer(await visitor.post(second.form("/sign-in/second-factor"), code=ada.code()))
    house.clock.advance(30)
    back = await visitor.post(second.form("/sign-in/second-factor"), code=ada.code())
    assert "dwc_" not in back.answer.text
    whole = await visitor.post(first.form("/sign-in"), username=ada.email, password=ada.password)
    done = await visitor.post(whole.form("/sign-in/second-factor"), code=ada.code())
    assert "answered already" in done.text
    assert await house.value("SELECT count(*) FROM authorization_code") == 1
