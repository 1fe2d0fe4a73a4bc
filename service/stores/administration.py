"""People as an administrator looks for them, and what one may do to their accounts."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from service.domain.administration import Order, Place, Standing
from service.stores.postgres import Connection, queries

_sql = queries("administration")


async def page(
    tx: Connection,
    standings: Sequence[Standing],
    words: str | None,
    order: Order,
    after: Place | None,
    limit: int,
) -> Sequence[Record]:
    """The next people of these standings behind a place: `limit` rows as `told` gives them. `words` is a
    tsquery. In a transaction of its own, whose plans it settles."""
    await _planned(tx, words)
    text = after.value if after and isinstance(after.value, str) else None
    time = after.value if after and isinstance(after.value, datetime) else None
    found = _sql.people(
        tx,
        standings=[int(one) for one in standings],
        words=words,
        sort=order.sort,
        down=order.down,
        after_id=after and after.id,
        after_text=text,
        after_time=time,
        limit=limit,
    )
    ids = [row["id"] async for row in found]
    by_id = {row["id"]: row for row in await told(tx, ids)}
    return [by_id[one] for one in ids if one in by_id]


async def count(tx: Connection, standings: Sequence[Standing], words: str | None, most: int) -> int:
    """How many people these are; of each standing at most `most` are counted. In a transaction of its own,
    whose plans it settles."""
    await _planned(tx, words)
    counted: int = await _sql.counted(tx, standings=[int(one) for one in standings], words=words, most=most)
    return counted


async def told(tx: Connection, people: Sequence[UUID]) -> Sequence[Record]:
    """What is shown of these people, in no order. Never a secret: neither hash nor seed nor code."""
    return [row async for row in _sql.told(tx, people=list(people))]


async def by_identifier(tx: Connection, identifier: UUID) -> UUID | None:
    """Whose id, or whose `sub`, this is."""
    person: UUID | None = await _sql.by_identifier(tx, identifier=identifier)
    return person


async def forget_failures(tx: Connection, person: UUID) -> None:
    """Give a person's second factor all its tries back, those in a row as well."""
    await _sql.forget_failures(tx, person=person)


async def set_roles(tx: Connection, person: UUID, roles: Sequence[str]) -> None:
    await _sql.set_roles(tx, person=person, roles=list(roles))


async def _planned(tx: Connection, words: str | None) -> None:
    await _sql.plan_anew(tx)
    if words is None or await _sql.is_common(tx, words=words):
        await _sql.walk(tx)
