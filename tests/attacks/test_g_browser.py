"""The browser's session (security design §6, G): forms that others send, forced logouts, use after logout."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from service.flows import clients as client_flow
from tests.attacks.doors import AFTER, WEB, Doors, doors
from tests.attacks.test_e_authorization import EVIL, page_alone
from tests.attacks.test_f_tokens import third_party
from tests.builders import House
from tests.flows.invariants import check
from tests.pages.portal import answer, asked
from tests.pages.test_csrf import ELSEWHERE, OWN
from tests.pages.visitor import ORIGIN, Form, Page, Visitor


def out(**parameters: str | list[str]) -> str:
    return "/oauth2/logout?" + urlencode(parameters, doseq=True)


async def standing(house: House) -> list[Any]:
    """What no form from elsewhere may change."""
    tables = ("authorization_request", "authorization_code", "consent", "refresh_family", "audit_event")
    rows = [await house.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]
    return [*rows, await house.rows("SELECT id, ended_at, cookie FROM session ORDER BY 1")]


async def forms(made: Doors) -> Mapping[str, Form]:
    """Each form by which a portal's wish is answered, with every field right."""
    made.house.clock.advance(10)  # Whoever has just signed in has chosen who they are.
    ask = await made.visitor.get(asked(client_id="web", scope="openid"))
    by_word = {form.fields["decision"]: form for form in ask.forms if "decision" in form.fields}
    choice = await made.visitor.get(asked(client_id="web", scope="openid", prompt="select_account"))
    (stay,) = [form for form in choice.forms if form.fields.get("decision") == "stay"]
    leave = (await made.visitor.get(out(client_id="web"))).form("/oauth2/logout/confirm")
    return {**by_word, "stay": stay, "sign out": leave}


@pytest.mark.case("K-64")
@pytest.mark.case("K-86")
async def test_no_form_of_a_portals_request_is_taken_from_elsewhere(house: House) -> None:
    made = await third_party(house)
    await made.visitor.sign_in()
    found = await forms(made)
    assert set(found) == {"allow", "deny", "stay", "sign out"}
    stranger = Visitor(await house.a_person())
    await stranger.sign_in()
    foreign = (await stranger.get("/account")).forms[0].fields["csrf_token"]
    anonymous = (await Visitor(stranger.person).get("/sign-in")).form("/sign-in").fields["csrf_token"]
    before = await standing(house)
    for name, form in found.items():
        client = made.visitor.client
        for headers in ELSEWHERE:
            sent = await client.post(form.action, data=form.fields, headers=headers)
            assert sent.status_code == 403, (name, headers)
        own = form.fields["csrf_token"]
        for token in ("", foreign, anonymous, own[:-1], own + "A", "A" * 43):
            sent = await client.post(form.action, data=form.fields | {"csrf_token": token}, headers=OWN)
            assert sent.status_code == 403, (name, token)
        for kind in ("text/plain", "multipart/form-data", "application/json", ""):
            body = "&".join(f"{key}={value}" for key, value in form.fields.items())
            headers = OWN | ({"content-type": kind} if kind else {})
            sent = await client.post(form.action, content=body.encode(), headers=headers)
            assert sent.status_code == 403, (name, kind)
        by_get = await client.get(form.action + ("&" if "?" in form.action else "?") + urlencode(form.fields))
        assert "code=dwc_" not in by_get.text, name
        planted = await stranger.client.post(form.action, data=form.fields, headers=OWN)
        assert planted.status_code == 403, (name, "in another's browser")
    assert await standing(house) == before
    assert "code" in answer(await made.visitor.post(found["allow"])), "the form itself does pass"


@pytest.mark.case("K-64")
async def test_a_portals_forms_cannot_be_framed_and_end_with_the_session(house: House) -> None:
    made = await third_party(house)
    await made.visitor.sign_in()
    found = await forms(made)
    for path in (asked(client_id="web"), asked(client_id="web", prompt="select_account"), out()):
        sent = (await made.visitor.get(path)).answer
        policy = sent.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert sent.headers["cache-control"] == "no-store"
    await made.visitor.fill(await made.visitor.get("/account"), "/sign-out")
    await made.visitor.sign_in()
    for name, form in found.items():
        late = await made.visitor.post(form, follow=False)
        assert late.answer.status_code == 403, name
    assert (await made.visitor.get("/account")).path == "/account"
    assert await house.value("SELECT count(*) FROM authorization_code") == 0
    assert await house.value("SELECT count(*) FROM consent") == 0


@pytest.mark.case("K-64")
async def test_nobody_is_signed_in_at_a_portal_as_the_attacker(house: House) -> None:
    """The attacker's own request, or its form, in the victim's browser."""
    made = await third_party(house)
    await made.visitor.sign_in()
    victim = Visitor(await house.a_person())
    await victim.sign_in()
    page = await made.visitor.get(asked(client_id="web", scope="openid"))
    allow = next(form for form in page.forms if form.fields.get("decision") == "allow")
    for answered in (
        await victim.get(allow.action),
        await victim.post(allow, follow=False),
        await victim.post(Form(allow.action, "post", {"decision": "allow"}), follow=False),
    ):
        assert answered.answer.status_code in (400, 403)
        assert "dwc_" not in answered.answer.text
    assert "code" in answer(await made.visitor.post(allow))


