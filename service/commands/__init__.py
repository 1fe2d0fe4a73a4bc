"""How a command runs: its settings, the world it acts in, and refusals of one line.

A module for each group of commands; `service.__main__` puts them together.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, TypeVar

import asyncpg
import click

from service import embedded, settings
from service.crypto import SealBroken
from service.domain.accounts import is_line
from service.errors import ConfigError, DoorwardError
from service.settings import Settings
from service.world import World, make_world, require_keys

T = TypeVar("T")


def read_settings(over: Mapping[str, Any] | None = None) -> Settings:
    return loaded(over or {})[0]


def loaded(over: Mapping[str, Any]) -> tuple[Settings, Mapping[str, str]]:
    """The settings, over those of a running `doorward dev` where DOORWARD_DATA names its folder."""
    data = settings.data_folder()
    try:
        if data is None or "database.url" in over:
            return Settings.load_with_sources(over)
        servers = embedded.find(data)
        if servers is None:
            refuse(f"no `doorward dev` is running on {data}")
        known: dict[str, Any] = {
            "dev": True,
            "issuer": "http://127.0.0.1:8400",
            "encryption_keys": (data / "encryption.key").read_text(),
            "database.url": servers.postgres_url,
            "redis.url": servers.redis_url,
        }
        return Settings.load_with_sources(known | dict(over))
    except ConfigError as fault:
        refuse("\n".join(fault.faults))


def in_world(act: Callable[[World], Awaitable[T]]) -> T:
    async def acted() -> T:
        world = make_world(read_settings())
        try:
            await world.refresh()
            require_keys(world)
            return await act(world)
        finally:
            await world.close()

    return run(acted)


def run(act: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine; a refusal is one clear line and exit 1."""

    async def awaited() -> T:
        return await act()

    try:
        return asyncio.run(awaited())
    except ConfigError as fault:
        refuse("\n".join(fault.faults))
    except SealBroken as fault:
        refuse(f"encryption_keys: {fault}")
    except DoorwardError as fault:
        refuse(f"{fault.code}: {fault.private}")
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as fault:
        refuse(f"postgres: {type(fault).__name__}: {fault}")
    except OSError as fault:
        refuse(f"cannot connect: {fault}")


def refuse(text: str, code: int = 1) -> NoReturn:
    click.echo(text, err=True)
    raise SystemExit(code)


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows))
        return
    texts = [{name: _seen(str(value)) for name, value in row.items()} for row in rows]
    widths = {name: max(len(row[name]) for row in texts) for name in (texts[0] if texts else {})}
    for row in texts:
        click.echo("  ".join(row[name].ljust(width) for name, width in widths.items()).rstrip())


def _seen(text: str) -> str:
    """A text as a terminal may show it: a person's name must not move the cursor or change the title."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class Printable(click.types.StringParamType):
    """A word of the command line that is text: it may come as any bytes, which neither Postgres nor a
    terminal takes."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = super().convert(value, param, ctx)
        if not is_line(text):
            self.fail("must be printable text in UTF-8", param, ctx)
        return text
