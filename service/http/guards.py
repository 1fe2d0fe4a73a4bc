"""Who is asking, from where, and whether what they sent may be read at all."""

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeAlias
from urllib.parse import parse_qsl

from litestar import Request
from litestar.middleware import ASGIMiddleware
from litestar.params import Parameter
from litestar.types import ASGIApp, Receive, Scope, Send

from service.domain.sign_in import FRONTEND, Origin
from service.errors import (
    InsufficientScope,
    InvalidRequest,
    InvalidToken,
    UnauthorizedClient,
    UnsupportedMediaType,
)
from service.flows import sessions as session_flow
from service.flows.sessions import Caller
from service.http import browser
from service.http.browser import Asking
from service.http.browser import world_of as world_of
from service.http.pointer import below
from service.settings import proxy_network

#: Sign-in bodies are small; a larger one is refused before it is read whole.
MAX_BODY = 16 * 1024
_MAX_DEPTH = 8
#: How many rows a page of a list holds (contract §5).
Limit = Annotated[int, Parameter(ge=1, le=200)]
_BEARER = re.compile(r"Bearer ([A-Za-z0-9._~+/-]+=*)", re.ASCII | re.IGNORECASE)
_JSON = re.compile(r"application/json(?:\s*;\s*charset\s*=\s*\"?utf-8\"?)?", re.ASCII | re.IGNORECASE)


def origin_of(request: Asking) -> Origin:
    """The client's address by the rule of trusted proxies, its browser, and the request's id."""
    sent = request.headers.get("user-agent", "")[:300]
    agent = sent.encode("latin-1", "replace").decode("ascii", "replace")
    return Origin(
        address=address_of(request.scope, world_of(request).settings.trusted_proxies),
        browser="".join(char for char in agent if char.isprintable()),
        request_id=request.scope["state"]["request_id"],
        place=_place_of(request),
    )


def _place_of(request: Asking) -> str | None:
    """What a declared proxy says of where the address lies; anybody else's word is worth nothing."""
    settings, client = world_of(request).settings, request.scope.get("client")
    peer = _address(client[0]) if client else None
    if not settings.place_header or peer is None:
        return None
    if not any(peer in network for network in _networks(tuple(settings.trusted_proxies))):
        return None
    # Where it stands twice, one of them was written by the client.
    told = request.headers.getall(settings.place_header, [])
    text = told[0] if len(told) == 1 else ""
    return "".join(char for char in text if char.isprintable())[:100] or None


def address_of(scope: Mapping[str, Any], trusted: Sequence[str]) -> str:
    """The client's address: the socket's, unless that is a declared proxy; then the right-most hop
    of X-Forwarded-For that is not one.

    Whatever stands further left was written by the client, who would like to be somebody else for
    each request. A hop that is no address ends the walk: the last good one counts.
    """
    client = scope.get("client")
    address = _address(client[0]) if client else None
    # A unix socket has no address; only something on this machine can reach it.
    address = address or ipaddress.ip_address("127.0.0.1")
    networks = _networks(tuple(trusted))
    forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    hops = forwarded.decode("latin-1").split(",") if forwarded else []
    while hops and any(address in network for network in networks):
        hop = _address(hops.pop().strip())
        if hop is None:
            break
        address = hop
    return str(address)


