"""The tokens of a session: what they are made of, and how each kind is made."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from service import crypto
from service.domain import sessions as rules
from service.domain.oidc.clients import Client
from service.domain.sessions import DeviceToken, RefreshToken
from service.keyring import Alg, BadToken, Kind, b64url
from service.stores.accounts import Person
from service.stores.sessions import Family
from service.world import World


@dataclass(frozen=True, slots=True)
class Grant:
    """What a client holds in a session that stands in Postgres. `scope` is what the person's roles and the
    session's proofs leave of it."""

    session: UUID
    family: UUID
    sub: UUID
    client: str
    scope: str
    amr: Sequence[str]
    auth_time: datetime
    absolute_at: datetime


@dataclass(frozen=True, slots=True)
class Signed:
    """A grant's access token and ID token. `expires_in` is in seconds."""

    access_token: str
    id_token: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class Tokens(Signed):
    """All the tokens of a session."""

    refresh_token: str
    session: UUID


def sign(
    world: World,
    grant: Grant,
    record: Client | None = None,
    *,
    asked: Mapping[str, Any] | None = None,
    nonce: str | None = None,
) -> Signed:
    """Sign the access token (RFC 9068 §2.2) and the ID token (OpenID Connect Core §2), as the client's record
    says: our own pages and frontend have none. `asked` are the claims about the person for the ID token."""
    now, issuer, seconds = world.clock.now(), world.settings.issuer, world.settings.tokens.access_seconds
    audience: str | list[str] = issuer
    access_alg: Alg = "ES256"
    id_alg: Alg = "ES256"
    if record is not None:
        seconds = record.access_seconds or seconds
        audience = [issuer, record.audience] if record.audience else issuer
        access_alg, id_alg = record.access_token_signing_alg, record.id_token_signed_response_alg
    # Never beyond the session: others check a token by its `exp` alone.
    life = min(seconds, int((grant.absolute_at - now).total_seconds()))
    shared = {
        "iss": issuer,
        "sub": str(grant.sub),
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + life,
        "sid": str(grant.session),
        "auth_time": int(grant.auth_time.timestamp()),
        "amr": list(grant.amr),
        "acr": rules.acr(grant.amr),
    }
    access = world.keyring.sign(
        shared
        | {
            "aud": audience,
            "client_id": grant.client,
            "scope": grant.scope,
            "grant": str(grant.family),
            "jti": world.entropy.token(16).hex(),
        },
        "at+jwt",
        now,
        access_alg,
    )
    told = {"aud": grant.client, "azp": grant.client, "at_hash": _at_hash(access, id_alg)}
    if nonce is not None:
        told["nonce"] = nonce
    identity = world.keyring.sign({**(asked or {}), **shared, **told}, "JWT", now, id_alg)
    return Signed(access, identity, life)


def new_family(
    world: World,
    session: UUID,
    person: UUID,
    client: str,
    scope: str,
    record: Client | None = None,
    claims: Mapping[str, Any] | None = None,
) -> tuple[Family, RefreshToken]:
    """What a client is about to get in a session, and its first refresh token. Lives are the record's, or
    the service's own."""
    now, life, salt = world.clock.now(), world.settings.tokens, world.entropy.token(16)
    key, new = world.active(Kind.TOKEN), world.row_id()
    idle = (record and record.refresh_idle_seconds) or life.refresh_idle_seconds
    absolute = (record and record.refresh_absolute_seconds) or life.refresh_absolute_seconds
    family = Family(
        new,
        session,
        person,
        client,
        scope,
        claims or {},
        "offline_access" in scope.split(),
        salt,
        key.id,
        now + timedelta(seconds=min(idle, absolute)),
        now + timedelta(seconds=absolute),
    )
    return family, refresh_token(key.material, new, 0, salt)


def mint(world: World, grant: Grant, successor: RefreshToken) -> Tokens:
    """What a frontend of ours is given."""
    signed = sign(world, grant)
    return Tokens(signed.access_token, signed.id_token, signed.expires_in, str(successor), grant.session)


def _at_hash(access_token: str, alg: Alg) -> str:
    """The left half of the hash that goes with the algorithm (OpenID Connect Core §3.1.3.6)."""
    digest = (hashlib.sha512 if alg == "Ed25519" else hashlib.sha256)(access_token.encode()).digest()
    return b64url(digest[: len(digest) // 2])


def refresh_token(key: bytes, family: UUID, generation: int, salt: bytes) -> RefreshToken:
    """The token of a generation: computed, never kept, so that a dump of the database holds none."""
    token = RefreshToken(family, generation, b"")
    return RefreshToken(family, generation, crypto.digest(key, "refresh", token.signed + salt))


def read_id_token(world: World, text: str) -> Mapping[str, Any]:
    """The claims of an ID token of ours that somebody hands back as a hint: it may have expired (OpenID
    Connect Core §3.1.2.1, RP-Initiated Logout §2). Raises BadToken."""
    # A person's address, asked into it, may make it longer than other tokens.
    claims = world.keyring.verify(text, "JWT", 8192)
    if claims.get("iss") != world.settings.issuer:
        raise BadToken("an ID token of another issuer")
    return claims


def device_token(world: World, person: UUID, epoch: int) -> str:
    """A token by which this browser is known later: strangers have another budget of failures."""
    token = DeviceToken(person, epoch, int(world.clock.now().timestamp()), b"")
    mac = crypto.digest(world.active(Kind.TOKEN).material, "device", token.signed)
    return str(DeviceToken(person, epoch, token.issued_at, mac))


def is_known_device(world: World, person: Person, text: str | None) -> bool:
    """Whether a text is a device token of this person that still counts."""
    token = rules.parse_device(text) if text else None
    if token is None or (token.person, token.epoch) != (person.id, person.epoch):
        return False
    genuine = any(
        crypto.same(token.mac, crypto.digest(key.material, "device", token.signed))
        for key in world.keyring.all(Kind.TOKEN)
    )
    age = world.clock.now().timestamp() - token.issued_at
    return genuine and age < world.settings.tokens.device_seconds
