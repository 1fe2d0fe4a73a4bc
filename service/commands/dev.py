"""`doorward dev`: everything on this machine, with demo people."""

import asyncio
import base64
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import click
from litestar.types import ASGIApp

from service import embedded, logs, settings
from service.clock import monotonic
from service.commands import read_settings, refuse, run
from service.commands.database import apply
from service.commands.serve import http1_alone, require_port
from service.domain.oidc.clients import Client
from service.entropy import Entropy
from service.errors import NotFound
from service.flows import accounts as account_flow
from service.flows import clients as client_flow
from service.settings import Settings
from service.world import World, make_world

#: The demo people, and their roles.
_DEMO = {"admin@demo.example": ["admin"], "person@demo.example": []}
#: The id of the example portal, as a client.
_PORTAL = "doorward-demo"


@click.command()
@click.option("--port", default=8400, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--portal-port", type=click.IntRange(1, 65535), help="The example portal's.  [default: port + 1]"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback only.")
@click.option("--data", default=".doorward", show_default=True, type=click.Path(path_type=Path))
@click.option("--no-seed", is_flag=True, help="Make no demo people and no example portal.")
@click.option(
    "--servers", default="wheels", type=click.Choice(["wheels", "debian"]), help="Whose servers first."
)
def dev(
    port: int, portal_port: int | None, host: str, data: Path, no_seed: bool, servers: embedded.Prefer
) -> None:
    """Serve on loopback with a private Postgres and Redis, migrated and seeded, beside an example portal."""
    if host not in settings.LOOPBACK:
        refuse("`doorward dev` serves on loopback only: its demo people have known passwords", 2)
    beside = None if no_seed else portal_port or port + 1
    if beside in (port, 65536):
        refuse("the example portal needs a port of its own: name it with --portal-port", 2)
    _require_ports(port, beside)
    try:
        with embedded.Embedded(data, prefer=servers) as found:
            own = _dev_settings(data, found, port)
            run(lambda: _dev(own, data, beside))
    except embedded.EmbeddedError as fault:
        refuse(str(fault))


async def _dev(found: Settings, data: Path, portal_port: int | None) -> None:
    """Serve until told to stop; without a port for the portal there is none, and nobody is made."""
    from service.app import create

    logs.configure(found.log_level)
    await apply(found)
    world = make_world(found)
    await world.refresh()
    seed = portal_port is not None
    people = await _seed(world, data) if seed else []
    portal = await _portal(world, portal_port) if portal_port is not None else None
    # Once more: somebody may have come while the servers were starting.
    _require_ports(found.port, portal_port)
    served = [(create(world), found.port)]
    if portal is not None and portal_port is not None:
        served.append((portal, portal_port))
    await _serve(served, lambda: _tell(found, data, people, portal_port))


def _tell(found: Settings, data: Path, people: list[tuple[str, str]], portal_port: int | None) -> None:
    click.echo(f"Doorward serves on {found.issuer}")
    click.echo(f"  open   {found.issuer}/sign-in")
    if portal_port is not None:
        click.echo(f"  portal {_origin(portal_port)}")
    click.echo(f"  try    curl {found.issuer}/readyz")
    click.echo(f"  stop   Ctrl+C        data   {data}/")
    for email, password in people:
        click.echo(f"  demo   {email}  {password}")
    sys.stdout.flush()


async def _serve(served: list[tuple[ASGIApp, int]], ready: Callable[[], None]) -> None:
    """Serve applications on ports of loopback until Ctrl+C; where one ends, all do."""
    from granian.server.embed import Server

    loop = asyncio.get_running_loop()
    servers = [Server(app, "127.0.0.1", port, log_enabled=False, **http1_alone()) for app, port in served]

    def stop() -> None:
        for server in servers:
            server.stop()  # type: ignore[no-untyped-call]

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    serving = [loop.create_task(server.serve()) for server in servers]
    for task in serving:
        task.add_done_callback(lambda _: stop())
    for task, (_, port) in zip(serving, served, strict=True):
        await _answering(port, task)
    ready()
    await asyncio.gather(*serving)


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


def _require_ports(port: int, portal_port: int | None) -> None:
    require_port("127.0.0.1", port)
    if portal_port is not None:
        require_port("127.0.0.1", portal_port)


def _origin(port: int) -> str:
    """A port of loopback as an origin; `localhost` would be another one."""
    return f"http://127.0.0.1:{port}"


def _dev_settings(data: Path, servers: embedded.Servers, port: int) -> Settings:
    """The settings of `doorward dev`: its own servers, and a key made once for this folder."""
    key_file = data / "encryption.key"
    if not key_file.exists() or not key_file.read_text():
        _keep(key_file, "dev:" + base64.b64encode(Entropy().token(32)).decode())
    return read_settings(
        {
            "dev": True,
            "issuer": _origin(port),
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


async def _portal(world: World, port: int) -> ASGIApp:
    """The example portal, registered for this port. It has a new secret at each start: no file keeps one."""
    from service.portal.app import create

    url = _origin(port)
    client = Client(
        _PORTAL,
        "Example portal",
        redirect_uris=(f"{url}/callback",),
        post_logout_redirect_uris=(f"{url}/signed-out",),
        backchannel_logout_uri=f"{url}/backchannel-logout",
        backchannel_logout_session_required=True,
        grant_types=("authorization_code", "refresh_token"),
        scopes=("openid", "profile", "email"),
        first_party=True,
    )
    await client_flow.apply(world, [client])
    secret = await client_flow.rotate_secret(world, client.id, 0)
    return create(world.settings.issuer, client.id, secret, url)
