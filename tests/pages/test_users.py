"""The users page: who sees it, its filters, its pages, and what is done from it (U67–U70)."""

import asyncio
import json
import re
import time
from urllib.parse import urlsplit

import pytest

from tests.builders import House, Person
from tests.flows.administration import crowd
from tests.pages.visitor import Form, Page, Visitor

USERS = "/admin/users"


async def at_work(house: House, role: str = "admin") -> Visitor:
    visitor = Visitor(await house.a_person().with_totp().with_role(role))
    await visitor.sign_in()
    return visitor


def links(page: Page) -> list[str]:
    return [told["href"] for tag, told in page.tags if tag == "a" and told.get("href")]


def shown(page: Page) -> list[str]:
    """The addresses in the table, in its order."""
    return re.findall(r'<th scope="row".*?<bdi>(.*?)</bdi>', page.answer.text)


def count(page: Page) -> str:
    (found,) = re.findall(r'<p role="status" id="count">(.*?)</p>', page.answer.text, re.DOTALL)
    return " ".join(found.split())


def link(page: Page, id: str) -> str | None:
    found = [told["href"] for tag, told in page.tags if tag == "a" and told.get("id") == id]
    return found[0] if found else None


# Who sees it


@pytest.mark.case("K-90")
async def test_the_page_is_for_whoever_has_a_role(house: House) -> None:
    bob = await house.a_person().with_totp()
    stranger = await Visitor(bob).get(f"{USERS}?two_factor=activated&q=ada%40x")
    assert stranger.path == "/sign-in"
    visitor = Visitor(bob)
    await visitor.sign_in()
    for path in (USERS, f"{USERS}/{bob.id}"):
        page = await visitor.get(path)
        assert (page.answer.status_code, "Not allowed" in page.text) == (403, True)
        assert bob.email not in page.answer.text.replace("</header>", "", 1).partition("<main")[2]
    assert USERS not in links(await visitor.get("/account"))


@pytest.mark.case("U-67")
async def test_whoever_has_to_sign_in_first_comes_back_to_the_same_filters(house: House) -> None:
    visitor = Visitor(await house.a_person().with_totp().with_role("auditor"))
    page = await visitor.get(f"{USERS}?two_factor=not_activated&q=ada%40example")
    page = await visitor.fill(
        page, "/sign-in", username=visitor.person.email, password=visitor.person.password
    )
    page = await visitor.fill(page, "/sign-in/second-factor", code=visitor.person.code())
    assert page.path == USERS
    assert page.answer.request.url.query == b"two_factor=not_activated&q=ada%40example"


async def test_an_administrator_without_a_second_factor_is_led_to_it(house: House) -> None:
    visitor = Visitor(await house.a_person().with_role("admin"))
    await visitor.sign_in()
    page = await visitor.get(USERS)
    assert page.answer.status_code == 403
    assert link(page, "go-on") == "/account/two-factor/enable"
    assert USERS in links(await visitor.get("/account"))


@pytest.mark.case("K-91")
async def test_a_page_offers_what_a_role_may_do_and_does_no_more(house: House) -> None:
    bob = await house.a_person().with_totp()
    offers = {"admin": {"reset-two-factor", "end-sessions", "disable"}, "support": {"end-sessions"}}
    for role in ("admin", "support", "auditor"):
        visitor = await at_work(house, role)
        page = await visitor.get(f"{USERS}/{bob.id}")
        acts = {form.action.rpartition("/")[2] for form in page.forms if str(bob.id) in form.action}
        assert acts == offers.get(role, set()), role
        token = page.form("/sign-out").fields["csrf_token"]
        for act in ("reset-two-factor", "end-sessions", "unlock", "disable", "enable"):
            if role == "auditor" or (role == "support" and act != "end-sessions"):
                fields = {"csrf_token": token, "reason": "x"}
                form = Form(f"{USERS}/{bob.id}/{act}", "post", fields)
                assert (await visitor.post(form)).answer.status_code == 403, (role, act)
    assert not await house.events("account:disable:ok")


# The list


@pytest.mark.case("U-67")
async def test_a_filter_stands_in_the_address_and_the_count_is_said(house: House) -> None:
    visitor, emails = await at_work(house), await crowd(house, 40)
    await house.rows("DELETE FROM person WHERE email = $1", emails[-1])
    page = await visitor.get(USERS)
    assert count(page) == "40 of 40 users"
    for value, text, people in (
        ("all", "40 of 40 users", [visitor.person.email, *emails[:39]]),
        ("activated", "20 of 40 users", [visitor.person.email, *emails[1:39:2]]),
        ("not_activated", "20 of 40 users", emails[:39:2]),
        ("codes_low", "1 of 40 users", [emails[19]]),
        ("pending", "0 of 40 users", []),
    ):
        page = await visitor.get(f"{USERS}?two_factor={value}")
        assert count(page) == text
        assert sorted(shown(page)) == sorted(people), value
        assert f'<option value="{value}" selected>' in page.answer.text
    page = await visitor.get(f"{USERS}?two_factor=activated&status=disabled")
    assert sorted(shown(page)) == [emails[13], emails[27]]
    page = await visitor.get(f"{USERS}?q=hopper7")
    assert shown(page) == [emails[6]]
    page = await visitor.get(f"{USERS}?q=nobody-of-this-name")
    assert (count(page), "Nobody fits these filters." in page.text) == ("0 of 40 users", True)


