"""Without Redis sign-in goes on and is still limited; a Redis that forgets makes nothing possible twice."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import monotonic

import httpx
import pytest

from tests.faults.conftest import FIGURES, Rig, in_turn, until

pytestmark = pytest.mark.fault

Fault = Callable[[Rig], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def refused(rig: Rig) -> AsyncIterator[None]:
    await rig.redis.refuse()
    try:
        yield
    finally:
        await rig.redis.pass_through()


@asynccontextmanager
async def blackholed(rig: Rig) -> AsyncIterator[None]:
    await rig.redis.blackhole()
    try:
        yield
    finally:
        await rig.redis.pass_through()


@asynccontextmanager
async def killed(rig: Rig) -> AsyncIterator[None]:
    await asyncio.to_thread(lambda: rig.embedded.stop_redis(kill=True))
    try:
        yield
    finally:
        await asyncio.to_thread(rig.embedded.start_redis)


FAULTS: list[Fault] = [refused, blackholed, killed]


@asynccontextmanager
async def _forgetful(rig: Rig) -> AsyncIterator[list[int]]:
    """FLUSHALL twenty times a second; how often is the first number of the list."""
    stop, times = asyncio.Event(), [0]

    async def flush() -> None:
        async with rig.valkey() as valkey:
            while not stop.is_set():
                await valkey.flushall()
                times[0] += 1
                await asyncio.sleep(0.05)

    flushing = asyncio.create_task(flush())
    try:
        yield times
    finally:
        stop.set()
        await flushing


@pytest.mark.case("F-02")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_without_redis_sign_in_goes_on_and_everything_is_still_limited(rig: Rig, fault: Fault) -> None:
    ada, eve = await rig.house.a_person().with_totp(), await rig.house.a_person().with_totp()
    warned, began = len(rig.events("redis_away")), monotonic()
    async with fault(rig):
        ready = await rig.client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["degraded"] == ["redis"]

        # Password, second factor and refresh go on; nothing works twice.
        first, second = await rig.tokens_of(ada, 2)
        code = ada.code()
        opened = await ada.verify(first, code)
        assert opened.status_code == 200, opened.text
        again = await ada.verify(second, code)
        assert (again.status_code, again.json()["code"]) == (401, "code_already_used")
        by_backup_code = await ada.verify(second, ada.codes[0])
        assert by_backup_code.status_code == 200, by_backup_code.text
        replayed = await ada.verify(await ada.pre_auth(), ada.codes[0])
        assert (replayed.status_code, replayed.json()["code"]) == (401, "code_already_used")
        assert (await ada.refresh(opened.json()["refresh_token"])).status_code == 200

        # A person's budget is five, whatever network each guess comes from.
        guesses = []
        for number, token in enumerate(await rig.tokens_of(eve, 8)):
            eve.address = f"203.0.113.{number + 1}"
            guesses.append((await eve.verify(token, eve.wrong_code(but=number))).status_code)
        assert guesses == [401] * 5 + [429] * 3
        assert (await eve.verify(await eve.pre_auth(), eve.code())).status_code == 429
        assert await rig.failures(eve) == 5

        # A thousand guesses at strangers from one address.
        flooded = monotonic()
        answers = await in_turn(
            1000, 32, lambda number: _guess(rig, number, f"192.0.2.{len(fault.__name__)}")
        )
        statuses, seconds = Counter(answer.status_code for answer in answers), monotonic() - flooded
        assert set(statuses) <= {401, 429}, statuses
        # Thirty, and one more for each ten seconds that have passed.
        assert 25 <= statuses[401] <= 30 + seconds / 10 + 1, statuses
        assert all(int(one.headers["retry-after"]) >= 1 for one in answers if one.status_code == 429)
        lasted = monotonic() - began
    warnings = len(rig.events("redis_away")) - warned
    # One warning for ten seconds, and the fault before this one may have had it.
    assert warnings <= lasted / 10 + 1, (warnings, lasted)
    told = [datetime.fromisoformat(event["at"]) for event in rig.events("redis_away")]
    assert told, "it was said at all"
    assert all(later - earlier > timedelta(seconds=9.9) for earlier, later in pairwise(told)), told
    assert datetime.now(UTC) - told[-1] < timedelta(seconds=lasted + 12)
    assert rig.events("redis_away")
    recovered = await until(rig.is_whole, 15)
    async with rig.valkey() as valkey:
        await valkey.flushall()
        assert (await _guess(rig, 1, "192.0.2.99")).status_code == 401
        assert await valkey.keys("limit:*"), "the limits are kept in Redis again"
    FIGURES.append(
        f"F-02 {fault.__name__}: of 1000 guesses {statuses[401]} were judged and {statuses[429]} refused in "
        f"{seconds:.1f} s, {warnings} warning(s) in {lasted:.1f} s, whole again after {recovered:.2f} s"
    )


@pytest.mark.case("F-03")
async def test_a_code_works_once_for_sixteen_tokens_while_redis_forgets(rig: Rig) -> None:
    ada = await rig.house.a_person().with_totp()
    tokens = await rig.tokens_of(ada, 16)
    async with _forgetful(rig) as times:
        code = ada.code()
        answers = await in_turn(16, 16, lambda number: ada.verify(tokens[number], code))
        one_success(answers)
        before = await rig.failures(ada)
        # No replay later, and what was counted stays counted: in the end the budget is used up.
        later = [await ada.verify(await ada.pre_auth(), code) for _ in range(6)]
        assert all(answer.status_code in (401, 429) for answer in later)
        assert later[-1].status_code == 429
        assert before <= await rig.failures(ada) == 5
        assert (await ada.verify(await ada.pre_auth(), ada.codes[0])).status_code == 429
    assert times[0] >= 3
    async with rig.sql() as connection:
        assert await connection.fetchval("SELECT count(*) FROM session WHERE person_id = $1", ada.id) == 1
    FIGURES.append(f"F-03 TOTP race of 16: {_counted(answers)}, FLUSHALL {times[0]} times")


@pytest.mark.case("F-03")
async def test_a_backup_code_works_once_for_sixteen_tokens_while_redis_forgets(rig: Rig) -> None:
    ada = await rig.house.a_person().with_totp()
    tokens = await rig.tokens_of(ada, 16)
    async with _forgetful(rig) as times:
        answers = await in_turn(16, 16, lambda number: ada.verify(tokens[number], ada.codes[2]))
    one_success(answers)
    assert times[0] >= 1
    async with rig.sql() as connection:
        used = "SELECT count(*) FROM backup_code WHERE person_id = $1 AND used_at IS NOT NULL"
        assert await connection.fetchval(used, ada.id) == 1
    FIGURES.append(f"F-03 backup-code race of 16: {_counted(answers)}, FLUSHALL {times[0]} times")


@pytest.mark.case("F-03")
async def test_a_refresh_race_has_one_successor_and_loses_no_session_while_redis_forgets(rig: Rig) -> None:
    ada = await rig.house.a_person().with_totp()
    tokens = await ada.sign_in()
    async with _forgetful(rig):
        token = tokens["refresh_token"]
        for generation in range(1, 6):
            presented = token
            answers = [
                answer
                for answer in await in_turn(16, 16, lambda _, presented=presented: ada.refresh(presented))  # type: ignore[misc]
                if answer.status_code != 503
            ]
            assert answers, "some of sixteen get through the pool"
            assert {answer.status_code for answer in answers} == {200}
            successors = {answer.json()["refresh_token"] for answer in answers}
            assert len(successors) == 1
            (token,) = successors
            async with rig.sql() as connection:
                family = await connection.fetchrow(
                    "SELECT * FROM refresh_family WHERE person_id = $1", ada.id
                )
            assert family is not None
            assert (family["generation"], family["ended_at"]) == (generation, None)
    assert (await ada.get("/v1/me", bearer=tokens["access_token"])).status_code == 200


@pytest.mark.case("F-03")
async def test_redis_that_restarts_in_the_middle_of_a_flood_never_makes_it_unlimited(rig: Rig) -> None:
    async def restarts() -> None:
        for _ in range(3):
            await asyncio.sleep(0.4)
            await asyncio.to_thread(lambda: rig.embedded.stop_redis(kill=True))
            await asyncio.to_thread(rig.embedded.start_redis)

    restarting = asyncio.create_task(restarts())
    began = monotonic()
    answers = await in_turn(600, 32, lambda number: _guess(rig, number, "192.0.2.200"))
    await restarting
    seconds, statuses = monotonic() - began, Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {401, 429}, statuses
    # At most Redis's thirty and the process's own thirty, both refilled.
    assert statuses[401] <= 60 + seconds / 5 + 2, statuses


def one_success(answers: list[httpx.Response]) -> None:
    """One 200; whoever lost is refused, or was turned away at a full pool."""
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 1, statuses
    assert set(statuses) <= {200, 401, 429, 503}, statuses


def _counted(answers: list[httpx.Response]) -> str:
    return json.dumps(Counter(str(answer.status_code) for answer in answers))


async def _guess(rig: Rig, number: int, address: str) -> httpx.Response:
    body = {"email": f"stranger{number}@example.org", "password": f"test-value guess {number}"}
    return await rig.client.post("/v1/sign-in", json=body, headers={"x-forwarded-for": address})
