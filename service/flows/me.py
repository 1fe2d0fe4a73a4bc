"""Oneself: the profile, the password, the sign-ins of late, and where one is signed in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from service.domain import policy
from service.domain.sessions import EndReason
from service.domain.sign_in import Origin
from service.errors import DoorwardError, InvalidToken, NotFound
from service.flows import activity, passwords, proofs
from service.flows import sessions as session_flow
from service.flows import trust as trust_flow
from service.flows.activity import Result
from service.flows.activity import Session as Session
from service.flows.activity import SignIn as SignIn
from service.flows.sessions import Caller, Renewal
from service.stores import accounts as account_store
from service.stores import factors as factor_store
from service.stores import outbox as outbox_store
from service.stores import sessions as session_store
from service.stores.accounts import Person, Profile
from service.stores.factors import Authenticator, BackupSet
from service.stores.postgres import Connection
from service.world import World


@dataclass(frozen=True, slots=True)
class Overview:
    """A person as they may see themselves. `stepped_up`: this session proved everything lately."""

    person: Person
    profile: Profile
    authenticators: Sequence[Authenticator]
    codes: BackupSet | None
    required: bool
    stepped_up: bool


async def overview(world: World, caller: Caller) -> Overview:
    """The profile and the state of the second factor."""
    async with world.db.connection() as connection:
        person = await account_store.by_id(connection, caller.person)
        if person is None:
            raise InvalidToken("the person is gone")
        profile = await account_store.profile(connection, person)
        authenticators = await factor_store.authenticators(connection, caller.person)
        codes = await factor_store.backup_set(connection, caller.person)
    required = policy.requires_two_factors(world.settings.two_factor.required)
    stepped_up = session_flow.has_stepped_up(world, caller, enrolled=person.enrolled)
    return Overview(person, profile, authenticators, codes, required, stepped_up)


async def change_profile(world: World, origin: Origin, caller: Caller, changes: Mapping[str, Any]) -> None:
    """Change some fields of the profile: `name`, `language`, `phone_number`, `address`; None clears one."""

    async def act(tx: Connection) -> None:
        person = await account_store.by_id(tx, caller.person)
        assert person is not None  # their row is held
        present = await account_store.profile(tx, person)
        await account_store.set_profile(tx, caller.person, replace(present, **changes))
        attempt = proofs.attempt_of("account:profile", caller, origin)
        await proofs.record(world, tx, attempt, "ok", fields=sorted(changes))

    await session_flow.acting(world, caller, act)


async def change_password(
    world: World, origin: Origin, caller: Caller, current: str, password: str
) -> Renewal | None:
    """Set a new password; needs a step-up and the present one. Every other session ends, and whatever is
    under way; what a browser's session lives on under.

    Raises InvalidCredentials as the sign-in does, and InvalidRequest for a password that may not be.
    """
    attempt = proofs.attempt_of("account:password_change", caller, origin)
    old = passwords.read(current, "/current_password")
    passwords.read(password, "/new_password")  # its form, before anything is charged or looked up
    async with world.limits.charged("sign_in.network", origin.address):
        async with world.db.connection() as connection:
            person = await account_store.by_id(connection, caller.person)
        if person is None:
            raise InvalidToken("the person is gone")
        session_flow.require_step_up(world, caller, enrolled=person.enrolled)
        normal = passwords.new(password, person.email)
        await passwords.confirm(world, attempt, person, old)
        password_hash = await passwords.new_hash(world, person.password_hash, normal)

        async def act(tx: Connection) -> Renewal | None:
            await account_store.set_password(tx, caller.person, password_hash)
            reason = EndReason.PASSWORD_CHANGED
            _, epoch = await session_flow.end_others(world, tx, caller.person, reason, kept=caller.session)
            await proofs.record(world, tx, attempt, "ok")
            now = world.clock.now()
            await outbox_store.put(tx, world.row_id(), "password_changed", caller.person, origin, now)
            return await session_flow.renew(world, tx, caller, epoch=epoch)

        return await session_flow.acting(world, caller, act)


async def sign_ins(
    world: World,
    caller: Caller,
    *,
    result: Result | None,
    before: UUID | None,
    since: datetime | None,
    until: datetime | None,
    address: str | None,
    limit: int,
) -> Sequence[SignIn]:
    """The person's sign-ins and tries, newest first, filtered by result, time (until is exclusive) and
    address."""
    return await activity.sign_ins(
        world,
        caller.person,
        result=result,
        before=before,
        since=since,
        until=until,
        address=address,
        limit=limit,
    )


async def sessions(
    world: World, caller: Caller, *, ended: bool | None, before: UUID | None, limit: int
) -> Sequence[Session]:
    """The person's sessions, newest first: living ones, ended ones, or with None both."""
    return await activity.sessions(
        world, caller.person, current=caller.session, ended=ended, before=before, limit=limit
    )


