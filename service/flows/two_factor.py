"""One's own second factor: see it, turn it on, replace the backup codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from service.domain.sign_in import Origin, with_factor
from service.errors import (
    Conflict,
    DoorwardError,
    EnrolmentReplaced,
    InvalidToken,
    NoAuthenticator,
    TooManyAuthenticators,
)
from service.flows import enrolment, proofs
from service.flows import sessions as session_flow
from service.flows.enrolment import Codes, Enrolment
from service.flows.proofs import Trial
from service.flows.sessions import Caller
from service.stores import accounts as account_store
from service.stores import audit as audit_store
from service.stores import factors as factor_store
from service.stores import outbox as outbox_store
from service.stores.accounts import Person
from service.stores.factors import Authenticator, BackupSet
from service.stores.postgres import Connection
from service.world import World

MOST_AUTHENTICATORS = 8


@dataclass(frozen=True, slots=True)
class Overview:
    """A person as they may see themselves."""

    person: Person
    authenticators: Sequence[Authenticator]
    codes: BackupSet | None
    required: bool


@dataclass(frozen=True, slots=True)
class TurnedOn:
    """A confirmed authenticator, and with the first one the backup codes, shown once."""

    authenticator: UUID
    name: str
    codes: Codes | None


async def overview(world: World, caller: Caller) -> Overview:
    """The profile and the state of the second factor."""
    async with world.db.connection() as connection:
        person = await account_store.by_id(connection, caller.person)
        authenticators = await factor_store.authenticators(connection, caller.person)
        codes = await factor_store.backup_set(connection, caller.person)
    if person is None:
        raise InvalidToken("the person is gone")
    return Overview(person, authenticators, codes, world.settings.two_factor.required == "all")


async def start(world: World, origin: Origin, caller: Caller, name: str) -> Enrolment:
    """Begin an enrolment; needs a step-up. A pending one is replaced."""
    known = await overview(world, caller)
    session_flow.require_step_up(world, caller, enrolled=bool(known.authenticators))
    if len(known.authenticators) >= MOST_AUTHENTICATORS:
        raise TooManyAuthenticators("eight already")

    async def act(tx: Connection) -> Enrolment:
        held = await account_store.hold(tx, caller.person)
        if not held.stands(caller.epoch):
            # A confirmation was faster: this session may live on, but what it saw is no longer so.
            raise Conflict("the person's epoch moved on")
        return await enrolment.start(
            world, tx, caller.person, known.person.email, name, _starter(caller), origin, caller.client
        )

    return await world.db.transact(act)


async def pending(world: World, caller: Caller, authenticator: UUID) -> Enrolment:
    """A pending enrolment again, for the session that started it only."""
    found = await enrolment.pending(world, caller.person, authenticator, _starter(caller))
    known = await overview(world, caller)
    secret = proofs.open_seed(world, caller.person, found)
    return enrolment.present(world, secret, found.id, known.person.email, found.name, found.expires_at)


async def confirm(world: World, origin: Origin, caller: Caller, authenticator: UUID, code: str) -> TurnedOn:
    """The first right code turns the authenticator on. The other sessions end; this one goes on as
    one of two factors."""
    async with world.limits.charged("second_factor.network", origin.address):
        enrolling = await enrolment.pending(world, caller.person, authenticator, _starter(caller))
        known = await overview(world, caller)
        async with world.db.connection() as connection:
            spent = await factor_store.spent(connection, caller.person, known=True)
        proofs.require_budget(world, spent.failures, spent.streak)
        finding = enrolment.examine(world, caller.person, enrolling, code)
        first = not known.authenticators
        codes = await enrolment.new_codes(world, spent.code_salt) if finding.right and first else None

        trial = Trial(
            "two_factor:confirmation",
            caller.person,
            caller.epoch,
            True,
            origin,
            caller.client,
            # The epoch moves when another confirmation of this very person wins the race.
            stale=EnrolmentReplaced,
            session=caller.session,
        )

        async def act(tx: Connection) -> DoorwardError | None:
            settled = await proofs.settle(world, tx, trial, finding)
            if isinstance(settled, DoorwardError):
                return settled
            epoch = await enrolment.turn_on(
                world, tx, caller.person, settled, codes, origin, caller.client, kept=caller.session
            )
            await session_flow.prove_anew(world, tx, caller, with_factor("totp"), epoch)
            return None

        if refusal := await world.db.transact(act):
            raise refusal
        await proofs.remember(world, finding)
        return TurnedOn(enrolling.id, enrolling.name, codes)


async def regenerate(world: World, origin: Origin, caller: Caller) -> Codes:
    """A new set of five backup codes; the old one is dead in the same transaction."""
    known = await overview(world, caller)
    session_flow.require_step_up(world, caller, enrolled=bool(known.authenticators))
    if not known.authenticators:
        raise NoAuthenticator("no authenticator")
    async with world.db.connection() as connection:
        spent = await factor_store.spent(connection, caller.person, known=True)
    codes, now = await enrolment.new_codes(world, spent.code_salt), world.clock.now()

    async def act(tx: Connection) -> None:
        held = await account_store.hold(tx, caller.person)
        if not held.stands(caller.epoch):
            # A confirmation was faster: this session may live on, but what it saw is no longer so.
            raise Conflict("the person's epoch moved on")
        await enrolment.keep_codes(tx, caller.person, codes)
        await audit_store.record(
            tx,
            world.row_id(),
            now,
            "two_factor:backup_codes",
            "ok",
            origin,
            person=caller.person,
            client=caller.client,
            session=caller.session,
            set=codes.set_id,
        )
        await outbox_store.put(tx, world.row_id(), "backup_codes_replaced", caller.person, origin, now)

    await world.db.transact(act)
    return codes


def _starter(caller: Caller) -> str:
    return f"session:{caller.session}"
