"""What is kept of people for their list: by triggers, by the migration, and read by index."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from service.domain.administration import Order, Sort, Standing
from service.embedded import Servers
from service.stores import administration as store
from service.stores import schema
from service.stores.postgres import Connection
from service.world import World
from tests.builders import House
from tests.flows.administration import crowd


async def kept(house: House, email: str) -> tuple[bool, int, int]:
    (row,) = await house.rows(
        "SELECT two_factor_since, codes_left, standing FROM person WHERE email = $1", email
    )
    return row["two_factor_since"] is not None, row["codes_left"], row["standing"]


async def test_what_a_row_says_follows_every_change_of_the_second_factor(house: House) -> None:
    bob = await house.a_person()
    assert await kept(house, bob.email) == (False, 0, Standing.WITHOUT)
    ada = await house.a_person().with_totp()
    assert await kept(house, ada.email) == (True, 5, Standing.ACTIVATED)
    for code, left, standing in zip(ada.codes, (4, 3, 2, 1, 0), (1, 1, 2, 2, 2), strict=True):
        assert (await ada.verify(await ada.pre_auth(), code)).status_code == 200
        assert await kept(house, ada.email) == (True, left, standing)
    await house.rows("UPDATE person SET disabled_at = now() WHERE id = $1", ada.id)
    assert await kept(house, ada.email) == (True, 0, Standing.DISABLED_CODES_LOW)
    second = (
        "INSERT INTO authenticator (id, person_id, name, created_at, started_by, expires_at, confirmed_at)"
    )
    await house.rows(second + " VALUES (gen_random_uuid(), $1, 'x', now(), 'x', now(), now())", ada.id)
    await house.rows("DELETE FROM authenticator WHERE id = $1", ada.authenticator)
    assert (await kept(house, ada.email))[0] is True
    await house.rows("DELETE FROM authenticator WHERE person_id = $1", ada.id)
    assert await kept(house, ada.email) == (False, 0, Standing.DISABLED_WITHOUT)
    await house.rows(
        second.replace(", confirmed_at", "") + " VALUES (gen_random_uuid(), $1, 'x', now(), 'x', now())",
        ada.id,
    )
    assert (await kept(house, ada.email))[0] is False


async def test_a_set_that_is_replaced_or_deleted_counts_no_more(house: House) -> None:
    ada = await house.a_person().with_totp()
    await house.rows("UPDATE backup_set SET replaced_at = now() WHERE person_id = $1", ada.id)
    assert await kept(house, ada.email) == (True, 0, Standing.CODES_LOW)
    await house.rows("UPDATE backup_set SET replaced_at = NULL WHERE person_id = $1", ada.id)
    assert await kept(house, ada.email) == (True, 5, Standing.ACTIVATED)
    await house.rows("DELETE FROM backup_set WHERE person_id = $1", ada.id)
    assert await kept(house, ada.email) == (True, 0, Standing.CODES_LOW)
    await house.rows("DELETE FROM person WHERE id = $1", ada.id)


async def test_the_migration_tells_what_stood_in_the_tables_before(servers: Servers) -> None:
    admin = await asyncpg.connect(servers.postgres_url)
    await admin.execute("CREATE DATABASE before_administration")
    connection = await asyncpg.connect(servers.postgres_url.replace("/doorward?", "/before_administration?"))
    try:
        for migration in schema.migrations():
            if migration.name == "administration":
                await connection.execute("""
                INSERT INTO person (id, sub, email, name, code_salt, created_at) SELECT gen_random_uuid(),
                  gen_random_uuid(), who || '@example.com', 'Ada', '', now()
                  FROM unnest('{none,pending,few,many}'::text[]) who;
                INSERT INTO authenticator
                  (id, person_id, name, created_at, started_by, expires_at, confirmed_at)
                  SELECT gen_random_uuid(), id, 'Phone', now(), 'x', now(),
                  CASE WHEN email NOT LIKE 'pending%' THEN now() END FROM person WHERE email NOT LIKE 'none%';
                INSERT INTO backup_set (id, person_id, created_at)
                  SELECT gen_random_uuid(), id, now() FROM person WHERE email ~ 'few|many';
                INSERT INTO backup_code (set_id, ordinal, person_id, digest, pepper_id, used_at)
                  SELECT s.id, n, p.id, '', 'x', CASE WHEN p.email LIKE 'few%' AND n > 1 THEN now() END
                  FROM backup_set s JOIN person p ON p.id = s.person_id, generate_series(1, 5) n;
                """)
            await connection.execute(migration.sql)
        rows = await connection.fetch(
            "SELECT split_part(email, '@', 1), standing, codes_left FROM person ORDER BY 1"
        )
        assert [tuple(row) for row in rows] == [
            ("few", 2, 1),
            ("many", 1, 5),
            ("none", 0, 0),
            ("pending", 0, 0),
        ]
    finally:
        await connection.close()
        await admin.execute("DROP DATABASE before_administration WITH (FORCE)")
        await admin.close()


@pytest.mark.case("U-69")
@pytest.mark.parametrize("sort", ["email", "name", "created_at"])
async def test_no_page_of_the_list_reads_the_people_whole(house: House, world: World, sort: Sort) -> None:
    await crowd(house, 5000)
    index = {"email": "person_by_email", "name": "person_by_name", "created_at": "person_by_birth"}[sort]
    for standings in (list(Standing), [Standing.CODES_LOW], [Standing.WITHOUT], [Standing.DISABLED_WITHOUT]):
        for down in (False, True):
            for words in (None, "'grace':*", "'hopper4321':*"):
                spoken = _Spoken()
                order = Order(sort, down)
                found = await world.db.transact(spoken.to(store.page, standings, words, order, None, 50))
                await world.db.transact(spoken.to(store.count, standings, words, 1000))
                assert len(spoken.plans) == 2
                for plan in spoken.plans:
                    assert "Seq Scan on person" not in plan, plan
                if words != "'hopper4321':*":
                    assert len(found) == 50
                    # In order from the first row on: only the beginnings of the ranges are sorted.
                    assert f" using {index} on person" in spoken.plans[0], spoken.plans[0]
                    assert spoken.plans[0].count("Sort Key") == 1, spoken.plans[0]
                elif len(standings) == 1:
                    assert len(found) <= 1


class _Spoken:
    """Listens at a connection, and notes the plan of each statement that lists or counts people."""

    def __init__(self) -> None:
        self.plans: list[str] = []

    def to(
        self, ask: Callable[..., Awaitable[Any]], *arguments: object
    ) -> Callable[[Connection], Awaitable[Any]]:
        async def asked(tx: Connection) -> Any:
            return await ask(_Ear(tx, self.plans), *arguments)

        return asked


class _Ear:
    def __init__(self, tx: Connection, plans: list[str]) -> None:
        self._tx, self._plans = tx, plans

    async def fetch(self, query: str, *arguments: object) -> Any:
        await self._note(query, arguments)
        return await self._tx.fetch(query, *arguments)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        await self._note(query, arguments)
        return await self._tx.fetchval(query, *arguments)

    async def _note(self, query: str, arguments: tuple[object, ...]) -> None:
        if "AS wanted" in query:
            lines = await self._tx.fetch(f"EXPLAIN {query}", *arguments)
            self._plans.append("\n".join(line[0] for line in lines))
