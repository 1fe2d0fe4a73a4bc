"""`doorward keys`: the service's own keys."""

import dataclasses
import json
from typing import Any, get_args

import click

from service.commands import in_world, refuse, show
from service.flows import keys as key_flow
from service.keyring import ALGORITHMS, Alg, Kind
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
                "alg": ALGORITHMS.get(key.kind, ""),
                "state": key_flow.state(world, key),
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
    """Add a key of a kind. It is used in a minute, when every node has read it; a signing key in ten minutes,
    when every cache of the JWKS has seen it."""
    name = in_world(lambda world: key_flow.create(world, Kind(kind))).id
    click.echo(json.dumps({"id": name}) if as_json else f"created {name}")


@keys.command("rotate")
@click.option("--alg", type=click.Choice(get_args(Alg)), help="One algorithm; without it, each of them.")
@click.option("--json", "as_json", is_flag=True)
def keys_rotate(alg: Alg | None, as_json: bool) -> None:
    """Publish the next signing key now; it signs ten minutes later, when every cache of the JWKS has seen it.
    The old one is retired once its last token has died."""

    async def rotate(world: World) -> list[key_flow.Next]:
        return [await key_flow.rotate(world, one) for one in ([alg] if alg else get_args(Alg))]

    found = in_world(rotate)
    rows = [
        {
            "alg": ALGORITHMS[one.kind],
            "id": one.id,
            "active_from": one.active_from.isoformat(timespec="seconds"),
            "made": one.made,
        }
        for one in found
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        done = "published" if row["made"] else "was on its way already:"
        click.echo(f"{row['alg']}  {done} {row['id']}, signs from {row['active_from']}")


# A thumbprint may begin with a hyphen.
@keys.command("retire", context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("id")
@click.option(
    "--force",
    is_flag=True,
    help="Give up what stands under it: a signing key's last tokens, a pepper's unused backup codes.",
)
@click.option("--json", "as_json", is_flag=True)
def keys_retire(id: str, force: bool, as_json: bool) -> None:
    """Take a key away for ever. An active key, and one that something living needs, are refused."""
    voided = in_world(lambda world: key_flow.retire(world, id, force=force))
    if as_json:
        click.echo(json.dumps({"id": id, "voided_sets": voided}))
        return
    click.echo(f"retired {id}" + (f"; {voided} sets of backup codes are void" if voided else ""))


@keys.command("rewrap")
@click.option("--json", "as_json", is_flag=True)
def keys_rewrap(as_json: bool) -> None:
    """Seal every secret anew under the active encryption key, the first of the setting; everything may run
    meanwhile, and it may be stopped and started again. Exit 1 when a record does not open."""
    done = in_world(key_flow.rewrap)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(done)))
    else:
        click.echo(
            f"sealed anew under {done.under}: {done.service_keys} keys, {done.authenticators} authenticators"
        )
    if done.broken:
        more = [f"… and {len(done.broken) - 10} more"] if len(done.broken) > 10 else []
        refuse("\n".join(["these do not open, and stay as they are:", *done.broken[:10], *more]))
