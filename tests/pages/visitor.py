"""A browser without JavaScript: keeps cookies, follows redirects one at a time, fills in forms."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx

from tests.builders import Person

ORIGIN = "http://127.0.0.1:8400"


@dataclass
class Form:
    """A form as it stands in a page, with the values it would send."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.text: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.append((tag, told))
        if tag == "form":
            self.forms.append(Form(told.get("action") or "", told.get("method") or "get"))
        elif told.get("type") == "checkbox" and "checked" not in told:
            # It sends nothing until somebody ticks it.
            pass
        elif tag == "input" and self.forms and (name := told.get("name")):
            self.forms[-1].fields[name] = told.get("value") or ""

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@dataclass
class Page:
    """An answer that is HTML."""

    answer: httpx.Response

    def __post_init__(self) -> None:
        self._reader = _Reader()
        self._reader.feed(self.answer.text)

    @property
    def path(self) -> str:
        return self.answer.request.url.path

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._reader.text).split())

    @property
    def forms(self) -> list[Form]:
        return self._reader.forms

    @property
    def tags(self) -> list[tuple[str, dict[str, Any]]]:
        return self._reader.tags

    @property
    def codes(self) -> list[str]:
        """The backup codes that stand in the page."""
        words = self.text.split()
        return [word for word in words if len(word) == 14 and word[4] == word[9] == "-"]

    @property
    def secret(self) -> bytes:
        """The seed whose key stands in the page, to be typed by hand."""
        (key,) = re.findall(r'id="key">([A-Z2-7 ]+)<', self.answer.text)
        return base64.b32decode(key.replace(" ", ""))

    def form(self, action: str) -> Form:
        """The form that goes to an action, whatever its query."""
        (found,) = [form for form in self.forms if form.action.partition("?")[0] == action]
        return found


class Visitor:
    """One browser of one person, at their address."""

    def __init__(self, person: Person) -> None:
        transport = person.client._transport
        self.person = person
        self.client = httpx.AsyncClient(
            transport=transport,
            base_url=ORIGIN,
            headers={"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
        )

    @property
    def cookies(self) -> Mapping[str, str]:
        return dict(self.client.cookies)

    async def get(self, path: str) -> Page:
        """Open a page, through whatever redirects lead to it."""
        return await self._follow(await self.client.get(path, headers=self._headers()))

    async def post(self, form: Form, *, follow: bool = True, **values: str) -> Page:
        """Send a form with some fields filled in, as a browser would."""
        headers = self._headers() | {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
        answer = await self.client.post(form.action, data=form.fields | values, headers=headers)
        return await self._follow(answer) if follow else Page(answer)

    async def fill(self, page: Page, action: str, **values: str) -> Page:
        return await self.post(page.form(action), follow=True, **values)

    async def sign_in(self, code: str | None = None) -> Page:
        """The whole sign-in, with a passcode where one is asked for."""
        page = await self.get("/sign-in")
        page = await self.fill(page, "/sign-in", username=self.person.email, password=self.person.password)
        if page.path == "/sign-in/second-factor":
            page = await self.fill(page, "/sign-in/second-factor", code=code or self.person.code())
        return page

    async def _follow(self, answer: httpx.Response) -> Page:
        for _ in range(5):
            if answer.status_code != 303 or not answer.headers["location"].startswith("/"):
                return Page(answer)
            answer = await self.client.get(answer.headers["location"], headers=self._headers())
        raise AssertionError("more than five redirects")

    def _headers(self) -> dict[str, str]:
        return {"x-forwarded-for": self.person.address}
