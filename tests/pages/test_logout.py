"""A portal signs somebody out (RP-Initiated Logout 1.0), and what outlives it."""

import re
from dataclasses import replace
from html import unescape

import pytest

from service.flows import clients as client_flow
from service.flows import sessions as session_flow
from service.flows.sessions import Caller
from service.stores.postgres import Connection
from tests.builders import House
from tests.pages.portal import (
    AFTER,
    LEAVING,
    PORTAL,
    answer,
    asked,
    ended,
    exchange,
    logout,
    refreshed,
    signed_in,
)
from tests.pages.visitor import Page, Visitor


@pytest.mark.case("K-66")
async def test_a_hint_of_the_person_signs_them_out_and_returns_with_the_state(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    visitor = Visitor(await house.a_person())
    tokens = await signed_in(house, visitor)
    house.clock.advance(3600)
    out = await visitor.get(
        logout(id_token_hint=tokens["id_token"], post_logout_redirect_uri=AFTER, state="s" * 128)
    )
    assert out.answer.status_code == 303
    assert out.answer.headers["location"] == f"{AFTER}?state={'s' * 128}"
    assert await ended(house) == ["signed_out"]
    assert "__Host-doorward" not in visitor.cookies
    assert answer(await visitor.get(asked(prompt="none")))["error"] == "login_required"
    assert (await refreshed(house, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    userinfo = await house.client.get(
        "/oauth2/userinfo", headers={"authorization": f"Bearer {tokens['access_token']}"}
    )
    assert userinfo.status_code == 401
    (owed,) = await house.rows("SELECT client_id, done_at FROM logout_notice")
    assert (owed["client_id"], owed["done_at"]) == ("portal", None)
    again = await visitor.get(logout(id_token_hint=tokens["id_token"], post_logout_redirect_uri=AFTER))
    assert again.answer.headers["location"] == AFTER, "nobody is there any more: nothing to ask"


@pytest.mark.case("K-65")
async def test_without_a_hint_the_person_is_asked_and_then_goes_where_the_client_wants(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    visitor = Visitor(await house.a_person())
    await signed_in(house, visitor)
    page = await visitor.get(logout(client_id="portal", post_logout_redirect_uri=AFTER, state="a b"))
    assert "The Portal" in page.text
    assert await ended(house) == [None], "a link ends nothing"
    page = await visitor.fill(page, "/oauth2/logout/confirm")
    (address,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', page.answer.text)
    assert unescape(address) == f"{AFTER}?state=a+b"
    assert await ended(house) == ["signed_out"]
    page = await visitor.get("/signed-out")
    assert "You are signed out" in page.text, "the way on is told once"


@pytest.mark.case("K-65")
async def test_another_persons_hint_ends_nothing_unasked(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    ada, eve = Visitor(await house.a_person()), Visitor(await house.a_person())
    await signed_in(house, ada)
    hint = (await signed_in(house, eve))["id_token"]
    page = await ada.get(logout(id_token_hint=hint, post_logout_redirect_uri=AFTER))
    assert page.form("/oauth2/logout/confirm")
    assert await ended(house) == [None, None]


@pytest.mark.parametrize(
    "wrong",
    [
        {"post_logout_redirect_uri": "https://evil.example/"},
        {"post_logout_redirect_uri": f"{AFTER}?foo=bar"},
        {"client_id": "other"},
        {"id_token_hint": "eyJhbGciOiJub25lIn0.e30."},
    ],
)
@pytest.mark.case("K-65")
async def test_what_is_not_the_clients_own_is_a_page_and_ends_nothing(
    house: House, wrong: dict[str, str]
) -> None:
    await client_flow.create(house.world, LEAVING)
    await client_flow.create(house.world, replace(PORTAL, id="other"))
    visitor = Visitor(await house.a_person())
    hint = (await signed_in(house, visitor))["id_token"]
    good = {"id_token_hint": hint, "post_logout_redirect_uri": AFTER}
    page = await visitor.get(logout(**(good | wrong)))
    assert page.answer.status_code == 400
    assert "location" not in page.answer.headers
    assert await ended(house) == [None]


async def test_a_logout_by_form_becomes_our_own_get(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    visitor = Visitor(await house.a_person())
    hint = (await signed_in(house, visitor))["id_token"]
    sent = await visitor.client.post("/oauth2/logout", data={"id_token_hint": hint, "state": "x"})
    assert sent.status_code == 303
    page = await visitor.get(sent.headers["location"])
    assert "You are signed out" in page.text
    bare = await visitor.client.post("/oauth2/logout")
    assert (bare.status_code, bare.headers["location"]) == (303, "/oauth2/logout?")


@pytest.mark.parametrize(
    ("act", "lives"), [("sign_out", True), ("expiry", True), ("end_others", False), ("password", False)]
)
async def test_a_grant_for_when_nobody_is_there_outlives_a_logout_and_nothing_else(
    house: House, act: str, lives: bool
) -> None:
    await client_flow.create(house.world, LEAVING)
    ada = await house.a_person()
    visitor, elsewhere = Visitor(ada), Visitor(ada)
    tokens = await signed_in(house, visitor, scope="openid offline_access")
    await elsewhere.sign_in()
    if act == "sign_out":
        await visitor.fill(await visitor.get("/account"), "/sign-out")
    elif act == "expiry":
        house.clock.advance(50_000)
        await house.rows(
            "UPDATE refresh_family SET idle_at = $1 RETURNING 1", house.clock.now().replace(year=2100)
        )
        assert (await visitor.get("/account")).path == "/sign-in"
    elif act == "end_others":
        await elsewhere.fill(await elsewhere.get("/account"), "/account/sessions/end-others")
    else:
        page = await elsewhere.get("/account")
        await elsewhere.fill(
            page, "/account/password", current_password=ada.password, new_password="test-value three four"
        )
    told = await refreshed(house, tokens["refresh_token"])
    assert (told.status_code == 200) is lives, told.text
    access = told.json().get("access_token", tokens["access_token"])
    asked_of = await house.client.get("/oauth2/userinfo", headers={"authorization": f"Bearer {access}"})
    assert (asked_of.status_code == 200) is lives


async def test_a_portals_tokens_end_with_the_browsers_lives_though_nobody_wrote_them_down(
    house: House,
) -> None:
    await client_flow.create(house.world, replace(LEAVING, refresh_idle_seconds=1_000_000))
    visitor = Visitor(await house.a_person())
    tokens = await signed_in(house, visitor)
    house.clock.advance(43_201)
    told = await refreshed(house, tokens["refresh_token"])
    assert told.json()["error"] == "invalid_grant"


async def test_a_refresh_is_a_use_of_the_session(house: House) -> None:
    await client_flow.create(house.world, replace(LEAVING, refresh_idle_seconds=1_000_000))
    visitor = Visitor(await house.a_person())
    tokens = await signed_in(house, visitor)
    for _ in range(3):
        house.clock.advance(40_000)
        tokens = (await refreshed(house, tokens["refresh_token"])).json()
    assert (await visitor.get("/account")).path == "/account"


async def test_what_was_allowed_can_be_taken_back(house: House) -> None:
    await client_flow.create(house.world, replace(LEAVING, first_party=False))
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    page = await visitor.get(asked(scope="openid email offline_access"))
    allow = next(form for form in page.forms if form.fields.get("decision") == "allow")
    tokens = (await exchange(house, answer(await visitor.post(allow))["code"])).json()
    page = await visitor.get("/account")
    assert "The Portal" in page.text
    page = await visitor.fill(page, "/account/portals/portal/revoke")
    assert page.path == "/account"
    assert (await refreshed(house, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert await house.value("SELECT end_reason FROM refresh_family") == "revoked"
    assert answer(await visitor.get(asked(prompt="none")))["error"] == "consent_required"
    (event,) = await house.events("account:consent_revocation:ok")
    assert (event["person_id"], event["client_id"]) == (ada.id, "portal")


async def test_consents_by_the_api(house: House) -> None:
    await client_flow.create(house.world, replace(LEAVING, first_party=False))
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    page = await visitor.get(asked())
    await visitor.post(next(form for form in page.forms if form.fields.get("decision") == "allow"))
    bearer = (await ada.sign_in())["access_token"]
    told = (await ada.get("/v1/me/consents", bearer=bearer)).json()
    (one,) = told["data"]
    assert (one["client_id"], one["name"]) == ("portal", "The Portal")
    assert set(one["scopes"]) == {"openid", "email"}
    headers = {"authorization": f"Bearer {bearer}"}
    gone = await house.client.delete("/v1/me/consents/portal", headers=headers)
    assert gone.status_code == 204
    assert (await house.client.delete("/v1/me/consents/portal", headers=headers)).status_code == 404
    assert (await ada.get("/v1/me/consents", bearer=bearer)).json()["data"] == []


async def test_a_reload_of_a_consent_says_nothing_twice(house: House) -> None:
    await client_flow.create(house.world, replace(PORTAL, first_party=False))
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    page: Page = await visitor.get(asked())
    allow = next(form for form in page.forms if form.fields.get("decision") == "allow")
    first = await visitor.post(allow, follow=False)
    assert first.answer.status_code == 303
    assert first.answer.headers["location"].startswith("/continue?request=")
    assert "code" in answer(await visitor.get(first.answer.headers["location"]))
    assert "answered already" in (await visitor.post(allow)).text


async def test_a_link_takes_nothing_from_a_sign_in_under_way(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    page = await visitor.get(asked())
    page = await visitor.post(page.form("/sign-in"), username=ada.email, password=ada.password)
    assert page.path == "/sign-in/second-factor"
    await visitor.get("/oauth2/logout")
    page = await visitor.post(page.form("/sign-in/second-factor"), code=ada.code())
    assert "code" in answer(page)


async def test_a_refresh_for_less_than_openid_brings_no_id_token(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    tokens = await signed_in(house, Visitor(await house.a_person()))
    body = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": "portal"}
    told = (await house.client.post("/oauth2/token", data=body | {"scope": "email"})).json()
    assert told["scope"] == "email"
    assert "id_token" not in told


async def test_a_silent_request_whose_session_ends_in_that_moment_is_told_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client_flow.create(house.world, LEAVING)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    genuine = session_flow.stands

    async def late(tx: Connection, caller: Caller) -> bool:
        await tx.execute(
            "UPDATE session SET ended_at = now(), end_reason = 'revoked' WHERE id = $1", caller.session
        )
        return await genuine(tx, caller)

    monkeypatch.setattr(session_flow, "stands", late)
    assert answer(await visitor.get(asked(prompt="none")))["error"] == "login_required"


async def test_a_first_partys_grant_for_when_nobody_is_there_is_shown_and_taken_back(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    visitor = Visitor(await house.a_person())
    tokens = await signed_in(house, visitor, scope="openid offline_access")
    page = await visitor.get("/account")
    assert "Act for you while you are away" in page.text
    await visitor.fill(page, "/account/portals/portal/revoke")
    assert (await refreshed(house, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert "Act for you while you are away" not in (await visitor.get("/account")).text
