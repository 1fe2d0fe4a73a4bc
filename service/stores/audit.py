"""What was done, by whom, from where: one row for each act, in the act's own transaction.

Names follow the grammar `area:act`, with the result apart: `ok`, `failed`, `refused`.
"""

import json
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

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
    client: str | None = None,
    session: UUID | None = None,
    factor: UUID | None = None,
    **detail: object,
) -> None:
    """Append one event, named in full `area:act:result`. `origin` is None for the command line."""
    await _sql.record(
        tx,
        id=id,
        at=now,
        name=f"{name}:{result}",
        result=result,
        person=person,
        client=client,
        session=session,
        factor=factor,
        address=origin and origin.address,
        browser=origin and origin.browser,
        request_id=origin and origin.request_id,
        detail=json.dumps({k: v for k, v in detail.items() if v is not None}, default=str),
    )
