"""Clients in Postgres: what is put is what is read, and which secrets live."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from service.domain.oidc import logos
from service.domain.oidc.clients import Client
from service.stores import clients as client_store
from service.world import World

PORTAL = Client(
    "portal",
    "The portal",
    redirect_uris=("https://portal.example/b", "https://portal.example/a"),
    scopes=("openid", "email"),
)
#: Every field away from its default.
FULL = Client(
    id="full",
    name="Everything \u00e9",
    token_endpoint_auth_method="private_key_jwt",
    redirect_uris=("https://full.example/callback",),
    post_logout_redirect_uris=("https://full.example/",),
    backchannel_logout_uri="https://full.example/logout",
    backchannel_logout_session_required=True,
    grant_types=("authorization_code", "refresh_token", "client_credentials"),
    scopes=("openid", "offline_access", "account"),
    first_party=True,
    require_pkce=False,
    id_token_signed_response_alg="Ed25519",
    access_token_signing_alg="RS256",
    audience="https://api.example",
    access_seconds=60,
    refresh_idle_seconds=600,
    refresh_absolute_seconds=6000,
    cors_origins=("https://full.example",),
    jwks={"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "test-value", "kid": "a"}]},
    client_uri="https://full.example/",
    policy_uri="https://full.example/privacy",
    tos_uri="https://full.example/terms",
    brand_color="#0b5a66",
    logo=logos.of(b"a picture", "image/png"),
    disabled=True,
)


async def put(world: World, client: Client, *, over: bool = True) -> bool:
    return await world.db.transact(lambda tx: client_store.put(tx, client, world.clock.now(), replace=over))


async def found(world: World, id: str, seconds: int = 0) -> client_store.Registered | None:
    async with world.db.connection() as connection:
        return await client_store.by_id(connection, id, world.clock.now() + timedelta(seconds=seconds))


async def add(world: World, id: str, secret: str) -> None:
    await world.db.transact(
        lambda tx: client_store.add_secret(tx, world.row_id(), id, secret, world.clock.now())
    )


async def expire(world: World, id: str, seconds: int) -> None:
    at = world.clock.now() + timedelta(seconds=seconds)
    await world.db.transact(lambda tx: client_store.expire_secrets(tx, id, at))


@pytest.mark.parametrize("client", [PORTAL, FULL], ids=lambda client: client.id)
async def test_what_is_put_is_what_is_read(world: World, client: Client) -> None:
    assert await found(world, client.id) is None
    assert await put(world, client)
    registered = await found(world, client.id)
    assert registered == client_store.Registered(client, [], world.clock.now())


async def test_a_client_takes_the_place_of_another_only_where_it_may(world: World) -> None:
    assert await put(world, PORTAL, over=False)
    assert not await put(world, replace(FULL, id="portal"), over=False)
    registered = await found(world, "portal")
    assert registered is not None
    assert registered.client == PORTAL
    assert await put(world, replace(FULL, id="portal"))
    registered = await found(world, "portal")
    assert registered is not None
    assert registered.client == replace(FULL, id="portal")
    assert await put(world, PORTAL)
    assert await found(world, "portal") == client_store.Registered(PORTAL, [], registered.created_at)


async def test_a_picture_is_kept_with_its_client_and_read_by_itself(world: World) -> None:
    async def picture() -> bytes | None:
        async with world.db.connection() as connection:
            logo = await client_store.logo(connection, "full")
            return logo.content if logo else None

    living = replace(FULL, disabled=False)
    await put(world, living)
    assert await picture() == b"a picture"
    # As it is read it has no bytes, and is put again for another reason.
    registered = await found(world, "full")
    assert registered is not None
    assert registered.client.logo is not None
    assert registered.client.logo.content is None
    await put(world, replace(registered.client, name="Another name"))
    assert await picture() == b"a picture"
    await put(world, replace(living, logo=logos.of(b"another", "image/svg+xml")))
    assert await picture() == b"another"
    await put(world, FULL)
    assert await picture() is None, "a disabled client shows nothing"
    await put(world, replace(living, logo=None))
    assert await picture() is None


@pytest.mark.parametrize("id", ["doorward", "Pages"])
async def test_a_built_in_client_has_no_row(world: World, id: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await put(world, replace(PORTAL, id=id))


async def test_a_disabled_client_stays_until_it_is_enabled(world: World) -> None:
    async def state() -> tuple[bool, Any]:
        async with world.db.connection() as connection:
            registered = await client_store.by_id(connection, "portal", world.clock.now())
            assert registered is not None
            at = await connection.fetchval("SELECT disabled_at FROM client WHERE id = 'portal'")
            return registered.client.disabled, at

    now = world.clock.now()
    await put(world, PORTAL)
    assert await state() == (False, None)
    await world.db.transact(lambda tx: client_store.disable(tx, "portal", now))
    later = now + timedelta(seconds=1)
    await world.db.transact(lambda tx: client_store.disable(tx, "portal", later))
    assert await state() == (True, now)
    await world.db.transact(
        lambda tx: client_store.put(tx, replace(PORTAL, disabled=True), later, replace=True)
    )
    assert await state() == (True, now)
    await world.db.transact(lambda tx: client_store.enable(tx, "portal"))
    assert await state() == (False, None)


async def test_clients_are_listed_by_id_a_page_at_a_time(world: World) -> None:
    for name in ("c", "a", "b", "B"):
        await put(world, replace(PORTAL, id=name))
    async with world.db.connection() as connection:
        first = await client_store.page(connection, "", 3)
        rest = await client_store.page(connection, first[-1].id, 3)
    assert [one.id for one in first] == ["B", "a", "b"]
    assert rest == [replace(PORTAL, id="c")]


async def test_no_secret_but_the_clients_own_is_known(world: World) -> None:
    await put(world, PORTAL)
    await put(world, FULL)
    registered = await found(world, "portal")
    assert registered is not None
    assert not registered.knows("")
    await add(world, "portal", "dwx_test-value-1")
    await add(world, "full", "dwx_test-value-2")
    registered = await found(world, "portal")
    assert registered is not None
    assert registered.knows("dwx_test-value-1")
    for other in ("", "dwx_test-value-2", "dwx_test-value-1 ", "DWX_test-value-1", "\ud800", "\0"):
        assert not registered.knows(other), ascii(other)


async def test_a_secret_is_kept_as_its_digest(world: World) -> None:
    await put(world, PORTAL)
    await add(world, "portal", "dwx_test-value-1")
    async with world.db.connection() as connection:
        kept = await connection.fetch("SELECT client_secret::text AS row FROM client_secret")
    assert len(kept) == 1
    assert b"dwx_test-value-1".hex() not in kept[0]["row"]
    assert "test-value" not in kept[0]["row"]


async def test_replaced_secrets_live_until_their_end_and_never_longer(world: World) -> None:
    async def known(seconds: int) -> list[int]:
        registered = await found(world, "portal", seconds)
        assert registered is not None
        assert list(registered.secrets) == sorted(registered.secrets, key=lambda one: one.created_at)
        return [n for n in (1, 2, 3) if registered.knows(f"dwx_test-value-{n}")]

    await put(world, PORTAL)
    await add(world, "portal", "dwx_test-value-1")
    await expire(world, "portal", 60)
    await add(world, "portal", "dwx_test-value-2")
    assert await known(59) == [1, 2]
    assert await known(60) == [2]
    await expire(world, "portal", 3600)
    await add(world, "portal", "dwx_test-value-3")
    assert [await known(seconds) for seconds in (0, 60, 3600)] == [[1, 2, 3], [2, 3], [3]]
    await expire(world, "portal", 0)
    assert await known(0) == []
