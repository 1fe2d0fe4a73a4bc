"""The database of a test is as if it had been made for it, whatever the test before did to it."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from service.embedded import Servers
from tests.databases import Databases, copies


@pytest.fixture
async def fresh(servers: Servers, template: str) -> AsyncIterator[Databases]:
    """Databases of which none has been lent before."""
    async with copies(servers, template) as found:
        yield found


async def _content(url: str) -> list[Any]:
    """Every row of every table."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND oid > 16383")
        names = sorted(str(row["relname"]) for row in tables)
        return [await connection.fetch(f"SELECT * FROM {name} ORDER BY 1, 2") for name in names]
    finally:
        await connection.close()


async def _run(url: str, statement: str) -> "asyncpg.Connection[asyncpg.Record]":
    """Run it, and stay connected."""
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    return connection


async def _number(url: str) -> int:
    """What PostgreSQL calls a database by, whatever its name is."""
    connection = await asyncpg.connect(url)
    found: int = await connection.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
    await connection.close()
    return found


async def test_rows_are_those_of_the_template_again(fresh: Databases) -> None:
    async with fresh.one() as first:
        before, number = await _content(first), await _number(first)
        assert any(before), "the template has keys"
        left = await _run(
            first,
            "INSERT INTO person (id, sub, email, code_salt, created_at)"
            " SELECT gen_random_uuid(), gen_random_uuid(), 'ada@example.com', '', now();"
            "UPDATE service_key SET created_at = now(); DELETE FROM service_key WHERE kind = 'sign'",
        )
        assert await _content(first) != before
    async with fresh.one() as second:
        assert await _number(second) == number, "it is the same one"
        assert await _content(second) == before
        # Whoever was connected is not any more, and finds nothing where it was.
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
            await left.fetchval("SELECT 1")
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(first)


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX backup_code_of_person",
        "ALTER TABLE person ADD COLUMN more text",
        "ALTER TABLE person ALTER COLUMN email DROP NOT NULL",
        "ALTER TABLE person ALTER COLUMN name SET DEFAULT 'Ada'",
        "CREATE TABLE more (n int)",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ANALYZE person",
    ],
)
async def test_a_database_whose_schema_changed_is_lent_no_more(fresh: Databases, change: str) -> None:
    async with fresh.one() as first:
        number = await _number(first)
        await (await _run(first, change)).close()
    async with fresh.one() as second:
        assert await _number(second) != number
