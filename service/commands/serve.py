"""`doorward serve`: the production server."""

import socket
from pathlib import Path
from typing import Any

import click

from service import settings
from service.commands import read_settings, refuse, run
from service.errors import ConfigError, Unavailable
from service.settings import Settings
from service.stores import schema
from service.world import make_world, require_keys


@click.command()
@click.option("--host", help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on.")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes.")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve in production, with settings from the environment."""
    from granian.log import LogLevels
    from granian.server import Server

    given = {"host": host, "port": port, "workers": workers}
    over = {name: value for name, value in given.items() if value is not None}
    if settings.data_folder() is not None:
        refuse("DOORWARD_DATA names a running `doorward dev`; `serve` takes its own settings: unset it")
    found = read_settings(over)
    require_port(found.host, found.port)
    run(lambda: _preflight(found))
    # The workers read their settings again, each in its own process.
    settings.export(over)
    Server(
        "service.app:application",
        factory=True,
        address=found.host,
        port=found.port,
        workers=found.workers,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
        log_access=False,
        workers_kill_timeout=15,
        ssl_cert=Path(found.tls_certificate) if found.tls_certificate else None,
        ssl_key=Path(found.tls_key) if found.tls_key else None,
        **http1_alone(),
    ).serve()


def http1_alone() -> dict[str, Any]:
    """What both servers have in common: HTTP/1 without upgrades, and heads that arrive in ten seconds."""
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings

    return {
        "interface": Interfaces.ASGI,
        "http": HTTPModes.http1,
        "http1_settings": HTTP1Settings(header_read_timeout=10_000),
        "websockets": False,
    }


def require_port(host: str, port: int) -> None:
    """Refuse a port that is taken. The server's own sockets would share it with whoever has it, as its
    workers share it with each other, and half of the requests would go to the other."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # Connections of a server that has just ended are no reason.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as fault:
        refuse(f"cannot listen on {host} port {port}: {fault.strerror or fault}")


async def _preflight(found: Settings) -> None:
    """Refuse to start on a schema or keys that do not fit. A database that is away is no reason."""
    world = make_world(found)
    try:
        async with world.db.connection() as connection:
            waiting = await schema.pending(connection)  # type: ignore[arg-type]
        if waiting:
            raise ConfigError([f"{len(waiting)} migrations are pending: run `doorward migrate up`"])
        await world.refresh()
        require_keys(world)
    except Unavailable as fault:
        click.echo(f"starting without the database: {fault.private}", err=True)
    finally:
        await world.close()
