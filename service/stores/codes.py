"""Authorization requests under way, the codes that answer them, and what people allowed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from service.domain.oidc.progress import Decision
from service.stores.postgres import Connection, queries

_sql = queries("codes")


@dataclass(frozen=True, slots=True)
class Underway:
    """A request that waits for somebody to sign in."""

    client_id: str
    redirect_uri: str
    parameters: Mapping[str, Sequence[str]]
    created_at: datetime
    expires_at: datetime
    answered: bool
    #: The sessions in which the person said something to it.
    chosen_by: UUID | None
    allowed_by: UUID | None
    denied_by: UUID | None


async def open(  # noqa: A001 - read as code_store.open
    tx: Connection,
    *,
    digest: bytes,
    browser: bytes,
    client: str,
    redirect_uri: str,
    parameters: Mapping[str, Sequence[str]],
    now: datetime,
    expires_at: datetime,
) -> None:
    """Keep a request by the digests of its handle and of the browser that began it."""
    await _sql.open_request(
        tx,
        digest=digest,
        browser=browser,
        client=client,
        redirect_uri=redirect_uri,
        parameters=json.dumps(parameters),
        now=now,
        expires_at=expires_at,
    )


async def underway(tx: Connection, digest: bytes, browser: bytes) -> Underway | None:
    row = await _sql.request(tx, digest=digest, browser=browser)
    return row and Underway(
        client_id=row["client_id"],
        redirect_uri=row["redirect_uri"],
        parameters=json.loads(row["parameters"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        answered=row["answered_at"] is not None,
        chosen_by=row["chosen_by"],
        allowed_by=row["allowed_by"],
        denied_by=row["denied_by"],
    )


async def decide(tx: Connection, digest: bytes, browser: bytes, session: UUID, decision: Decision) -> bool:
    """Write down what a person says to a request that waits for it; False where it was answered already."""
    row = await _sql.decide(tx, digest=digest, browser=browser, session=session, decision=decision)
    return row is not None


async def answer(tx: Connection, digest: bytes, browser: bytes, now: datetime) -> bool:
    """Claim the one answer of a request; False when another tab was faster, or it has expired."""
    return await _sql.answer_request(tx, digest=digest, browser=browser, now=now) is not None


async def add(
    tx: Connection,
    *,
    digest: bytes,
    client: str,
    redirect_uri: str,
    session: UUID,
    person: UUID,
    scope: str,
    nonce: str | None,
    code_challenge: str | None,
    claims: Mapping[str, Any],
    now: datetime,
    expires_at: datetime,
) -> None:
    """Keep a new code by its digest."""
    await _sql.add_code(
        tx,
        digest=digest,
        client=client,
        redirect_uri=redirect_uri,
        session=session,
        person=person,
        scope=scope,
        nonce=nonce,
        code_challenge=code_challenge,
        claims=json.dumps(claims),
        now=now,
        expires_at=expires_at,
    )


async def find(tx: Connection, digest: bytes) -> Record | None:
    """A code with its session and person, whatever their state."""
    row: Record | None = await _sql.code(tx, digest=digest)
    return row


async def spend(tx: Connection, digest: bytes, family: UUID, now: datetime) -> bool:
    """Claim a code, and write down the grant it buys; False when it was spent, or has expired."""
    return await _sql.spend_code(tx, digest=digest, family=family, now=now) is not None


async def consented(tx: Connection, person: UUID, client: str) -> Sequence[str]:
    """The scopes that a person has allowed a client."""
    return await _sql.consent(tx, person=person, client=client) or []


async def consent(tx: Connection, person: UUID, client: str, scopes: Sequence[str], now: datetime) -> None:
    """Remember that a person allowed a client these scopes, beside those allowed before."""
    await _sql.grant_consent(tx, person=person, client=client, scopes=list(scopes), now=now)


async def revoke(tx: Connection, person: UUID, client: str, now: datetime) -> None:
    """Forget what a person allowed a client, and void its codes that were not redeemed yet."""
    await _sql.void_codes(tx, person=person, client=client, now=now)
    await _sql.revoke_consent(tx, person=person, client=client)


async def consents(tx: Connection, person: UUID, now: datetime) -> Sequence[Record]:
    """What clients may do by the person's word or while they are away, the latest first: the client's id and
    name, the scopes, and since when."""
    return [row async for row in _sql.consents(tx, person=person, now=now)]


async def push(
    tx: Connection,
    *,
    digest: bytes,
    client: str,
    parameters: Mapping[str, Sequence[str]],
    now: datetime,
    expires_at: datetime,
) -> None:
    """Keep a pushed request by the digest of its handle."""
    await _sql.push_request(
        tx, digest=digest, client=client, parameters=json.dumps(parameters), now=now, expires_at=expires_at
    )


async def pull(
    tx: Connection, digest: bytes, client: str, now: datetime
) -> Mapping[str, Sequence[str]] | None:
    """Claim a pushed request, once; None when there is none of this client, or it was used or has expired."""
    text = await _sql.pull_request(tx, digest=digest, client=client, now=now)
    return json.loads(text) if text else None


async def sweep(tx: Connection, before: datetime, most: int) -> int:
    """Delete requests and pushed requests that ended before, at most so many of each; how many."""
    swept = 0
    for query in (_sql.sweep_requests, _sql.sweep_pushed):
        swept += len([row async for row in query(tx, before=before, most=most)])
    return swept


async def sweep_codes(tx: Connection, before: datetime, most: int) -> int:
    """Delete codes that ended before, at most so many; how many."""
    return len([row async for row in _sql.sweep_codes(tx, before=before, most=most)])
