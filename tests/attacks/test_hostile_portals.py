"""What a hostile portal, a clumsy one, and a person with two tabs could do to the provider."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jws

from service.flows import clients as client_flow
from service.keyring import b64url
from tests.builders import House
from tests.flows.invariants import claims
from tests.http.test_oauth_endpoints import KEY, WITH_KEY, assertion, prove
from tests.pages.portal import (
    AFTER,
    LEAVING,
    PORTAL,
    answer,
    asked,
    code_for,
    ended,
    exchange,
    logout,
    refreshed,
    signed_in,
    userinfo,
)
from tests.pages.visitor import Form, Page, Visitor

THIRD = replace(LEAVING, first_party=False, scopes=("openid", "profile", "email", "phone", "offline_access"))


def allow(page: Page) -> Form:
    (found,) = [form for form in page.forms if form.fields.get("decision") == "allow"]
    return found


async def test_claims_asked_by_name_are_not_told_without_the_persons_word(house: House) -> None:
    """OpenID Connect Core 1.0 §3.1.2.4, §5.5: what the consent page did not show is not given."""
    await client_flow.create(house.world, THIRD)
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    wish = json.dumps({"userinfo": {"email": None}, "id_token": {"email": None}})
    page = await visitor.get(asked(scope="openid", claims=wish))
    shown = "your e-mail address" in page.text
    tokens = (await exchange(house, answer(await visitor.post(allow(page)))["code"])).json()
    told = (await userinfo(house, tokens["access_token"])).json()
    assert shown or "email" not in told
    assert shown or "email" not in claims(tokens["id_token"])


async def test_claims_beyond_an_earlier_consent_are_asked_for(house: House) -> None:
    """Somebody who once allowed `openid` alone is not silently asked out of their address."""
    await client_flow.create(house.world, THIRD)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    await visitor.post(allow(await visitor.get(asked(scope="openid"))))
    wish = json.dumps({"id_token": {"email": None}})
    told = answer(await visitor.get(asked(scope="openid", prompt="none", claims=wish)))
    if "code" in told:
        tokens = (await exchange(house, told["code"])).json()
        assert "email" not in claims(tokens["id_token"])


@pytest.mark.parametrize(
    "wish",
    [
        r'{"userinfo": {"a\u0000": null}}',
        r'{"userinfo": {"\ud800": null}}',
        '{"userinfo": {"name": {"value": NaN}}}',
        '{"userinfo": {"name": {"value": 1e999}}}',
        '{"userinfo": {"name": ' + "[" * 900 + "]" * 900 + "}}",
        '{"userinfo": {"name": {"value": ' + "9" * 3000 + "}}}",
        '{"userinfo": [], "x": 1}',
        '{"id_token": {"sub": {"value": ["a"]}}}',
        '{"id_token": {"acr": {"essential": true, "values": [[]]}}}',
        '{"id_token": {"acr": {"essential": true, "value": {}}}}',
    ],
)
async def test_no_claims_request_is_a_fault_of_ours(house: House, wish: str) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    page = await visitor.get(asked(claims=wish))
    assert page.answer.status_code < 500, page.answer.status_code
    told = answer(page)
    if "code" in told:
        assert (await exchange(house, told["code"])).status_code < 500


@pytest.mark.parametrize("jti", ["\ud800", "a\0b", "\udfff" * 10])
async def test_no_jti_is_a_fault_of_ours(house: House, jti: str) -> None:
    await client_flow.create(house.world, WITH_KEY)
    claimed = claims(assertion(house)) | {"jti": jti}
    payload = json.dumps(claimed).encode()
    text = jws.serialize_compact({"alg": "ES256", "kid": KEY.kid}, payload, KEY, algorithms=["ES256"])
    told = await prove(house, text)
    assert told.status_code < 500


@pytest.mark.parametrize("alg", [[], {}, 1, None, True])
@pytest.mark.parametrize("field", ["alg", "kid", "typ"])
async def test_no_header_of_an_assertion_is_a_fault_of_ours(house: House, alg: Any, field: str) -> None:
    await client_flow.create(house.world, WITH_KEY)
    good = assertion(house)
    header = {"alg": "ES256", "kid": KEY.kid} | {field: alg}
    told = await prove(house, b64url(json.dumps(header).encode()) + "." + good.split(".", 1)[1])
    assert told.status_code < 500


async def test_a_payload_of_another_kind_is_no_fault_of_ours(house: House) -> None:
    await client_flow.create(house.world, WITH_KEY)
    for payload in (
        b"[]",
        b"1",
        b'"x"',
        b"null",
        b"{",
        b"\xff",
        b"NaN",
        b'{"sub":"backend","iss":"backend"}',
    ):
        text = jws.serialize_compact({"alg": "ES256", "kid": KEY.kid}, payload, KEY, algorithms=["ES256"])
        told = await prove(house, text, client_id="backend")
        assert told.status_code == 401, payload


async def test_a_code_is_worth_nothing_once_its_consent_was_taken_back(house: House) -> None:
    await client_flow.create(house.world, THIRD)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    page = await visitor.post(allow(await visitor.get(asked(scope="openid email offline_access"))))
    code = answer(page)["code"]
    await visitor.fill(await visitor.get("/account"), "/account/portals/portal/revoke")
    late = await exchange(house, code)
    assert late.status_code == 400, "it bought a grant after the person had said no"


async def test_a_request_that_was_allowed_before_is_asked_about_anew_once_it_was_taken_back(
    house: House,
) -> None:
    await client_flow.create(house.world, THIRD)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    first, second = await visitor.get(asked()), await visitor.get(asked())
    later = await visitor.post(allow(second), follow=False)
    await visitor.post(allow(first))
    await visitor.fill(await visitor.get("/account"), "/account/portals/portal/revoke")
    page = await visitor.get(later.answer.headers["location"])
    assert allow(page)
    assert await house.value("SELECT count(*) FROM consent") == 0


async def test_a_consent_covers_what_was_shown_and_no_more(house: House) -> None:
    await client_flow.create(house.world, replace(THIRD, scopes=("openid",)))
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    page = await visitor.get(asked(scope="openid email"))
    assert "e-mail" not in page.text
    said = await visitor.post(allow(page), follow=False)
    await client_flow.apply(house.world, [replace(THIRD, scopes=("openid", "email"))])
    page = await visitor.get(said.answer.headers["location"])
    assert "your e-mail address" in page.text


@pytest.mark.parametrize("act", ["password", "two_factor", "end_others"])
async def test_an_offline_grant_of_the_acting_session_dies_as_the_contract_says(
    house: House, act: str
) -> None:
    """Contract §2: offline families die at password and 2FA changes and at end-all."""
    await client_flow.create(house.world, LEAVING)
    ada = await house.a_person()
    visitor = Visitor(ada)
    tokens = await signed_in(house, visitor, scope="openid offline_access")
    if act == "password":
        page = await visitor.get("/account")
        await visitor.fill(
            page, "/account/password", current_password=ada.password, new_password="test-value three four"
        )
    elif act == "two_factor":
        page = await visitor.get("/account/two-factor/enable")
        page = await visitor.post(page.form("/account/two-factor/enable"), name="Phone")
        ada.secret = page.secret
        await visitor.post(page.form("/account/two-factor/enable/confirm"), code=ada.code())
    else:
        await Visitor(ada).sign_in()
        await visitor.fill(await visitor.get("/account"), "/account/sessions/end-others")
    assert (await refreshed(house, tokens["refresh_token"])).status_code == 400


async def test_whoever_is_asked_because_of_anothers_hint_can_sign_out(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    ada, eve = Visitor(await house.a_person()), Visitor(await house.a_person())
    await signed_in(house, ada)
    hint = (await signed_in(house, eve))["id_token"]
    page = await ada.get(logout(id_token_hint=hint, post_logout_redirect_uri=AFTER))
    page = await ada.fill(page, "/oauth2/logout/confirm")
    assert page.answer.status_code == 200, page.text
    assert set(await ended(house)) == {"signed_out", None}


@pytest.mark.parametrize("page", ["consent", "select_account", "reauthentication", "enable"])
async def test_no_page_of_a_sign_in_for_a_portal_cuts_the_window_that_opened_it(
    house: House, page: str
) -> None:
    """Contract §6: no COOP on the authorize journey (it cuts popup sign-ins)."""
    await client_flow.create(house.world, replace(PORTAL, first_party=page != "consent"))
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    house.clock.advance(10)
    wish = {
        "consent": {},
        "select_account": {"prompt": "select_account"},
        "reauthentication": {"prompt": "login"},
        "enable": {"acr_values": "urn:doorward:acr:2fa"},
    }[page]
    found = await visitor.get(asked(**wish))
    assert "cross-origin-opener-policy" not in found.answer.headers, found.path


async def test_two_who_redeem_one_code_at_once_leave_nobody_with_a_grant(house: House) -> None:
    """RFC 6749 §4.1.2: used more than once, also when both come in the same moment."""
    await client_flow.create(house.world, PORTAL)
    code = await code_for(house, Visitor(await house.a_person()))
    told = await asyncio.gather(*(exchange(house, code) for _ in range(4)))
    assert sorted(one.status_code for one in told)[:1] == [200]
    assert await house.value("SELECT count(*) FROM refresh_family WHERE ended_at IS NULL") == 0


async def test_a_scope_taken_from_a_record_is_gone_at_the_next_refresh(house: House) -> None:
    client = replace(
        PORTAL, grant_types=("authorization_code", "refresh_token"), scopes=("openid", "email", "account")
    )
    await client_flow.create(house.world, client)
    visitor = Visitor(await house.a_person())
    tokens = await signed_in(house, visitor, scope="openid email account")
    await client_flow.apply(house.world, [replace(client, first_party=False, scopes=("openid",))])
    told = await refreshed(house, tokens["refresh_token"])
    if told.status_code == 200:
        headers = {"authorization": f"Bearer {told.json()['access_token']}"}
        assert "email" not in told.json()["scope"]
        assert "account" not in told.json()["scope"]
        assert (await house.client.get("/v1/me", headers=headers)).status_code == 403


async def test_a_disabled_first_party_client_opens_no_settings(house: House) -> None:
    client = replace(PORTAL, scopes=("openid", "account"))
    await client_flow.create(house.world, client)
    tokens = await signed_in(house, Visitor(await house.a_person()), scope="openid account")
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    assert (await house.client.get("/v1/me", headers=headers)).status_code == 200
    await client_flow.disable(house.world, "portal")
    assert (await house.client.get("/v1/me", headers=headers)).status_code == 401


async def test_what_a_logout_carries_back_is_not_lost_for_being_long(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    visitor = Visitor(await house.a_person())
    await signed_in(house, visitor)
    wish = {"client_id": "portal", "post_logout_redirect_uri": AFTER}
    too_long = await visitor.get(logout(**wish, state="s" * 4000))
    assert too_long.answer.status_code == 400, "what would be lost is refused"
    page = await visitor.get(logout(**wish, state="s" * 1500))
    sent = await visitor.post(page.form("/oauth2/logout/confirm"), follow=False)
    cookies = sent.answer.headers.get_list("set-cookie")
    assert max(len(one) for one in cookies) < 4096, "a browser keeps none that is longer (RFC 6265 §6.1)"


async def test_a_long_login_hint_is_no_cookie_that_browsers_drop(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    first = await visitor.client.get(asked(login_hint="a" * 6000))
    onward = await visitor.client.get(first.headers["location"])
    cookies = onward.headers.get_list("set-cookie")
    assert max(len(one) for one in cookies) < 4096


async def test_whoever_is_signed_in_as_another_is_not_sent_in_circles(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada, eve = await house.a_person(), await house.a_person()
    visitor, other = Visitor(ada), Visitor(eve)
    hint = (await exchange(house, await code_for(house, visitor))).json()["id_token"]
    await other.sign_in()
    house.clock.advance(10)
    page = await other.get(asked(id_token_hint=hint))
    assert page.path == "/sign-in"
    links = [
        tag for tag, told in page.tags if tag == "a" and (told.get("href") or "").startswith("/continue")
    ]
    assert not links, "`Continue` would lead to this very page"


async def test_the_same_request_by_post_is_not_too_long_for_our_own_get(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    sent = await house.client.post(
        "/oauth2/authorize",
        content="state=" + "!" * 16_000 + "&" + asked(state="").partition("?")[2],
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert sent.status_code in (303, 400, 413)
    assert len(sent.headers.get("location", "")) < 20_000


@pytest.mark.parametrize(
    "raw", ["%ff", "%ed%a0%80", "%00", "dwa_%00", "\u00e9", "a" * 5000, "&request=dwa_x"]
)
@pytest.mark.parametrize(
    "path", ["/continue?request=", "/sign-in?return_to=", "/oauth2/logout?state=", "/signed-out?x="]
)
async def test_no_query_is_a_fault_of_ours(house: House, path: str, raw: str) -> None:
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    assert (await visitor.client.get(path + raw)).status_code < 500


async def test_a_machine_gets_no_scope_of_a_person(house: House) -> None:
    """What `openid`, `account` and `admin` open is a person's; a machine has none (RFC 6749 §4.4)."""
    both = replace(WITH_KEY, scopes=("openid", "email", "account", "admin", "reports"))
    await client_flow.create(house.world, both)
    told = (await prove(house, assertion(house))).json()
    assert told["scope"] == "reports"


