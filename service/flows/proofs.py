"""Proofs that the flows share: a second factor, and the first code of a new authenticator.

A proof is examined outside any transaction (a hash takes milliseconds and must not hold a
connection) and spent inside the transaction of the act it buys.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from service import crypto
from service.domain import backup_codes, policy, totp
from service.domain.sign_in import Kind, Origin, kind_of
from service.errors import (
    CodeAlreadyUsed,
    DoorwardError,
    InvalidCode,
    InvalidPreAuthToken,
    InvalidRequest,
    InvalidToken,
    RateLimited,
    SecondFactorBlocked,
    Unavailable,
)
from service.flows import audit
from service.flows.sessions import Caller
from service.keyring import Kind as KeyKind
from service.stores import factors as factor_store
from service.stores import outbox as outbox_store
from service.stores import sessions as session_store
from service.stores import sign_in as sign_in_store
from service.stores.audit import Result
from service.stores.factors import Authenticator, BackupCode
from service.stores.postgres import Connection
from service.world import World

T = TypeVar("T")


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
    enrols: bool = False

    def refusal(self, left: int, now: datetime) -> InvalidCode:
        """The error of a code that is not right. `left` counts the tries left."""
        if self.used:
            return CodeAlreadyUsed(self.why, attempts_left=left)
        replaced_at = self.code and self.code.replaced_at
        skew = self.skew and {"seconds_behind": self.skew, "server_time": now.isoformat(timespec="seconds")}
        return InvalidCode(
            self.why, attempts_left=left, replaced_at=replaced_at and replaced_at.isoformat(), clock_skew=skew
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Who tries what, from where: what an audit row says of it. `person` is None for an unknown address."""

    act: str
    person: UUID | None
    origin: Origin
    client: str
    session: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial(Attempt):
    """A guess at a second factor, and the budget it counts in.

    `token` is the digest of the pre-auth token that it is tried on; `stale` is the refusal when the
    person's `epoch` has moved on.
    """

    person: UUID
    epoch: int
    known: bool
    stale: type[DoorwardError]
    token: bytes | None = None


def attempt_of(act: str, caller: Caller, origin: Origin) -> Attempt:
    """Somebody signed in does something."""
    return Attempt(act=act, person=caller.person, origin=origin, client=caller.client, session=caller.session)


def trial_of(act: str, caller: Caller, origin: Origin, *, stale: type[DoorwardError]) -> Trial:
    """A guess of somebody signed in: it counts in the budget of known devices."""
    return Trial(
        act=act,
        person=caller.person,
        epoch=caller.epoch,
        known=True,
        origin=origin,
        client=caller.client,
        stale=stale,
        session=caller.session,
    )


def read_code(code: str, method: Kind | None) -> Kind:
    """Which factor a text could be. Raises InvalidRequest when it has the shape of none: asked before
    anything is charged or looked up."""
    kind = kind_of(code, method)
    if kind is None:
        raise InvalidRequest("not shaped like a code", errors=[{"pointer": "/code", "code": "not_a_code"}])
    return kind


async def require_budget(world: World, trial: Trial, failures: Sequence[datetime], streak: int) -> None:
    """Refuse before anything is hashed when the budget is used up. The count itself decides later."""
    if fault := _over_budget(world, failures, streak):
        async with world.db.connection() as connection:
            await record_refusal(world, connection, trial, fault)
        raise fault


async def examine(world: World, person: UUID, salt: bytes, code: str, kind: Kind) -> Finding:
    """Look at a code of a person, of the kind that `read_code` saw in it."""
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


async def spend(
    world: World, trial: Trial, finding: Finding, then: Callable[[Connection, Finding], Awaitable[T]]
) -> T:
    """Settle an examined guess and, in the same transaction, do what a right one buys."""

    async def act(tx: Connection) -> T | DoorwardError:
        settled = await settle(world, tx, trial, finding)
        return settled if isinstance(settled, DoorwardError) else await then(tx, settled)

    bought = await world.db.transact(act)
    if finding.authenticator is not None and finding.step is not None:
        await world.limits.remember_step(finding.authenticator, finding.step)
    return bought


async def settle(world: World, tx: Connection, trial: Trial, finding: Finding) -> Finding | DoorwardError:
    """Count an examined guess and burn what it spends; the finding, or why it is refused.

    The order is that of the locks: the person's row with the count, the acting session or the pre-auth
    token, the step or code. When the budget is used up the finding is thrown away unseen (I8). A token
    that is gone, or a person whose epoch moved on, undoes the count as well.
    """
    now = world.clock.now()
    counted = await factor_store.admit(
        tx, trial.person, world.budget, known=trial.known, failed=not finding.right, now=now
    )
    if counted is None:
        spent = await factor_store.spent(tx, trial.person, known=trial.known)
        refusal = _over_budget(world, spent.failures, spent.streak) or Unavailable("raced for the budget")
        await record_refusal(world, tx, trial, refusal)
        return refusal
    if trial.session and await session_store.living(tx, trial.session) != counted.epoch:
        raise InvalidToken("the session ended meanwhile")
    if not counted.stands(trial.epoch):
        raise trial.stale("the person's epoch moved on")
    attempts = await take_try(world, tx, trial.token, spend=finding.right) if trial.token else None
    failures = counted.failures
    if finding.right and not finding.enrols:
        finding = await _burn(tx, trial.person, finding, now)
        if not finding.right:
            # Right, but another request with the same code was faster: a failure after all.
            failures = await factor_store.count_failure(tx, trial.person, known=trial.known, now=now)
            if trial.token:
                await sign_in_store.unspend(tx, trial.token)
    if finding.right:
        return finding
    await record(
        world, tx, trial, "failed", factor=finding.authenticator, method=finding.kind, reason=finding.why
    )
    if not finding.enrols and world.budget.recent(failures, now) == 1:
        # Right password, wrong second factor: the person hears of it, once for a burst.
        await outbox_store.put_at_most(
            tx,
            world.row_id(),
            "second_factor_failed",
            trial.person,
            trial.origin,
            now,
            most=policy.LETTERS_A_DAY,
        )
    return finding.refusal(tries_left(world, attempts, failures), now)


