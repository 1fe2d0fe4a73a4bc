"""The Basic plan and the Form Post plan: what a request may say, and how it is answered then."""

import asyncio
import base64
import json
import secrets
from collections.abc import Mapping

import pytest

from tests.conformance import checks
from tests.conformance.browser import Browser, seconds_now
from tests.conformance.relying_party import Suite

#: The pages on which somebody who is signed in gives password and passcode again.
_FRESH_PROOFS = (["/account/reauthentication"], ["/sign-in", "/sign-in/second-factor"])

pytestmark = pytest.mark.parametrize("response_mode", ["query", "form_post"])


async def test_oidcc_display_page(suite: Suite) -> None:
    await suite.flow(await suite.browser(), display="page")


async def test_oidcc_display_popup(suite: Suite) -> None:
    await suite.flow(await suite.browser(), display="popup")


async def test_oidcc_prompt_login(suite: Suite) -> None:
    """Somebody who is signed in signs in again, by everything they have, and the tokens say so."""
    browser = await suite.browser()
    first = await suite.flow(browser)
    await _next_second(first.id_token.auth_time)
    second = await _asked_again(suite, browser, prompt="login")
    checks.check_newer_sign_in(first.id_token, second)


async def test_oidcc_prompt_none_not_logged_in(suite: Suite) -> None:
    browser = await suite.browser()
    asked = suite.request(prompt="none", state=secrets.token_urlsafe(96))
    assert len(asked["state"]) == 128
    left = await browser.open(suite.address(asked))
    suite.check_refusal(asked, left, "login_required", "interaction_required")
    suite.check_at_once(left)
    assert browser.shown == []


async def test_oidcc_prompt_none_logged_in(suite: Suite) -> None:
    browser = await suite.browser()
    first = await suite.flow(browser)
    second = await suite.silently(browser, prompt="none")
    checks.check_same_sign_in(first.id_token, second.id_token)
    await suite.userinfo(second)


async def test_oidcc_max_age_1(suite: Suite) -> None:
    browser = await suite.browser()
    first = await suite.flow(browser)
    # Two whole seconds, as both times are whole seconds.
    await asyncio.sleep(2)
    second = await _asked_again(suite, browser, max_age="1")
    checks.check_newer_sign_in(first.id_token, second)


async def test_oidcc_max_age_10000(suite: Suite) -> None:
    browser = await suite.browser()
    first = await suite.flow(browser)
    second = await suite.silently(browser, max_age="10000")
    checks.check_same_sign_in(first.id_token, second.id_token)


async def test_oidcc_ensure_request_with_unknown_parameter_succeeds(suite: Suite) -> None:
    await suite.flow(await suite.browser(), extra="foobar")


async def test_oidcc_id_token_hint(suite: Suite) -> None:
    browser = await suite.browser()
    first = await suite.flow(browser)
    second = await suite.silently(browser, prompt="none", id_token_hint=first.id_token.text)
    checks.check_same_sign_in(first.id_token, second.id_token)


async def test_oidcc_login_hint(suite: Suite) -> None:
    """The hint stands in the form; one that names nobody is no error."""
    browser = await suite.browser()
    page = await browser.page(suite.address(suite.request(login_hint=browser.person.email)))
    assert page.form("/sign-in").fields["username"] == browser.person.email
    await suite.flow(browser, login_hint="buffy@example.com")


async def test_oidcc_ui_locales(suite: Suite) -> None:
    await suite.flow(await suite.browser(), ui_locales="se")


async def test_oidcc_claims_locales(suite: Suite) -> None:
    granted = await suite.flow(await suite.browser(), claims_locales="se", scope="openid profile")
    await suite.userinfo(granted)


async def test_oidcc_ensure_request_with_acr_values_succeeds(suite: Suite) -> None:
    """The suite asks for the first two contexts that the metadata names, and warns of a token without."""
    offered = suite.provider.metadata["acr_values_supported"][:2]
    granted = await suite.flow(await suite.browser(), acr_values=" ".join(offered))
    assert granted.id_token.claims["acr"] in offered
    await suite.flow(await suite.browser(), acr_values="1 2")


