"""Where a person is, and was, signed in, and their tries at it. The other flows call this one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from service.domain.sessions import EndReason
from service.stores import audit as audit_store
from service.stores import sessions as session_store
from service.world import World

Result: TypeAlias = Literal["ok", "failed", "refused"]
#: The events that tell of a sign-in, by what came of it. A right password alone is none: what it led to is.
_EVENTS: Mapping[Result, Sequence[str]] = {
    "ok": ("session:start:ok",),
    "failed": ("account:sign_in:failed", "account:second_factor:failed"),
    "refused": ("account:sign_in:refused", "account:second_factor:refused"),
}


@dataclass(frozen=True, slots=True)
class SignIn:
    """One sign-in, or a try at one. `method` is what completed it, or failed."""

    id: UUID
    at: datetime
    result: Result
    method: str | None
    session: UUID | None
    address: str | None
    browser: str | None
    place: str | None


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its person sees it. `seen_at` is its last use, from `seen_address`."""

    id: UUID
    current: bool
    client: str
    in_browser: bool
    two_factors: bool
    address: str
    browser: str
    place: str | None
    created_at: datetime
    seen_at: datetime
    seen_address: str
    ended_at: datetime | None
    reason: EndReason | None


async def sign_ins(
    world: World,
    person: UUID,
    *,
    result: Result | None = None,
    before: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    address: str | None = None,
    limit: int,
) -> Sequence[SignIn]:
    """A person's sign-ins and tries, newest first, filtered by result, time (until is exclusive) and
    address."""
    names = _EVENTS[result] if result else [name for names in _EVENTS.values() for name in names]
    async with world.db.connection() as connection:
        rows = await audit_store.sign_ins(
            connection,
            person,
            names,
            before=before,
            since=since,
            until=until,
            address=address,
            limit=limit,
        )
    return [
        SignIn(
            id=row["id"],
            at=row["at"],
            result=row["result"],
            method=row["method"],
            session=row["session_id"],
            address=row["address"] and str(row["address"]),
            browser=row["browser"],
            place=row["place"],
        )
        for row in rows
    ]


async def sessions(
    world: World, person: UUID, *, current: UUID, ended: bool | None, before: UUID | None, limit: int
) -> Sequence[Session]:
    """A person's sessions, newest first: living ones, ended ones, or with None both. `current` is the one
    that asks."""
    now = world.clock.now()
    async with world.db.connection() as connection:
        rows = await session_store.of_person(
            connection, person, ended=ended, before=before, limit=limit, now=now
        )
    return [
        Session(
            id=row["id"],
            current=row["id"] == current,
            client=row["client_id"],
            in_browser=row["in_browser"],
            two_factors="mfa" in row["amr"],
            address=str(row["address"]),
            browser=row["browser"],
            place=row["place"],
            created_at=row["created_at"],
            seen_at=row["seen_at"],
            seen_address=str(row["seen_address"]),
            ended_at=row["ended_at"],
            reason=row["end_reason"] and EndReason(row["end_reason"]),
        )
        for row in rows
    ]
