"""The world a flow acts in: settings, time, randomness, keys, and what is remembered."""

import os
from dataclasses import dataclass, field
from uuid import UUID

from service import crypto
from service.clock import Clock
from service.domain.policy import Budget
from service.entropy import Entropy
from service.errors import ConfigError, Unavailable
from service.keyring import Key, Keyring, Kind
from service.outgoing import Outgoing
from service.settings import Settings
from service.stores import keys as key_store
from service.stores.limits import Limits
from service.stores.postgres import Database
from service.stores.redis import Memory


@dataclass
class World:
    """Made once for each process by `make_world`, and handed to every flow."""

    settings: Settings
    clock: Clock
    entropy: Entropy
    sealer: crypto.Sealer
    pool: crypto.HashPool
    db: Database
    memory: Memory
    outgoing: Outgoing
    keyring: Keyring = field(default_factory=lambda: Keyring([]))

    def __post_init__(self) -> None:
        self.limits = Limits(
            self.settings, self.memory, lambda purpose, value: self.index(purpose, value).hex()[:32]
        )
        two_factor = self.settings.two_factor
        self.budget = Budget(
            two_factor.per_5_minutes, two_factor.per_hour, two_factor.per_day, two_factor.in_a_row
        )

    def row_id(self) -> UUID:
        """A new UUIDv7 of this moment."""
        return self.entropy.row_id(int(self.clock.now().timestamp() * 1000))

    def index(self, purpose: str, value: str) -> bytes:
        """A look-up digest: the value cannot be read from it, nor tried out without the key."""
        return crypto.digest(self.active(Kind.INDEX).material, purpose, value.encode())

    def active(self, kind: Kind) -> Key:
        return self.keyring.active(kind, self.clock.now())

    async def refresh(self) -> None:
        """Take over Postgres's time, and the keys that stand in it now."""
        before = self.clock.now()
        time = await self.db.time()
        # The answer is as old as half its way at most; sign-ins count in steps of thirty seconds.
        self.clock.set_to(time + (self.clock.now() - before) / 2)
        async with self.db.connection() as connection:
            self.keyring = Keyring(await key_store.load(connection, self.sealer))

    async def close(self) -> None:
        self.pool.close()
        await self.outgoing.close()
        await self.memory.close()
        await self.db.close()


def make_world(settings: Settings, *, clock: Clock | None = None, entropy: Entropy | None = None) -> World:
    """Put a world together; nothing is connected yet."""
    cost = crypto.HashCost(settings.hash.memory_kib, settings.hash.passes, settings.hash.lanes)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return World(
        settings=settings,
        clock=clock or Clock(),
        entropy=entropy or Entropy(),
        sealer=crypto.Sealer([crypto.SealingKey(*key) for key in settings.parsed_encryption_keys()]),
        pool=crypto.HashPool(
            cost,
            threads=settings.hash.threads or max(1, cores // settings.workers),
            queue=settings.hash.queue,
            deadline=settings.hash.deadline_ms / 1000,
        ),
        db=Database(settings.database),
        memory=Memory(settings.redis),
        outgoing=Outgoing(settings),
    )


def require_keys(world: World) -> None:
    """Raise ConfigError where the database holds no key of some kind."""
    if world.keyring.missing:
        kinds = ", ".join(world.keyring.missing)
        raise ConfigError([f"the database holds no key of kind {kinds}: run `doorward migrate up`"])


async def readiness(world: World) -> dict[str, bool]:
    """Whether each thing a request may need is there. A clock 60 s off Postgres's is not."""
    try:
        postgres = await world.db.writes()
    except Unavailable:
        postgres = False
    return {
        "postgres": postgres,
        "redis": await world.memory.is_there(),
        "keys": not world.keyring.missing,
        "clock": abs(world.clock.skew or 0) <= 60,
    }
