"""The sign-in: password, then whatever is still owed, then a session.

The steps never call each other. Each ends in `_go_on`, the one place that asks what is owed next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from service import crypto
from service.domain import accounts, backup_codes, policy, sessions
from service.domain.sessions import EndReason
from service.domain.sign_in import Kind, Origin, Pending, Standing, Step, next_step, with_factor
from service.errors import (
    DoorwardError,
    InvalidCredentials,
    InvalidPreAuthToken,
    InvalidRequest,
)
from service.flows import enrolment, passwords, proofs, tokens
from service.flows import sessions as session_flow
from service.flows import trust as trust_flow
from service.flows.enrolment import Codes, Enrolment, Started
from service.flows.proofs import Attempt, Finding, Trial
from service.flows.sessions import AnySession, BrowserSession, Opened
from service.flows.tokens import Tokens
from service.flows.trust import Trust
from service.stores import accounts as account_store
from service.stores import factors as factor_store
from service.stores import outbox as outbox_store
from service.stores import sign_in as sign_in_store
from service.stores.accounts import Hold
from service.stores.postgres import Connection
from service.world import World


@dataclass(frozen=True, slots=True)
class Owed:
    """Something is still owed: the token that opens the next step and nothing else."""

    step: Step
    pre_auth_token: str
    expires_in: int
    methods: Sequence[Kind] = ()
    attempts_left: int | None = None
    backup_codes_left: int | None = None
    codes: Codes | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    """Nothing more is owed. `trust` is what a trusted browser keeps from now on."""

    opened: Tokens | BrowserSession
    device_token: str
    backup_codes_left: int | None = None
    codes: Codes | None = None
    trust: Trust | None = None


Outcome: TypeAlias = Owed | Complete


@dataclass(frozen=True, slots=True)
class _Next:
    """What a transaction led to: the next thing owed or the session, and what is told with it."""

    step: Owed | AnySession
    backup_codes_left: int | None = None
    codes: Codes | None = None
    trust: Trust | None = None


@dataclass(frozen=True, slots=True)
class _Begun:
    """A sign-in that has no pre-auth token yet: its client, and whether it knows the device."""

    client: str
    known: bool


#: What a transaction decides. A refusal that is returned stays counted.
_Verdict: TypeAlias = _Next | DoorwardError


async def sign_in(
    world: World,
    origin: Origin,
    email: str,
    password: str,
    client: str,
    device_token: str | None,
    trust_token: str | None = None,
) -> Outcome:
    """The first step: a password. Unknown, disabled and wrong cost and answer the same (K-35, K-36): a trust
    token is looked at only once the password is right."""
    address, normal = _address(email), passwords.read(password)
    async with world.limits.charged("sign_in.network", origin.address):
        async with world.db.connection() as connection:
            person = await account_store.by_email(connection, address)
        known = person is not None and tokens.is_known_device(world, person, device_token)
        key = passwords.key_of(world, address, known=known)
        password_hash = person.password_hash if person and not person.disabled else None
        attempt = Attempt(
            act="account:sign_in", person=person.id if person else None, origin=origin, client=client
        )
        right = await passwords.examine(world, attempt, key, password_hash, normal)
        now = world.clock.now()

        async def act(tx: Connection) -> _Verdict:
            if person is None or not right:
                await account_store.password_failed(tx, key, now)
                await proofs.record(world, tx, attempt, "failed", method="password")
                return InvalidCredentials("no usable password" if password_hash is None else "wrong password")
            await account_store.password_held(tx, key)
            held = await account_store.hold(tx, person.id)
            if not held.stands(person.epoch):
                # A change acknowledged while the password was hashed ends this sign-in as well (I7).
                await proofs.record(world, tx, attempt, "refused", reason="the person's epoch moved on")
                return InvalidCredentials("the person's epoch moved on")
            await proofs.record(world, tx, attempt, "ok", method="password")
            standing, begun = person.standing(("pwd",)), _Begun(client, known)
            trust = await trust_flow.use(world, tx, origin, standing, client, trust_token)
            trusted = replace(standing, trusted=trust.browser if trust else None)
            return replace(await _go_on(world, tx, origin, trusted, begun, auth_time=now), trust=trust)

        outcome = _answer(world, await world.db.transact(act))
    if password_hash and world.pool.is_outdated(password_hash):
        await passwords.rehash(world, address, password_hash, normal)
    return outcome


async def second_factor(
    world: World,
    origin: Origin,
    token: str,
    code: str,
    method: Kind | None,
    client: str,
    *,
    trust: bool = False,
    trust_token: str | None = None,
) -> Outcome:
    """The second step: a TOTP code or a backup code (RFC 6238 §5.2: each is accepted once).

    One transaction counts the guess, claims the token, burns the code and opens the session; and makes the
    browser a trusted one where the person wants that (`trust`; `trust_token` is what it held before).
    """
    kind = proofs.read_code(code, method)
    async with world.limits.charged("second_factor.network", origin.address):
        pending = await _pending(world, token, client, Step.SECOND_FACTOR)
        standing, trial = pending.standing, _trial("account:second_factor", pending, origin)
        await proofs.require_budget(world, trial, pending.failures, pending.streak)
        finding = await proofs.examine(world, standing.person, pending.code_salt, code, kind)

        async def go_on(tx: Connection, right: Finding) -> _Next:
            left = await proofs.accept(world, tx, trial, right)
            proved = replace(standing, amr=with_factor(right.kind))
            then = await _go_on(world, tx, origin, proved, pending, auth_time=world.clock.now())
            made = None
            if trust and not isinstance(then.step, Owed):
                made = await trust_flow.make(world, tx, origin, proved, then.step, trust_token)
            return replace(then, backup_codes_left=left, trust=made)

        return _answer(world, await proofs.spend(world, trial, finding, go_on))


async def start_enrolment(world: World, origin: Origin, token: str, name: str, client: str) -> Enrolment:
    """Forced enrolment: begin it on the pre-auth token of a person who has no factor yet."""
    pending, now = await _pending(world, token, client, Step.ENROLMENT), world.clock.now()
    standing, life = pending.standing, world.settings.tokens

    async def act(tx: Connection) -> Started:
        held = await account_store.hold(tx, standing.person)
        living = await sign_in_store.prolong(
            tx,
            pending.digest,
            seconds=life.enrolment_seconds,
            # Whoever starts in time has the whole time; whoever starts again and again has no more.
            most=life.pre_auth_seconds + life.enrolment_seconds,
            limit=life.pre_auth_attempts,
            now=now,
        )
        if not living or not held.stands(standing.epoch):
            raise InvalidPreAuthToken("ended meanwhile")
        return await enrolment.start(world, tx, standing.person, name, _starter(pending), origin, client)

    return enrolment.present(world, await world.db.transact(act), standing.email)


async def pending_enrolment(world: World, token: str, client: str) -> Enrolment | None:
    """Forced enrolment: what this sign-in has begun already, if anything."""
    pending = await _pending(world, token, client, Step.ENROLMENT)
    found = await enrolment.newest(world, pending.standing.person, _starter(pending))
    return enrolment.present(world, found, pending.standing.email) if found else None


async def owed(world: World, token: str, client: str) -> Pending:
    """What a pre-auth token's sign-in still owes. Raises InvalidPreAuthToken for a dead one."""
    return await _pending(world, token, client, None)


