"""Accounts as an operator makes and lists them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.domain import accounts
from service.errors import Conflict, InvalidRequest, NotFound
from service.stores import accounts as account_store
from service.stores import audit as audit_store
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
            await audit_store.record(tx, world.row_id(), now, "account:creation", "ok", None, person=person)
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


async def find(world: World, email: str) -> account_store.Person:
    """One person by address. Raises NotFound."""
    address = accounts.canonical_email(email)
    async with world.db.connection() as connection:
        person = await account_store.by_email(connection, address) if address else None
    if person is None:
        raise NotFound("no such person")
    return person
