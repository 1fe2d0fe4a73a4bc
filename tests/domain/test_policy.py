"""How many failures a person may have, and how long to wait."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import policy
from service.domain.policy import Budget

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BUDGET = Budget()


def _failures(*seconds_ago: float) -> list[datetime]:
    return [NOW - timedelta(seconds=ago) for ago in sorted(seconds_ago)]


def test_four_failures_wait_for_nothing_and_the_fifth_does() -> None:
    assert BUDGET.wait(_failures(1, 2, 3, 4), NOW) == 0
    assert BUDGET.left(_failures(1, 2, 3, 4), NOW) == 1
    assert BUDGET.wait(_failures(1, 2, 3, 4, 5), NOW) == 295
    assert BUDGET.left(_failures(1, 2, 3, 4, 5), NOW) == 0


def test_a_window_opens_when_its_oldest_failure_leaves_it() -> None:
    failures = _failures(1, 2, 3, 4, 299)
    assert BUDGET.wait(failures, NOW) == 1
    assert BUDGET.wait(failures, NOW + timedelta(seconds=1)) == 0
    assert BUDGET.left(failures, NOW + timedelta(seconds=1)) == 1


def test_twenty_in_an_hour_and_fifty_in_a_day_wait_longer() -> None:
    spread_over_an_hour = _failures(*(n * 170 for n in range(1, 21)))
    assert BUDGET.wait(spread_over_an_hour, NOW) == 3600 - 20 * 170
    spread_over_a_day = _failures(*(n * 1500 for n in range(1, 51)))
    assert BUDGET.wait(spread_over_a_day, NOW) == 86_400 - 50 * 1500


@settings(deadline=None)
@given(st.lists(st.floats(0, 90_000), max_size=50))
def test_there_is_a_wait_just_when_no_try_is_left(seconds_ago: list[float]) -> None:
    failures = _failures(*seconds_ago)
    assert (BUDGET.wait(failures, NOW) == 0) == (BUDGET.left(failures, NOW) > 0)


@pytest.mark.parametrize(
    ("attempts", "person", "left"), [(0, 5, 5), (3, 5, 2), (3, 1, 1), (5, 5, 0), (6, 5, 0), (0, 0, 0)]
)
def test_the_smaller_of_the_tokens_and_the_persons_tries_is_told(
    attempts: int, person: int, left: int
) -> None:
    assert policy.attempts_left(attempts, 5, person) == left


@pytest.mark.parametrize(
    ("age", "two_factors", "enrolled", "proved"),
    [
        (0, True, True, True),
        (299, True, True, True),
        (300, True, True, False),
        (10, False, True, False),
        (10, False, False, True),
        (301, False, False, False),
    ],
)
def test_a_step_up_is_young_and_of_everything_the_person_has(
    age: int, two_factors: bool, enrolled: bool, proved: bool
) -> None:
    found = policy.stepped_up(
        auth_time=NOW - timedelta(seconds=age),
        two_factors=two_factors,
        enrolled=enrolled,
        now=NOW,
        seconds=300,
    )
    assert found is proved
