"""The list of people over the API: filters against the database, orders, pages, searches (security K-95)."""

from typing import Any

import pytest

from service.flows import accounts as account_flow
from tests.builders import House
from tests.flows.administration import USERS, Administrator, crowd, signed_in
from tests.http.problems import invalid


async def whole(boss: Administrator, **asked: object) -> list[Any]:
    """Everybody whom a list has, through all its pages."""
    found: list[Any] = []
    cursor: dict[str, object] = {}
    while True:
        page = await boss.listed(**asked, **cursor)
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        assert len(page["data"]) == asked.get("limit", 50)
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.case("K-95")
async def test_each_filter_lets_through_just_whom_the_tables_say(house: House) -> None:
    boss, _ = await signed_in(house), await crowd(house, 60)
    enrolled = "EXISTS (SELECT FROM authenticator a WHERE a.person_id = p.id AND a.confirmed_at IS NOT NULL)"
    unused = """(SELECT count(*) FROM backup_set s JOIN backup_code c ON c.set_id = s.id
                 WHERE s.person_id = p.id AND s.replaced_at IS NULL AND c.used_at IS NULL)"""
    truths = {
        "all": "true",
        "activated": enrolled,
        "not_activated": f"NOT {enrolled}",
        "codes_low": f"{enrolled} AND {unused} <= 2",
        "pending": "false",
        "overdue": "false",
    }
    states = {"all": "true", "active": "disabled_at IS NULL", "disabled": "disabled_at IS NOT NULL"}
    total = await house.value("SELECT count(*) FROM person")
    for two_factor, truth in truths.items():
        for status, state in states.items():
            rows = await house.rows(f"SELECT email FROM person p WHERE {truth} AND {state} ORDER BY email")
            asked = {"two_factor": two_factor, "status": status, "limit": 7}
            found = await whole(boss, **asked)
            assert [one["email"] for one in found] == [row["email"] for row in rows], (two_factor, status)
            page = await boss.listed(**asked)
            assert page["matching"] == {"count": len(rows), "exact": True}
            assert page["total"] == {"count": total, "exact": True}
            low = [one["email"] for one in found if one["two_factor"]["codes_low"]]
            rows = await house.rows(
                f"SELECT email FROM person p WHERE {truth} AND {state} AND {truths['codes_low']}"
            )
            assert sorted(low) == sorted(row["email"] for row in rows)


@pytest.mark.case("U-68")
async def test_each_order_is_whole_and_turns_around(house: House) -> None:
    boss, _ = await signed_in(house), await crowd(house, 30)
    # People who are alike in what the list is sorted by, over the end of a page.
    alike = (
        "UPDATE person SET name = 'Same', created_at = date_trunc('day', now()) WHERE email < 'crowd000012'"
    )
    await house.rows(alike)
    for sort in ("email", "name", "created_at"):
        up = await whole(boss, sort=sort, limit=4)
        down = await whole(boss, sort=f"-{sort}", limit=4)
        assert [one["id"] for one in down] == [one["id"] for one in up][::-1]
        assert len({one["id"] for one in up}) == len(up) == 31
        values = [one[sort] for one in up]
        assert values == sorted(values)


@pytest.mark.case("U-69")
async def test_a_search_finds_words_by_their_beginning_and_ids(house: House) -> None:
    boss, emails = await signed_in(house), await crowd(house, 30)
    await house.rows("UPDATE person SET name = 'Анна-Мария O''Neil Øre' WHERE email = $1", emails[4])
    await house.rows("UPDATE person SET email = 'grace.hopper+navy@example.com' WHERE email = $1", emails[5])
    for text, found in (
        ("анна", emails[4]),
        ("АННА-МАР", emails[4]),
        ("мария", emails[4]),
        ("o'neil", emails[4]),
        ("neil øre", emails[4]),
        ("ØRE анна", emails[4]),
        ("navy", "grace.hopper+navy@example.com"),
        ("GRACE.HOPPER%2BNAVY@EX", "grace.hopper+navy@example.com"),
        (emails[9], emails[9]),
    ):
        assert await boss.emails(q=text) == [found], text
    assert await boss.emails(q="eil") == []
    assert await boss.emails(q="анна grace") == []
    assert len(await boss.emails(q="gra", two_factor="not_activated")) == 14
    (row,) = await house.rows("SELECT id, sub FROM person WHERE email = $1", emails[9])
    for identifier in (row["id"], row["sub"], str(row["id"]).upper()):
        assert await boss.emails(q=identifier) == [emails[9]]
        page = await boss.listed(q=identifier)
        assert (page["next_cursor"], page["matching"]) == (None, {"count": 1, "exact": True})
        assert await boss.emails(q=identifier, two_factor="not_activated") == []
    assert await boss.emails(q="00000000-0000-7000-8000-000000000000") == []


@pytest.mark.case("K-95")
@pytest.mark.case("K-98")
async def test_a_parameter_that_is_none_is_refused(house: House) -> None:
    boss = await signed_in(house)
    for query, pointer in (
        ("two_factor=yes", "/two_factor"),
        ("status=deleted", "/status"),
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=1000000000", "/limit"),
        ("limit=ten", "/limit"),
        ("sort=sub", "/sort"),
        ("sort=--email", "/sort"),
        ("sort=", "/sort"),
        ("cursor=", "/cursor"),
        ("cursor=AAAA", "/cursor"),
        ("cursor=%00", "/cursor"),
        ("q=%00", "/q"),
        ("q=a%0Ab", "/q"),
        (f"q={'x' * 201}", "/q"),
    ):
        invalid(await boss.call("GET", f"{USERS}?{query}"), pointer)
    for query in ("q=%ED%A0%80", "q=%C0%A7", "q=%FF", "q='; DROP TABLE person --", "q=\\"):
        assert (await boss.call("GET", f"{USERS}?{query}")).status_code in (200, 400), query


@pytest.mark.case("K-95")
async def test_a_cursor_is_of_its_order_only(house: House) -> None:
    boss, _ = await signed_in(house), await crowd(house, 3)
    cursor = (await boss.listed(sort="name", limit=1))["next_cursor"]
    for sort in ("email", "-name", "created_at"):
        invalid(await boss.call("GET", f"{USERS}?sort={sort}&cursor={cursor}"), "/cursor")
    for at in range(0, len(cursor), 3):
        changed = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
        answer = await boss.call("GET", f"{USERS}?sort=name&cursor={changed}")
        assert answer.status_code in (200, 400)


async def test_the_command_line_lists_by_the_same_filters(house: House) -> None:
    emails = await crowd(house, 45)
    for two_factor, expected in (
        ("all", emails),
        ("activated", emails[1::2]),
        ("not_activated", emails[::2]),
        ("codes_low", emails[19::20]),
        ("overdue", []),
    ):
        found = [one.email async for one in account_flow.everyone(house.world, two_factor, page=10)]  # type: ignore[arg-type]
        assert found == expected, two_factor
