"""What tests of pages with their scripts share: people, what a page sends, and the store behind it."""

import asyncio
from urllib.parse import parse_qs

import asyncpg
import httpx
from playwright.async_api import Page, Route

from service import embedded
from tests.pages.browsing import PASSWORD, Authenticator, person
from tests.programs import Dev


async def enrolled(running: Dev, email: str) -> tuple[Authenticator, list[str]]:
    """Somebody with an authenticator and backup codes, by the API."""
    async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        pair = {"email": person(running, email), "password": PASSWORD}
        tokens = (await client.post("/v1/sign-in", json=pair)).json()
        client.headers["authorization"] = f"Bearer {tokens['access_token']}"
        path = "/v1/me/two-factor/authenticators"
        begun = (await client.post(path, json={})).json()
        app = Authenticator(begun["secret"].replace(" ", ""))
        done = await client.post(f"{path}/{begun['id']}/confirm", json={"code": app.code()})
        assert done.status_code == 200, done.text
        return app, done.json()["backup_codes"]["codes"]


class Sent:
    """What a page posts from now on: counted, and held back for as long as a slow server would take."""

    def __init__(self, seconds: float = 0) -> None:
        self.bodies: list[dict[str, list[str]]] = []
        self._seconds = seconds

    async def watch(self, page: Page, pattern: str = "**/sign-in**") -> None:
        await page.route(pattern, self._on)

    async def _on(self, route: Route) -> None:
        if route.request.method == "POST":
            self.bodies.append(parse_qs(route.request.post_data or ""))
            await asyncio.sleep(self._seconds)
        await route.fallback()


async def database(running: Dev) -> asyncpg.Connection:
    servers = embedded.find(running.data)
    assert servers is not None
    return await asyncpg.connect(servers.postgres_url)


async def paste(page: Page, text: str) -> None:
    await page.evaluate("text => navigator.clipboard.writeText(text)", text)
    await page.keyboard.press("Control+V")