async def accept(
    world: World, tx: Connection, trial: Trial, finding: Finding, *, tell: bool = True
) -> int | None:
    """Record a right second factor; for a backup code tell the person, and return how many are left. Not
    `tell` where the act has a letter of its own, after which no code is left."""
    await record(world, tx, trial, "ok", factor=finding.authenticator, method=finding.kind, step=finding.step)
    if finding.code is None or not tell:
        return None
    living = await factor_store.backup_set(tx, trial.person)
    codes_left = living.left if living else 0
    await outbox_store.put(
        tx,
        world.row_id(),
        "backup_code_used",
        trial.person,
        trial.origin,
        world.clock.now(),
        backup_codes_left=codes_left,
        few=backup_codes.left_warning(codes_left),
    )
    return codes_left


async def take_try(world: World, tx: Connection, token: bytes, *, spend: bool) -> int:
    """Claim one of a pre-auth token's tries, and with `spend` the token; how many are taken."""
    limit, now = world.settings.tokens.pre_auth_attempts, world.clock.now()
    attempts = await sign_in_store.take_try(tx, token, spend=spend, limit=limit, now=now)
    if attempts is None:
        raise InvalidPreAuthToken("another was faster")
    return attempts


def tries_left(world: World, attempts: int | None, failures: Sequence[datetime]) -> int:
    """How many more guesses may fail: the smaller of the person's and, where there is one, the token's."""
    left, limit = world.budget.left(failures, world.clock.now()), world.settings.tokens.pre_auth_attempts
    return left if attempts is None else policy.attempts_left(attempts, limit, left)


def match(world: World, person: UUID, one: Authenticator, code: str) -> Finding:
    """Compare a code with one authenticator, by the rule in domain/totp.py."""
    secret, now = open_seed(world, person, one), world.clock.now()
    match totp.match(secret, code, now, one.last_step, one.parameters, world.settings.two_factor.window):
        case totp.Accepted(step):
            return Finding("totp", "right", right=True, authenticator=one.id, step=step)
        case totp.Replayed(step):
            return Finding("totp", "a replayed step", used=True, authenticator=one.id, step=step)
        case totp.Behind(seconds):
            return Finding("totp", "a past step", skew=seconds, authenticator=one.id)
        case _:
            return Finding("totp", "a wrong code", authenticator=one.id)


def open_seed(world: World, person: UUID, authenticator: Authenticator) -> bytes:
    """The seed. A record that does not open is never "no second factor": it is 503, and an alarm."""
    try:
        return world.sealer.open(authenticator.seed, "totp", str(person), str(authenticator.id))
    except crypto.SealBroken as fault:
        raise Unavailable(f"seed of {authenticator.id}: {fault}", retry_after=60) from fault


async def _burn(tx: Connection, person: UUID, finding: Finding, now: datetime) -> Finding:
    if finding.code is not None:
        burnt = await factor_store.spend_backup_code(tx, person, finding.code, now)
    else:
        assert finding.authenticator is not None  # a right finding without a code has both
        assert finding.step is not None
        burnt = await factor_store.burn_step(tx, finding.authenticator, finding.step)
    return finding if burnt else replace(finding, right=False, used=True, why="another was faster")


async def record(
    world: World,
    tx: Connection,
    attempt: Attempt,
    result: Result,
    *,
    factor: UUID | None = None,
    unless_since: datetime | None = None,
    **detail: object,
) -> None:
    """Write an attempt down."""
    await audit.record(
        world,
        tx,
        attempt.act,
        result,
        attempt.origin,
        person=attempt.person,
        actor=None,
        client=attempt.client,
        session=attempt.session,
        factor=factor,
        unless_since=unless_since,
        **detail,
    )


async def record_refusal(world: World, tx: Connection, attempt: Attempt, refusal: DoorwardError) -> None:
    """Write down that a known person's attempt was not even judged, once in a while."""
    if attempt.person is not None:
        since = world.clock.now() - policy.REFUSALS_APART
        await record(world, tx, attempt, "refused", unless_since=since, reason=refusal.private)


def _over_budget(world: World, failures: Sequence[datetime], streak: int) -> DoorwardError | None:
    if streak >= world.budget.in_a_row:
        return SecondFactorBlocked("too many failures in a row")
    if wait := world.budget.wait(failures, world.clock.now()):
        return RateLimited(
            "the person's second-factor budget is used up",
            retry_after=wait,
            limit=f'"second_factor.person";q={world.budget.per_5_minutes};w=300',
        )
    return None


async def _examine_totp(
    world: World, person: UUID, authenticators: Sequence[Authenticator], code: str
) -> Finding:
    findings = [
        match(world, person, one, code) for one in authenticators if totp.is_code(code, one.parameters.digits)
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
