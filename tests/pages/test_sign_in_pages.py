"""The first step of a sign-in and the help page without a script: each field, and what each refusal says."""

from contextlib import ExitStack

import pytest

from service.flows import clients as client_flow
from service.world import World
from tests.builders import House
from tests.pages.fields import at_second_factor, by_id, field, labels, links, take_all
from tests.pages.portal import PORTAL, asked
from tests.pages.visitor import Page, Visitor


@pytest.mark.case("U-19")
@pytest.mark.case("U-20")
@pytest.mark.case("U-22")
async def test_the_fields_are_what_password_managers_and_readers_expect(house: House) -> None:
    visitor = Visitor(await house.a_person())
    page = await visitor.get("/sign-in")
    name, password = field(page, "username"), field(page, "password")
    assert (name["id"], name["type"], name["autocomplete"]) == ("username", "email", "username")
    assert (name["autocapitalize"], name["spellcheck"]) == ("none", "false")
    assert (password["id"], password["type"], password["autocomplete"]) == (
        "password",
        "password",
        "current-password",
    )
    assert {"username", "password"} <= labels(page)
    assert "autofocus" in name
    assert "autofocus" not in password
    (toggle,) = [told for tag, told in page.tags if tag == "button" and "data-shows" in told]
    assert (toggle["type"], toggle["aria-pressed"]) == ("button", "false")
    assert "hidden" in toggle, "without a script it would do nothing"


@pytest.mark.case("U-24")
async def test_a_wrong_pair_keeps_the_address_and_says_one_thing(house: House) -> None:
    """That it is said at the same price to everybody is K-35, K-36 (tests/http/test_timing.py)."""
    ada = await house.a_person()
    texts = set()
    for email in (ada.email, "nobody@example.com"):
        visitor = Visitor(ada)
        page = await visitor.fill(
            await visitor.get("/sign-in"), "/sign-in", username=email, password="not the password"
        )
        assert by_id(page, "notice")["role"] == "alert"
        name, password = field(page, "username"), field(page, "password")
        assert (name["value"], password.get("value")) == (email, None)
        assert "autofocus" in password
        for one in (name, password):
            assert one["aria-invalid"] == "true"
            assert "notice" in one["aria-describedby"].split()
        texts.add(page.text.replace(email, "…"))
    (text,) = texts
    assert text.count("The email or password is incorrect.") == 1
    assert text.startswith("Error:")


