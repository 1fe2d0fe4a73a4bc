"""The Basic plan and the Form Post plan: what a flow gives, and what its parts are good for."""

import asyncio
import base64
import hashlib
import json
import secrets
from typing import Any

import pytest

from tests.conformance import checks
from tests.conformance.relying_party import Granted, Suite

pytestmark = pytest.mark.parametrize("response_mode", ["query", "form_post"])


async def test_oidcc_server(suite: Suite) -> None:
    """The whole code flow; what is checked at each step stands in `relying_party` and `checks`."""
    granted = await suite.flow(await suite.browser())
    await suite.userinfo(granted)
    assert "refresh_token" not in granted.tokens, "nobody allowed the suite to act while they are away"


async def test_oidcc_response_type_missing(suite: Suite) -> None:
    browser = await suite.browser()
    asked = suite.request(response_type=None)
    left = await browser.open(suite.address(asked))
    suite.check_refusal(asked, left, "invalid_request", "unsupported_response_type")
    assert browser.shown == []


async def test_oidcc_idtoken_signature(suite: Suite) -> None:
    """RS256 with a `kid` of the JWKS, for a client that says nothing of algorithms."""
    granted = await suite.flow(await suite.browser())
    checks.check_kid(granted.id_token.header, suite.provider.keys)


async def test_oidcc_idtoken_unsigned(suite: Suite) -> None:
    """The suite skips this where `none` is not offered, as it must not be: the token is signed."""
    assert "none" not in suite.provider.metadata["id_token_signing_alg_values_supported"]
    granted = await suite.flow(await suite.browser())
    assert granted.id_token.header["alg"] != "none"
    assert granted.id_token.text.rpartition(".")[2]


async def test_oidcc_userinfo_get(suite: Suite) -> None:
    granted = await suite.flow(await suite.browser())
    suite.told(granted, await suite.ask_userinfo(granted.access_token))


async def test_oidcc_userinfo_post_header(suite: Suite) -> None:
    granted = await suite.flow(await suite.browser())
    suite.told(granted, await suite.ask_userinfo(granted.access_token, "POST"))


async def test_oidcc_userinfo_post_body(suite: Suite) -> None:
    granted = await suite.flow(await suite.browser())
    endpoint = suite.provider.metadata["userinfo_endpoint"]
    suite.told(granted, await suite.http.post(endpoint, data={"access_token": granted.access_token}))


async def test_oidcc_ensure_request_without_nonce_succeeds_for_code_flow(suite: Suite) -> None:
    granted = await suite.flow(await suite.browser(), nonce=None)
    assert "nonce" not in granted.id_token.claims


async def test_oidcc_scope_profile(suite: Suite) -> None:
    """The suite warns of the claims of this scope that nobody filled in; these are the ones that can be."""
    told = await suite.userinfo(await suite.flow(await suite.browser(), scope="openid profile"))
    assert (told["name"], told["locale"]) == ("Ada Lovelace", "en-GB")


async def test_oidcc_scope_email(suite: Suite) -> None:
    browser = await suite.browser()
    told = await suite.userinfo(await suite.flow(browser, scope="openid email"))
    assert (told["email"], told["email_verified"]) == (browser.person.email, True)


async def test_oidcc_scope_address(suite: Suite) -> None:
    told = await suite.userinfo(await suite.flow(await suite.browser(), scope="openid address"))
    assert told["address"]["locality"] == "London"


async def test_oidcc_scope_phone(suite: Suite) -> None:
    told = await suite.userinfo(await suite.flow(await suite.browser(), scope="openid phone"))
    assert (told["phone_number"], told["phone_number_verified"]) == ("+44 20 7946 0018", False)


async def test_oidcc_scope_all(suite: Suite) -> None:
    scope = "openid profile email address phone"
    assert len(await suite.userinfo(await suite.flow(await suite.browser(), scope=scope))) == 8


async def test_oidcc_alternate_happy_flow(suite: Suite) -> None:
    """Neither the order of the scopes nor that of the parameters means anything."""
    browser = await suite.browser()
    asked = suite.request(scope="phone address email profile openid")
    backwards = dict(sorted(asked.items(), reverse=True))
    left = await browser.through(await browser.open(suite.address(backwards)))
    assert len(await suite.userinfo(await suite.granted(suite.provider.first, asked, left))) == 8


