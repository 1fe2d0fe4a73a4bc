"""Roles, filters, searches, and the places where pages end."""

import base64
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import administration as rules
from service.domain.administration import Order, Place, Standing

ONE = UUID("01900000-0000-7000-8000-000000000001")
EMAIL = Order("email")


def test_only_administrators_change_accounts() -> None:
    for act in ("reset_two_factor", "unlock", "disable", "enable", "roles"):
        assert rules.may(["admin"], act)
        assert not rules.may(["support", "auditor"], act)
    assert rules.may(["support"], "end_sessions")
    assert not rules.may(["auditor"], "end_sessions")
    assert all(rules.may([role], "read") for role in rules.ROLES)
    assert not rules.may(["Admin", "root", ""], "read")
    assert not rules.may([], "read")


@pytest.mark.case("K-95")
@pytest.mark.case("U-67")
def test_each_filter_is_exactly_its_standings() -> None:
    def some(two_factor: str, status: str = "all", required: bool = False) -> set[Standing]:
        return set(rules.standings(two_factor, status, required=required))  # type: ignore[arg-type]

    assert some("all") == set(Standing)
    assert some("activated") | some("not_activated") == set(Standing)
    assert not some("activated") & some("not_activated")
    assert some("codes_low") < some("activated")
    assert some("activated", "active") == {Standing.ACTIVATED, Standing.CODES_LOW}
    assert some("all", "active") | some("all", "disabled") == set(Standing)
    assert some("pending") == some("overdue") == set()
    assert some("pending", required=True) == some("overdue", required=True) == some("not_activated")


def test_a_search_is_the_beginnings_of_its_words() -> None:
    assert rules.words("ada  LOVE") == "'ada':* & 'LOVE':*"
    assert rules.words("o'neil \\") == "'o''neil':* & '\\\\':*"
    assert rules.words("  ") is None
    assert rules.identifier(f" {ONE} ") == ONE
    assert rules.identifier("01900000000070008000000000000001") is None
    assert rules.identifier("g" * 36) is None


@pytest.mark.parametrize("down", [True, False])
def test_a_cursor_is_read_back(down: bool) -> None:
    at = datetime(2026, 11, 24, 21, 0, 0, 5, tzinfo=UTC)
    for sort, value in (("email", "ada@example.com"), ("name", ""), ("name", "Ада ‍ 中"), ("created_at", at)):
        order, place = Order(sort, down), Place(value, ONE)  # type: ignore[arg-type]
        assert rules.place(rules.cursor(order, place), order) == place
        assert rules.place(rules.cursor(order, place), Order(order.sort, not down)) is None
        assert rules.place(rules.cursor(order, place), Order("email" if sort == "name" else "name")) is None


def forged(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.case("K-95")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "%",
        "A",
        "AAAA",
        "A" * 5000,
        str(ONE),
        forged(None),
        forged({}),
        forged(["email", False, "a"]),
        forged(["email", False, "a", str(ONE), 1]),
        forged(["email", 0, "a", str(ONE)]),
        forged(["email", False, 7, str(ONE)]),
        forged(["email", False, None, str(ONE)]),
        forged(["email", False, ["a"], str(ONE)]),
        forged(["email", False, "a\0", str(ONE)]),
        forged(["email", False, "\ud800", str(ONE)]),
        forged(["email", False, "a", "nothing"]),
        forged(["email", False, "a", 1]),
        forged(["email; DROP TABLE person", False, "a", str(ONE)]),
        rules.cursor(EMAIL, Place("a", ONE)) + "=",
        rules.cursor(EMAIL, Place("a", ONE)) + "A",
    ],
)
def test_what_is_no_cursor_of_ours_is_none(text: str) -> None:
    assert rules.place(text, EMAIL) is None


def test_a_cursor_of_times_needs_a_time_with_its_zone() -> None:
    order = Order("created_at")
    for value in ("a", "2026-11-24T21:00:00", "99999-01-01T00:00:00+00:00"):
        assert rules.place(forged(["created_at", False, value, str(ONE)]), order) is None


@given(st.text(max_size=200))
def test_any_text_is_a_cursor_or_none(text: str) -> None:
    place = rules.place(text, EMAIL)
    assert place is None or rules.cursor(EMAIL, place) == text
