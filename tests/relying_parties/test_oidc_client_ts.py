"""oidc-client-ts, the usual client of apps in a browser, in Chromium: another origin of the same site."""

import asyncio
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route

from service.domain.oidc.clients import Client, GrantType
from service.flows import clients as client_flow
from tests.flows.invariants import claims
from tests.relying_parties.conftest import HERE, Provider
from tests.relying_parties.person import Person
from tests.secure import Authority

LIBRARY = "node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class App:
    """An app's static files on https, at an origin of its own."""

    origin: str
    folder: Path


@pytest.fixture
def app(packages: Path, trusted: Authority, tmp_path: Path) -> Iterator[App]:
    folder = tmp_path / "app"
    shutil.copytree(HERE / "spa", folder)
    shutil.copy(packages / LIBRARY, folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted.certificate, trusted.key)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        yield App(f"https://localhost:{server.server_port}", folder)
        server.shutdown()


@pytest.fixture
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """The throw-away CA is not in the browser's store."""
    made = await chromium.new_context(ignore_https_errors=True)
    made.set_default_timeout(20_000)
    yield made
    await made.close()


async def register(provider: Provider, app: App, scope: str, *grants: GrantType) -> None:
    """Make the app a public client, and tell it so."""
    client = Client(
        "app",
        "The App",
        token_endpoint_auth_method="none",
        redirect_uris=(f"{app.origin}/callback.html",),
        post_logout_redirect_uris=(f"{app.origin}/index.html",),
        grant_types=grants,
        scopes=tuple(scope.split()),
        first_party=True,
        cors_origins=(app.origin,),
    )
    await client_flow.create(provider.house.world, client)
    settings = {"authority": provider.issuer, "client_id": "app", "scope": scope}
    script = app.folder / "app.js"
    script.write_text(f"const SETTINGS = {json.dumps(settings)}\n{script.read_text()}")


async def sign_in(page: Page, app: App, ada: Person) -> dict[str, Any]:
    """Sign in with both factors; what the app holds then."""
    await page.goto(f"{app.origin}/index.html")
    # The page leaves while the call runs: its promise has nobody to come back to.
    await page.evaluate("void manager.signinRedirect()")
    await page.fill("#username", ada.email)
    await page.fill("#password", ada.password)
    await page.click("#sign-in")
    await page.wait_for_url("**/sign-in/second-factor**")
    await page.fill("#code", ada.app.code())
    await page.click("main button")
    await page.wait_for_url(f"{app.origin}/callback.html**")
    await page.wait_for_function("document.getElementById('result').textContent != ''")
    assert await page.inner_text("#result") == "back"
    return await held(page)


async def held(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate(
        "manager.getUser().then(u => u && {...JSON.parse(u.toStorageString()), expired: u.expired})"
    )
    return found


async def renewed(page: Page) -> dict[str, Any]:
    """What a silent renewal gives; `error` is the provider's word where it gives none."""
    told: dict[str, Any] = await page.evaluate(
        """manager.signinSilent().then(
          u => ({access: u.access_token, refresh: u.refresh_token, sub: u.profile.sub}),
          fault => ({error: fault.error ?? String(fault)}),
        )"""
    )
    return told


async def together(context: BrowserContext, *pages: Page) -> list[dict[str, Any]]:
    """Renew in all these tabs, each of which waits on its way to the provider until all are on theirs."""
    sent, gate = set[str](), asyncio.Barrier(len(pages))

    async def hold(route: Route) -> None:
        sent.update(parse_qs(route.request.post_data or "")["refresh_token"])
        await gate.wait()
        await route.continue_()

    await context.route("**/oauth2/token", hold)
    async with asyncio.timeout(20):
        told = await asyncio.gather(*map(renewed, pages))
    await context.unroute("**/oauth2/token", hold)
    assert len(sent) == 1, "all sent the same refresh token"
    return told


def complaints(page: Page) -> list[str]:
    """What the browser says of a page: refused by CORS or a policy, most of all."""
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda fault: heard.append(str(fault)))
    return heard


async def test_an_app_signs_in_renews_in_two_tabs_and_signs_out(
    provider: Provider, app: App, context: BrowserContext
) -> None:
    await register(provider, app, "openid email", "authorization_code", "refresh_token")
    first = await context.new_page()
    heard = complaints(first)
    async with await provider.a_person() as ada:
        user = await sign_in(first, app, ada)
    assert user["profile"]["email"] == ada.email, "from userinfo, by another origin's script"
    assert claims(user["id_token"])["acr"] == "urn:doorward:acr:2fa"
    assert user["refresh_token"].startswith("dwr_")
    # By the refresh token, and by both tabs at the same time: one successor, and nobody is thrown out.
    once = await renewed(first)
    assert once["access"] != user["access_token"]
    second = await context.new_page()
    await second.goto(f"{app.origin}/index.html")
    pair = await together(context, first, second)
    assert pair[0]["refresh"] == pair[1]["refresh"] != once["refresh"], pair
    assert "error" not in await renewed(second)
    ended = "SELECT count(*) FROM session WHERE ended_at IS NOT NULL"
    assert await provider.house.value(ended) == 0
    # Out, by way of our own page of the session, and back at the app.
    await first.evaluate("void manager.signoutRedirect()")
    await first.wait_for_url(f"{app.origin}/index.html**")
    assert await held(first) is None
    assert await provider.house.value("SELECT end_reason FROM session") == "signed_out"
    assert heard == []


async def test_an_app_without_refresh_tokens_renews_in_a_frame(
    provider: Provider, app: App, context: BrowserContext
) -> None:
    await register(provider, app, "openid email", "authorization_code")
    page = await context.new_page()
    heard = complaints(page)
    async with await provider.a_person() as ada:
        user = await sign_in(page, app, ada)
    assert "refresh_token" not in user
    again = await renewed(page)
    assert again["sub"] == user["profile"]["sub"], again
    assert again["access"] != user["access_token"]
    own = await context.new_page()
    await own.goto(f"{provider.issuer}/account")
    await own.click("text=Sign out")
    await own.wait_for_url("**/sign-in**")
    assert await renewed(page) == {"error": "login_required"}
    assert heard == []
