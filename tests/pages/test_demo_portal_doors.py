"""The example portal at its doors: what it takes from Doorward, from browsers and from strangers."""

import asyncio
import hmac
import json
import re
from collections.abc import Mapping
from html import unescape
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from litestar import Litestar

from service.commands.dev import _portal as registered
from service.flows import keys as key_flow
from service.portal import app as portal_app
from service.portal import visits
from service.portal.provider import Refused, b64
from tests.builders import House
from tests.pages.visitor import Page, Visitor

PORTAL = "http://127.0.0.1:8401"
EVENT = "http://schemas.openid.net/event/backchannel-logout"


class Guest:
    """A person's browser at the portal and at Doorward, which share no cookie."""

    def __init__(self, house: House, app: Litestar, visitor: Visitor) -> None:
        self.house, self.visitor = house, visitor
        self.memory: visits.Portal = app.state.portal
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        self.client = httpx.AsyncClient(transport=transport, base_url=PORTAL)

    async def page(self, path: str = "/") -> Page:
        return Page(await self.client.get(path))

    async def asked(self) -> str:
        """Where "Sign in with Doorward" leads."""
        answer = await self.client.get("/sign-in")
        assert answer.status_code == 303
        return answer.headers["location"]

    async def answer(self) -> dict[str, str]:
        """What Doorward says of this person, once they have signed in there."""
        page = await self.visitor.get(await self.asked())
        if page.path == "/sign-in":
            ada = self.visitor.person
            page = await self.visitor.fill(page, "/sign-in", username=ada.email, password=ada.password)
        (address,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', page.answer.text)
        return {name: values[0] for name, values in parse_qs(urlsplit(unescape(address)).query).items()}

    async def back(self, answer: Mapping[str, str]) -> httpx.Response:
        return await self.client.get("/callback?" + urlencode(answer))

    async def sign_in(self) -> visits.Visit:
        answer = await self.back(await self.answer())
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
        return self.memory.visits[self.client.cookies["demo-portal-8401"]]

    async def post(self, path: str, **fields: str) -> httpx.Response:
        return await self.client.post(path, data=fields)

    def logout_token(self, visit: visits.Visit, typ: str = "logout+jwt", **changes: Any) -> str:
        """A logout token of Doorward's own key; a change to None leaves the claim out."""
        now = self.house.clock.now()
        good = {
            "iss": self.memory.provider.issuer,
            "aud": "doorward-demo",
            "iat": int(now.timestamp()),
            "exp": int(now.timestamp()) + 120,
            "jti": self.house.world.entropy.token(16).hex(),
            "sid": visit.claims["sid"],
            "sub": visit.claims["sub"],
            "events": {EVENT: {}},
        }
        told = {name: value for name, value in (good | changes).items() if value is not None}
        return self.house.world.keyring.sign(told, typ, now, "RS256")

    async def hear(self, token: str) -> httpx.Response:
        return await self.post("/backchannel-logout", logout_token=token)


@pytest.fixture
async def portal(house: House, monkeypatch: pytest.MonkeyPatch) -> Litestar:
    """As `doorward dev` registers it, on the house's clock and its doors."""
    make = portal_app.create

    def in_the_house(issuer: str, client_id: str, secret: str, url: str) -> Litestar:
        http = httpx.AsyncClient(transport=house.client._transport)
        return make(issuer, client_id, secret, url, clock=house.clock, http=http)

    monkeypatch.setattr(portal_app, "create", in_the_house)
    return cast(Litestar, await registered(house.world, 8401))


@pytest.fixture
async def ada(house: House, portal: Litestar) -> Guest:
    return Guest(house, portal, Visitor(await house.a_person()))


@pytest.fixture
async def eve(house: House, portal: Litestar) -> Guest:
    return Guest(house, portal, Visitor(await house.a_person()))


async def test_it_tells_who_is_signed_in_refreshes_and_forgets(ada: Guest) -> None:
    assert "Sign in with Doorward" in (await ada.page()).text
    visit = await ada.sign_in()
    page = await ada.page()
    for told in (ada.visitor.person.email, "password", "one factor", visit.claims["sid"], "at_hash"):
        assert told in page.text
    seen = [dict(visit.tokens)]
    for times in (1, 2):
        ada.house.clock.advance(30)
        assert (await ada.post("/refresh", csrf_token=visit.csrf)).status_code == 303
        assert visit.refreshed == times
        assert all(visit.tokens[name] != one[name] for one in seen for name in one), "each of them is new"
        seen.append(dict(visit.tokens))
    assert "2 times" in (await ada.page()).text
    hint = visit.tokens["id_token"]
    gone = await ada.post("/sign-out", csrf_token=visit.csrf)
    assert gone.status_code == 303
    assert not ada.memory.visits, "here first"
    assert visit.tokens == {}
    state = parse_qs(urlsplit(gone.headers["location"]).query)["state"][0]
    if (await ada.memory.provider.metadata()).get("end_session_endpoint"):
        asked = parse_qs(urlsplit(gone.headers["location"]).query)
        assert asked["id_token_hint"] == [hint]
        assert asked["post_logout_redirect_uri"] == [f"{PORTAL}/signed-out"]
    assert (await ada.client.get("/signed-out?state=other")).headers["location"] == "/"
    assert "signed out here and at Doorward" in (await ada.page(f"/signed-out?state={state}")).text
    assert (await ada.client.get(f"/signed-out?state={state}")).status_code == 303, "said once"


async def test_every_answer_is_its_own_and_not_kept(ada: Guest) -> None:
    visit = await ada.sign_in()
    answers = [await ada.client.get(path) for path in ("/", "/sign-in", "/callback", "/nowhere")]
    answers += [await ada.post(path) for path in ("/refresh", "/sign-out", "/backchannel-logout", "/")]
    answers.append(await ada.hear(ada.logout_token(visit)))
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store", answer.request.url
        if answer.text.startswith("<!doctype"):
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'nonce-")
            assert "form-action 'self' http://127.0.0.1:8400" in policy
            assert "script" not in answer.text
        for cookie in answer.headers.get_list("set-cookie"):
            assert cookie.startswith("demo-portal-8401")
            assert "HttpOnly" in cookie
            assert "SameSite=lax" in cookie


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": "other"}, "fits no sign-in"),
        ({"state": None}, "fits no sign-in"),
        ({"iss": "https://evil.example"}, "another provider"),
        ({"iss": None}, "another provider"),
        ({"code": None, "error": "access_denied", "error_description": "<b>No.</b>"}, "access_denied (<b>No"),
        ({"code": None}, "no code"),
        ({"code": "dwc_unknown"}, "invalid_grant"),
    ],
)
async def test_an_answer_that_does_not_fit_signs_nobody_in(
    ada: Guest, changes: dict[str, str | None], said: str
) -> None:
    answer = await ada.answer() | changes
    refused = await ada.back({name: value for name, value in answer.items() if value is not None})
    assert refused.status_code == 400
    page = Page(refused)
    assert said in page.text
    assert "Start again" in page.text
    assert ("a", "/sign-in") in [(tag, told.get("href")) for tag, told in page.tags]
    assert not ada.memory.visits


