"""Proofs that the flows share: a password, a second factor, a new authenticator.

A proof is examined outside any transaction (a hash takes milliseconds and must not hold a
connection) and spent inside the transaction of the act it buys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from uuid import UUID

from service import crypto
from service.domain import accounts, backup_codes, totp
from service.domain.sessions import EndReason
from service.domain.sign_in import Kind, Origin, kind_of
from service.errors import (
    CodeAlreadyUsed,
    DoorwardError,
    EnrolmentReplaced,
    InvalidCode,
    InvalidRequest,
    NotFound,
    RateLimited,
    SecondFactorBlocked,
    Unavailable,
)
from service.keyring import Kind as KeyKind
from service.stores import accounts as account_store
from service.stores import audit as audit_store
from service.stores import factors as factor_store
from service.stores import outbox as outbox_store
from service.stores import sessions as session_store
from service.stores.factors import Authenticator, BackupCode, PendingAuthenticator
from service.stores.postgres import Connection, Undo
from service.world import World


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a code that was looked at. Nothing is spent yet."""

    kind: Kind
    why: str
    right: bool = False
    used: bool = False
    authenticator: UUID | None = None
    step: int | None = None
    code: BackupCode | None = None
    skew: int | None = None

    def refusal(self, left: int, now: datetime) -> InvalidCode:
        """The error of a code that is not right. `left` counts the tries left."""
        if self.used:
            return CodeAlreadyUsed(self.why, attempts_left=left)
        replaced_at = self.code and self.code.replaced_at
        skew = self.skew and {"seconds_behind": self.skew, "server_time": now.isoformat(timespec="seconds")}
        return InvalidCode(
            self.why, attempts_left=left, replaced_at=replaced_at and replaced_at.isoformat(), clock_skew=skew
        )


@dataclass(frozen=True, slots=True)
class Codes:
    """A new set of backup codes: the texts to show once, and what is kept."""

    set_id: UUID
    created_at: datetime
    texts: Sequence[str]
    digests: Sequence[bytes]
    pepper_id: str


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A pending authenticator as its starter may see it."""

    id: UUID
    name: str
    secret: str
    otpauth_uri: str
    qr_svg: str
    expires_at: datetime


# A password


def read_password(text: str, minimum: int = 0) -> str:
    """The one normal form of a password (NFKC). Raises InvalidRequest for a text that cannot be one."""
    normal = accounts.normal_password(text, minimum=minimum)
    if isinstance(normal, accounts.PasswordFault):
        raise InvalidRequest(f"password {normal}", errors=[{"pointer": "/password", "code": str(normal)}])
    return normal


def password_key(world: World, email: str, *, known: bool) -> bytes:
    """Under which key the failures of an address are counted; known devices have one of their own."""
    return world.index("password", f"{email}\n{'known' if known else 'stranger'}")


async def examine_password(world: World, key: bytes, password_hash: str | None, password: str) -> bool:
    """Admit a try under `key`, then hash. Raises RateLimited without hashing, or Unavailable.

    The caller owes the try its verdict: `account_store.password_failed` or `password_held`.
    """
    now = world.clock.now()
    async with world.db.connection() as connection:
        if not await account_store.admit_password(connection, key, now):
            until = await account_store.password_wait(connection, key)
            wait = ceil((until - now).total_seconds()) if until and until > now else 1
            raise RateLimited("this address has to wait", retry_after=wait)
    try:
        return await world.pool.verify_password(password_hash, password)
    except Unavailable:
        async with world.db.connection() as connection:
            await account_store.password_unjudged(connection, key)
        raise


async def rehash_password(world: World, email: str, old_hash: str, password: str) -> None:
    """Keep the same password under today's parameters."""
    new_hash = await world.pool.hash_password(password)
    async with world.db.connection() as connection:
        await account_store.rehash_password(connection, email, old_hash, new_hash)


async def new_password_hash(world: World, person: UUID, email: str, password: str) -> str:
    """The hash of a new password. Raises InvalidRequest for one that may not be theirs, or is the old."""
    fault: str | None = accounts.password_fault(password, email)
    if fault is None:
        async with world.db.connection() as connection:
            present = await account_store.by_id(connection, person)
        normal = read_password(password)
        if present and await world.pool.verify_password(present.password_hash, normal):
            fault = "unchanged"
        else:
            return await world.pool.hash_password(normal)
    raise InvalidRequest(f"password {fault}", errors=[{"pointer": "/new_password", "code": str(fault)}])


# A second factor


def require_budget(world: World, failures: Sequence[datetime], streak: int) -> None:
    """Refuse before anything is hashed when the budget is used up. The count itself decides later."""
    if fault := _over_budget(world, failures, streak):
        raise fault


