"""A request as a client sent it: opened where it was pushed, its client and address proved, and read."""

from dataclasses import replace

from service import crypto
from service.domain import sessions as session_rules
from service.domain.oidc import authorize
from service.domain.oidc.authorize import AuthorizationRequest, Refusal
from service.domain.oidc.clients import Client, redirect_fits
from service.errors import InvalidRequest
from service.flows import tokens
from service.keyring import BadToken
from service.stores import clients as client_store
from service.stores import codes as code_store
from service.world import World


async def opened(world: World, parameters: authorize.Parameters) -> authorize.Parameters:
    """The request that a handle of ours stands for, once (RFC 9126 §4); any other request is itself. What
    stands beside the handle counts for nothing. Raises InvalidRequest: nothing is proved yet to be told."""
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


async def proved(world: World, parameters: authorize.Parameters) -> tuple[Client, str]:
    """The client and the redirect URI, once both are certain. Nothing is redirected before (RFC 9700
    §4.11.2). Raises InvalidRequest."""
    named = parameters.get("client_id", ())
    if len(named) != 1:
        raise InvalidRequest("client_id has to stand once")
    async with world.db.connection() as connection:
        found = await client_store.serving(connection, named[0], world.clock.now())
    if found is None:
        raise InvalidRequest("no such client")
    return found.client, address_of(found.client, parameters)


def address_of(client: Client, parameters: authorize.Parameters) -> str:
    """The redirect URI, which is one of the client's own. Raises InvalidRequest."""
    wanted = parameters.get("redirect_uri", ())
    if len(wanted) != 1 or not redirect_fits(client, wanted[0]):
        raise InvalidRequest("the redirect URI is not one of the client's")
    return wanted[0]


def judged(
    world: World, parameters: authorize.Parameters, client: Client, redirect_uri: str
) -> AuthorizationRequest | Refusal:
    """The request as it is read, and whom its hint is of, which has to be one of our ID tokens."""
    found = authorize.judge(parameters, client, redirect_uri)
    if isinstance(found, Refusal) or found.id_token_hint is None:
        return found
    try:
        hint = tokens.read_id_token(world, found.id_token_hint)
    except BadToken:
        return Refusal("invalid_request", "id_token_hint is not an ID token of this service")
    return replace(found, hinted=str(hint["sub"]))
