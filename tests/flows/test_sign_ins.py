"""The sign-ins of late, and the tries at one: who sees which, and how they are picked."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.builders import House, Person
from tests.flows.account import NOBODY, SIGN_INS, pages
from tests.flows.invariants import check, elsewhere, refusal


async def sign_ins(person: Person, bearer: str, **query: object) -> list[Any]:
    asked = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
    answer = await person.get(f"{SIGN_INS}?{asked}", bearer=bearer)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["data"]
    return found


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("result=maybe", "/result"),
        ("result=ok%00", "/result"),
        ("since=yesterday", "/since"),
        ("since=2026-01-01T00:00:00", "/since"),
        ("until=2026-01-01T00:00:00", "/until"),
        ("until=2026-13-01T00:00:00Z", "/until"),
        ("address=here", "/address"),
        ("address=1.2.3.4%00", "/address"),
        ("address=1.2.3.0/24", "/address"),
        ("address=%27%20OR%201=1", "/address"),
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=1e3", "/limit"),
        ("cursor=x", "/cursor"),
    ],
)
async def test_a_malformed_question_is_refused_by_its_pointer(house: House, query: str, pointer: str) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    answer = await ada.get(f"{SIGN_INS}?{query}", bearer=bearer)
    assert refusal(answer) == (400, "invalid_request"), answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    "query",
    [
        "since=0001-01-01T00:00:00%2B14:00",
        "until=9999-12-31T23:59:59-14:00",
        "since=9999-12-31T23:59:59Z",
        "until=0001-01-01T00:00:00Z",
        "since=1700000000",
        "since=2026-01-01",
        "address=fe80::1%25eth0",
        "address=::ffff:1.2.3.4",
        "address=",
        "since=",
        "cursor=",
        "result=",
        "cursor=00000000-0000-0000-0000-000000000000",
        "cursor=ffffffff-ffff-ffff-ffff-ffffffffffff",
        "nonsense=1",
    ],
)
async def test_no_question_however_odd_is_a_fault_of_ours(house: House, query: str) -> None:
    ada = await house.a_person()
    bearer = (await ada.sign_in())["access_token"]
    answer = await ada.get(f"{SIGN_INS}?{query}", bearer=bearer)
    assert answer.status_code in (200, 400), answer.text


async def test_nobody_sees_anothers_sign_ins_nor_tries_at_unknown_addresses(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    bob.address = ada.address
    for person in (ada, bob):
        await person.login(password="not it")
        await person.verify(await person.pre_auth(), person.wrong_code())
    await ada.post("/v1/sign-in", {"email": "nobody@example.com", "password": "not it"})
    tokens, bobs = await ada.sign_in(), await bob.sign_in()
    mine = await sign_ins(ada, tokens["access_token"], address=ada.address, limit=200)
    his = await sign_ins(bob, bobs["access_token"], address=ada.address, limit=200)
    assert len(mine) == len(his) == 3
    assert not {one["id"] for one in mine} & {one["id"] for one in his}
    assert {one["session"] for one in mine} == {None, tokens["session"]["id"]}
    beyond = await sign_ins(ada, tokens["access_token"], cursor=his[0]["id"])
    assert {one["id"] for one in beyond} <= {one["id"] for one in mine}
    await check(house)


async def test_each_sign_in_and_try_is_told_with_how_and_where_from(house: House) -> None:
    ada = await house.a_person().with_totp()
    away = elsewhere(ada)
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    body = {"email": ada.email, "password": "not it"}
    assert (await away.post("/v1/sign-in", body, **{"user-agent": firefox})).status_code == 401
    at = ada.now
    house.clock.advance(1)
    await ada.verify(await ada.pre_auth(), ada.wrong_code())
    house.clock.advance(1)
    first = await ada.verify(await ada.pre_auth(), ada.codes[0])
    house.clock.advance(1)
    tokens = await ada.sign_in()
    house.clock.advance(1)
    bearer = tokens["access_token"]
    told = await sign_ins(ada, bearer)
    assert [(one["result"], one["method"], one["session"]) for one in told] == [
        ("ok", "totp", tokens["session"]["id"]),
        ("ok", "backup_code", first.json()["session"]["id"]),
        ("failed", "totp", None),
        ("failed", "password", None),
    ]
    assert told[3] | {"id": None} == {
        "id": None,
        "at": at.isoformat().replace("+00:00", "Z"),
        "result": "failed",
        "method": "password",
        "session": None,
        "address": away.address,
        "place": None,
        "browser": "Firefox 128",
        "os": "Linux",
        "user_agent": firefox,
    }
    assert "not it" not in str(told)
    assert ada.codes[0] not in str(told)
    await check(house)


async def test_a_sign_in_without_a_factor_is_told_as_one_by_password(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    (one,) = await sign_ins(ada, tokens["access_token"])
    assert (one["result"], one["method"], one["session"]) == ("ok", "password", tokens["session"]["id"])


async def test_the_filters_pick_by_result_time_and_address_and_together(house: House) -> None:
    ada = await house.a_person()
    away = elsewhere(ada)
    began = ada.now
    for _ in range(2):
        await away.login(password="not it")
        house.clock.advance(60)
        tokens = await ada.sign_in()
        house.clock.advance(60)
    for _ in range(5):
        await away.login(password="not it")
    assert refusal(await away.login()) == (429, "rate_limited")
    tokens = (await ada.login(device_token=tokens["device_token"])).json()
    bearer = tokens["access_token"]

    by_result = {result: await sign_ins(ada, bearer, result=result) for result in ("ok", "failed", "refused")}
    assert {result: len(found) for result, found in by_result.items()} == {"ok": 3, "failed": 7, "refused": 1}
    assert all(one["result"] == result for result, found in by_result.items() for one in found)
    assert len(await sign_ins(ada, bearer)) == 11
    assert len(await sign_ins(ada, bearer, address=away.address)) == 8
    assert await sign_ins(ada, bearer, address="203.0.113.77") == []

    minute = timedelta(minutes=1)
    assert len(await sign_ins(ada, bearer, until=began.isoformat())) == 0, "until is exclusive"
    assert len(await sign_ins(ada, bearer, until=(began + minute).isoformat())) == 1
    assert len(await sign_ins(ada, bearer, since=(began + minute).isoformat())) == 10, "since is inclusive"
    some = await sign_ins(
        ada,
        bearer,
        since=began.isoformat(),
        until=(began + 3 * minute).isoformat(),
        address=away.address,
        result="failed",
    )
    assert [datetime.fromisoformat(one["at"]) for one in some] == [began + 2 * minute, began]
    elsewhen = (began + minute).astimezone().isoformat()
    assert len(await sign_ins(ada, bearer, since=elsewhen)) == 10
    await check(house)


async def test_one_ipv6_address_is_found_in_every_writing(house: House) -> None:
    ada = await house.a_person()
    ada.address = "2001:db8::1"
    bearer = (await ada.sign_in())["access_token"]
    for text in ("2001:db8::1", "2001:0DB8:0:0:0:0:0:1"):
        assert len(await sign_ins(ada, bearer, address=text)) == 1


async def test_pages_hold_every_sign_in_once(house: House) -> None:
    ada, bob = await house.a_person(), await house.a_person()
    for _ in range(5):
        house.clock.advance(1)
        tokens = await ada.sign_in()
        await bob.sign_in()
    bearer = tokens["access_token"]
    every = await sign_ins(ada, bearer)
    assert len(every) == 5
    assert every == sorted(every, key=lambda one: str(one["at"]), reverse=True)
    assert await pages(house, SIGN_INS, bearer) == every
    assert await pages(house, f"{SIGN_INS}?result=ok&address={ada.address}", bearer) == every
    assert await sign_ins(ada, bearer, cursor=NOBODY) == []
