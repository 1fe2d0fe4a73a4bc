"""The rotation of the signing keys, by age."""

from service.flows import keys as key_flow
from service.jobs import keep
from service.world import World


async def keep_rotating(world: World, *, every: float = 60) -> None:
    """Run until cancelled: look after the signing keys, each so many seconds. What fails is tried again
    then; there are days for it."""
    await keep(
        lambda: key_flow.upkeep(world),
        every=lambda: every,
        put_off="key_upkeep_put_off",
        failed="key_upkeep_failed",
    )
