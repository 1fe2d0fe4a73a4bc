"""`doorward dev`: everything on this machine, with demo people."""

import asyncio
import base64
import json
import signal
import sys
from pathlib import Path

import click

from service import embedded, logs, settings
from service.clock import monotonic
from service.commands import read_settings, refuse, run
from service.commands.database import apply
from service.commands.serve import http1_alone, require_port
from service.entropy import Entropy
from service.errors import NotFound
from service.flows import accounts as account_flow
from service.settings import Settings
from service.world import World, make_world

#: The demo people, and their roles.
_DEMO = {"admin@demo.example": ["admin"], "person@demo.example": []}


@click.command()
@click.option("--port", default=8400, show_default=True, type=click.IntRange(1, 65535))
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback only.")
@click.option("--data", default=".doorward", show_default=True, type=click.Path(path_type=Path))
@click.option("--no-seed", is_flag=True, help="Make no demo people.")
@click.option(
    "--servers", default="wheels", type=click.Choice(["wheels", "debian"]), help="Whose servers first."
)
def dev(port: int, host: str, data: Path, no_seed: bool, servers: embedded.Prefer) -> None:
    """Serve on loopback with a private Postgres and Redis, migrated and seeded."""
    if host not in settings.LOOPBACK:
        refuse("`doorward dev` serves on loopback only: its demo people have known passwords", 2)
    require_port("127.0.0.1", port)
    try:
        with embedded.Embedded(data, prefer=servers) as found:
            own = _dev_settings(data, found, port)
            run(lambda: _dev(own, data, seed=not no_seed))
    except embedded.EmbeddedError as fault:
        refuse(str(fault))


async def _dev(found: Settings, data: Path, *, seed: bool) -> None:
    from granian.server.embed import Server

    from service.app import create

    logs.configure(found.log_level)
    await apply(found)
    world = make_world(found)
    await world.refresh()
    people = await _seed(world, data) if seed else []
    # Once more: somebody may have come while the servers were starting.
    require_port("127.0.0.1", found.port)
    server = Server(create(world), "127.0.0.1", found.port, log_enabled=False, **http1_alone())
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, server.stop)
    serving = loop.create_task(server.serve())
    await _answering(found.port, serving)
    click.echo(f"Doorward serves on {found.issuer}")
    click.echo(f"  open   {found.issuer}/sign-in")
    click.echo(f"  try    curl {found.issuer}/readyz")
    click.echo(f"  stop   Ctrl+C        data   {data}/")
    for email, password in people:
        click.echo(f"  demo   {email}  {password}")
    sys.stdout.flush()
    await serving


async def _answering(port: int, serving: "asyncio.Task[None]") -> None:
    """Wait until the port takes connections; a server that ended instead says why."""
    deadline = monotonic() + 15
    while monotonic() < deadline and not serving.done():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        if serving.done():
            break
        return
    if serving.done():
        # Ended before it answered: its fault comes out here, or it was told to stop.
        serving.result()
        return
    refuse(f"nothing answers on port {port}; is it taken?")


def _dev_settings(data: Path, servers: embedded.Servers, port: int) -> Settings:
    """The settings of `doorward dev`: its own servers, and a key made once for this folder."""
    key_file = data / "encryption.key"
    if not key_file.exists() or not key_file.read_text():
        _keep(key_file, "dev:" + base64.b64encode(Entropy().token(32)).decode())
    return read_settings(
        {
            "dev": True,
            "issuer": f"http://127.0.0.1:{port}",
            "port": port,
            "encryption_keys": key_file.read_text(),
            "database.url": servers.postgres_url,
            "redis.url": servers.redis_url,
        }
    )


def _keep(file: Path, text: str) -> None:
    """Write beside the place, then move there: a kill leaves the whole file or none."""
    beside = file.with_name(file.name + ".new")
    beside.touch(mode=0o600)
    beside.write_text(text)
    beside.replace(file)


async def _seed(world: World, data: Path) -> list[tuple[str, str]]:
    """A demo administrator and a demo person, once; their passwords are for this folder only.

    The note comes first and is the truth: a start that was killed between the two goes on from it.
    """
    note = data / "demo.json"
    if not note.exists() or not note.read_text():
        _keep(note, json.dumps([(email, "demo-" + world.entropy.token(6).hex()) for email in _DEMO]))
    people = [(email, password) for email, password in json.loads(note.read_text())]
    for email, password in people:
        try:
            await account_flow.find(world, email)
        except NotFound:
            await account_flow.create(world, email, password, name="Demo", roles=_DEMO.get(email, []))
    return people
