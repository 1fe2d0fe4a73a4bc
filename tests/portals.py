"""Servers of portals on loopback, each with manners of its own, that keep what they were sent."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from tests.secure import Authority

#: What a portal does with a request: it writes an answer, some of one, or nothing.
Manner = Callable[["Portal", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: str

    @property
    def token(self) -> str:
        """The one logout token in the form."""
        fields = parse_qs(self.body, strict_parsing=True)
        assert list(fields) == ["logout_token"]
        (token,) = fields["logout_token"]
        return token


@dataclass
class Portal:
    """`connections` counts whoever connected, also where no request came of it; `open` is how many are
    connected now, `at_once` the most there were."""

    port: int
    scheme: str
    manner: Manner
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    at_once: int = 0
    sent: int = 0
    #: Set once the first request is there.
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, host: str = "localhost") -> str:
        return f"{self.scheme}://{host}:{self.port}/backchannel-logout"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.at_once = max(self.at_once, self.open)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode("ascii")
            method, target, _ = head[0].split(" ")
            self.asked.append(Asked(method, target, headers, body))
            self.arrived.set()
            await self.manner(self, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort()


def answers(*statuses: int, headers: str = "") -> Manner:
    """Answer with these, one after the other; the last one from then on."""
    left = list(statuses)

    async def manner(portal: Portal, writer: asyncio.StreamWriter) -> None:
        status = left.pop(0) if len(left) > 1 else left[0]
        writer.write(f"HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n{headers}\r\n".encode())
        await writer.drain()

    return manner


async def hangs(portal: Portal, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other end goes, for longer than anybody may wait."""
    async with asyncio.timeout(30):
        await writer.wait_closed()


async def drips(portal: Portal, writer: asyncio.StreamWriter) -> None:
    """Answer a byte at a time: no single wait is long."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.1)


def pours(head: bytes, piece: bytes, most: int = 200_000_000) -> Manner:
    """Answer with `head` and then the same piece over and over; `portal.sent` counts what went out."""

    async def manner(portal: Portal, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while portal.sent < most:
            writer.write(piece)
            await writer.drain()
            portal.sent += len(piece)

    return manner


@asynccontextmanager
async def portal(
    manner: Manner, trusted: Authority | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Portal]:
    """A portal that listens on loopback; by https with a certificate of `trusted`, else by http."""
    context = None
    if trusted is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(trusted.certificate, trusted.key)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Listening by hand: a connection counts as soon as it is there, whatever becomes of its TLS.
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen()
    listening.setblocking(False)
    made = Portal(listening.getsockname()[1], "https" if trusted else "http", manner)
    loop = asyncio.get_running_loop()
    serving: set[asyncio.Task[None]] = set()

    async def accepted(connection: socket.socket) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context)
        except OSError:
            return
        await made.serve(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def listen() -> None:
        while True:
            connection, _ = await loop.sock_accept(listening)
            made.connections += 1
            task = asyncio.create_task(accepted(connection))
            serving.add(task)
            task.add_done_callback(serving.discard)

    listener = asyncio.create_task(listen())
    try:
        yield made
    finally:
        listener.cancel()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(listener, *serving, return_exceptions=True)
        listening.close()
