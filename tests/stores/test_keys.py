"""The service's keys as they are read: those this release knows."""

from service.keyring import Key, Kind
from service.stores import keys as key_store
from service.world import World


async def _known(world: World) -> set[Kind]:
    async with world.db.connection() as connection:
        return {key.kind for key in await key_store.load(connection, world.sealer)}


async def test_a_key_of_a_kind_that_a_newer_release_added_is_passed_over(world: World) -> None:
    before = world.keyring
    sealed = world.sealer.seal(world.entropy.token(32), world.entropy.token(12), "service_key", "new", "x")
    async with world.db.connection() as connection:
        for name, record in (("x", sealed), ("y", b"sealed in a way we cannot read")):
            await connection.execute(
                "INSERT INTO service_key (id, kind, sealed, created_at, active_from) "
                "VALUES ($1, 'new', $2, now(), now())",
                name,
                record,
            )
    assert await _known(world) == set(Kind)
    await world.refresh()
    assert world.keyring is not before
    assert not world.keyring.missing
    assert world.active(Kind.SIGN).id == before.active(Kind.SIGN, world.clock.now()).id


async def test_keys_are_ensured_beside_kinds_that_are_not_known(world: World) -> None:
    async with world.db.connection() as connection:
        await connection.execute("DELETE FROM service_key WHERE kind = 'pepper'")
        await connection.execute(
            "INSERT INTO service_key (id, kind, sealed, created_at, active_from) "
            "VALUES ('x', 'new', '', now(), now())"
        )
    ensure = key_store.ensure
    made = await world.db.transact(lambda tx: ensure(tx, world.sealer, world.entropy, world.clock.now()))
    assert len(made) == 1
    assert (
        await world.db.transact(lambda tx: ensure(tx, world.sealer, world.entropy, world.clock.now())) == []
    )
    async with world.db.connection() as connection:
        keys = await key_store.load(connection, world.sealer)
    (pepper,) = [key for key in keys if key.kind is Kind.PEPPER]
    assert isinstance(pepper, Key)
    assert pepper.id == made[0]


async def test_a_retired_key_is_passed_over_even_when_it_cannot_be_opened(world: World) -> None:
    async with world.db.connection() as connection:
        await connection.execute(
            "INSERT INTO service_key (id, kind, sealed, created_at, active_from, retired_at) "
            "VALUES ('old', 'token', 'no seal', now(), now(), now())"
        )
    assert await _known(world) == set(Kind)