class Admission(ASGIMiddleware):
    """Lets in as many sign-ins as there are places for their hashes, and refuses the others (503) before
    anything of theirs is parsed or looked up: a flood must not keep everyone else waiting (K-105)."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        request: Asking = Request(scope, receive, send)
        # Read whole first (Litestar keeps it): a body that trickles in must not hold a place.
        await request.body()
        with world_of(request).pool.admission():
            await next_app(scope, receive, send)


def bearer_of(request: Asking) -> str | None:
    """The bearer token in the header (RFC 6750 §2.1), where there is just one of its form."""
    values = request.headers.getall("authorization", [])
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    return match[1] if match else None


async def caller_of(request: Asking, scope: str) -> Caller:
    """The person behind the bearer token (RFC 6750 §2.1), if its scope covers this; without any, the one
    behind our own cookie, whose requests must prove that they come from our own page.

    Of a token only the header counts: one in a query lands in logs, one in a form is a cross-site gift.
    """
    values, cookie = request.headers.getall("authorization", []), browser.held(request, "session")
    if cookie is not None and not values:
        caller = await session_flow.browser(world_of(request), origin_of(request), cookie)
        if request.method not in ("GET", "HEAD"):
            browser.require_own(request, request.headers.get("x-csrf-token", ""), str(caller.session))
    else:
        token = bearer_of(request)
        if token is None:
            raise InvalidToken("no bearer token")
        caller = await session_flow.caller(world_of(request), token)
    if scope not in caller.scope:
        raise InsufficientScope(f"needs the scope {scope}", scope=scope)
    return caller


def frontend(client: str) -> str:
    """The JSON API's sign-in is for first-party frontends; everyone else redirects (contract §3)."""
    if client != FRONTEND:
        raise UnauthorizedClient("the client is not a first-party frontend")
    return client


def is_form(request: Asking) -> bool:
    """Whether the body says to be a form, and by one header only."""
    kinds = request.headers.getall("content-type", [])
    kind = kinds[0].partition(";")[0].strip().lower() if len(kinds) == 1 else ""
    return kind == "application/x-www-form-urlencoded"


def pairs_of(encoded: bytes, most: int) -> Sequence[tuple[str, str]]:
    """The names and values of a query or a form (WHATWG URL §5.1), at most so many. Raises InvalidRequest for
    what is not ASCII with UTF-8 behind its escapes, and for NUL, which Postgres takes nowhere."""
    try:
        pairs = parse_qsl(
            encoded.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=most
        )
    except ValueError:
        raise InvalidRequest("not a form in UTF-8, or too many fields") from None
    if any("\0" in text for pair in pairs for text in pair):
        raise InvalidRequest("NUL in a field")
    return pairs


async def strict_json(request: Asking) -> None:
    """Refuse a body that two readers could understand differently, before anything else reads it.

    Litestar takes JSON from any content type, and JSON lets a name stand twice; Postgres takes
    neither NUL nor half a surrogate pair.
    """
    query = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if len({name for name, _ in query}) < len(query):
        raise InvalidRequest("a parameter stands twice", errors=[_fault("", "repeated_name")])
    if request.method not in ("POST", "PUT", "PATCH", "DELETE"):
        return
    body = await request.body()
    if not body:
        return
    # Of two headers of a name, another reader might take the other one.
    types = request.headers.getall("content-type", [])
    if len(types) != 1 or not _JSON.fullmatch(types[0]):
        raise UnsupportedMediaType("not application/json")
    encodings = request.headers.getall("content-encoding", ["identity"])
    if len(encodings) != 1 or encodings[0].lower() != "identity":
        raise UnsupportedMediaType("an encoded body")
    try:
        tree = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as fault:
        raise InvalidRequest(f"not JSON: {type(fault).__name__}", errors=[_fault("", "not_json")]) from None
    if not isinstance(tree, dict):
        raise InvalidRequest("not an object", errors=[_fault("", "not_an_object")])
    _walk(tree, "", 0)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise InvalidRequest("a name stands twice", errors=[_fault("", "repeated_name")])
    return tree


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _walk(value: object, pointer: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidRequest("too deep", errors=[_fault(pointer, "too_deep")])
    if isinstance(value, str) and any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value):
        raise InvalidRequest("NUL or a lone surrogate", errors=[_fault(pointer, "not_text")])
    if isinstance(value, dict):
        for name, child in value.items():
            _walk(name, pointer, depth)
            _walk(child, below(pointer, name), depth + 1)
    if isinstance(value, list):
        for at, child in enumerate(value):
            _walk(child, below(pointer, at), depth + 1)


def _fault(pointer: str, code: str) -> dict[str, str]:
    return {"pointer": pointer, "code": code}


_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@lru_cache(maxsize=8)
def _networks(trusted: tuple[str, ...]) -> Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [proxy_network(network) for network in trusted]


def _address(text: str) -> _Address | None:
    """An address as proxies write it: with a port, in brackets, with a zone, or IPv4 mapped into IPv6."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