@pytest.mark.case("K-65")
async def test_no_link_of_another_site_signs_anybody_out(house: House) -> None:
    made = await doors(house)
    secret = await client_flow.create(house.world, replace(WEB, id="other"))
    assert secret is not None
    stranger = Doors(house, Visitor(await house.a_person()), made.secret)
    await stranger.visitor.sign_in()
    theirs = (await stranger.buy())["id_token"]
    own = made.tokens["id_token"]
    for parameters in (
        {},
        {"client_id": "web"},
        {"client_id": "web", "post_logout_redirect_uri": AFTER},
        {"client_id": "unknown"},
        {"logout_hint": made.visitor.person.email},
        {"state": "x"},
        {"id_token_hint": theirs},
        {"id_token_hint": theirs, "post_logout_redirect_uri": AFTER},
        {"id_token_hint": theirs, "client_id": "web"},
    ):
        page = await made.visitor.get(out(**parameters))
        assert page.answer.status_code == 200, parameters
        form = page.form("/oauth2/logout/confirm")
        assert "id_token_hint" not in form.action, "it proved nobody"
        by_form = await made.visitor.client.post(
            "/oauth2/logout", data=parameters, headers={"origin": "https://evil.example"}
        )
        assert by_form.status_code == 303
        assert urlsplit(by_form.headers["location"]).path == "/oauth2/logout"
        head = await made.visitor.client.head(out(**parameters))
        assert head.status_code == 405, "it answers once"
    refused: tuple[dict[str, Any], ...] = (
        {"id_token_hint": own, "client_id": "other"},
        {"id_token_hint": own, "client_id": "other", "post_logout_redirect_uri": AFTER},
        {"id_token_hint": [own, own]},
        {"id_token_hint": own, "client_id": ["web", "web"]},
        {"id_token_hint": made.tokens["access_token"]},
        {"id_token_hint": "x"},
        {"post_logout_redirect_uri": AFTER},
        {"client_id": "unknown", "post_logout_redirect_uri": AFTER},
    )
    for wrong in refused:
        page_alone(await made.visitor.client.get(out(**wrong)), wrong)
    assert await house.value("SELECT count(*) FROM session WHERE ended_at IS NOT NULL") == 0
    assert await made.me(made.tokens["access_token"])


@pytest.mark.case("K-65")
async def test_a_logout_ends_at_the_clients_own_address_or_at_ours(house: House) -> None:
    made = await doors(house)
    own = made.tokens["id_token"]
    for uri in (
        EVIL,
        f"{AFTER}/",
        f"{AFTER}?x=1",
        f"{AFTER}#x",
        f"{AFTER}\n",
        "https://portal.example@evil.example/signed-out",
        "https://PORTAL.example/signed-out",
        "http://portal.example/signed-out",
        "https://portal.example/callback",
        "//portal.example/signed-out",
        "/account",
        "javascript:alert(1)",
    ):
        for more in ({"id_token_hint": own}, {"client_id": "web"}, {}):
            page_alone(await made.visitor.client.get(out(post_logout_redirect_uri=uri, **more)), uri)
    page = await made.visitor.get(out(client_id="web", post_logout_redirect_uri=AFTER))
    form = page.form("/oauth2/logout/confirm")
    forged = replace(
        form,
        action="/oauth2/logout/confirm?" + urlencode({"post_logout_redirect_uri": EVIL, "client_id": "web"}),
    )
    assert (await made.visitor.post(forged, follow=False)).answer.status_code == 400, "judged again"
    assert await house.value("SELECT count(*) FROM session WHERE ended_at IS NOT NULL") == 0
    state = "s&x=1\r\nX: y\"'<>é"
    sent = await made.visitor.client.get(out(id_token_hint=own, post_logout_redirect_uri=AFTER, state=state))
    url = urlsplit(sent.headers["location"])
    assert (sent.status_code, f"{url.scheme}://{url.netloc}{url.path}") == (303, AFTER)
    assert parse_qs(url.query) == {"state": [state]}
    await client_flow.disable(house.world, "web")
    page_alone(
        await made.visitor.client.get(out(id_token_hint=own, post_logout_redirect_uri=AFTER)), "disabled"
    )
    assert (await made.visitor.client.get("/signed-out?address=" + EVIL)).text.count("evil.example") == 0


#: Ways to end what a portal holds, and whether the browser's own session ends with it.
WAYS = {"by the portal": True, "by the person": True, "by our page": True, "revocation": False}


