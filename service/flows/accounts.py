"""Accounts as an operator makes and lists them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.domain import accounts
from service.domain.sessions import EndReason
from service.errors import Conflict, InvalidRequest, NotFound
from service.flows import audit
from service.flows import sessions as session_flow
from service.stores import accounts as account_store
from service.stores.postgres import Connection
from service.world import World

ROLES = ("admin", "support", "auditor")


@dataclass(frozen=True, slots=True)
class Listed:
    """A person as a list shows them."""

    id: UUID
    sub: UUID
    email: str
    name: str
    roles: Sequence[str]
    disabled: bool
    two_factor: str
    created_at: datetime


async def create(
    world: World,
    email: str,
    password: str,
    *,
    name: str = "",
    roles: Sequence[str] = (),
    verified: bool = True,
) -> UUID:
    """Add a person with a password. Raises InvalidRequest for what may not be, Conflict for a taken
    address."""
    address = accounts.canonical_email(email)
    if address is None:
        raise InvalidRequest("not an address", errors=[{"pointer": "/email", "code": "not_an_email"}])
    if fault := accounts.password_fault(password, address):
        raise InvalidRequest(f"password {fault}", errors=[{"pointer": "/password", "code": str(fault)}])
    normal = accounts.normal_password(password)
    password_hash = await world.pool.hash_password(normal)
    person, now = world.row_id(), world.clock.now()

    async def act(tx: Connection) -> bool:
        added = await account_store.create(
            tx,
            id=person,
            sub=world.entropy.subject(),
            email=address,
            name=name,
            password_hash=password_hash,
            roles=roles,
            verified_at=now if verified else None,
            must_change_password=False,
            code_salt=world.entropy.token(16),
            now=now,
        )
        if added:
            await audit.record(world, tx, "account:creation", "ok", person=person)
        return added

    if not await world.db.transact(act):
        raise Conflict("the address is taken")
    return person


async def everyone(world: World, page: int = 200) -> AsyncIterator[Listed]:
    """All people by address, read a page at a time."""
    after = ""
    while True:
        async with world.db.connection() as connection:
            rows = await account_store.page(connection, after, page)
        for row in rows:
            yield Listed(
                row["id"],
                row["sub"],
                row["email"],
                row["name"],
                row["roles"],
                row["disabled_at"] is not None,
                "activated" if row["enrolled"] else "not_activated",
                row["created_at"],
            )
        if len(rows) < page:
            return
        after = rows[-1]["email"]


async def disable(world: World, email: str) -> int:
    """Bar a person from every door: once this returns, nothing of theirs opens any (I7). How many sessions
    were ended. Raises NotFound."""
    person = await find(world, email)

    async def act(tx: Connection) -> int:
        await account_store.hold(tx, person.id)
        now = world.clock.now()
        await account_store.disable(tx, person.id, now)
        ended, _ = await session_flow.end_others(world, tx, person.id, EndReason.USER_DISABLED, kept=None)
        await audit.record(world, tx, "account:disable", "ok", person=person.id, ended=ended)
        return ended

    return await world.db.transact(act)


async def enable(world: World, email: str) -> None:
    """Let a disabled person sign in again; what was ended stays so. Raises NotFound."""
    person = await find(world, email)

    async def act(tx: Connection) -> None:
        await account_store.hold(tx, person.id)
        await account_store.enable(tx, person.id)
        await audit.record(world, tx, "account:enable", "ok", person=person.id)

    await world.db.transact(act)


async def end_sessions(world: World, email: str) -> int:
    """End whatever a person has open, sign-ins under way included; how many sessions. Raises NotFound."""
    person = await find(world, email)

    async def act(tx: Connection) -> int:
        await account_store.hold(tx, person.id)
        ended, _ = await session_flow.end_others(world, tx, person.id, EndReason.ADMIN, kept=None)
        await audit.record(world, tx, "account:end_sessions", "ok", person=person.id, ended=ended)
        return ended

    return await world.db.transact(act)


async def find(world: World, email: str) -> account_store.Person:
    """One person by address. Raises NotFound."""
    address = accounts.canonical_email(email)
    async with world.db.connection() as connection:
        person = await account_store.by_email(connection, address) if address else None
    if person is None:
        raise NotFound("no such person")
    return person
