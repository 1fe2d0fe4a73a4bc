"""Where one is signed in: listed, ended one by one or all at once, and their two lives."""

import asyncio

import pytest

from tests.builders import House
from tests.flows.account import (
    DOORS,
    END_OTHERS,
    ME,
    NOBODY,
    SESSIONS,
    all_of_it,
    call,
    codes_of,
    end,
    in_browser,
    living,
    pages,
    refreshed,
    sessions,
)
from tests.flows.invariants import ROUNDS, check, elsewhere, refusal

# Ended


async def test_anothers_session_is_as_unknown_as_none(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    tokens, bobs = await ada.sign_in(), await bob.sign_in()
    before = await all_of_it(house)
    answers = [await end(ada, tokens["access_token"], session) for session in (bobs["session"]["id"], NOBODY)]
    assert [refusal(one) for one in answers] == [(404, "not_found")] * 2
    told = [{key: value for key, value in one.json().items() if key != "request_id"} for one in answers]
    assert told[0] == told[1]
    for session in ("x", NOBODY[:-1], "%00"):
        assert (await end(ada, tokens["access_token"], session)).status_code in (400, 404)
    assert await all_of_it(house) == before
    assert (await bob.refresh(bobs["refresh_token"])).status_code == 200
    await check(house)


@pytest.mark.case("K-66")
async def test_a_session_that_is_ended_elsewhere_is_dead_at_once(house: House) -> None:
    ada = await house.a_person()
    acting, other = await ada.sign_in(), await ada.sign_in()
    browser = await in_browser(house, ada)
    (shown,) = [one for one in await sessions(ada, acting["access_token"]) if one["client_id"] == "pages"]
    for session in (other["session"]["id"], shown["id"]):
        assert (await end(ada, acting["access_token"], session)).status_code == 204
    refused = await ada.refresh(other["refresh_token"])
    assert (refused.status_code, refused.json()["reason"]) == (401, "revoked")
    for method, path, body in DOORS:
        answer = await call(ada, method, path, body, bearer=other["access_token"])
        assert refusal(answer) == (401, "invalid_token"), (method, path)
    gone = await browser.send("GET", ME)
    assert (refusal(gone), gone.json()["reason"]) == ((401, "invalid_token"), "revoked")
    assert await living(house, ada) == {acting["session"]["id"]}
    ended = await house.events("session:end:ok")
    assert {str(row["session_id"]) for row in ended} == {other["session"]["id"], shown["id"]}
    assert {row["person_id"] for row in ended} == {ada.id}
    await check(house)


async def test_what_has_ended_stays_as_it_ended(house: House) -> None:
    ada = await house.a_person()
    acting, other = await ada.sign_in(), await ada.sign_in()
    assert (await ada.post("/v1/sign-out", None, bearer=other["access_token"])).status_code == 204
    before = await all_of_it(house)
    house.clock.advance(60)
    for _ in range(2):
        assert (await end(ada, acting["access_token"], other["session"]["id"])).status_code == 204
    assert await all_of_it(house) == before
    assert await house.events("session:end:ok") == []
    assert (await ada.refresh(other["refresh_token"])).json()["reason"] == "signed_out"
    await check(house)


@pytest.mark.case("K-66")
async def test_ending_ones_own_session_is_a_sign_out(house: House) -> None:
    ada = await house.a_person()
    acting, other = await ada.sign_in(), await ada.sign_in()
    assert (await end(ada, acting["access_token"], acting["session"]["id"])).status_code == 204
    assert (await ada.refresh(acting["refresh_token"])).json()["reason"] == "signed_out"
    again = await end(ada, acting["access_token"], acting["session"]["id"])
    assert refusal(again) == (401, "invalid_token")
    assert refusal(await ada.get(ME, bearer=acting["access_token"])) == (401, "invalid_token")
    (event,) = await house.events("session:sign_out:ok")
    assert str(event["session_id"]) == acting["session"]["id"]
    assert await living(house, ada) == {other["session"]["id"]}
    await check(house)


@pytest.mark.case("K-66")
async def test_a_signed_out_cookie_opens_nothing_and_is_told_why(house: House) -> None:
    ada = await house.a_person().with_totp()
    browser = await in_browser(house, ada)
    csrf = await browser.csrf()
    kept = browser.cookie
    assert (await browser.own("POST", "/v1/sign-out")).status_code == 204
    browser.cookie = kept
    for method, path, body in DOORS:
        answer = await browser.send(method, path, body, csrf=csrf)
        assert (refusal(answer), answer.json()["reason"]) == ((401, "invalid_token"), "signed_out"), path
    await check(house)


async def test_end_others_ends_all_of_ones_own_but_the_acting_one(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person()
    acting = await ada.sign_in()
    house.clock.advance(30)
    other = await ada.sign_in()
    house.clock.advance(30)
    browser, bobs = await in_browser(house, ada), await bob.sign_in()
    pending = await ada.pre_auth()
    done = await ada.post(END_OTHERS, None, bearer=acting["access_token"])
    assert (done.status_code, done.json()) == (200, {"ended": 2})
    assert (await ada.refresh(other["refresh_token"])).json()["reason"] == "revoked"
    assert (await browser.send("GET", ME)).json()["reason"] == "revoked"
    assert refusal(await ada.verify(pending, ada.code(1))) == (401, "invalid_pre_auth_token")
    acting = await refreshed(ada, acting)
    assert (await ada.get(ME, bearer=acting["access_token"])).status_code == 200
    assert (await bob.refresh(bobs["refresh_token"])).status_code == 200
    assert (await ada.post(END_OTHERS, None, bearer=acting["access_token"])).json() == {"ended": 0}
    assert len(await house.events("session:end_others:ok")) == 2
    assert (await ada.verify(await ada.pre_auth(), ada.code(1))).status_code == 200
    await check(house)


@ROUNDS
async def test_of_sessions_that_end_each_other_at_once_one_lives_and_is_told_so(
    house: House, rounds: int
) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        all_tokens = [await ada.sign_in() for _ in range(4)]
        answers = await asyncio.gather(
            *(elsewhere(ada).post(END_OTHERS, None, bearer=one["access_token"]) for one in all_tokens)
        )
        winners = [one for one, answer in zip(all_tokens, answers, strict=True) if answer.status_code == 200]
        assert len(winners) == 1
        assert codes_of(answers) == {(401, "invalid_token")}
        assert await living(house, ada) == {winners[0]["session"]["id"]}
        assert (await ada.refresh(winners[0]["refresh_token"])).status_code == 200
        await check(house)


@pytest.mark.case("K-66")
@ROUNDS
async def test_nothing_is_refreshed_once_an_end_was_acknowledged(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        acting, other = await ada.sign_in(), await ada.sign_in()
        racers = [elsewhere(ada).refresh(other["refresh_token"]) for _ in range(16)]
        ended, *answers = await asyncio.gather(
            end(ada, acting["access_token"], other["session"]["id"]), *racers
        )
        assert ended.status_code == 204
        tokens = {other["refresh_token"]}
        tokens |= {answer.json()["refresh_token"] for answer in answers if answer.status_code == 200}
        for token in tokens:
            assert (await ada.refresh(token)).json()["reason"] == "revoked"
        assert await living(house, ada) == {acting["session"]["id"]}
        await check(house, answers)


# Listed


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("?limit=0", "/limit"),
        ("?limit=201", "/limit"),
        ("?limit=-1", "/limit"),
        ("?limit=x", "/limit"),
        ("?limit=1000000000000000000000", "/limit"),
        ("?limit=", "/limit"),
        ("?cursor=x", "/cursor"),
        ("?cursor=1%27%20OR%201=1", "/cursor"),
        ("?active=perhaps", "/active"),
        ("?limit=1&limit=2", ""),
    ],
)
async def test_a_malformed_question_is_refused_by_its_pointer(house: House, query: str, pointer: str) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    answer = await ada.get(f"{SESSIONS}{query}", bearer=bearer)
    assert refusal(answer) == (400, "invalid_request"), answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


async def test_the_list_tells_where_from_since_when_and_which_is_this_one(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person()
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    await bob.sign_in()
    away = elsewhere(ada)
    login = await away.login()
    verify = {"pre_auth_token": login.json()["pre_auth_token"], "code": ada.code()}
    phone = (await away.post("/v1/sign-in/second-factor", verify, **{"user-agent": firefox})).json()
    born = ada.now
    house.clock.advance(60)
    here = await ada.sign_in()
    assert (await ada.refresh(phone["refresh_token"])).status_code == 200
    newest, oldest = await sessions(ada, here["access_token"])
    assert (newest["id"], newest["current"]) == (here["session"]["id"], True)
    assert oldest | {"os": None} == {
        "id": phone["session"]["id"],
        "current": False,
        "client_id": "doorward",
        "browser": "Firefox 128",
        "os": None,
        "user_agent": firefox,
        "address": away.address,
        "place": None,
        "two_factor": True,
        "created_at": born.isoformat().replace("+00:00", "Z"),
        "seen_at": ada.now.isoformat().replace("+00:00", "Z"),
        "seen_address": ada.address,
        "ended_at": None,
        "reason": None,
    }
    assert oldest["os"] == "Linux"
    await check(house)


async def test_active_picks_the_living_or_the_ended_ones(house: House) -> None:
    ada = await house.a_person()
    gone = await ada.sign_in()
    assert (await ada.post("/v1/sign-out", None, bearer=gone["access_token"])).status_code == 204
    house.clock.advance(1)
    acting = await ada.sign_in()
    bearer = acting["access_token"]
    (ended,) = await sessions(ada, bearer, "?active=false")
    assert (ended["id"], ended["reason"]) == (gone["session"]["id"], "signed_out")
    (active,) = await sessions(ada, bearer, "?active=true")
    assert (active["id"], active["ended_at"]) == (acting["session"]["id"], None)
    assert await sessions(ada, bearer) == [active, ended]


async def test_pages_hold_every_session_of_ones_own_once(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    expected: list[str] = []
    for number in range(5):
        house.clock.advance(1)
        tokens = await ada.sign_in()
        expected.insert(0, tokens["session"]["id"])
        bobs = await bob.sign_in()
        if number % 2:
            assert (await ada.post("/v1/sign-out", None, bearer=tokens["access_token"])).status_code == 204
    bearer = tokens["access_token"]
    assert [one["id"] for one in await pages(house, SESSIONS, bearer)] == expected
    active = await pages(house, f"{SESSIONS}?active=true", bearer)
    assert [one["id"] for one in active] == expected[::2]
    # Another's cursor is a point in time and no more.
    beyond = await sessions(ada, bearer, f"?cursor={bobs['session']['id']}")
    assert {one["id"] for one in beyond} <= set(expected)
    for limit in (1, 200):
        assert len(await sessions(ada, bearer, f"?limit={limit}")) == min(limit, 5)
    assert await sessions(ada, bearer, f"?cursor={NOBODY}") == []
