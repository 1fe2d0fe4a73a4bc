"""The deletion of what nobody needs any more."""

from service.flows import janitor
from service.jobs import keep
from service.world import World


async def keep_tidy(world: World, *, every: float = 60) -> None:
    """Run until cancelled: tidy up, each so many seconds."""
    await keep(
        lambda: janitor.tidy(world), every=lambda: every, put_off="tidying_put_off", failed="tidying_failed"
    )
