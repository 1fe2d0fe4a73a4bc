"""The world kept current: the database's time, and the keys that stand in it."""

import structlog

from service.jobs import keep
from service.world import World

_log = structlog.get_logger()


async def keep_current(world: World) -> None:
    """Run until cancelled: refresh the clock and the keys every ten seconds, and say so when they
    cannot be. A node that has read no keys yet asks each second, to serve as soon as it can."""

    async def refresh() -> None:
        await world.refresh()
        if world.clock.skew is not None and abs(world.clock.skew) > 5:
            _log.warning("clock_skew", seconds=round(world.clock.skew, 3))

    await keep(
        refresh,
        every=lambda: 1 if world.keyring.missing else 10,
        put_off="postgres_away",
        failed="refresh_failed",
    )
