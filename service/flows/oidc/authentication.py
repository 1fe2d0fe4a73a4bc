"""A client proves itself, by the one method of its record: at every endpoint that is for clients alone."""

from dataclasses import dataclass

from service import crypto
from service.domain.oidc import assertions
from service.domain.oidc.assertions import BadAssertion
from service.domain.oidc.clients import Client
from service.errors import InvalidClient
from service.stores import clients as client_store
from service.world import World

_ENDPOINTS = ("token", "par", "introspect", "revoke")


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a client says who it is: the standard's name of the method, its id, and a secret or an assertion if
    it sent one."""

    method: str
    client_id: str
    secret: str | None = None
    assertion: str | None = None


async def authenticated(world: World, credentials: Credentials) -> Client:
    """The client, once it proved itself (RFC 6749 §2.3, RFC 7523 §2.2). Raises InvalidClient."""
    async with world.db.connection() as connection:
        found = await client_store.serving(connection, credentials.client_id, world.clock.now())
    if found is None:
        raise InvalidClient("no such client")
    if credentials.method != found.client.token_endpoint_auth_method:
        raise InvalidClient("another method than the record's")
    if found.client.has_secret and not found.knows(credentials.secret or ""):
        raise InvalidClient("a wrong secret")
    if credentials.method == "private_key_jwt":
        await _assert(world, found.client, credentials.assertion or "")
    return found.client


async def confidential(world: World, credentials: Credentials) -> Client:
    """A client that proved itself by something only it has. Raises InvalidClient."""
    client = await authenticated(world, credentials)
    if client.public:
        raise InvalidClient("a public client proves nothing")
    return client


async def _assert(world: World, client: Client, text: str) -> None:
    """Take an assertion, which is good once: a copy from a log or a proxy opens nothing. It may be for us by
    our issuer or by the address of any endpoint for clients (RFC 9126 §2 asks for three of them)."""
    now, issuer = world.clock.now(), world.settings.issuer
    audiences = [issuer, *(f"{issuer}/oauth2/{name}" for name in _ENDPOINTS)]
    try:
        assertion = assertions.judge(text, client, audiences, now)
    except BadAssertion as fault:
        raise InvalidClient(str(fault)) from None
    digest = crypto.sha256(assertion.jti)
    async with world.db.connection() as connection:
        if not await client_store.spend_assertion(connection, client.id, digest, assertion.expires_at):
            raise InvalidClient("an assertion that was used before")
