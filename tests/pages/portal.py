"""A portal and its address, what it asks for, and what it gets."""

import base64
import hashlib
import re
from dataclasses import replace
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from service.domain.oidc.clients import Client
from tests.builders import House
from tests.pages.visitor import Page, Visitor

CALLBACK = "https://portal.example/callback"


VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


PORTAL = Client(
    "portal",
    "The Portal",
    token_endpoint_auth_method="none",
    redirect_uris=(CALLBACK,),
    scopes=("openid", "profile", "email"),
    first_party=True,
)


def asked(**changes: str) -> str:
    """The address a portal sends its people to."""
    good = {
        "client_id": "portal",
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid email",
        "state": "s" * 128,
        "nonce": "n-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return "/oauth2/authorize?" + urlencode({k: v for k, v in (good | changes).items() if v})


def answer(page: Page) -> dict[str, str]:
    """What the redirect, or the page on its way out, carries to the portal."""
    address = page.answer.headers.get("location")
    if address is None:
        (found,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', page.answer.text)
        address = unescape(found)
    url = urlsplit(address)
    assert f"{url.scheme}://{url.netloc}{url.path}" == CALLBACK
    return {name: values[0] for name, values in parse_qs(url.query).items()}


async def exchange(house: House, bought: str, **changes: Any) -> httpx.Response:
    body = {
        "grant_type": "authorization_code",
        "code": bought,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
        "client_id": "portal",
    } | changes
    return await house.client.post("/oauth2/token", data={k: v for k, v in body.items() if v is not None})


async def code_for(house: House, visitor: Visitor) -> str:
    page = await visitor.get(asked())
    if page.path == "/sign-in":
        page = await visitor.post(
            page.form("/sign-in"), username=visitor.person.email, password=visitor.person.password
        )
    return answer(page)["code"]


async def userinfo(house: House, token: str, method: str = "GET", **more: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return await house.client.request(method, "/oauth2/userinfo", headers=headers, **more)


AFTER = "https://portal.example/signed-out"


LEAVING = replace(
    PORTAL,
    post_logout_redirect_uris=(AFTER,),
    grant_types=("authorization_code", "refresh_token"),
    scopes=("openid", "email", "offline_access"),
    backchannel_logout_uri="https://portal.example/backchannel",
)


def logout(**parameters: str) -> str:
    return "/oauth2/logout?" + urlencode(parameters)


async def signed_in(house: House, visitor: Visitor, **changes: str) -> dict[str, Any]:
    """A person signed in at the portal; its tokens."""
    page = await visitor.get(asked(**changes))
    if page.path == "/sign-in":
        page = await visitor.post(
            page.form("/sign-in"), username=visitor.person.email, password=visitor.person.password
        )
    tokens: dict[str, Any] = (await exchange(house, answer(page)["code"])).json()
    return tokens


async def refreshed(house: House, token: str) -> httpx.Response:
    body = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "portal"}
    return await house.client.post("/oauth2/token", data=body)


async def ended(house: House) -> list[str | None]:
    rows = await house.rows("SELECT end_reason FROM session ORDER BY created_at, id")
    return [row["end_reason"] for row in rows]
