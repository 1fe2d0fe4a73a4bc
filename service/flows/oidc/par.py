"""A request that a client pushes by itself, before it sends anybody (RFC 9126)."""

from dataclasses import dataclass
from datetime import timedelta

from service import crypto
from service.domain import sessions as session_rules
from service.domain.oidc import authorize
from service.domain.oidc.authorize import Refusal
from service.domain.oidc.clients import Client
from service.errors import InvalidRequest
from service.flows.oidc import requests
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
    if any(one != client.id for one in parameters.get("client_id", ())):
        raise InvalidRequest("client_id is another's than who asks")
    if "request_uri" in parameters:
        raise InvalidRequest("a pushed request stands for itself (§2.1)")
    asked = {**parameters, "client_id": [client.id]}
    judged = requests.judged(world, asked, client, requests.address_of(client, parameters))
    if isinstance(judged, Refusal):
        raise InvalidRequest(judged.description, error=judged.error, error_description=judged.description)
    handle, now = session_rules.opaque(session_rules.PUSHED, world.entropy.token(32)), world.clock.now()
    life = world.settings.tokens.pushed_request_seconds
    async with world.db.connection() as connection:
        await code_store.push(
            connection,
            digest=crypto.sha256(handle),
            client=client.id,
            parameters=asked,
            now=now,
            expires_at=now + timedelta(seconds=life),
        )
    return Pushed(handle, life)
