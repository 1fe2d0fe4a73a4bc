"""A database for each test: emptied and lent again, since to make one takes longer than most tests do."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from service.embedded import Servers

#: What stands in the catalogues for the schema's objects, and what the planner has learned of their rows.
_CATALOGUES: Final = {
    "pg_class": "oid",
    "pg_attribute": "attrelid",
    "pg_attrdef": "adrelid",
    "pg_index": "indexrelid",
    "pg_constraint": "oid",
    "pg_trigger": "oid",
    "pg_proc": "oid",
    "pg_type": "oid",
    "pg_namespace": "oid",
    "pg_statistic": "starelid",
}
_FIRST_OF_OURS: Final = 16_384  # PostgreSQL numbers its own objects below this
_STATE: Final = " UNION ALL ".join(
    [
        f"SELECT count(*), max(xmin::text::bigint) FROM {name} WHERE {key} >= {_FIRST_OF_OURS}"
        for name, key in _CATALOGUES.items()
    ]
    # ANALYZE and VACUUM write these in place, which makes no new version of the row.
    + [f"SELECT sum(relpages), sum(reltuples)::bigint FROM pg_class WHERE oid >= {_FIRST_OF_OURS}"]
)


@asynccontextmanager
async def copies(servers: Servers, template: str) -> AsyncIterator["Databases"]:
    """Databases like the template, until the block ends; what is left of them goes with the servers."""
    admin = await asyncpg.connect(servers.postgres_url)
    connection = await asyncpg.connect(_url(servers, template))
    state, emptying = await connection.fetch(_STATE), await _emptying(connection)
    await connection.close()
    yield Databases(servers, admin, template, state, emptying)
    await admin.close()


class Databases:
    """Lends copies of a template, and takes them back: a copy of which the schema changed is dropped."""

    def __init__(
        self,
        servers: Servers,
        admin: "asyncpg.Connection[Any]",
        template: str,
        state: Sequence[object],
        emptying: str,
    ) -> None:
        self._servers = servers
        self._admin = admin
        self._template = template
        self._state = state
        self._emptying = emptying
        self._free: list[str] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[str]:
        """The URL of a database with the template's content. No test before had one of its name, so that a
        program which outlives its test finds no database any more, as if each were made anew."""
        name = f"test_{os.urandom(6).hex()}"
        if self._free:
            await self._admin.execute(f"ALTER DATABASE {self._free.pop()} RENAME TO {name}")
        else:
            await self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        try:
            yield _url(self._servers, name)
        finally:
            await self._take_back(name)

    async def _take_back(self, name: str) -> None:
        end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1"
        await self._admin.fetch(end, name)
        connection = await asyncpg.connect(_url(self._servers, name))
        whole = await connection.fetch(_STATE) == self._state
        if whole:
            await connection.execute(self._emptying)
        await connection.close()
        if whole:
            self._free.append(name)
        else:
            await self._admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _url(servers: Servers, name: str) -> str:
    return servers.postgres_url.replace("/doorward?", f"/{name}?")


async def _emptying(template: "asyncpg.Connection[Any]") -> str:
    """SQL that leaves in a copy exactly the rows of the template."""
    tables = "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND oid >= $1 ORDER BY oid"
    # Neither the order of the foreign keys nor what a trigger forbids counts here.
    words = ["SET session_replication_role = replica"]
    for (table,) in await template.fetch(tables, _FIRST_OF_OURS):
        words.append(f"DELETE FROM {table}")
        kept = await template.fetchval(f"SELECT json_agg(row)::text FROM {table} AS row")
        if kept is not None:
            rows = await template.fetchval("SELECT quote_literal($1::text)", kept)
            words.append(f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, {rows})")
    words.append(
        f"SELECT setval(seqrelid, seqstart, false) FROM pg_sequence WHERE seqrelid >= {_FIRST_OF_OURS}"
    )
    return ";".join(words)
