"""Acts written down; the row's id and time are the world's. The other flows call this one."""

from datetime import datetime
from uuid import UUID

from service.domain.sign_in import Origin
from service.stores import audit as audit_store
from service.stores.audit import Result
from service.stores.postgres import Connection
from service.world import World


async def record(
    world: World,
    tx: Connection,
    act: str,
    result: Result,
    origin: Origin | None = None,
    *,
    person: UUID | None = None,
    actor: UUID | None = None,
    client: str | None = None,
    session: UUID | None = None,
    factor: UUID | None = None,
    unless_since: datetime | None = None,
    **detail: object,
) -> None:
    """Write an act (`area:act`) down as of now, in the transaction of the act.

    `origin` is None for what comes from no address: the command line, and what the service does by itself.
    `actor` is whoever acted, where that is another than the person.
    With `unless_since` nothing is written when the person has one of the name since then.
    """
    await audit_store.record(
        tx,
        world.row_id(),
        world.clock.now(),
        act,
        result,
        origin,
        person=person,
        actor=actor,
        client=client,
        session=session,
        factor=factor,
        unless_since=unless_since,
        **detail,
    )
