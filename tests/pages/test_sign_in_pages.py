"""The pages of a sign-in without a script: what each field is, what each refusal says; none is the end."""

from contextlib import ExitStack
from typing import Any

import pytest

from service.errors import Unavailable
from service.flows import clients as client_flow
from service.world import World
from tests.builders import House, Person
from tests.pages.portal import PORTAL, answer, asked
from tests.pages.visitor import Page, Visitor

SECOND_FACTOR = "/sign-in/second-factor"


def field(page: Page, name: str) -> dict[str, Any]:
    (found,) = [told for tag, told in page.tags if tag == "input" and told.get("name") == name]
    return found


def by_id(page: Page, name: str) -> dict[str, Any]:
    (found,) = [told for _, told in page.tags if told.get("id") == name]
    return found


def labels(page: Page) -> set[str]:
    return {told["for"] for tag, told in page.tags if tag == "label"}


def links(page: Page) -> list[str]:
    return [told["href"] for tag, told in page.tags if tag == "a"]


async def at_second_factor(person: Person, target: str = "") -> tuple[Visitor, Page]:
    visitor = Visitor(person)
    page = await visitor.get("/sign-in" + (f"?return_to={target}" if target else ""))
    page = await visitor.fill(page, "/sign-in", username=person.email, password=person.password)
    assert page.path == SECOND_FACTOR, page.text
    return visitor, page


# The first step


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


def take_all(places: ExitStack, world: World) -> None:
    """Take every place for a stranger's sign-in."""
    while True:
        try:
            places.enter_context(world.pool.admission())
        except Unavailable:
            return


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


# The second step


@pytest.mark.case("U-36")
@pytest.mark.case("U-41")
@pytest.mark.case("U-44")
async def test_one_field_takes_a_passcode_and_has_room_for_a_backup_code(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada, "/account/two-factor/disable")
    told = field(page, "code")
    assert (told["type"], told["inputmode"], told["autocomplete"]) == ("text", "numeric", "one-time-code")
    assert "pattern" not in told
    assert int(told["maxlength"]) >= 20
    assert "autofocus" in told
    assert "code" in labels(page)
    backup = await visitor.get("/sign-in/backup-code?return_to=/account/two-factor/disable")
    told = field(backup, "code")
    assert (told["autocapitalize"], told["spellcheck"], told["autocomplete"]) == ("none", "false", "off")
    for one in (page, backup):
        assert "/help?return_to=/account/two-factor/disable#lost-device" in links(one)
        assert "/sign-in?return_to=/account/two-factor/disable" in links(one)
    assert "/sign-in/backup-code?return_to=/account/two-factor/disable" in links(page)


@pytest.mark.case("U-37")
@pytest.mark.parametrize("gap", [" ", "-", "  ", " - "])
async def test_the_gap_that_apps_show_is_taken(house: House, gap: str) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    code = ada.code()
    page = await visitor.fill(page, SECOND_FACTOR, code=f" {code[:3]}{gap}{code[3:]} ")
    assert page.path == "/account"


@pytest.mark.case("U-39")
@pytest.mark.case("U-40")
async def test_each_wrong_code_is_told_what_helps(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.wrong_code())
    assert "That code is not valid. Codes change every 30 seconds — try the next one." in page.text
    assert "left" not in page.text
    assert "Server time" not in page.text
    told = field(page, "code")
    assert (told.get("value"), told["aria-invalid"]) == (None, "true")
    assert "autofocus" in told
    assert "notice" in told["aria-describedby"].split()
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.wrong_code(but=1))
    clock = house.clock.now().strftime("%H:%M:%S")
    assert f"Is the clock on your phone set automatically? Server time: {clock} UTC." in page.text
    assert "attempts left" not in page.text
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.code(-2))
    assert "the clock on your phone is about 1 min 0 s behind." in page.text
    assert f"Server time: {clock} UTC." in page.text
    assert "2 attempts left." in page.text
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.code(2))
    assert "behind" not in page.text
    assert "1 attempt left." in page.text
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.code(-1))
    assert page.path == "/account", "the code of the step before is still good"


@pytest.mark.case("U-39")
async def test_a_code_that_was_used_says_so_and_of_which_kind_it_was(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    await visitor.fill(page, SECOND_FACTOR, code=ada.code())
    visitor, page = await at_second_factor(ada)
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.code())
    assert "That code was already used. Wait for the next one." in page.text
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.codes[0])
    assert page.path == "/account"
    visitor, page = await at_second_factor(ada)
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.codes[0])
    assert "That backup code was already used." in page.text
    page = await visitor.fill(page, SECOND_FACTOR, code="K7QM-2XRT-9FHD")
    assert "That backup code is not valid." in page.text
    page = await visitor.fill(page, SECOND_FACTOR, code="")
    assert "hidden" not in by_id(page, "code-fault")
    assert "Enter the code." in page.text


