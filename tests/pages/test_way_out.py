"""Out of our origin and back: to the portal that asked, for the account that is wanted, and nowhere else."""

import re
from dataclasses import replace
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

from service.flows import clients as client_flow
from tests.builders import House
from tests.pages.portal import AFTER, CALLBACK, LEAVING, PORTAL, answer, asked, logout, signed_in
from tests.pages.visitor import Page, Visitor

#: Addresses that lead elsewhere, by all that readers of addresses disagree about.
ELSEWHERE = [
    "https://evil.example/",
    "http://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/%09/evil.example",
    "/%2f/evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https://127.0.0.1:8400@evil.example/",
    "https://127.0.0.1:8400.evil.example/",
    "https://evil.example/account",
    "https://evil.example\\@127.0.0.1:8400/",
    "/account//evil.example",
    "/account/../..//evil.example",
    "/account?next=https://evil.example",
    "/account@evil.example",
    "/account\r\nLocation: https://evil.example",
    "/account#https://evil.example/",
    "/continue?request=https://evil.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)//",
    "data:text/html,evil",
    "vbscript:evil",
    "evil.example",
    "@evil.example",
    ".evil.example",
    "?https://evil.example",
    "#@evil.example",
    "https://evil\uff0eexample/",
    "\u2028//evil.example",
    "",
]


def destinations(page: Page) -> list[str]:
    """Wherever a page leads: by redirect, refresh, link or form."""
    found = [told["href"] for tag, told in page.tags if tag == "a" and "href" in told]
    found += [form.action for form in page.forms]
    found += re.findall(r'content="0; url=([^"]*)"', page.answer.text)
    return [*found, *([page.answer.headers["location"]] if "location" in page.answer.headers else [])]


def stays(page: Page) -> bool:
    """Whether a page leads to ours alone."""
    return all(re.match(r"/(?:[A-Za-z0-9?]|$)|#|\?", one) for one in destinations(page))


def own(page: Page) -> str:
    """The form's way on, which it carries in its address."""
    return parse_qs(urlsplit(page.form("/sign-in").action).query).get("return_to", ["/account"])[0]


@pytest.mark.case("U-34")
@pytest.mark.case("K-42")
async def test_no_return_address_leads_out(house: House) -> None:
    ada = await house.a_person()
    for wanted in ELSEWHERE:
        visitor = Visitor(ada)
        page = await visitor.get(f"/sign-in?return_to={quote(wanted, safe='')}")
        assert stays(page), ascii(wanted)
        assert own(page) == "/account", ascii(wanted)
    page = await visitor.fill(page, "/sign-in", username=ada.email, password=ada.password)
    assert page.path == "/account"
    for wanted in ELSEWHERE:
        for path in ("/sign-in", "/account/reauthentication"):
            page = await visitor.get(f"{path}?return_to={quote(wanted, safe='')}")
            assert stays(page), (path, ascii(wanted))
            # The ways to other languages keep the address of the page as it is; it counts for nothing there.
            kept = [one for one in destinations(page) if "ui_locales" not in one]
            assert "evil" not in " ".join(map(unquote, kept)), (path, ascii(wanted))