@pytest.mark.case("U-68")
async def test_the_table_has_scopes_an_order_that_is_told_and_labels_for_cards(house: House) -> None:
    visitor, emails = await at_work(house), await crowd(house, 9)
    page = await visitor.get(USERS)
    heads = [told for tag, told in page.tags if tag == "th"]
    assert all(told.get("scope") in ("col", "row") for told in heads)
    assert [told["aria-sort"] for told in heads if "aria-sort" in told] == ["ascending"]
    cells = [told for tag, told in page.tags if tag == "td"]
    assert cells
    assert all(told.get("data-label") for told in cells)
    page = await visitor.get(f"{USERS}?sort=-email&two_factor=not_activated")
    assert [told["aria-sort"] for tag, told in page.tags if "aria-sort" in told] == ["descending"]
    assert shown(page) == sorted(emails[::2], reverse=True)
    # The links keep the filter, and turn the order.
    assert f"{USERS}?two_factor=not_activated" in links(page)
    assert f"{USERS}?two_factor=not_activated&sort=name" in links(page)
    page = await visitor.get(f"{USERS}?sort=created_at&q=hopper")
    assert shown(page) == emails[::-1]


@pytest.mark.case("K-95")
async def test_what_no_filter_says_is_refused(house: House) -> None:
    visitor = await at_work(house)
    for query in (
        "two_factor=yes",
        "two_factor=activated'",
        "status=1",
        "sort=password_hash",
        "sort=email;drop",
        "cursor=x",
        "q=%00",
        "q=%E2%80%AE",
        f"q={'x' * 201}",
    ):
        assert (await visitor.get(f"{USERS}?{query}")).answer.status_code == 400, query
    empty = "&".join(f"{name}=" for name in ("q", "two_factor", "status", "sort", "cursor"))
    assert (await visitor.get(f"{USERS}?{empty}")).answer.status_code == 200


@pytest.mark.case("K-108")
async def test_a_search_is_text_and_never_a_query(house: House) -> None:
    visitor = await at_work(house)
    for text in ("' OR 1=1 --", "a & b | !c", "a:*", "\\", "'", "<->", "%", "_", "*", "a\\'b", "ÀÉ", "中"):
        page = await visitor.client.get(USERS, params={"q": text})
        assert page.status_code == 200, text
        assert "<script" not in page.text.partition("<main")[2].partition("</main")[0]
    page = await visitor.client.get(USERS, params={"q": '"><script>alert(1)</script>'})
    assert "<script>alert" not in page.text


@pytest.mark.case("U-69")
async def test_ten_thousand_people_are_paged_through_in_good_time(house: House) -> None:
    visitor, emails = await at_work(house), await crowd(house, 10_000)
    began = time.perf_counter()
    page = await visitor.get(USERS)
    first = time.perf_counter() - began
    assert count(page) == "10000 of more than 10000 users" or count(page) == "More than 10000 users"
    seen = shown(page)
    for _ in range(3):
        following = link(page, "next")
        assert following is not None
        began = time.perf_counter()
        page = await visitor.get(following)
        assert time.perf_counter() - began < 1
        assert len(shown(page)) == 50
        seen += shown(page)
    assert first < 1
    assert seen == sorted([*emails, visitor.person.email])[:200]
    assert link(page, "first") == USERS
    for query in ("q=hopper77", "two_factor=codes_low&sort=-created_at", "status=disabled&sort=name"):
        began = time.perf_counter()
        page = await visitor.get(f"{USERS}?{query}")
        assert time.perf_counter() - began < 1
        assert len(shown(page)) == 50
    (by_id,) = await house.rows("SELECT id, sub FROM person WHERE email = $1", emails[7777])
    for identifier in (by_id["id"], by_id["sub"]):
        assert shown(await visitor.get(f"{USERS}?q={identifier}")) == [emails[7777]]
    assert shown(await visitor.get(f"{USERS}?q={emails[4321]}")) == [emails[4321]]


# One person


@pytest.fixture
async def pair(house: House) -> tuple[Visitor, Person]:
    return await at_work(house), await house.a_person().with_totp()


