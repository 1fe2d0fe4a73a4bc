"""The account page: who one is, where one is signed in, who signed in, and what one may change."""

from uuid import UUID

import pytest

from service.flows import clients as client_flow
from tests.builders import House
from tests.flows.invariants import check
from tests.pages.portal import LEAVING, PORTAL, asked, code_for, exchange
from tests.pages.visitor import Page, Visitor


def row(page: Page, session: UUID) -> str:
    """The words of the line of a session that can be ended."""
    before, _, after = page.answer.text.partition(f"/account/sessions/{session}/end")
    assert after, "no such line"
    return before.rpartition("<tr>")[2]


@pytest.mark.case("U-64")
async def test_a_session_is_listed_with_device_place_times_and_the_portals_it_opened(house: House) -> None:
    await client_flow.create(house.world, LEAVING)
    ada = await house.a_person()
    phone, here = Visitor(ada), Visitor(ada)
    phone.client.headers["user-agent"] = (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/17.5 Mobile/15E148 Safari/604.1"
    )
    assert (await exchange(house, await code_for(house, phone))).status_code == 200
    house.clock.advance(7200)
    await house.rows("UPDATE session SET place = 'Berlin, DE'")
    page = await here.sign_in()
    (other,) = await house.rows("SELECT id FROM session WHERE place IS NOT NULL")
    line = row(page, other["id"])
    for told in ("Mobile Safari 17 on iOS 17", "Berlin, DE", ada.address, "The Portal", "data-moment"):
        assert told in line, told
    table = page.answer.text.partition('id="sessions"')[2]
    assert table.index("this device") < table.index("iOS 17"), "the session in use comes first"
    portals = page.answer.text.partition('id="portals"')[2].partition("</section>")[0]
    assert "The Portal" in portals
    assert "<li>See your e-mail address</li><li>Recognise you when you return</li>" in portals
    assert "Ends with its session" in portals
    await here.fill(page, f"/account/sessions/{other['id']}/end")
    page = await here.get("/account")
    assert "The Portal" not in page.text, "what it held has ended with the session"
    assert "ended from another device" in page.text
    await check(house)


