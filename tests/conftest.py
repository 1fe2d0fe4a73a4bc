"""A real Postgres and a real Redis for every test of stores, flows and http.

Test doubles are the clock and nothing else: what is remembered is remembered for real.
"""

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from litestar import Litestar

from service.app import enclosed, routes
from service.crypto import Sealer, SealingKey
from service.embedded import Embedded, Prefer, Servers
from service.entropy import Entropy
from service.keyring import ALGORITHMS
from service.sections import DatabaseSettings
from service.settings import Settings
from service.stores import keys as key_store
from service.stores import schema
from service.stores.postgres import Connection, Database
from service.world import World, make_world
from tests.builders import CHEAP, ENCRYPTION_KEYS, FixedClock, House
from tests.databases import Databases, copies
from tests.documented import require_documented

#: What makes tests take turns where several processes test.
pytest_plugins = ["tests.alone"]

#: DOORWARD_TEST_SERVERS=debian runs everything on Debian's PostgreSQL and Redis.
SERVERS: Prefer = "debian" if os.environ.get("DOORWARD_TEST_SERVERS") == "debian" else "wheels"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Embedded(tmp_path_factory.mktemp("servers"), prefer=SERVERS) as found:
        yield found


@pytest.fixture(scope="session")
async def template(servers: Servers) -> str:
    """A migrated database that each test copies, with the signing keys of this run: an RSA key for each test
    would take longer than the test. They are test values, sealed under one. The other keys are each test's
    own, so that no test meets another's counters."""
    admin = await asyncpg.connect(servers.postgres_url)
    await admin.execute("CREATE DATABASE template_doorward")
    await admin.close()
    url = servers.postgres_url.replace("/doorward?", "/template_doorward?")
    await schema.up(url)
    database = Database(DatabaseSettings.model_validate({"url": url}))
    sealer = Sealer([SealingKey(*key) for key in settings_of(servers, url).parsed_encryption_keys()])
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)

    async def made(tx: Connection) -> None:
        for kind in ALGORITHMS:
            await key_store.create(tx, sealer, Entropy(), kind, an_hour_ago, an_hour_ago)

    await database.transact(made)
    await database.close()
    return "template_doorward"


@pytest.fixture(scope="session")
async def databases(servers: Servers, template: str) -> AsyncIterator[Databases]:
    """Copies of the template, lent one after the other."""
    async with copies(servers, template) as found:
        yield found


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """A database of the test's own, so that no test sees another's people."""
    async with databases.one() as url:
        yield url


def settings_of(servers: Servers, database_url: str, **changes: object) -> Settings:
    """Settings of a test on these servers."""
    return Settings.load(
        {
            "dev": True,
            "issuer": "http://127.0.0.1:8400",
            "encryption_keys": ENCRYPTION_KEYS,
            "database.url": database_url,
            "redis.url": servers.redis_url,
            # The machine is shared: what is tested is not how fast it answers.
            "redis.budget_ms": 2000,
            "database.acquire_ms": 5000,
            "database.statement_ms": 5000,
            "hash.deadline_ms": 60_000,
            "hash.queue": 200,
            "hash.memory_kib": CHEAP["memory_kib"],
            "hash.passes": CHEAP["passes"],
            "trusted_proxies": "127.0.0.1",
        }
        | changes,
        environ={},
    )


@pytest.fixture
def settings(servers: Servers, database_url: str, request: pytest.FixtureRequest) -> Settings:
    """Settings of a test; `@pytest.mark.parametrize("settings", [{…}], indirect=True)` changes some."""
    return settings_of(servers, database_url, **getattr(request, "param", {}))


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    """A world on real servers with a clock the test moves, its keys made."""
    made = make_world(settings, clock=FixedClock())
    await made.db.transact(lambda tx: key_store.ensure(tx, made.sealer, made.entropy, made.clock.now()))
    await made.refresh()
    yield made
    await made.close()


@pytest.fixture(scope="session")
def routed(servers: Servers) -> Litestar:
    """The routes, made once: that takes longer than most tests, and they are the same in every world."""
    return routes(make_world(settings_of(servers, servers.postgres_url)))


@pytest.fixture
async def client(world: World, routed: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """The application over ASGI, from one address behind a declared proxy."""
    app: Any = enclosed(routed, world)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    hooks = {"response": [require_documented]}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:8400", event_hooks=hooks
    ) as made:
        yield made


@pytest.fixture
async def house(world: World, client: httpx.AsyncClient) -> House:
    """People and the doors they use."""
    return House(world, client)


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parent.parent
