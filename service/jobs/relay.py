"""The sending of what is owed to others: logouts, to portals."""

import asyncio

import structlog

from service.errors import Unavailable
from service.flows.oidc import backchannel
from service.world import World

_log = structlog.get_logger()


async def keep_telling(world: World, *, every: float = 1, after_a_fault: float = 10) -> None:
    """Run until cancelled: send what is due, each so many seconds. What fails stays owed."""
    while True:
        await asyncio.sleep(every)
        try:
            await backchannel.tell_due(world)
        except Unavailable as fault:
            _log.warning("logout_notices_put_off", reason=fault.private)
            await asyncio.sleep(after_a_fault)
        except Exception as fault:  # noqa: BLE001 - whatever it is, portals must be told of later logouts
            _log.error("logout_notices_failed", kind=type(fault).__name__)
            await asyncio.sleep(after_a_fault)