@pytest.mark.case("U-64")
async def test_the_session_in_use_stands_first_however_many_began_after_it(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    (own,) = await house.rows("SELECT * FROM session")
    await house.rows(
        "INSERT INTO session (id, person_id, epoch, amr, auth_time, client_id, address, browser, created_at)"
        " SELECT one, person_id, epoch, amr, auth_time, 'doorward', address, 'curl/8', created_at"
        " FROM session, unnest($1::uuid[]) AS one",
        [UUID(int=own["id"].int + n) for n in range(1, 61)],
    )
    page = await visitor.get("/account")
    assert page.answer.text.count('/end"') == 50
    table = page.answer.text.partition('id="sessions"')[2]
    assert table.index("this device") < table.index("curl")
    (older,) = [tag["href"] for name, tag in page.tags if name == "a" and tag.get("id") == "older-sessions"]
    page = await visitor.get(older)
    assert page.answer.text.count('/end"') == 10
    assert page.answer.text.count("this device") == 1
    assert "older-sessions" not in page.answer.text
    page = await visitor.fill(page, "/account/sessions/end-others")
    assert "60 other sessions were ended" in page.text


@pytest.mark.case("U-65")
async def test_a_filter_that_is_not_right_is_said_where_it_was_typed(house: House) -> None:
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    page = await visitor.get("/account?address=somewhere&result=ok")
    assert page.answer.status_code == 400
    assert "<title>Error: Your account" in page.answer.text
    assert 'value="somewhere" aria-describedby="filter-fault"' in page.answer.text
    assert "this device" in page.text, "the rest of the page is there"
    page = await visitor.get("/account?result=refused")
    assert "Nothing fits these filters." in page.text
    (link,) = [tag for name, tag in page.tags if name == "a" and tag.get("href") == "/account#sign-ins"]
    assert link["class"] == "button plain"
    assert (await visitor.get("/account?sessions=x")).answer.status_code == 400


async def test_a_name_is_changed_and_stands_in_the_page_as_text(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    page = await visitor.fill(page, "/account/profile", profile_name=" <b>Ada</b> & Co ")
    assert "Your profile is saved." in page.text
    assert 'value="&lt;b&gt;Ada&lt;/b&gt; &amp; Co"' in page.answer.text
    for bad in ("a\u202eb", "a\nb", "x" * 201):
        page = await visitor.fill(page, "/account/profile", profile_name=bad)
        assert "at most 200 printable characters" in page.text
        assert page.answer.text.count('id="notice"') == 1, "said in the section, and nowhere else"
    assert await house.value("SELECT name FROM person") == "<b>Ada</b> & Co"
    page = await visitor.fill(page, "/account/profile", profile_name="")
    assert await house.value("SELECT name FROM person") == ""
    assert len(await house.events("account:profile:ok")) == 2


@pytest.mark.case("U-11")
async def test_the_language_that_somebody_chooses_stays_with_them_and_in_their_browser(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    page = await visitor.fill(page, "/account/language", language="de")
    assert '<html lang="de"' in page.answer.text
    assert await house.value("SELECT language FROM person") == "de"
    assert (await visitor.client.get("/v1/me")).json()["language"] == "de"
    # The browser keeps it, also when nobody is signed in and it says that it prefers another.
    page = await visitor.fill(page, "/sign-out")
    visitor.client.headers["accept-language"] = "ru"
    assert '<html lang="de"' in (await visitor.get("/sign-in")).answer.text
    assert '<html lang="ru"' in (await visitor.get("/sign-in?ui_locales=ru")).answer.text
    page = await visitor.sign_in()
    for nonsense in ("tlh", "", "en-XA", "../de"):
        page = await visitor.fill(page, "/account/language", language=nonsense)
        assert page.answer.text.count('id="notice"') == 1
        assert '<html lang="ru"' in page.answer.text
    assert await house.value("SELECT language FROM person") == "de"
    # Another browser, in which nothing was chosen yet, takes theirs; what is asked for by name beats it.
    other = Visitor(ada)
    other.client.headers["accept-language"] = "ru"
    assert '<html lang="ru"' in (await other.get("/sign-in")).answer.text
    assert '<html lang="de"' in (await other.sign_in()).answer.text
    page = await other.get("/account?result=failed&address=x%20y")
    assert (page.answer.status_code, 'lang="de"' in page.answer.text) == (400, True)
    assert '<html lang="zh"' in (await other.get("/account?ui_locales=zh")).answer.text
    # One that does not keep the choice is not sent in a circle.
    other.client.cookies.delete("doorward-dev-language")
    answer = await other.client.get("/account", headers={"x-forwarded-for": ada.address})
    assert (answer.status_code, '<html lang="de"' in answer.text) == (200, True)
    assert "doorward-dev-language" in answer.headers["set-cookie"]


@pytest.mark.case("U-66")
async def test_the_password_form_is_one_that_password_managers_know(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    fields = {tag.get("name"): tag for name, tag in page.tags if name == "input"}
    told = {
        name: fields[name].get("autocomplete") for name in ("username", "current_password", "new_password")
    }
    assert told == {
        "username": "username",
        "current_password": "current-password",
        "new_password": "new-password",
    }
    assert page.form("/account/password").fields["username"] == ada.email
    assert "hidden" in fields["username"]
    wrong = {"current_password": "not the one", "new_password": "another long one"}
    page = await visitor.fill(page, "/account/password", **wrong)
    assert "The password is incorrect." in page.text
    typed = {tag.get("name"): tag for name, tag in page.tags if name == "input"}["current_password"]
    assert (typed["aria-invalid"], typed["aria-describedby"]) == ("true", "current_password-fault notice")
    assert not typed.get("value")
    house.clock.advance(301)
    page = await visitor.get("/account")
    assert "current_password" not in page.answer.text, "a fresh proof comes first"
    page = await visitor.get("/account/reauthentication?return_to=/account%23password")
    page = await visitor.fill(page, "/account/reauthentication", password=ada.password)
    page = await visitor.fill(
        page, "/account/password", current_password=ada.password, new_password="another long one"
    )
    assert "Your password was changed" in page.text


async def test_what_a_third_party_was_allowed_is_listed_once_and_taken_back(house: House) -> None:
    from dataclasses import replace

    await client_flow.create(
        house.world, replace(PORTAL, id="stranger", name="A Stranger", first_party=False)
    )
    visitor = Visitor(await house.a_person())
    await visitor.sign_in()
    page = await visitor.get(asked(client_id="stranger"))
    (form,) = [one for one in page.forms if one.fields.get("decision") == "allow"]
    await visitor.post(form, follow=False)
    page = await visitor.get("/account")
    portals = page.answer.text.partition('id="portals"')[2].partition("</section>")[0]
    assert portals.count("A Stranger</bdi>") == 1
    assert "Ends with its session" not in portals
    page = await visitor.fill(page, "/account/portals/stranger/revoke")
    assert "has no access any more" in page.text
    assert "No application has access" in page.text
