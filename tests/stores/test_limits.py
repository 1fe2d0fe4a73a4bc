"""Limits of networks: with Redis and without it."""

import asyncio

import pytest

from service.errors import InvalidCode, RateLimited, Unavailable
from service.settings import Settings
from service.stores.limits import Limit, networks
from service.stores.redis import RedisAway
from service.world import World, make_world
from tests.builders import FixedClock

NAME = "sign_in.network"


async def _taken(world: World, address: str, times: int) -> int:
    """How many of so many parallel tries are admitted."""
    tries = [world.limits.take(NAME, address) for _ in range(times)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert all(not isinstance(answer, BaseException) or isinstance(answer, RateLimited) for answer in answers)
    return sum(not isinstance(answer, BaseException) for answer in answers)


async def test_a_network_may_fail_thirty_times_however_many_come_at_once(world: World) -> None:
    assert await _taken(world, "192.0.2.1", 80) == 30
    assert await _taken(world, "192.0.2.2", 5) == 5


async def test_a_refusal_tells_when_a_place_is_free(world: World) -> None:
    await _taken(world, "192.0.2.1", 30)
    with pytest.raises(RateLimited) as refused:
        await world.limits.take(NAME, "192.0.2.1")
    assert 1 <= (refused.value.retry_after or 0) <= 10
    assert refused.value.public["limit"] == '"sign_in.network";q=30;w=300'


async def test_only_a_wrong_secret_stays_charged(world: World) -> None:
    for _ in range(40):
        async with world.limits.charged(NAME, "192.0.2.1"):
            pass
        with pytest.raises(Unavailable):
            async with world.limits.charged(NAME, "192.0.2.1"):
                raise Unavailable("nothing was judged")
    for _ in range(30):
        with pytest.raises(InvalidCode):
            async with world.limits.charged(NAME, "192.0.2.1"):
                raise InvalidCode("wrong")
    with pytest.raises(RateLimited):
        async with world.limits.charged(NAME, "192.0.2.1"):
            pass


async def test_an_address_of_the_same_64_counts_for_it_and_48_has_more_room(world: World) -> None:
    assert await _taken(world, "2001:db8:1:1::1", 20) == 20
    assert await _taken(world, "2001:db8:1:1:ffff::2", 20) == 10
    admitted = sum([await _taken(world, f"2001:db8:1:{n:x}::1", 30) for n in range(2, 12)])
    assert admitted == 8 * 30 - 30
    assert await _taken(world, "2001:db8:2:1::1", 5) == 5


def test_an_address_counts_for_its_networks() -> None:
    assert networks("192.0.2.1") == [("192.0.2.1", False)]
    assert networks("2001:db8:1:2:3::4") == [("2001:db8:1:2::/64", False), ("2001:db8:1::/48", True)]


async def test_a_restarted_redis_is_given_its_script_again(world: World) -> None:
    await world.limits.take(NAME, "192.0.2.1")
    await world.memory.run(("SCRIPT", "FLUSH"))
    assert await _taken(world, "192.0.2.9", 40) == 30


async def test_without_redis_the_process_limits_by_itself(settings: Settings) -> None:
    nowhere = settings.model_copy(
        update={
            "workers": 2,
            "redis": settings.redis.model_copy(update={"url": type(settings.redis.url)("unix:///nowhere")}),
        }
    )
    world = make_world(nowhere, clock=FixedClock())
    with pytest.raises(RedisAway):
        await world.memory.run(("PING",))
    assert world.memory.away
    limits = world.limits
    limits._digest = lambda purpose, value: f"{purpose}:{value}"
    assert await _taken(world, "192.0.2.1", 40) == 15
    assert await _taken(world, "192.0.2.2", 1) == 1
    await world.close()


def test_a_limit_refills_evenly() -> None:
    limit = Limit("x", 30, 300)
    assert limit.interval == 10_000_000


async def test_hanging_up_does_not_give_the_place_back(world: World) -> None:
    async def hung_up(charged: asyncio.Event) -> None:
        async with world.limits.charged(NAME, "192.0.2.1"):
            charged.set()
            await asyncio.sleep(60)

    for _ in range(30):
        charged = asyncio.Event()
        request = asyncio.create_task(hung_up(charged))
        await charged.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    with pytest.raises(RateLimited):
        await world.limits.take(NAME, "192.0.2.1")
