"""The breaker in front of Redis: opened by a failure, closed by time or by a good answer."""

import socket
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from service.sections import RedisSettings
from service.stores.redis import Memory, RedisAway
from service.world import World


def _nowhere() -> RedisSettings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return RedisSettings.model_validate({"url": f"redis://127.0.0.1:{port}", "budget_ms": 500})


async def test_asking_an_absent_server_whether_it_is_there_does_not_close_the_breaker() -> None:
    memory = Memory(_nowhere())
    try:
        assert not memory.away
        with pytest.raises(RedisAway, match="ConnectionError"):
            await memory.run(("PING",))
        assert memory.away
        for _ in range(3):
            assert not await memory.is_there()
            assert memory.away
            with pytest.raises(RedisAway, match="the breaker is open"):
                await memory.run(("PING",))
    finally:
        await memory.close()


async def test_asking_does_not_open_the_breaker_either() -> None:
    memory = Memory(_nowhere())
    try:
        assert not await memory.is_there()
        assert not memory.away, "only a sign-in that waited in vain opens it"
    finally:
        await memory.close()


@pytest.mark.parametrize(
    "fault", [RedisConnectionError("gone"), ResponseError("LOADING"), OSError(), TimeoutError()]
)
async def test_a_good_answer_closes_the_breaker_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    memory = world.memory

    async def fails(commands: Any) -> list[Any]:
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(memory, "_trip", fails)
        with pytest.raises(RedisAway):
            await memory.run(("PING",))
        assert not await memory.is_there()
        assert memory.away
    assert memory.away, "that it could answer is not known yet"
    assert await memory.is_there()
    assert not memory.away
    assert await memory.run(("PING",)) == [True]
