"""Opening the pool: one attempt for everyone, whose fault is everyone's too."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from service.errors import Unavailable
from service.sections import DatabaseSettings
from service.stores.postgres import Database


class Silent:
    """A server that takes connections and says nothing."""

    def __init__(self) -> None:
        self.taken = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def take(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        self.writers.append(writer)


@pytest.fixture
async def silent() -> AsyncIterator[tuple[Silent, Database]]:
    heard = Silent()
    server = await asyncio.start_server(heard.take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = Database(DatabaseSettings.model_validate({"url": f"postgresql://u@127.0.0.1:{port}/d"}))
    yield heard, database
    await database.close()
    for writer in heard.writers:
        writer.close()
    server.close()


# Alone: a fifth of a second is all that it may take beyond the two that are waited for.
@pytest.mark.alone
async def test_a_crowd_before_a_silent_server_waits_no_longer_than_one(
    silent: tuple[Silent, Database],
) -> None:
    heard, database = silent
    began = time.monotonic()
    answers = await asyncio.gather(*(database.time() for _ in range(12)), return_exceptions=True)
    assert time.monotonic() - began < 2.2
    assert [type(answer) for answer in answers] == [Unavailable] * 12
    assert heard.taken == 1


async def test_who_comes_just_after_is_told_at_once_and_a_second_later_it_is_tried_again(
    silent: tuple[Silent, Database],
) -> None:
    heard, database = silent
    with pytest.raises(Unavailable):
        await database.time()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await database.time()
    assert time.monotonic() - began < 0.5
    assert heard.taken == 1
    await asyncio.sleep(1)
    with pytest.raises(Unavailable):
        await database.time()
    assert heard.taken == 2


async def test_who_hangs_up_leaves_the_attempt_to_the_others(silent: tuple[Silent, Database]) -> None:
    heard, database = silent
    gone, stays = asyncio.create_task(database.time()), asyncio.create_task(database.time())
    await asyncio.sleep(0.1)
    gone.cancel()
    with pytest.raises(Unavailable):
        await stays
    assert gone.cancelled()
    assert heard.taken == 1


async def test_the_pool_is_opened_once_for_a_crowd(database_url: str) -> None:
    database = Database(DatabaseSettings.model_validate({"url": database_url, "acquire_ms": 5000}))
    try:
        await asyncio.gather(*(database.time() for _ in range(20)))
        pools = {id(await database._open()) for _ in range(3)}
        assert len(pools) == 1
    finally:
        await database.close()
