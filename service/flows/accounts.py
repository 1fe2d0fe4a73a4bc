"""Accounts as an operator makes, lists and changes them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

from service.domain import accounts, administration
from service.domain.administration import Order, Place, TwoFactor
from service.errors import Conflict, InvalidRequest, NotFound
from service.flows import audit, people
from service.flows.people import By, Known, Search
from service.stores import accounts as account_store
from service.stores.postgres import Connection
from service.world import World

T = TypeVar("T")
ROLES = administration.ROLES


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


async def everyone(world: World, two_factor: TwoFactor = "all", page: int = 200) -> AsyncIterator[Known]:
    """All people by address, or those that a filter lets through, read a page at a time."""
    after: Place | None = None
    while True:
        found = await people.page(world, Search(two_factor), Order(), after, page)
        for one in found.people:
            yield one
        if (after := found.next) is None:
            return


async def disable(world: World, email: str) -> int:
    """Bar a person from every door; how many sessions were ended. Raises NotFound."""
    return await _act(world, email, people.disable)


async def enable(world: World, email: str) -> None:
    """Let a disabled person sign in again. Raises NotFound."""
    await _act(world, email, people.enable)


async def end_sessions(world: World, email: str) -> int:
    """End whatever a person has open; how many sessions. Raises NotFound."""
    return await _act(world, email, people.end_sessions)


async def unlock(world: World, email: str) -> None:
    """Give a person's second factor all its tries back. Raises NotFound."""
    await _act(world, email, people.unlock)


async def reset_two_factor(world: World, email: str, reason: str) -> int:
    """Take a person's second factor away; how many authenticators there were. Raises NotFound."""
    return await _act(
        world, email, lambda world, tx, person, by: people.reset_two_factor(world, tx, person, by, reason)
    )


async def _act(world: World, email: str, act: Callable[[World, Connection, UUID, By], Awaitable[T]]) -> T:
    person = await find(world, email)

    async def held(tx: Connection) -> T:
        await account_store.hold(tx, person.id)
        return await act(world, tx, person.id, By())

    return await world.db.transact(held)


async def find(world: World, email: str) -> account_store.Person:
    """One person by address. Raises NotFound."""
    address = accounts.canonical_email(email)
    async with world.db.connection() as connection:
        person = await account_store.by_email(connection, address) if address else None
    if person is None:
        raise NotFound("no such person")
    return person
