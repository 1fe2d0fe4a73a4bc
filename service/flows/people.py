"""What may be done to another person's account, by an administrator or from the command line, and how
people are found. The other flows call this one.

Each act runs in the transaction of its caller, who holds the person's row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from service.domain import administration, policy
from service.domain.administration import Order, Place, Standing, Status, TwoFactor
from service.domain.sessions import EndReason
from service.domain.sign_in import Origin
from service.flows import audit
from service.flows import sessions as session_flow
from service.stores import accounts as account_store
from service.stores import administration as store
from service.stores import factors as factor_store
from service.stores import outbox as outbox_store
from service.stores.postgres import Connection
from service.world import World

#: People are counted so far; beyond it a list says "more than".
COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class By:
    """Who acts on another's account. The command line is nobody."""

    actor: UUID | None = None
    origin: Origin | None = None
    client: str | None = None
    session: UUID | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A person as others may know them: no hash, no seed, no code.

    `required`: the policy asks a second factor of them. `blocked`: too many of its failures stand in a row;
    `failures` are those of the last day. `signed_in_at` is the last time a session began.
    """

    id: UUID
    sub: UUID
    email: str
    name: str
    language: str | None
    roles: Sequence[str]
    email_verified: bool
    must_change_password: bool
    disabled_at: datetime | None
    two_factor_since: datetime | None
    codes_left: int
    required: bool
    blocked: bool
    failures: int
    created_at: datetime
    signed_in_at: datetime | None

    @property
    def disabled(self) -> bool:
        return self.disabled_at is not None

    @property
    def activated(self) -> bool:
        return self.two_factor_since is not None

    @property
    def pending(self) -> bool:
        """A second factor is required of them, and they have none."""
        return self.required and not self.activated

    @property
    def overdue(self) -> bool:
        """Pending, and no time is left: the policy gives none yet."""
        return self.pending

    @property
    def codes_low(self) -> bool:
        return self.activated and self.codes_left <= administration.LOW


#: What is told of a person as it stands in their row.
_SAME = (
    *("id", "sub", "email", "name", "language", "must_change_password"),
    *("disabled_at", "two_factor_since", "codes_left", "created_at", "signed_in_at"),
)


@dataclass(frozen=True, slots=True)
class Count:
    """How many people; not `exact` where there are more."""

    people: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some people of a list, and where the next page begins if there is one."""

    people: Sequence[Known]
    next: Place | None


@dataclass(frozen=True, slots=True)
class Search:
    """Which people are looked for. `text` are beginnings of words of their names and addresses, or an id."""

    two_factor: TwoFactor = "all"
    status: Status = "all"
    text: str = ""


# Found


async def page(world: World, search: Search, order: Order, after: Place | None, limit: int) -> Page:
    """People who fit, in an order, from behind a place."""

    async def read(tx: Connection) -> Sequence[Record]:
        if identifier := administration.identifier(search.text):
            return await _of_id(world, tx, search, identifier) if after is None else []
        words = administration.words(search.text)
        # One more tells whether there is another page.
        return await store.page(tx, _standings(world, search), words, order, after, limit + 1)

    found = [_known(world, row) for row in await world.db.transact(read)]
    shown = found[:limit]
    last = Place(getattr(shown[-1], order.sort), shown[-1].id) if len(found) > limit else None
    return Page(shown, last)


async def count(world: World, search: Search) -> Count:
    """How many people fit."""

    async def read(tx: Connection) -> int:
        if identifier := administration.identifier(search.text):
            return len(await _of_id(world, tx, search, identifier))
        words = administration.words(search.text)
        return await store.count(tx, _standings(world, search), words, COUNTED + 1)

    counted = await world.db.transact(read)
    return Count(min(counted, COUNTED), counted <= COUNTED)


async def known(world: World, tx: Connection, person: UUID) -> Known | None:
    """One person by their id."""
    rows = await store.told(tx, [person])
    return _known(world, rows[0]) if rows else None


