"""The sending of what is owed to others: logouts, to portals."""

from service.flows.oidc import backchannel
from service.jobs import keep
from service.world import World


async def keep_telling(world: World, *, every: float = 1, after_a_fault: float = 10) -> None:
    """Run until cancelled: send what is due, each so many seconds. What fails stays owed."""
    await keep(
        lambda: backchannel.tell_due(world),
        every=lambda: every,
        put_off="logout_notices_put_off",
        failed="logout_notices_failed",
        after_a_fault=after_a_fault,
    )
