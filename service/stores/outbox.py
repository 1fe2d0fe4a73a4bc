"""Letters that are owed, kept in the transaction of the act they tell of."""

import json
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
from uuid import UUID

from service.domain.sign_in import Origin
from service.stores.postgres import Connection, queries

_sql = queries("outbox")

Letter: TypeAlias = Literal[
    "verify_email",
    "two_factor_on",
    "authenticator_added",
    "backup_code_used",
    "backup_codes_replaced",
    "backup_codes_voided",
    "second_factor_failed",
    "refresh_reuse",
    "password_changed",
    "authenticator_removed",
    "two_factor_off",
    "browser_trusted",
    "browser_trust_copied",
    "two_factor_reset",
]


async def put(
    tx: Connection,
    id: UUID,
    letter: Letter,
    person: UUID,
    origin: Origin | None,
    now: datetime,
    **data: object,
) -> None:
    """Owe a person a letter. `data` holds facts for its text, never a secret."""
    await _sql.put(tx, id=id, kind=letter, person=person, data=_facts(origin, data), now=now)


async def put_at_most(
    tx: Connection, id: UUID, letter: Letter, person: UUID, origin: Origin, now: datetime, *, most: int
) -> bool:
    """Owe a letter that strangers can cause, unless the person got `most` of its kind in a day."""
    row = await _sql.put_at_most(
        tx,
        id=id,
        kind=letter,
        person=person,
        data=_facts(origin, {}),
        now=now,
        since=now - timedelta(days=1),
        most=most,
    )
    return row is not None


def _facts(origin: Origin | None, data: dict[str, object]) -> str:
    where = {"address": origin.address, "browser": origin.browser} if origin else {}
    return json.dumps(where | data, default=str)
