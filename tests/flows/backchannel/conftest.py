"""A service that owes portals word of logouts."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from service.domain.oidc.clients import Client
from service.embedded import Servers
from service.flows import clients as client_flow
from service.settings import Settings
from service.world import World, make_world
from tests.builders import House
from tests.conftest import settings_of
from tests.portals import Portal
from tests.secure import Authority, authority

DUE = "SELECT count(*) FROM logout_notice WHERE done_at IS NULL AND next_at <= $1"
ISSUER = "https://127.0.0.1:8400"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def settings(
    servers: Servers, database_url: str, trusted: Authority, request: pytest.FixtureRequest
) -> Settings:
    """As in production, with portals on this machine that have certificates of an authority of one's own."""
    changes = {
        "dev": False,
        "issuer": ISSUER,
        "outgoing.private_addresses": True,
        "outgoing.ca_file": str(trusted.root),
    }
    return settings_of(servers, database_url, **(changes | getattr(request, "param", {})))


@pytest.fixture
async def second(settings: Settings, house: House) -> AsyncIterator[World]:
    """Another node on the same database, by the same clock."""
    made = make_world(settings, clock=house.clock)
    await made.refresh()
    yield made
    await made.close()


@dataclass
class Owing:
    """A service that owes portals word of logouts."""

    house: House

    @property
    def world(self) -> World:
        return self.house.world

    async def client(self, id: str, there: Portal | None, **more: Any) -> str:
        uri = there.url() if there else None
        await client_flow.create(
            self.world,
            Client(
                id,
                id,
                redirect_uris=("https://portal.example/callback",),
                scopes=("openid",),
                backchannel_logout_uri=uri,
                **more,
            ),
        )
        return id

    async def sessions(self, count: int) -> list[UUID]:
        """Sessions of one person, made as rows: what is told of them is not how they came to be."""
        person = (await self.house.a_person()).id
        rows = await self.house.rows(
            "INSERT INTO session (id, person_id, epoch, amr, auth_time, address, browser, created_at,"
            " ended_at, end_reason)"
            " SELECT gen_random_uuid(), $1, 0, '{pwd}', $2, '192.0.2.1', '', $2, $2, 'signed_out'"
            " FROM generate_series(1, $3) RETURNING id",
            person,
            self.world.clock.now(),
            count,
        )
        return [row["id"] for row in rows]

    async def owe(self, client: str, *sessions: UUID) -> None:
        """What the end of a session does."""
        await self.house.rows(
            "INSERT INTO logout_notice (session_id, client_id, created_at, next_at)"
            " SELECT unnest($1::uuid[]), $2, $3, $3",
            list(sessions),
            client,
            self.world.clock.now(),
        )

    async def notice(self, client: str = "portal") -> Any:
        (row,) = await self.house.rows("SELECT * FROM logout_notice WHERE client_id = $1", client)
        return row

    async def one(self, there: Portal | None, **more: Any) -> UUID:
        """One notice owed to one client, `portal`."""
        await self.client("portal", there, **more)
        (session,) = await self.sessions(1)
        await self.owe("portal", session)
        return session

    async def left(self) -> int:
        return int(await self.house.value("SELECT count(*) FROM logout_notice WHERE done_at IS NULL"))


@pytest.fixture
async def owing(house: House) -> Owing:
    return Owing(house)


async def verified(house: House, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A portal's look at a logout token, by the published keys: header and claims."""
    keys = KeySet.import_key_set((await house.client.get("/oauth2/jwks")).json())
    read = jwt.decode(token, keys, algorithms=["RS256", "ES256", "Ed25519"])
    return read.header, read.claims


async def seen(there: Portal, count: int) -> None:
    """Wait until a portal was asked so often."""
    deadline = time.monotonic() + 10
    while len(there.asked) < count:
        assert time.monotonic() < deadline, f"{len(there.asked)} of {count}"
        await asyncio.sleep(0.02)
