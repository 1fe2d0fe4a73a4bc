"""The registry of clients, as an operator keeps it. Changes go one after the other."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypeAlias

from service.domain.oidc import addresses, clients, records
from service.domain.oidc.clients import Client, Fault
from service.domain.oidc.logos import Logo
from service.domain.sessions import opaque
from service.errors import Conflict, InvalidRequest, NotFound
from service.flows import audit
from service.stores import clients as client_store
from service.stores.postgres import Connection
from service.world import World

Outcome: TypeAlias = Literal["created", "changed", "unchanged", "disabled"]


@dataclass(frozen=True, slots=True)
class Change:
    """What applying a record did, or would do: each field that differs, with its old and its new value,
    and whether the client still has to get a secret."""

    client: Client
    outcome: Outcome
    fields: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    secret_owed: bool = False


async def create(world: World, client: Client) -> str | None:
    """Register a client; its secret, which nobody can read again, or None where it has none. Raises
    InvalidRequest with every fault, Conflict for a taken id."""
    _require(clients.faults(client))

    async def act(tx: Connection) -> str | None:
        await client_store.lock(tx)
        if not await client_store.put(tx, client, world.clock.now(), replace=False):
            raise Conflict("the id is taken")
        await audit.record(world, tx, "client:creation", "ok", client=client.id)
        return await _new_secret(world, tx, client.id) if client.has_secret else None

    return await world.db.transact(act)


async def everyone(world: World, page: int = 200) -> AsyncIterator[Client]:
    """All clients by id, read a page at a time."""
    after = ""
    while True:
        async with world.db.connection() as connection:
            found = await client_store.page(connection, after, page)
        for client in found:
            yield client
        if len(found) < page:
            return
        after = found[-1].id


async def find(world: World, id: str) -> client_store.Registered:
    """One client with its living secrets. Raises NotFound."""
    async with world.db.connection() as connection:
        return await _found(world, connection, id)


async def logo(world: World, id: str) -> Logo:
    """A client's picture, with its bytes. Raises NotFound where it has none, or is disabled."""
    async with world.db.connection() as connection:
        found = await client_store.logo(connection, id) if clients.is_id(id) else None
    if found is None:
        raise NotFound("no such picture")
    return found


async def allows_origin(world: World, origin: str, client: str | None) -> bool:
    """Whether scripts of `origin` may read an answer: for the client with this id, or, while it is not
    known yet (None), for any that lives. Raises Unavailable."""
    if any(addresses.origin_faults(origin)):
        # `null`, and whatever no record can hold: nothing is asked for it.
        return False
    async with world.db.connection() as connection:
        return await client_store.allows_origin(connection, origin, client)


async def disable(world: World, id: str) -> None:
    """Close every door to a client, its tokens' included. Raises NotFound."""

    async def act(tx: Connection) -> None:
        await client_store.lock(tx)
        await _found(world, tx, id)
        await client_store.disable(tx, id, world.clock.now())
        await audit.record(world, tx, "client:disable", "ok", client=id)

    await world.db.transact(act)


async def enable(world: World, id: str) -> None:
    """Open its doors to a disabled client again. Raises NotFound."""

    async def act(tx: Connection) -> None:
        await client_store.lock(tx)
        await _found(world, tx, id)
        await client_store.enable(tx, id)
        await audit.record(world, tx, "client:enable", "ok", client=id)

    await world.db.transact(act)


async def rotate_secret(world: World, id: str, overlap: int) -> str:
    """A new secret, which nobody can read again; those before it end in `overlap` seconds (0: at once),
    so that the client can change to it meanwhile. Raises NotFound, Conflict for a client that has no
    secret, InvalidRequest for an overlap out of range."""
    if not 0 <= overlap <= clients.LONGEST_OVERLAP:
        text = f"must be from 0 to {clients.LONGEST_OVERLAP} seconds"
        _require([Fault("/overlap", "out_of_range", text)])

    async def act(tx: Connection) -> str:
        await client_store.lock(tx)
        client = (await _found(world, tx, id)).client
        if not client.has_secret:
            raise Conflict(f"the client has no secret: its method is {client.token_endpoint_auth_method}")
        await client_store.expire_secrets(tx, id, world.clock.now() + timedelta(seconds=overlap))
        await audit.record(world, tx, "client:secret_rotation", "ok", client=id, overlap=overlap)
        return await _new_secret(world, tx, id)

    return await world.db.transact(act)


async def apply(world: World, wanted: Sequence[Client], *, dry_run: bool = False) -> Sequence[Change]:
    """Make the registry hold these clients as they are written, all or none; what was done for each.

    Doing it twice changes nothing more. Clients that are not named stay as they are: one goes out of
    use by `disabled`, not by being forgotten. A client gets no secret here. With `dry_run` nothing is
    kept. Raises InvalidRequest with every fault.
    """
    _require(records.all_faults(wanted))

    async def act(tx: Connection) -> Sequence[Change]:
        await client_store.lock(tx)
        return [await _applied(world, tx, client, dry_run) for client in wanted]

    return await world.db.transact(act)


async def _applied(world: World, tx: Connection, wanted: Client, dry_run: bool) -> Change:
    now = world.clock.now()
    present = await client_store.by_id(tx, wanted.id, now)
    change = _change(present, wanted)
    if dry_run or change.outcome == "unchanged":
        return change
    await client_store.put(tx, wanted, now, replace=True)
    if not wanted.has_secret:
        # They must not come to life again with a method that takes them.
        await client_store.expire_secrets(tx, wanted.id, now)
    if present is None:
        await audit.record(world, tx, "client:creation", "ok", client=wanted.id)
    if "disabled" in change.fields:
        act = "client:disable" if wanted.disabled else "client:enable"
        await audit.record(world, tx, act, "ok", client=wanted.id)
    if other := {name: pair for name, pair in change.fields.items() if name != "disabled"}:
        await audit.record(world, tx, "client:change", "ok", client=wanted.id, changes=other)
    return change


def _change(present: client_store.Registered | None, wanted: Client) -> Change:
    secret_owed = wanted.has_secret and (present is None or not present.secrets)
    if present is None:
        return Change(wanted, "created", secret_owed=secret_owed)
    differences = clients.differences(present.client, wanted)
    if not differences:
        return Change(wanted, "unchanged", secret_owed=secret_owed)
    off = "disabled" in differences and wanted.disabled
    return Change(wanted, "disabled" if off else "changed", differences, secret_owed)


async def _found(world: World, tx: Connection, id: str) -> client_store.Registered:
    found = await client_store.by_id(tx, id, world.clock.now()) if clients.is_id(id) else None
    if found is None:
        raise NotFound("no such client")
    return found


async def _new_secret(world: World, tx: Connection, id: str) -> str:
    secret = opaque(clients.SECRET, world.entropy.token(32))
    await client_store.add_secret(tx, world.row_id(), id, secret, world.clock.now())
    return secret


def _require(faults: Sequence[Fault]) -> None:
    if faults:
        told = "; ".join(f"{fault.pointer}: {fault.text}" for fault in faults)
        raise InvalidRequest(told, errors=[{"pointer": one.pointer, "code": one.code} for one in faults])
