"""The service's own keys: the next one made ahead, the old one retired when nothing needs it any more, and
everything sealed anew under another encryption key."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from service.crypto import SealBroken, Sealed
from service.domain.oidc.clients import LONGEST_ACCESS
from service.errors import Conflict, DoorwardError, NotFound
from service.flows import audit
from service.keyring import ALGORITHMS, JWKS_MAX_AGE, SIGNING, Alg, Key, Keyring, Kind
from service.stores import factors as factor_store
from service.stores import keys as key_store
from service.stores import outbox as outbox_store
from service.stores import sessions as session_store
from service.stores.postgres import Connection
from service.world import World

#: Every node reads the keys each ten seconds (`jobs.world.keep_current`); none may meet one it has not read.
READ_BY_ALL = timedelta(minutes=1)
#: A signing key is published so long before it signs: a JWKS without it may be kept for its whole life, by
#: somebody who asked a node that had not read the key yet, and that node may be late (F-16).
PUBLISHED_AHEAD = JWKS_MAX_AGE + timedelta(minutes=5)
#: What the clocks of those who check tokens may be behind, and more.
_LEEWAY = timedelta(minutes=5)
#: People whose codes are voided in one transaction, and records that are sealed anew in one statement.
_BATCH = 100

State = Literal["active", "next", "kept"]


@dataclass(frozen=True, slots=True)
class Next:
    """The key of a kind that is used from `active_from`; `made` is False where it was on its way already."""

    id: str
    kind: Kind
    active_from: datetime
    made: bool


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """How many records were sealed anew under the encryption key `under`, and those that do not open."""

    under: str
    service_keys: int
    authenticators: int
    broken: Sequence[str]


def state(world: World, key: Key) -> State:
    """What a living key is for: used for what is new, about to be, or kept for what is old."""
    now = world.clock.now()
    if world.keyring.active(key.kind, now) == key:
        return "active"
    return "next" if key.active_from > now else "kept"


async def rotate(world: World, alg: Alg) -> Next:
    """Publish the next signing key of an algorithm, which signs once every cache has seen it. However many
    ask at once, there is one: a key that is on its way is told, and no other made."""

    async def act(tx: Connection) -> Next:
        await key_store.lock(tx)
        return await _next(world, tx, await _read(world, tx), SIGNING[alg])

    return await world.db.transact(act)


async def create(world: World, kind: Kind) -> Next:
    """Add a key of a kind, whatever others there are; it is used once every node and cache has it."""

    async def act(tx: Connection) -> Next:
        await key_store.lock(tx)
        return await _make(world, tx, await _read(world, tx), kind, "keys:creation")

    return await world.db.transact(act)


async def ensure(world: World) -> Sequence[str]:
    """Make the first key of each kind that has none, once however many nodes ask; the new ids."""

    async def act(tx: Connection) -> Sequence[str]:
        made = await key_store.ensure(tx, world.sealer, world.entropy, world.clock.now())
        for name in made:
            await audit.record(world, tx, "keys:creation", "ok", key=name)
        return made

    return await world.db.transact(act)


async def retire(world: World, key_id: str, *, force: bool = False) -> int:
    """Take a key away for ever; how many sets of backup codes that voided.

    Raises NotFound, and Conflict while something needs the key: an active key always; a signing key whose
    tokens may live, unless `force` gives them up; a token key that a living refresh family was born under;
    a pepper with unused codes, unless `force` voids their sets and owes the people a letter.
    """
    key = world.keyring.find(key_id)
    voided = 0
    if force and key is not None and key.kind is Kind.PEPPER and not _why_kept(world, world.keyring, key):
        voided = await _void_codes(world, key)

    async def act(tx: Connection) -> DoorwardError | None:
        await key_store.lock(tx)
        ring = await _read(world, tx)
        found = ring.find(key_id)
        if found is None:
            return NotFound("no living key has this id")
        why = _why_kept(world, ring, found, force=force) or await _who_needs(world, tx, found)
        if why is not None:
            await audit.record(
                world, tx, "keys:retirement", "refused", key=key_id, kind=found.kind, reason=why
            )
            return Conflict(why)
        await key_store.retire(tx, key_id, world.clock.now())
        await audit.record(
            world, tx, "keys:retirement", "ok", key=key_id, kind=found.kind, voided_sets=voided or None
        )
        return None

    await world.db.transact(act)
    return voided


async def rewrap(world: World) -> Rewrapped:
    """Seal every record anew that another encryption key than the active one sealed.

    While everything runs: each record is put where the one that was opened still stands, some in a statement,
    so nobody waits. It may be stopped anywhere, and goes on where it was: what is done begins with the active
    key's name. Afterwards nothing but the records in `broken` needs another key.
    """
    keys, broken_keys = await _rewrap(world, "service key", key_store.sealed_otherwise, key_store.reseal)
    seeds, broken_seeds = await _rewrap(
        world, "authenticator", factor_store.sealed_otherwise, factor_store.reseal
    )
    done = Rewrapped(world.sealer.active, keys, seeds, broken_keys + broken_seeds)

    async def act(tx: Connection) -> None:
        await audit.record(
            world,
            tx,
            "keys:rewrap",
            "failed" if done.broken else "ok",
            under=done.under,
            service_keys=done.service_keys,
            authenticators=done.authenticators,
            broken=len(done.broken),
        )

    await world.db.transact(act)
    return done


async def _rewrap(
    world: World,
    what: str,
    read: Callable[[Connection, bytes, str, int], Awaitable[Sequence[Sealed]]],
    write: Callable[[Connection, Sequence[tuple[Sealed, bytes]]], Awaitable[int]],
) -> tuple[int, list[str]]:
    """Go through one table until a whole pass finds nothing to do: a node that still has the old settings may
    have sealed something behind us. How many records were changed, and those that do not open."""
    done, broken, changed = 0, dict[str, str](), True
    while changed:
        changed, after = False, ""
        while True:
            async with world.db.connection() as connection:
                found = await read(connection, world.sealer.prefix, after, _BATCH)
            if not found:
                break
            after = found[-1].id
            changes = []
            for one in found:
                try:
                    plain = world.sealer.open(one.record, *one.context)
                except SealBroken as fault:
                    # It stays as it is: sealed anew, a record of another place would begin to fit this one.
                    broken[one.id] = f"{what} {one.id}: {fault}"
                else:
                    nonce = world.entropy.token(12)
                    changes.append((one, world.sealer.seal(plain, nonce, *one.context)))
            if changes:
                async with world.db.connection() as connection:
                    done += await write(connection, changes)
                changed = True
    return done, list(broken.values())


async def upkeep(world: World) -> None:
    """Publish the next key where one has grown old, and retire signing keys whose last token has died.

    Every node does this every minute. One at a time has the lock, and looks again once it has it; the others
    go on, and find nothing to do when they have read what it did.
    """
    if not any(_aged(world, world.keyring)) and not any(_dead(world, world.keyring)):
        return

    async def act(tx: Connection) -> None:
        if not await key_store.try_lock(tx):
            return
        ring = await _read(world, tx)
        for kind in _aged(world, ring):
            await _next(world, tx, ring, kind)
        for key in _dead(world, ring):
            await key_store.retire(tx, key.id, world.clock.now())
            await audit.record(world, tx, "keys:retirement", "ok", key=key.id, kind=key.kind)

    await world.db.transact(act)


def _aged(world: World, ring: Keyring) -> Iterator[Kind]:
    """The signing kinds whose newest key has been used for as long as the settings let one be."""
    days, now = world.settings.keys.rotate_days, world.clock.now()
    for kind in ALGORITHMS if days else ():
        newest = next(iter(ring.all(kind)), None)
        if newest is not None and newest.active_from + timedelta(days=days) <= now:
            yield kind


def _dead(world: World, ring: Keyring) -> Iterator[Key]:
    """The signing keys of which no token lives."""
    for kind in ALGORITHMS:
        for key in ring.all(kind):
            over = _over(world, ring, key)
            if over is not None and over <= world.clock.now():
                yield key


def _over(world: World, ring: Keyring, key: Key) -> datetime | None:
    """When whatever a key was used for last is over; None while no newer key follows it."""
    since = ring.superseded_at(key)
    if since is None:
        return None
    # The longest a client's record may say, whatever it says: it may have said so when the token was signed.
    longest = timedelta(seconds=max(world.settings.tokens.access_seconds, LONGEST_ACCESS))
    return since + (longest + _LEEWAY if key.kind in ALGORITHMS else READ_BY_ALL)


async def _next(world: World, tx: Connection, ring: Keyring, kind: Kind) -> Next:
    newest = next(iter(ring.all(kind)), None)
    if newest is not None and newest.active_from > world.clock.now():
        return Next(newest.id, kind, newest.active_from, made=False)
    return await _make(world, tx, ring, kind, "keys:rotation")


async def _make(world: World, tx: Connection, ring: Keyring, kind: Kind, act: str) -> Next:
    now = world.clock.now()
    ahead = PUBLISHED_AHEAD if kind in ALGORITHMS else READ_BY_ALL
    # The first of a kind has nobody who knows another.
    active_from = now + ahead if ring.all(kind) else now
    name = await key_store.create(tx, world.sealer, world.entropy, kind, now, active_from)
    await audit.record(world, tx, act, "ok", key=name, kind=kind, active_from=active_from.isoformat())
    return Next(name, kind, active_from, made=True)


def _why_kept(world: World, ring: Keyring, key: Key, *, force: bool = False) -> str | None:
    """Why the keys themselves do not allow that this one goes, or None."""
    now = world.clock.now()
    if key.kind is Kind.INDEX:
        return "the index key is never retired: counters of failures are found by it"
    # A node goes on with the keys it has read for some seconds, so the next minute's key counts as well.
    if key in (ring.active(key.kind, now), ring.active(key.kind, now + READ_BY_ALL)):
        return "it is the active key of its kind: make the next one, and wait until that is used"
    over = _over(world, ring, key)
    if over is not None and over > now and not (force and key.kind in ALGORITHMS):
        return f"what it was used for may live until {over.isoformat(timespec='seconds')}"
    return None


async def _who_needs(world: World, tx: Connection, key: Key) -> str | None:
    """Whose things would be lost with a key, or None."""
    if key.kind is Kind.TOKEN:
        families = await session_store.families_under(tx, key.id, world.clock.now())
        return f"{families} living refresh families were born under it" if families else None
    if key.kind is Kind.PEPPER:
        codes = await factor_store.unused_codes_under(tx, key.id)
        return f"{codes} unused backup codes stand under it; --force voids their sets" if codes else None
    return None


async def _void_codes(world: World, key: Key) -> int:
    """Void the living sets with unused codes under a pepper, and tell each person; how many.

    Some people at a time, each batch by itself: nobody waits on a transaction of everyone, and whoever stops
    it goes on from there.
    """

    async def act(tx: Connection) -> int:
        now = world.clock.now()
        people = await factor_store.hold_people_with_codes_under(tx, key.id, _BATCH)
        for person in await factor_store.void_codes_under(tx, people, key.id, now):
            await audit.record(
                world,
                tx,
                "two_factor:backup_codes_voided",
                "ok",
                person=person,
                pepper=key.id,
            )
            await outbox_store.put(tx, world.row_id(), "backup_codes_voided", person, None, now)
        return len(people)

    voided = 0
    while batch := await world.db.transact(act):
        voided += batch
    return voided


async def _read(world: World, tx: Connection) -> Keyring:
    return Keyring(await key_store.load(tx, world.sealer))
