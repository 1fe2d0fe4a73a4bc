"""A TCP proxy that fails on demand: between the service and its Postgres or Redis, in tests only.

    async with FaultProxy(servers.runtime_dir / ".s.PGSQL.5432") as proxy:
        await proxy.cut_on(b"COMMIT", when="after")   # committed, and nobody was told

A mode holds for open and new connections until the next one is set. Seconds and bytes throughout.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

Upstream = Path | tuple[str, int]
#: Bytes to look for in what the client sends, or a function of one piece of it (up to 64 KiB, as it was
#: written: asyncpg and redis-py write whole messages). Beware that Postgres sees the text of a prepared
#: statement once, when it is parsed; its runs begin with the message `B` (bind): `lambda m: m[:1] == b"B"`.
Matcher = bytes | Callable[[bytes], bool]
When = Literal["before", "after"]


@dataclass(frozen=True, slots=True, eq=False)
class _PassThrough:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class _BlackHole:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class _Delay:
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class _CutAfter:
    limit: int


@dataclass(frozen=True, slots=True, eq=False)
class _CutOn:
    matcher: Matcher
    when: When


_Mode = _PassThrough | _BlackHole | _Delay | _CutAfter | _CutOn


def _bound_socket(port: int) -> socket.socket:
    """A socket on a loopback port that it may share with our own others; 0 takes a free one."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


class FaultProxy:
    """Listens on 127.0.0.1:`port`, which stays the same for as long as the proxy is open."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.port = 0
        #: How many connections a `cut_after` or `cut_on` has cut, so that a test can tell that it happened.
        self.cuts = 0
        self.mode: _Mode = _PassThrough()
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        # Bound but never listening, it keeps the port ours while the listener is closed.
        self._placeholder = _bound_socket(0)

    async def __aenter__(self) -> Self:
        self.port = self._placeholder.getsockname()[1]
        await self._listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.refuse()
        self._placeholder.close()

    @property
    def connections(self) -> int:
        """How many client connections are open."""
        return len(self._links)

    async def pass_through(self) -> None:
        """Forward everything. A connection that lost bytes to `blackhole` stays dead."""
        await self._set(_PassThrough())

    async def blackhole(self) -> None:
        """Accept and read, and never forward or answer anything."""
        await self._set(_BlackHole())

    async def delay(self, seconds: float) -> None:
        """Hold every piece from the client back for `seconds`, once per round trip."""
        await self._set(_Delay(seconds))

    async def cut_after(self, limit: int) -> None:
        """Cut each connection once `limit` bytes from the upstream, counted from now, have been relayed."""
        await self._set(_CutAfter(limit))

    async def cut_on(self, matcher: Matcher, when: When = "before") -> None:
        """Cut the first connection that sends what `matcher` knows, then pass everything through again.

        "before" keeps the piece from the upstream; "after" forwards it, waits for the first bytes of the
        upstream's answer, and keeps those from the client.
        """
        await self._set(_CutOn(matcher, when))

    async def refuse(self) -> None:
        """Close the listener and every connection: new ones are refused until another mode is set."""
        if self._server:
            self._server.close()
            self._server = None
        await self._drop(reset=False)

    async def reset(self) -> None:
        """Reset (RST) the open connections. The mode stays, and new connections follow it."""
        await self._drop(reset=True)

    async def _set(self, mode: _Mode) -> None:
        self.mode = mode
        if self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, sock=_bound_socket(self.port))

    async def _drop(self, *, reset: bool) -> None:
        links = list(self._links)
        for link in links:
            link.cut(reset=reset)
        await asyncio.gather(*(link.closed.wait() for link in links))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # it was in the queue of the listener that `refuse` closed
            writer.transport.abort()
            return
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)
            link.closed.set()


class _Link:
    """One client's connection and its counterpart to the upstream."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.closed = asyncio.Event()
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._upstream: asyncio.StreamWriter | None = None
        self._cut = asyncio.Event()
        self._dead = False  # it has swallowed bytes in a black hole
        self._withhold = False  # the answer that comes next is the one to keep from the client
        self._counting: tuple[_Mode, int] = (proxy.mode, 0)  # bytes relayed to the client in this mode
        self._last = b""  # the piece before, as a match may be split over two

    def cut(self, *, reset: bool = False) -> None:
        client = self._writer.get_extra_info("socket")
        if reset and client is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._cut.set()

    async def run(self) -> None:
        """Relay until either side ends or we cut; then close both sides at once."""
        await _first_of(self._cut.wait(), self._relay())
        writers = [writer for writer in (self._writer, self._upstream) if writer]
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    async def _relay(self) -> None:
        if isinstance(self._proxy.mode, _BlackHole):
            self._dead = True
            while await self._reader.read(65536):
                pass
            return
        upstream = self._proxy.upstream
        if isinstance(upstream, Path):
            reader, self._upstream = await asyncio.open_unix_connection(upstream)
        else:
            reader, self._upstream = await asyncio.open_connection(*upstream)
        for writer in (self._writer, self._upstream):
            # With no buffer of ours, `drain` means that the kernel has it, and a cut loses nothing more.
            writer.transport.set_write_buffer_limits(high=0)
        await _first_of(self._outward(self._upstream), self._inward(reader))

    def _swallows(self) -> bool:
        self._dead = self._dead or isinstance(self._proxy.mode, _BlackHole)
        return self._dead

    async def _outward(self, upstream: asyncio.StreamWriter) -> None:
        while piece := await self._reader.read(65536):
            mode = self._proxy.mode
            if self._swallows():
                continue
            if isinstance(mode, _Delay):
                await asyncio.sleep(mode.seconds)
            if isinstance(mode, _CutOn) and self._matches(mode.matcher, piece):
                self._proxy.mode = _PassThrough()
                self._proxy.cuts += 1
                if mode.when == "before":
                    return
                self._withhold = True
            self._last = piece
            upstream.write(piece)
            await upstream.drain()

    def _matches(self, matcher: Matcher, piece: bytes) -> bool:
        if callable(matcher):
            return matcher(piece)
        # One byte less than the match, so that what was let through before is never taken for it.
        overlap = self._last[-(len(matcher) - 1) :] if len(matcher) > 1 else b""
        return matcher in overlap + piece

    async def _inward(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(65536):
            mode = self._proxy.mode
            if self._swallows():
                continue
            if self._withhold:
                return
            if isinstance(mode, _CutAfter):
                relayed = self._counting[1] if self._counting[0] is mode else 0
                piece = piece[: mode.limit - relayed]
                self._counting = (mode, relayed + len(piece))
            self._writer.write(piece)
            await self._writer.drain()
            if isinstance(mode, _CutAfter) and self._counting[1] >= mode.limit:
                self._proxy.cuts += 1
                return
        if self._swallows():
            await self._cut.wait()  # nothing comes out of a black hole, not even the news of an end


async def _first_of(*works: Coroutine[object, object, object]) -> None:
    """Run all until the first ends, then cancel the rest. Broken connections are what we are here for."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
            raise outcome  # a fault in a matcher or in this proxy must not look like a fault of the network
