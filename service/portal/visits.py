"""Who is signed in at the portal, and the sign-ins under way."""

import asyncio
import hashlib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from service.clock import Clock
from service.entropy import Entropy
from service.portal.provider import LOGOUT_TOKEN, Provider, Refused, b64, told

V = TypeVar("V")

#: How many sessions, sign-ins under way and used tokens are remembered; the oldest goes first.
_MOST = 1000
_SESSION, SIGN_IN = timedelta(hours=8), timedelta(minutes=10)
_EVENT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in under way: whose browser began it, and what its answer must fit."""

    browser: str
    verifier: str
    nonce: str
    until: datetime


@dataclass(slots=True)
class Visit:
    """A session of this portal. `over` is why it ended, until the person has read it."""

    claims: Mapping[str, Any]
    person: Mapping[str, Any]
    tokens: Mapping[str, str]
    access_ends: datetime
    until: datetime
    csrf: str
    refreshed: int = 0
    over: str | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def end(self, why: str) -> None:
        self.over, self.tokens, self.person = self.over or why, {}, {}


class Portal:
    """Who is signed in here, and the sign-ins under way. `acr_values` is what it asks every sign-in to prove,
    where it asks."""

    def __init__(self, provider: Provider, url: str, clock: Clock, acr_values: str = "") -> None:
        self.provider, self.url, self.clock, self.acr_values = provider, url, clock, acr_values
        # Browsers share cookies among the ports of a host: the name must be this portal's alone.
        self.cookie = f"demo-portal-{urlsplit(url).port}"
        self.pending: dict[str, Pending] = {}
        self.visits: dict[str, Visit] = {}
        #: The logout tokens that were used, and the provider's sessions that ended.
        self.used: dict[str, bool] = {}
        self.ended: dict[str, bool] = {}

    async def begin(self, browser: str, ui_locales: str | None = None) -> str:
        """The address that a sign-in begins at (Core §3.1.2.1), with PKCE (RFC 7636); in the languages of
        whoever comes, where they are known."""
        endpoint = (await self.provider.metadata())["authorization_endpoint"]
        state, verifier, nonce = random_name(), random_name(), random_name()
        _keep(self.pending, state, Pending(browser, verifier, nonce, self.clock.now() + SIGN_IN))
        asked = {
            "client_id": self.provider.client_id,
            "redirect_uri": self.url + "/callback",
            "response_type": "code",
            "scope": "openid profile email",
            "state": state,
            "nonce": nonce,
            "code_challenge": b64(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        wished = {"acr_values": self.acr_values, "ui_locales": ui_locales}
        asked |= {name: value for name, value in wished.items() if value}
        return f"{endpoint}?{urlencode(asked)}"

    async def finish(self, browser: str | None, answer: Mapping[str, str]) -> str:
        """Take the provider's answer: the name of the new session. An answer is used once, by the browser
        that began; of another's it would sign a person in as somebody else."""
        pending = self.pending.get(answer.get("state", ""))
        if pending is None or pending.browser != browser or pending.until < self.clock.now():
            raise Refused(
                "Not a sign-in of yours", "This answer fits no sign-in that this browser began here."
            )
        del self.pending[answer["state"]]
        metadata, issuer = await self.provider.metadata(), self.provider.issuer
        promised = metadata.get("authorization_response_iss_parameter_supported")
        if answer.get("iss", None if promised else issuer) != issuer:
            # The answer of another provider, which would get our code and verifier (RFC 9207 §2.4).
            raise Refused("Not the issuer", "This answer comes from another provider than was asked (iss).")
        if "error" in answer or "code" not in answer:
            raise Refused("Doorward did not sign you in", told(answer))
        issued = await self.provider.tokens(
            grant_type="authorization_code",
            code=answer["code"],
            redirect_uri=self.url + "/callback",
            code_verifier=pending.verifier,
        )
        claims = await self.provider.identity(issued, pending.nonce)
        person = await self.provider.userinfo(issued["access_token"], claims["sub"])
        if claims.get("sid") in self.ended:
            raise Refused("Signed out meanwhile", "The session at Doorward ended while you were on your way.")
        name, now = random_name(), self.clock.now()
        visit = Visit(claims, person, _tokens(issued), self._ends(issued), now + _SESSION, random_name())
        _keep(self.visits, name, visit)
        return name

    def visit(self, name: str | None) -> Visit | None:
        found = self.visits.get(name or "")
        if found and found.until < self.clock.now():
            found.end("The portal's own session reached its longest life.")
        return found

    async def refresh(self, visit: Visit) -> None:
        """New tokens for the refresh token. What the provider refuses ends the session here as well. One
        after the other: a refresh token that is used twice looks like a thief's."""
        async with visit.turn:
            if visit.over:
                return
            try:
                issued = await self.provider.tokens(
                    grant_type="refresh_token", refresh_token=visit.tokens.get("refresh_token", "")
                )
                claims = await self.provider.identity(issued, None)
                if (claims["sub"], claims.get("sid")) != (visit.claims["sub"], visit.claims.get("sid")):
                    raise Refused("Another person", "The new ID token is of another session.")
                # It may have ended while we asked. The new tokens are kept at once: the old ones are spent.
                if not visit.over:
                    visit.claims, visit.tokens = claims, {**visit.tokens, **_tokens(issued)}
                    visit.access_ends, visit.refreshed = self._ends(issued), visit.refreshed + 1
                    person = await self.provider.userinfo(issued["access_token"], claims["sub"])
                    visit.person = visit.person if visit.over else person
            except Refused as fault:
                if fault.status >= 500:
                    raise
                visit.end(f"Refreshing failed. {fault.text}")

    async def farewell(self, hint: str, state: str) -> str:
        """Where "sign out everywhere" goes on (RP-Initiated Logout 1.0 §2)."""
        back = self.url + "/signed-out"
        endpoint = (await self.provider.metadata()).get("end_session_endpoint")
        asked = {"id_token_hint": hint, "post_logout_redirect_uri": back, "state": state}
        return f"{endpoint}?{urlencode(asked)}" if endpoint else f"{back}?{urlencode({'state': state})}"

    async def hear(self, token: str) -> None:
        """End the sessions that a logout token names (Back-Channel Logout 1.0 §2.6)."""
        claims = await self.provider.claims(token, LOGOUT_TOKEN)
        sid, sub, jti, events = (claims.get(name) for name in ("sid", "sub", "jti", "events"))
        if not isinstance(events, dict) or not isinstance(events.get(_EVENT), dict):
            raise Refused("Not a logout token", "The token tells of no logout (events).")
        if "nonce" in claims:
            raise Refused("Not a logout token", "A logout token must not have a nonce: this is an ID token.")
        if not isinstance(jti, str) or jti in self.used:
            raise Refused("Used", "The token has no jti, or one that was used before.")
        named = [one for one in (sid, sub) if one is not None]
        if not named or not all(isinstance(one, str) for one in named):
            raise Refused("Nobody", "The token names neither a session nor a person (sid, sub).")
        _keep(self.used, jti, True)
        if sid is not None:
            # Of a sign-in on its way as well, whose tokens we do not have yet.
            _keep(self.ended, sid, True)
        for visit in self.visits.values():
            said = visit.claims
            if (sid is None or said.get("sid") == sid) and (sub is None or said["sub"] == sub):
                visit.end("You signed out at Doorward, or your session there ended.")

    def _ends(self, issued: Mapping[str, Any]) -> datetime:
        return self.clock.now() + timedelta(seconds=int(issued.get("expires_in", 0)))


def _tokens(issued: Mapping[str, Any]) -> dict[str, str]:
    return {name: issued[name] for name in ("access_token", "id_token", "refresh_token") if name in issued}


def _keep(store: MutableMapping[str, V], name: str, value: V) -> None:
    while len(store) >= _MOST:
        del store[next(iter(store))]
    store[name] = value


def random_name() -> str:
    return b64(Entropy().token(32))
