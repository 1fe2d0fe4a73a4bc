"""The command line. Exit 0: done; 1: refused; 2: wrong use."""

import asyncio
import base64
import json
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from service import __version__, embedded, logs, settings
from service.clock import monotonic
from service.crypto import SealBroken
from service.entropy import Entropy
from service.errors import CATALOGUE, ConfigError, DoorwardError, Unavailable
from service.flows import accounts as account_flow
from service.keyring import Kind
from service.settings import Settings
from service.stores import keys as key_store
from service.stores import schema
from service.stores.postgres import Database
from service.world import World, make_world, require_keys

T = TypeVar("T")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Doorward: sign-in with a second factor, and the sessions it opens."""


# Serving


@main.command()
@click.option("--host", help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on.")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes.")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve in production, with settings from the environment."""
    from granian.log import LogLevels
    from granian.server import Server

    given = {"host": host, "port": port, "workers": workers}
    over = {name: value for name, value in given.items() if value is not None}
    found = _settings(over)
    _run(lambda: _preflight(found))
    # The workers read their settings again, each in its own process.
    settings.export(over)
    _many_connections()
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
        **_http1_alone(),
    ).serve()


def _http1_alone() -> dict[str, Any]:
    """What both servers have in common: HTTP/1 without upgrades, and heads that arrive in ten seconds."""
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings

    return {
        "interface": Interfaces.ASGI,
        "http": HTTPModes.http1,
        "http1_settings": HTTP1Settings(header_read_timeout=10_000),
        "websockets": False,
    }


