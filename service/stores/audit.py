"""What was done, by whom, from where: one row for each act, in the act's own transaction.

Names follow the grammar `area:act`, with the result apart: `ok`, `failed`, `refused`.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from asyncpg import Record

from service.domain.sign_in import Origin
from service.stores.postgres import Connection, queries

_sql = queries("audit")

Result: TypeAlias = Literal["ok", "failed", "refused"]


async def record(
    tx: Connection,
    id: UUID,
    now: datetime,
    name: str,
    result: Result,
    origin: Origin | None,
    *,
    person: UUID | None = None,
    actor: UUID | None = None,
    client: str | None = None,
    session: UUID | None = None,
    factor: UUID | None = None,
    unless_since: datetime | None = None,
    **detail: object,
) -> None:
    """Append one event, named in full `area:act:result`. `origin` is None for the command line.
    `actor` is whoever acted, where that is another than the person.

    With `unless_since` nothing is written when the person has one of the name since then.
    """
    await _sql.record(
        tx,
        id=id,
        at=now,
        name=f"{name}:{result}",
        result=result,
        person=person,
        actor=actor,
        client=client,
        session=session,
        factor=factor,
        address=origin and origin.address,
        browser=origin and origin.browser,
        place=origin and origin.place,
        unless_since=unless_since,
        request_id=origin and origin.request_id,
        detail=json.dumps({k: v for k, v in detail.items() if v is not None}, default=str),
    )


async def sign_ins(
    tx: Connection,
    person: UUID,
    names: Sequence[str],
    *,
    before: UUID | None,
    since: datetime | None,
    until: datetime | None,
    address: str | None,
    limit: int,
) -> Sequence[Record]:
    """Events of these full names, newest first, from the one before `before`."""
    found = _sql.sign_ins(
        tx,
        person=person,
        names=list(names),
        before=before,
        since=since,
        until=until,
        address=address,
        limit=limit,
    )
    return [row async for row in found]
