"""Trusted browsers: made, used, ended, listed."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from service.domain.sign_in import Origin
from service.stores.postgres import Connection, queries

_sql = queries("trust")


async def add(
    tx: Connection,
    *,
    id: UUID,
    person: UUID,
    digest: bytes,
    epoch: int,
    session: UUID,
    origin: Origin,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Keep a browser that `session` made a trusted one, by the digest of its token."""
    await _sql.add_trust(
        tx,
        id=id,
        person=person,
        digest=digest,
        epoch=epoch,
        session=session,
        address=origin.address,
        browser=origin.browser,
        place=origin.place,
        now=now,
        expires_at=expires_at,
    )


async def use(
    tx: Connection,
    id: UUID,
    person: UUID,
    digest: bytes,
    successor: bytes,
    *,
    epoch: int,
    origin: Origin,
    most: int,
    now: datetime,
) -> datetime | None:
    """Claim a living token of this very person and put its successor in its place: until when the browser is
    trusted, or None. `most` is the longest trust that is allowed now, seconds."""
    until: datetime | None = await _sql.use_trust(
        tx,
        id=id,
        person=person,
        digest=digest,
        successor=successor,
        epoch=epoch,
        address=origin.address,
        most=most,
        now=now,
    )
    return until


async def end_copied(
    tx: Connection,
    id: UUID,
    person: UUID,
    digest: bytes,
    *,
    epoch: int,
    most: int,
    straggler: datetime,
    now: datetime,
) -> Sequence[UUID]:
    """End a living trust whose token was used before `straggler` and replaced then; its id, or nothing."""
    found = _sql.end_copied_trust(
        tx, id=id, person=person, digest=digest, epoch=epoch, most=most, straggler=straggler, now=now
    )
    return [row["id"] async for row in found]


async def end(
    tx: Connection, person: UUID, reason: str, now: datetime, *, browser: UUID | None = None
) -> Sequence[UUID]:
    """End one trusted browser of a person, or with None all of them; those that had not ended."""
    return [row["id"] async for row in _sql.end_trust(tx, person=person, id=browser, reason=reason, now=now)]


async def end_of_session(
    tx: Connection, person: UUID, session: UUID, reason: str, now: datetime
) -> Sequence[UUID]:
    """End the trust that a session made or stands on."""
    found = _sql.end_trust_of_session(tx, person=person, session=session, reason=reason, now=now)
    return [row["id"] async for row in found]


async def end_oldest(
    tx: Connection, person: UUID, reason: str, now: datetime, *, kept: int
) -> Sequence[UUID]:
    """End all but the newest."""
    found = _sql.end_oldest_trust(tx, person=person, reason=reason, kept=kept, now=now)
    return [row["id"] async for row in found]


async def sessions_on(
    tx: Connection, person: UUID, browsers: Sequence[UUID], *, kept: UUID | None
) -> Sequence[UUID]:
    """The living sessions, but `kept`, that stand on a password and one of these browsers alone."""
    found = _sql.sessions_on_trust(tx, person=person, browsers=list(browsers), kept=kept)
    return [row["id"] async for row in found]


async def of_person(tx: Connection, person: UUID, most: int, now: datetime) -> Sequence[Record]:
    """The browsers that a person trusts now, the latest used first."""
    return [row async for row in _sql.trusted_browsers(tx, person=person, most=most, now=now)]


async def owner(tx: Connection, browser: UUID) -> UUID | None:
    """Whose trusted browser it is or was."""
    person: UUID | None = await _sql.person_of_trust(tx, id=browser)
    return person


async def sweep(tx: Connection, before: datetime, most: int) -> int:
    """Delete those whose time was over before, at most so many; how many."""
    return len([row async for row in _sql.sweep_trust(tx, before=before, most=most)])
