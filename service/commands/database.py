"""`doorward migrate`: the schema of the database, and the first keys."""

from typing import Any

import click

from service.commands import read_settings, refuse, run, show
from service.flows import keys as key_flow
from service.settings import Settings
from service.stores import schema
from service.stores.postgres import Database
from service.world import make_world


@click.group()
def migrate() -> None:
    """The schema of the database."""


@migrate.command("up")
def migrate_up() -> None:
    """Apply what is pending and make the first keys. Doing it twice does no harm."""
    for line in run(lambda: apply(read_settings())):
        click.echo(line)


@migrate.command("status")
@click.option("--json", "as_json", is_flag=True)
def migrate_status(as_json: bool) -> None:
    """Which migrations are applied."""
    waiting = {one.version for one in run(_pending)}
    rows = [
        {
            "version": one.version,
            "name": one.name,
            "state": "pending" if one.version in waiting else "applied",
        }
        for one in schema.migrations()
    ]
    show(rows, as_json)


@migrate.command("plan")
def migrate_plan() -> None:
    """Print the SQL that `up` would run."""
    for one in run(_pending):
        click.echo(f"-- {one.version:04} {one.name}\n{one.sql}")


@migrate.command("check")
def migrate_check() -> None:
    """Exit 1 when something is pending."""
    if waiting := run(_pending):
        refuse("pending: " + ", ".join(f"{one.version:04} {one.name}" for one in waiting))
    click.echo("the schema is up to date")


async def _pending() -> Any:
    async with Database(read_settings().database).connection() as connection:
        return await schema.pending(connection)  # type: ignore[arg-type]


async def apply(found: Settings) -> list[str]:
    applied = await schema.up(found.database.url.get_secret_value())
    world = make_world(found)
    try:
        world.clock.set_to(await world.db.time())
        made = await key_flow.ensure(world)
    finally:
        await world.close()
    lines = [f"applied {one.version:04} {one.name}" for one in applied]
    return lines + [f"made key {name}" for name in made] or ["nothing to do"]
