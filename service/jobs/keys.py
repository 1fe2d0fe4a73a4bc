"""The rotation of the signing keys, by age."""

import asyncio

import structlog

from service import crypto
from service.errors import Unavailable
from service.flows import keys as key_flow
from service.world import World

_log = structlog.get_logger()


async def keep_rotating(world: World, *, every: float = 60) -> None:
    """Run until cancelled: look after the signing keys, each so many seconds. What fails is tried again
    then; there are days for it."""
    while True:
        await asyncio.sleep(every)
        try:
            await key_flow.upkeep(world)
        except Unavailable as fault:
            _log.warning("key_upkeep_put_off", reason=fault.private)
        except crypto.SealBroken as fault:
            _log.error("encryption_key_wrong", reason=str(fault))
        except Exception as fault:  # noqa: BLE001 - whatever it is, the keys must be looked after again
            _log.error("key_upkeep_failed", kind=type(fault).__name__)
