"""A new password of one's own: what it costs, and what it ends."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.builders import House, Person
from tests.flows.account import (
    AUTHENTICATORS,
    BACKUP_CODES,
    DISABLE,
    ME,
    NEW_PASSWORD,
    PASSWORD,
    all_of_it,
    authenticators,
    codes_of,
    in_browser,
    living,
    step_up,
)
from tests.flows.invariants import ROUNDS, check, elsewhere, pre_auths, refusal


async def new_password(
    person: Person, bearer: str, password: str = NEW_PASSWORD, **more: object
) -> httpx.Response:
    body = {"current_password": person.password, "new_password": password} | more
    return await person.post(PASSWORD, body, bearer=bearer)


@pytest.mark.case("K-71")
async def test_a_wrong_present_password_changes_nothing_and_is_counted(house: House) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    before = await all_of_it(house)
    assert refusal(await new_password(ada, await ada.pre_auth())) == (401, "invalid_token")
    missing = await ada.post(PASSWORD, {"new_password": NEW_PASSWORD}, bearer=bearer)
    assert refusal(missing) == (400, "invalid_request")
    assert missing.json()["errors"] == [{"pointer": "/current_password", "code": "missing"}]
    for number in range(5):
        wrong = await new_password(ada, bearer, current_password=f"not it {number}")
        assert refusal(wrong) == (401, "invalid_credentials")
    late = [
        await new_password(ada, bearer),
        await step_up(ada, bearer, ada.code(1)),
        await ada.post(DISABLE, {"password": ada.password, "code": ada.code(1)}, bearer=bearer),
    ]
    assert [refusal(one) for one in late] == [(429, "rate_limited")] * 3, "one count for all of them"
    assert await all_of_it(house) == before
    assert len(await house.events("account:password_change:failed")) == 5
    assert (await ada.login()).status_code == 200, "strangers have a count of their own"
    house.clock.advance(1)
    assert (await new_password(ada, bearer)).status_code == 204
    await check(house)


@pytest.mark.case("K-71")
@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("test-value correct horse", "unchanged"),
        ("sh0rt", "too_short"),
        ("x" * 129, "too_long"),
        ("contextual", "contextual"),
    ],
)
async def test_a_password_that_may_not_be_is_refused(house: House, password: str, fault: str) -> None:
    ada = await house.a_person()
    if password == "contextual":
        password = f"{ada.email.partition('@')[0]}!!"
    tokens = await ada.sign_in()
    before = await all_of_it(house)
    answer = await new_password(ada, tokens["access_token"], password)
    assert refusal(answer) == (400, "invalid_request")
    assert answer.json()["errors"] == [{"pointer": "/new_password", "code": fault}]
    assert password not in answer.text
    assert await all_of_it(house) == before
    assert (await ada.login()).json()["status"] == "complete"
    await check(house)


@pytest.mark.case("K-101")
async def test_a_new_password_is_the_same_in_every_writing_of_unicode(house: House) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    assert (await new_password(ada, bearer, "cafe\u0301 au lait ﬁne")).status_code == 204
    ada.password = "caf\u00e9 au lait fine"
    assert (await ada.login()).status_code == 200
    unchanged = await new_password(ada, bearer, "cafe\u0301 au lait fine")
    assert unchanged.json()["errors"] == [{"pointer": "/new_password", "code": "unchanged"}]
    for present, fault in (("x" * 129, "too_long"), ("x" * 512, "too_long")):
        refused = await new_password(ada, bearer, current_password=present)
        assert refusal(refused) == (400, "invalid_request")
        assert refused.json()["errors"] == [{"pointer": "/current_password", "code": fault}]
    await check(house)


@pytest.mark.case("K-70")
async def test_of_everything_a_person_has_open_only_the_acting_session_outlives_a_new_password(
    house: House,
) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    sessions = []
    for _ in range(3):
        house.clock.advance(30)
        sessions.append(await ada.sign_in())
    acting, *others = sessions
    browser = await in_browser(house, bob)
    pending, device = await ada.pre_auth(), acting["device_token"]
    started = (await ada.post(AUTHENTICATORS, {}, bearer=others[0]["access_token"])).json()
    done = await new_password(ada, acting["access_token"])
    assert done.status_code == 204, done.text

    for tokens in others:
        refused = await ada.refresh(tokens["refresh_token"])
        assert (refused.status_code, refused.json()["reason"]) == (401, "password_changed")
        assert refusal(await ada.get(ME, bearer=tokens["access_token"])) == (401, "invalid_token")
    house.clock.advance(30)
    assert refusal(await ada.verify(pending, ada.code())) == (401, "invalid_pre_auth_token")
    confirm = f"{AUTHENTICATORS}/{started['id']}/confirm"
    hijack = await ada.post(confirm, {"code": "123456"}, bearer=acting["access_token"])
    assert refusal(hijack) == (404, "not_found")
    assert refusal(await ada.login()) == (401, "invalid_credentials")
    ada.password = NEW_PASSWORD
    for number in range(5):
        assert (
            await elsewhere(ada).verify(await ada.pre_auth(), ada.wrong_code(but=number))
        ).status_code == 401
    assert (await ada.login(device_token=device)).json()["attempts_left"] == 0, "the device is a stranger's"

    assert (await ada.get(ME, bearer=acting["access_token"])).status_code == 200
    assert (await ada.refresh(acting["refresh_token"])).status_code == 200
    assert await living(house, ada) == {acting["session"]["id"]}
    assert (await browser.send("GET", ME)).status_code == 200, "nobody else is concerned"
    assert len(await authenticators(house, ada)) == 1
    assert (await house.letters(ada))[0] == "password_changed"
    (event,) = await house.events("account:password_change:ok")
    assert (event["person_id"], str(event["session_id"])) == (ada.id, acting["session"]["id"])
    await check(house)


@pytest.mark.case("K-70")
async def test_a_browsers_session_gets_a_new_cookie_with_a_new_password(house: House) -> None:
    ada = await house.a_person()
    acting, other = await in_browser(house, ada), await in_browser(house, ada)
    old = acting.cookie
    done = await acting.own(
        "POST", PASSWORD, {"current_password": ada.password, "new_password": NEW_PASSWORD}
    )
    assert done.status_code == 204, done.text
    assert acting.cookie != old
    assert (await acting.send("GET", ME)).status_code == 200
    acting.cookie = old
    assert refusal(await acting.send("GET", ME)) == (401, "invalid_token")
    ended = await other.send("GET", ME)
    assert (refusal(ended), ended.json()["reason"]) == ((401, "invalid_token"), "password_changed")
    await check(house)


@pytest.mark.case("K-70")
@ROUNDS
async def test_nothing_that_races_a_new_password_outlives_it(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        acting = await ada.sign_in()
        house.clock.advance(30)
        other = await ada.sign_in()
        tokens = await pre_auths(ada, 4)
        racers: list[Any] = [elsewhere(ada).refresh(other["refresh_token"]) for _ in range(12)]
        racers += [
            elsewhere(ada).verify(tokens[0], ada.code(1)),
            elsewhere(ada).verify(tokens[1], ada.codes[0]),
        ]
        racers += [elsewhere(ada).verify(tokens[2], ada.wrong_code()), elsewhere(ada).login()]
        racers += [elsewhere(ada).post(BACKUP_CODES, None, bearer=other["access_token"])]
        done, *answers = await asyncio.gather(new_password(ada, acting["access_token"]), *racers)
        assert done.status_code == 204, done.text
        assert await living(house, ada) == {acting["session"]["id"]}
        assert codes_of(answers) <= {
            (401, "invalid_refresh_token"),
            (401, "invalid_pre_auth_token"),
            (401, "invalid_code"),
            (401, "invalid_credentials"),
            (401, "invalid_token"),
            (409, "conflict"),
        }
        for answer in answers:
            if answer.status_code == 200 and "refresh_token" in answer.json():
                after = await ada.refresh(answer.json()["refresh_token"])
                assert (after.status_code, after.json()["reason"]) == (401, "password_changed")
        ada.password = NEW_PASSWORD
        assert (await ada.login()).json()["status"] == "second_factor_required"
        await check(house, answers)


@pytest.mark.case("K-70")
@ROUNDS
async def test_of_two_sessions_that_change_the_password_at_once_one_lives(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        sessions = [await ada.sign_in() for _ in range(2)]
        answers = await asyncio.gather(
            *(
                new_password(elsewhere(ada), tokens["access_token"], f"new password {number}")
                for number, tokens in enumerate(sessions)
            )
        )
        assert sorted(a.status_code for a in answers) == [204, 401]
        assert codes_of(answers) <= {(401, "invalid_token"), (401, "invalid_credentials")}
        winner = [a.status_code for a in answers].index(204)
        assert await living(house, ada) == {sessions[winner]["session"]["id"]}
        ada.password = f"new password {winner}"
        assert (await ada.login()).status_code == 200
        assert await house.letters(ada) == ["password_changed"]
        await check(house)
