"""Clients and the digests of their secrets."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from service import crypto
from service.domain.oidc.clients import Client, is_id
from service.domain.oidc.logos import Logo
from service.stores.postgres import Connection, queries

_sql = queries("clients")

#: Columns that hold a field as it is, and those that hold a list.
_PLAIN = (
    "id",
    "name",
    "token_endpoint_auth_method",
    "backchannel_logout_uri",
    "backchannel_logout_session_required",
    "first_party",
    "require_pkce",
    "id_token_signed_response_alg",
    "access_token_signing_alg",
    "audience",
    "access_seconds",
    "refresh_idle_seconds",
    "refresh_absolute_seconds",
    "client_uri",
    "policy_uri",
    "tos_uri",
    "brand_color",
)
_LISTS = ("redirect_uris", "post_logout_redirect_uris", "grant_types", "scopes", "cors_origins")


@dataclass(frozen=True, slots=True)
class Secret:
    """What is kept of a secret that lives. One that was replaced has an end."""

    digest: bytes
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Registered:
    """A client with its living secrets, oldest first."""

    client: Client
    secrets: Sequence[Secret]
    created_at: datetime

    def knows(self, secret: str) -> bool:
        """Whether `secret` is one of the client's. All are compared, so that the time tells nothing."""
        digest = crypto.sha256(secret)
        return sum(crypto.same(digest, one.digest) for one in self.secrets) > 0


def _client(row: Record) -> Client:
    fields: dict[str, Any] = {name: row[name] for name in _PLAIN} | {
        name: tuple(row[name]) for name in _LISTS
    }
    return Client(
        **fields,
        jwks=row["jwks"] and json.loads(row["jwks"]),
        logo=Logo(row["logo_type"], row["logo_digest"]) if row["logo_type"] else None,
        disabled=row["disabled_at"] is not None,
    )


async def by_id(tx: Connection, client: str, now: datetime) -> Registered | None:
    row = await _sql.client(tx, client=client, now=now)
    if row is None:
        return None
    secrets = [Secret(*one) for one in zip(row["digests"], row["births"], row["ends"], strict=True)]
    return Registered(_client(row), secrets, row["created_at"])


async def serving(tx: Connection, client: str, now: datetime) -> Registered | None:
    """A client that may use its doors: one that is there and not disabled."""
    found = await by_id(tx, client, now) if is_id(client) else None
    return None if found is None or found.client.disabled else found


async def page(tx: Connection, after: str, limit: int) -> Sequence[Client]:
    """Clients by id, `limit` of them from the one after `after`."""
    return [_client(row) async for row in _sql.clients(tx, after=after, limit=limit)]


async def logo(tx: Connection, client: str) -> Logo | None:
    """The picture of a living client, with its bytes."""
    row = await _sql.logo(tx, client=client)
    return row and Logo(row["logo_type"], row["logo_digest"], row["logo"])


async def allows_origin(tx: Connection, origin: str, client: str | None) -> bool:
    """Whether a living client names this origin as its own: `client`, or any if it is None."""
    return bool(await _sql.origin_allowed(tx, origin=origin, client=client))


async def lock(tx: Connection) -> None:
    """Hold the registry for this transaction: whoever else changes it waits."""
    await _sql.lock_clients(tx)


async def put(tx: Connection, client: Client, now: datetime, *, replace: bool) -> bool:
    """Keep a client; False, and nothing changed, when there is one of its id and it may not `replace` it. A
    picture without its bytes is the one that is there."""
    values = asdict(client)
    row = await _sql.put_client(
        tx,
        **{name: values[name] for name in _PLAIN if name != "name"},
        **{name: list(values[name]) for name in _LISTS},
        display_name=client.name,
        jwks=client.jwks and json.dumps(client.jwks),
        logo_type=client.logo and client.logo.media_type,
        logo_digest=client.logo and client.logo.digest,
        logo=client.logo and client.logo.content,
        disabled=client.disabled,
        replace=replace,
        now=now,
    )
    return row is not None


async def disable(tx: Connection, client: str, now: datetime) -> None:
    """Close every door to a client."""
    await _sql.disable_client(tx, client=client, now=now)


async def enable(tx: Connection, client: str) -> None:
    await _sql.enable_client(tx, client=client)


async def add_secret(tx: Connection, id: UUID, client: str, secret: str, now: datetime) -> None:
    """Keep the digest of a secret that has no end yet."""
    await _sql.add_secret(tx, id=id, client=client, digest=crypto.sha256(secret), now=now)


async def expire_secrets(tx: Connection, client: str, at: datetime) -> None:
    """Let every secret that the client has now end at `at`, or when it was to end before."""
    await _sql.expire_secrets(tx, client=client, at=at)


async def spend_assertion(tx: Connection, client: str, digest: bytes, expires_at: datetime) -> bool:
    """Remember the digest of an assertion's `jti` until it ends; False when it was used before."""
    row = await _sql.spend_assertion(tx, client=client, digest=digest, expires_at=expires_at)
    return row is not None


async def sweep(tx: Connection, before: datetime, most: int) -> int:
    """Delete assertions that ended before, at most so many; how many."""
    return len([row async for row in _sql.sweep_assertions(tx, before=before, most=most)])
