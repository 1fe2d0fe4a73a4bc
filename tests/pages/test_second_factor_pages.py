"""The second step of a sign-in without a script: every code is told what helps, and no end is a dead one."""

import pytest

from service.flows import clients as client_flow
from tests.builders import House
from tests.pages.fields import SECOND_FACTOR, at_second_factor, by_id, field, labels, links
from tests.pages.portal import PORTAL, answer, asked
from tests.pages.visitor import Visitor


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
    visitor, page = await at_second_factor(ada, "/account/two-factor/disable")
    for number in range(5):
        assert page.path == SECOND_FACTOR
        page = await visitor.fill(page, SECOND_FACTOR, code=ada.wrong_code(but=number))
    assert page.path == "/sign-in"
    assert "Too many wrong codes." in page.text
    assert "/help?return_to=/account/two-factor/disable#codes" in links(page)
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
