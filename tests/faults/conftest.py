"""Servers that may be taken away: a rig of its own for each file of faults.

The service under test is a real process (`doorward serve`). Between it and its Postgres and Redis
stands a FaultProxy each; the test itself looks into both directly.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import asyncpg
import httpx
import psutil
import pytest
from redis.asyncio import Redis

from service.embedded import Embedded, Servers
from service.settings import Settings
from service.stores import keys as key_store
from service.stores import schema
from service.world import World, make_world
from tests.builders import ENCRYPTION_KEYS, House, Person
from tests.faults.proxy import FaultProxy
from tests.programs import free_port

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]

#: What the tests measured, shown at the end of the run.
FIGURES: list[str] = []

#: Everything that a refused request must leave as it was.
_TRUTH = {
    "person": "id",
    "authenticator": "id",
    "backup_set": "id",
    "backup_code": "set_id, ordinal",
    "password_tries": "key",
    "pre_auth": "id",
    "session": "id",
    "refresh_family": "id",
    "audit_event": "id",
    "outbox": "id",
}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)


class Rig:
    """Servers, proxies, people and the service's process."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.workers = workers
        self._folder = folder
        self.embedded = Embedded(folder / "data")
        self.servers: Servers
        self.postgres: FaultProxy
        self.redis: FaultProxy
        self.world: World
        self.client: httpx.AsyncClient
        self.house: House
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator["Rig"]:
        self.servers = await asyncio.to_thread(self.embedded.start)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.embedded.stop)
            runtime = self.servers.runtime_dir
            self.postgres = await stack.enter_async_context(FaultProxy(runtime / ".s.PGSQL.5432"))
            self.redis = await stack.enter_async_context(FaultProxy(runtime / "redis.sock"))
            await schema.up(self.servers.postgres_url)
            self.world = make_world(self._settings())
            stack.push_async_callback(self.world.close)
            world = self.world
            await world.db.transact(
                lambda tx: key_store.ensure(tx, world.sealer, world.entropy, world.clock.now())
            )
            await world.refresh()
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
            self.client = await stack.enter_async_context(
                httpx.AsyncClient(base_url=self.issuer, timeout=20, limits=limits, trust_env=False)
            )
            self.house = House(world, self.client)
            stack.push_async_callback(self.stop)
            await self.start()
            yield self

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _settings(self) -> Settings:
        """Of the test's own world, by which people are made: past the proxies, and patient."""
        own = {
            "dev": True,
            "issuer": self.issuer,
            "encryption_keys": ENCRYPTION_KEYS,
            "database.url": self.servers.postgres_url,
            "database.acquire_ms": 5000,
            "database.statement_ms": 5000,
            "redis.url": self.servers.redis_url,
            "hash.deadline_ms": 60_000,
        }
        return Settings.load(own, environ={})

    def environment(self, **over: str) -> dict[str, str]:
        """What the service's process gets: loopback TCP through the proxies, all limits as delivered."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("DOORWARD_")}
        return {
            **own,
            "DOORWARD_DEV": "true",
            "DOORWARD_ISSUER": self.issuer,
            "DOORWARD_ENCRYPTION_KEYS": ENCRYPTION_KEYS,
            "DOORWARD_DATABASE_URL": f"postgresql://doorward@127.0.0.1:{self.postgres.port}/doorward",
            "DOORWARD_REDIS_URL": f"redis://127.0.0.1:{self.redis.port}",
            "DOORWARD_TRUSTED_PROXIES": "127.0.0.1",
            **over,
        }

    def spawn(self, port: int, **over: str) -> "tuple[subprocess.Popen[bytes], Path]":
        """A process of `doorward serve`, and the file it logs to."""
        self._starts += 1
        log = self._folder / f"serve-{self._starts}.log"
        with log.open("wb") as output:
            command = ["-m", "service", "serve", "--port", str(port), "--workers", str(self.workers)]
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.environment(**over),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process, log

    async def start(self) -> None:
        self.process, _ = self.spawn(self.port)

        async def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.text()
            with contextlib.suppress(httpx.TransportError):
                return (await self.client.get("/readyz")).status_code == 200
            return False

        await until(ready, 20)

    async def stop(self) -> None:
        if self.process is not None:
            await asyncio.to_thread(end, self.process)
            self.process = None

    async def heal(self) -> None:
        """Whatever a test took away is there again, and the service knows."""
        await asyncio.to_thread(self.embedded.start_postgres)
        await asyncio.to_thread(self.embedded.start_redis)
        await self.postgres.pass_through()
        await self.redis.pass_through()
        await until(self.is_whole, 15)

    async def is_whole(self) -> bool:
        answer = await self.client.get("/readyz")
        return answer.status_code == 200 and answer.json()["degraded"] == []

    def processes(self) -> list[psutil.Process]:
        """The service's own: the parent, and its workers."""
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def text(self) -> str:
        """The log of every start so far."""
        return "".join(file.read_text() for file in sorted(self._folder.glob("serve-*.log")))

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's events of a name."""
        found = []
        for line in self.text().splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and event.get("event") == name:
                    found.append(event)
        return found

    @contextlib.asynccontextmanager
    async def sql(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection past the proxy."""
        connection = await asyncpg.connect(self.servers.postgres_url)
        try:
            yield connection
        finally:
            await connection.close()

    @contextlib.asynccontextmanager
    async def valkey(self) -> AsyncIterator["Redis"]:
        """A client past the proxy."""
        client = Redis.from_url(self.servers.redis_url)
        try:
            yield client
        finally:
            await client.aclose()

    async def truth(self) -> Mapping[str, list[tuple[Any, ...]]]:
        """Every row a sign-in could change."""
        async with self.sql() as connection:
            return {
                table: [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY {key}")]
                for table, key in _TRUTH.items()
            }

    async def failures(self, person: Person) -> int:
        """How many failed second factors stand in Postgres."""
        async with self.sql() as connection:
            found = await connection.fetchval(
                "SELECT cardinality(stranger_failures) FROM person WHERE id = $1", person.id
            )
        return int(found)

    async def tokens_of(self, person: Person, count: int) -> list[str]:
        """So many pre-auth tokens, four sign-ins at a time."""
        return await in_turn(count, 4, lambda _: person.pre_auth())


async def in_turn(count: int, at_once: int, act: Callable[[int], Awaitable[T]]) -> list[T]:
    """Run `act(0)…act(count - 1)`, `at_once` of them side by side."""
    gate = asyncio.Semaphore(at_once)

    async def one(number: int) -> T:
        async with gate:
            return await act(number)

    return list(await asyncio.gather(*map(one, range(count))))


async def until(holds: Callable[[], Awaitable[bool]], seconds: float) -> float:
    """Ask until it holds; the seconds it took. Fails where it takes longer."""
    began = monotonic()
    while not await holds():
        assert monotonic() - began < seconds, f"still not after {seconds} s"
        await asyncio.sleep(0.05)
    return monotonic() - began


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process of ours and its workers, first politely."""
    family = [psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    for child in [one for found in family for one in found if one.is_running()]:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.kill()
    process.wait(5)


def is_away(answer: httpx.Response) -> bool:
    """Whether an answer is the one for a dependency that is away, complete in form."""
    return (
        answer.status_code == 503
        and answer.headers["content-type"].startswith("application/problem+json")
        and answer.json()["code"] == "temporarily_unavailable"
        and int(answer.headers["retry-after"]) >= 1
        and answer.json()["retry_after"] == int(answer.headers["retry-after"])
    )


def quantile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@pytest.fixture(scope="module")
async def bare_rig(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Rig]:
    """One rig for a file; a module's WORKERS says how many workers it has."""
    rig = Rig(tmp_path_factory.mktemp("rig"), getattr(request.module, "WORKERS", 1))
    async with rig.opened():
        yield rig


@pytest.fixture
async def rig(bare_rig: Rig) -> AsyncIterator[Rig]:
    """The file's rig, whole before and after; nothing in it may ever have been a fault of our own."""
    await bare_rig.heal()
    yield bare_rig
    await bare_rig.heal()
    assert bare_rig.events("fault") == []
    assert not [one for one in bare_rig.events("request") if one["status"] == 500]
