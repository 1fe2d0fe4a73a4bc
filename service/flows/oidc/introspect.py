"""What a token is worth right now, told to the client it was issued to, or is for (RFC 7662)."""

from collections.abc import Mapping
from typing import Any

from asyncpg import Record

from service.domain.oidc.clients import Client, still_held
from service.errors import InvalidToken
from service.flows import refresh as refresh_flow
from service.flows import sessions as session_flow
from service.keyring import BadToken
from service.stores import clients as client_store
from service.world import World

#: Members of an access token that its introspection repeats (§2.2, RFC 9068 §2.2).
_TOLD = ("iss", "sub", "aud", "exp", "iat", "jti", "client_id", "sid", "acr", "amr", "auth_time")
#: All that whoever has no business with a token hears of it (§2.2).
INACTIVE: Mapping[str, Any] = {"active": False}


async def introspect(world: World, client: Client, token: str) -> Mapping[str, Any]:
    """The members of an active token, or `INACTIVE`: for an unknown, expired, revoked and another's alike."""
    family = await refresh_flow.inspect(world, token, client.id)
    if family is not None:
        over = refresh_flow.is_session_over(world, family)
        held = still_held(client, family["scope"].split(), session_over=over)
        return _refresh(world, family, " ".join(held)) if held else INACTIVE
    try:
        claims = world.keyring.verify(token, "at+jwt")
    except BadToken:
        return INACTIVE
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if client.id != claims.get("client_id") and client.id not in audiences:
        return INACTIVE
    scope = await _living_scope(world, client, token, claims)
    if scope is None:
        return INACTIVE
    told = {name: claims[name] for name in _TOLD if name in claims}
    return {"active": True, "token_type": "Bearer", "scope": scope, **told}


async def _living_scope(world: World, client: Client, token: str, claims: Mapping[str, Any]) -> str | None:
    """What the token may do now; None where its end, its session's, its person's or its client's has come."""
    issued_to = str(claims.get("client_id"))
    # The client that asks has just proved itself, which a disabled one cannot.
    if issued_to != client.id and not await _serves(world, issued_to):
        return None
    if "sid" in claims:
        try:
            return " ".join((await session_flow.caller(world, token)).scope)
        except InvalidToken:
            return None
    expires_at = claims.get("exp")
    living = type(expires_at) is int and expires_at > world.clock.now().timestamp()
    return str(claims.get("scope")) if living and claims.get("iss") == world.settings.issuer else None


async def _serves(world: World, client: str) -> bool:
    """Whether a registered client is there and not disabled."""
    async with world.db.connection() as connection:
        return await client_store.serving(connection, client, world.clock.now()) is not None


def _refresh(world: World, family: Record, scope: str) -> Mapping[str, Any]:
    return {
        "active": True,
        "scope": scope,
        "client_id": family["client_id"],
        "sub": str(family["sub"]),
        "iss": world.settings.issuer,
        "exp": int(min(family["idle_at"], family["absolute_at"]).timestamp()),
        "sid": str(family["session_id"]),
    }
