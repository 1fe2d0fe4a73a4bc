"""The one way to ask others: requests to addresses that somebody registered, and whoever registers one must
not reach through us what they cannot reach themselves (server-side request forgery).

https alone, no redirects, no proxy, no cookies, five seconds for everything together, 64 KiB of an answer. A
name is looked up once, every address it has is checked, and the connection goes to one of those that were
checked: a name that changes its address in between (DNS rebinding) changes nothing. The certificate is proved
for the name all the same.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Literal, TypeAlias

import httpcore
import httpx

from service.settings import Settings

#: For looking up, connecting, sending and reading, all together.
SECONDS = 5.0
#: Of an answer's body, bytes; and of all that a connection may bring, with its head and its chunks.
MOST = 64 * 1024
_MOST_OF_ALL = MOST + 32 * 1024
#: Addresses of one name that are tried.
_TRIED = 4

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Word: TypeAlias = Literal[
    "forbidden_address", "unknown_host", "unreachable", "untrusted_certificate", "timed_out"
]

#: What is not of the whole Internet (IANA's registries of special-purpose addresses, RFC 6890). The list is
#: here because Python's own changes with its releases, and takes multicast for global.
_SPECIAL = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # between a provider and its customers (RFC 6598)
        "127.0.0.0/8",
        "169.254.0.0/16",  # a cloud's metadata servers, among others
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "2001::/23",  # Teredo and other tunnels
        "2001:db8::/32",
        "2002::/16",  # 6to4: any IPv4 address may stand in it
        "3fff::/20",
    )
]
#: Of IPv6 only this is given out. Outside lie ::, ::1, unique local, link-local and multicast addresses, and
#: IPv4 addresses in other clothes: mapped, compatible and NAT64 (RFC 6052).
_GLOBAL_6 = ipaddress.ip_network("2000::/3")
#: What a network of one's own is made of; never link-local, where metadata servers give out keys.
_OWN = [
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
]


class NoAnswer(Exception):
    """There is no answer, and whether the request arrived is not known. `word` is one of a fixed few;
    `private` says more, for the log and the audit."""

    def __init__(self, word: Word, private: str) -> None:
        super().__init__(private)
        self.word = word
        self.private = private


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` as it came, 64 KiB at most; `whole` tells whether there was no more of it."""

    status: int
    body: bytes
    whole: bool


def is_public(address: Address) -> bool:
    """Whether an address belongs to the whole Internet, and to no network of ours."""
    if address.version == 6 and address not in _GLOBAL_6:
        return False
    return not any(address in network for network in _SPECIAL)


def is_own(address: Address) -> bool:
    """Whether an address can be one of a private network, or of this machine."""
    return any(address in network for network in _OWN)


def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as the machine's resolver gives them; it waits for them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(one[4][0]) for one in found]


@cache
def _authorities(more: str) -> ssl.SSLContext:
    """Whose certificates are taken: the world's authorities, and those of a file if one is named. Read once:
    that takes as long as a hash."""
    context = httpx.create_ssl_context(trust_env=False)
    if more:
        context.load_verify_locations(more)
    return context


