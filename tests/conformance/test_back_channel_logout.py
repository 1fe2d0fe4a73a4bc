"""The Back-Channel Logout plan, with a portal that listens on https."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.jwk import KeySet

from tests.conformance import checks
from tests.conformance.browser import seconds_now
from tests.conformance.relying_party import Granted, Suite

#: OpenID Connect Back-Channel Logout 1.0 §2.4.
EVENT = "http://schemas.openid.net/event/backchannel-logout"


async def test_oidcc_backchannel_logout_discovery_endpoint_verification(suite: Suite) -> None:
    answer = await suite.http.get(f"{suite.provider.issuer}/.well-known/openid-configuration")
    told = answer.json()
    assert told["backchannel_logout_supported"] is True
    assert told["backchannel_logout_session_supported"] is True
    assert told["end_session_endpoint"].startswith(suite.provider.issuer)
    assert "sid" in told["claims_supported"]


async def test_oidcc_backchannel_rp_initiated_logout(suite: Suite) -> None:
    """The portal is told over TLS, which refuses anything below 1.2 there, and the person comes back."""
    browser, state = await suite.browser(), secrets.token_urlsafe(96)
    granted = await suite.flow(browser, suite.provider.told)
    assert suite.provider.listener.asked == []
    suite.check_back(await browser.open(suite.logout(granted, state=state)), state)
    claims = _check_logout_token(suite, granted, await _heard(suite))
    assert claims["sid"] == granted.id_token.claims["sid"]
    await suite.check_signed_out(browser, granted)


async def _heard(suite: Suite) -> str:
    """The logout token of the one request that arrives within ten seconds (§2.5)."""
    listener = suite.provider.listener
    async with asyncio.timeout(10):
        while not listener.asked:  # noqa: ASYNC110 - it is filled by another task, which knows no event
            await asyncio.sleep(0.05)
    (asked,) = listener.asked
    assert asked.method == "POST"
    assert asked.target == listener.url().partition(str(listener.port))[2]
    kind = asked.headers["content-type"].partition(";")[0]
    assert kind == "application/x-www-form-urlencoded"
    return asked.token


def _check_logout_token(suite: Suite, granted: Granted, text: str) -> Mapping[str, Any]:
    """§2.4 and §2.6: whose it is, of when, what it tells, and that it can be taken for no ID token."""
    keys = suite.provider.keys
    found = jwt.decode(text, KeySet.import_key_set(dict(keys)), algorithms=["RS256"])  # type: ignore[arg-type]
    checks.check_kid(found.header, keys)
    assert found.header["typ"] == "logout+jwt"
    claims = found.claims
    assert claims["iss"] == suite.provider.issuer
    assert claims["aud"] in (granted.party.id, [granted.party.id])
    now = seconds_now()
    assert abs(claims["iat"] - now) < checks.SKEW
    assert now < claims["exp"] <= claims["iat"] + 120, "at most two minutes, as recommended"
    assert type(claims["jti"]) is str
    assert claims["jti"]
    assert claims["events"] == {EVENT: {}}
    assert claims.get("sub", granted.id_token.sub) == granted.id_token.sub
    assert {"sub", "sid"} & claims.keys()
    assert "nonce" not in claims
    return claims
