"""How long a refusal takes tells nobody whether an address is known (K-36)."""

import statistics
from time import perf_counter

import pytest

from tests.builders import DEAR, House, Person


async def _seconds(house: House, person: Person, email: str, number: int) -> float:
    """One wrong password for `email`, with no failure before it and from an address of its own."""
    async with house.world.db.connection() as connection:
        await connection.execute("DELETE FROM password_tries")
    person.address = f"203.0.{number // 250}.{number % 250}"
    began = perf_counter()
    answer = await person.login(email=email, password="test-value wrong")
    taken = perf_counter() - began
    assert answer.status_code == 401
    return taken


def _auc(left: list[float], right: list[float]) -> float:
    """The chance that one of `left` is larger than one of `right` (the rank test's AUC)."""
    larger = sum((a > b) + 0.5 * (a == b) for a in left for b in right)
    return larger / (len(left) * len(right))


# Alone, since differences of a millisecond are what is measured.
@pytest.mark.alone
@pytest.mark.case("K-36")
@pytest.mark.parametrize("settings", [DEAR], indirect=True, ids=["at its cost"])
@pytest.mark.parametrize(
    ("pairs", "margin"),
    [(150, 0.15), pytest.param(1500, 0.05, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
async def test_a_known_and_an_unknown_address_take_the_same_time(
    house: House, pairs: int, margin: float
) -> None:
    enrolled = await house.a_person().with_totp()
    known: list[float] = []
    unknown: list[float] = []
    for number in range(pairs):
        # Interleaved, and each first in turn, so that the machine's moods meet both alike.
        for address, into in [(enrolled.email, known), ("nobody@example.com", unknown)][
            :: 1 - 2 * (number % 2)
        ]:
            into.append(await _seconds(house, enrolled, address, number))
    gap = abs(statistics.median(known) - statistics.median(unknown))
    assert gap < 0.005, gap
    assert 0.5 - margin <= _auc(known, unknown) <= 0.5 + margin


def test_the_measure_itself_tells_different_times_apart() -> None:
    assert _auc([2.0] * 10, [1.0] * 10) == 1.0
    assert _auc([1.0, 2.0] * 5, [1.0, 2.0] * 5) == 0.5
