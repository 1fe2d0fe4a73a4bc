"""Records that change under a grant, an answer that comes twice, and a proof on the way to an enrolment."""

import json
from dataclasses import replace

from service.flows import clients as client_flow
from tests.attacks.test_hostile_portals import THIRD, allow
from tests.builders import House
from tests.pages.portal import LEAVING, PORTAL, answer, asked, exchange, refreshed, signed_in, userinfo
from tests.pages.visitor import Visitor


async def test_a_claim_that_nobody_was_asked_about_stays_shut_when_the_record_opens(house: House) -> None:
    """What a request names beyond the record of its day must not come to life with a later record."""
    await client_flow.create(house.world, replace(THIRD, scopes=("openid", "profile")))
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    wish = json.dumps({"userinfo": {"email": None}, "id_token": {"email": None}})
    page = await visitor.get(asked(scope="openid", claims=wish))
    assert "e-mail" not in page.text
    tokens = (await exchange(house, answer(await visitor.post(allow(page)))["code"])).json()
    await client_flow.apply(house.world, [replace(THIRD, scopes=("openid", "profile", "email"))])
    assert "email" not in (await userinfo(house, tokens["access_token"])).json()


async def test_a_consent_sent_again_after_its_answer_says_nothing_anew(house: House) -> None:
    await client_flow.create(house.world, THIRD)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    form = allow(await visitor.get(asked()))
    await visitor.post(form)
    await visitor.fill(await visitor.get("/account"), "/account/portals/portal/revoke")
    again = await visitor.post(form)
    assert "answered already" in again.text
    assert await house.value("SELECT count(*) FROM consent") == 0, (
        "nobody is asked at the next silent request"
    )


async def test_a_proof_on_the_way_to_an_enrolment_cuts_no_window_either(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    house.clock.advance(1000)
    page = await visitor.get(asked(acr_values="urn:doorward:acr:2fa"))
    assert page.path == "/account/reauthentication"
    assert "cross-origin-opener-policy" not in page.answer.headers


async def test_a_grant_whose_record_lost_all_its_scopes_gets_no_tokens(house: House) -> None:
    """A record that lost every scope of a grant has no tokens for it (RFC 6749 §5.2)."""
    client = replace(LEAVING, scopes=("openid", "email", "reports"))
    await client_flow.create(house.world, client)
    tokens = await signed_in(house, Visitor(await house.a_person()))
    await client_flow.apply(house.world, [replace(client, scopes=("reports",))])
    told = await refreshed(house, tokens["refresh_token"])
    assert told.status_code == 400, told.text


async def test_a_grant_whose_record_lost_offline_access_ends_with_its_session(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    visitor = Visitor(await house.a_person())
    tokens = await signed_in(house, visitor, scope="openid offline_access")
    await client_flow.apply(house.world, [replace(LEAVING, scopes=("openid", "email"))])
    await visitor.fill(await visitor.get("/account"), "/sign-out")
    assert (await refreshed(house, tokens["refresh_token"])).status_code == 400
