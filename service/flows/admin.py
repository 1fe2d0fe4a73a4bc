"""Administrators at work on other people's accounts (contract §5).

Who may do what is read anew at each act, in its own transaction. Nobody acts on themselves: whoever acts is
an administrator whose row is held until the act is done, so that one administrator always remains.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar
from uuid import UUID

from service import crypto
from service.domain import administration
from service.domain.administration import Act, Order, Place, Role
from service.domain.sign_in import Origin
from service.errors import DoorwardError, Forbidden, NotFound, OwnAccount, PreconditionFailed
from service.flows import activity, people
from service.flows import sessions as session_flow
from service.flows.activity import Session, SignIn
from service.flows.people import By, Count, Known, Page, Search
from service.flows.sessions import Caller
from service.stores import accounts as account_store
from service.stores import factors as factor_store
from service.stores.factors import Authenticator
from service.stores.postgres import Connection
from service.world import World

T = TypeVar("T")
#: Acts that a stolen session must not do: they need a fresh proof. To end sessions opens nothing.
_STEP_UP: Sequence[Act] = ("reset_two_factor", "unlock", "disable", "enable", "roles")


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of an account; None leaves it as it is."""

    status: Literal["active", "disabled"] | None = None
    roles: Sequence[Role] | None = None

    @property
    def acts(self) -> Sequence[Act]:
        acts: list[Act] = ["disable" if self.status == "disabled" else "enable"] if self.status else []
        return [*acts, "roles"] if self.roles is not None else acts


@dataclass(frozen=True, slots=True)
class Account:
    """One person with the names of what they sign in with, and what the caller may do to them."""

    person: Known
    authenticators: Sequence[Authenticator]
    may: Sequence[Act] = ()
    #: Whether this session may do what needs a fresh proof.
    stepped_up: bool = False

    @property
    def version(self) -> str:
        """Another one whenever anything that is told of the person is."""
        named = [(one.id, one.name) for one in self.authenticators]
        return crypto.sha256(repr((self.person, named))).hex()[:32]


async def listed(
    world: World, caller: Caller, search: Search, order: Order, after: Place | None, limit: int
) -> Page:
    """People who fit a search, a page at a time. Raises Forbidden."""
    await _require(world, caller, "read")
    return await people.page(world, search, order, after, limit)


async def counted(world: World, caller: Caller, search: Search) -> tuple[Count, Count]:
    """How many people fit a search, and how many there are. Raises Forbidden."""
    await _require(world, caller, "read")
    return await people.count(world, search), await people.count(world, Search())


async def account(world: World, caller: Caller, person: UUID) -> Account:
    """One person. Raises Forbidden and NotFound."""
    roles = await _require(world, caller, "read")
    async with world.db.connection() as connection:
        found = await _account(world, connection, person)
    own = person == caller.person
    upon = found.person.roles
    acts = [] if own else [act for act in administration.MAY["admin"] if administration.may(roles, act, upon)]
    stepped_up = session_flow.has_stepped_up(world, caller, enrolled=True)
    return replace(found, may=acts, stepped_up=stepped_up)


async def sessions(world: World, caller: Caller, person: UUID, limit: int) -> Sequence[Session]:
    """Where a person is signed in, newest first. Raises Forbidden."""
    await _require(world, caller, "read")
    return await activity.sessions(
        world, person, current=caller.session, ended=False, before=None, limit=limit
    )


async def sign_ins(world: World, caller: Caller, person: UUID, limit: int) -> Sequence[SignIn]:
    """A person's sign-ins and tries at it, newest first. Raises Forbidden."""
    await _require(world, caller, "read")
    return await activity.sign_ins(world, person, limit=limit)


