"""What applications may do for a person, by their word or while they are away; and how it is taken back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from service.domain.sessions import EndReason
from service.domain.sign_in import Origin
from service.errors import DoorwardError, NotFound
from service.flows import audit
from service.flows import sessions as session_flow
from service.flows.sessions import Caller
from service.stores import codes as code_store
from service.stores import sessions as session_store
from service.stores.postgres import Connection
from service.world import World


@dataclass(frozen=True, slots=True)
class Consent:
    """What one client may have of the person without asking again, or while they are away."""

    client_id: str
    name: str
    scopes: Sequence[str]
    granted_at: datetime


async def given(world: World, caller: Caller) -> Sequence[Consent]:
    """Everything of the kind, the latest first."""
    async with world.db.connection() as connection:
        rows = await code_store.consents(connection, caller.person, world.clock.now())
    return [Consent(row["client_id"], row["name"], row["scopes"], row["granted_at"]) for row in rows]


async def take_back(world: World, origin: Origin, caller: Caller, client: str) -> None:
    """Forget what a client was allowed, and end all it holds of the person or is about to get. Raises
    NotFound where nothing was allowed, and as `sessions.acting` does."""

    async def act(tx: Connection) -> DoorwardError | None:
        now = world.clock.now()
        known = await code_store.consents(tx, caller.person, now)
        if client not in [row["client_id"] for row in known]:
            return NotFound("nothing of the kind is this client's")
        await code_store.revoke(tx, caller.person, client, now)
        ended = await session_store.end_grants(tx, caller.person, client, EndReason.REVOKED, now)
        await audit.record(
            world,
            tx,
            "account:consent_revocation",
            "ok",
            origin,
            person=caller.person,
            client=client,
            session=caller.session,
            ended=ended,
        )
        return None

    await session_flow.acting(world, caller, act)