@pytest.mark.case("U-34")
async def test_no_redirect_address_but_the_clients_own_is_followed(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    near = [CALLBACK + "/", CALLBACK + "?", CALLBACK + "#", CALLBACK + "/..", CALLBACK.upper(), AFTER]
    for wanted in [*ELSEWHERE, *near]:
        for more in ({}, {"prompt": "none"}, {"response_mode": "form_post"}, {"scope": ""}):
            page = await visitor.get(asked(redirect_uri=wanted, **more))
            assert page.answer.status_code == 400, ascii(wanted)
            assert stays(page), ascii(wanted)


@pytest.mark.case("U-34")
@pytest.mark.case("U-73")
async def test_after_a_logout_only_a_registered_address_is_gone_to(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    visitor = Visitor(await house.a_person())
    token = (await signed_in(house, visitor))["id_token"]
    for wanted in [*(one for one in ELSEWHERE if one), AFTER + "/", AFTER + "?", CALLBACK]:
        for proof in ({"id_token_hint": token}, {"client_id": "portal"}, {}):
            page = await visitor.get(logout(post_logout_redirect_uri=wanted, **proof))
            assert page.answer.status_code == 400, ascii(wanted)
            assert stays(page), ascii(wanted)
    assert (await visitor.get("/account")).path == "/account", "and nobody was signed out by any"


@pytest.mark.case("U-31")
async def test_two_tabs_of_two_portals_each_end_at_their_own(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    second = replace(PORTAL, id="other", redirect_uris=(CALLBACK + "2",))
    await client_flow.create(house.world, second)
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    one = await visitor.get(asked(state="one"))
    two = await visitor.get(asked(client_id="other", redirect_uri=CALLBACK + "2", state="two"))
    # The first tab is half-way when the second begins and is done.
    half = await visitor.post(one.form("/sign-in"), username=ada.email, password=ada.password)
    assert half.path == "/sign-in/second-factor"
    two = await visitor.post(two.form("/sign-in"), username=ada.email, password=ada.password)
    two = await visitor.post(two.form("/sign-in/second-factor"), code=ada.code())
    (address,) = re.findall(r'url=([^"]+)"', two.answer.text)
    assert address.startswith(CALLBACK + "2?")
    assert "state=two" in address
    # Its form is of a sign-in that is over; the tab is not at a dead end all the same.
    stale = await visitor.post(half.form("/sign-in/second-factor"), code=ada.code(1))
    assert stale.answer.status_code in (200, 403)
    again = await visitor.get(half.form("/sign-in/second-factor").action)
    assert again.path == "/sign-in"
    onward = next(one for one in destinations(again) if one.startswith("/continue?"))
    told = answer(await visitor.get(onward))
    assert told["state"] == "one"
    assert await house.value("SELECT count(*) FROM authorization_code") == 2


@pytest.mark.case("U-33")
async def test_whoever_is_signed_in_goes_on_or_takes_another_account(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada, bob = await house.a_person(), await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    page = await visitor.get("/sign-in")
    assert ada.email in page.text
    assert "/account" in destinations(page)
    assert page.form("/sign-in").fields["username"] == "", "and there is the form for another"
    house.clock.advance(60)

    page = await visitor.get(asked(prompt="select_account"))
    assert page.path == "/continue"
    assert ada.email in page.text
    other = next(one for one in destinations(page) if one.startswith("/sign-in?"))
    stay = next(form for form in page.forms if form.fields.get("decision") == "stay")
    assert "code" in answer(await visitor.post(stay))

    page = await visitor.get(asked(prompt="select_account"))
    other = next(one for one in destinations(page) if one.startswith("/sign-in?"))
    page = await visitor.get(other)
    page = await visitor.post(page.form("/sign-in"), username=bob.email, password=bob.password)
    assert "code" in answer(page)
    assert bob.email in (await visitor.get("/account")).text


@pytest.mark.case("U-33")
async def test_a_fresh_proof_is_asked_for_where_it_is_wanted_and_nothing_where_silence_is(
    house: House,
) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person()
    visitor = Visitor(ada)
    silent = await visitor.get(asked(prompt="none"))
    assert (silent.answer.status_code, answer(silent)["error"]) == (303, "login_required")
    await visitor.sign_in()
    house.clock.advance(60)
    assert "code" in answer(await visitor.get(asked(max_age="61")))
    for wanted in ({"prompt": "login"}, {"max_age": "59"}):
        page = await visitor.get(asked(**wanted))
        assert page.path == "/account/reauthentication", wanted
        house.clock.advance(1)
        page = await visitor.fill(page, "/account/reauthentication", password=ada.password)
        assert "code" in answer(page)
        house.clock.advance(60)
    for more in ({}, {"max_age": "1"}, {"prompt": "none", "id_token_hint": "forged"}):
        silent = await visitor.get(asked(**({"prompt": "none"} | more)))
        assert silent.answer.status_code == 303
        assert silent.answer.text == "", "nothing to be seen, whatever comes of it"


@pytest.mark.case("U-72")
async def test_a_consent_says_who_wants_what_from_whom_and_takes_no_for_an_answer(house: House) -> None:
    scopes = ("openid", "profile", "email", "phone", "address", "offline_access", "reports.read")
    third = replace(LEAVING, first_party=False, scopes=scopes)
    await client_flow.create(house.world, third)
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    page = await visitor.get(asked(scope=" ".join(scopes)))
    assert "The Portal asks for access" in page.text
    assert ada.email in page.text
    for words in (
        "Recognise you when you return",
        "See your name and your language",
        "See your e-mail address",
        "See your phone number",
        "See your postal address",
        "Act for you while you are away",
        "Use “reports.read” for you",
    ):
        assert words in page.text
    assert "take it back at any time on your account page" in page.text
    assert not [told for _, told in page.tags if told.get("id") == "verified"]
    deny = next(form for form in page.forms if form.fields.get("decision") == "deny")
    told = answer(await visitor.post(deny))
    assert (told["error"], told["state"]) == ("access_denied", "s" * 128)
    page = await visitor.get(asked(scope="openid email"))
    allow = next(form for form in page.forms if form.fields.get("decision") == "allow")
    assert "code" in answer(await visitor.post(allow))
    assert "code" in answer(await visitor.get(asked(scope="openid email"))), "it is remembered"
    page = await visitor.get("/account")
    assert "See your e-mail address" in page.text
    await visitor.fill(page, "/account/portals/portal/revoke")
    assert answer(await visitor.get(asked(prompt="none")))["error"] == "consent_required"


@pytest.mark.case("U-72")
async def test_an_application_of_ours_has_a_mark_where_it_asks(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    page = await visitor.get(asked(prompt="consent"))
    assert [told for _, told in page.tags if told.get("id") == "verified"]


@pytest.mark.case("U-73")
async def test_a_good_hint_signs_out_at_once_and_without_one_there_is_a_question(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    ada = await house.a_person()
    visitor = Visitor(ada)
    token = (await signed_in(house, visitor))["id_token"]
    page = await visitor.get(logout(client_id="portal", post_logout_redirect_uri=AFTER))
    assert page.form("/oauth2/logout/confirm")
    assert "/account" in destinations(page), "and they may stay"
    assert (await visitor.get("/account")).path == "/account"
    page = await visitor.fill(page, "/oauth2/logout/confirm")
    assert f"url={AFTER}" in page.answer.text
    await signed_in(house, visitor)
    gone = await visitor.get(logout(id_token_hint=token, post_logout_redirect_uri=AFTER))
    assert (gone.answer.status_code, gone.answer.headers["location"]) == (303, AFTER)
    # What is left opens nothing: a name of the browser, and that it was known here once.
    left = {name.rpartition("doorward")[2] for name in visitor.cookies}
    assert left <= {"-dev-browser", "-dev-device"}
    for path in ("/account", "/account/two-factor/enable", "/account/reauthentication"):
        page = await visitor.get(path)
        assert page.path == "/sign-in"
        assert ada.email not in page.text
    assert await house.value("SELECT count(*) FROM session WHERE ended_at IS NULL") == 0
