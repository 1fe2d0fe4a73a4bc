"""A client gives back what it holds (RFC 7009)."""

from contextlib import suppress
from uuid import UUID

from service.domain.oidc.clients import Client
from service.domain.sign_in import Origin
from service.errors import InvalidToken, UnsupportedTokenType
from service.flows import refresh as refresh_flow
from service.flows import sessions as session_flow
from service.keyring import BadToken
from service.world import World


async def revoke(world: World, origin: Origin, client: Client, token: str) -> None:
    """End the grant of a client's own access or refresh token. Whatever else it sends changes nothing and is
    no error (§2.2). Raises UnsupportedTokenType for a token that stands for no grant."""
    await refresh_flow.revoke(world, origin, token, client.id)
    try:
        claims = world.keyring.verify(token, "at+jwt")
    except BadToken:
        return
    if claims.get("client_id") != client.id:
        return
    if "sid" not in claims:
        raise UnsupportedTokenType("a token of client_credentials")
    with suppress(InvalidToken):
        # Only a token that lives: an old one from a log must not end what came after it.
        caller = await session_flow.caller(world, token)
        await session_flow.end_grant(world, origin, caller.person, UUID(str(claims["grant"])), client.id)