class Outgoing:
    """Asks others. Made once for each process; `look_up` is the resolver, so that a test may have its own."""

    def __init__(self, settings: Settings) -> None:
        self.look_up: Callable[[str, int], Sequence[str]] = look_up
        self._dev = settings.dev
        self._private = settings.outgoing.private_addresses
        context = _authorities(settings.outgoing.ca_file)
        # Threads of its own: a resolver that hangs must not take those that a sign-in may need.
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="look-up")
        self._asked: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}
        self._client = httpx.AsyncClient(
            transport=_Transport(context, _Guard(self, self._may_by_https)),
            # `doorward dev` has its portals on this machine, without certificates.
            mounts={"http://": _Transport(context, _Guard(self, _is_loopback))},
            headers={"User-Agent": "doorward", "Accept-Encoding": "identity", "Connection": "close"},
            timeout=SECONDS,
            trust_env=False,
            follow_redirects=False,
        )
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))

    async def post_form(self, url: str, fields: Mapping[str, str]) -> Answer:
        """POST a form; the answer, whatever its status: a redirect is one too. Raises NoAnswer."""
        place = self._proved(url)
        try:
            async with (
                asyncio.timeout(SECONDS),
                self._client.stream("POST", url, data=dict(fields)) as response,
            ):
                return await _read(response)
        except (TimeoutError, httpcore.TimeoutException) as fault:
            raise NoAnswer("timed_out", f"{place}: no answer within {SECONDS:g} s") from fault
        except (httpcore.NetworkError, httpcore.ProtocolError, httpx.HTTPError, OSError) as fault:
            # Whoever answered may have written the text.
            said = ascii(str(fault)[:200])
            raise NoAnswer("unreachable", f"{place}: {type(fault).__name__}: {said}") from fault

    async def close(self) -> None:
        await self._client.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def addresses(self, host: str, port: int, may: Callable[[Address], bool]) -> Sequence[str]:
        """The addresses of a host, every one of which may be asked; NoAnswer where one may not be."""
        key = host, port
        if key not in self._asked:
            # All who ask for a host at the same time share one thread.
            found = asyncio.get_running_loop().run_in_executor(self._threads, self.look_up, host, port)
            found.add_done_callback(lambda one: self._forget(key, one))
            self._asked[key] = found
        try:
            # Shielded: whoever gives up must not take the look-up from the others.
            texts = await asyncio.shield(self._asked[key])
            known = dict.fromkeys(ipaddress.ip_address(text) for text in texts)
        except (OSError, ValueError) as fault:
            raise NoAnswer("unknown_host", f"{host}: {type(fault).__name__}: {fault}") from fault
        if not known:
            raise NoAnswer("unknown_host", f"{host}: no address")
        for address in known:
            if not may(address):
                raise NoAnswer("forbidden_address", f"{host} is at {address}, where nothing may be asked")
        return [str(address) for address in known][:_TRIED]

    def _may_by_https(self, address: Address) -> bool:
        return (
            is_public(address) or (self._private and is_own(address)) or (self._dev and _is_loopback(address))
        )

    def _forget(self, key: tuple[str, int], found: "asyncio.Future[Sequence[str]]") -> None:
        self._asked.pop(key, None)
        # Taken, so that nobody is told of a fault for which nobody waits any more.
        _ = found.cancelled() or found.exception()

    def _proved(self, text: str) -> str:
        """Scheme and server of a URL that may be asked, for telling what happened."""
        try:
            url = httpx.URL(text)
            host = url.host
        except (httpx.InvalidURL, ValueError):
            # A host of `xn--` that stands for nothing raises when it is read.
            raise NoAnswer("forbidden_address", "not a URL") from None
        # httpx would send a user as credentials.
        if not host or url.userinfo or (url.port or 443) > 65_535:
            raise NoAnswer(
                "forbidden_address", "a URL without a host, with a user, or with a port of no server"
            )
        place = f"{url.scheme}://{url.netloc.decode('ascii')}"
        if url.scheme not in (("https", "http") if self._dev else ("https",)):
            raise NoAnswer("forbidden_address", f"{place}: only https is asked")
        return place


def _is_loopback(address: Address) -> bool:
    return address.is_loopback and is_own(address)


async def _read(response: httpx.Response) -> Answer:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MOST:
            return Answer(response.status_code, bytes(body[:MOST]), whole=False)
    return Answer(response.status_code, bytes(body), whole=True)


class _Guard(httpcore.AsyncNetworkBackend):
    """Connects by name, to nothing but addresses that were looked up and checked here."""

    def __init__(self, outgoing: Outgoing, may: Callable[[Address], bool]) -> None:
        self._outgoing = outgoing
        self._may = may
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._outgoing.addresses(host, port, self._may)
        # An address that is silent must leave some of the time to the next.
        share = (timeout or SECONDS) / len(addresses)
        fault: Exception = httpcore.ConnectError("not tried")
        for address in addresses:
            try:
                return _Metered(await self._plain.connect_tcp(address, port, share, local_address))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as refused:
                fault = refused
        raise fault


class _Metered(httpcore.AsyncNetworkStream):
    """A stream that ends in a fault once it brought too much: a head without end must not keep us busy."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = _MOST_OF_ALL

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._left <= 0:
            raise httpcore.ReadError(f"more than {_MOST_OF_ALL} bytes")
        data = await self._stream.read(min(max_bytes, self._left), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Metered(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException as fault:
            # Whoever is cancelled in the handshake would leave the connection open.
            await self._stream.aclose()
            if isinstance(fault.__cause__, ssl.SSLCertVerificationError):
                said = f"{server_hostname}: {fault.__cause__.verify_message}"
                raise NoAnswer("untrusted_certificate", said) from fault
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Transport(httpx.AsyncBaseTransport):
    """httpx on connections of a guard: httpx's own transport takes none. Nothing is kept open between
    requests, so that every request has its name looked up."""

    def __init__(self, context: ssl.SSLContext, guard: _Guard) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            context, max_connections=None, max_keepalive_connections=0, network_backend=guard
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._answer.aiter_stream():
            yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()