async def change(
    world: World, origin: Origin, caller: Caller, person: UUID, changes: Changes, versions: Sequence[str]
) -> None:
    """Disable or enable a person, and set their roles. Whatever fits already is left alone.

    `versions` are those of the account that the change is meant for; none means any. Raises
    PreconditionFailed when it has another one now.
    """

    async def act(tx: Connection, by: By) -> DoorwardError | None:
        account = await _account(world, tx, person)
        known = account.person
        if versions and account.version not in versions:
            return PreconditionFailed("the account has another version")
        if changes.status == "disabled" and not known.disabled:
            await people.disable(world, tx, person, by)
        if changes.status == "active" and known.disabled:
            await people.enable(world, tx, person, by)
        if changes.roles is not None and set(changes.roles) != set(known.roles):
            await people.set_roles(world, tx, person, changes.roles, by)
        return None

    # Nothing asked is still a request to change, which is not everybody's.
    await _acting(world, origin, caller, person, changes.acts or ["roles"], act)


async def reset_two_factor(world: World, origin: Origin, caller: Caller, person: UUID, reason: str) -> int:
    """Take a person's second factor away, with a reason that is written down; how many authenticators."""
    return await _acting(
        world,
        origin,
        caller,
        person,
        ["reset_two_factor"],
        lambda tx, by: people.reset_two_factor(world, tx, person, by, reason),
    )


async def end_sessions(world: World, origin: Origin, caller: Caller, person: UUID) -> int:
    """End whatever a person has open; how many sessions."""
    return await _acting(
        world,
        origin,
        caller,
        person,
        ["end_sessions"],
        lambda tx, by: people.end_sessions(world, tx, person, by),
    )


async def unlock(world: World, origin: Origin, caller: Caller, person: UUID) -> None:
    """Give a person's second factor all its tries back."""
    await _acting(
        world, origin, caller, person, ["unlock"], lambda tx, by: people.unlock(world, tx, person, by)
    )


async def has_role(world: World, caller: Caller) -> bool:
    """Whether the person behind a session may administer anything at all, in some other session perhaps."""
    async with world.db.connection() as connection:
        return administration.may(await _roles(connection, caller.person), "read")


async def _acting(
    world: World,
    origin: Origin,
    caller: Caller,
    person: UUID,
    acts: Sequence[Act],
    act: Callable[[Connection, By], Awaitable[T | DoorwardError]],
) -> T:
    """Run an act on another's account. Raises Forbidden, ReauthenticationRequired, NotFound, OwnAccount."""
    for one in acts:
        await _require(world, caller, one)
    if any(one in _STEP_UP for one in acts):
        session_flow.require_step_up(world, caller, enrolled=True)
    if person == caller.person:
        raise OwnAccount("an act on oneself")
    async with world.db.connection() as connection:
        if await account_store.by_id(connection, person) is None:
            raise NotFound("no such person")
    by = By(caller.person, origin, caller.client, caller.session)

    async def held(tx: Connection) -> T | DoorwardError:
        # Judged again now that the rows are held: another may just have taken the role away.
        roles, other = await _roles(tx, caller.person), await account_store.by_id(tx, person)
        if other is None or not all(administration.may(roles, one, other.roles) for one in acts):
            return Forbidden("the role is gone, or does not reach whoever has one")
        return await act(tx, by)

    return await session_flow.acting(world, caller, held, beside=person)


async def _account(world: World, tx: Connection, person: UUID) -> Account:
    known = await people.known(world, tx, person)
    if known is None:
        raise NotFound("no such person")
    return Account(known, await factor_store.authenticators(tx, person))


async def _require(world: World, caller: Caller, act: Act) -> Sequence[str]:
    """The caller's roles, one of which allows an act. A session of one factor has none."""
    async with world.db.connection() as connection:
        roles = await _roles(connection, caller.person)
    if "admin" not in caller.scope or not administration.may(roles, act):
        raise Forbidden(f"no role that may {act}, or not both factors")
    return roles


async def _roles(tx: Connection, person: UUID) -> Sequence[str]:
    known = await account_store.by_id(tx, person)
    return known.roles if known and not known.disabled else ()
