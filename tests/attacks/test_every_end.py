"""Every end of a session, a grant, a person and a client, seen from every door at once."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from html import unescape
from typing import Any

import httpx
import pytest

from service.flows import accounts as account_flow
from service.flows import clients as client_flow
from service.flows import janitor
from tests.builders import House
from tests.pages.portal import CALLBACK, LEAVING, VERIFIER, answer, asked, exchange
from tests.pages.visitor import Page, Visitor

CLIENT = replace(
    LEAVING,
    token_endpoint_auth_method="client_secret_post",
    scopes=("openid", "email", "account", "offline_access"),
)


class Portal:
    """A confidential portal, and every door that its tokens could open."""

    def __init__(self, house: House, secret: str) -> None:
        self.house, self.secret = house, secret

    async def post(self, path: str, **fields: str) -> httpx.Response:
        body = {"client_id": "portal", "client_secret": self.secret} | fields
        return await self.house.client.post(path, data=body)

    async def buy(self, code: str) -> httpx.Response:
        return await self.post(
            "/oauth2/token",
            grant_type="authorization_code",
            code=code,
            redirect_uri=CALLBACK,
            code_verifier=VERIFIER,
        )

    async def refresh(self, token: str) -> httpx.Response:
        return await self.post("/oauth2/token", grant_type="refresh_token", refresh_token=token)

    async def doors(self, tokens: dict[str, Any], refresh: bool = True) -> dict[str, bool]:
        """Which of them open: userinfo, introspection of both tokens, and the refresh itself; with
        the scope for it, one's own account."""
        bearer = {"authorization": f"Bearer {tokens['access_token']}"}
        told = {"userinfo": await self.opens("/oauth2/userinfo", bearer)}
        if "account" in tokens["scope"].split():
            told["account"] = await self.opens("/v1/me", bearer)
        for kind in ("access_token", "refresh_token"):
            told[kind] = (
                (await self.post("/oauth2/introspect", token=tokens[kind])).json().get("active", False)
            )
        if refresh:
            told["refresh"] = (await self.refresh(tokens["refresh_token"])).status_code == 200
        return told

    async def opens(self, path: str, bearer: dict[str, str]) -> bool:
        return (await self.house.client.get(path, headers=bearer)).status_code == 200


async def code_of(visitor: Visitor, **changes: str) -> str:
    page = await visitor.get(asked(**changes))
    if page.path == "/sign-in":
        page = await visitor.post(
            page.form("/sign-in"), username=visitor.person.email, password=visitor.person.password
        )
    return answer(page)["code"]


@dataclass
class Case:
    """A portal's grant, the browser it was got in, and another browser of the same person."""

    house: House
    portal: Portal
    here: Visitor
    elsewhere: Visitor
    code: str
    tokens: dict[str, Any]

    async def sign_out(self) -> None:
        await self.here.fill(await self.here.get("/account"), "/sign-out")

    async def sign_out_by_portal(self) -> None:
        await self.here.get("/oauth2/logout?id_token_hint=" + self.tokens["id_token"])

    async def end_from_elsewhere(self) -> None:
        page = await self.elsewhere.get("/account")
        for form in page.forms:
            if re.fullmatch(r"/account/sessions/[0-9a-f-]{36}/end", form.action):
                await self.elsewhere.post(form)

    async def end_others(self) -> None:
        await self.elsewhere.fill(await self.elsewhere.get("/account"), "/account/sessions/end-others")

    async def change_password(self) -> None:
        page, password = await self.elsewhere.get("/account"), self.here.person.password
        new = "test-value three four"
        await self.elsewhere.fill(page, "/account/password", current_password=password, new_password=new)

    async def turn_2fa_on(self) -> None:
        await enable(self.elsewhere)

    async def disable(self) -> None:
        await account_flow.disable(self.house.world, self.here.person.email)
        await account_flow.enable(self.house.world, self.here.person.email)

    async def end_by_administrator(self) -> None:
        await account_flow.end_sessions(self.house.world, self.here.person.email)

    async def steal(self) -> None:
        stolen = self.tokens["refresh_token"]
        self.tokens = (await self.portal.refresh(stolen)).json()
        self.house.clock.advance(20)
        await self.portal.refresh(stolen)

    async def revoke_refresh(self) -> None:
        await self.portal.post("/oauth2/revoke", token=self.tokens["refresh_token"])

    async def revoke_access(self) -> None:
        await self.portal.post("/oauth2/revoke", token=self.tokens["access_token"])

    async def reuse_code(self) -> None:
        await self.portal.buy(self.code)

    async def take_back(self) -> None:
        page = await self.elsewhere.get("/account")
        await self.elsewhere.fill(page, "/account/portals/portal/revoke")

    async def disable_client(self) -> None:
        await client_flow.disable(self.house.world, "portal")


