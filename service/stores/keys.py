"""The service's keys, sealed in Postgres."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from service.crypto import Sealed, Sealer
from service.entropy import Entropy
from service.errors import Unavailable
from service.keyring import ALGORITHMS, Key, Kind, new_signing_material
from service.stores.postgres import Connection, queries

_sql = queries("keys")


async def load(tx: Connection, sealer: Sealer) -> Sequence[Key]:
    """Every living key of a kind this release knows: a newer one may have added others already.

    Raises SealBroken when one was sealed under a key that is not configured.
    """
    return [
        Key(
            id=row["id"],
            kind=Kind(row["kind"]),
            material=sealer.open(row["sealed"], "service_key", row["kind"], row["id"]),
            created_at=row["created_at"],
            active_from=row["active_from"],
        )
        async for row in _sql.keys(tx)
        if row["retired_at"] is None and row["kind"] in set(Kind)
    ]


async def create(
    tx: Connection, sealer: Sealer, entropy: Entropy, kind: Kind, now: datetime, active_from: datetime
) -> str:
    """Make a key of a kind and return its id: a thumbprint, or eight random bytes in hex."""
    if kind in ALGORITHMS:
        # An RSA key takes some tenths of a second: every other request of this node goes on meanwhile.
        name, material = await asyncio.to_thread(new_signing_material, kind)
    else:
        name, material = entropy.token(8).hex(), entropy.token(32)
    sealed = sealer.seal(material, entropy.token(12), "service_key", kind, name)
    await _sql.add_key(tx, id=name, kind=kind, sealed=sealed, now=now, active_from=active_from)
    return name


async def lock(tx: Connection) -> None:
    """Hold the keys until the transaction ends: whoever makes or retires one has looked at them all.

    It asks again rather than wait in Postgres, whose limits of a statement are shorter than the making of
    an RSA key may be. Raises Unavailable after half a minute.
    """
    for _ in range(600):
        if await try_lock(tx):
            return
        await asyncio.sleep(0.05)
    raise Unavailable("another node has held the keys for half a minute", retry_after=5)


async def try_lock(tx: Connection) -> bool:
    """As `lock`, but False at once where another node holds them."""
    held: bool = await _sql.try_lock_keys(tx)
    return held


async def ensure(tx: Connection, sealer: Sealer, entropy: Entropy, now: datetime) -> Sequence[str]:
    """Make the first key of each kind that has none, once however many nodes ask; the new ids."""
    await lock(tx)
    present = {key.kind for key in await load(tx, sealer)}
    return [await create(tx, sealer, entropy, kind, now, now) for kind in Kind if kind not in present]


async def retire(tx: Connection, key_id: str, now: datetime) -> None:
    """Take a key away for ever: its material is gone from the table, a note that it was there stays."""
    await _sql.retire_key(tx, id=key_id, now=now)


async def sealed_otherwise(tx: Connection, prefix: bytes, after: str, most: int) -> Sequence[Sealed]:
    """Living keys that another encryption key sealed, by id, from the one behind `after`."""
    found = _sql.keys_sealed_otherwise(tx, prefix=prefix, after=after, most=most)
    return [Sealed(row["id"], row["sealed"], ("service_key", row["kind"], row["id"])) async for row in found]


async def reseal(tx: Connection, changes: Sequence[tuple[Sealed, bytes]]) -> int:
    """Put new records where the old ones still stand; how many did."""
    ids, olds, news = (
        [one.id for one, _ in changes],
        [one.record for one, _ in changes],
        [n for _, n in changes],
    )
    return len([row async for row in _sql.reseal_keys(tx, ids=ids, olds=olds, news=news)])
