"""Moments between a look and an act, and bounds of what may come back to us."""

import asyncio
import json
from dataclasses import replace

import pytest

from service.domain.sign_in import FRONTEND
from service.flows import clients as client_flow
from service.flows import janitor
from tests.attacks.test_hostile_portals import THIRD, allow
from tests.builders import House
from tests.pages.portal import (
    AFTER,
    LEAVING,
    PORTAL,
    answer,
    asked,
    exchange,
    logout,
    refreshed,
    signed_in,
)
from tests.pages.visitor import Visitor


async def test_a_silent_request_whose_consent_is_taken_back_meanwhile_is_answered(house: House) -> None:
    await client_flow.create(house.world, THIRD)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    await visitor.post(allow(await visitor.get(asked())))
    async with house.world.db.connection() as other, other.transaction():
        await other.execute("SELECT 1 FROM person FOR UPDATE")
        silent = asyncio.create_task(visitor.get(asked(prompt="none")))
        await asyncio.sleep(0.4)
        assert not silent.done()
        await other.execute("DELETE FROM consent")
    page = await silent
    assert page.answer.status_code == 303, page.text
    assert answer(page)["error"] == "consent_required"


async def test_a_refusal_for_the_record_costs_no_token_and_is_no_theft(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    person = await house.a_person()
    visitor = Visitor(person)
    tokens = await signed_in(house, visitor, scope="openid offline_access")
    await visitor.fill(await visitor.get("/account"), "/sign-out")
    await client_flow.apply(house.world, [replace(LEAVING, scopes=("openid", "email"))])
    assert (await refreshed(house, tokens["refresh_token"])).status_code == 400
    house.clock.advance(120)
    assert (await refreshed(house, tokens["refresh_token"])).status_code == 400
    assert "refresh_reuse" not in await house.letters(person)


async def test_no_link_takes_the_policy_about_openers_from_a_page_of_ours(house: House) -> None:
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    plain = await visitor.get("/account")
    assert plain.answer.headers["cross-origin-opener-policy"] == "same-origin"
    page = await visitor.get("/account?return_to=/continue?request=dwa_" + "A" * 43)
    assert page.path == "/account"
    assert page.answer.headers.get("cross-origin-opener-policy") == "same-origin"


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_question_for_the_head_alone_uses_no_answer_up(house: House, slash: str) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    where = (await visitor.client.get(asked())).headers["location"]
    head = await visitor.client.head(where.replace("/continue?", f"/continue{slash}?"))
    assert head.status_code == 405
    assert "HEAD" not in head.headers["allow"]
    assert "code" in answer(await visitor.get(where))


@pytest.mark.parametrize(("nonce", "taken"), [("n" * 512, True), ("n" * 513, False), ("é" * 257, False)])
async def test_an_id_token_of_ours_comes_back_as_a_hint_however_long_its_nonce_may_be(
    house: House, nonce: str, taken: bool
) -> None:
    client = replace(LEAVING, id="p" * 100)
    await client_flow.create(house.world, client)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    told = answer(await visitor.get(asked(client_id=client.id, nonce=nonce)))
    assert ("code" in told) is taken
    if taken:
        hint = (await exchange(house, told["code"], client_id=client.id)).json()["id_token"]
        out = await visitor.client.get(logout(id_token_hint=hint, post_logout_redirect_uri=AFTER))
        assert out.status_code == 303


async def test_taking_back_voids_codes_of_first_parties(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    visitor = Visitor(await house.a_person())
    await signed_in(house, visitor, scope="openid offline_access")
    code = answer(await visitor.get(asked(scope="openid offline_access")))["code"]
    await visitor.fill(await visitor.get("/account"), "/account/portals/portal/revoke")
    assert (await exchange(house, code)).status_code == 400


async def test_the_list_tells_all_scopes(house: House) -> None:
    await client_flow.create(house.world, replace(LEAVING, scopes=("openid", "profile", "offline_access")))
    visitor = Visitor(await house.a_person())
    await signed_in(house, visitor, scope="openid offline_access")
    await signed_in(house, visitor, scope="openid profile offline_access")
    page = await visitor.get("/account")
    assert "your name" in page.text.partition("Applications with access")[2]


async def test_a_pushed_request_has_the_same_bound(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    fields = {
        "client_id": "portal",
        "redirect_uri": "https://portal.example/callback",
        "response_type": "code",
        "scope": "openid",
        "state": "s" * 12000,
        "code_challenge": "A" * 43,
        "code_challenge_method": "S256",
    }
    told = await house.client.post("/oauth2/par", data=fields)
    assert told.status_code == 400


async def test_a_hint_with_an_address_in_it(house: House) -> None:
    client = replace(LEAVING, scopes=("openid", "address"), id_token_signed_response_alg="RS256")
    await client_flow.create(house.world, client)
    person = await house.a_person()
    bearer = (await person.sign_in())["access_token"]
    line = "\u6771" * 200
    address = {"street_address": "\u6771" * 500, "locality": line, "region": line, "country": line}
    headers = {"authorization": f"Bearer {bearer}"}
    told = await house.client.patch("/v1/me", headers=headers, json={"address": address})
    assert told.status_code == 200
    visitor = Visitor(person)
    await visitor.sign_in()
    wish = json.dumps({"id_token": {"address": None}})
    bought = answer(await visitor.get(asked(scope="openid", claims=wish)))["code"]
    hint = (await exchange(house, bought)).json()["id_token"]
    out = await visitor.client.get(logout(id_token_hint=hint, post_logout_redirect_uri=AFTER))
    assert out.status_code == 303, out.text


async def test_what_a_record_lost_is_back_when_the_record_has_it_again(house: House) -> None:
    """docs/clients.md: an operator's slip must not cost everybody their consent."""
    client = replace(LEAVING, scopes=("openid", "email", "reports"))
    await client_flow.create(house.world, client)
    tokens = await signed_in(house, Visitor(await house.a_person()))
    await client_flow.apply(house.world, [replace(client, scopes=("reports",))])
    assert (await refreshed(house, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    await client_flow.apply(house.world, [client])
    assert (await refreshed(house, tokens["refresh_token"])).status_code == 200


@pytest.mark.parametrize("id", [FRONTEND, "portal", "unknown"])
async def test_only_what_is_listed_is_taken_back(house: House, id: str) -> None:
    await client_flow.create(house.world, LEAVING)
    person = await house.a_person()
    visitor = Visitor(person)
    await signed_in(house, visitor)
    headers = {"authorization": f"Bearer {(await person.sign_in())['access_token']}"}
    told = await house.client.delete(f"/v1/me/consents/{id}", headers=headers)
    assert told.status_code == 404
    assert await house.value("SELECT count(*) FROM refresh_family WHERE ended_at IS NOT NULL") == 0


async def test_a_grant_that_lost_offline_access_ends_with_a_session_that_was_left_alone(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    visitor = Visitor(await house.a_person())
    tokens = await signed_in(house, visitor, scope="openid offline_access")
    await client_flow.apply(house.world, [replace(LEAVING, scopes=("openid", "email"))])
    house.clock.advance(13 * 3600)
    assert (await refreshed(house, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    await janitor.tidy(house.world)
    assert await house.value("SELECT end_reason FROM refresh_family") == "idle"


async def test_sign_out_by_our_form_takes_the_sign_in_under_way(house: House) -> None:
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    page = await visitor.get("/oauth2/logout")
    sent = await visitor.post(page.form("/oauth2/logout/confirm"), follow=False)
    assert any("sign-in=" in one for one in sent.answer.headers.get_list("set-cookie")), sent.answer.headers