async def test_an_answer_is_used_once_in_time_and_by_the_browser_that_asked(ada: Guest, eve: Guest) -> None:
    answer = await ada.answer()
    await eve.asked()
    assert (await eve.back(answer)).status_code == 400, "somebody else's link signs nobody in as them"
    assert (await ada.back(answer)).status_code == 303
    assert (await ada.back(answer)).status_code == 400
    late = await ada.answer()
    ada.house.clock.advance(601)
    assert (await ada.back(late)).status_code == 400
    doubled = await ada.answer()
    twice = urlencode([*doubled.items(), ("state", doubled["state"])])
    assert "stands twice" in (await ada.page(f"/callback?{twice}")).text


async def test_the_id_token_must_be_of_this_sign_in(ada: Guest) -> None:
    answer = await ada.answer()
    pending = ada.memory.pending[answer["state"]]
    ada.memory.pending[answer["state"]] = visits.Pending(
        pending.browser, pending.verifier, "other", pending.until
    )
    assert "(nonce)" in Page(await ada.back(answer)).text
    visit = await ada.sign_in()
    provider = ada.memory.provider
    tokens = {"token_type": "Bearer", **visit.tokens}
    assert (await provider.identity(tokens, None))["sub"] == visit.claims["sub"]
    for changes, said in (
        ({"access_token": "other"}, "at_hash"),
        ({"id_token": ada.logout_token(visit)}, "typ"),
        ({"id_token": ada.logout_token(visit, "JWT")}, "at_hash"),
        ({"id_token": visit.tokens["access_token"]}, "typ"),
    ):
        with pytest.raises(Refused) as refused:
            await provider.identity(tokens | changes, None)
        assert f"({said})" in str(refused.value)
    with pytest.raises(Refused, match="somebody else"):
        await provider.userinfo(visit.tokens["access_token"], "another")


