"""The two lives of a session, and the cookie of a browser's."""

from datetime import datetime, timedelta

import pytest

from tests.builders import House
from tests.flows.account import (
    BACKUP_CODES,
    END_OTHERS,
    ME,
    STEP_UP,
    end,
    in_browser,
    living,
    refreshed,
    sessions,
)
from tests.flows.invariants import check, refusal

DAY = 86_400


@pytest.mark.case("K-68")
async def test_a_session_that_outlived_a_life_is_shown_as_ended_before_anybody_wrote_it_down(
    house: House,
) -> None:
    ada = await house.a_person()
    idle, busy = await ada.sign_in(), await ada.sign_in()
    browser = await in_browser(house, ada)
    born, browsers = ada.now, await living(house, ada) - {idle["session"]["id"], busy["session"]["id"]}
    house.clock.advance(DAY / 2)
    busy = await refreshed(ada, busy)
    ended = {one["id"]: one for one in await sessions(ada, busy["access_token"], "?active=false")}
    assert set(ended) == browsers
    (cookies,) = ended.values()
    assert (cookies["reason"], datetime.fromisoformat(cookies["ended_at"])) == (
        "idle",
        born + timedelta(hours=12),
    )
    house.clock.advance(DAY / 2)
    busy = await refreshed(ada, busy)
    ended = {one["id"]: one for one in await sessions(ada, busy["access_token"], "?active=false")}
    assert set(ended) == browsers | {idle["session"]["id"]}
    unused = ended[idle["session"]["id"]]
    assert (unused["reason"], datetime.fromisoformat(unused["ended_at"])) == (
        "idle",
        born + timedelta(days=1),
    )
    assert len(await living(house, ada)) == 3, "nobody has written it down"
    # And so it is.
    assert (await ada.refresh(idle["refresh_token"])).json()["reason"] == "idle"
    gone = await browser.send("GET", ME)
    assert (refusal(gone), gone.json()["reason"]) == ((401, "invalid_token"), "idle")
    assert await living(house, ada) == {busy["session"]["id"]}
    assert len(await house.events("session:expiry:ok")) == 2
    await check(house)


@pytest.mark.case("K-68")
async def test_no_refresh_carries_a_session_beyond_its_absolute_life_nor_tells_otherwise(
    house: House,
) -> None:
    ada = await house.a_person()
    tokens, born = await ada.sign_in(), ada.now
    for _ in range(30):
        house.clock.advance(DAY - 60)
        tokens = await refreshed(ada, tokens)
    house.clock.advance(30 * 60 - 1)
    tokens = await refreshed(ada, tokens)
    assert len(await sessions(ada, tokens["access_token"], "?active=true")) == 1
    house.clock.advance(1)
    assert (await ada.refresh(tokens["refresh_token"])).json()["reason"] == "absolute"
    here = await ada.sign_in()
    (gone,) = await sessions(ada, here["access_token"], "?active=false")
    assert (gone["reason"], datetime.fromisoformat(gone["ended_at"])) == (
        "absolute",
        born + timedelta(days=30),
    )
    await check(house)


@pytest.mark.case("K-68")
async def test_a_browsers_session_in_use_ends_after_seven_days(house: House) -> None:
    ada = await house.a_person()
    browser = await in_browser(house, ada)
    for _ in range(14):
        house.clock.advance(DAY / 2 - 1)
        assert (await browser.send("GET", ME)).status_code == 200
    row = (await house.rows("SELECT idle_at, absolute_at FROM session"))[0]
    assert row["idle_at"] == row["absolute_at"]
    house.clock.advance(13)
    assert (await browser.send("GET", ME)).status_code == 200
    house.clock.advance(1)
    for _ in range(2):
        gone = await browser.send("GET", ME)
        assert (refusal(gone), gone.json()["reason"]) == ((401, "invalid_token"), "absolute")
    assert len(await house.events("session:expiry:ok")) == 1
    await check(house)


