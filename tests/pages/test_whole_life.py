"""The whole life of a second factor over https, from a portal on another site, in two languages."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from granian.server.embed import Server
from playwright.async_api import Browser, BrowserContext, Page

from service.commands.serve import http1_alone
from service.domain.oidc.clients import Client
from service.domain.sessions import ACR_2FA
from service.embedded import Servers
from service.flows import clients as client_flow
from service.portal import app as portal_app
from tests.builders import House, Person
from tests.pages.browsing import Authenticator, backup_codes, shown_secret, watched
from tests.programs import free_port
from tests.secure import Authority, authority, secure, secure_environ


@dataclass(frozen=True)
class Town:
    """A provider at https://localhost, and a portal at another site that asks it for two factors."""

    issuer: str
    portal: str
    house: House


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def town(servers: Servers, database_url: str, house: House, trusted: Authority) -> AsyncIterator[Town]:
    # Another name of this machine is another site to the browser.
    portal = f"https://127.0.0.1:{free_port()}"
    client = Client(
        "life",
        "The portal",
        redirect_uris=(f"{portal}/callback",),
        post_logout_redirect_uris=(f"{portal}/signed-out",),
        backchannel_logout_uri=f"{portal}/backchannel-logout",
        backchannel_logout_session_required=True,
        grant_types=("authorization_code", "refresh_token"),
        scopes=("openid", "profile", "email"),
        first_party=True,
    )
    await client_flow.create(house.world, client)
    secret = await client_flow.rotate_secret(house.world, client.id, 0)
    environ = secure_environ(
        servers,
        database_url,
        trusted,
        outgoing_private_addresses="true",
        outgoing_ca_file=str(trusted.root),
        redis_budget_ms="2000",
        database_acquire_ms="5000",
    )
    with secure(environ, trusted) as issuer:
        trust = ssl.create_default_context(cafile=trusted.root)
        http = httpx.AsyncClient(timeout=10, verify=trust, trust_env=False)
        made = portal_app.create(issuer, client.id, secret, portal, http=http, acr_values=ACR_2FA)
        port = int(portal.rpartition(":")[2])
        server = Server(
            made,
            "127.0.0.1",
            port,
            ssl_cert=trusted.certificate,
            ssl_key=trusted.key,
            log_enabled=False,
            **http1_alone(),
        )
        serving = asyncio.create_task(server.serve())
        await _answering(port)
        yield Town(issuer, portal, house)
        server.stop()  # type: ignore[no-untyped-call]
        await serving


async def _answering(port: int) -> None:
    for _ in range(200):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the portal does not answer")


@dataclass
class Life:
    """Somebody at their browser, who came from the portal."""

    town: Town
    person: Person
    language: str
    page: Page

    async def speaks(self) -> None:
        """The page is in their language."""
        assert await self.page.get_attribute("html", "lang") == self.language

    async def from_the_portal(self) -> None:
        """Sent to sign in, in their language, with the password."""
        await self.page.goto(f"{self.town.portal}/sign-in?ui_locales={self.language}")
        await self.page.wait_for_url(f"{self.town.issuer}/sign-in?**")
        await self.speaks()
        await self.page.fill("#username", self.person.email)
        await self.page.fill("#password", self.person.password)
        await self.page.click("#sign-in")

    async def saved(self) -> list[str]:
        """The backup codes that are shown now; said to be saved, and on."""
        await self.speaks()
        codes = await backup_codes(self.page)
        await self.page.check("[data-saved]")
        await self.page.click("[data-finish]")
        return codes

    async def back_at_the_portal(self) -> str:
        """What the portal says was proved."""
        await self.page.wait_for_url(f"{self.town.portal}/")
        assert self.person.email in await self.page.inner_text("#email")
        return await self.page.inner_text("#proofs")


@pytest.fixture
async def abroad(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A browser that takes the certificates of the test's own authority."""
    made = await chromium.new_context(ignore_https_errors=True)
    made.set_default_timeout(15_000)
    yield made
    await made.close()


@pytest.mark.parametrize("language", ["de", "ru"])
async def test_a_person_from_the_portal_and_back(
    town: Town, abroad: BrowserContext, language: str, shots: Path
) -> None:
    page = await abroad.new_page()
    said = watched(page)
    life = Life(town, await town.house.a_person(), language, page)

    # The portal wants two factors: enrolment is on the way, and the way goes on after the codes.
    await life.from_the_portal()
    await page.wait_for_url(f"{town.issuer}/account/two-factor/enable?return_to=**")
    await page.fill("#name", "Phone")
    await page.click("main form:has(#name) button")
    app = Authenticator(await shown_secret(page, shots))
    await page.fill("#code", app.code())
    await page.click("main form:has(#code) button")
    codes = await life.saved()
    assert "two factors" in await life.back_at_the_portal()

    # Out, at the portal and at Doorward; in with a backup code.
    await page.click("#sign-out")
    await page.wait_for_url(f"{town.portal}/signed-out?state=*")
    await life.from_the_portal()
    await page.wait_for_url(f"{town.issuer}/sign-in/second-factor?**")
    await page.fill("#code", codes[0])
    await page.click("#check")
    await page.wait_for_url(f"{town.issuer}/sign-in/backup-code-used?**")
    assert "4" in await page.inner_text("#notice")
    await page.click("#go-on")
    assert "a backup code" in await life.back_at_the_portal()

    # Four are left; a new set kills them.
    await page.goto(f"{town.issuer}/account")
    await life.speaks()
    assert "4" in await page.inner_text("#two-factor")
    await page.click("#two-factor a[href='/account/two-factor/backup-codes']")
    await page.click("main form:has([name=set]) button")
    new = await life.saved()
    assert not set(new) & set(codes)
    await page.wait_for_url(f"{town.issuer}/account*")

    # Off, with a code of the new set: an old one does not do it.
    await page.click("#two-factor a[href='/account/two-factor/disable']")
    for code, path in ((codes[1], "/account/two-factor/disable"), (new[0], "/account")):
        await page.fill("#password", life.person.password)
        await page.fill("#code", code)
        await page.click("main form:has(#code) button.danger")
        await page.wait_for_load_state()
        assert urlsplit(page.url).path == path
    assert await page.locator("#two-factor a[href='/account/two-factor/enable']").count() == 1
    assert said == []
