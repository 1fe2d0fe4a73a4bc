"""Every page that says what went wrong: whose it is, a reference, a way back, and nothing of the inside."""

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from service.errors import RateLimited, Unavailable
from service.flows import clients as client_flow
from service.flows import me as me_flow
from service.flows.oidc import authorize as authorize_flow
from tests.builders import House
from tests.pages.portal import CALLBACK, PORTAL, asked
from tests.pages.visitor import ORIGIN, Page, Visitor

HOME = "https://portal.example/"
BRANDED = replace(PORTAL, brand_color="#0b5a66", client_uri=HOME)
HTML = {"accept": "text/html,*/*;q=0.8"}


def attribute(page: Page, id: str, name: str) -> Any:
    """An attribute of the element of this id, or None where there is no such element."""
    return next((told.get(name, "") for _, told in page.tags if told.get("id") == id), None)


def is_of_the_portal(page: Page) -> bool:
    return "The Portal" in page.text and "/clients/portal/doorward.css" in page.answer.text


async def on_the_way(house: House) -> tuple[Visitor, str]:
    """A browser at the sign-in for a portal, and the query that says so."""
    await client_flow.create(house.world, BRANDED)
    visitor = Visitor(await house.a_person())
    visitor.client.base_url = httpx.URL(house.world.settings.issuer)
    page = await visitor.get(asked())
    return visitor, page.form("/sign-in").action.partition("?")[2]


