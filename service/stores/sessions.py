"""Sessions and refresh families."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from service.domain.sessions import OUTLIVED_BY_OFFLINE, EndReason
from service.domain.sign_in import Origin
from service.stores.postgres import Connection, queries

_sql = queries("sessions")


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it begins. `trusted` is the browser that stands in for the second factor, if one does."""

    id: UUID
    person: UUID
    epoch: int
    amr: Sequence[str]
    auth_time: datetime
    client: str
    trusted: UUID | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """A refresh family as it begins, of generation 0. `claims` is what its client asked for by name;
    one that is `offline` outlives its session's logout."""

    id: UUID
    session: UUID
    person: UUID
    client: str
    scope: str
    claims: Mapping[str, Any]
    offline: bool
    salt: bytes
    key_id: str
    idle_at: datetime
    absolute_at: datetime


async def open(  # noqa: A001 - read as session_store.open
    tx: Connection, session: Session, family: Family, origin: Origin, now: datetime
) -> None:
    """Insert a session that lives by its refresh family, and the family."""
    await _sql.open_session(
        tx,
        **_columns(session, origin, now),
        family=family.id,
        scope=family.scope,
        salt=family.salt,
        key_id=family.key_id,
        idle_at=family.idle_at,
        absolute_at=family.absolute_at,
    )


async def open_in_browser(
    tx: Connection,
    session: Session,
    cookie: bytes,
    origin: Origin,
    now: datetime,
    *,
    idle_at: datetime,
    absolute_at: datetime,
) -> None:
    """Insert a session that lives by its cookie, whose SHA-256 is `cookie`."""
    await _sql.open_browser_session(
        tx,
        **_columns(session, origin, now),
        trusted=session.trusted,
        cookie=cookie,
        idle_at=idle_at,
        absolute_at=absolute_at,
    )


def _columns(session: Session, origin: Origin, now: datetime) -> dict[str, Any]:
    return {
        "session": session.id,
        "person": session.person,
        "epoch": session.epoch,
        "amr": list(session.amr),
        "auth_time": session.auth_time,
        "client": session.client,
        "address": origin.address,
        "browser": origin.browser,
        "place": origin.place,
        "now": now,
    }


async def add_family(tx: Connection, family: Family, origin: Origin, now: datetime) -> None:
    """Insert what a client got in a session that stands."""
    await _sql.add_family(
        tx,
        family=family.id,
        session=family.session,
        person=family.person,
        client=family.client,
        scope=family.scope,
        claims=json.dumps(family.claims),
        offline=family.offline,
        salt=family.salt,
        key_id=family.key_id,
        address=origin.address,
        browser=origin.browser,
        now=now,
        idle_at=family.idle_at,
        absolute_at=family.absolute_at,
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


async def portals(tx: Connection, person: UUID, sessions: Sequence[UUID], now: datetime) -> Sequence[Record]:
    """The registered clients that hold something in these sessions of a person, by name: the session, the
    client's id and name, the scopes, and since when."""
    found = _sql.portals_of_sessions(tx, person=person, sessions=list(sessions), now=now)
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
    """End one session and its families, and owe its clients word of it; False when it had ended already."""
    ended = await _sql.end_session(tx, session=session, person=person, reason=reason, now=now)
    await _sql.end_families_of_session(
        tx, session=session, reason=reason, now=now, offline_stays=reason in OUTLIVED_BY_OFFLINE
    )
    if ended is not None:
        await _sql.owe_logouts(tx, sessions=[session], now=now)
    return ended is not None


async def expire(tx: Connection, person: UUID, now: datetime) -> Sequence[Record]:
    """Write down the end of every session of a person that outlived a life, and owe their clients word of
    it; those sessions."""
    ended = [row async for row in _sql.expire_sessions(tx, person=person, now=now)]
    if ended:
        await _sql.owe_logouts(tx, sessions=[row["id"] for row in ended], now=now)
    return ended


async def outlived(tx: Connection, now: datetime, most: int) -> Sequence[UUID]:
    """People of whom a browser's session outlived a life, found by at most so many sessions."""
    return [row["person_id"] async for row in _sql.outlived(tx, now=now, most=most)]


async def end_all(
    tx: Connection, person: UUID, reason: EndReason, now: datetime, *, kept: UUID | None = None
) -> int:
    """End every session and family of a person but the acting session and its families that are not offline,
    and owe their clients word of it; how many sessions."""
    ended = [row async for row in _sql.end_sessions(tx, person=person, kept=kept, reason=reason, now=now)]
    await _sql.end_families(tx, person=person, kept=kept, reason=reason, now=now)
    if ended:
        await _sql.owe_logouts(tx, sessions=[row["id"] for row in ended], now=now)
    return len(ended)


async def end_grants(tx: Connection, person: UUID, client: str, reason: EndReason, now: datetime) -> int:
    """End whatever one client holds of a person; how many grants."""
    found = _sql.end_grants(tx, person=person, client=client, reason=reason, now=now)
    return len([row async for row in found])


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
