"""The token endpoint answers as Authlib's does, and differs only where this file says so, and why."""

import asyncio
import base64
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as searching

from service.domain.oidc.clients import Client
from service.flows import clients as client_flow
from tests.builders import House
from tests.flows.invariants import check
from tests.oracle.authlib_server import Code, Oracle, Registered
from tests.oracle.requests import CLIENTS, OTHER, STRANGER, Asked, requests, systematic
from tests.pages.portal import CALLBACK, CHALLENGE, VERIFIER, answer, asked
from tests.pages.visitor import Visitor


@dataclass(frozen=True)
class Deviation:
    """Where the two differ on purpose: Authlib's outcome, ours, for which requests, and why."""

    theirs: str
    ours: str
    when: Callable[[Asked, bool], bool]
    why: str


#: The whole of it. `theirs` is "*" where the rule holds whatever they say. The first that fits counts;
#: `when` is asked with the request, and whether it is the second time that it is sent.
DEVIATIONS = (
    Deviation(
        "unsupported_grant_type",
        "method_not_allowed",
        lambda a, _: a.method == "GET",
        "RFC 6749 §3.2: POST only. HTTP has a status for that, which is not one of the grant's errors",
    ),
    Deviation(
        "*",
        "invalid_request",
        lambda a, _: a.twice != "",
        "RFC 6749 §3.2: a parameter must not stand twice; Authlib looks at those of authorization only",
    ),
    Deviation(
        "*",
        "invalid_request",
        lambda a, _: a.authentication == "two ways",
        "RFC 6749 §2.3: one method in a request; Authlib takes the first that fits",
    ),
    Deviation(
        "*",
        "invalid_request",
        lambda a, _: a.authentication == "another client_id" and _basic(a),
        "RFC 6749 §2.3: a header and a client_id that disagree are two ways to say who one is",
    ),
    Deviation(
        "unsupported_grant_type",
        "invalid_client",
        lambda a, _: not _proves(a),
        "RFC 6749 §3.2.1: who asks is proved first, so that nothing is told to a stranger",
    ),
    Deviation(
        "unsupported_grant_type",
        "invalid_request",
        lambda a, _: a.grant in ("", "?"),
        "RFC 6749 §5.2: a required parameter that is missing (§3.2: an empty one is missing) is this error",
    ),
    Deviation(
        "invalid_grant",
        "invalid_request",
        lambda a, _: (a.by_code and a.code == "empty") or (a.by_refresh and a.refresh == "empty"),
        "RFC 6749 §3.2: a parameter without a value is one left out, and a code must not be (§5.2)",
    ),
    Deviation(
        "invalid_request",
        "invalid_grant",
        lambda a, second: (
            _has_code(a) and _challenged(a) and a.verifier in ("missing", "short", "long", "unreserved")
        ),
        "RFC 7636 §4.6: a verifier that does not fit is invalid_grant, however it fails to fit",
    ),
    Deviation(
        "invalid_request",
        "invalid_grant",
        lambda a, _: _has_code(a) and not _challenged(a) and a.verifier != "missing",
        "RFC 9700 §2.1.1: refused, as a verifier that does not fit (§4.8.2)",
    ),
    Deviation(
        "invalid_grant",
        "issued",
        lambda a, second: second and _own_refresh(a),
        "RFC 9700 §4.14.2 leaves to us how a replay is told from a lost answer: ten seconds of grace",
    ),
)


def _has_code(a: Asked) -> bool:
    return a.by_code and a.code not in ("missing", "empty")


def _own_refresh(a: Asked) -> bool:
    return a.by_refresh and a.refresh == "right" and a.authentication != "another client_id"


def _basic(a: Asked) -> bool:
    return a.client.token_endpoint_auth_method == "client_secret_basic"


def _challenged(a: Asked) -> bool:
    """Whether the code was asked for with a challenge; a record may let its client leave it out."""
    return a.challenged or a.client.require_pkce


def _proves(a: Asked) -> bool:
    if a.authentication == "right":
        return True
    if a.authentication == "another client_id":
        return not _basic(a)  # It is that other client then, a public one.
    return a.client.public and a.authentication == "empty"