async def refusals(house: House, visitor: Visitor, way: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One answer of each status that a page can have, on the way of `way`."""
    client, here = visitor.client, f"/sign-in?{way}"
    own = {"origin": house.world.settings.issuer, "sec-fetch-site": "same-origin"}
    form = (await visitor.get(here)).form("/sign-in").fields | {"username": "a@example.com"}
    yield 403, await client.post(here, data=form | {"csrf_token": "A"}, headers=own)
    yield 404, await client.get(f"/sign-in/nowhere?{way}", headers=HTML)
    yield 405, await client.put(here, headers=HTML)
    yield 413, await client.post(here, data=form | {"password": "x" * 20_000}, headers=own)
    house.clock.advance(3_601)
    handle = way.rpartition("%3D")[2]
    yield 400, await client.get(f"/continue?request={handle}")

    for status, fault in (
        (429, RateLimited("test fault", retry_after=7)),
        (503, Unavailable("test fault", retry_after=3)),
        (500, ZeroDivisionError("a value of the inside")),
    ):

        async def failing(*_: object, fault: Exception = fault, **__: object) -> None:
            raise fault

        monkeypatch.setattr(authorize_flow, "go_on", failing)
        yield status, await client.get(f"/continue?request={handle}")


@pytest.mark.case("U-18")
@pytest.mark.parametrize(
    "settings", [{}, {"issuer": "https://identity.example", "dev": False}], indirect=True
)
async def test_every_refusal_is_a_page_with_its_reference_and_a_way_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor, way = await on_the_way(house)
    seen = set()
    async for status, answer in refusals(house, visitor, way, monkeypatch):
        page = Page(answer)
        seen.add(status)
        assert answer.status_code == status, page.text
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["cache-control"] == "no-store"
        assert is_of_the_portal(page), status
        # The reference is the header's, in a place that a button copies.
        assert f"request {answer.headers['x-request-id']}" in page.text
        assert f"({status})" in page.text
        assert 'data-copy="#reference"' in answer.text
        (title,) = re.findall("<title>(.*?)</title>", answer.text)
        assert title.startswith("Error: ")
        assert answer.text.count("<h1") == 1
        back = attribute(page, "back", "href")
        assert back == (f"/sign-in?{way}" if status in (403, 404, 405, 413) else HOME), status
        assert (attribute(page, "again", "href") is not None) == (status in (429, 500, 503))
        if status in (429, 503):
            assert int(answer.headers["retry-after"]) > 0
        assert "Traceback" not in answer.text
        assert "value of the inside" not in answer.text
        assert "retry_after" not in page.text, "a word for machines"
        # What the log says is told to whoever develops, and to nobody else.
        assert (attribute(page, "hint", "id") == "hint") is house.world.settings.dev
    assert seen == {400, 403, 404, 405, 413, 429, 500, 503}


@pytest.mark.case("U-18")
async def test_without_a_portal_the_same_pages_are_ours(house: House) -> None:
    visitor = Visitor(await house.a_person())
    page = Page(await visitor.client.get("/nowhere", headers=HTML))
    assert page.answer.status_code == 404
    assert "Doorward" in page.text
    assert attribute(page, "back", "href") == "/account"
    await visitor.sign_in()
    page = Page(await visitor.client.get("/continue?request=nonsense"))
    assert page.answer.status_code == 400
    assert attribute(page, "back", "href") == "/account"


@pytest.mark.case("U-18")
async def test_the_way_back_never_leads_to_the_page_that_was_refused(house: House) -> None:
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    for path, status in (("/admin/users", 403), (f"/continue?request=dwa_{'A' * 43}", 400)):
        page = await visitor.get(path)
        assert page.answer.status_code == status
        assert attribute(page, "back", "href") == "/account", path


@pytest.mark.case("U-18")
async def test_a_page_goes_without_its_brand_while_the_database_is_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor, way = await on_the_way(house)

    async def away(*_: object) -> None:
        raise Unavailable("test fault")

    monkeypatch.setattr(authorize_flow, "asking", away)
    page = await visitor.get(f"/sign-in?{way}")
    assert (page.answer.status_code, is_of_the_portal(page)) == (200, False)
    monkeypatch.undo()
    assert is_of_the_portal(await visitor.get(f"/sign-in?{way}"))


@pytest.mark.case("U-34")
@pytest.mark.parametrize(
    "path", ["//evil.example/", "/\\evil.example/", "/%5Cevil.example/", "/%2F/evil.example"]
)
async def test_a_page_offers_no_address_of_another_host_to_try_again(
    house: House, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def failing(*_: object) -> None:
        raise Unavailable("test fault")

    monkeypatch.setattr(me_flow, "overview", failing)
    visitor = Visitor(await house.a_person())
    answer = await visitor.client.get(f"{ORIGIN}{path}", headers=HTML)
    assert not [one for one in _links(Page(answer)) if not re.match(r"/[A-Za-z0-9]|/$|#", one)]


def _links(page: Page) -> list[str]:
    return [told["href"] for tag, told in page.tags if tag == "a"]


@pytest.mark.case("U-74")
@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"client_id": "unknown"}, "client"),
        ({"client_id": ""}, "client"),
        ({"redirect_uri": "https://evil.example/callback"}, "redirect"),
        ({"redirect_uri": CALLBACK + "/"}, "redirect"),
        ({"redirect_uri": "javascript:alert(1)"}, "redirect"),
        ({"redirect_uri": ""}, "redirect"),
    ],
)
async def test_an_unsafe_redirect_stays_on_our_page_with_its_code_and_reference(
    house: House, changes: dict[str, str], hint: str
) -> None:
    await client_flow.create(house.world, BRANDED)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    page = await visitor.get(asked(**changes))
    assert page.answer.status_code == 400
    assert "location" not in page.answer.headers
    assert "refresh" not in page.answer.text
    assert "evil.example" not in page.answer.text
    assert f"invalid_request (400), request {page.answer.headers['x-request-id']}" in page.text
    assert 'data-copy="#reference"' in page.answer.text
    assert attribute(page, "back", "href") == "/account"
    # `doorward dev` says to whoever develops the portal what is wrong with it.
    (told,) = re.findall(r'<code id="hint">(.*?)</code>', page.answer.text)
    assert hint in told
    assert not is_of_the_portal(page), "nobody is on the way of a portal that asked wrongly"


@pytest.mark.parametrize("code", ["invalid_credentials", "rate_limited", "temporarily_unavailable"])
async def test_the_page_of_an_error_code_says_what_it_means(house: House, code: str) -> None:
    page = await Visitor(await house.a_person()).get(f"/errors/{code}")
    assert page.answer.status_code == 200
    assert code in page.text
    assert attribute(page, "reference", "id") is None


async def test_what_is_not_there_is_a_page_to_whoever_reads_pages(house: House) -> None:
    visitor = Visitor(await house.a_person())
    reading = {"accept": "text/html,application/xhtml+xml"}
    for path in ("/account/nothing", "/nowhere", "/sign-in/nothing"):
        answer = await visitor.client.get(path, headers=reading)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert answer.headers["x-request-id"] in answer.text
    for path in ("/v1/nowhere", "/oauth2/nowhere"):
        answer = await visitor.client.get(path, headers=reading)
        assert answer.headers["content-type"] == "application/problem+json"
    for path, page in (
        ("/account/two-factor/enable/confirm", "/account/two-factor/enable"),
        ("/sign-in/enrolment/confirm", "/sign-in/enrolment"),
        ("/sign-out", "/account"),
    ):
        answer = await visitor.client.get(path, headers=reading)
        assert (answer.status_code, answer.headers["location"]) == (303, page)