async def test_oidcc_ensure_registered_redirect_uri(suite: Suite) -> None:
    """A page says what is wrong, to somebody signed in as well; the address is not followed."""
    browser = await suite.browser()
    await suite.flow(browser)
    wrong = f"{suite.provider.callback}/{secrets.token_hex(4)}"
    await browser.error_page(suite.address(suite.request(redirect_uri=wrong)), wrong)


async def test_oidcc_ensure_post_request_succeeds(suite: Suite) -> None:
    """The request comes as a form from the relying party's own site, and so without our cookies."""
    browser, party = await suite.browser(), suite.provider.first
    asked = suite.request()
    origin = suite.provider.callback.removesuffix("/callback")
    endpoint = suite.provider.metadata["authorization_endpoint"]
    step = await browser.open_by_form(endpoint, origin, asked)
    granted = await suite.granted(party, asked, await browser.through(step))
    await suite.userinfo(granted)
    # Whoever is signed in is so for a request by POST as well.
    asked, before = suite.request(prompt="none"), len(browser.shown)
    left = await browser.through(await browser.open_by_form(endpoint, origin, asked))
    checks.check_same_sign_in(granted.id_token, (await suite.granted(party, asked, left)).id_token)
    assert browser.shown[before:] == []


async def test_oidcc_request_uri_unsigned_supported_correctly_or_rejected_as_unsupported(
    suite: Suite,
) -> None:
    """Said in the metadata, and to whoever tries all the same. The suite's `state` may stand in the object
    only; one in the query comes back."""
    assert suite.provider.metadata["request_uri_parameter_supported"] is False
    elsewhere = suite.provider.callback.removesuffix("/callback") + "/request.jwt"
    browser = await suite.browser()
    for state in (None, secrets.token_urlsafe(8)):
        asked = suite.request(request_uri=elsewhere, state=state, nonce=None)
        left = await browser.open(suite.address(asked))
        suite.check_refusal(asked, left, "request_uri_not_supported")
    assert browser.shown == []


async def test_oidcc_unsigned_request_object_supported_correctly_or_rejected_as_unsupported(
    suite: Suite,
) -> None:
    """Ignoring the object would answer another question than was asked (OpenID Connect Core 1.0 §3.1.2.6)."""
    whole = suite.request()
    browser = await suite.browser()
    for state in (None, secrets.token_urlsafe(8)):
        asked = suite.request(request=_unsigned(suite, whole), state=state, nonce=None)
        left = await browser.open(suite.address(asked))
        suite.check_refusal(asked, left, "request_not_supported")
    assert browser.shown == []


async def test_oidcc_ensure_request_object_with_redirect_uri(suite: Suite) -> None:
    """The good redirect URI stands in an object that is not read, a bad one in the query: nothing is
    redirected to either. The suite skips this where the metadata names no unsigned objects."""
    algorithms = suite.provider.metadata.get("request_object_signing_alg_values_supported", [])
    assert "none" not in algorithms
    whole, browser = suite.request(), await suite.browser()
    wrong = f"{suite.provider.callback}/{secrets.token_hex(4)}"
    asked = suite.request(request=_unsigned(suite, whole), redirect_uri=wrong)
    await browser.error_page(suite.address(asked), wrong)


async def _asked_again(suite: Suite, browser: Browser, **changes: str | None) -> checks.IdToken:
    """The ID token of a request for which somebody who was signed in already had to prove everything anew."""
    before = len(browser.shown)
    granted = await suite.flow(browser, None, **changes)
    assert browser.shown[before:] in _FRESH_PROOFS
    return granted.id_token


async def _next_second(moment: int) -> None:
    """Wait until a sign-in cannot fall into the same second as this one."""
    await asyncio.sleep(max(0, moment + 1 - seconds_now()))


def _unsigned(suite: Suite, claims: Mapping[str, str]) -> str:
    """A request object with `alg: none` (OpenID Connect Core 1.0 §6.1)."""
    parts: list[Mapping[str, str]] = [
        {"alg": "none"},
        {**claims, "iss": claims["client_id"], "aud": suite.provider.issuer},
    ]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, ""])