@pytest.mark.case("U-25")
async def test_spaces_around_an_address_and_its_case_do_not_matter(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.fill(
        await visitor.get("/sign-in"), "/sign-in", username=f" {ada.email.upper()}  ", password=ada.password
    )
    assert page.path == "/account"


@pytest.mark.case("U-26")
async def test_what_is_missing_stands_at_its_field(house: House) -> None:
    visitor = Visitor(await house.a_person())
    page = await visitor.get("/sign-in")
    for email, password, marked in (
        ("", "", ["username", "password"]),
        ("  ", "x", ["username"]),
        ("ada@example.com", "", ["password"]),
        ("no address", "x", ["username"]),
    ):
        page = await visitor.fill(page, "/sign-in", username=email, password=password)
        names = ("username", "password")
        assert [name for name in names if "hidden" not in by_id(page, f"{name}-fault")] == marked
        assert [name for name in names if "aria-invalid" in field(page, name)] == marked
        assert [name for name in names if "autofocus" in field(page, name)] == marked[:1]
        assert f"{marked[0]}-fault" in field(page, marked[0])["aria-describedby"].split()
        assert field(page, "username")["value"] == email
    assert await house.events("account:sign_in") == [], "nothing was tried"


@pytest.mark.case("U-27")
async def test_too_many_attempts_count_down_to_the_moment_that_the_header_names(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    target = "/account/two-factor/enable"
    page = await visitor.get(f"/sign-in?return_to={target}")
    for _ in range(6):
        page = await visitor.fill(page, "/sign-in", username=ada.email, password="not the password")
    wait = page.answer.headers["retry-after"]
    notice = by_id(page, "notice")
    assert (page.answer.status_code, notice["data-countdown"], notice["data-then"]) == (429, wait, "enable")
    assert f"Too many attempts. Try again in {wait} s ." in page.text
    (timer,) = [told for _, told in page.tags if told.get("role") == "timer"]
    assert timer["aria-live"] == "off", "not every second is read out"
    assert "data-waits" in by_id(page, "sign-in")
    assert field(page, "username")["value"] == ada.email
    house.clock.advance(int(wait))
    page = await visitor.fill(page, "/sign-in", username=ada.email, password=ada.password)
    assert page.path == target, "the way on was not lost"


async def test_a_service_under_load_keeps_the_address_and_says_when(house: House, world: World) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.get("/sign-in?return_to=/account/two-factor/enable")
    with ExitStack() as places:
        take_all(places, world)
        page = await visitor.fill(page, "/sign-in", username=ada.email, password=ada.password)
        wait, notice = page.answer.headers["retry-after"], by_id(page, "notice")
        assert (page.answer.status_code, notice["data-countdown"], notice["data-then"]) == (503, wait, "send")
        assert "We are handling many sign-ins right now." in page.text
        assert field(page, "username")["value"] == ada.email
        assert ada.password not in page.answer.text
    page = await visitor.fill(page, "/sign-in", username=ada.email, password=ada.password)
    assert page.path == "/account/two-factor/enable"


@pytest.mark.case("U-32")
async def test_a_browser_that_keeps_no_cookies_is_told_so_at_once(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    form = (await visitor.get("/sign-in?return_to=/account/two-factor/enable")).form("/sign-in")
    visitor.client.cookies.clear()
    page = await visitor.post(form, follow=False, username=ada.email, password=ada.password)
    assert page.answer.status_code == 403
    assert "Your browser sent none of our cookies." in page.text
    assert page.answer.headers["x-request-id"] in page.text
    assert "/sign-in?return_to=/account/two-factor/enable" in links(page)
    # From elsewhere no cookie comes either, and the reason is another one.
    visitor.client.cookies.clear()
    elsewhere = {"sec-fetch-site": "cross-site"}
    refused = await visitor.client.post(form.action, data=form.fields, headers=elsewhere)
    assert refused.status_code == 403
    assert "none of our cookies" not in refused.text


@pytest.mark.case("U-32")
async def test_a_portal_s_person_without_cookies_is_told_after_one_redirect(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    visitor = Visitor(await house.a_person())
    redirect = await visitor.client.get(asked())
    assert redirect.status_code == 303
    visitor.client.cookies.clear()
    page = Page(await visitor.client.get(redirect.headers["location"]))
    assert page.answer.status_code == 400
    assert "Your browser sent none of our cookies." in page.text


@pytest.mark.case("U-20")
async def test_whom_a_portal_names_types_the_password_only(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person()
    page = await Visitor(ada).get(asked(login_hint=ada.email))
    assert field(page, "username")["value"] == ada.email
    assert "autofocus" in field(page, "password")
    assert "autofocus" not in field(page, "username")


async def test_somebody_signed_in_may_go_on_or_be_somebody_else(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    page = await visitor.get("/sign-in?return_to=/account/two-factor/enable")
    assert f"You are signed in as {ada.email} ." in page.text
    assert by_id(page, "go-on")["href"] == "/account/two-factor/enable"
    assert "Use another account" in page.text
    page = await visitor.fill(page, "/sign-in", username=bob.email, password=bob.password)
    assert page.path == "/account/two-factor/enable"
    assert bob.email in page.text


@pytest.mark.case("U-35")
@pytest.mark.case("U-44")
@pytest.mark.parametrize(
    "settings",
    [
        {
            "pages.support_email": "help@example.org",
            "pages.privacy_uri": "https://example.org/privacy",
            "pages.terms_uri": "https://example.org/terms",
        }
    ],
    indirect=True,
)
async def test_help_is_at_the_same_place_of_every_page_and_knows_every_way_back(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    pages = [
        page,
        *[await visitor.get(path) for path in ("/sign-in", "/sign-in/backup-code", "/help")],
    ]
    wanted = ["/help", "https://example.org/privacy", "https://example.org/terms"]
    for one in pages:
        foot = Page(one.answer)
        assert [link for link in links(foot) if link in wanted] == wanted, one.path
    assert "/help#password" in links(pages[1])
    told = pages[-1]
    assert {"password", "lost-device", "codes", "waiting", "contact"} <= {
        one.get("id") for tag, one in told.tags if tag == "section"
    }
    for way in ("Another authenticator", "A backup code", "An administrator’s reset"):
        assert way in told.text
    assert "mailto:help@example.org" in links(told)
    (time,) = [one["datetime"] for tag, one in told.tags if tag == "time"]
    assert time == house.clock.now().isoformat(timespec="seconds")
    onward = await visitor.get("/help?return_to=/account/two-factor/enable")
    assert "/sign-in?return_to=/account/two-factor/enable" in links(onward)
    assert "/sign-in" in links(await visitor.get("/help?return_to=https://evil.example/"))


@pytest.mark.case("U-35")
async def test_help_is_no_way_out_of_a_sign_in_for_a_portal(house: House) -> None:
    visitor, way = Visitor(await house.a_person()), f"?return_to=/continue%3Frequest%3Ddwa_{'A' * 43}"
    for path in ("/sign-in", "/help"):
        assert links(await visitor.get(path + way)).count(f"/help{way}") == 1, path
    assert f"/sign-in{way}" in links(await visitor.get(f"/help{way}"))
    await visitor.sign_in()
    page = await visitor.get(f"/account/reauthentication{way}")
    assert f"/help{way}" in links(page)
