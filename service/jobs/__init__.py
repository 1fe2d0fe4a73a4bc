"""What a node does beside answering requests: each job runs again and again until it is cancelled."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from service import crypto
from service.errors import Unavailable

_log = structlog.get_logger()


async def keep(
    doing: Callable[[], Awaitable[object]],
    *,
    every: Callable[[], float],
    put_off: str,
    failed: str,
    after_a_fault: float = 0,
) -> None:
    """Run until cancelled: wait `every()` seconds, then do it. What fails is told, as the event `put_off`
    while something it needs is away and as `failed` for whatever else, and tried again `after_a_fault`
    seconds later than it would be: what runs each second must not fill the log as often."""
    pause = 0.0
    while True:
        await asyncio.sleep(every() + pause)
        pause = after_a_fault
        try:
            await doing()
            pause = 0
        except Unavailable as fault:
            _log.warning(put_off, reason=fault.private)
        except crypto.SealBroken as fault:
            # Fail closed: go on with the keys read before, and say loudly what is wrong.
            _log.error("encryption_key_wrong", reason=str(fault))
        except Exception as fault:  # noqa: BLE001 - whatever it is, it must be done again
            # Its kind only: its text may hold what no log may.
            _log.error(failed, kind=type(fault).__name__)