@pytest.mark.case("K-66")
@pytest.mark.parametrize("way", WAYS)
async def test_after_the_end_nothing_from_before_it_works(house: House, way: str) -> None:
    made = await doors(house)
    tokens = dict(made.tokens)
    cookies = dict(made.visitor.cookies)
    house.clock.advance(10)
    unused = await made.code()
    waiting = await made.visitor.get(asked(client_id="web", prompt="select_account"))
    if way == "by the portal":
        await made.visitor.get(out(id_token_hint=tokens["id_token"]))
    elif way == "by the person":
        page = await made.visitor.get(out(client_id="web"))
        await made.visitor.fill(page, "/oauth2/logout/confirm")
    elif way == "by our page":
        await made.visitor.fill(await made.visitor.get("/account"), "/sign-out")
    else:
        await made.post("/oauth2/revoke", token=tokens["refresh_token"])
    assert not await made.me(tokens["access_token"])
    assert not await made.userinfo(tokens["access_token"])
    assert not await made.introspect(tokens["access_token"])
    assert not await made.introspect(tokens["refresh_token"])
    assert not await made.refresh(tokens["refresh_token"])
    if WAYS[way]:
        assert (await made.exchange(unused)).json()["error"] == "invalid_grant"
        async with httpx.AsyncClient(transport=made.visitor.client._transport, base_url=ORIGIN) as thief:
            header = "; ".join(f"{name}={value}" for name, value in cookies.items())
            stolen = await thief.get("/account", headers={"cookie": header})
            assert (stolen.status_code, stolen.headers["location"]) == (303, "/sign-in")
            silent = await thief.get(asked(client_id="web", prompt="none"), headers={"cookie": header})
            assert answer(Page(silent))["error"] == "login_required"
            stay = next(form for form in waiting.forms if form.fields.get("decision") == "stay")
            late = await thief.post(stay.action, data=stay.fields, headers=OWN | {"cookie": header})
            assert late.status_code in (303, 403)
            assert "code=" not in late.headers.get("location", "")
        (living,) = await house.rows("SELECT end_reason FROM session")
        assert living["end_reason"] == "signed_out"
    else:
        assert (await made.visitor.get("/account")).path == "/account"
        assert (await made.exchange(unused)).status_code == 200, "another grant, which nobody gave back"
    await check(house)


@pytest.mark.case("K-66")
async def test_a_logout_among_many_refreshes_leaves_none_of_them_alive(house: House) -> None:
    for _ in range(3):
        made = await _again(house)
        tokens = dict(made.tokens)
        code = await made.code()

        async def leave(made: Doors = made, hint: str = tokens["id_token"]) -> httpx.Response:
            await asyncio.sleep(0.004)
            return await made.visitor.client.get(out(id_token_hint=hint))

        raced = await asyncio.gather(
            leave(),
            *(
                made.post("/oauth2/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"])
                for _ in range(16)
            ),
            *(made.exchange(code) for _ in range(8)),
            *(made.visitor.client.get(asked(client_id="web", prompt="none")) for _ in range(8)),
        )
        assert raced[0].status_code == 303
        issued = [one.json() for one in raced[1:25] if one.status_code == 200]
        for one in issued:
            assert not await made.me(one["access_token"])
            assert not await made.refresh(one["refresh_token"])
        for one in raced[25:]:
            if "code=" in one.headers.get("location", ""):
                late = parse_qs(urlsplit(one.headers["location"]).query)["code"][0]
                assert (await made.exchange(late)).json()["error"] == "invalid_grant"
        assert await house.value("SELECT count(*) FROM refresh_family WHERE ended_at IS NULL") == 0
        await check(house, raced[1:25])


async def _again(house: House) -> Doors:
    """Another person at the client, which is registered once and given a new secret."""
    if await house.value("SELECT count(*) FROM client") == 0:
        return await doors(house)
    secret = await client_flow.rotate_secret(house.world, "web", 0)
    made = Doors(house, Visitor(await house.a_person()), secret)
    await made.visitor.sign_in()
    await made.buy()
    return made


@pytest.mark.case("K-66")
async def test_only_a_grant_for_when_nobody_is_there_outlives_the_logout(house: House) -> None:
    made = await third_party(house)
    await made.visitor.sign_in()
    page = await made.visitor.get(asked(client_id="web", scope="openid email offline_access"))
    page = await made.visitor.post(next(f for f in page.forms if f.fields.get("decision") == "allow"))
    offline = (await made.exchange(answer(page)["code"])).json()
    await made.visitor.get(out(id_token_hint=offline["id_token"]))
    renewed = await made.post(
        "/oauth2/token", grant_type="refresh_token", refresh_token=offline["refresh_token"]
    )
    assert renewed.status_code == 200, "it lives on by design"
    assert await made.userinfo(renewed.json()["access_token"])
    settings = await made.bearer("/v1/me", renewed.json()["access_token"])
    assert settings.status_code == 403, "and opens nothing of the person's settings"
    silent = answer(await made.visitor.get(asked(client_id="web", prompt="none")))
    assert silent["error"] == "login_required", "nor a new code"
    own = await made.visitor.person.sign_in()
    ended = await made.visitor.person.post("/v1/me/sessions/end-others", None, bearer=own["access_token"])
    assert ended.status_code in (200, 204), ended.text
    assert not await made.refresh(renewed.json()["refresh_token"])
