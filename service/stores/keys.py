"""The service's keys, sealed in Postgres."""

from collections.abc import Sequence
from datetime import datetime

from service.crypto import Sealer
from service.entropy import Entropy
from service.keyring import Key, Kind, new_signing_material
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
    if kind is Kind.SIGN:
        name, material = new_signing_material()
    else:
        name, material = entropy.token(8).hex(), entropy.token(32)
    sealed = sealer.seal(material, entropy.token(12), "service_key", kind, name)
    await _sql.add_key(tx, id=name, kind=kind, sealed=sealed, now=now, active_from=active_from)
    return name


async def ensure(tx: Connection, sealer: Sealer, entropy: Entropy, now: datetime) -> Sequence[str]:
    """Make the first key of each kind that has none, once however many nodes ask; the new ids."""
    await _sql.lock_keys(tx)
    present = {key.kind for key in await load(tx, sealer)}
    return [await create(tx, sealer, entropy, kind, now, now) for kind in Kind if kind not in present]
