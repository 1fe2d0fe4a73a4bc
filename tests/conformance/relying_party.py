"""The suite as a relying party: what it asks for, and what it does with what it gets."""

import secrets
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from tests.builders import House
from tests.conformance import checks
from tests.conformance.browser import Browser, Left, ResponseMode
from tests.conformance.checks import IdToken
from tests.pages.visitor import Page
from tests.portals import Portal

#: The claims of each scope, as OpenID Connect Core 1.0 §5.4 has them and the provider can fill them in.
CLAIMS: Mapping[str, frozenset[str]] = {
    "openid": frozenset({"sub"}),
    "profile": frozenset({"name", "locale"}),
    "email": frozenset({"email", "email_verified"}),
    "phone": frozenset({"phone_number", "phone_number_verified"}),
    "address": frozenset({"address"}),
}


@dataclass(frozen=True)
class Party:
    """A client as the suite is configured with it."""

    id: str
    secret: str
    method: str


@dataclass(frozen=True)
class Provider:
    """A running provider under test, and where its clients live. Nothing listens at `callback` or
    `post_logout`: the browser stops there. `listener` is where `told` hears of logouts."""

    issuer: str
    metadata: Mapping[str, Any]
    keys: Mapping[str, Any]
    house: House
    trust: ssl.SSLContext
    first: Party
    second: Party
    by_post: Party
    told: Party
    listener: Portal
    callback: str
    post_logout: str


@dataclass(frozen=True)
class Granted:
    """What one flow led to."""

    party: Party
    asked: Mapping[str, str]
    code: str
    tokens: Mapping[str, Any]
    id_token: IdToken

    @property
    def access_token(self) -> str:
        return str(self.tokens["access_token"])


