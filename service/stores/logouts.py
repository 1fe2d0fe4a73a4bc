"""Logouts that portals are owed word of (OpenID Connect Back-Channel Logout 1.0)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from service.domain.oidc.clients import IdTokenAlg
from service.outgoing import Word
from service.stores.postgres import Connection, queries

_sql = queries("logouts")

#: Why a portal did not take word of a logout.
Failure: TypeAlias = (
    Word | Literal["client_disabled", "no_address", "refused", "redirected", "wrong_status", "internal"]
)


@dataclass(frozen=True, slots=True)
class Notice:
    """One that was taken, with what its token is made of. `attempts` counts the present one."""

    session: UUID
    client: str
    attempts: int
    created_at: datetime
    person: UUID
    sub: UUID
    uri: str | None
    alg: IdTokenAlg
    disabled: bool


async def take(
    tx: Connection, now: datetime, until: datetime, *, most: int, of_one: int, busy: Collection[str]
) -> Sequence[Notice]:
    """Lease notices that are due until `until`: `most` in all, `of_one` of each client that is not `busy`.
    No two callers get the same one while its lease lasts."""
    found = _sql.take(tx, now=now, until=until, most=most, of_one=of_one, busy=list(busy))
    return [Notice(*row.values()) async for row in found]


async def finish(tx: Connection, notice: Notice, now: datetime, failure: Failure | None = None) -> bool:
    """Close a notice: taken by the client, or given up for `failure`. False where it was closed already."""
    row = await _sql.finish(tx, session=notice.session, client=notice.client, now=now, failure=failure)
    return row is not None


async def put_off(tx: Connection, notice: Notice, next_at: datetime) -> bool:
    """Let a notice be due again at `next_at`. False where its lease ran out and another has it."""
    row = await _sql.put_off(
        tx, session=notice.session, client=notice.client, attempts=notice.attempts, next_at=next_at
    )
    return row is not None


async def sweep(tx: Connection, before: datetime, most: int) -> int:
    """Delete notices that were done before, at most so many; how many."""
    return len([row async for row in _sql.sweep(tx, before=before, most=most)])