async def test_metadata_of_another_issuer_is_not_believed(ada: Guest) -> None:
    ada.memory.provider.issuer = "http://127.0.0.1:8400/"
    refused = await ada.client.get("/sign-in")
    assert (refused.status_code, "another issuer" in refused.text) == (502, True)


async def test_new_keys_are_read_when_a_token_names_one(ada: Guest) -> None:
    visit = await ada.sign_in()
    await key_flow.rotate(ada.house.world, "RS256")
    ada.house.clock.advance(3600)
    await ada.house.world.refresh()
    token = ada.logout_token(visit)
    old = ada.memory.provider._keys
    assert (await ada.hear(token)).status_code == 200
    assert ada.memory.provider._keys is not old, "read once more"
    new = ada.memory.provider._keys
    unknown = jwt.encode(
        {"alg": "RS256", "kid": "unknown", "typ": "logout+jwt"}, {}, RSAKey.generate_key(2048)
    )
    ada.house.clock.advance(1)
    assert (await ada.hear(unknown)).status_code == 400
    assert ada.memory.provider._keys is new, "strangers cannot make it ask all the time"


async def test_a_logout_token_ends_that_session_once(ada: Guest, eve: Guest) -> None:
    visit, other = await ada.sign_in(), await eve.sign_in()
    token = ada.logout_token(visit)
    heard = await ada.hear(token)
    assert (heard.status_code, heard.text) == (200, "")
    assert other.over is None
    assert "jti" in (await ada.hear(token)).json()["error_description"], "not a second time"
    assert (await ada.post("/refresh", csrf_token=visit.csrf)).status_code == 403
    assert (await ada.post("/sign-out", csrf_token=visit.csrf)).status_code == 403
    page = await ada.page()
    assert "session there ended" in page.text
    assert ada.visitor.person.email not in page.text
    assert "session there ended" not in (await ada.page()).text, "said once"
    assert (await ada.hear(ada.logout_token(other, sid=None))).status_code == 200
    assert other.over, "a token of the person alone ends all of theirs"


async def test_a_logout_overtakes_a_sign_in_on_its_way(ada: Guest) -> None:
    visit = await ada.sign_in()
    answer = await ada.answer()
    assert (await ada.hear(ada.logout_token(visit))).status_code == 200
    assert "ended while you were on your way" in Page(await ada.back(answer)).text


@pytest.mark.parametrize(
    "changes",
    [
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "other"},
        {"aud": ["doorward-demo", "other"]},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"iat": 4102444800},
        {"iat": None},
        {"events": None},
        {"events": [EVENT]},
        {"events": {"https://other.example": {}}},
        {"events": {EVENT: True}},
        {"nonce": "n"},
        {"nonce": ""},
        {"jti": None},
        {"jti": 7},
        {"sid": None, "sub": None},
        {"sid": 7},
        {"sub": ["x"]},
    ],
    ids=str,
)
async def test_a_logout_token_that_is_none_ends_nothing(ada: Guest, changes: dict[str, Any]) -> None:
    visit = await ada.sign_in()
    refused = await ada.hear(ada.logout_token(visit, **changes))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request"), refused.text
    assert refused.json()["error_description"]
    assert visit.over is None