class Suite:
    """One module's run against a provider, in one response mode."""

    def __init__(self, provider: Provider, mode: ResponseMode, stack: AsyncExitStack) -> None:
        self.provider, self.mode = provider, mode
        self._stack = stack
        self.http: httpx.AsyncClient

    async def browser(self) -> Browser:
        """A browser of a person of this test's own, who has told everything of themselves."""
        person = await self.provider.house.a_person().with_totp()
        await self.provider.house.rows(
            "UPDATE person SET name = 'Ada Lovelace', language = 'en-GB', phone_number = '+44 20 7946 0018',"
            " address = $2 WHERE id = $1",
            person.id,
            '{"street_address": "12 St James\'s Square", "locality": "London", "country": "GB"}',
        )
        made = Browser(self.provider.issuer, person, self.provider.trust)
        await self._stack.enter_async_context(made.client)
        return made

    def request(self, party: Party | None = None, **changes: str | None) -> dict[str, str]:
        """An authorization request with a fresh `state` and `nonce`; None leaves a parameter out."""
        usual: dict[str, str | None] = {
            "client_id": (party or self.provider.first).id,
            "redirect_uri": self.provider.callback,
            "response_type": "code",
            "scope": "openid",
            "state": secrets.token_urlsafe(8),
            "nonce": secrets.token_urlsafe(8),
            "response_mode": None if self.mode == "query" else self.mode,
        }
        return {name: value for name, value in (usual | changes).items() if value is not None}

    def address(self, asked: Mapping[str, str]) -> str:
        return f"{self.provider.metadata['authorization_endpoint']}?{urlencode(asked)}"

    async def authorize(self, browser: Browser, asked: Mapping[str, str]) -> Left:
        """Take the browser from an authorization request back to the redirect URI."""
        return await browser.through(await browser.open(self.address(asked)))

    async def flow(self, browser: Browser, party: Party | None = None, **changes: str | None) -> Granted:
        """A whole code flow, checked at each step."""
        party = party or self.provider.first
        asked = self.request(party, **changes)
        return await self.granted(party, asked, await self.authorize(browser, asked))

    async def silently(self, browser: Browser, **changes: str | None) -> Granted:
        """A whole code flow in which nothing may be shown."""
        asked, before = self.request(None, **changes), len(browser.shown)
        left = await browser.open(self.address(asked))
        assert isinstance(left, Left), left.text
        assert browser.shown[before:] == []
        if asked.get("prompt") == "none":
            self.check_at_once(left)
        return await self.granted(self.provider.first, asked, left)

    async def granted(self, party: Party, asked: Mapping[str, str], left: Left) -> Granted:
        """Exchange what the browser came back with."""
        code = self.code(asked, left)
        return self.issued(party, asked, code, await self.exchange(party, code))

    def code(self, asked: Mapping[str, str], left: Left) -> str:
        """The code of a good answer."""
        self._check_answer(asked, left)
        assert set(left.parameters) <= {"code", "state", "iss"}, left.parameters
        checks.check_secret(left.parameters["code"])
        return left.parameters["code"]

    def check_refusal(self, asked: Mapping[str, str], left: Page | Left, *errors: str) -> None:
        """An answer that says why there is no code, by one of these errors."""
        assert isinstance(left, Left), left.text
        self._check_answer(asked, left)
        assert set(left.parameters) <= {"error", "error_description", "error_uri", "state", "iss"}
        checks.check_error(left.parameters, *errors)

    def check_at_once(self, left: Page | Left) -> None:
        """A redirect takes the browser back, and no page of ours, so that it works in a hidden frame as well;
        a form needs a page."""
        assert isinstance(left, Left), left.text
        assert left.plain == (self.mode == "query")

    async def check_signed_out(self, browser: Browser, granted: Granted) -> None:
        """Nobody is signed in: a request that may show nothing is refused. The suite leaves it at that; here
        the session itself has ended as well, not only the browser's part in it."""
        asked = self.request(prompt="none", state=secrets.token_urlsafe(96))
        left = await browser.open(self.address(asked))
        self.check_refusal(asked, left, "login_required")
        self.check_at_once(left)
        assert (await self.ask_userinfo(granted.access_token)).status_code == 401

    def logout(self, granted: Granted, **changes: str | None) -> str:
        """The address that signs the person out and brings them back, with a fresh `state` of 128 characters;
        None leaves a parameter out."""
        usual: dict[str, str | None] = {
            "id_token_hint": granted.id_token.text,
            "post_logout_redirect_uri": self.provider.post_logout,
            "state": secrets.token_urlsafe(96),
        }
        sent = {name: value for name, value in (usual | changes).items() if value is not None}
        endpoint = self.provider.metadata["end_session_endpoint"]
        return f"{endpoint}?{urlencode(sent)}" if sent else str(endpoint)

    def check_back(self, left: Page | Left, state: str | None) -> None:
        """The browser came back to the registered address, with the state as it was sent and nothing else."""
        assert isinstance(left, Left), left.text
        assert (left.address, left.mode) == (self.provider.post_logout, "query")
        assert left.parameters == ({} if state is None else {"state": state})

    async def check_still_signed_in(self, browser: Browser, granted: Granted) -> None:
        """Whoever was signed in is so by the same sign-in."""
        again = await self.silently(browser, prompt="none")
        checks.check_same_sign_in(granted.id_token, again.id_token)

    async def exchange(self, party: Party, code: str, **changes: str) -> httpx.Response:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.provider.callback,
        } | changes
        return await self.token(party, form)

    async def token(self, party: Party, form: Mapping[str, str]) -> httpx.Response:
        """Ask the token endpoint, by the client's own method."""
        endpoint, sent = self.provider.metadata["token_endpoint"], dict(form)
        if party.method == "client_secret_basic":
            return await self.http.post(endpoint, data=sent, auth=httpx.BasicAuth(party.id, party.secret))
        own = {"client_id": party.id, "client_secret": party.secret}
        return await self.http.post(endpoint, data=sent | own)

    def issued(self, party: Party, asked: Mapping[str, str], code: str, answer: httpx.Response) -> Granted:
        """A good answer of the token endpoint."""
        assert answer.status_code == 200, answer.text
        checks.check_token_headers(answer)
        tokens = answer.json()
        assert tokens["token_type"].lower() == "bearer"
        checks.check_secret(tokens["access_token"])
        assert type(tokens["expires_in"]) is int
        assert 0 < tokens["expires_in"] <= 86_400
        assert set(tokens["scope"].split()) == set(asked["scope"].split())
        id_token = checks.check_id_token(
            tokens["id_token"],
            self.provider.keys,
            issuer=self.provider.issuer,
            client=party.id,
            nonce=asked.get("nonce"),
            access_token=tokens["access_token"],
        )
        return Granted(party, asked, code, tokens, id_token)

    async def check_reuse_refused(self, granted: Granted) -> None:
        """A code that was used is refused, and nothing that it bought is good any longer."""
        again = await self.exchange(granted.party, granted.code)
        assert again.status_code == 400
        checks.check_token_headers(again)
        checks.check_error(again.json(), "invalid_grant")
        refused = await self.ask_userinfo(granted.access_token)
        assert refused.status_code == 401
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]

    async def ask_userinfo(self, access_token: str, method: str = "GET") -> httpx.Response:
        endpoint = self.provider.metadata["userinfo_endpoint"]
        return await self.http.request(method, endpoint, headers={"authorization": f"Bearer {access_token}"})

    async def userinfo(self, granted: Granted) -> Mapping[str, Any]:
        """The claims at the userinfo endpoint: those of the granted scope, of the right types, no others."""
        told = self.told(granted, await self.ask_userinfo(granted.access_token))
        expected = {claim for scope in granted.asked["scope"].split() for claim in CLAIMS[scope]}
        assert told.keys() == expected
        return told

    @staticmethod
    def told(granted: Granted, answer: httpx.Response) -> Mapping[str, Any]:
        """A good answer of the userinfo endpoint (OpenID Connect Core 1.0 §5.3.2)."""
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].partition(";")[0] == "application/json"
        told: Mapping[str, Any] = answer.json()
        assert told["sub"] == granted.id_token.sub
        for name in ("name", "locale", "email", "phone_number"):
            assert name not in told or (type(told[name]) is str and told[name]), name
        for name in ("email_verified", "phone_number_verified"):
            assert type(told.get(name, False)) is bool, name
        address = told.get("address", {})
        assert type(address) is dict
        assert all(type(member) is str for member in address.values())
        return told

    def _check_answer(self, asked: Mapping[str, str], left: Left) -> None:
        """What every answer holds, and how it travels; the issuer by RFC 9207 §2."""
        assert left.address == asked["redirect_uri"]
        assert left.mode == self.mode
        assert left.parameters.get("state") == asked.get("state")
        assert left.parameters["iss"] == self.provider.issuer
