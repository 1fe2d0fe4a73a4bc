"""The truth: a pool of connections, transactions that return verdicts, and the named queries."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import aiosql
import asyncpg
from asyncpg.pool import PoolConnectionProxy

from service.clock import monotonic
from service.errors import DoorwardError, Unavailable
from service.sections import DatabaseSettings

T = TypeVar("T")
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

SQL = Path(__file__).parent / "sql"

#: How long a failed attempt to connect answers for the next ones, seconds.
_REMEMBERED = 1.0

#: Losing a race for locks may be tried again; the transaction has left nothing behind.
_RETRIED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # The driver's protocol, out of step on a connection that is being torn down.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalServerError,
    asyncpg.PostgresSystemError,
    asyncpg.LockNotAvailableError,
    *_RETRIED,
)


def queries(name: str) -> Any:
    """The named queries of `sql/<name>.sql`, as aiosql makes them."""
    return aiosql.from_path(SQL / f"{name}.sql", "asyncpg", mandatory_parameters=False)


class _Connection(asyncpg.Connection):  # generic in the stubs only
    """Resets nothing when released: this service uses no LISTEN, no session lock, and no SET that outlives a
    transaction, and the pool still rolls back an open one of a cancelled request. It saves a third of each
    query."""

    def get_reset_query(self) -> str:
        return ""


class Database:
    """One bounded pool. Whatever is wrong with Postgres comes out as Unavailable (503), never more."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._attempt: asyncio.Task[asyncpg.Pool[asyncpg.Record] | Exception] | None = None
        self._retry_at = 0.0

    async def close(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for single statements, each of which commits itself."""
        with _told():
            pool = self._pool or await self._open()
            connection = await pool.acquire(timeout=self._settings.acquire_ms / 1000)
            try:
                yield connection
            except asyncpg.InternalClientError:
                connection.terminate()
                raise
            finally:
                await pool.release(connection)

    async def transact(self, act: Callable[[Connection], Awaitable[T | DoorwardError]]) -> T:
        """Run `act` in one transaction (READ COMMITTED) and return its verdict once committed.

        A refusal that `act` *returns* is a verdict too: it is raised here after the commit, so that a
        failed try stays counted. A refusal that it *raises* rolls everything back and leaves no trace.
        A deadlock is tried again, three times in all.
        """
        for tries_left in (2, 1, 0):
            try:
                async with self.connection() as connection, connection.transaction():
                    verdict = await act(connection)
            except Unavailable as fault:
                if tries_left and isinstance(fault.__cause__, _RETRIED):
                    continue
                raise
            if isinstance(verdict, DoorwardError):
                raise verdict
            return verdict
        raise AssertionError("the loop above returns or raises")

    async def time(self) -> datetime:
        """Postgres's `clock_timestamp()`, by which every node lives."""
        async with self.connection() as connection:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            return now

    async def writes(self) -> bool:
        """Whether Postgres takes writes; a standby or a server set read-only decides no sign-in."""
        async with self.connection() as connection:
            return bool(await connection.fetchval("SELECT current_setting('transaction_read_only') = 'off'"))

    async def _open(self) -> "asyncpg.Pool[asyncpg.Record]":
        """The pool, by one attempt for all who wait for it. They share its fault too, which counts for a
        second more: with one attempt each, the last of a crowd would wait for all the others'."""
        again = self._pool is None and monotonic() >= self._retry_at
        if self._attempt is None or (again and self._attempt.done()):
            self._attempt = asyncio.create_task(self._try_to_open())
        # Shielded: whoever hangs up must not take the attempt from the others.
        outcome = await asyncio.shield(self._attempt)
        if isinstance(outcome, Exception):
            # Without the traces of the others who were told the same.
            raise outcome.with_traceback(None)
        return outcome

    async def _try_to_open(self) -> "asyncpg.Pool[asyncpg.Record] | Exception":
        """The new pool, or why there is none, as a value: it is many people's answer, or nobody's."""
        connect = self._settings.connect_ms / 1000
        try:
            # The driver takes its time-out for each address of the server and each first connection.
            async with asyncio.timeout(2 * connect):
                self._pool = await asyncpg.create_pool(
                    self._settings.url.get_secret_value(),
                    min_size=min(2, self._settings.pool),
                    max_size=self._settings.pool,
                    connection_class=_Connection,
                    timeout=connect,
                    # The server's own limit answers first; this one is for a server that is silent.
                    command_timeout=self._settings.statement_ms / 1000 + 0.5,
                    server_settings={
                        "application_name": "doorward",
                        "statement_timeout": str(self._settings.statement_ms),
                        "lock_timeout": str(self._settings.statement_ms),
                    },
                )
                return self._pool
        except Exception as fault:  # noqa: BLE001 - whatever it is, those who wait are told
            self._retry_at = monotonic() + _REMEMBERED
            return fault


class _told:  # noqa: N801 - it reads as a word in `with _told():`
    """Turn every fault of the database into Unavailable, its cause kept for the log."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if isinstance(fault, _AWAY):
            raise Unavailable(f"postgres: {type(fault).__name__}: {fault}", retry_after=2) from fault