def left(world: World, failures: Sequence[datetime]) -> int:
    """How many more second factors of this budget may fail."""
    return world.budget.left(failures, world.clock.now())


async def over_budget(world: World, tx: Connection, person: UUID, *, known: bool) -> DoorwardError:
    """Why the count was refused."""
    spent = await factor_store.spent(tx, person, known=known)
    return _over_budget(world, spent.failures, spent.streak) or RateLimited("raced", retry_after=1)


async def examine(world: World, person: UUID, salt: bytes, code: str, method: Kind | None) -> Finding:
    """Look at a code of a person. Raises InvalidRequest when it has the shape of no factor at all."""
    kind = kind_of(code, method)
    if kind is None:
        raise InvalidRequest("not shaped like a code", errors=[{"pointer": "/code", "code": "not_a_code"}])
    if kind == "totp":
        async with world.db.connection() as connection:
            authenticators = await factor_store.authenticators(connection, person)
        return await _examine_totp(world, person, authenticators, code)
    canonical = backup_codes.canonical(code)
    assert canonical is not None  # kind_of has seen it
    hashed = await world.pool.hash_code(canonical, salt)
    digests = [crypto.digest(k.material, "backup_code", hashed) for k in world.keyring.all(KeyKind.PEPPER)]
    async with world.db.connection() as connection:
        found = await factor_store.backup_code(connection, person, digests)
    if found is None:
        return Finding(kind, "no such backup code")
    if found.replaced_at:
        return Finding(kind, "a replaced set's backup code", code=found)
    if found.used_at:
        return Finding(kind, "a used backup code", used=True, code=found)
    return Finding(kind, "right", right=True, code=found)


async def spend(tx: Connection, person: UUID, finding: Finding, now: datetime) -> Finding:
    """Burn the step or the code of a right finding; what it turns into when another was faster."""
    if finding.code is not None:
        spent = await factor_store.spend_backup_code(tx, person, finding.code, now)
    else:
        assert finding.authenticator is not None  # a right finding without a code has both
        assert finding.step is not None
        spent = await factor_store.burn_step(tx, finding.authenticator, finding.step)
    return finding if spent else replace(finding, right=False, used=True, why="another was faster")


async def remember(world: World, finding: Finding) -> None:
    """After the commit: let Redis refuse the same step early."""
    if finding.authenticator is not None and finding.step is not None:
        await world.limits.remember_step(finding.authenticator, finding.step)


async def note_failure(
    world: World,
    tx: Connection,
    act: str,
    person: UUID,
    finding: Finding,
    failures: Sequence[datetime],
    origin: Origin,
    *,
    client: str,
    session: UUID | None = None,
) -> None:
    """Record a wrong second factor after a right password, and tell the person once for a burst."""
    now = world.clock.now()
    await audit_store.record(
        tx,
        world.row_id(),
        now,
        act,
        "failed",
        origin,
        person=person,
        client=client,
        session=session,
        factor=finding.authenticator,
        method=finding.kind,
        reason=finding.why,
    )
    if sum(at + timedelta(minutes=5) > now for at in failures) == 1:
        await outbox_store.put(tx, world.row_id(), "second_factor_failed", person, origin, now)


async def note_success(
    world: World,
    tx: Connection,
    act: str,
    person: UUID,
    finding: Finding,
    origin: Origin,
    client: str,
    *,
    session: UUID | None = None,
) -> int | None:
    """Record a right second factor; for a backup code tell the person, and return how many are left."""
    now, codes_left = world.clock.now(), None
    await audit_store.record(
        tx,
        world.row_id(),
        now,
        act,
        "ok",
        origin,
        person=person,
        client=client,
        session=session,
        factor=finding.authenticator,
        method=finding.kind,
    )
    if finding.code is not None:
        living = await factor_store.backup_set(tx, person)
        codes_left = living.left if living else 0
        await outbox_store.put(
            tx, world.row_id(), "backup_code_used", person, origin, now, backup_codes_left=codes_left
        )
    return codes_left


# A new authenticator


async def start_enrolment(
    world: World,
    tx: Connection,
    person: UUID,
    email: str,
    name: str,
    started_by: str,
    origin: Origin,
    client: str,
) -> Enrolment:
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
    await audit_store.record(
        tx,
        world.row_id(),
        now,
        "two_factor:enrolment",
        "ok",
        origin,
        person=person,
        client=client,
        factor=authenticator,
    )
    return present(world, secret, authenticator, email, name, expires_at)