@pytest.mark.case("U-41")
@pytest.mark.case("U-42")
async def test_each_backup_code_says_how_many_are_left(house: House) -> None:
    ada = await house.a_person().with_totp()
    said = []
    for number, code in enumerate(ada.codes):
        visitor, page = await at_second_factor(ada)
        if number % 2:
            page = await visitor.get("/sign-in/backup-code")
        written = [code, f" {code.lower()}", code.replace("-", " "), code.replace("-", ""), code][number]
        page = await visitor.fill(page, page.path, code=written)
        assert page.path == "/account", page.text
        notice = by_id(page, "notice")
        said.append((notice["class"], notice["role"], "/account/two-factor/backup-codes" in links(page)))
        assert (f"{4 - number} " in page.text) or number == 4
    assert [one[:2] for one in said] == [
        ("notice good", "status"),
        ("notice good", "status"),
        ("notice warn", "status"),
        ("notice warn", "status"),
        ("notice bad", "alert"),
    ]
    assert [one[2] for one in said[2:]] == [True] * 3
    assert "That was your last backup code." in page.text


@pytest.mark.case("U-42")
async def test_on_the_way_to_a_portal_the_backup_codes_left_are_said_first(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    page = await visitor.get(asked())
    page = await visitor.fill(page, "/sign-in", username=ada.email, password=ada.password)
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.codes[0])
    assert page.path == "/sign-in/backup-code-used"
    assert "4 are left" in page.text
    onward = by_id(page, "go-on")["href"]
    assert onward.startswith("/continue?request=dwa_")
    again = await visitor.get(f"/sign-in/backup-code-used?return_to={onward.replace('?', '%3F')}")
    assert again.path == "/continue", "it is said once"


# A sign-in that is over


@pytest.mark.case("U-30")
async def test_a_sign_in_that_timed_out_begins_again_where_it_was_going(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    page = await visitor.get(asked())
    page = await visitor.fill(page, "/sign-in", username=ada.email, password=ada.password)
    request = page.form(SECOND_FACTOR).action.partition("?")[2]
    house.clock.advance(301)
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.code())
    assert page.path == "/sign-in"
    assert "Your sign-in timed out. Start again." in page.text
    assert field(page, "username")["value"] == ada.email
    assert page.form("/sign-in").action == f"/sign-in?{request}"
    page = await visitor.fill(page, "/sign-in", username=ada.email, password=ada.password)
    assert field(page, "code")
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.code())
    assert page.path == "/continue"
    assert answer(page)["code"]


@pytest.mark.case("U-43")
async def test_a_step_knows_its_end_and_leads_to_the_beginning_after_it(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    (left,) = [int(told["data-expires"]) for _, told in page.tags if "data-expires" in told]
    assert left == 300
    house.clock.advance(left + 1)
    page = await visitor.get(SECOND_FACTOR)
    assert page.path == "/sign-in"
    assert field(page, "username")["value"] == ada.email


async def test_after_too_many_wrong_codes_a_sign_in_says_why_it_begins_again(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    for number in range(5):
        assert page.path == SECOND_FACTOR
        page = await visitor.fill(page, SECOND_FACTOR, code=ada.wrong_code(but=number))
    assert page.path == "/sign-in"
    assert "Too many wrong codes." in page.text
    assert field(page, "username")["value"] == ada.email
    page = await visitor.fill(page, "/sign-in", username=ada.email, password=ada.password)
    page = await visitor.fill(page, SECOND_FACTOR, code=ada.code())
    assert page.answer.status_code == 429
    assert "Too many attempts. Try again in 5 min 0 s ." in page.text
    assert by_id(page, "notice")["data-countdown"] == page.answer.headers["retry-after"] == "300"


@pytest.mark.case("U-29")
async def test_going_back_to_a_step_that_is_done_is_no_error(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, step = await at_second_factor(ada, "/account/two-factor/disable")
    page = await visitor.fill(step, SECOND_FACTOR, code=ada.code())
    assert page.path == "/account/two-factor/disable"
    back = await visitor.get(f"{SECOND_FACTOR}?return_to=/account/two-factor/disable")
    sent_again = await visitor.post(step.form(SECOND_FACTOR), code=ada.code(1))
    for page in (back, sent_again):
        assert page.path == "/sign-in"
        assert f"You are signed in as {ada.email} ." in page.text
        assert "timed out" not in page.text
        assert by_id(page, "go-on")["href"] == "/account/two-factor/disable"


async def test_the_address_of_a_sign_in_is_another_browser_s_nothing(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, _ = await at_second_factor(ada)
    thief = Visitor(ada)
    await thief.get("/sign-in")
    thief.client.cookies.set("doorward-dev-sign-in", visitor.cookies["doorward-dev-sign-in"])
    page = await thief.get(SECOND_FACTOR)
    assert ada.email not in page.answer.text
    for value in ("", "a.b.c", "....", visitor.cookies["doorward-dev-sign-in"][:-3]):
        visitor.client.cookies.set("doorward-dev-sign-in", value)
        assert ada.email not in (await visitor.get(SECOND_FACTOR)).answer.text


# Help


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
    assert time == house.clock.now().isoformat()
    onward = await visitor.get("/help?return_to=/account/two-factor/enable")
    assert "/sign-in?return_to=/account/two-factor/enable" in links(onward)
    assert "/sign-in" in links(await visitor.get("/help?return_to=https://evil.example/"))