#: Ends of a session, of which its portals hear, and ends of one grant.
OF_SESSIONS = (
    Case.sign_out,
    Case.sign_out_by_portal,
    Case.end_from_elsewhere,
    Case.end_others,
    Case.change_password,
    Case.turn_2fa_on,
    Case.disable,
    Case.end_by_administrator,
)
OF_GRANTS = (Case.steal, Case.revoke_refresh, Case.revoke_access, Case.reuse_code, Case.disable_client)


@pytest.mark.case("K-66")
@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("end", [*OF_SESSIONS, *OF_GRANTS], ids=lambda end: end.__name__)
async def test_every_door_agrees_after_every_end(
    house: House, end: Callable[[Case], Awaitable[None]], offline: bool
) -> None:
    portal = Portal(house, await client_flow.create(house.world, CLIENT) or "")
    ada = await house.a_person()
    here, elsewhere = Visitor(ada), Visitor(ada)
    code = await code_of(here, scope="openid email account" + (" offline_access" if offline else ""))
    case = Case(house, portal, here, elsewhere, code, (await portal.buy(code)).json())
    await elsewhere.sign_in()
    assert all((await portal.doors(case.tokens, refresh=False)).values())
    await end(case)
    told = await portal.doors(case.tokens)
    lives = offline and end in (Case.sign_out, Case.sign_out_by_portal)
    assert told == dict.fromkeys(told, lives)
    assert await house.value("SELECT count(*) FROM logout_notice") == (1 if end in OF_SESSIONS else 0)


async def enable(visitor: Visitor) -> Page:
    """Turn the second factor on; the page of the backup codes."""
    page = await visitor.get("/account/two-factor/enable")
    return await set_up(visitor, page)


async def set_up(visitor: Visitor, page: Page) -> Page:
    page = await visitor.post(page.form("/account/two-factor/enable"), name="Phone")
    visitor.person.secret = page.secret
    return await visitor.post(page.form("/account/two-factor/enable/confirm"), code=visitor.person.code())


async def obey(visitor: Visitor, page: Page) -> Page:
    """Do what a page asks for; the page that comes of it."""
    ada = visitor.person
    match page.path:
        case "/sign-in":
            return await visitor.post(page.form(page.path), username=ada.email, password=ada.password)
        case "/sign-in/second-factor":
            return await visitor.post(page.form(page.path), code=ada.code())
        case "/account/reauthentication":
            code = ada.code() if ada.secret else ""
            return await visitor.post(page.form(page.path), password=ada.password, code=code)
        case "/account/two-factor/enable":
            codes = await set_up(visitor, page)
            (onward,) = re.findall(r'href="([^"]+)" data-onward', codes.answer.text)
            return await visitor.get(unescape(onward))
    choice = next(one for one in page.forms if one.fields.get("decision") in ("allow", "stay"))
    return await visitor.post(choice)


