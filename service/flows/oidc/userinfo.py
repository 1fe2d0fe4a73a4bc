"""What a portal is told of the person behind its access token (OpenID Connect Core 1.0 §5.3)."""

from collections.abc import Mapping
from typing import Any

from service.domain.oidc import claims
from service.domain.sign_in import FRONTEND
from service.errors import InsufficientScope, InvalidToken
from service.flows import sessions as session_flow
from service.flows.oidc.token import known_person
from service.stores import clients as client_store
from service.world import World


async def userinfo(world: World, token: str) -> tuple[str, Mapping[str, Any]]:
    """The client, and the claims of the granted scope with those asked for by name. Raises InvalidToken, also
    for a client that was disabled meanwhile, and InsufficientScope."""
    caller = await session_flow.caller(world, token)
    if "openid" not in caller.scope:
        raise InsufficientScope("needs the scope openid", scope="openid")
    async with world.db.connection() as connection:
        registered = await client_store.by_id(connection, caller.client, world.clock.now())
        if caller.client != FRONTEND and (registered is None or registered.client.disabled):
            raise InvalidToken("the client is gone or disabled")
        known = await known_person(connection, caller.person)
    allowed = registered.client.scopes if registered else caller.scope
    return caller.client, claims.for_userinfo(known, caller.scope, caller.asked, allowed)
