"""The deletion of what nobody needs any more."""

import asyncio

import structlog

from service.errors import Unavailable
from service.flows import janitor
from service.world import World

_log = structlog.get_logger()


async def keep_tidy(world: World, *, every: float = 600) -> None:
    """Run until cancelled: tidy up, each so many seconds. What fails is tried again then."""
    while True:
        await asyncio.sleep(every)
        try:
            await janitor.tidy(world)
        except Unavailable as fault:
            _log.warning("tidying_put_off", reason=fault.private)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the next round must come
            _log.error("tidying_failed", kind=type(fault).__name__)