async def test_prompt_login_is_not_met_by_a_sign_in_of_before_the_request(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    house.clock.advance(1.0 - house.clock.now().microsecond / 1e6)
    await visitor.sign_in()
    house.clock.advance(0.9)
    page = await visitor.get(asked(prompt="login"))
    assert page.path == "/account/reauthentication"


async def test_one_of_two_redemptions_at_once_ends_what_the_other_bought(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    for _ in range(5):
        code = await code_for(house, Visitor(await house.a_person()))
        told = await asyncio.gather(*(exchange(house, code) for _ in range(2)))
        assert sorted(one.status_code for one in told) == [200, 400]
    assert await house.value("SELECT count(*) FROM refresh_family WHERE ended_at IS NULL") == 0


async def test_an_assertion_is_taken_once_however_many_send_it_at_once(house: House) -> None:
    await client_flow.create(house.world, WITH_KEY)
    text = assertion(house)
    told = await asyncio.gather(*(prove(house, text) for _ in range(12)))
    assert sorted(one.status_code for one in told) == [200] + [401] * 11


async def test_a_request_is_not_kept_that_is_longer_than_any_portal_sends(house: House) -> None:
    """Nobody has signed in: whoever knows a client's id could fill the database."""
    await client_flow.create(house.world, PORTAL)
    for _ in range(3):
        await house.client.get(asked(state="s" * 60_000))
    kept = await house.value("SELECT coalesce(sum(length(parameters::text)), 0) FROM authorization_request")
    assert kept < 60_000


async def test_what_a_portal_is_told_of_nobody_who_is_there_is_login_required(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    house.clock.advance(50_000)
    assert answer(await visitor.get(asked(prompt="none")))["error"] == "login_required"


async def test_the_scope_of_anothers_grant_is_not_told(house: House) -> None:
    """Before the HMAC is proved a refresh token says nothing, not even what its family may do."""
    await client_flow.create(
        house.world, replace(PORTAL, grant_types=("authorization_code", "refresh_token"))
    )
    tokens = await signed_in(house, Visitor(await house.a_person()))
    from service.domain.sessions import RefreshToken, parse_refresh

    mine = parse_refresh(tokens["refresh_token"])
    assert mine is not None
    forged = str(RefreshToken(mine.family, 0, bytes(32)))
    answers = set()
    for scope in ("openid", "profile"):
        body = {"grant_type": "refresh_token", "refresh_token": forged, "client_id": "portal", "scope": scope}
        answers.add((await house.client.post("/oauth2/token", data=body)).json()["error"])
    assert answers == {"invalid_grant"}