async def pending_enrolment(
    world: World, person: UUID, authenticator: UUID, started_by: str
) -> PendingAuthenticator:
    """The enrolment that `started_by` has open. Raises NotFound for another's, EnrolmentReplaced for
    one that was replaced, confirmed, or has expired."""
    async with world.db.connection() as connection:
        pending = await factor_store.pending(connection, person, authenticator, world.clock.now())
        starter = pending or await factor_store.started_by(connection, person, authenticator)
    if starter is None or (starter if isinstance(starter, str) else starter.started_by) != started_by:
        raise NotFound("no enrolment of this starter")
    if pending is None:
        raise EnrolmentReplaced("replaced, confirmed or expired")
    return pending


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
    return the new epoch. Undoes everything with EnrolmentReplaced when another was faster."""
    now, authenticator, step = world.clock.now(), finding.authenticator, finding.step
    assert authenticator is not None  # a right finding has both
    assert step is not None
    if not await factor_store.confirm(tx, person, authenticator, step, now):
        raise Undo(EnrolmentReplaced("replaced or confirmed meanwhile"))
    if codes is not None:
        await keep_codes(tx, person, codes)
    await session_store.end_all(tx, person, EndReason.TWO_FACTOR_CHANGED, now, kept=kept)
    epoch = await account_store.raise_epoch(tx, person)
    await audit_store.record(
        tx,
        world.row_id(),
        now,
        "two_factor:confirmation",
        "ok",
        origin,
        person=person,
        client=client,
        session=kept,
        factor=authenticator,
        first=codes is not None,
    )
    letter: outbox_store.Letter = "two_factor_on" if codes is not None else "authenticator_added"
    await outbox_store.put(tx, world.row_id(), letter, person, origin, now)
    return epoch


def present(
    world: World, secret: bytes, authenticator: UUID, email: str, name: str, expires_at: datetime
) -> Enrolment:
    """A seed as its owner needs it: a key to type, a link, a picture."""
    uri = totp.provisioning_uri(secret, email, world.settings.issuer.partition("://")[2], totp.Parameters())
    return Enrolment(authenticator, name, totp.display_key(secret), uri, totp.qr_svg(uri), expires_at)


def open_seed(world: World, person: UUID, authenticator: Authenticator) -> bytes:
    """The seed. A record that does not open is never "no second factor": it is 503, and an alarm."""
    try:
        return world.sealer.open(authenticator.seed, "totp", str(person), str(authenticator.id))
    except crypto.SealBroken as fault:
        raise Unavailable(f"seed of {authenticator.id}: {fault}", retry_after=60) from fault


def examine_pending(world: World, person: UUID, pending: Authenticator, code: str) -> Finding:
    """Look at the first code of a pending authenticator."""
    if not totp.is_code(code, pending.parameters.digits):
        raise InvalidRequest("not six digits", errors=[{"pointer": "/code", "code": "not_a_code"}])
    return _match(world, person, pending, code)


async def new_codes(world: World, salt: bytes) -> Codes:
    """Draw five backup codes and hash them; nothing is kept yet."""
    texts, pepper = _draw(world), world.active(KeyKind.PEPPER)
    digests = [
        crypto.digest(pepper.material, "backup_code", await world.pool.hash_code(text.replace("-", ""), salt))
        for text in texts
    ]
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


def _over_budget(world: World, failures: Sequence[datetime], streak: int) -> DoorwardError | None:
    if streak >= world.budget.in_a_row:
        return SecondFactorBlocked("too many failures in a row")
    if wait := world.budget.wait(failures, world.clock.now()):
        return RateLimited("the person's second-factor budget is used up", retry_after=wait)
    return None


async def _examine_totp(
    world: World, person: UUID, authenticators: Sequence[Authenticator], code: str
) -> Finding:
    findings = [
        _match(world, person, one, code)
        for one in authenticators
        if totp.is_code(code, one.parameters.digits)
    ]
    best = max(findings, key=lambda f: (f.right, f.used, f.skew is not None), default=None)
    if best is None:
        return Finding("totp", "no authenticator takes such a code")
    if best.right and best.authenticator and best.step is not None:
        # A replay from another node is refused here without a transaction; absence proves nothing.
        replayed = await world.limits.step_was_seen(best.authenticator, best.step)
        return (
            replace(best, right=False, used=True, why="a replayed step, refused early") if replayed else best
        )
    return best


def _match(world: World, person: UUID, one: Authenticator, code: str) -> Finding:
    secret, now = open_seed(world, person, one), world.clock.now()
    last_step = one.last_step if one.last_step >= 0 else None
    match totp.match(secret, code, now, last_step, one.parameters, world.settings.two_factor.window):
        case totp.Accepted(step):
            return Finding("totp", "right", right=True, authenticator=one.id, step=step)
        case totp.Replayed(step):
            return Finding("totp", "a replayed step", used=True, authenticator=one.id, step=step)
        case totp.Behind(seconds):
            return Finding("totp", "a past step", skew=seconds, authenticator=one.id)
        case _:
            return Finding("totp", "a wrong code", authenticator=one.id)