async def confirm_enrolment(
    world: World, origin: Origin, token: str, authenticator: UUID, code: str, client: str
) -> Outcome:
    """Forced enrolment: the first right code turns the second factor on and goes on."""
    enrolment.require_code(code)
    async with world.limits.charged("second_factor.network", origin.address):
        pending = await _pending(world, token, client, Step.ENROLMENT)
        standing, trial = pending.standing, _trial("two_factor:confirmation", pending, origin)
        await proofs.require_budget(world, trial, pending.failures, pending.streak)
        enrolling = await enrolment.pending(world, standing.person, authenticator, _starter(pending))
        finding = enrolment.examine(world, standing.person, enrolling, code)
        codes = await enrolment.new_codes(world, pending.code_salt) if finding.right else None

        async def turn_on(tx: Connection, right: Finding) -> _Next:
            epoch = await enrolment.turn_on(world, tx, standing.person, right, codes, origin, client)
            proved = replace(standing, epoch=epoch, enrolled=True, amr=with_factor("totp"))
            step = await _go_on(world, tx, origin, proved, pending, auth_time=world.clock.now())
            return replace(step, codes=codes, backup_codes_left=backup_codes.COUNT)

        return _answer(world, await proofs.spend(world, trial, finding, turn_on))


async def verify_email(world: World, origin: Origin, token: str, client: str) -> Outcome:
    """Owed an e-mail verification: send the letter again, or go on when it has been done."""
    pending, now = await _pending(world, token, client, Step.EMAIL_VERIFICATION), world.clock.now()
    standing = pending.standing

    async def act(tx: Connection) -> _Verdict:
        held = await account_store.hold(tx, standing.person)
        await _spend(world, tx, pending, held)
        if not standing.email_verified:
            sent = await outbox_store.put_at_most(
                tx, world.row_id(), "verify_email", standing.person, origin, now, most=policy.LETTERS_A_DAY
            )
            letter = Attempt(
                act="account:verification_letter", person=standing.person, origin=origin, client=client
            )
            await proofs.record(world, tx, letter, "ok" if sent else "refused")
        return await _go_on(world, tx, origin, standing, pending, auth_time=pending.auth_time)

    return _answer(world, await world.db.transact(act))


