"""The grace of a refresh token at its edges: none at all, and generations that were jumped."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.domain import sessions as rules
from service.domain.sessions import Verdict, judge
from tests.builders import House, Person
from tests.flows.invariants import RACERS, ROUNDS, check, elsewhere, refusal, tally

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
strict = pytest.mark.parametrize("settings", [{"tokens.refresh_grace_seconds": 0}], indirect=True)


async def rotated(person: Person, token: str) -> str:
    answer = await person.refresh(token)
    assert answer.status_code == 200, answer.text
    successor: str = answer.json()["refresh_token"]
    return successor


async def jumped(house: House, person: Person) -> list[str]:
    """The refresh tokens of generations 0 to 5 of a family that forgot three of its rotations in a failover,
    and jumped by the newest: it went from the first generation to the fifth."""
    tokens = [(await person.sign_in())["refresh_token"]]
    for _ in range(4):
        house.clock.advance(60)
        tokens.append(await rotated(person, tokens[-1]))
    await house.rows("UPDATE refresh_family SET generation = 1, rotated_at = rotated_at[4:4]")
    return [*tokens, await rotated(person, tokens[4])]


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(milliseconds=1), timedelta(seconds=3)])
def test_without_a_grace_the_loser_of_a_race_is_judged_strictly_though_its_clock_is_behind(
    ahead: timedelta,
) -> None:
    assert judge(0, 1, [NOW + ahead], NOW, 0) is Verdict.THEFT
    assert judge(0, 1, [NOW + ahead], NOW, 1) is Verdict.SAME_SUCCESSOR


@strict
@pytest.mark.case("K-60")
@ROUNDS
async def test_without_a_grace_of_thirty_two_at_once_one_is_served_and_the_family_ends(
    house: House, rounds: int
) -> None:
    for _ in range(rounds):
        ada = await house.a_person()
        first = (await ada.sign_in())["refresh_token"]
        answers = await asyncio.gather(*(elsewhere(ada).refresh(first) for _ in range(RACERS)))
        assert tally(answers) == {200: 1, 401: RACERS - 1}
        assert {a.json()["reason"] for a in answers if a.status_code == 401} == {"refresh_reuse"}
        (second,) = [a.json()["refresh_token"] for a in answers if a.status_code == 200]
        assert (await ada.refresh(second)).json()["reason"] == "refresh_reuse"
        assert await house.letters(ada) == ["refresh_reuse"]
        await check(house, answers)


@pytest.mark.case("K-61")
async def test_a_straggler_within_the_grace_is_no_thief_after_generations_were_jumped(house: House) -> None:
    ada = await house.a_person()
    tokens = await jumped(house, ada)
    row: Any = (await house.rows("SELECT generation, rotated_at FROM refresh_family"))[0]
    assert row["generation"] == 5
    assert len(row["rotated_at"]) == 5, "one time for each generation jumped"
    for number in (1, 2, 3):
        straggler = await ada.refresh(tokens[number])
        assert (refusal(straggler), straggler.json()["reason"]) == (
            (401, "invalid_refresh_token"),
            "superseded",
        )
    assert await rotated(ada, tokens[4]) == tokens[5]
    assert await house.letters(ada) == []
    token = rules.parse_refresh(await rotated(ada, tokens[5]))
    assert token is not None
    assert token.generation == 6
    await check(house)


@pytest.mark.case("K-59")
async def test_after_the_grace_a_generation_that_was_jumped_is_theft_like_any(house: House) -> None:
    ada = await house.a_person()
    tokens = await jumped(house, ada)
    house.clock.advance(10)
    for token in (tokens[2], tokens[5]):
        assert (await ada.refresh(token)).json()["reason"] == "refresh_reuse"
    assert await house.letters(ada) == ["refresh_reuse"]
    await check(house)