async def test_a_forged_logout_token_ends_nothing(ada: Guest) -> None:
    visit = await ada.sign_in()
    good = ada.logout_token(visit)
    found = jwt.decode(good, ada.memory.provider._keys, algorithms=["RS256"])
    head, body, signature = good.split(".")
    public = next(key for key in ada.memory.provider._keys.keys if key.kid == found.header["kid"])
    assert isinstance(public, RSAKey)
    confused = b64(json.dumps(found.header | {"alg": "HS256"}).encode()) + f".{body}"
    mac = hmac.digest(public.as_pem(private=False), confused.encode(), "sha256")
    forged = [
        jwt.encode(found.header, found.claims, RSAKey.generate_key(2048)),
        f"{confused}.{b64(mac)}",
        b64(json.dumps(found.header | {"alg": "none"}).encode()) + f".{body}.",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body[:-2]}AA.{signature}",
        ada.house.world.keyring.sign(found.claims, "logout+jwt", ada.house.clock.now(), "ES256"),
        visit.tokens["id_token"],
        "W10.e30.x",
        "ü",
        "",
    ]
    for token in forged:
        refused = await ada.hear(token)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request"), token
    assert (await ada.post("/backchannel-logout")).status_code == 400
    assert visit.over is None
    assert (await ada.hear(good)).status_code == 200, "and the token itself is still good"


@pytest.mark.parametrize("path", ["/refresh", "/sign-out"])
async def test_forms_of_others_do_nothing(ada: Guest, eve: Guest, path: str) -> None:
    visit, other = await ada.sign_in(), await eve.sign_in()
    for token in ({}, {"csrf_token": ""}, {"csrf_token": "ü"}, {"csrf_token": other.csrf}):
        refused = await ada.post(path, **token)
        assert (refused.status_code, "did not come from" in refused.text) == (403, True)
    assert (await ada.client.get(path)).status_code == 405
    ada.client.cookies.clear()
    assert (await ada.post(path, csrf_token=visit.csrf)).status_code == 403
    assert (visit.over, visit.refreshed, len(ada.memory.visits)) == (None, 0, 2)


async def test_two_clicks_at_once_are_no_accident(ada: Guest) -> None:
    visit, sent = await ada.sign_in(), list[str]()

    async def look(request: httpx.Request) -> None:
        sent.extend(parse_qs(request.content.decode()).get("refresh_token", []))

    ada.memory.provider.http.event_hooks = {"request": [look]}
    await asyncio.gather(*(ada.post("/refresh", csrf_token=visit.csrf) for _ in range(3)))
    assert (visit.over, visit.refreshed) == (None, 3)
    assert len(set(sent)) == len(sent) == 3, "one after the other: no token went out twice"
    gone = await asyncio.gather(*(ada.post("/sign-out", csrf_token=visit.csrf) for _ in range(3)))
    assert sorted(answer.status_code for answer in gone) == [303, 403, 403]


async def test_a_refresh_that_is_refused_signs_out_and_says_why(ada: Guest) -> None:
    visit = await ada.sign_in()
    await ada.house.rows(
        "UPDATE refresh_family SET ended_at = created_at, end_reason = 'admin'"
        " WHERE client_id = 'doorward-demo'"
    )
    assert (await ada.post("/refresh", csrf_token=visit.csrf)).status_code == 303
    page = await ada.page()
    assert "Refreshing failed. Doorward says: invalid_grant" in page.text
    assert ada.visitor.person.email not in page.text


async def test_a_provider_that_is_away_costs_nobody_their_session(ada: Guest) -> None:
    visit = await ada.sign_in()

    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("away", request=request)

    def busy(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, json={"error": "temporarily_unavailable"})

    here = ada.memory.provider.http
    for fault in (away, busy):
        ada.memory.provider.http = httpx.AsyncClient(transport=httpx.MockTransport(fault))
        assert (await ada.post("/refresh", csrf_token=visit.csrf)).status_code == 502
        assert visit.over is None
    ada.memory.provider.http = here
    await ada.post("/refresh", csrf_token=visit.csrf)
    assert visit.refreshed == 1


async def test_sessions_end_and_are_bounded(ada: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    await ada.sign_in()
    ada.house.clock.advance(8 * 3600 + 1)
    assert "longest life" in (await ada.page()).text
    monkeypatch.setattr(visits, "_MOST", 3)
    asked = [await ada.asked() for _ in range(5)]
    assert [parse_qs(urlsplit(one).query)["state"][0] for one in asked[2:]] == list(ada.memory.pending)