@pytest.mark.case("U-70")
async def test_states_are_words_with_an_icon_and_nothing_secret_is_shown(
    house: House, pair: tuple[Visitor, Person]
) -> None:
    visitor, bob = pair
    await house.rows("UPDATE person SET name = '<b>Bob</b>' WHERE id = $1", bob.id)
    await bob.sign_in()
    page = await visitor.get(f"{USERS}/{bob.id}")
    badges = re.findall(r'<span class="badge (\w+)">(.*?)</span>', page.answer.text)
    assert ("on", "Activated") in badges
    assert ("on", "Active") in badges
    assert all(text.strip() for _, text in badges)
    assert "<b>Bob" not in page.answer.text
    assert re.search("Phone ?, added", page.text)
    assert "Backup codes left 5" in page.text
    assert page.codes == []
    for row in await house.rows("SELECT password_hash, code_salt FROM person"):
        assert row["password_hash"] not in page.answer.text
        assert row["code_salt"].hex() not in page.answer.text
    await house.rows("UPDATE person SET disabled_at = now() WHERE id = $1", bob.id)
    listed = await visitor.get(USERS)
    assert '<span class="badge bad">Disabled</span>' in listed.answer.text


@pytest.mark.case("U-70")
async def test_a_reset_needs_a_reason_and_a_fresh_proof_and_the_person_enrols_anew(
    house: House, pair: tuple[Visitor, Person]
) -> None:
    visitor, bob = pair
    guest = Visitor(bob)
    await guest.sign_in()
    path = f"{USERS}/{bob.id}"
    house.clock.advance(301)
    page = await visitor.get(path)
    assert [form.action for form in page.forms if form.action.startswith(path)] == [f"{path}/end-sessions"]
    prove = link(page, "prove")
    assert prove == f"/account/reauthentication?return_to={path}"
    page = await visitor.get(prove)
    boss = visitor.person
    page = await visitor.fill(page, "/account/reauthentication", password=boss.password, code=boss.code())
    assert page.path == path
    page = await visitor.fill(page, f"{path}/reset-two-factor", reason=" ")
    assert page.path == path
    assert "Say why, in one line" in page.text
    assert not await house.letters(bob)
    page = await visitor.fill(page, f"{path}/reset-two-factor", reason="lost phone")
    assert page.path == path
    assert "Two-factor authentication was reset, and a letter tells the person." in page.text
    assert "Not activated" in page.text
    assert await house.letters(bob) == ["two_factor_reset"]
    (event,) = await house.events("two_factor:reset:ok")
    assert json.loads(event["detail"])["reason"] == "lost phone"
    assert event["actor_id"] == boss.id
    assert (await guest.get("/account")).path == "/sign-in"
    assert (await guest.sign_in()).path == "/account"


async def test_sessions_end_and_an_account_is_disabled_and_enabled(
    house: House, pair: tuple[Visitor, Person]
) -> None:
    visitor, bob = pair
    guest, path = Visitor(bob), f"{USERS}/{bob.id}"
    await guest.sign_in()
    page = await visitor.fill(await visitor.get(path), f"{path}/end-sessions")
    assert "Every session of this person was ended." in page.text
    said = await guest.get("/account")
    assert (said.path, "An administrator ended your session." in said.text) == ("/sign-in", True)
    page = await visitor.fill(page, f"{path}/disable")
    assert "The account was disabled" in page.text
    assert "Disabled" in page.text
    page = await visitor.fill(page, f"{path}/enable")
    assert "The account was enabled." in page.text
    await house.rows("UPDATE person SET known_streak = 100 WHERE id = $1", bob.id)
    page = await visitor.get(path)
    assert "Blocked" in page.text
    page = await visitor.fill(page, f"{path}/unlock")
    assert "Blocked" not in page.text
    assert len(await house.events("account:unlock:ok")) == 1


async def test_an_administrators_own_page_sends_them_to_their_account(house: House) -> None:
    visitor = await at_work(house)
    path = f"{USERS}/{visitor.person.id}"
    page = await visitor.get(path)
    assert not [form for form in page.forms if form.action.startswith(USERS)]
    assert "This is your own account" in page.text
    form = page.form("/sign-out")
    form.action = f"{path}/disable"
    page = await visitor.post(form)
    assert (page.path, "Not on your own account." in page.text) == (path, True)


async def test_a_form_that_is_sent_twice_at_once_acts_once(
    house: House, pair: tuple[Visitor, Person]
) -> None:
    visitor, bob = pair
    path = f"{USERS}/{bob.id}"
    form = (await visitor.get(path)).form(f"{path}/reset-two-factor")
    pages = await asyncio.gather(*(visitor.post(form, follow=False, reason="lost") for _ in range(3)))
    assert {page.answer.status_code for page in pages} == {303}
    assert {urlsplit(page.answer.headers["location"]).path for page in pages} == {path}
    assert len(await house.events("two_factor:reset:ok")) == 1
    assert await house.letters(bob) == ["two_factor_reset"]
