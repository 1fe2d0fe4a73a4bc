"""`doorward keys`: the service's own keys."""

import json
from datetime import timedelta
from typing import Any

import click

from service.commands import in_world, show
from service.keyring import Kind
from service.stores import keys as key_store
from service.world import World


@click.group()
def keys() -> None:
    """The service's own keys."""


@keys.command("list")
@click.option("--json", "as_json", is_flag=True)
def keys_list(as_json: bool) -> None:
    """Every living key; never its material."""

    async def read(world: World) -> list[dict[str, Any]]:
        return [
            {
                "id": key.id,
                "kind": key.kind.value,
                "active_from": key.active_from.isoformat(timespec="seconds"),
            }
            for kind in Kind
            for key in world.keyring.all(kind)
        ]

    show(in_world(read), as_json)


@keys.command("create")
@click.argument("kind", type=click.Choice([kind.value for kind in Kind if kind is not Kind.INDEX]))
@click.option("--json", "as_json", is_flag=True)
def keys_create(kind: str, as_json: bool) -> None:
    """Add a key of a kind. A signing key is published now and used an hour later, when every cache of
    the JWKS has seen it."""
    name = in_world(lambda world: _create_key(world, Kind(kind)))
    click.echo(json.dumps({"id": name}) if as_json else f"created {name}")


async def _create_key(world: World, kind: Kind) -> str:

    now = world.clock.now()
    # Running nodes read the keys every ten seconds: none may meet a key it has not read.
    wait = timedelta(hours=1) if kind is Kind.SIGN else timedelta(minutes=1)
    return await world.db.transact(
        lambda tx: key_store.create(tx, world.sealer, world.entropy, kind, now, now + wait)
    )