async def _of_id(world: World, tx: Connection, search: Search, identifier: UUID) -> Sequence[Record]:
    person = await store.by_identifier(tx, identifier)
    rows = await store.told(tx, [person]) if person else []
    return [row for row in rows if row["standing"] in _standings(world, search)]


def _standings(world: World, search: Search) -> Sequence[Standing]:
    return administration.standings(search.two_factor, search.status, required=_required(world))


def _required(world: World) -> bool:
    return policy.requires_two_factors(world.settings.two_factor.required)


def _known(world: World, row: Record) -> Known:
    now, budget = world.clock.now(), world.budget
    failures = [*row["stranger_failures"], *row["known_failures"]]
    return Known(
        **{name: row[name] for name in _SAME},
        roles=tuple(row["roles"]),
        email_verified=row["email_verified_at"] is not None,
        required=_required(world),
        blocked=max(row["stranger_streak"], row["known_streak"]) >= budget.in_a_row,
        failures=policy.since(failures, budget.windows[-1][1], now),
    )


# Done to an account


async def disable(world: World, tx: Connection, person: UUID, by: By) -> int:
    """Bar a person from every door: once this is committed, nothing of theirs opens any (I7). How many
    sessions were ended."""
    await account_store.disable(tx, person, world.clock.now())
    ended, _ = await session_flow.end_others(world, tx, person, EndReason.USER_DISABLED, kept=None)
    await _record(world, tx, "account:disable", person, by, ended=ended)
    return ended


async def enable(world: World, tx: Connection, person: UUID, by: By) -> None:
    """Let a disabled person sign in again; what was ended stays so."""
    await account_store.enable(tx, person)
    await _record(world, tx, "account:enable", person, by)


async def end_sessions(world: World, tx: Connection, person: UUID, by: By) -> int:
    """End whatever a person has open, sign-ins under way included; how many sessions."""
    ended, _ = await session_flow.end_others(world, tx, person, EndReason.ADMIN, kept=None)
    await _record(world, tx, "account:end_sessions", person, by, ended=ended)
    return ended


async def reset_two_factor(world: World, tx: Connection, person: UUID, by: By, reason: str) -> int:
    """Take a person's second factor away, codes and failures with it; how many authenticators there were.

    Every session ends: whoever asked for it may not be who signed in. The person is written to, since a
    thief who talks an administrator into this must not go unnoticed. Nobody without a second factor is
    touched, so that an act sent twice acts once.
    """
    if not await factor_store.authenticators(tx, person):
        return 0
    now = world.clock.now()
    removed = await factor_store.remove(tx, person, None)
    await factor_store.void_backup_codes(tx, person, now)
    await store.forget_failures(tx, person)
    ended, _ = await session_flow.end_others(world, tx, person, EndReason.TWO_FACTOR_CHANGED, kept=None)
    await _record(world, tx, "two_factor:reset", person, by, reason=reason, removed=removed, ended=ended)
    # From no address: the administrator's is none of the person's business.
    await outbox_store.put(tx, world.row_id(), "two_factor_reset", person, None, now)
    return removed


async def unlock(world: World, tx: Connection, person: UUID, by: By) -> None:
    """Give a person's second factor all its tries back."""
    await store.forget_failures(tx, person)
    await _record(world, tx, "account:unlock", person, by)


async def set_roles(world: World, tx: Connection, person: UUID, roles: Sequence[str], by: By) -> None:
    """Give a person these roles and no other, from their next request on."""
    await store.set_roles(tx, person, roles)
    await _record(world, tx, "account:roles", person, by, roles=sorted(roles))


async def _record(world: World, tx: Connection, act: str, person: UUID, by: By, **detail: object) -> None:
    await audit.record(
        world,
        tx,
        act,
        "ok",
        by.origin,
        person=person,
        actor=by.actor,
        client=by.client,
        session=by.session,
        factor=None,
        unless_since=None,
        **detail,
    )
