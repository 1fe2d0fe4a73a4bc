"""Sessions and refresh families."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from service.domain.sessions import EndReason
from service.domain.sign_in import Origin
from service.stores.postgres import Connection, queries

_sql = queries("sessions")


async def open(  # noqa: A001 - read as session_store.open
    tx: Connection,
    *,
    session: UUID,
    family: UUID,
    person: UUID,
    epoch: int,
    amr: Sequence[str],
    auth_time: datetime,
    client: str,
    scope: str,
    salt: bytes,
    key_id: str,
    origin: Origin,
    now: datetime,
    idle_at: datetime,
    absolute_at: datetime,
) -> None:
    """Insert a session and its refresh family of generation 0."""
    await _sql.open_session(
        tx,
        session=session,
        family=family,
        person=person,
        epoch=epoch,
        amr=list(amr),
        auth_time=auth_time,
        client=client,
        scope=scope,
        salt=salt,
        key_id=key_id,
        address=origin.address,
        browser=origin.browser,
        place=origin.place,
        now=now,
        idle_at=idle_at,
        absolute_at=absolute_at,
    )


async def open_in_browser(
    tx: Connection,
    *,
    session: UUID,
    person: UUID,
    epoch: int,
    amr: Sequence[str],
    auth_time: datetime,
    client: str,
    cookie: bytes,
    origin: Origin,
    now: datetime,
    idle_at: datetime,
    absolute_at: datetime,
) -> None:
    """Insert a session that lives by its cookie, whose SHA-256 is `cookie`."""
    await _sql.open_browser_session(
        tx,
        session=session,
        person=person,
        epoch=epoch,
        amr=list(amr),
        auth_time=auth_time,
        client=client,
        cookie=cookie,
        address=origin.address,
        browser=origin.browser,
        place=origin.place,
        now=now,
        idle_at=idle_at,
        absolute_at=absolute_at,
    )


async def add_family(
    tx: Connection,
    *,
    family: UUID,
    session: UUID,
    person: UUID,
    client: str,
    scope: str,
    claims: str,
    salt: bytes,
    key_id: str,
    origin: Origin,
    now: datetime,
    idle_at: datetime,
    absolute_at: datetime,
) -> None:
    """Insert what a client got in a session that stands, as generation 0. `claims` is JSON."""
    await _sql.add_family(
        tx,
        family=family,
        session=session,
        person=person,
        client=client,
        scope=scope,
        claims=claims,
        salt=salt,
        key_id=key_id,
        address=origin.address,
        browser=origin.browser,
        now=now,
        idle_at=idle_at,
        absolute_at=absolute_at,
    )


async def end_family(tx: Connection, family: UUID, reason: EndReason, now: datetime) -> bool:
    """End one grant; False when it had ended already."""
    return await _sql.end_family(tx, family=family, reason=reason, now=now) is not None


async def browser(tx: Connection, cookie: bytes) -> Record | None:
    """The session behind a cookie with the person's present state, whatever its own."""
    row: Record | None = await _sql.browser(tx, cookie=cookie)
    return row


async def see(tx: Connection, session: UUID, origin: Origin, idle_at: datetime, now: datetime) -> None:
    """Write down that a browser's session was used just now."""
    await _sql.see_session(tx, session=session, address=origin.address, idle_at=idle_at, now=now)


async def living(tx: Connection, session: UUID) -> int | None:
    """Hold a session that has not ended; its epoch."""
    epoch: int | None = await _sql.living_session(tx, session=session)
    return epoch


async def of_person(
    tx: Connection, person: UUID, *, ended: bool | None, before: UUID | None, limit: int, now: datetime
) -> Sequence[Record]:
    """A person's sessions, newest first: living ones, ended ones, or with None both."""
    found = _sql.sessions_of_person(tx, person=person, ended=ended, before=before, limit=limit, now=now)
    return [row async for row in found]


async def owner(tx: Connection, session: UUID) -> UUID | None:
    """Whose session it is, living or ended."""
    person: UUID | None = await _sql.person_of_session(tx, session=session)
    return person


async def family(tx: Connection, family: UUID) -> Record | None:
    """A family with its session and person, whatever their state."""
    row: Record | None = await _sql.family(tx, family=family)
    return row


async def rotate(
    tx: Connection, family: UUID, presented: int, idle_at: datetime, origin: Origin, now: datetime
) -> bool:
    """Supersede the presented generation; False when another did, or something above has ended."""
    row = await _sql.rotate_family(
        tx,
        family=family,
        presented=presented,
        idle_at=idle_at,
        address=origin.address,
        browser=origin.browser,
        now=now,
    )
    return row is not None


async def bearer(tx: Connection, session: UUID, family: UUID) -> Record | None:
    """The session and the grant behind an access token, with the person's present state."""
    row: Record | None = await _sql.bearer(tx, session=session, family=family)
    return row


async def end(tx: Connection, person: UUID, session: UUID, reason: EndReason, now: datetime) -> bool:
    """End one session and its families; False when it had ended already."""
    ended = await _sql.end_session(tx, session=session, person=person, reason=reason, now=now)
    await _sql.end_families_of_session(tx, session=session, reason=reason, now=now)
    return ended is not None


async def expire(tx: Connection, person: UUID, now: datetime) -> Sequence[Record]:
    """Write down the end of every session of a person that outlived a life; those sessions."""
    return [row async for row in _sql.expire_sessions(tx, person=person, now=now)]


async def end_all(
    tx: Connection, person: UUID, reason: EndReason, now: datetime, *, kept: UUID | None = None
) -> int:
    """End every session and family of a person but the acting session's; how many sessions."""
    ended = [row async for row in _sql.end_sessions(tx, person=person, kept=kept, reason=reason, now=now)]
    await _sql.end_families(tx, person=person, kept=kept, reason=reason, now=now)
    return len(ended)


async def renew(
    tx: Connection,
    session: UUID,
    *,
    auth_time: datetime,
    amr: Sequence[str],
    epoch: int,
    cookie: bytes | None,
) -> bool:
    """Write down a new proof or epoch, and the digest of a new cookie where there is one; False when the
    session has ended meanwhile."""
    row = await _sql.renew_session(
        tx, session=session, auth_time=auth_time, amr=list(amr), epoch=epoch, cookie=cookie
    )
    return row is not None


async def families_under(tx: Connection, key_id: str, now: datetime) -> int:
    """How many living refresh families were born under a token key."""
    count: int = await _sql.families_under(tx, key_id=key_id, now=now)
    return count
