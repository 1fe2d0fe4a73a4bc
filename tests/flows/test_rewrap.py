"""Another encryption key while everything runs, and what a wrong one never does."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from service import crypto
from service.crypto import Sealed, Sealer, SealingKey
from service.errors import Unavailable
from service.flows import keys as key_flow
from service.keyring import Kind
from service.stores import factors as factor_store
from service.stores.postgres import Connection
from service.world import World
from tests.builders import House
from tests.http.problems import problem


@pytest.fixture
def old(world: World) -> SealingKey:
    return SealingKey(*world.settings.parsed_encryption_keys()[0])


NEW = SealingKey("new", b"test value, never use it! 012345")
WRONG = SealingKey("test", b"test value of another server 012")


async def sealed_by(house: House) -> tuple[set[bytes], set[bytes]]:
    """The names of the encryption keys by which keys and seeds are sealed."""
    keys = await house.rows("SELECT sealed FROM service_key WHERE retired_at IS NULL")
    seeds = await house.rows("SELECT seed FROM authenticator WHERE seed IS NOT NULL")
    return {row["sealed"].partition(b"\0")[0] for row in keys}, {
        row["seed"].partition(b"\0")[0] for row in seeds
    }


@pytest.mark.case("F-21")
async def test_with_a_wrong_encryption_key_a_second_factor_is_unavailable_and_never_absent(
    house: House,
) -> None:
    ada = await house.a_person().with_totp()
    bearer = (await ada.sign_in())["access_token"]
    house.clock.advance(30)
    sessions = await house.value("SELECT count(*) FROM session")
    for sealer in (Sealer([WRONG]), Sealer([NEW])):
        house.world.sealer = sealer
        answer = await ada.login()
        assert answer.json()["status"] == "second_factor_required"
        token = answer.json()["pre_auth_token"]
        for code in (ada.code(), ada.wrong_code()):
            unavailable = await ada.verify(token, code)
            problem(unavailable, 503, "temporarily_unavailable")
            assert "retry-after" in unavailable.headers
        me = (await ada.get("/v1/me", bearer=bearer)).json()["two_factor"]
        assert (me["status"], len(me["authenticators"])) == ("activated", 1)
        # The keys that were read go on; none is read that was sealed under another.
        with pytest.raises(crypto.SealBroken):
            await house.world.refresh()
        assert not house.world.keyring.missing
    assert await house.value("SELECT count(*) FROM session") == sessions
    # What could not be judged was not counted, and burnt nothing.
    assert await house.value("SELECT stranger_failures FROM person WHERE id = $1", ada.id) == []
    house.world.sealer = Sealer([SealingKey(*house.world.settings.parsed_encryption_keys()[0])])
    assert (await ada.verify(token, ada.code())).status_code == 200


@pytest.mark.case("F-21")
async def test_swapped_rows_open_nothing_and_are_not_made_to_fit(house: House, old: SealingKey) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    eve = await house.a_person().with_totp()
    await house.rows(
        "UPDATE authenticator a SET seed = b.seed FROM authenticator b "
        "WHERE a.person_id IN ($1, $2) AND b.person_id IN ($1, $2) AND a.id <> b.id",
        ada.id,
        bob.id,
    )
    house.world.sealer = Sealer([NEW, old])
    done = await key_flow.rewrap(house.world)
    assert (done.service_keys, done.authenticators) == (len(Kind), 1)
    assert sorted(line.split(":")[0] for line in done.broken) == sorted(
        f"authenticator {person.authenticator}" for person in (ada, bob)
    )
    for person, other in ((ada, bob), (bob, ada)):
        for code in (person.code(), other.code()):
            problem(await person.verify(await person.pre_auth(), code), 503, "temporarily_unavailable")
    assert (await eve.sign_in())["access_token"]
    (event,) = await house.events("keys:rewrap:failed")
    assert json.loads(event["detail"])["broken"] == 2


async def test_a_key_in_another_keys_place_is_not_read(house: House) -> None:
    first, second = await house.rows("SELECT id FROM service_key WHERE kind IN ('token', 'pepper')")
    await house.rows(
        "UPDATE service_key SET sealed = (SELECT sealed FROM service_key WHERE id = $1) WHERE id = $2",
        first["id"],
        second["id"],
    )
    before = house.world.keyring
    with pytest.raises(crypto.SealBroken, match="its place"):
        await house.world.refresh()
    assert house.world.keyring is before


async def test_a_seed_that_is_replaced_meanwhile_does_not_come_back(
    house: House, old: SealingKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await house.a_person().with_totp()
    bob = await house.a_person().with_totp()
    removed = before(
        monkeypatch, lambda: house.rows("DELETE FROM authenticator WHERE person_id = $1", ada.id)
    )
    house.world.sealer = Sealer([NEW, old])
    done = await key_flow.rewrap(house.world)
    assert removed
    assert (done.authenticators, done.broken) == (1, [])
    assert await house.value("SELECT count(*) FROM authenticator") == 1
    assert (await bob.sign_in())["access_token"]


def before(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[Any]]) -> list[int]:
    """Do something between the reading of each batch of seeds and its writing."""
    write, calls = factor_store.reseal, list[int]()

    async def reseal(tx: Connection, changes: Sequence[tuple[Sealed, bytes]]) -> int:
        calls.append(len(changes))
        await act()
        return await write(tx, changes)

    monkeypatch.setattr(factor_store, "reseal", reseal)
    return calls


async def test_it_is_stopped_and_gone_on_with_while_everybody_signs_in(
    house: House, old: SealingKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [await house.a_person().with_totp() for _ in range(7)]
    bearer = (await people[0].sign_in())["access_token"]
    pending = await people[0].post("/v1/me/two-factor/authenticators", {"name": "Next"}, bearer=bearer)
    monkeypatch.setattr(key_flow, "_BATCH", 3)

    async def all_sign_in() -> None:
        house.clock.advance(30)
        # Nodes in either order of the two keys, as during a change of the settings.
        for number, person in enumerate(people):
            house.world.sealer = Sealer([NEW, old] if number % 2 else [old, NEW])
            assert (await person.sign_in())["access_token"]
        house.world.sealer = Sealer([NEW, old])
        await house.world.refresh()

    async def stopped() -> None:
        if len(calls) == 2:
            raise Unavailable("stopped by the test")

    house.world.sealer = Sealer([NEW, old])
    with monkeypatch.context() as patched:
        calls = before(patched, stopped)
        with pytest.raises(Unavailable):
            await key_flow.rewrap(house.world)
    assert await sealed_by(house) == ({b"new"}, {b"new", b"test"})
    await all_sign_in()

    done = await key_flow.rewrap(house.world)
    assert (done.service_keys, done.authenticators, done.broken) == (0, 8 - 3, [])
    assert await sealed_by(house) == ({b"new"}, {b"new"})
    await all_sign_in()
    (event,) = await house.events("keys:rewrap:ok")
    assert json.loads(event["detail"]) == {
        "under": "new",
        "service_keys": 0,
        "authenticators": 5,
        "broken": 0,
    }

    # The old key is taken out of the settings.
    house.world.sealer = Sealer([NEW])
    await house.world.refresh()
    house.clock.advance(30)
    for person in people:
        assert (await person.sign_in())["access_token"]
    path = f"/v1/me/two-factor/authenticators/{pending.json()['id']}"
    assert (await people[0].get(path, bearer=bearer)).json()["secret"] == pending.json()["secret"]


async def test_nothing_is_left_to_do_the_second_time(house: House, old: SealingKey) -> None:
    await house.a_person().with_totp()
    house.world.sealer = Sealer([NEW, old])
    first, again = await key_flow.rewrap(house.world), await key_flow.rewrap(house.world)
    assert (first.under, first.service_keys, first.authenticators) == ("new", len(Kind), 1)
    assert (again.service_keys, again.authenticators) == (0, 0)
