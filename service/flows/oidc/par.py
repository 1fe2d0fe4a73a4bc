"""A request that a client pushes by itself, before it sends anybody (RFC 9126)."""

from dataclasses import dataclass
from datetime import timedelta

from service import crypto
from service.domain import sessions as session_rules
from service.domain.oidc import authorize
from service.domain.oidc.authorize import Refusal
from service.domain.oidc.clients import Client, redirect_fits
from service.errors import InvalidRequest
from service.flows import tokens
from service.keyring import BadToken
from service.stores import codes as code_store
from service.world import World


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where the request is kept: for one use, and `expires_in` seconds."""

    request_uri: str
    expires_in: int


async def push(world: World, client: Client, parameters: authorize.Parameters) -> Pushed:
    """Keep the request of a client that proved itself; whatever would be wrong with it later is told now
    (§2.3). Raises InvalidRequest, with the error of the standard."""
    named, wanted = parameters.get("client_id", ()), parameters.get("redirect_uri", ())
    if any(one != client.id for one in named):
        raise InvalidRequest("client_id is another's than who asks")
    if len(wanted) != 1 or not redirect_fits(client, wanted[0]):
        raise InvalidRequest("the redirect URI is not one of the client's")
    judged = authorize.judge(parameters, client, wanted[0])
    if isinstance(judged, Refusal):
        raise InvalidRequest(judged.description, error=judged.error, error_description=judged.description)
    if judged.id_token_hint is not None:
        try:
            tokens.read_id_token(world, judged.id_token_hint)
        except BadToken as fault:
            raise InvalidRequest(f"id_token_hint: {fault}") from None
    handle, now = session_rules.opaque(session_rules.PUSHED, world.entropy.token(32)), world.clock.now()
    life = world.settings.tokens.pushed_request_seconds
    async with world.db.connection() as connection:
        await code_store.push(
            connection,
            digest=crypto.sha256(handle),
            client=client.id,
            parameters={**parameters, "client_id": [client.id]},
            now=now,
            expires_at=now + timedelta(seconds=life),
        )
    return Pushed(handle, life)


async def opened(world: World, parameters: authorize.Parameters) -> authorize.Parameters:
    """The request that a handle of ours stands for, once; any other request is itself. What stands beside
    the handle counts for nothing (§4). Raises InvalidRequest: nothing is proved yet that could be told."""
    named, handle = parameters.get("client_id", ()), parameters.get("request_uri", ())
    if not any(one.startswith(session_rules.PUSHED) for one in handle):
        return parameters
    if len(named) != 1 or len(handle) != 1:
        raise InvalidRequest("client_id and request_uri have to stand once each")
    async with world.db.connection() as connection:
        pushed = await code_store.pull(connection, crypto.sha256(handle[0]), named[0], world.clock.now())
    if pushed is None:
        raise InvalidRequest("no such pushed request of this client, or it was used, or has expired")
    return pushed