def _many_connections() -> None:
    """Each connection is an open file; the usual soft limit of 1024 is one idle client's to use up."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where the system refuses its own hard limit, the soft one has to do.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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


@main.command()
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
        _refuse("`doorward dev` serves on loopback only: its demo people have known passwords", 2)
    try:
        with embedded.Embedded(data, prefer=servers) as found:
            asyncio.run(_dev(_dev_settings(data, found, port), data, seed=not no_seed))
    except embedded.EmbeddedError as fault:
        _refuse(str(fault))


async def _dev(found: Settings, data: Path, *, seed: bool) -> None:
    from granian.server.embed import Server

    from service.app import create

    logs.configure(found.log_level)
    await _migrate(found)
    world = make_world(found)
    await world.refresh()
    people = await _seed(world, data) if seed else []
    server = Server(create(world), "127.0.0.1", found.port, log_enabled=False, **_http1_alone())
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, server.stop)
    serving = loop.create_task(server.serve())
    await _answering(found.port, serving)
    click.echo(f"Doorward serves on {found.issuer}\n  try    curl {found.issuer}/readyz")
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
        return
    if serving.done():
        # Ended before it answered: its fault comes out here, or it was told to stop.
        serving.result()
        return
    _refuse(f"nothing answers on port {port}; is it taken?")


def _dev_settings(data: Path, servers: embedded.Servers, port: int) -> Settings:
    """The settings of `doorward dev`: its own servers, and a key made once for this folder."""
    key_file = data / "encryption.key"
    if not key_file.exists():
        key_file.touch(mode=0o600)
        key_file.write_text("dev:" + base64.b64encode(Entropy().token(32)).decode())
    return _settings(
        {
            "dev": True,
            "issuer": f"http://127.0.0.1:{port}",
            "port": port,
            "encryption_keys": key_file.read_text(),
            "database.url": servers.postgres_url,
            "redis.url": servers.redis_url,
        }
    )


async def _seed(world: World, data: Path) -> list[tuple[str, str]]:
    """A demo administrator and a demo person, once; their passwords are for this folder only."""
    note = data / "demo.json"
    if not note.exists():
        people = [("admin@demo.example", "admin"), ("person@demo.example", "")]
        made = []
        for email, role in people:
            password = "demo-" + world.entropy.token(6).hex()
            await account_flow.create(world, email, password, name="Demo", roles=[role] if role else [])
            made.append((email, password))
        note.touch(mode=0o600)
        note.write_text(json.dumps(made))
    return [(email, password) for email, password in json.loads(note.read_text())]


# The database


@main.group()
def migrate() -> None:
    """The schema of the database."""


@migrate.command("up")
def migrate_up() -> None:
    """Apply what is pending and make the first keys. Doing it twice does no harm."""
    for line in _run(lambda: _migrate(_settings())):
        click.echo(line)


@migrate.command("status")
@click.option("--json", "as_json", is_flag=True)
def migrate_status(as_json: bool) -> None:
    """Which migrations are applied."""
    waiting = {one.version for one in _run(_pending)}
    rows = [
        {
            "version": one.version,
            "name": one.name,
            "state": "pending" if one.version in waiting else "applied",
        }
        for one in schema.migrations()
    ]
    _show(rows, as_json)


@migrate.command("plan")
def migrate_plan() -> None:
    """Print the SQL that `up` would run."""
    for one in _run(_pending):
        click.echo(f"-- {one.version:04} {one.name}\n{one.sql}")


@migrate.command("check")
def migrate_check() -> None:
    """Exit 1 when something is pending."""
    if waiting := _run(_pending):
        _refuse("pending: " + ", ".join(f"{one.version:04} {one.name}" for one in waiting))
    click.echo("the schema is up to date")


async def _pending() -> Any:
    async with Database(_settings().database).connection() as connection:
        return await schema.pending(connection)  # type: ignore[arg-type]


async def _migrate(found: Settings) -> list[str]:
    applied = await schema.up(found.database.url.get_secret_value())
    world = make_world(found)
    try:
        now = await world.db.time()
        made = await world.db.transact(lambda tx: key_store.ensure(tx, world.sealer, world.entropy, now))
    finally:
        await world.close()
    lines = [f"applied {one.version:04} {one.name}" for one in applied]
    return lines + [f"made key {name}" for name in made] or ["nothing to do"]


# The configuration


@main.group()
def config() -> None:
    """The settings this process would run with."""


@config.command("check")
def config_check() -> None:
    """List every fault at once; exit 1 when there is one."""
    _settings()
    click.echo("the configuration holds")


@config.command("show")
@click.option("--json", "as_json", is_flag=True)
def config_show(as_json: bool) -> None:
    """Every setting, its value (secrets hidden) and where it came from."""
    found, sources = _loaded({})
    rows = []
    for name in settings.names():
        value: Any = found
        for part in name.split("."):
            value = getattr(value, part)
        rows.append({"name": name, "value": str(value), "source": sources.get(name, "default")})
    _show(rows, as_json)


@config.command("reference")
def config_reference() -> None:
    """Print the table of all settings, as the documentation holds it."""
    click.echo(
        "# Settings\n\nGenerated by `doorward config reference`. Any of them can also be given as a file by"
    )
    click.echo("adding `_FILE` to its variable. `doorward config check` lists every fault at once.\n")
    click.echo("| setting | variable | default | what it does |\n| --- | --- | --- | --- |")
    for name, default, text in settings.reference():
        click.echo(f"| `{name}` | `{settings.variable(name)}` | {default} | {text} |")


# People


@main.group()
def user() -> None:
    """People."""


@user.command("create")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--role", "roles", multiple=True, type=click.Choice(account_flow.ROLES))
@click.option("--name", default="")
@click.option("--json", "as_json", is_flag=True)
def user_create(email: str, password_stdin: bool, roles: tuple[str, ...], name: str, as_json: bool) -> None:
    """Add a person with a verified address."""
    if not password_stdin:
        _refuse("give --password-stdin: the one-time link that replaces it is not there yet", 2)
    raw = sys.stdin.buffer.read(4096)
    try:
        password = raw.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        _refuse("the password is not UTF-8", 2)

    async def create(world: World) -> str:
        return str(await account_flow.create(world, email, password, name=name, roles=roles))

    person = _in_world(create)
    click.echo(json.dumps({"id": person}) if as_json else f"created {person}")


@user.command("list")
@click.option("--two-factor", type=click.Choice(["activated", "not_activated"]))
@click.option("--json", "as_json", is_flag=True)
def user_list(two_factor: str | None, as_json: bool) -> None:
    """Everyone, by address."""

    async def read(world: World) -> list[dict[str, Any]]:
        return [
            {
                "email": one.email,
                "two_factor": one.two_factor,
                "roles": ",".join(one.roles),
                "disabled": one.disabled,
                "id": str(one.id),
            }
            async for one in account_flow.everyone(world)
            if two_factor in (None, one.two_factor)
        ]

    _show(_in_world(read), as_json)


@user.command("show")
@click.argument("email")
@click.option("--json", "as_json", is_flag=True)
def user_show(email: str, as_json: bool) -> None:
    """One person."""

    async def read(world: World) -> dict[str, Any]:
        one = await account_flow.find(world, email)
        return {
            "id": str(one.id),
            "sub": str(one.sub),
            "email": one.email,
            "name": one.name,
            "roles": ",".join(one.roles),
            "email_verified": one.email_verified,
            "must_change_password": one.must_change_password,
            "disabled": one.disabled,
            "two_factor": "activated" if one.enrolled else "not_activated",
        }

    found = _in_world(read)
    if as_json:
        click.echo(json.dumps(found))
    else:
        _show([{"field": name, "value": value} for name, value in found.items()], False)


# Keys


@main.group()
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

    _show(_in_world(read), as_json)


@keys.command("create")
@click.argument("kind", type=click.Choice([kind.value for kind in Kind if kind is not Kind.INDEX]))
@click.option("--json", "as_json", is_flag=True)
def keys_create(kind: str, as_json: bool) -> None:
    """Add a key of a kind. A signing key is published now and used an hour later, when every cache of
    the JWKS has seen it."""
    name = _in_world(lambda world: _create_key(world, Kind(kind)))
    click.echo(json.dumps({"id": name}) if as_json else f"created {name}")


async def _create_key(world: World, kind: Kind) -> str:

    now = world.clock.now()
    # Running nodes read the keys every ten seconds: none may meet a key it has not read.
    wait = timedelta(hours=1) if kind is Kind.SIGN else timedelta(minutes=1)
    return await world.db.transact(
        lambda tx: key_store.create(tx, world.sealer, world.entropy, kind, now, now + wait)
    )


@main.command("errors")
def list_errors() -> None:
    """Print the table of error codes, as the documentation holds it."""
    click.echo("# Error codes\n\nGenerated by `doorward errors`. Branch on `code`; the texts may change.\n")
    click.echo("| code | status | meaning | what to do |\n| --- | --- | --- | --- |")
    for code, error in CATALOGUE.items():
        click.echo(f"| `{code}` | {error.status} | {error.title} | {error.detail} |")


@main.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from service.app import openapi_document

    click.echo(openapi_document(), nl=False)


# How a command runs


def _settings(over: Mapping[str, Any] | None = None) -> Settings:
    return _loaded(over or {})[0]


def _loaded(over: Mapping[str, Any]) -> tuple[Settings, Mapping[str, str]]:
    """The settings, over those of a running `doorward dev` where DOORWARD_DATA names its folder."""
    data = settings.data_folder()
    try:
        if data is None or "database.url" in over:
            return Settings.load_with_sources(over)
        servers = embedded.find(data)
        if servers is None:
            _refuse(f"no `doorward dev` is running on {data}")
        known: dict[str, Any] = {
            "dev": True,
            "issuer": "http://127.0.0.1:8400",
            "encryption_keys": (data / "encryption.key").read_text(),
            "database.url": servers.postgres_url,
            "redis.url": servers.redis_url,
        }
        return Settings.load_with_sources(known | dict(over))
    except ConfigError as fault:
        _refuse("\n".join(fault.faults))


def _in_world(act: Callable[[World], Awaitable[T]]) -> T:
    async def run() -> T:
        world = make_world(_settings())
        try:
            await world.refresh()
            require_keys(world)
            return await act(world)
        finally:
            await world.close()

    return _run(run)


def _run(act: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine; a refusal is one clear line and exit 1."""

    async def awaited() -> T:
        return await act()

    try:
        return asyncio.run(awaited())
    except ConfigError as fault:
        _refuse("\n".join(fault.faults))
    except SealBroken as fault:
        _refuse(f"encryption_keys: {fault}")
    except DoorwardError as fault:
        _refuse(f"{fault.code}: {fault.private}")
    except OSError as fault:
        _refuse(f"cannot connect: {fault}")


def _refuse(text: str, code: int = 1) -> NoReturn:
    click.echo(text, err=True)
    raise SystemExit(code)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows))
        return
    widths = {name: max(len(str(row[name])) for row in rows) for name in (rows[0] if rows else {})}
    for row in rows:
        click.echo("  ".join(str(row[name]).ljust(width) for name, width in widths.items()).rstrip())


if __name__ == "__main__":
    main()
