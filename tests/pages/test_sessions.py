"""Sessions of browsers: none before both factors, none after its end, each end at once on both surfaces."""

import asyncio

import httpx
import pytest

from tests.builders import House
from tests.flows.invariants import check, elsewhere, pre_auths, refusal
from tests.pages.test_surfaces import SECOND_FACTOR, at_second_factor
from tests.pages.visitor import Visitor
from tests.programs import Dev, doorward

PAGES = (
    "/account",
    "/account/two-factor/enable",
    "/account/two-factor/backup-codes",
    "/account/two-factor/disable",
    "/account/reauthentication",
)


@pytest.mark.case("K-02")
async def test_a_password_alone_opens_no_page_of_an_enrolled_person(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, _ = await at_second_factor(ada)
    for path in PAGES:
        assert (await visitor.get(path)).path == "/sign-in", path
    assert (await visitor.get("/sign-in/second-factor")).path == SECOND_FACTOR, "the way on stays open"
    pre_auth = visitor.cookies["doorward-dev-sign-in"]
    for name in ("doorward-dev", "__Host-doorward"):
        thief = Visitor(ada)
        thief.client.cookies.set(name, pre_auth)
        assert (await thief.get("/account")).path == "/sign-in"
        answer = await thief.client.get("/v1/me")
        assert answer.status_code == 401
    answer = await ada.verify(pre_auth, ada.code())
    assert refusal(answer) == (401, "invalid_pre_auth_token"), "the pages' token opens no door of the API"
    assert await house.value("SELECT count(*) FROM session") == 0
    assert (await visitor.sign_in()).path == "/account"
    await check(house)


@pytest.mark.case("K-02")
async def test_a_token_of_the_api_opens_no_page(house: House) -> None:
    ada = await house.a_person().with_totp()
    token = await ada.pre_auth()
    tokens = await ada.sign_in()
    visitor = Visitor(ada)
    visitor.client.cookies.set("doorward-dev-sign-in", token)
    assert (await visitor.get("/sign-in/second-factor")).path == "/sign-in"
    for value in (tokens["access_token"], tokens["refresh_token"], tokens["device_token"]):
        visitor.client.cookies.set("doorward-dev", value)
        assert (await visitor.get("/account")).path == "/sign-in"


@pytest.mark.case("K-66")
async def test_nothing_of_a_session_opens_anything_after_its_sign_out(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    cookie = visitor.cookies["doorward-dev"]
    page = await visitor.fill(page, "/sign-out")
    assert page.path == "/sign-in"
    assert "doorward-dev" not in visitor.cookies
    copied = Visitor(ada)
    copied.client.cookies.set("doorward-dev", cookie)
    page = await copied.get("/account")
    assert page.path == "/sign-in"
    assert "You signed out." in page.text
    copied.client.cookies.set("doorward-dev", cookie)
    assert (await copied.client.get("/v1/me")).json()["code"] == "invalid_token"
    await check(house)


@pytest.mark.case("K-66")
async def test_a_browser_that_signs_out_by_the_api_loses_its_cookie(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    token = (await visitor.sign_in()).forms[0].fields["csrf_token"]
    answer = await visitor.client.post("/v1/sign-out", headers={"x-csrf-token": token})
    assert answer.status_code == 204
    assert "doorward-dev" not in visitor.cookies
    assert (await visitor.get("/account")).path == "/sign-in"


@pytest.mark.case("K-68")
async def test_a_browsers_session_ends_when_it_is_idle(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    for _ in range(3):
        house.clock.advance(12 * 3600 - 1)
        assert (await visitor.get("/account")).path == "/account", "use keeps it alive"
    house.clock.advance(12 * 3600)
    cookie = visitor.cookies["doorward-dev"]
    page = await visitor.get("/account")
    assert page.path == "/sign-in"
    assert "Your session expired" in page.text
    (row,) = await house.rows("SELECT ended_at, end_reason FROM session WHERE person_id = $1", ada.id)
    assert row["end_reason"] == "idle"
    thief = Visitor(ada)
    thief.client.cookies.set("doorward-dev", cookie)
    house.clock.advance(-3600)
    assert (await thief.get("/account")).path == "/sign-in", "an ended session stays ended"
    assert len(await house.events("session:expiry:ok")) == 1


@pytest.mark.case("K-68")
async def test_no_use_keeps_a_browsers_session_beyond_its_longest_life(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    await visitor.sign_in()
    for _ in range(14):
        house.clock.advance(12 * 3600 - 1)
        assert (await visitor.get("/account")).path == "/account"
    house.clock.advance(20)
    assert (await visitor.get("/account")).path == "/sign-in"
    assert await house.value("SELECT end_reason FROM session") == "absolute"


@pytest.mark.case("K-70")
@pytest.mark.case("U-66")
async def test_a_new_password_ends_everything_but_the_acting_session(house: House) -> None:
    ada = await house.a_person().with_totp()
    others = [Visitor(ada), Visitor(ada)]
    for visitor in others:
        await visitor.sign_in()
        house.clock.advance(30)
    tokens = await ada.sign_in()
    house.clock.advance(30)
    acting = Visitor(ada)
    page = await acting.sign_in()
    house.clock.advance(30)
    pending, waiting = await at_second_factor(ada)
    page = await acting.fill(
        page, "/account/password", current_password=ada.password, new_password="another long one"
    )
    assert "Your password was changed" in page.text
    for visitor in others:
        page = await visitor.get("/account")
        assert page.path == "/sign-in"
        assert "because your password was changed" in page.text
    page = await pending.fill(waiting, SECOND_FACTOR, code=ada.code())
    assert page.path == "/sign-in"
    assert "timed out" in page.text
    ended = await ada.refresh(tokens["refresh_token"])
    assert (refusal(ended), ended.json()["reason"]) == (
        (401, "invalid_refresh_token"),
        "password_changed",
    )
    assert refusal(await ada.get("/v1/me", bearer=tokens["access_token"])) == (401, "invalid_token")
    assert (await acting.get("/account")).path == "/account"
    assert "password_changed" in await house.letters(ada)
    await check(house)


@pytest.mark.case("K-71")
async def test_a_new_password_needs_the_present_one_and_counts_wrong_ones(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    page = await visitor.sign_in()
    form = page.form("/account/password")
    for fields, told in (
        ({}, "Enter a new password."),
        ({"new_password": "another long one"}, "Enter your password."),
        ({"current_password": "x", "new_password": "another long one"}, "The password is incorrect."),
        ({"current_password": ada.password, "new_password": "short"}, "needs at least eight characters"),
        ({"current_password": ada.password, "new_password": ada.password}, "another password"),
    ):
        page = await visitor.post(form, follow=True, **fields)
        assert told in page.text, fields
    wrong = {"current_password": "not the one", "new_password": "another long one"}
    for _ in range(6):
        page = await visitor.post(form, follow=True, **wrong)
    assert page.answer.status_code == 429
    assert "Too many attempts" in page.text
    house.clock.advance(301)
    page = await visitor.post(form, current_password=ada.password, new_password="another long one")
    assert page.path == "/account/reauthentication"
    assert (await ada.login()).json()["status"] == "complete", "the password is what it was"
    await check(house)


@pytest.mark.case("K-71")
async def test_a_sign_in_under_way_changes_no_password(house: House) -> None:
    ada = await house.a_person().with_totp()
    visitor, page = await at_second_factor(ada)
    form = page.form(SECOND_FACTOR)
    for path in ("/account/password", "/sign-in/password"):
        form.action = path
        answer = await visitor.post(form, current_password=ada.password, new_password="another long one")
        assert answer.path == "/sign-in"
    assert (await ada.login()).json()["status"] == "second_factor_required"


@pytest.mark.case("U-64")
async def test_a_session_is_ended_from_another_device_and_only_by_its_owner(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    first, second, stranger = Visitor(ada), Visitor(ada), Visitor(bob)
    tokens = await ada.sign_in()
    page = await first.sign_in()
    await second.sign_in()
    await stranger.sign_in()
    page = await first.get("/account")
    endings = [form for form in page.forms if form.action.endswith("/end")]
    assert len(endings) == 2
    theirs = await stranger.get("/account")
    foreign = endings[0]
    foreign.fields["csrf_token"] = theirs.forms[0].fields["csrf_token"]
    assert "no longer there" in (await stranger.post(foreign)).text
    assert (await second.get("/account")).path == "/account", "nobody ends another's session"
    page = await first.fill(page, "/account/sessions/end-others")
    assert "2 other sessions were ended" in page.text
    page = await second.get("/account")
    assert "ended from another of your devices" in page.text
    assert refusal(await ada.get("/v1/me", bearer=tokens["access_token"])) == (401, "invalid_token")
    assert (await first.get("/account")).path == "/account"
    assert (await stranger.get("/account")).path == "/account"
    await check(house)


@pytest.mark.case("K-69")
async def test_after_a_disable_returns_nothing_succeeds(house: House) -> None:
    from service.flows import accounts as account_flow

    ada = await house.a_person().with_totp()
    visitor = Visitor(ada)
    await visitor.sign_in()
    house.clock.advance(30)
    tokens = await ada.sign_in()
    house.clock.advance(30)
    pending = await pre_auths(ada, 16)
    returned = asyncio.Event()
    late: list[int] = []

    async def busy(number: int) -> None:
        """One racer: a right passcode or backup code on a token of its own, a refresh, or a bearer."""
        away = elsewhere(ada)
        for _ in range(40):
            started = returned.is_set()
            if number < 16:
                code = ada.code() if number % 2 else ada.codes[number // 2 % 5]
                answer = await away.verify(pending[number], code)
            elif number % 2:
                answer = await away.refresh(tokens["refresh_token"])
            else:
                answer = await away.get("/v1/me", bearer=tokens["access_token"])
            if answer.status_code == 200 and started:
                late.append(number)
            if started:
                return

    racing = [asyncio.create_task(busy(number)) for number in range(32)]
    await asyncio.sleep(0.05)
    assert await account_flow.disable(house.world, ada.email) >= 2
    returned.set()
    await asyncio.gather(*racing)
    assert late == []
    page = await visitor.get("/account")
    assert page.path == "/sign-in"
    assert (await ada.refresh(tokens["refresh_token"])).json()["reason"] == "user_disabled"
    assert refusal(await ada.get("/v1/me", bearer=tokens["access_token"])) == (401, "invalid_token")
    assert refusal(await ada.login()) == (401, "invalid_credentials")
    assert await house.value("SELECT count(*) FROM session WHERE ended_at IS NULL") == 0
    await account_flow.enable(house.world, ada.email)
    assert (await ada.refresh(tokens["refresh_token"])).status_code == 401, "what was ended stays so"
    assert (await ada.login()).json()["status"] == "second_factor_required"
    await check(house)


@pytest.mark.case("K-69")
def test_an_operator_disables_enables_and_ends_sessions(running: Dev) -> None:
    environ, email = running.environ, "linus@example.com"
    sign_in = {"email": email, "password": "test-value one two three"}
    made = doorward("user", "create", email, "--password-stdin", environ=environ, stdin=sign_in["password"])
    assert made.returncode == 0, made.stderr

    def access() -> str:
        answer = httpx.post(f"{running.url}/v1/sign-in", json=sign_in)
        return str(answer.json().get("access_token", ""))

    def works(token: str) -> bool:
        headers = {"authorization": f"Bearer {token}"}
        return httpx.get(f"{running.url}/v1/me", headers=headers).status_code == 200

    first = access()
    assert works(first)
    ended = doorward("user", "end-sessions", email, environ=environ)
    assert (ended.returncode, ended.stdout) == (0, "ended 1 session\n")
    assert not works(first)
    second = access()
    assert works(second)
    disabled = doorward("user", "disable", email, "--json", environ=environ)
    assert (disabled.returncode, disabled.stdout) == (0, '{"ended": 1}\n')
    assert not works(second)
    assert access() == ""
    assert doorward("user", "enable", email, environ=environ).returncode == 0
    assert not works(second)
    assert works(access())
    for command in ("disable", "enable", "end-sessions"):
        unknown = doorward("user", command, "nobody@example.com", environ=environ)
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert "not_found" in unknown.stderr


@pytest.mark.case("U-65")
async def test_the_last_sign_ins_are_filtered_and_paged_in_the_address(house: House) -> None:
    ada = await house.a_person()
    visitor = Visitor(ada)
    for _ in range(3):
        await ada.login(password="not the one")
    await visitor.sign_in()
    for _ in range(22):
        house.clock.advance(60)
        await ada.sign_in()
    page = await visitor.get("/account?result=ok")
    rows = page.answer.text.count('data-label="Method"')
    assert rows == 20
    (older,) = [tag for name, tag in page.tags if name == "a" and "before=" in (tag.get("href") or "")]
    page = await visitor.get(older["href"])
    assert page.answer.text.count('data-label="Method"') == 3
    page = await visitor.get(f"/account?result=failed&address={ada.address}")
    assert page.answer.text.count('data-label="Method"') == 3
    assert 'value="failed" selected' in page.answer.text
    for query, count in (("address=203.0.113.9", 0), ("since=2999-01-01", 0), ("until=2000-01-01", 0)):
        page = await visitor.get(f"/account?{query}")
        assert page.answer.text.count('data-label="Method"') == count, query
    for query in ("result=x", "address=x", "since=x", "until=9999-12-31", "before=x", "since=20260101x"):
        page = await visitor.get(f"/account?{query}")
        assert page.answer.status_code == 400, query
        assert "not right" in page.text
