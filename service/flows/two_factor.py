"""One's own second factor: turn it on, name and remove authenticators, replace the codes, turn it off."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from service.domain import policy
from service.domain.sessions import EndReason
from service.domain.sign_in import Origin, with_factor
from service.errors import (
    BackupCodesReplaced,
    DoorwardError,
    EmailNotVerified,
    EnrolmentReplaced,
    InvalidRequest,
    InvalidToken,
    LastAuthenticator,
    NoAuthenticator,
    NotFound,
    TooManyAuthenticators,
    TwoFactorRequiredByPolicy,
)
from service.flows import enrolment, passwords, proofs
from service.flows import sessions as session_flow
from service.flows.enrolment import Codes, Enrolment, Started
from service.flows.proofs import Finding
from service.flows.sessions import Caller, Renewal
from service.stores import accounts as account_store
from service.stores import factors as factor_store
from service.stores import outbox as outbox_store
from service.stores.accounts import Person
from service.stores.factors import Authenticator
from service.stores.postgres import Connection
from service.world import World


@dataclass(frozen=True, slots=True)
class TurnedOn:
    """A confirmed authenticator, and with the first one the backup codes, shown once. `renewal` is what a
    browser's session lives on under."""

    authenticator: UUID
    name: str
    codes: Codes | None
    renewal: Renewal | None


async def start(world: World, origin: Origin, caller: Caller, name: str | None) -> Enrolment:
    """Begin an enrolment; needs a step-up. A pending one is replaced. Without a name it gets a free one.

    Raises EmailNotVerified, InvalidRequest for a name that is taken, and TooManyAuthenticators.
    """
    person, present = await _known(world, caller)
    session_flow.require_step_up(world, caller, enrolled=bool(present))
    if not person.email_verified:
        # Whoever turns it on must hear of it: by an address that is theirs.
        raise EmailNotVerified("the address is not verified")

    async def act(tx: Connection) -> Started | DoorwardError:
        taken = [one.name for one in await factor_store.authenticators(tx, caller.person)]
        if len(taken) >= policy.MOST_AUTHENTICATORS:
            return TooManyAuthenticators("eight already")
        free = free_name(taken) if name is None else _require_free(name, taken)
        return await enrolment.start(world, tx, caller.person, free, _starter(caller), origin, caller.client)

    return enrolment.present(world, await session_flow.acting(world, caller, act), person.email)


async def pending(world: World, caller: Caller, authenticator: UUID) -> Enrolment:
    """A pending enrolment again, for the session that started it only."""
    found = await enrolment.pending(world, caller.person, authenticator, _starter(caller))
    person, _ = await _known(world, caller)
    return enrolment.present(world, enrolment.opened(world, caller.person, found), person.email)


async def newest_pending(world: World, caller: Caller) -> Enrolment | None:
    """The enrolment this session has begun, if any."""
    found = await enrolment.newest(world, caller.person, _starter(caller))
    if found is None:
        return None
    person, _ = await _known(world, caller)
    return enrolment.present(world, found, person.email)


async def confirm(world: World, origin: Origin, caller: Caller, authenticator: UUID, code: str) -> TurnedOn:
    """The first right code turns the authenticator on. The other sessions end; this one goes on as one of
    two factors. It is no new step-up: the password was proved before."""
    enrolment.require_code(code)
    async with world.limits.charged("second_factor.network", origin.address):
        enrolling = await enrolment.pending(world, caller.person, authenticator, _starter(caller))
        # The epoch moves when another confirmation of this very person wins the race.
        trial = proofs.trial_of("two_factor:confirmation", caller, origin, stale=EnrolmentReplaced)
        async with world.db.connection() as connection:
            spent = await factor_store.spent(connection, caller.person, known=True)
            first = not await factor_store.authenticators(connection, caller.person)
        await proofs.require_budget(world, trial, spent.failures, spent.streak)
        finding = enrolment.examine(world, caller.person, enrolling, code)
        codes = await enrolment.new_codes(world, spent.code_salt) if finding.right and first else None

        async def turn_on(tx: Connection, right: Finding) -> Renewal | None:
            epoch = await enrolment.turn_on(
                world, tx, caller.person, right, codes, origin, caller.client, kept=caller.session
            )
            return await session_flow.renew(world, tx, caller, epoch=epoch, amr=with_factor("totp"))

        renewal = await proofs.spend(world, trial, finding, turn_on)
        return TurnedOn(enrolling.id, enrolling.name, codes, renewal)


async def rename(world: World, origin: Origin, caller: Caller, authenticator: UUID, name: str) -> None:
    """Give an authenticator another name. Raises NotFound, and InvalidRequest for a name that is taken."""

    async def act(tx: Connection) -> DoorwardError | None:
        present = await factor_store.authenticators(tx, caller.person)
        waiting = await factor_store.pending(tx, caller.person, None, world.clock.now())
        named = [*present, waiting] if waiting else present
        _require_free(name, [one.name for one in named if one.id != authenticator])
        if not await factor_store.rename(tx, caller.person, authenticator, name):
            return NotFound("no such authenticator")
        await proofs.record(
            world, tx, proofs.attempt_of("two_factor:renaming", caller, origin), "ok", factor=authenticator
        )
        return None

    await session_flow.acting(world, caller, act)