async def devices(
    world: World, caller: Caller, *, before: UUID | None, limit: int
) -> tuple[Sequence[Session], UUID | None]:
    """Where one is signed in: the acting session, whenever it began, then the others from the newest on, so
    many of them; and from where the next ones follow, where there are more."""
    # Identifiers ascend with time: the one below the acting session's successor is itself.
    itself = UUID(int=caller.session.int + 1)
    acting = await sessions(world, caller, ended=False, before=itself, limit=1)
    found = await sessions(world, caller, ended=False, before=before, limit=limit + 1)
    others = found[:limit]
    shown = [one for one in acting if one.current] + [one for one in others if not one.current]
    return shown, others[-1].id if len(found) > limit else None


@dataclass(frozen=True, slots=True)
class Portal:
    """A client that holds something in a session, and since when."""

    session: UUID
    client_id: str
    name: str
    scopes: Sequence[str]
    since: datetime


async def portals(world: World, caller: Caller, sessions: Sequence[Session]) -> Sequence[Portal]:
    """Which portals were opened from these sessions and can act in them still, by name."""
    ids, now = [one.id for one in sessions], world.clock.now()
    async with world.db.connection() as connection:
        rows = await session_store.portals(connection, caller.person, ids, now)
    return [
        Portal(row["session_id"], row["client_id"], row["name"], row["scopes"], row["since"]) for row in rows
    ]


async def end_session(world: World, origin: Origin, caller: Caller, session: UUID) -> None:
    """End one of the person's sessions, at once; one that has ended stays so. From elsewhere its trust in its
    browser ends too; whoever signs out there keeps it, as it is for the next time. Raises NotFound for
    another's."""
    own = session == caller.session
    reason = EndReason.SIGNED_OUT if own else EndReason.REVOKED

    async def act(tx: Connection) -> DoorwardError | None:
        if await session_store.owner(tx, session) != caller.person:
            return NotFound("no session of this person")
        await session_flow.expire(world, tx, caller.person)
        if await session_store.end(tx, caller.person, session, reason, world.clock.now()):
            name = "session:sign_out" if own else "session:end"
            attempt = replace(proofs.attempt_of(name, caller, origin), session=session)
            await proofs.record(world, tx, attempt, "ok")
        if not own:
            await trust_flow.end_with(world, tx, origin, caller, session)
        return None

    async def sign_out(tx: Connection) -> DoorwardError | None:
        await account_store.hold(tx, caller.person)
        return await act(tx)

    if own:
        # Also when it has ended meanwhile: whoever signs out twice is signed out.
        await world.db.transact(sign_out)
    else:
        await session_flow.acting(world, caller, act)


async def end_other_sessions(world: World, origin: Origin, caller: Caller) -> tuple[int, Renewal | None]:
    """End all sessions but this one; how many, and what a browser's session lives on under."""

    async def act(tx: Connection) -> tuple[int, Renewal | None]:
        ended, epoch = await session_flow.end_others(
            world, tx, caller.person, EndReason.REVOKED, kept=caller.session
        )
        attempt = proofs.attempt_of("session:end_others", caller, origin)
        await proofs.record(world, tx, attempt, "ok", ended=ended)
        return ended, await session_flow.renew(world, tx, caller, epoch=epoch)

    return await session_flow.acting(world, caller, act)
