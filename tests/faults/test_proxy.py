"""The fault proxy does what it says, against an echo server and a real Postgres."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import asyncpg
import pytest

from service.embedded import Embedded, Servers
from tests.faults.proxy import FaultProxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """Answers what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                self.heard += piece
                writer.write(piece)
                await writer.drain()
        self.ended.set()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, FaultProxy]]:
    echo = Echo()
    folder = Path(tempfile.mkdtemp(prefix="dw-"))
    server = await asyncio.start_unix_server(echo.serve, folder / "echo.sock")
    async with FaultProxy(folder / "echo.sock") as proxy:
        yield echo, proxy
    server.close()
    await server.wait_closed()
    shutil.rmtree(folder)


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def say(streams: Streams, words: bytes) -> bytes:
    """Send `words`, return as many bytes; IncompleteReadError where the connection ends first."""
    streams[1].write(words)
    return await asyncio.wait_for(streams[0].readexactly(len(words)), 5)


async def test_everything_passes_at_first(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    async with connected(proxy) as one, connected(proxy) as two:
        assert await say(one, b"hello") == b"hello"
        much = bytes(range(256)) * 4096
        assert await say(two, much) == much
        assert proxy.connections == 2


async def test_refusing_ends_what_is_open_and_the_port_comes_back(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    port = proxy.port
    async with connected(proxy) as streams:
        await say(streams, b"hello")
        await proxy.refuse()
        assert await asyncio.wait_for(streams[0].read(), 5) == b""
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
    await proxy.pass_through()
    assert proxy.port == port
    async with connected(proxy) as streams:
        assert await say(streams, b"again") == b"again"


async def test_a_reset_is_seen_as_one_and_new_connections_work(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    async with connected(proxy) as streams:
        await say(streams, b"hello")
        await proxy.reset()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(streams[0].read(), 5)
    async with connected(proxy) as streams:
        assert await say(streams, b"again") == b"again"


async def test_a_black_hole_accepts_and_never_answers(echo: tuple[Echo, FaultProxy]) -> None:
    server, proxy = echo
    async with connected(proxy) as before:
        await say(before, b"hello")
        await proxy.blackhole()
        async with connected(proxy) as new:
            for streams in (before, new):
                streams[1].write(b"lost")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(streams[0].read(1), 0.2)
        assert server.heard == b"hello"
        await proxy.pass_through()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(before[0].read(1), 0.2)
    async with connected(proxy) as streams:
        assert await say(streams, b"again") == b"again"


async def test_a_delay_holds_an_answer_back_once(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    await proxy.delay(0.3)
    async with connected(proxy) as streams:
        began = time.monotonic()
        assert await say(streams, b"hello") == b"hello"
        assert 0.3 <= time.monotonic() - began < 5


async def test_a_cut_after_some_bytes_delivers_exactly_those(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    async with connected(proxy) as streams:
        await say(streams, b"uncounted")
        await proxy.cut_after(7)
        assert await say(streams, b"four") == b"four"
        streams[1].write(b"again")
        assert await asyncio.wait_for(streams[0].read(), 5) == b"aga"
    assert proxy.cuts == 1


async def test_a_cut_before_keeps_the_piece_from_the_server(echo: tuple[Echo, FaultProxy]) -> None:
    server, proxy = echo
    async with connected(proxy) as streams:
        await say(streams, b"hello, COMM")
        await proxy.cut_on(b"COMMIT")
        streams[1].write(b"IT")  # the match is split over two pieces
        assert await asyncio.wait_for(streams[0].read(), 5) == b""
    assert server.heard == b"hello, COMM"
    assert proxy.cuts == 1
    async with connected(proxy) as streams:  # only the first one is cut
        assert await say(streams, b"COMMIT") == b"COMMIT"


async def test_a_cut_after_keeps_the_answer_from_the_client(echo: tuple[Echo, FaultProxy]) -> None:
    server, proxy = echo
    await proxy.cut_on(lambda piece: piece.startswith(b"C"), when="after")
    async with connected(proxy) as streams:
        assert await say(streams, b"hello") == b"hello"
        streams[1].write(b"COMMIT")
        assert await asyncio.wait_for(streams[0].read(), 5) == b""
    assert server.heard == b"helloCOMMIT"


async def test_the_server_sees_the_client_leave(echo: tuple[Echo, FaultProxy]) -> None:
    server, proxy = echo
    async with connected(proxy) as streams:
        await say(streams, b"hello")
    await asyncio.wait_for(server.ended.wait(), 5)


async def test_a_server_that_is_down_closes_the_connection() -> None:
    async with FaultProxy(Path("/nonexistent.sock")) as proxy, connected(proxy) as streams:
        assert await asyncio.wait_for(streams[0].read(), 5) == b""


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    folder = Path(tempfile.mkdtemp(prefix="doorward-test-"))
    with Embedded(folder / "data") as servers:
        yield servers
    shutil.rmtree(folder)


@pytest.mark.parametrize(("when", "rows"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("inside", ["a transaction", "one statement"])
async def test_a_write_is_lost_before_the_cut_and_kept_after_it(
    servers: Servers, when: Literal["before", "after"], rows: int, inside: str
) -> None:
    direct = await asyncpg.connect(servers.postgres_url)
    await direct.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept (n int)")
    async with FaultProxy(servers.runtime_dir / ".s.PGSQL.5432") as proxy:
        through = await asyncpg.connect(
            host="127.0.0.1", port=proxy.port, user="doorward", database="doorward"
        )

        async def write() -> None:
            if inside == "a transaction":
                await proxy.cut_on(b"COMMIT", when=when)
                async with through.transaction():
                    await through.execute("INSERT INTO kept VALUES ($1)", 1)
            else:
                await proxy.cut_on(lambda piece: piece[:1] == b"B", when=when)
                await through.execute("INSERT INTO kept VALUES ($1)", 1)

        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
            await write()
        assert proxy.cuts == 1
        assert await direct.fetchval("SELECT count(*) FROM kept") == rows
        through.terminate()
    await direct.close()