async def remove(world: World, origin: Origin, caller: Caller, authenticator: UUID) -> Renewal | None:
    """Remove an authenticator; needs a step-up. The other sessions end; what a browser's lives on under.

    Raises NotFound, and LastAuthenticator: the last one goes by turning the second factor off.
    """
    _, present = await _known(world, caller)
    session_flow.require_step_up(world, caller, enrolled=bool(present))

    async def act(tx: Connection) -> Renewal | DoorwardError | None:
        living = {one.id for one in await factor_store.authenticators(tx, caller.person)}
        if authenticator not in living:
            return NotFound("no such authenticator")
        if len(living) == 1:
            return LastAuthenticator("the last authenticator")
        await factor_store.remove(tx, caller.person, authenticator)
        attempt = proofs.attempt_of("two_factor:removal", caller, origin)
        await proofs.record(world, tx, attempt, "ok", factor=authenticator)
        await _tell(world, tx, "authenticator_removed", caller, origin)
        return await _live_on(world, tx, caller)

    return await session_flow.acting(world, caller, act)


async def regenerate(
    world: World, origin: Origin, caller: Caller, *, replacing: UUID | Literal["none"] | None = None
) -> Codes:
    """A new set of five backup codes; the old one is dead in the same transaction. Sessions live on: what
    they proved stands.

    With `replacing` only that set is replaced (`"none"`: only where there is no living one), so that a form
    sent twice acts once; BackupCodesReplaced when it is not the living one any more.
    """
    _, present = await _known(world, caller)
    session_flow.require_step_up(world, caller, enrolled=bool(present))
    if not present:
        raise NoAuthenticator("no authenticator")
    async with world.db.connection() as connection:
        spent = await factor_store.spent(connection, caller.person, known=True)
    codes = await enrolment.new_codes(world, spent.code_salt)

    async def act(tx: Connection) -> DoorwardError | None:
        living = await factor_store.backup_set(tx, caller.person)
        if replacing is not None and replacing != (living.id if living else "none"):
            return BackupCodesReplaced("another set is the living one")
        await enrolment.keep_codes(tx, caller.person, codes)
        attempt = proofs.attempt_of("two_factor:backup_codes", caller, origin)
        await proofs.record(world, tx, attempt, "ok", set=codes.set_id)
        await _tell(world, tx, "backup_codes_replaced", caller, origin)
        return None

    await session_flow.acting(world, caller, act)
    return codes


async def say_saved(world: World, origin: Origin, caller: Caller, backup_set: UUID) -> None:
    """Note that the person saved the codes of their living set. Raises BackupCodesReplaced for any other."""

    async def act(tx: Connection) -> DoorwardError | None:
        if not await factor_store.save_backup_set(tx, caller.person, backup_set, world.clock.now()):
            return BackupCodesReplaced("not the living set of this person")
        attempt = proofs.attempt_of("two_factor:backup_codes_saved", caller, origin)
        await proofs.record(world, tx, attempt, "ok", set=backup_set)
        return None

    await session_flow.acting(world, caller, act)


async def disable(world: World, origin: Origin, caller: Caller, password: str, code: str) -> Renewal | None:
    """Turn the second factor off: every authenticator and code goes, the other sessions end, and this one
    is of one factor. Password and code are its own proof; what a browser's session lives on under.

    Raises TwoFactorRequiredByPolicy, NoAuthenticator, and for wrong secrets what the sign-in does.
    """
    normal, kind = passwords.read(password), proofs.read_code(code, None)
    if policy.requires_two_factors(world.settings.two_factor.required):
        raise TwoFactorRequiredByPolicy("required of everyone")
    trial = proofs.trial_of("two_factor:disable", caller, origin, stale=InvalidToken)
    person, present = await _known(world, caller)
    if not present:
        raise NoAuthenticator("no authenticator")
    async with world.limits.charged("sign_in.network", origin.address):
        await passwords.confirm(world, trial, person, normal)
    async with world.db.connection() as connection:
        spent = await factor_store.spent(connection, caller.person, known=True)

    async def turn_off(tx: Connection, right: Finding) -> Renewal | None:
        await proofs.accept(world, tx, trial, right, tell=False)
        await factor_store.remove(tx, caller.person, None)
        await factor_store.void_backup_codes(tx, caller.person, world.clock.now())
        await _tell(world, tx, "two_factor_off", caller, origin)
        return await _live_on(world, tx, caller, amr=("pwd",))

    async with world.limits.charged("second_factor.network", origin.address):
        await proofs.require_budget(world, trial, spent.failures, spent.streak)
        finding = await proofs.examine(world, caller.person, spent.code_salt, code, kind)
        return await proofs.spend(world, trial, finding, turn_off)


async def _known(world: World, caller: Caller) -> tuple[Person, Sequence[Authenticator]]:
    async with world.db.connection() as connection:
        person = await account_store.by_id(connection, caller.person)
        present = await factor_store.authenticators(connection, caller.person)
    if person is None:
        raise InvalidToken("the person is gone")
    return person, present


async def _live_on(
    world: World, tx: Connection, caller: Caller, amr: Sequence[str] | None = None
) -> Renewal | None:
    """End the other sessions; this one goes on in the new epoch, a browser's under a new cookie."""
    reason = EndReason.TWO_FACTOR_CHANGED
    _, epoch = await session_flow.end_others(world, tx, caller.person, reason, kept=caller.session)
    return await session_flow.renew(world, tx, caller, epoch=epoch, amr=amr)


async def _tell(
    world: World, tx: Connection, letter: outbox_store.Letter, caller: Caller, origin: Origin
) -> None:
    await outbox_store.put(tx, world.row_id(), letter, caller.person, origin, world.clock.now())


def free_name(taken: Sequence[str], stem: str = "Authenticator") -> str:
    """A name that no other has: the stem, or the stem with a number."""
    names = [stem, *(f"{stem} {number}" for number in range(2, len(taken) + 2))]
    return next(name for name in names if name not in taken)


def _require_free(name: str, taken: Sequence[str]) -> str:
    if name in taken:
        raise InvalidRequest("the name is taken", errors=[{"pointer": "/name", "code": "taken"}])
    return name


def _starter(caller: Caller) -> str:
    return f"session:{caller.session}"
