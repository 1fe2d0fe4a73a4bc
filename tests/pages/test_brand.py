"""Whose way a person is on shows in the pages: name, picture, colours and links, and to nobody else (U17)."""

import re
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from service.domain.oidc import colors, logos
from service.flows import clients as client_flow
from service.http.brand import SCHEMES
from tests.builders import House
from tests.pages.portal import CALLBACK, PORTAL, asked
from tests.pages.visitor import Page, Visitor

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M0 0h8v8z"/></svg>'
BRANDED = replace(
    PORTAL,
    client_uri="https://portal.example/",
    policy_uri="https://portal.example/legal#privacy",
    tos_uri="https://portal.example/terms",
    brand_color="#ffd500",
    logo=logos.of(SVG, "image/svg+xml"),
)
OTHER = replace(
    BRANDED,
    id="other",
    name="The Other",
    redirect_uris=(CALLBACK + "2",),
    brand_color="#663399",
    policy_uri="https://other.example/privacy",
    logo=None,
)


def attributes(page: Page, tag: str, name: str) -> list[str]:
    return [told[name] for kind, told in page.tags if kind == tag and name in told]


def sheet_of(page: Page) -> str:
    (address,) = [one for one in attributes(page, "link", "href") if ".css" in one]
    return address


def is_branded(page: Page, name: str = "The Portal") -> bool:
    return name in page.text and "/clients/" in sheet_of(page)


@pytest.mark.case("U-17")
async def test_a_page_shows_whose_way_it_is_on(house: House) -> None:
    await client_flow.create(house.world, BRANDED)
    await client_flow.create(house.world, OTHER)
    visitor = Visitor(await house.a_person())
    page = await visitor.get(asked())
    assert page.path == "/sign-in"
    assert is_branded(page)
    (title,) = re.findall("<title>(.*?)</title>", page.answer.text)
    assert "The Portal" in title
    (logo,) = [one for one in attributes(page, "img", "src") if "logo" in one]
    assert logo.startswith("/clients/portal/logo?v=")
    assert {BRANDED.policy_uri, BRANDED.tos_uri} <= set(attributes(page, "a", "href"))
    other = await visitor.get(asked(client_id="other", redirect_uri=CALLBACK + "2"))
    assert is_branded(other, "The Other")
    assert sheet_of(other) != sheet_of(page)
    assert OTHER.policy_uri in attributes(other, "a", "href")
    assert not [one for one in attributes(other, "img", "src") if "logo" in one]
    # Each tab goes on with its own; the same person without a portal sees ours.
    assert is_branded(await visitor.get(page.form("/sign-in").action))
    plain = await visitor.get("/sign-in")
    assert not is_branded(plain)
    assert not any("portal.example" in one for one in attributes(plain, "a", "href"))