@pytest.mark.case("K-62")
@pytest.mark.parametrize("prompt", ["", "login", "select_account", "login select_account consent"])
@pytest.mark.parametrize("acr", ["", "urn:doorward:acr:2fa", "essential"])
@pytest.mark.parametrize("max_age", ["", "0"])
async def test_whoever_does_what_is_asked_arrives(house: House, prompt: str, acr: str, max_age: str) -> None:
    await client_flow.create(house.world, replace(LEAVING, first_party=False))
    wish = {"prompt": prompt, "max_age": max_age, "acr_values": acr}
    if acr == "essential":
        one = {"essential": True, "value": "urn:doorward:acr:1fa"}
        wish |= {"acr_values": "", "claims": json.dumps({"id_token": {"acr": one}})}
    for being in (house.a_person(), house.a_person().with_totp()):
        for signed_in in (False, True):
            visitor = Visitor(await being)
            if signed_in:
                await visitor.sign_in()
                house.clock.advance(31)
            page, steps = await visitor.get(asked(**wish)), 0
            while "http-equiv" not in page.answer.text:
                house.clock.advance(31)
                page, steps = await obey(visitor, page), steps + 1
                assert steps < 9, page.path
            told = answer(page)
            assert "code" in told or (told["error"], acr) == (
                "unmet_authentication_requirements",
                "essential",
            )


@pytest.mark.case("K-69")
@pytest.mark.parametrize("against", [Case.sign_out, Case.disable, Case.end_others, Case.take_back])
async def test_a_race_of_an_end_with_an_exchange_leaves_nothing_that_opens(
    house: House, against: Callable[[Case], Awaitable[None]]
) -> None:
    third = replace(CLIENT, first_party=False, scopes=("openid", "email", "offline_access"))
    portal = Portal(house, await client_flow.create(house.world, third) or "")
    wish = {"scope": "openid email offline_access"}
    for _ in range(6):
        ada = await house.a_person()
        here, elsewhere = Visitor(ada), Visitor(ada)
        await here.sign_in()
        await elsewhere.sign_in()
        page = await here.get(asked(**wish))
        page = await here.post(next(f for f in page.forms if f.fields.get("decision") == "allow"))
        tokens = (await portal.buy(answer(page)["code"])).json()
        code = answer(await here.get(asked(**wish)))["code"]
        case = Case(house, portal, here, elsewhere, code, tokens)
        bought, refreshed, *_ = await asyncio.gather(
            portal.buy(code),
            portal.refresh(tokens["refresh_token"]),
            here.get(asked(**wish, prompt="none")),
            against(case),
        )
        for one in (bought, refreshed):
            assert one.status_code in (200, 400)
            if one.status_code == 200 and against is not Case.sign_out:
                told = await portal.doors(one.json())
                assert not any(told.values()), (told, one is bought)


async def test_two_janitors_share_the_work(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    now = house.clock.now() - timedelta(days=2)
    for _ in range(3):
        await house.rows(
            "INSERT INTO authorization_request"
            " (digest, browser, client_id, redirect_uri, parameters, created_at, expires_at)"
            " SELECT sha256(int4send(n)), '', 'portal', '', '{}', $1, $1"
            " FROM generate_series(1, 6000) n RETURNING 1",
            now,
        )
        swept = await asyncio.gather(*(janitor.tidy(house.world) for _ in range(4)))
        assert sum(swept) == 6000
        assert await house.value("SELECT count(*) FROM authorization_request") == 0, swept


async def test_a_portal_hears_of_a_session_that_was_left_alone(house: House) -> None:
    await client_flow.create(house.world, replace(LEAVING, token_endpoint_auth_method="none"))
    visitor = Visitor(await house.a_person())
    assert (await exchange(house, await code_of(visitor))).status_code == 200
    house.clock.advance(timedelta(days=8).total_seconds())
    await janitor.tidy(house.world)
    assert await house.value("SELECT count(*) FROM logout_notice") == 1
