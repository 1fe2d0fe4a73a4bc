"""The suite's browser: it knows no JavaScript but an auto-submitted form, finds fields by their id, and stops
where an address leaves the provider."""

import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import httpx

from service.domain import totp
from tests.builders import Person
from tests.pages.visitor import Form, Page

#: What its address bar may go through before something must be shown.
_MOST_HOPS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_REFRESH = re.compile(r"0; ?url=(.+)", re.IGNORECASE)

ResponseMode: TypeAlias = Literal["query", "form_post"]


@dataclass(frozen=True)
class Left:
    """Where the browser was sent when it left the provider, how, and what it carried there. `plain` says
    that a redirect took it there, and no page."""

    address: str
    parameters: Mapping[str, str]
    mode: ResponseMode
    plain: bool


class Browser:
    """One browser with its own cookies, used by one person."""

    def __init__(self, issuer: str, person: Person, trust: ssl.SSLContext) -> None:
        self.person = person
        self.client = httpx.AsyncClient(
            base_url=issuer,
            verify=trust,
            timeout=30,
            trust_env=False,
            headers={"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
        )
        #: The paths of the pages that were shown, in order.
        self.shown: list[str] = []
        self._issuer, self._trust = issuer, trust
        self._last_step = -1

    async def open(self, address: str) -> Page | Left:
        """Follow an address to the page it shows, or out of the provider."""
        return await self._follow(await self.client.get(address))

    async def open_by_form(self, address: str, origin: str, fields: Mapping[str, str]) -> Page | Left:
        """Follow a form that a page of another origin sends to the provider: no cookie of `SameSite=Lax` goes
        with it."""
        async with httpx.AsyncClient(verify=self._trust, timeout=30, trust_env=False) as bare:
            answer = await bare.post(address, data=fields, headers={"origin": origin})
        self.client.cookies.extract_cookies(answer)
        return await self._follow(answer)

    async def submit(self, page: Page, **typed: str) -> Page | Left:
        """Type into the fields with these ids, and send their form as it stands in the page."""
        named = {told["id"]: told.get("name") for tag, told in page.tags if tag == "input" and "id" in told}
        assert all(named.get(one) == one for one in typed), f"fields of {page.path}: {named}"
        (form,) = [form for form in page.forms if typed.keys() <= form.fields.keys()]
        return await self.send(page, form, **typed)

    async def send(self, page: Page, form: Form, **typed: str) -> Page | Left:
        assert form.method == "post"
        target = str(page.answer.url.join(form.action))
        assert not self._leaves(target), "a form that leaves is the way out, and was followed already"
        headers = {"origin": self._issuer, "referer": str(page.answer.url)}
        return await self._follow(await self.client.post(target, data=form.fields | typed, headers=headers))

    async def through(self, step: Page | Left) -> Left:
        """Do whatever the pages ask for, until the browser leaves."""
        for _ in range(6):
            if isinstance(step, Left):
                return step
            step = await self._answer(step)
        raise AssertionError(f"the journey has no end: {self.shown}")

    async def page(self, address: str) -> Page:
        """Open an address that must show a page and lead nowhere."""
        step = await self.open(address)
        assert isinstance(step, Page), f"sent to {step.address}"
        return step

    async def error_page(self, address: str, wrong: str) -> None:
        """Open an address that is refused by a page in HTML, which leads nowhere: not by redirect, refresh,
        form or link; least of all to `wrong`, the address that was asked for."""
        page = await self.page(address)
        assert page.answer.status_code == 400
        assert page.answer.headers["content-type"].startswith("text/html")
        assert "location" not in page.answer.headers
        assert wrong not in page.answer.text
        assert {told["href"] for tag, told in page.tags if tag == "a"} <= {"#main", "/help", "/account"}
        assert page.text

    def passcode(self) -> str:
        """What the app shows now, or next where this step's was typed already: each is good once."""
        self._last_step = max(totp.step_at(self.person.now), self._last_step + 1)
        return totp.code_at(self.person.secret, self._last_step)

    async def _answer(self, page: Page) -> Page | Left:
        assert page.answer.status_code == 200, page.text
        if page.path == "/sign-in":
            return await self.submit(page, username=self.person.email, password=self.person.password)
        if page.path == "/sign-in/second-factor":
            return await self.submit(page, code=self.passcode())
        if page.path == "/account/reauthentication":
            return await self.submit(page, password=self.person.password, code=self.passcode())
        allow = [form for form in page.forms if form.fields.get("decision") == "allow"]
        assert allow, f"a page that the suite does not know: {page.path}: {page.text}"
        return await self.send(page, allow[0])

    async def _follow(self, answer: httpx.Response) -> Page | Left:
        for _ in range(_MOST_HOPS):
            if answer.status_code in _REDIRECTS:
                target, plain = str(answer.url.join(answer.headers["location"])), True
            else:
                page = Page(answer)
                assert answer.headers["content-type"].startswith("text/html"), answer.text
                assert "location" not in answer.headers
                if leaving := [form for form in page.forms if self._leaves(form.action)]:
                    (form,) = leaving
                    assert form.method == "post"
                    return Left(form.action, dict(form.fields), "form_post", plain=False)
                refreshed = _refresh(page)
                if refreshed is None:
                    self.shown.append(page.path)
                    return page
                target, plain = str(answer.url.join(refreshed)), False
            if self._leaves(target):
                return self._left(target, plain=plain)
            answer = await self.client.get(target)
        raise AssertionError(f"more than {_MOST_HOPS} redirects")

    def _leaves(self, target: str) -> bool:
        url = urlsplit(target)
        return bool(url.netloc) and f"{url.scheme}://{url.netloc}" != self._issuer

    @staticmethod
    def _left(target: str, *, plain: bool) -> Left:
        url = urlsplit(target)
        assert not url.fragment
        pairs = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
        assert len(dict(pairs)) == len(pairs), "a parameter stands twice"
        return Left(f"{url.scheme}://{url.netloc}{url.path}", dict(pairs), "query", plain)


def _refresh(page: Page) -> str | None:
    """Where a page goes on by itself, at once."""
    refreshes = [told for tag, told in page.tags if tag == "meta" and told.get("http-equiv") == "refresh"]
    if not refreshes:
        return None
    (told,) = refreshes
    found = _REFRESH.fullmatch(told["content"])
    assert found, told
    return found[1]


def seconds_now() -> float:
    """The time as a relying party's own clock has it."""
    return time.time()
