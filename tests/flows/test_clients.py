"""The registry of clients: what is refused, what is shown once, and what is written down."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from service.domain.oidc.clients import LONGEST_OVERLAP, Client
from service.errors import Conflict, InvalidRequest, NotFound
from service.flows import clients as client_flow
from service.stores import clients as client_store
from service.world import World
from tests.builders import House

PORTAL = Client(
    "portal", "The portal", redirect_uris=("https://portal.example/callback",), scopes=("openid",)
)
APP = replace(PORTAL, id="app", token_endpoint_auth_method="none")
RACERS = 32
many = pytest.mark.parametrize("settings", [{"database.pool": RACERS}], indirect=True)


async def clients_of(world: World) -> list[Client]:
    return [client async for client in client_flow.everyone(world, page=2)]


async def written(house: House) -> list[tuple[str, str]]:
    """The audit rows of clients, oldest act first."""
    query = "SELECT name, client_id FROM audit_event WHERE name LIKE 'client:%' ORDER BY xid, name DESC"
    rows = await house.rows(query)
    return [(row["name"], row["client_id"]) for row in rows]


async def knows(world: World, id: str, *secrets: str | None) -> list[bool]:
    registered = await client_flow.find(world, id)
    return [secret is not None and registered.knows(secret) for secret in secrets]


def outcomes(changes: Sequence[client_flow.Change]) -> list[tuple[str, str]]:
    return [(change.client.id, change.outcome) for change in changes]


# One client


async def test_a_client_with_faults_is_refused_with_all_of_them(house: House) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await client_flow.create(
            house.world, replace(PORTAL, id="pages", redirect_uris=("http://a.example",))
        )
    assert refused.value.public["errors"] == [
        {"pointer": "/id", "code": "built_in"},
        {"pointer": "/redirect_uris/0", "code": "scheme"},
    ]
    assert "/redirect_uris/0: must be https" in refused.value.private
    assert await clients_of(house.world) == []
    assert await written(house) == []


async def test_an_id_is_taken_once(house: House) -> None:
    secret = await client_flow.create(house.world, PORTAL)
    with pytest.raises(Conflict, match="taken"):
        await client_flow.create(house.world, replace(PORTAL, name="Other"))
    assert await clients_of(house.world) == [PORTAL]
    assert await knows(house.world, "portal", secret) == [True]
    assert await written(house) == [("client:creation:ok", "portal")]


@pytest.mark.parametrize("id", ["portal", "doorward", "", "a" * 1000, "a\0", "\ud800"], ids=ascii)
async def test_what_is_no_client_is_not_found(world: World, id: str) -> None:
    for act in (
        client_flow.find(world, id),
        client_flow.disable(world, id),
        client_flow.enable(world, id),
        client_flow.rotate_secret(world, id, 0),
    ):
        with pytest.raises(NotFound):
            await act


async def test_a_secret_is_random_has_its_prefix_and_is_kept_nowhere(house: House) -> None:
    secrets = [await client_flow.create(house.world, replace(PORTAL, id=f"portal{n}")) for n in range(3)]
    assert len(set(secrets)) == 3
    assert all(secret and re.fullmatch(r"dwx_[A-Za-z0-9_-]{43}", secret) for secret in secrets)
    kept = await house.rows("SELECT row_to_json(s)::text AS row FROM client_secret s")
    kept += await house.rows("SELECT row_to_json(e)::text AS row FROM audit_event e")
    assert len(kept) == 6
    assert not any(str(secret) in row["row"] for secret in secrets for row in kept)


async def test_a_client_that_proves_itself_otherwise_has_no_secret(house: House) -> None:
    assert await client_flow.create(house.world, APP) is None
    with pytest.raises(Conflict, match="its method is none"):
        await client_flow.rotate_secret(house.world, "app", 0)
    assert await house.value("SELECT count(*) FROM client_secret") == 0


@pytest.mark.parametrize("overlap", [-1, LONGEST_OVERLAP + 1])
async def test_an_overlap_has_its_bounds(world: World, overlap: int) -> None:
    await client_flow.create(world, PORTAL)
    with pytest.raises(InvalidRequest, match="/overlap"):
        await client_flow.rotate_secret(world, "portal", overlap)


async def test_a_replaced_secret_lives_for_the_overlap(house: House) -> None:
    world, old = house.world, await client_flow.create(house.world, PORTAL)
    new = await client_flow.rotate_secret(world, "portal", 60)
    assert await knows(world, "portal", old, new) == [True, True]
    house.clock.advance(59)
    assert await knows(world, "portal", old, new) == [True, True]
    house.clock.advance(1)
    assert await knows(world, "portal", old, new) == [False, True]
    newest = await client_flow.rotate_secret(world, "portal", 0)
    assert await knows(world, "portal", old, new, newest) == [False, False, True]
    assert await written(house) == [
        ("client:creation:ok", "portal"),
        ("client:secret_rotation:ok", "portal"),
        ("client:secret_rotation:ok", "portal"),
    ]


async def test_a_client_is_disabled_and_enabled(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    await client_flow.disable(house.world, "portal")
    assert (await client_flow.find(house.world, "portal")).client == replace(PORTAL, disabled=True)
    await client_flow.enable(house.world, "portal")
    assert (await client_flow.find(house.world, "portal")).client == PORTAL
    assert [name for name, _ in await written(house)] == [
        "client:creation:ok",
        "client:disable:ok",
        "client:enable:ok",
    ]


@many
async def test_thirty_two_who_create_one_id_make_one_client_with_one_secret(house: House) -> None:
    answers = await asyncio.gather(
        *(client_flow.create(house.world, PORTAL) for _ in range(RACERS)), return_exceptions=True
    )
    assert sum(isinstance(answer, Conflict) for answer in answers) == RACERS - 1
    assert await house.value("SELECT count(*) FROM client_secret") == 1


@many
async def test_of_thirty_two_rotations_the_last_secret_alone_lives(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    secrets = await asyncio.gather(
        *(client_flow.rotate_secret(house.world, "portal", 0) for _ in range(RACERS))
    )
    assert sum(await knows(house.world, "portal", *secrets)) == 1


# A list of clients


async def test_of_a_list_with_a_fault_nothing_is_applied(house: House) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await client_flow.apply(house.world, [PORTAL, replace(PORTAL, name=""), replace(APP, scopes=())])
    assert refused.value.public["errors"] == [
        {"pointer": "/clients/1/name", "code": "not_a_name"},
        {"pointer": "/clients/2/scopes", "code": "empty"},
        {"pointer": "/clients/1/id", "code": "duplicate"},
    ]
    assert await clients_of(house.world) == []


async def test_an_apply_that_fails_half_way_leaves_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = client_store.put

    async def failing(tx: Any, client: Client, *rest: Any, **more: Any) -> bool:
        if client.id == "app":
            raise RuntimeError("test")
        return bool(await put(tx, client, *rest, **more))

    monkeypatch.setattr(client_store, "put", failing)
    with pytest.raises(RuntimeError):
        await client_flow.apply(house.world, [PORTAL, APP])
    assert await clients_of(house.world) == []
    assert await written(house) == []


async def test_a_dry_run_tells_and_keeps_nothing(house: House) -> None:
    await client_flow.create(house.world, APP)
    changes = await client_flow.apply(house.world, [PORTAL, replace(APP, name="Other")], dry_run=True)
    assert outcomes(changes) == [("portal", "created"), ("app", "changed")]
    assert await clients_of(house.world) == [APP]
    assert len(await written(house)) == 1


async def test_applying_twice_changes_nothing_more(house: House) -> None:
    wanted = [PORTAL, APP]
    assert outcomes(await client_flow.apply(house.world, wanted)) == [
        ("portal", "created"),
        ("app", "created"),
    ]
    for _ in range(2):
        again = await client_flow.apply(house.world, wanted)
        assert again == [
            client_flow.Change(PORTAL, "unchanged", secret_owed=True),
            client_flow.Change(APP, "unchanged"),
        ]
    assert await clients_of(house.world) == [APP, PORTAL]
    assert await written(house) == [("client:creation:ok", "portal"), ("client:creation:ok", "app")]
    assert await house.value("SELECT count(*) FROM client_secret") == 0, "secrets are made by rotation"
    await client_flow.rotate_secret(house.world, "portal", 0)
    assert [change.secret_owed for change in await client_flow.apply(house.world, wanted)] == [False, False]


async def test_what_changed_is_told_and_written_down(house: House) -> None:
    secret = await client_flow.create(house.world, PORTAL)
    await client_flow.create(house.world, replace(PORTAL, id="forgotten"))
    moved = replace(PORTAL, redirect_uris=("https://new.example/callback",), access_seconds=60)
    changes = await client_flow.apply(house.world, [moved])
    expected = {
        "redirect_uris": (PORTAL.redirect_uris, moved.redirect_uris),
        "access_seconds": (None, 60),
    }
    assert changes == [client_flow.Change(moved, "changed", expected)]
    assert await clients_of(house.world) == [replace(PORTAL, id="forgotten"), moved], "not named: left alone"
    assert await knows(house.world, "portal", secret) == [True], "its secrets stay"
    (event,) = await house.events("client:change:ok")
    assert json.loads(event["detail"]) == {
        "changes": {
            "redirect_uris": [["https://portal.example/callback"], ["https://new.example/callback"]],
            "access_seconds": [None, 60],
        }
    }


async def test_a_list_disables_and_enables(house: House) -> None:
    await client_flow.create(house.world, PORTAL)
    off = replace(PORTAL, disabled=True)
    assert outcomes(await client_flow.apply(house.world, [off])) == [("portal", "disabled")]
    assert outcomes(await client_flow.apply(house.world, [off])) == [("portal", "unchanged")]
    renamed = replace(off, name="Other")
    assert outcomes(await client_flow.apply(house.world, [renamed])) == [("portal", "changed")]
    assert outcomes(await client_flow.apply(house.world, [PORTAL])) == [("portal", "changed")]
    assert [name for name, _ in await written(house)] == [
        "client:creation:ok",
        "client:disable:ok",
        "client:change:ok",
        "client:enable:ok",
        "client:change:ok",
    ]


async def test_a_secret_does_not_come_back_with_the_method_that_takes_it(house: House) -> None:
    secret = await client_flow.create(house.world, PORTAL)
    await client_flow.apply(house.world, [replace(PORTAL, token_endpoint_auth_method="none")])
    assert await knows(house.world, "portal", secret) == [False]
    await client_flow.apply(house.world, [PORTAL])
    assert await knows(house.world, "portal", secret) == [False]
    (first,) = await house.rows("SELECT expires_at FROM client_secret")
    assert first["expires_at"] - house.clock.now() == timedelta(0)


@many
async def test_thirty_two_who_apply_one_list_create_each_client_once(house: House) -> None:
    wanted = [PORTAL, APP]
    answers = await asyncio.gather(
        *(client_flow.apply(house.world, wanted if n % 2 else wanted[::-1]) for n in range(RACERS))
    )
    told = [change.outcome for changes in answers for change in changes]
    assert (told.count("created"), told.count("unchanged")) == (2, 2 * RACERS - 2)
    assert sorted(await written(house)) == [("client:creation:ok", "app"), ("client:creation:ok", "portal")]
