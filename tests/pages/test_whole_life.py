"""The whole life of a second factor over https, from a portal on another site, in two languages."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from granian.server.embed import Server
from playwright.async_api import Browser, Page

from service.commands.serve import http1_alone
from service.domain.oidc.clients import Client
from service.domain.sessions import ACR_2FA
from service.embedded import Servers
from service.flows import clients as client_flow
from service.http.language import language
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

    async def speaks(self, heading: str | None = None) -> None:
        """The page is in their language, its heading as the catalogue has it."""
        assert await self.page.get_attribute("html", "lang") == self.language
        if heading is not None:
            told = language(self.language).texts.gettext(heading)
            assert await self.page.inner_text("h1") == told

    async def from_the_portal(self) -> None:
        """Sent to sign in, in their language, with the password."""
        await self.page.goto(f"{self.town.portal}/sign-in?ui_locales={self.language}")
        await self.page.wait_for_url(f"{self.town.issuer}/sign-in?**")
        await self.speaks("Sign in")
        await self.by_password()

    async def by_password(self) -> None:
        await self.page.fill("#username", self.person.email)
        await self.page.fill("#password", self.person.password)
        await self.page.click("#sign-in")

    async def turn_off(self, code: str) -> None:
        """Send the form, and wait for the next page: each of them says something."""
        await self.page.fill("#password", self.person.password)
        await self.page.fill("#code", code)
        async with self.page.expect_navigation():
            await self.page.click("main form:has(#code) button.danger")
        await self.page.wait_for_selector("#notice")

    async def signed_out_at_the_portal(self) -> None:
        """It was told by the back channel, not by the browser."""
        for _ in range(40):
            await self.page.goto(self.town.portal)
            if await self.page.locator("#sign-in").count():
                return
            await asyncio.sleep(0.25)
        raise AssertionError("the portal did not hear of it")

    async def saved(self) -> list[str]:
        """The backup codes that are shown now; said to be saved, and on."""
        await self.page.wait_for_selector(".codes li")
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


@asynccontextmanager
async def browsing(chromium: Browser, **manners: Any) -> AsyncIterator[Page]:
    """A browser of its own, which takes the certificates of the test's own authority, and in the end had
    nothing to say: about the content security policy least of all."""
    context = await chromium.new_context(ignore_https_errors=True, **manners)
    context.set_default_timeout(20_000)
    page = await context.new_page()
    said = watched(page)
    yield page
    await context.close()
    assert said == []


#: Both parts in each: the portal names the language of its people; the administrator's browser asks for it.
LANGUAGES = ["de", "ru"]


@pytest.mark.case("U-28")
@pytest.mark.parametrize("tag", LANGUAGES)
async def test_a_person_from_the_portal_and_back(
    town: Town, chromium: Browser, tag: str, shots: Path
) -> None:
    async with browsing(chromium) as page:
        life = Life(town, await town.house.a_person(), tag, page)

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
        await life.speaks("Your account")
        assert "4" in await page.inner_text("#codes-left")
        assert "The portal" in await page.inner_text("#sessions")
        await page.click("#two-factor a[href='/account/two-factor/backup-codes']")
        await page.click("main form:has([name=set]) button")
        new = await life.saved()
        assert not set(new) & set(codes)
        await page.wait_for_url(f"{town.issuer}/account*")

        # Off, with a code of the new set: an old one does not do it.
        await page.click("#two-factor a[href='/account/two-factor/disable']")
        await life.turn_off(codes[1])
        assert urlsplit(page.url).path == "/account/two-factor/disable"
        await life.turn_off(new[0])
        assert urlsplit(page.url).path == "/account"
        assert await page.locator("#two-factor a[href='/account/two-factor/enable']").count() == 1


@pytest.mark.case("U-64")
@pytest.mark.case("U-70")
@pytest.mark.parametrize("tag", LANGUAGES)
async def test_an_administrator_resets_somebody_and_ends_their_sessions(
    town: Town, chromium: Browser, tag: str
) -> None:
    bob = await town.house.a_person().with_totp()
    grace = await town.house.a_person().with_totp().with_role("admin")
    async with browsing(chromium) as page, browsing(chromium, locale=tag) as office:
        life, work = Life(town, bob, tag, page), Life(town, grace, tag, office)
        await life.from_the_portal()
        await page.fill("#code", app_of(bob).code())
        await page.click("#check")
        assert "two factors" in await life.back_at_the_portal()

        # Among those who have it activated, one is opened, and reset for a reason.
        await office.goto(f"{town.issuer}/admin/users")
        await office.wait_for_url(f"{town.issuer}/sign-in?return_to=/admin/users")
        await work.speaks()
        await work.by_password()
        await office.fill("#code", app_of(grace).code())
        await office.click("#check")
        await office.wait_for_url(f"{town.issuer}/admin/users")
        await work.speaks("Users")
        await office.select_option("#two_factor", "activated")
        await office.click("form.filters button")
        await office.wait_for_url("**/admin/users?**two_factor=activated**")
        people = office.locator("tbody th a")
        assert sorted(await people.all_inner_texts()) == sorted([bob.email, grace.email])
        await people.filter(has_text=bob.email).click()
        await office.click("#reset summary")
        await office.fill("#reason", "Lost the phone; known by voice")
        await office.click("#reset-now")
        await office.wait_for_selector("#two-factor .badge.off")
        (event,) = await town.house.rows("SELECT * FROM audit_event WHERE detail ->> 'reason' LIKE 'Lost%'")
        assert (event["result"], event["person_id"]) == ("ok", bob.id)

        # His session is out at its next request, the portal's hears of it, and his password is what is left.
        await page.goto(f"{town.issuer}/account")
        await page.wait_for_url(f"{town.issuer}/sign-in")
        await life.speaks()
        assert await page.locator("#notice").count() == 1
        await life.signed_out_at_the_portal()
        await page.goto(f"{town.issuer}/sign-in")
        await life.by_password()
        await page.wait_for_url(f"{town.issuer}/account")
        assert await page.locator("#two-factor a[href='/account/two-factor/enable']").count() == 1

        # And that session is ended as well.
        await office.reload()
        assert await office.locator("#sessions tbody tr").count() == 1
        await office.click("#end summary")
        await office.click("#end-now")
        await office.wait_for_selector("#notice")
        assert await office.locator("#sessions tbody tr").count() == 0
        await page.reload()
        await page.wait_for_url(f"{town.issuer}/sign-in")


def app_of(person: Person) -> Authenticator:
    return Authenticator(base64.b32encode(person.secret).decode())
