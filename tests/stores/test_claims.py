"""Each claim by itself, raced on as many connections as racers: exactly the allowed number succeed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import pytest

from service import crypto
from service.domain.sign_in import Origin
from service.stores import accounts as account_store
from service.stores import factors as factor_store
from service.stores import sessions as session_store
from service.stores import sign_in as sign_in_store
from service.stores.postgres import Connection
from service.world import World
from tests.builders import House, Person
from tests.flows.invariants import ROUNDS

T = TypeVar("T")
RACERS = 32
#: As many connections as racers, so that Postgres alone decides.
pytestmark = pytest.mark.parametrize("settings", [{"database.pool": RACERS}], indirect=True)


async def race(
    world: World, claim: Callable[[Connection, int], Awaitable[T]], *, together: bool = False
) -> list[T]:
    """Run `claim` on thirty-two connections at once; `together` in transactions that stay open a while."""
    ready = asyncio.Barrier(RACERS)

    async def racer(number: int) -> T:
        async with world.db.connection() as connection:
            await ready.wait()
            if not together:
                return await claim(connection, number)
            async with connection.transaction():
                won = await claim(connection, number)
                await asyncio.sleep(0.002)
                return won

    return list(await asyncio.gather(*map(racer, range(RACERS))))


async def open_token(house: House, person: Person) -> bytes:
    return crypto.sha256(await person.pre_auth())


@ROUNDS
@pytest.mark.parametrize("together", [False, True])
async def test_a_token_is_spent_once(house: House, rounds: int, together: bool) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        digest = await open_token(house, ada)

        async def claim(tx: Connection, _: int, digest: bytes = digest) -> int | None:
            return await sign_in_store.take_try(tx, digest, spend=True, limit=5, now=house.clock.now())

        won = await race(house.world, claim, together=together)
        assert sorted(won, key=str) == [1] + [None] * (RACERS - 1)
        row = (await house.rows("SELECT * FROM pre_auth WHERE digest = $1", digest))[0]
        assert (row["attempts"], row["consumed_at"]) == (1, house.clock.now())


@ROUNDS
@pytest.mark.parametrize("together", [False, True])
async def test_a_token_gives_five_tries(house: House, rounds: int, together: bool) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        digest = await open_token(house, ada)

        async def claim(tx: Connection, _: int, digest: bytes = digest) -> int | None:
            return await sign_in_store.take_try(tx, digest, spend=False, limit=5, now=house.clock.now())

        won = await race(house.world, claim, together=together)
        assert sorted(filter(None, won)) == [1, 2, 3, 4, 5]


@ROUNDS
async def test_a_step_is_burnt_once(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        assert ada.authenticator is not None
        one = ada.authenticator
        won = await race(house.world, lambda tx, _, one=one: factor_store.burn_step(tx, one, 77))  # type: ignore[misc]
        assert won.count(True) == 1
        assert await house.value("SELECT last_step FROM authenticator WHERE id = $1", one) == 77


@ROUNDS
async def test_the_last_step_never_goes_back(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        assert ada.authenticator is not None
        one, order = ada.authenticator, []

        async def claim(tx: Connection, number: int) -> bool:
            burnt = await factor_store.burn_step(tx, one, 100 + number)  # noqa: B023 - awaited in this round
            if burnt:
                order.append(number)  # noqa: B023
            return burnt

        won = await race(house.world, claim)
        assert won[RACERS - 1], "the latest step is always open"
        assert won.count(True) == len(order) >= 1
        last = "SELECT last_step FROM authenticator WHERE id = $1"
        assert await house.value(last, one) == 100 + RACERS - 1
        async with house.world.db.connection() as connection:
            assert not await factor_store.burn_step(connection, one, 100)
        assert await house.value(last, one) == 100 + RACERS - 1


@ROUNDS
@pytest.mark.parametrize("together", [False, True])
async def test_a_backup_code_is_spent_once(house: House, rounds: int, together: bool) -> None:
    for _ in range(rounds):
        ada = await house.a_person().with_totp()
        row = (await house.rows("SELECT * FROM backup_code WHERE person_id = $1", ada.id))[0]
        code = factor_store.BackupCode(row["set_id"], row["digest"], None, None)

        async def claim(
            tx: Connection, _: int, ada: Person = ada, code: factor_store.BackupCode = code
        ) -> bool:
            return await factor_store.spend_backup_code(tx, ada.id, code, house.clock.now())

        won = await race(house.world, claim, together=together)
        assert won.count(True) == 1
        used = "SELECT count(*) FROM backup_code WHERE person_id = $1 AND used_at IS NOT NULL"
        assert await house.value(used, ada.id) == 1


async def test_a_code_of_a_replaced_set_or_of_another_person_is_not_spent(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    row = (await house.rows("SELECT * FROM backup_code WHERE person_id = $1", ada.id))[0]
    code, now = factor_store.BackupCode(row["set_id"], row["digest"], None, None), house.clock.now()
    async with house.world.db.connection() as connection:
        assert not await factor_store.spend_backup_code(connection, bob.id, code, now)
        await connection.execute("UPDATE backup_set SET replaced_at = now() WHERE person_id = $1", ada.id)
        assert not await factor_store.spend_backup_code(connection, ada.id, code, now)
    assert await house.value("SELECT count(*) FROM backup_code WHERE used_at IS NOT NULL") == 0


@ROUNDS
async def test_an_enrolment_is_confirmed_once(house: House, rounds: int) -> None:
    for _ in range(rounds):
        ada, now = await house.a_person(), house.clock.now()
        one = house.world.row_id()
        async with house.world.db.connection() as connection:
            await factor_store.start(
                connection,
                person=ada.id,
                authenticator=one,
                name="Phone",
                seed=b"sealed",
                started_by="session:x",
                now=now,
                expires_at=now + timedelta(minutes=15),
            )

        async def claim(tx: Connection, number: int) -> bool:
            return await factor_store.confirm(tx, ada.id, one, number, now)  # noqa: B023 - awaited here

        won = await race(house.world, claim)
        assert won.count(True) == 1
        last = await house.value("SELECT last_step FROM authenticator WHERE id = $1", one)
        assert last == won.index(True)


@ROUNDS
@pytest.mark.parametrize("together", [False, True])
async def test_a_generation_is_rotated_once(house: House, rounds: int, together: bool) -> None:
    origin = Origin("192.0.2.7", "", "")
    for _ in range(rounds):
        ada = await house.a_person()
        await ada.sign_in()
        family = await house.value("SELECT id FROM refresh_family WHERE person_id = $1", ada.id)
        idle_at = house.clock.now() + timedelta(days=400)

        async def claim(tx: Connection, _: int) -> bool:
            now = house.clock.now()
            return await session_store.rotate(tx, family, 0, idle_at, origin, now)  # noqa: B023

        won = await race(house.world, claim, together=together)
        assert won.count(True) == 1
        row = (await house.rows("SELECT * FROM refresh_family WHERE id = $1", family))[0]
        assert (row["generation"], len(row["rotated_at"])) == (1, 1)
        assert row["idle_at"] == row["absolute_at"], "never beyond the absolute life"


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE refresh_family SET ended_at = now(), end_reason = 'revoked'",
        "UPDATE session SET ended_at = now(), end_reason = 'revoked'",
        "UPDATE person SET disabled_at = now()",
        "UPDATE person SET epoch = epoch + 1",
        "UPDATE refresh_family SET idle_at = created_at",
        "UPDATE refresh_family SET absolute_at = created_at",
        "UPDATE refresh_family SET generation = 1",
    ],
)
async def test_nothing_is_rotated_under_something_that_ended(house: House, ending: str) -> None:
    ada, now = await house.a_person(), house.clock.now()
    await ada.sign_in()
    family = await house.value("SELECT id FROM refresh_family")
    await house.rows(ending)
    before = await house.rows("SELECT * FROM refresh_family")
    async with house.world.db.connection() as connection:
        origin = Origin("192.0.2.7", "", "")
        assert not await session_store.rotate(connection, family, 0, now + timedelta(days=1), origin, now)
    assert await house.rows("SELECT * FROM refresh_family") == before


@ROUNDS
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.case("K-22")
async def test_five_failed_second_factors_are_admitted(
    house: House, rounds: int, known: bool, together: bool
) -> None:
    for _ in range(rounds):
        ada = await house.a_person()

        async def claim(tx: Connection, _: int, ada: Person = ada) -> factor_store.Counted | None:
            now = house.clock.now()
            return await factor_store.admit(tx, ada.id, house.world.budget, known=known, failed=True, now=now)

        won = [one for one in await race(house.world, claim, together=together) if one]
        assert sorted(len(one.failures) for one in won) == [1, 2, 3, 4, 5]
        row = (await house.rows("SELECT * FROM person WHERE id = $1", ada.id))[0]
        counted = (len(row["stranger_failures"]), len(row["known_failures"]))
        assert counted == ((0, 5) if known else (5, 0))
        assert (row["stranger_streak"], row["known_streak"]) == counted
        async with house.world.db.connection() as connection:
            now = house.clock.now()
            right = await factor_store.admit(
                connection, ada.id, house.world.budget, known=known, failed=False, now=now
            )
            assert right is None, "a right one is not told either"
            other = await factor_store.admit(
                connection, ada.id, house.world.budget, known=not known, failed=False, now=now
            )
            assert other is not None, "the other budget is untouched"


@pytest.mark.case("K-21")
@pytest.mark.parametrize(
    ("column", "value", "allowed"),
    [
        # Nineteen in the hour and none in five minutes; forty-nine in the day and none in the hour.
        ("failures", "array_fill($2 - interval '59 minutes', ARRAY[19])", 1),
        ("failures", "array_fill($2 - interval '60 minutes', ARRAY[20])", 5),
        ("failures", "array_fill($2 - interval '23 hours', ARRAY[49])", 1),
        ("failures", "array_fill($2 - interval '24 hours', ARRAY[50])", 5),
        ("failures", "array_fill($2 - interval '299 seconds', ARRAY[4])", 1),
        ("failures", "array_fill($2 - interval '300 seconds', ARRAY[4])", 5),
        ("streak", "CASE WHEN CAST($2 AS timestamptz) IS NULL THEN 0 ELSE 97 END", 3),
        ("streak", "CASE WHEN CAST($2 AS timestamptz) IS NULL THEN 0 ELSE 100 END", 0),
    ],
)
@pytest.mark.parametrize("known", [False, True])
async def test_the_count_itself_keeps_the_limits_of_an_hour_a_day_and_a_row(
    house: House, column: str, value: str, allowed: int, known: bool
) -> None:
    ada, now = await house.a_person(), house.clock.now()
    budget = "known" if known else "stranger"
    value = value.replace("($2 -", "(CAST($2 AS timestamptz) -")
    await house.rows(f"UPDATE person SET {budget}_{column} = {value} WHERE id = $1", ada.id, now)

    async def claim(tx: Connection, _: int) -> bool:
        counted = await factor_store.admit(tx, ada.id, house.world.budget, known=known, failed=True, now=now)
        return counted is not None

    assert (await race(house.world, claim)).count(True) == allowed
    kept = await house.value(f"SELECT cardinality({budget}_failures) FROM person WHERE id = $1", ada.id)
    assert kept <= 50


async def test_a_token_given_back_is_open_and_its_try_stays_counted(house: House) -> None:
    ada = await house.a_person().with_totp()
    digest, now = await open_token(house, ada), house.clock.now()
    async with house.world.db.connection() as connection:
        assert await sign_in_store.take_try(connection, digest, spend=True, limit=5, now=now) == 1
        assert await sign_in_store.take_try(connection, digest, spend=True, limit=5, now=now) is None
        await sign_in_store.unspend(connection, digest)
        assert await sign_in_store.take_try(connection, digest, spend=True, limit=5, now=now) == 2


@ROUNDS
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.case("K-22")
async def test_five_passwords_are_admitted_and_then_one_at_a_time(
    house: House, rounds: int, together: bool
) -> None:
    for number in range(rounds):
        key = crypto.sha256(f"somebody {number}")

        async def admit(tx: Connection, _: int, key: bytes = key) -> bool:
            return await account_store.admit_password(tx, key, house.clock.now())

        async def fail(wrong: int, key: bytes = key) -> None:
            async with house.world.db.connection() as connection:
                for _ in range(wrong):
                    await account_store.password_failed(connection, key, house.clock.now())

        assert (await race(house.world, admit, together=together)).count(True) == 5
        await fail(5)
        assert (await race(house.world, admit, together=together)).count(True) == 0, "there is a wait"
        house.clock.advance(1)
        for wait in (2, 4, 8, 16, 30, 30):
            assert (await race(house.world, admit, together=together)).count(True) == 1
            await fail(1)
            house.clock.advance(wait - 1)
            assert (await race(house.world, admit)).count(True) == 0
            house.clock.advance(1)
        async with house.world.db.connection() as connection:
            assert await account_store.admit_password(connection, key, house.clock.now())
            await account_store.password_held(connection, key)
        row = (await house.rows("SELECT * FROM password_tries WHERE key = $1", key))[0]
        assert (row["failures"], row["pending"], row["wait_until"]) == (0, 0, None)


async def test_a_try_whose_process_died_is_forgotten_and_a_success_clears_only_what_was_judged(
    house: House,
) -> None:
    key = crypto.sha256("somebody")
    async with house.world.db.connection() as connection:

        async def admit() -> bool:
            return await account_store.admit_password(connection, key, house.clock.now())

        assert [await admit() for _ in range(6)] == [True] * 5 + [False]
        await account_store.password_held(connection, key)
        assert [await admit() for _ in range(2)] == [True, False], "four are still under way"
        house.clock.advance(16)
        assert [await admit() for _ in range(6)] == [True] * 5 + [False]
        for _ in range(5):
            await account_store.password_unjudged(connection, key)
        assert await admit(), "a try that could not be judged does not count"
        assert await house.value("SELECT failures FROM password_tries WHERE key = $1", key) == 0
