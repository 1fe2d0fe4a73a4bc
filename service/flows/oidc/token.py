"""The token endpoint: a client proves itself, and exchanges what it holds for tokens.

The phases are shared (RFC 6749 §3.2): who the client is (`authentication.py`), whether it may use the grant,
what the grant says, which tokens it buys. A grant is one function in `GRANTS`.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from asyncpg import Record

from service import crypto
from service.domain import sessions as session_rules
from service.domain.oidc import authorize, claims
from service.domain.oidc.claims import Known
from service.domain.oidc.clients import Client, machine_scopes, still_held
from service.domain.sessions import EndReason, RefreshToken
from service.domain.sign_in import Origin
from service.errors import (
    DoorwardError,
    InvalidGrant,
    InvalidRefreshToken,
    InvalidRequest,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from service.flows import audit, tokens
from service.flows import refresh as refresh_flow
from service.flows.tokens import Grant, Signed
from service.stores import accounts as account_store
from service.stores import codes as code_store
from service.stores import sessions as session_store
from service.stores.postgres import Connection
from service.stores.sessions import Family
from service.world import World


@dataclass(frozen=True, slots=True)
class Issued:
    """What a client is given; `expires_in` is in seconds."""

    access_token: str
    expires_in: int
    scope: str
    id_token: str | None = None
    refresh_token: str | None = None


Exchange: TypeAlias = Callable[[World, Origin, Client, Mapping[str, str]], Awaitable[Issued]]


async def exchange(world: World, origin: Origin, client: Client, parameters: Mapping[str, str]) -> Issued:
    """Tokens for a grant, to a client that proved itself. Raises UnauthorizedClient, UnsupportedGrantType,
    InvalidScope, InvalidGrant."""
    wanted = parameters.get("grant_type")
    if not wanted:
        raise InvalidRequest("no grant_type")
    grant = GRANTS.get(wanted)
    if grant is None:
        raise UnsupportedGrantType("an unknown grant type")
    if wanted not in client.grant_types:
        raise UnauthorizedClient("the client's record does not hold this grant")
    return await grant(world, origin, client, parameters)


async def _by_code(world: World, origin: Origin, client: Client, parameters: Mapping[str, str]) -> Issued:
    """RFC 6749 §4.1.3. A code that comes twice ends what it bought: one of the two who hold it is a thief."""
    if "code" not in parameters:
        raise InvalidRequest("no code")
    digest, now = crypto.sha256(parameters["code"]), world.clock.now()
    async with world.db.connection() as connection:
        code = await code_store.find(connection, digest)
    if code is None or code["client_id"] != client.id:
        raise InvalidGrant("no such code of this client")
    if code["used_at"]:
        await world.db.transact(lambda tx: _reused(world, tx, origin, client, code))
        raise InvalidGrant("a used code")
    if parameters.get("redirect_uri") != code["redirect_uri"]:
        raise InvalidGrant("another redirect URI than the request's")
    if not authorize.proves(parameters.get("code_verifier"), code["code_challenge"]):
        raise InvalidGrant("the verifier does not fit the challenge")
    if _over(code) or session_rules.expired(code["idle_at"], code["absolute_at"], now):
        raise InvalidGrant("the session has ended")

    async def act(tx: Connection) -> Issued | DoorwardError:
        held = await account_store.hold(tx, code["person_id"])
        epoch = await session_store.living(tx, code["session_id"])
        if held.disabled or epoch != held.epoch:
            return InvalidGrant("the session ended meanwhile")
        asked = json.loads(code["claims"])
        family, first = tokens.new_family(
            world, code["session_id"], code["person_id"], client.id, code["scope"], client, asked
        )
        if not await code_store.spend(tx, digest, family.id, now):
            # Another was faster, by whose grant the code is known now; or it has expired.
            spent = await code_store.find(tx, digest)
            if spent is not None:
                await _reused(world, tx, origin, client, spent)
            return InvalidGrant("a used or an expired code")
        await session_store.add_family(tx, family, origin, now)
        return await _bought(world, tx, origin, client, code, family, first)

    return await world.db.transact(act)


async def _by_refresh(world: World, origin: Origin, client: Client, parameters: Mapping[str, str]) -> Issued:
    """RFC 6749 §6. The scope may be narrowed for these tokens, never widened."""
    text, wanted = parameters.get("refresh_token"), parameters.get("scope", "").split()
    if text is None:
        raise InvalidRequest("no refresh_token")

    def held(family: Record) -> Sequence[str]:
        """What the tokens will be for: the wish within what was granted, as far as the record still goes."""
        granted, over = family["scope"].split(), refresh_flow.is_session_over(world, family)
        if not set(wanted) <= set(granted):
            raise InvalidScope("wider than what was granted")
        left = still_held(client, wanted or granted, session_over=over)
        if not left:
            raise InvalidGrant("the record holds nothing any more of what was granted")
        return [one for one in granted if one in left]

    try:
        family, successor = await refresh_flow.rotate(
            world, origin, text, client.id, client.refresh_idle_seconds, held
        )
    except InvalidRefreshToken as fault:
        raise InvalidGrant(fault.private) from None
    async with world.db.connection() as connection:
        known = await _known(connection, family["person_id"])
    asked = claims.for_id_token(known, json.loads(family["claims"]), client.scopes)
    grant = refresh_flow.grant_of(family, " ".join(held(family)))
    return _issued(grant, tokens.sign(world, grant, client, asked=asked), successor)


async def _as_itself(world: World, origin: Origin, client: Client, parameters: Mapping[str, str]) -> Issued:
    """RFC 6749 §4.4: a machine acts as itself. There is no session, no refresh token and no person."""
    wanted = parameters.get("scope", "").split()
    own = machine_scopes(client)
    if not set(wanted) <= set(own):
        raise InvalidScope("beyond the client's scopes, or about a person")
    now, issuer = world.clock.now(), world.settings.issuer
    life = client.access_seconds or world.settings.tokens.access_seconds
    scope = " ".join(one for one in own if not wanted or one in wanted)
    access = world.keyring.sign(
        {
            "iss": issuer,
            # Without a person the subject is the client (RFC 9068 §5), kept apart from theirs by its form.
            "sub": f"machine:{client.id}",
            "aud": client.audience or client.id,
            "iat": int(now.timestamp()),
            "exp": int(now.timestamp()) + life,
            "client_id": client.id,
            "scope": scope,
            "jti": world.entropy.token(16).hex(),
        },
        "at+jwt",
        now,
        client.access_token_signing_alg,
    )
    async with world.db.connection() as connection:
        await audit.record(
            world, connection, "client:credentials", "ok", origin, client=client.id, scope=scope
        )
    return Issued(access, life, scope)


#: The grants, by the name they have in `grant_type`.
GRANTS: Mapping[str, Exchange] = {
    "authorization_code": _by_code,
    "refresh_token": _by_refresh,
    "client_credentials": _as_itself,
}


async def _bought(
    world: World,
    tx: Connection,
    origin: Origin,
    client: Client,
    code: Record,
    family: Family,
    first: RefreshToken,
) -> Issued:
    """What a code is worth. A refresh token is given where the record has that grant, and the client is ours
    or the person allowed it to act while they are away."""
    await audit.record(
        world,
        tx,
        "client:code_exchange",
        "ok",
        origin,
        person=code["person_id"],
        client=client.id,
        session=code["session_id"],
        grant=family.id,
    )
    known = await _known(tx, code["person_id"])
    asked = claims.for_id_token(known, family.claims, client.scopes)
    grant = Grant(
        code["session_id"],
        family.id,
        code["sub"],
        client.id,
        session_rules.narrowed(code["scope"], code["roles"], code["amr"]),
        code["amr"],
        code["auth_time"],
        family.absolute_at if family.offline else min(code["absolute_at"], family.absolute_at),
    )
    signed = tokens.sign(world, grant, client, asked=asked, nonce=code["nonce"])
    may_refresh = "refresh_token" in client.grant_types and (client.first_party or family.offline)
    return _issued(grant, signed, first if may_refresh else None)


def _issued(grant: Grant, signed: Signed, refresh_token: RefreshToken | None) -> Issued:
    return Issued(
        signed.access_token,
        signed.expires_in,
        grant.scope,
        # A client that asked for less than `openid` wants none (OpenID Connect Core §12.2).
        signed.id_token if "openid" in grant.scope.split() else None,
        str(refresh_token) if refresh_token else None,
    )


async def _known(tx: Connection, person: UUID) -> Known:
    found = await account_store.known(tx, person)
    if found is None:
        raise InvalidGrant("the person is gone")
    return found


async def _reused(world: World, tx: Connection, origin: Origin, client: Client, code: Record) -> None:
    await account_store.hold(tx, code["person_id"])
    now = world.clock.now()
    if code["family_id"] and await session_store.end_family(tx, code["family_id"], EndReason.CODE_REUSE, now):
        await audit.record(
            world,
            tx,
            "client:code_exchange",
            "refused",
            origin,
            person=code["person_id"],
            client=client.id,
            session=code["session_id"],
            grant=code["family_id"],
            reason=EndReason.CODE_REUSE,
        )


def _over(code: Record) -> bool:
    return bool(code["ended_at"] or code["disabled_at"] or code["epoch"] != code["person_epoch"])
