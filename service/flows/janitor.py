"""What nobody needs any more is deleted: a little at a time, so that no lock is held for long."""

from contextlib import suppress
from datetime import timedelta
from functools import partial
from uuid import UUID

from service.errors import Unavailable
from service.flows import sessions as session_flow
from service.stores import accounts as account_store
from service.stores import clients as client_store
from service.stores import codes as code_store
from service.stores import logouts as logout_store
from service.stores import sessions as session_store
from service.stores import trust as trust_store
from service.stores.postgres import Connection
from service.world import World

#: Rows of a kind in one transaction.
_BATCH = 1000
#: A code that comes back within a day still ends what it bought (RFC 6749 §4.1.2); nobody redeems one later.
_CODES, _NOTICES = timedelta(days=1), timedelta(days=7)
#: What is refused by its own end from then on; a little later, for clocks that differ.
_ENDED = timedelta(minutes=5)


async def tidy(world: World) -> int:
    """Write down the ends of sessions that nobody came back to, and delete everything that is due; how many
    rows were deleted. Of the deleting two nodes at once share the work."""
    await _end_sessions(world)
    all_of_it = 0
    while True:
        swept = await world.db.transact(lambda tx: _batch(world, tx))
        all_of_it += swept
        if swept < _BATCH:
            return all_of_it


async def _end_sessions(world: World) -> None:
    """Portals are told of a session's end; of one that was left alone somebody has to notice it."""
    async with world.db.connection() as connection:
        people = await session_store.outlived(connection, world.clock.now(), _BATCH)
    for person in people:
        # One whose row is held must not keep the others waiting.
        with suppress(Unavailable):
            await world.db.transact(partial(_end_of, world, person))


async def _end_of(world: World, person: UUID, tx: Connection) -> None:
    await account_store.hold(tx, person)
    await session_flow.expire(world, tx, person)


async def _batch(world: World, tx: Connection) -> int:
    now = world.clock.now()
    return (
        await code_store.sweep_codes(tx, now - _CODES, _BATCH)
        + await code_store.sweep(tx, now - _ENDED, _BATCH)
        + await client_store.sweep(tx, now - _ENDED, _BATCH)
        + await logout_store.sweep(tx, now - _NOTICES, _BATCH)
        + await trust_store.sweep(tx, now - _ENDED, _BATCH)
    )
