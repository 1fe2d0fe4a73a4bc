"""The schema's migrations: numbered SQL files, run in order under one advisory lock."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from service.errors import ConfigError
from service.stores.postgres import queries

FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x646F6F72
_sql = queries("schema")


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> Sequence[Migration]:
    """Every migration this release knows, in order."""
    return [
        Migration(int(path.name[:4]), path.stem[5:], path.read_text())
        for path in sorted(FOLDER.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    ]


async def pending(connection: "asyncpg.Connection[asyncpg.Record]") -> Sequence[Migration]:
    """Those not applied yet. Raises ConfigError when the database is not one this release fits."""
    known = {migration.version: migration for migration in migrations()}
    applied = {}
    if await _sql.ledger_exists(connection):
        applied = {row["version"]: row["checksum"] async for row in _sql.applied(connection)}
    faults = [
        f"the database has migration {version:04}, which this release does not know: it is newer"
        for version in applied
        if version not in known
    ] + [
        f"migration {version:04} was changed after it was applied"
        for version, checksum in applied.items()
        if version in known and known[version].checksum != checksum
    ]
    if faults:
        raise ConfigError(faults)
    return [migration for version, migration in known.items() if version not in applied]


async def up(url: str) -> Sequence[Migration]:
    """Apply what is pending (all of it or nothing); return what was applied.

    `lock_timeout` keeps a migration from queueing every request behind a lock it waits for.
    """
    connection = await asyncpg.connect(
        url, timeout=5, server_settings={"lock_timeout": "3000", "statement_timeout": "60000"}
    )
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '60s'")
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await _sql.create_ledger(connection)
            todo = await pending(connection)
            await connection.execute("SET LOCAL lock_timeout = '3s'")
            for migration in todo:
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await _sql.note(
                        connection,
                        version=migration.version,
                        name=migration.name,
                        checksum=migration.checksum,
                    )
            return todo
    finally:
        await connection.close()