async def change_password(world: World, origin: Origin, token: str, password: str, client: str) -> Outcome:
    """Owed a new password. Every session ends, since whoever knew the old one may hold one.

    A try of the token is taken before anything is hashed: one token must not buy a flood of hashes.
    """
    passwords.read(password, "/new_password")
    async with world.limits.charged("sign_in.network", origin.address):
        pending, now = await _pending(world, token, client, Step.PASSWORD_CHANGE), world.clock.now()
        standing = pending.standing
        normal = passwords.new(password, standing.email)
        await world.db.transact(lambda tx: proofs.take_try(world, tx, pending.digest, spend=False))
        password_hash = await passwords.new_hash(world, pending.password_hash, normal)
        change = Attempt(act="account:password_change", person=standing.person, origin=origin, client=client)

        async def act(tx: Connection) -> _Verdict:
            held = await account_store.hold(tx, standing.person)
            await _spend(world, tx, pending, held)
            await account_store.set_password(tx, standing.person, password_hash)
            reason = EndReason.PASSWORD_CHANGED
            _, epoch = await session_flow.end_others(world, tx, standing.person, reason, kept=None)
            await proofs.record(world, tx, change, "ok")
            await outbox_store.put(tx, world.row_id(), "password_changed", standing.person, origin, now)
            changed = replace(standing, epoch=epoch, must_change_password=False)
            return await _go_on(world, tx, origin, changed, pending, auth_time=pending.auth_time)

        return _answer(world, await world.db.transact(act))


async def _go_on(
    world: World,
    tx: Connection,
    origin: Origin,
    standing: Standing,
    begun: _Begun | Pending,
    *,
    auth_time: datetime,
) -> _Next:
    """Whatever is owed next: a fresh pre-auth token for it, or the session. The caller holds the
    person's row, and has seen that `standing` is of its present epoch."""
    step = next_step(standing, world.settings.two_factor.required)
    if step is Step.COMPLETE:
        return _Next(await session_flow.open_session(world, tx, standing, begun.client, auth_time, origin))
    life, now = world.settings.tokens.pre_auth_seconds, world.clock.now()
    expires_at = now + timedelta(seconds=life)
    if isinstance(begun, Pending) and begun.step is step:
        # Nothing was proved, so nothing is prolonged: asking for a letter again keeps no sign-in alive.
        expires_at = min(expires_at, begun.expires_at)
        life = int((expires_at - now).total_seconds())
    token = sessions.opaque(sessions.PRE_AUTH, world.entropy.token(32))
    await sign_in_store.open(
        tx,
        digest=crypto.sha256(token),
        id=world.row_id(),
        standing=standing,
        step=step,
        client=begun.client,
        auth_time=auth_time,
        known=begun.known,
        now=now,
        expires_at=expires_at,
    )
    if step is not Step.SECOND_FACTOR:
        return _Next(Owed(step, token, life))
    spent = await factor_store.spent(tx, standing.person, known=begun.known)
    codes = await factor_store.backup_set(tx, standing.person)
    methods: Sequence[Kind] = ("totp", "backup_code") if codes and codes.left else ("totp",)
    return _Next(Owed(step, token, life, methods, proofs.tries_left(world, 0, spent.failures)))


async def _pending(world: World, token: str, client: str, step: Step | None) -> Pending:
    """The living sign-in behind a token that owes `step`, or anything. At another step's door a token is
    as good as unknown, and nothing is counted."""
    if not sessions.is_pre_auth(token):
        raise InvalidPreAuthToken("not of a pre-auth token's form")
    limit, now = world.settings.tokens.pre_auth_attempts, world.clock.now()
    async with world.db.connection() as connection:
        pending = await sign_in_store.pending(connection, crypto.sha256(token), client, limit, now)
    if pending is None:
        raise InvalidPreAuthToken("unknown, expired, spent, exhausted or ended")
    if step is not None and pending.step is not step:
        raise InvalidPreAuthToken(f"the token owes {pending.step}, not {step}")
    return pending


async def _spend(world: World, tx: Connection, pending: Pending, held: Hold) -> None:
    """Spend a token whose step needs no code."""
    if not held.stands(pending.standing.epoch):
        raise InvalidPreAuthToken("the person's epoch moved on")
    if not await sign_in_store.spend(tx, pending.digest, world.clock.now()):
        raise InvalidPreAuthToken("another was faster")


def _trial(act: str, pending: Pending, origin: Origin) -> Trial:
    return Trial(
        act=act,
        person=pending.standing.person,
        epoch=pending.standing.epoch,
        known=pending.known,
        origin=origin,
        client=pending.client,
        stale=InvalidPreAuthToken,
        token=pending.digest,
    )


def _answer(world: World, led_to: _Next) -> Outcome:
    """After the commit: the arm of the union, its tokens signed."""
    step, left, codes = led_to.step, led_to.backup_codes_left, led_to.codes
    if isinstance(step, Owed):
        return replace(step, backup_codes_left=left, codes=codes)
    device = tokens.device_token(world, step.person, step.epoch)
    opened = tokens.mint(world, step, step.refresh_token) if isinstance(step, Opened) else step
    return Complete(opened, device, left, codes, led_to.trust)


def _address(email: str) -> str:
    address = accounts.canonical_email(email)
    if address is None:
        raise InvalidRequest("not an address", errors=[{"pointer": "/email", "code": "not_an_email"}])
    return address


def _starter(pending: Pending) -> str:
    return f"pre_auth:{pending.id}"
