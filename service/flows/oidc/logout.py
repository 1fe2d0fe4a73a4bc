"""A portal sends somebody to sign out (OpenID Connect RP-Initiated Logout 1.0)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.domain.oidc import authorize
from service.domain.oidc.addresses import with_query
from service.domain.oidc.clients import Client, post_logout_fits
from service.domain.sign_in import Origin
from service.errors import InvalidRequest
from service.flows import me as me_flow
from service.flows import tokens
from service.flows.sessions import Caller
from service.keyring import BadToken
from service.stores import accounts as account_store
from service.stores import clients as client_store
from service.world import World

#: Characters of the way back, which a cookie has to carry over our last page.
_MAX_ADDRESS = 2500
#: What of a request the confirmation page sends again; the hint is not among it, since it proved nobody.
CARRIED = ("client_id", "post_logout_redirect_uri", "state")


@dataclass(frozen=True, slots=True)
class Left:
    """Nobody is signed in here any more. `address` is where the portal wants them, if it proved it; `client`
    who asked, where that is known."""

    address: str | None
    client: Client | None


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody is signed in, and no proof that they asked: they have to say so."""

    client: Client | None


async def begin(
    world: World, origin: Origin, caller: Caller | None, parameters: authorize.Parameters
) -> Left | Ask:
    """Sign out whoever the hint is of, at once; anybody else is asked first (§2). Raises InvalidRequest, for
    a page, when the hint is not ours or the address not one of the client's: then nothing ends."""
    hint = _hint(world, parameters)
    client = await _client(world, parameters, hint)
    address = _address(parameters, client)
    if caller is None:
        return Left(address, client)
    async with world.db.connection() as connection:
        person = await account_store.by_id(connection, caller.person)
    if hint is None or person is None or hint.get("sub") != str(person.sub):
        return Ask(client)
    await me_flow.end_session(world, origin, caller, caller.session)
    return Left(address, client)


async def confirm(world: World, origin: Origin, caller: Caller, parameters: authorize.Parameters) -> Left:
    """What the person themselves said on our page."""
    client = await _client(world, parameters, None)
    address = _address(parameters, client)
    await me_flow.end_session(world, origin, caller, caller.session)
    return Left(address, client)


def _hint(world: World, parameters: authorize.Parameters) -> Mapping[str, Any] | None:
    """The claims of the ID token that the client got; expired or not (§2)."""
    text = authorize.value(parameters, "id_token_hint")
    if text is None:
        return None
    try:
        return tokens.read_id_token(world, text)
    except BadToken as fault:
        raise InvalidRequest(f"id_token_hint: {fault}") from None


async def _client(
    world: World, parameters: authorize.Parameters, hint: Mapping[str, Any] | None
) -> Client | None:
    """The client that asks, by its id or by whom the hint was issued to; both have to agree (§2)."""
    named = authorize.value(parameters, "client_id")
    issued_to = str(hint["aud"]) if hint and "aud" in hint else None
    if named is not None and issued_to is not None and named != issued_to:
        raise InvalidRequest("the hint was issued to another client")
    async with world.db.connection() as connection:
        found = await client_store.serving(connection, named or issued_to or "", world.clock.now())
    return found.client if found else None


def _address(parameters: authorize.Parameters, client: Client | None) -> str | None:
    """Where to go afterwards, with the client's state. Raises InvalidRequest for what is not the client's."""
    if any(len(values) > 1 for values in parameters.values()):
        raise InvalidRequest("a parameter stands twice")
    wanted = authorize.value(parameters, "post_logout_redirect_uri")
    if wanted is None:
        return None
    if client is None or not post_logout_fits(client, wanted):
        raise InvalidRequest("the address is not one of a client's that is known")
    state = authorize.value(parameters, "state")
    address = wanted if state is None else with_query(wanted, {"state": state})
    if len(address) > _MAX_ADDRESS:
        raise InvalidRequest("the state is too long")
    return address