@pytest.mark.case("K-68")
async def test_a_new_cookie_lengthens_no_absolute_life(house: House) -> None:
    ada = await house.a_person()
    browser = await in_browser(house, ada)
    born = await house.value("SELECT absolute_at FROM session")
    house.clock.advance(DAY / 3)
    old = browser.cookie
    assert (await browser.own("POST", STEP_UP, {"password": ada.password})).status_code == 200
    assert browser.cookie != old
    assert (await browser.send("GET", ME)).status_code == 200
    assert await house.value("SELECT absolute_at FROM session") == born
    browser.cookie = old
    assert refusal(await browser.send("GET", ME)) == (401, "invalid_token")


@pytest.mark.case("K-66")
async def test_every_cookie_an_answer_sets_lives_on_the_whole_site_and_is_no_scripts(house: House) -> None:
    ada = await house.a_person()
    browser = await in_browser(house, ada)
    answer = await browser.own("POST", END_OTHERS)
    ages = {"doorward-dev": "max-age=604800", "doorward-dev-device": "max-age=15552000"}
    lines = answer.headers.get_list("set-cookie")
    assert [line.partition("=")[0] for line in lines] == list(ages)
    assert lines[0].startswith(f"doorward-dev={browser.cookie};")
    assert browser.cookie.startswith("dws_")
    for line in lines:
        first, *attributes = [part.strip() for part in line.split(";")]
        told = {one.lower() for one in attributes}
        assert told == {"httponly", "path=/", "samesite=lax", ages[first.partition("=")[0]]}
    assert (await browser.send("GET", ME)).status_code == 200


@pytest.mark.case("K-66")
async def test_a_sign_out_takes_the_cookie_away(house: House) -> None:
    ada = await house.a_person()
    browser = await in_browser(house, ada)
    answer = await browser.own("POST", "/v1/sign-out")
    (line,) = answer.headers.get_list("set-cookie")
    attributes = {part.strip().lower() for part in line.split(";")}
    assert attributes >= {'doorward-dev=""', "max-age=0", "path=/"}


async def test_a_session_that_ended_idle_keeps_its_reason_when_the_others_are_ended(house: House) -> None:
    ada = await house.a_person()
    idle = await ada.sign_in()
    house.clock.advance(DAY)
    acting = await ada.sign_in()
    (before,) = await sessions(ada, acting["access_token"], "?active=false")
    assert (before["id"], before["reason"]) == (idle["session"]["id"], "idle")
    assert (await ada.post(END_OTHERS, None, bearer=acting["access_token"])).json() == {"ended": 0}
    assert await sessions(ada, acting["access_token"], "?active=false") == [before]


async def test_a_session_that_ended_idle_keeps_its_reason_when_it_is_ended_by_hand(house: House) -> None:
    ada = await house.a_person()
    idle = await ada.sign_in()
    house.clock.advance(DAY)
    acting = await ada.sign_in()
    (before,) = await sessions(ada, acting["access_token"], "?active=false")
    assert (await end(ada, acting["access_token"], idle["session"]["id"])).status_code == 204
    assert await sessions(ada, acting["access_token"], "?active=false") == [before]


async def test_a_cookies_session_is_seen_once_a_minute_and_steps_up_like_any(house: House) -> None:
    ada = await house.a_person().with_totp()
    browser = await in_browser(house, ada)
    seen = "SELECT seen_at FROM session"
    first = await house.value(seen)
    house.clock.advance(59)
    assert (await browser.send("GET", ME)).status_code == 200
    assert await house.value(seen) == first
    house.clock.advance(1)
    assert (await browser.send("GET", ME)).status_code == 200
    assert await house.value(seen) == ada.now
    house.clock.advance(241)
    assert refusal(await browser.own("POST", BACKUP_CODES)) == (403, "reauthentication_required")
    await check(house)