@pytest.mark.case("U-17")
async def test_a_client_without_a_brand_has_its_name_on_our_own_page(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    page = await Visitor(await house.a_person()).get(asked())
    assert "The Portal" in page.text
    assert sheet_of(page).startswith("/static/doorward.css?v=")


@pytest.mark.case("U-17")
async def test_nobody_else_sees_the_brand_of_a_request(house: House) -> None:
    await client_flow.create(house.world, BRANDED)
    ada, eve = Visitor(await house.a_person()), Visitor(await house.a_person())
    page = await ada.get(asked())
    address = page.form("/sign-in").action
    assert is_branded(await ada.get(address))
    (target,) = parse_qs(urlsplit(address).query)["return_to"]
    made_up = "dwa_" + "A" * 43
    for visitor, path in (
        (eve, address),
        (eve, target),
        (ada, f"/sign-in?return_to=/continue%3Frequest%3D{made_up}"),
        (ada, f"/continue?request={made_up}"),
        (ada, address[:-1]),
        (ada, address + "A"),
    ):
        assert not is_branded(await visitor.get(path)), path
    await client_flow.disable(house.world, "portal")
    assert not is_branded(await ada.get(address)), "a client that is disabled lends its face to nothing"


@pytest.mark.case("U-17")
async def test_every_step_on_the_way_is_the_portals(house: House) -> None:
    await client_flow.create(house.world, replace(BRANDED, first_party=False))
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    page = await visitor.get(asked())
    seen = [page]
    page = await visitor.post(page.form("/sign-in"), username=ada.email, password=ada.password)
    seen.append(page)
    page = await visitor.post(page.form("/sign-in/second-factor"), code=ada.code())
    seen.append(page)
    deny = next(form for form in page.forms if form.fields.get("decision") == "deny")
    seen.append(await visitor.post(deny))
    assert [one.path for one in seen] == ["/sign-in", "/sign-in/second-factor", "/continue", "/continue"]
    assert all(map(is_branded, seen))
    account = await visitor.get("/account")
    assert "/clients/" not in sheet_of(account), "the account is ours"
    house.clock.advance(60)
    # A fresh proof, and an enrolment behind it: the handle is packed twice.
    again = await visitor.get(asked(prompt="login"))
    assert again.path == "/account/reauthentication"
    assert is_branded(again)
    (target,) = parse_qs(urlsplit(again.form("/account/reauthentication").action).query)["return_to"]
    handle = target.rpartition("=")[2]
    twice = f"return_to=/account/two-factor/enable%3Freturn_to%3D/continue%253Frequest%253D{handle}"
    assert is_branded(await visitor.get(f"/account/reauthentication?{twice}"))


@pytest.mark.case("U-17")
async def test_the_style_sheet_of_a_brand_is_ours_with_colors_that_can_be_read(house: House) -> None:
    await client_flow.create(house.world, BRANDED)
    visitor = Visitor(await house.a_person())
    page = await visitor.get(asked())
    sheet = await visitor.client.get(sheet_of(page))
    assert sheet.headers["content-type"] == "text/css; charset=utf-8"
    assert sheet.headers["cache-control"] == "public, max-age=31536000, immutable"
    ours = (await visitor.client.get(sheet_of(await visitor.get("/sign-in")))).text
    assert sheet.text.startswith(ours)
    told = re.findall(r"--act: (#[0-9a-f]{6}); --on-act: (#[0-9a-f]{6});", sheet.text[len(ours) :])
    assert len(told) == len(SCHEMES) == 2
    assert [scheme.dark for scheme in SCHEMES] == [False, True]
    for (act, on_act), scheme in zip(told, SCHEMES, strict=True):
        # A yellow that nobody could read on white, and that is right on black.
        assert (act == "#ffd500") is scheme.dark
        for ground in scheme.grounds:
            assert colors.contrast(act, ground) >= 4.5
        assert colors.contrast(act, on_act) >= 4.5
    old = await visitor.client.get("/clients/portal/doorward.css?v=000000000000")
    assert (old.text, old.headers["cache-control"]) == (sheet.text, "public, max-age=300")


def test_the_schemes_are_those_of_the_style_sheet() -> None:
    """They are read from it, so that a colour is changed in one place; were they misread, this would tell."""
    for scheme in SCHEMES:
        shades = [colors.luminance(ground) for ground in scheme.grounds]
        assert len(shades) == 7
        assert max(shades) < 0.04 if scheme.dark else min(shades) > 0.8


@pytest.mark.case("U-17")
async def test_a_picture_is_served_where_nothing_of_it_can_run(house: House) -> None:
    await client_flow.create(house.world, BRANDED)
    visitor = Visitor(await house.a_person())
    page = await visitor.get(asked())
    (address,) = [one for one in attributes(page, "img", "src") if "logo" in one]
    logo = await visitor.client.get(address)
    assert logo.content == SVG
    assert logo.headers["content-type"] == "image/svg+xml; charset=utf-8"
    assert logo.headers["x-content-type-options"] == "nosniff"
    policy = logo.headers["content-security-policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert logo.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "set-cookie" not in logo.headers
    later = await visitor.client.get("/clients/portal/logo")
    assert later.headers["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize("id", ["nobody", "plain", "off", "a b", "%00", "doorward", "..%2Fportal"])
@pytest.mark.parametrize("what", ["logo", "doorward.css"])
async def test_what_has_no_brand_has_no_files(house: House, id: str, what: str) -> None:
    await client_flow.create(house.world, replace(PORTAL, id="plain"))
    await client_flow.create(house.world, replace(BRANDED, id="off", disabled=True))
    assert (await house.client.get(f"/clients/{id}/{what}")).status_code == 404


async def test_the_last_pages_of_a_portal_tell_who_asked(house: House) -> None:
    await client_flow.create(house.world, BRANDED)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    page = await visitor.get("/oauth2/logout?client_id=portal")
    assert is_branded(page)
    assert "asks to sign you out" in page.text
    page = await visitor.fill(page, "/oauth2/logout/confirm")
    assert page.path == "/signed-out"
    assert "The Portal signed you out." in page.text
    assert BRANDED.client_uri in attributes(page, "a", "href")
    assert "signed you out" not in (await visitor.get("/signed-out")).text, "it is said once"
    page = await visitor.get("/oauth2/logout?client_id=portal")
    assert "You are signed out" in page.text
    assert "signed you out" not in page.text, "nobody was signed in when the link was followed"
    assert BRANDED.client_uri in attributes(page, "a", "href")