async def test_oidcc_claims_essential(suite: Suite) -> None:
    """A claim that is asked for by name comes without its scope (OpenID Connect Core 1.0 §5.5)."""
    wish = json.dumps({"userinfo": {"name": {"essential": True}}})
    granted = await suite.flow(await suite.browser(), claims=wish)
    told = suite.told(granted, await suite.ask_userinfo(granted.access_token))
    assert told["name"] == "Ada Lovelace"
    assert "email" not in told


async def test_oidcc_server_client_secret_post(suite: Suite) -> None:
    granted = await suite.flow(await suite.browser(), suite.provider.by_post)
    await suite.userinfo(granted)


async def test_oidcc_ensure_request_with_valid_pkce_succeeds(suite: Suite) -> None:
    """The verifier is then demanded, and only its own fits (RFC 7636 §4.6)."""
    browser, party = await suite.browser(), suite.provider.first
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    asked = suite.request(code_challenge=challenge, code_challenge_method="S256")
    code = suite.code(asked, await suite.authorize(browser, asked))
    for wrong in ({}, {"code_verifier": secrets.token_urlsafe(48)}):
        refused = await suite.exchange(party, code, **wrong)
        assert refused.status_code == 400
        checks.check_error(refused.json(), "invalid_grant")
    good = await suite.exchange(party, code, code_verifier=verifier)
    await suite.userinfo(suite.issued(party, asked, code, good))


async def test_oidcc_codereuse(suite: Suite) -> None:
    await suite.check_reuse_refused(await suite.flow(await suite.browser()))


async def test_oidcc_codereuse_30seconds(suite: Suite) -> None:
    """As the suite does it, but a second later instead of thirty: what decides is that the code was used, not
    when, and its own minute is not over at either time."""
    granted = await suite.flow(await suite.browser())
    await suite.userinfo(granted)
    await asyncio.sleep(1)
    await suite.check_reuse_refused(granted)


async def test_oidcc_refresh_token(suite: Suite) -> None:
    """A refresh token is another each time, and good for its own client only. The suite asks with
    `prompt=consent` where it asks for `offline_access` (OpenID Connect Core 1.0 §11)."""
    first, second = suite.provider.first, suite.provider.second
    browser = await suite.browser()
    scope = "openid offline_access"
    granted = await suite.flow(browser, scope=scope, prompt="consent")
    checks.check_secret(granted.tokens["refresh_token"])
    await asyncio.sleep(1)
    tokens = await _refreshed(suite, granted)
    # The second client's flow in the same browser: its token is worth nothing to the first.
    other = await suite.flow(browser, second, scope=scope, prompt="consent")
    form = {"grant_type": "refresh_token", "refresh_token": other.tokens["refresh_token"]}
    refused = await suite.token(first, form)
    assert refused.status_code == 400
    checks.check_token_headers(refused)
    checks.check_error(refused.json(), "invalid_grant")
    assert (await suite.token(second, form)).status_code == 200, "and the try has cost it nothing"
    form["refresh_token"] = tokens["refresh_token"]
    assert (await suite.token(first, form)).status_code == 200


async def _refreshed(suite: Suite, granted: Granted) -> dict[str, Any]:
    """New tokens for a refresh token, checked against the first ones (OpenID Connect Core 1.0 §12.2)."""
    form = {
        "grant_type": "refresh_token",
        "refresh_token": granted.tokens["refresh_token"],
        "scope": granted.asked["scope"],
    }
    answer = await suite.token(granted.party, form)
    assert answer.status_code == 200, answer.text
    checks.check_token_headers(answer)
    tokens: dict[str, Any] = answer.json()
    assert tokens["token_type"].lower() == "bearer"
    assert tokens["access_token"] != granted.access_token
    assert tokens["refresh_token"] != granted.tokens["refresh_token"]
    checks.check_secret(tokens["access_token"])
    checks.check_secret(tokens["refresh_token"])
    assert 0 < tokens["expires_in"] <= 86_400
    id_token = checks.check_id_token(
        tokens["id_token"],
        suite.provider.keys,
        issuer=suite.provider.issuer,
        client=granted.party.id,
        nonce=None,
        access_token=tokens["access_token"],
    )
    checks.check_same_sign_in(granted.id_token, id_token)
    assert id_token.claims["iat"] > granted.id_token.claims["iat"]
    told = await suite.ask_userinfo(tokens["access_token"])
    assert told.json()["sub"] == granted.id_token.sub
    return tokens
