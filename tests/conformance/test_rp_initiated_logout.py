"""The RP-Initiated Logout plan. What may not be followed ends nothing either: a stranger's link must not sign
anybody out."""

import base64
import json
import secrets

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.conformance.browser import Browser
from tests.conformance.relying_party import Suite
from tests.pages.visitor import Page


async def test_oidcc_rp_initiated_logout_discovery_endpoint_verification(suite: Suite) -> None:
    answer = await suite.http.get(f"{suite.provider.issuer}/.well-known/openid-configuration")
    assert answer.status_code == 200
    endpoint = answer.json()["end_session_endpoint"]
    assert endpoint.startswith("https://")
    assert endpoint.startswith(suite.provider.issuer)
    assert "#" not in endpoint


async def test_oidcc_rp_initiated_logout(suite: Suite) -> None:
    browser, state = await suite.browser(), secrets.token_urlsafe(96)
    granted = await suite.flow(browser)
    before = len(browser.shown)
    suite.check_back(await browser.open(suite.logout(granted, state=state)), state)
    assert browser.shown[before:] == [], "the hint proved who asks"
    await suite.check_signed_out(browser, granted)


async def test_oidcc_rp_initiated_logout_bad_post_logout_redirect_uri(suite: Suite) -> None:
    browser = await suite.browser()
    granted = await suite.flow(browser)
    wrong = f"{suite.provider.post_logout}/{secrets.token_hex(4)}"
    await browser.error_page(suite.logout(granted, post_logout_redirect_uri=wrong), wrong)
    await suite.check_still_signed_in(browser, granted)


async def test_oidcc_rp_initiated_logout_modified_id_token_hint(suite: Suite) -> None:
    """The claims are whole, the signature is gone, and the header says that there is none."""
    browser = await suite.browser()
    granted = await suite.flow(browser)
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    unsigned = f"{header}.{granted.id_token.text.split('.')[1]}."
    assert json.loads(base64.urlsafe_b64decode(unsigned.split(".")[1] + "==")) == granted.id_token.claims
    await browser.error_page(suite.logout(granted, id_token_hint=unsigned), suite.provider.post_logout)
    await suite.check_still_signed_in(browser, granted)


async def test_oidcc_rp_initiated_logout_no_id_token_hint(suite: Suite) -> None:
    """Nobody knows whose address it is."""
    browser = await suite.browser()
    granted = await suite.flow(browser)
    await browser.error_page(suite.logout(granted, id_token_hint=None), suite.provider.post_logout)
    await suite.check_still_signed_in(browser, granted)


async def test_oidcc_rp_initiated_logout_no_params(suite: Suite) -> None:
    """Asked first, since a link on any site leads here; then signed out."""
    browser = await suite.browser()
    granted = await suite.flow(browser)
    nothing = suite.logout(granted, id_token_hint=None, post_logout_redirect_uri=None, state=None)
    assert "?" not in nothing
    page = await browser.page(nothing)
    await suite.check_still_signed_in(browser, granted)
    await _check_signed_out_page(await _confirmed(browser, page))
    await suite.check_signed_out(browser, granted)


async def test_oidcc_rp_initiated_logout_no_post_logout_redirect_uri(suite: Suite) -> None:
    browser = await suite.browser()
    granted = await suite.flow(browser)
    page = await browser.page(suite.logout(granted, post_logout_redirect_uri=None))
    await _check_signed_out_page(page)
    await suite.check_signed_out(browser, granted)


async def test_oidcc_rp_initiated_logout_no_state(suite: Suite) -> None:
    browser = await suite.browser()
    granted = await suite.flow(browser)
    suite.check_back(await browser.open(suite.logout(granted, state=None)), None)
    await suite.check_signed_out(browser, granted)


async def test_oidcc_rp_initiated_logout_only_state(suite: Suite) -> None:
    """As without any parameter: a state alone proves nothing, and there is no address to carry it to."""
    browser = await suite.browser()
    granted = await suite.flow(browser)
    only = suite.logout(granted, id_token_hint=None, post_logout_redirect_uri=None)
    page = await _confirmed(browser, await browser.page(only))
    await _check_signed_out_page(page)
    await suite.check_signed_out(browser, granted)


async def test_oidcc_rp_initiated_logout_query_added_to_post_logout_redirect_uri(suite: Suite) -> None:
    """Addresses are compared character by character (RP-Initiated Logout 1.0 §3)."""
    browser = await suite.browser()
    granted = await suite.flow(browser)
    wrong = f"{suite.provider.post_logout}?foo=bar"
    await browser.error_page(suite.logout(granted, post_logout_redirect_uri=wrong), wrong)
    await suite.check_still_signed_in(browser, granted)


async def test_oidcc_rp_initiated_logout_bad_id_token_hint(suite: Suite) -> None:
    """All of a good hint, `kid` too, but signed by a key of somebody else."""
    browser = await suite.browser()
    granted = await suite.flow(browser)
    key = RSAKey.generate_key(2048, auto_kid=False)
    claims = dict(granted.id_token.claims)
    forged = jwt.encode(dict(granted.id_token.header), claims, key, algorithms=["RS256"])
    await browser.error_page(suite.logout(granted, id_token_hint=forged), suite.provider.post_logout)
    await suite.check_still_signed_in(browser, granted)


async def _confirmed(browser: Browser, page: Page) -> Page:
    """What follows on the button of the page that asks, which a driver finds by its id."""
    assert page.answer.status_code == 200
    assert [told["id"] for tag, told in page.tags if tag == "button" and "id" in told] == ["sign-out"]
    step = await browser.send(page, page.form("/oauth2/logout/confirm"))
    assert isinstance(step, Page), f"sent to {step.address}"
    return step


async def _check_signed_out_page(page: Page) -> None:
    """It says that the person is signed out, and leads nowhere by itself."""
    assert page.answer.status_code == 200
    assert page.path == "/signed-out"
    assert "signed out" in page.text
