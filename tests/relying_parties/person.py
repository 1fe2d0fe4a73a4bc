"""Somebody at a browser without scripts, who signs in wherever a relying party sends them."""

import base64
import re
import ssl
from dataclasses import dataclass
from html import unescape
from typing import Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from tests import builders
from tests.pages.browsing import Authenticator
from tests.pages.visitor import Form, Page
from tests.secure import Authority

_REFRESH = re.compile(r'http-equiv="refresh" content="0; url=([^"]+)"')


@dataclass
class Person:
    """A person, their authenticator app (`oathtool`), and their browser, which keeps its cookies."""

    email: str
    password: str
    app: Authenticator
    issuer: str
    browser: httpx.AsyncClient

    @classmethod
    def of(cls, person: builders.Person, issuer: str, trusted: Authority) -> Self:
        secret = base64.b32encode(person.secret).decode()
        context = ssl.create_default_context(cafile=trusted.root)
        agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
        browser = httpx.AsyncClient(verify=context, headers={"user-agent": agent})
        return cls(person.email, person.password, Authenticator(secret), issuer, browser)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.browser.aclose()

    async def go(self, address: str, until: str) -> str:
        """Open an address of the service, fill in whatever form comes, and return the address that begins
        with `until`, to which the service sends the browser in the end. What is there is not opened."""
        answer = await self.browser.get(address)
        for _ in range(20):
            onwards = self._onwards(answer)
            if onwards is None:
                answer = await self._fill(Page(answer))
            elif onwards.startswith(until):
                return onwards
            else:
                answer = await self.browser.get(onwards)
        raise AssertionError(f"more than twenty steps, the last at {answer.url}")

    def _onwards(self, answer: httpx.Response) -> str | None:
        """Where the browser goes by itself: a redirect, or a page that refreshes to another."""
        assert answer.status_code in (200, 303), answer.text
        if answer.status_code == 303:
            return urljoin(str(answer.url), answer.headers["location"])
        found = _REFRESH.search(answer.text)
        return urljoin(str(answer.url), unescape(found[1])) if found else None

    async def _fill(self, page: Page) -> httpx.Response:
        if page.path == "/sign-in":
            return await self._send(page, "/sign-in", username=self.email, password=self.password)
        if page.path == "/sign-in/second-factor":
            return await self._send(page, "/sign-in/second-factor", code=self.app.code())
        allowed = [form for form in page.forms if form.fields.get("decision") == "allow"]
        assert allowed, f"nothing to fill in at {page.path}: {page.text}"
        return await self._post(page, allowed[0])

    async def _send(self, page: Page, action: str, **values: str) -> httpx.Response:
        form = page.form(action)
        form.fields |= values
        return await self._post(page, form)

    async def _post(self, page: Page, form: Form) -> httpx.Response:
        headers = {"origin": self.issuer, "sec-fetch-site": "same-origin"}
        address = urljoin(str(page.answer.url), form.action)
        return await self.browser.post(address, data=form.fields, headers=headers)


def query_of(address: str) -> dict[str, str]:
    """What an address carries in its query."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
