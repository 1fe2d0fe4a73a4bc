"""Redis (or Valkey): it damps and refuses early, and nothing is lost when it is."""

import hashlib
from pathlib import Path
from typing import Any, TypeAlias

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from service.clock import monotonic
from service.sections import RedisSettings

LUA = Path(__file__).parent / "lua"
Command: TypeAlias = tuple[str | int, ...]


class RedisAway(Exception):
    """Redis did not answer within its budget, or was left alone because it lately had not."""


class Script:
    """A Lua file of one key, so that on a cluster no call crosses slots."""

    def __init__(self, name: str) -> None:
        self.text = (LUA / f"{name}.lua").read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, key: str, *arguments: int) -> Command:
        return ("EVALSHA", self.sha, 1, key, *arguments)


class Memory:
    """A client with a time budget and a breaker.

    A sign-in must not wait for a limiter that is down: after one failure Redis is left alone for
    the breaker's time, and callers use what they have in the process.
    """

    def __init__(self, settings: RedisSettings) -> None:
        budget = settings.budget_ms / 1000
        # A retry would double the budget; the breaker is the answer to a failure.
        self._client = Redis.from_pool(
            BlockingConnectionPool.from_url(
                settings.url.get_secret_value(),
                socket_timeout=budget,
                socket_connect_timeout=budget,
                timeout=budget,
                retry=Retry(NoBackoff(), 0),
                max_connections=32,
            )
        )
        self._breaker = float(settings.breaker_seconds)
        self._left_alone_until = 0.0

    @property
    def away(self) -> bool:
        """Whether the breaker is open."""
        return monotonic() < self._left_alone_until

    async def run(self, *commands: Command, script: Script | None = None) -> list[Any]:
        """Run the commands in one round trip and return their answers. Raises RedisAway.

        `script` is the one the commands call; it is loaded when a restarted server lacks it.
        """
        if self.away:
            raise RedisAway("the breaker is open")
        try:
            try:
                return await self._trip(commands)
            except NoScriptError:
                if script is None:
                    raise
                return (await self._trip((("SCRIPT", "LOAD", script.text), *commands)))[1:]
        except (RedisError, OSError, TimeoutError) as fault:
            self._left_alone_until = monotonic() + self._breaker
            raise RedisAway(f"{type(fault).__name__}: {fault}") from fault

    async def is_there(self) -> bool:
        """Ask, whatever the breaker says. Only a good answer closes it: whoever polls this must not make
        every sign-in wait for an absent server again."""
        try:
            await self._trip((("PING",),))
        except (RedisError, OSError, TimeoutError):
            return False
        self._left_alone_until = 0.0
        return True

    async def close(self) -> None:
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def _trip(self, commands: tuple[Command, ...]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return list(await pipeline.execute())
