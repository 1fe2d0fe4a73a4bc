"""What a portal is told of the person behind its access token (OpenID Connect Core 1.0 §5.3)."""

from collections.abc import Mapping
from typing import Any

from service.domain.oidc import claims
from service.domain.sign_in import FRONTEND
from service.errors import InsufficientScope, InvalidToken
from service.flows import sessions as session_flow
from service.stores import accounts as account_store
from service.stores import clients as client_store
from service.world import World


async def userinfo(world: World, token: str) -> tuple[str, Mapping[str, Any]]:
    """The client, and the claims of the granted scope with those asked for by name. Raises InvalidToken, also
    for a client that was disabled meanwhile, and InsufficientScope."""
    caller = await session_flow.caller(world, token)
    if "openid" not in caller.scope:
        raise InsufficientScope("needs the scope openid", scope="openid")
    async with world.db.connection() as connection:
        registered = await client_store.serving(connection, caller.client, world.clock.now())
        known = await account_store.known(connection, caller.person)
    if known is None or (registered is None and caller.client != FRONTEND):
        raise InvalidToken("the person or the client is gone")
    allowed = registered.client.scopes if registered else caller.scope
    return caller.client, claims.for_userinfo(known, caller.scope, caller.asked, allowed)
