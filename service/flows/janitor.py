"""What nobody needs any more is deleted: a little at a time, so that no lock is held for long."""

from datetime import timedelta

from service.stores import clients as client_store
from service.stores import codes as code_store
from service.stores import logouts as logout_store
from service.stores.postgres import Connection
from service.world import World

#: Rows of a kind in one transaction.
_BATCH = 1000
#: A code that comes back within a day still ends what it bought (RFC 6749 §4.1.2); nobody redeems one later.
_CODES, _NOTICES = timedelta(days=1), timedelta(days=7)


async def tidy(world: World) -> int:
    """Delete everything that is due; how many rows. Two nodes at once share the work."""
    all_of_it = 0
    while True:
        swept = await world.db.transact(lambda tx: _batch(world, tx))
        all_of_it += swept
        if swept < _BATCH:
            return all_of_it


async def _batch(world: World, tx: Connection) -> int:
    now = world.clock.now()
    return (
        await code_store.sweep(tx, now - _CODES, _BATCH)
        # An assertion is refused by its `exp` from then on; a little later, for clocks that differ.
        + await client_store.sweep(tx, now - timedelta(minutes=5), _BATCH)
        + await logout_store.sweep(tx, now - _NOTICES, _BATCH)
    )
