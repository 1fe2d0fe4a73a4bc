"""What our cookies carry from one page to the next: notices, what was typed, and that a browser is known."""

from tests.builders import House
from tests.pages.visitor import Visitor


async def test_a_notice_is_said_by_the_page_it_is_for(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    refused = await visitor.post(
        page.form("/account/password"), follow=False, current_password="wrong one", new_password="x" * 12
    )
    assert refused.answer.headers["location"] == "/account#password"
    assert "incorrect" not in (await visitor.get("/account/reauthentication")).text
    assert "incorrect" in (await visitor.get("/account")).text
    assert "incorrect" not in (await visitor.get("/account")).text


async def test_the_longest_thing_typed_fits_into_the_cookie_that_carries_it(house: House) -> None:
    visitor = Visitor(await house.a_person())
    page = await visitor.fill(
        await visitor.get("/sign-in"), "/sign-in", username="😀" * 300, password="test-value"
    )
    assert page.path == "/sign-in"
    assert 'role="alert"' in page.answer.text


async def test_a_browser_stays_known_through_its_own_changes(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    before = visitor.cookies["doorward-dev-device"]
    await visitor.fill(
        page, "/account/password", current_password=ada.password, new_password="another long one"
    )
    ada.password = "another long one"
    assert visitor.cookies["doorward-dev-device"] != before
    await visitor.fill(await visitor.get("/account"), "/sign-out")
    await house.rows("UPDATE person SET must_change_password = true WHERE id = $1", ada.id)
    await visitor.sign_in()
    assert await house.value("SELECT known FROM pre_auth WHERE person_id = $1", ada.id) is True
