"""A new authenticator: started, shown, examined, turned on, with its backup codes.

Shared by one's own account and by the enrolment that a sign-in may owe.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from service import crypto
from service.domain import backup_codes, totp
from service.domain.sessions import EndReason
from service.domain.sign_in import Origin
from service.errors import EnrolmentReplaced, InvalidRequest, NotFound
from service.flows import audit, proofs
from service.flows import sessions as session_flow
from service.flows.proofs import Finding
from service.keyring import Kind
from service.stores import factors as factor_store
from service.stores import outbox as outbox_store
from service.stores.factors import Authenticator, PendingAuthenticator
from service.stores.postgres import Connection
from service.world import World


@dataclass(frozen=True, slots=True)
class Codes:
    """A new set of backup codes: the texts to show once, and what is kept."""

    set_id: UUID
    created_at: datetime
    texts: Sequence[str]
    digests: Sequence[bytes]
    pepper_id: str


@dataclass(frozen=True, slots=True)
class Started:
    """A pending authenticator with its seed."""

    id: UUID
    name: str
    secret: bytes
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A pending authenticator as its starter may see it."""

    id: UUID
    name: str
    issuer: str
    secret: str
    otpauth_uri: str
    qr_svg: str
    expires_at: datetime


async def start(
    world: World,
    tx: Connection,
    person: UUID,
    name: str,
    started_by: str,
    origin: Origin,
    client: str,
) -> Started:
    """Begin an enrolment with a fresh seed of 160 bits (RFC 4226 §4, R6); the pending one is replaced."""
    now, authenticator, secret = world.clock.now(), world.row_id(), world.entropy.token(20)
    expires_at = now + timedelta(seconds=world.settings.tokens.enrolment_seconds)
    seed = world.sealer.seal(secret, world.entropy.token(12), "totp", str(person), str(authenticator))
    await factor_store.start(
        tx,
        person=person,
        authenticator=authenticator,
        name=name,
        seed=seed,
        started_by=started_by,
        now=now,
        expires_at=expires_at,
    )
    await audit.record(
        world,
        tx,
        "two_factor:enrolment",
        "ok",
        origin,
        person=person,
        client=client,
        factor=authenticator,
    )
    return Started(authenticator, name, secret, expires_at)


async def pending(world: World, person: UUID, authenticator: UUID, started_by: str) -> PendingAuthenticator:
    """The enrolment that `started_by` has open. Raises NotFound for another's, EnrolmentReplaced for
    one that was replaced, confirmed, or has expired."""
    async with world.db.connection() as connection:
        found = await factor_store.pending(connection, person, authenticator, world.clock.now())
        starter = (
            found.started_by if found else await factor_store.started_by(connection, person, authenticator)
        )
    if starter != started_by:
        raise NotFound("no enrolment of this starter")
    if found is None:
        raise EnrolmentReplaced("replaced, confirmed or expired")
    return found


async def newest(world: World, person: UUID, started_by: str) -> Started | None:
    """The enrolment that `started_by` has open, whatever its id."""
    async with world.db.connection() as connection:
        found = await factor_store.pending(connection, person, None, world.clock.now())
    return opened(world, person, found) if found and found.started_by == started_by else None


async def turn_on(
    world: World,
    tx: Connection,
    person: UUID,
    finding: Finding,
    codes: Codes | None,
    origin: Origin,
    client: str,
    *,
    kept: UUID | None = None,
) -> int:
    """Confirm an authenticator (with `codes` when it is the first), end every session but `kept`, and
    return the new epoch. Raises EnrolmentReplaced when another was faster."""
    now, authenticator, step = world.clock.now(), finding.authenticator, finding.step
    assert authenticator is not None  # a right finding has both
    assert step is not None
    if not await factor_store.confirm(tx, person, authenticator, step, now):
        raise EnrolmentReplaced("replaced or confirmed meanwhile")
    if codes is not None:
        await keep_codes(tx, person, codes)
    _, epoch = await session_flow.end_others(world, tx, person, EndReason.TWO_FACTOR_CHANGED, kept=kept)
    await audit.record(
        world,
        tx,
        "two_factor:confirmation",
        "ok",
        origin,
        person=person,
        client=client,
        session=kept,
        factor=authenticator,
        first=codes is not None,
        step=step,
    )
    letter: outbox_store.Letter = "two_factor_on" if codes is not None else "authenticator_added"
    await outbox_store.put(tx, world.row_id(), letter, person, origin, now)
    return epoch


def opened(world: World, person: UUID, found: PendingAuthenticator) -> Started:
    """A pending authenticator that was kept, its seed unsealed."""
    return Started(found.id, found.name, proofs.open_seed(world, person, found), found.expires_at)


def present(world: World, started: Started, email: str) -> Enrolment:
    """A seed as its owner needs it: a key to type, a link, a picture."""
    issuer = world.settings.issuer.partition("://")[2]
    uri = totp.provisioning_uri(started.secret, email, issuer, totp.Parameters())
    key, picture = totp.display_key(started.secret), totp.qr_svg(uri)
    return Enrolment(started.id, started.name, issuer, key, uri, picture, started.expires_at)


def require_code(code: str) -> None:
    """Raise InvalidRequest for what cannot be a new authenticator's code, which has six digits."""
    if not totp.is_code(code):
        raise InvalidRequest("not six digits", errors=[{"pointer": "/code", "code": "not_a_code"}])


def examine(world: World, person: UUID, enrolling: Authenticator, code: str) -> Finding:
    """Look at the first code of a pending authenticator."""
    return replace(proofs.match(world, person, enrolling, code), enrols=True)


async def new_codes(world: World, salt: bytes) -> Codes:
    """Draw five backup codes and hash them; nothing is kept yet."""
    texts, pepper = _draw(world), world.active(Kind.PEPPER)
    digests = []
    for text in texts:
        canonical = backup_codes.canonical(text)
        assert canonical is not None  # it was made in just that form
        hashed = await world.pool.hash_code(canonical, salt)
        digests.append(crypto.digest(pepper.material, "backup_code", hashed))
    return Codes(world.row_id(), world.clock.now(), texts, digests, pepper.id)


async def keep_codes(tx: Connection, person: UUID, codes: Codes) -> None:
    """Keep a new set; the old one is dead in the same transaction."""
    await factor_store.replace_backup_codes(
        tx, person, codes.set_id, codes.digests, codes.pepper_id, codes.created_at
    )


def _draw(world: World) -> Sequence[str]:
    try:
        return backup_codes.from_bytes(world.entropy.token(backup_codes.RAW_BYTES))
    except backup_codes.DuplicateCodes:
        return _draw(world)