class Both:
    """The two servers with the same clients, and one person who is signed in at ours."""

    def __init__(self, house: House, visitor: Visitor) -> None:
        self.house, self.visitor, self.oracle = house, visitor, Oracle()
        self.secrets: dict[str, str] = {}
        self.seen: Counter[Deviation] = Counter()
        self.outcomes: Counter[str] = Counter()

    async def register(self, client: Client) -> None:
        secret = await client_flow.create(self.house.world, client)
        self.secrets[client.id] = secret or ""
        self.oracle.clients[client.id] = Registered(
            client.id,
            client.token_endpoint_auth_method,
            secret,
            client.grant_types,
            client.scopes,
            client.redirect_uris,
        )

    async def codes(self, client: Client, challenged: bool) -> tuple[str, str]:
        """A code of each server, for the same request."""
        challenged = challenged or client.require_pkce
        proof = {} if challenged else {"code_challenge": "", "code_challenge_method": ""}
        wanted = {"client_id": client.id, "scope": "openid email", "code_challenge": CHALLENGE} | proof
        ours = answer(await self.visitor.get(asked(**wanted)))["code"]
        challenge = CHALLENGE if challenged else None
        return ours, self.oracle.add_code(Code(client.id, CALLBACK, "openid email", challenge)).code

    def right(self, client: Client, challenged: bool, code: str) -> list[tuple[str, str]]:
        """The parameters that buy what a code is good for, with the right authentication in the form."""
        pairs = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK)]
        if challenged or client.require_pkce:
            pairs.append(("code_verifier", VERIFIER))
        return pairs

    async def send(
        self, method: str, headers: dict[str, str], ours: Sequence[tuple[str, str]]
    ) -> tuple[int, Any]:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        if method == "GET":
            found = await self.house.client.get("/oauth2/token", params=list(ours), headers=headers)
        else:
            found = await self.house.client.post(
                "/oauth2/token", content=urlencode(ours), headers=kind | headers
            )
        return found.status_code, found.json()

    def told(self, status: int, body: Any) -> str:
        """An answer in one word, and for tokens what both must agree on beside."""
        if status != 200:
            return str(body.get("error", body.get("code")))
        assert body["access_token"]
        return "issued"

    async def bought(self, client: Client, challenged: bool) -> tuple[tuple[str, str], tuple[str, str]]:
        """Codes that were used, and the refresh tokens they bought (empty where there are none)."""
        ours, theirs = await self.codes(client, challenged)
        headers, more = self.proof(client, "right")
        told = await self.send("POST", headers, self.right(client, challenged, ours) + more)
        also = self.oracle.ask("POST", headers, self.right(client, challenged, theirs) + more)
        assert (told[0], also[0]) == (200, 200), (told, also)
        return (ours, theirs), (told[1].get("refresh_token", ""), str(also[1].get("refresh_token", "")))

    def proof(self, client: Client, how: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """Headers and parameters by which a client says who it is."""
        name, secret = client.id, self.secrets[client.id]
        method = client.token_endpoint_auth_method
        if how == "unknown client":
            name = "nobody"
        if how == "wrong":
            secret = secret[:-1] + ("A" if secret[-1:] != "A" else "B")
        if how == "empty":
            secret = ""
        if how == "other method":
            method = "client_secret_post" if method == "client_secret_basic" else "client_secret_basic"
        if how == "missing":
            return {}, [] if method == "none" else [("client_id", name)]
        basic = {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}
        post = [("client_id", name), ("client_secret", secret)]
        if how == "two ways":
            return basic, post if secret else [("client_id", name), ("client_secret", "x")]
        if how == "another client_id":
            another = [("client_id", "once" if client.id == "app" else "app")]
            return (basic if method == "client_secret_basic" else {}), another
        if method == "client_secret_basic":
            return basic, []
        if method == "none" and how != "wrong":
            return {}, [("client_id", name)]
        return {}, post

    async def parameters(self, a: Asked) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """The request's parameters for ours and for theirs; they differ in the values of what was issued."""
        ours: list[tuple[str, str]] = []
        theirs: list[tuple[str, str]] = []

        def put(name: str, value: str, also: str | None = None) -> None:
            ours.append((name, value))
            theirs.append((name, value if also is None else also))

        if a.grant != "?":
            put("grant_type", a.grant)
        has_codes = "authorization_code" in a.client.grant_types
        if a.by_code:
            if a.code in ("unknown", "empty") or (not has_codes and a.code != "missing"):
                put("code", "" if a.code == "empty" else "dwc_" + "A" * 43)
            elif a.code == "used":
                put("code", *(await self.bought(a.client, _challenged(a)))[0])
            elif a.code != "missing":
                owner = STRANGER if a.code == "foreign" else a.client
                put("code", *await self.codes(owner, _challenged(a)))
            if a.redirect_uri != "missing":
                put("redirect_uri", CALLBACK if a.redirect_uri == "right" else OTHER)
            verifier = {
                "right": VERIFIER,
                "wrong": VERIFIER[:-1] + "X",
                "short": VERIFIER[:42],
                "long": "A" * 129,
                "unreserved": VERIFIER + "+/",
            }
            if a.verifier != "missing":
                put("code_verifier", verifier[a.verifier])
        if a.by_refresh:
            holder = "refresh_token" in a.client.grant_types
            if a.refresh in ("unknown", "empty") or (not holder and a.refresh in ("right", "revoked")):
                put("refresh_token", "" if a.refresh == "empty" else "dwr_" + "A" * 70)
            elif a.refresh != "missing":
                await self._refresh(a, put)
        scopes = {
            "same": "openid email" if has_codes else "reports:read reports:write",
            "subset": "email" if has_codes else "reports:read",
            "superset": "openid email profile" if has_codes else "reports:read openid",
            "unknown": "no-such-scope",
            "empty": "",
        }
        if a.scope != "missing":
            put("scope", scopes[a.scope])
        return ours, theirs

    async def _refresh(self, a: Asked, put: Callable[[str, str, str], None]) -> None:
        owner = STRANGER if a.refresh == "foreign" else a.client
        (code, _), (ours, theirs) = await self.bought(owner, _challenged(a))
        if a.refresh == "revoked":
            # The code comes again, which ends what it bought.
            headers, more = self.proof(owner, "right")
            status, _ = await self.send("POST", headers, self.right(owner, _challenged(a), code) + more)
            assert status == 400
            self.oracle.refreshes[theirs].revoked = True
        put("refresh_token", ours, theirs)

    async def compare(self, a: Asked) -> None:
        """Send the request to both, once or twice, and hold their answers against each other."""
        ours, theirs = await self.parameters(a)
        headers, more = self.proof(a.client, a.authentication)
        ours, theirs = ours + more, theirs + more
        if a.twice:
            value = dict(ours).get(a.twice, "1")
            ours, theirs = ([*pairs, (a.twice, dict(pairs).get(a.twice, "1"))] for pairs in (ours, theirs))
            if (a.twice, value) not in ours[:-1]:
                ours, theirs = [*ours, ours[-1]], [*theirs, theirs[-1]]
        for second in (False, True) if a.again else (False,):
            status, body = await self.send(a.method, headers, ours)
            their_status, their_body = self.oracle.ask(a.method, headers, theirs)
            found, expected = self.told(status, body), self.told(their_status, their_body)
            self.outcomes[found] += 1
            deviation = self.deviation(a, second, expected)
            if deviation is not None:
                self.seen[deviation] += 1
                expected = deviation.ours
            assert found == expected, (a, second, body, their_body)
            if found == "issued" and deviation is None:
                assert set(body["scope"].split()) == set(str(their_body["scope"]).split()), a
                assert ("refresh_token" in body) == ("refresh_token" in their_body), a
            if found == "issued" and second:
                return

    def deviation(self, a: Asked, second: bool, theirs: str) -> Deviation | None:
        for one in DEVIATIONS:
            if one.when(a, second) and one.theirs in ("*", theirs):
                return one if one.ours != theirs else None
        return None


def search(both: Both, loop: asyncio.AbstractEventLoop, examples: int) -> None:
    """Hypothesis is synchronous: it searches in a thread, and each example runs in the test's own loop."""

    @seed(20_260_101)
    @searching(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(request=requests())
    def each(request: Asked) -> None:
        asyncio.run_coroutine_threadsafe(both.compare(request), loop).result(60)

    each()


@pytest.mark.case("K-45")
@pytest.mark.case("K-48")
@pytest.mark.parametrize(
    "examples", [300, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(7200)])]
)
async def test_the_token_endpoint_answers_as_authlib_does_but_for_the_deviations(
    house: House, examples: int
) -> None:
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    both = Both(house, visitor)
    for client in (*CLIENTS, STRANGER):
        await both.register(client)
    for request in systematic():
        await both.compare(request)
    await asyncio.to_thread(search, both, asyncio.get_running_loop(), examples)
    assert both.outcomes["issued"] >= 50, "enough requests are right for their faults to be told"
    assert [one.why for one in DEVIATIONS if one not in both.seen] == [], "a deviation that does not occur"
    assert set(both.outcomes) == {
        "issued",
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
        "method_not_allowed",
    }
    await check(house)
