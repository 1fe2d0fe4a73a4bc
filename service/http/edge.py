"""The outermost layer: a request's id, the headers every answer carries, and one log line for it."""

import asyncio
import json
import re
from traceback import format_tb
from typing import Any

import structlog
from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.utils import normalize_path
from structlog.contextvars import bound_contextvars

from service.clock import monotonic
from service.errors import InternalError, InvalidRequest, RequestTimeout
from service.world import World

#: How long a body may take to arrive, seconds: whoever sends slowly holds a connection and its memory.
BODY_SECONDS = 10.0

#: Pages that answer a portal once: whoever asks for their head alone must not use the answer up.
_ANSWERED_ONCE = ("/continue", "/oauth2/authorize", "/oauth2/logout")

_log = structlog.get_logger()
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_ALWAYS = [
    # In place of the server's own, which names the program to whoever looks for one with a hole.
    (b"server", b"doorward"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]


class Edge:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._entropy = world.entropy
        https = world.settings.issuer.startswith("https:")
        self._always = _ALWAYS + (
            [(b"strict-transport-security", b"max-age=31536000; includeSubDomains")] if https else []
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id = self._request_id(scope)
        # A dictionary of the request's own: the server shares the lifespan's state among requests.
        state: dict[str, Any] = {**(scope.get("state") or {}), "request_id": request_id}
        scope["state"] = state
        began, status, method, begun = monotonic(), 500, str(scope.get("method"))[:10], False
        # As the router reads it: a slash more must not lead past what is said of a path before it is routed.
        scope["path"] = normalize_path(scope["path"])
        head_too = scope["path"] not in _ANSWERED_ONCE
        if method == "HEAD" and head_too:
            # What there is to GET can be asked for its head alone (RFC 9110 §9.3.2).
            scope["method"] = HttpMethod.GET

        async def stamped(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                begun = True
                status = message["status"]
                headers = list(message.get("headers", []))
                headers = [_with_head(*header) for header in headers] if head_too else headers
                headers += [(b"x-request-id", request_id.encode()), *self._always]
                if not any(name.lower() == b"cache-control" for name, _ in headers):
                    # Whatever does not say it may be kept holds a token, a code or a person's data.
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers
            elif method == "HEAD" and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        with bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, _in_time(receive), stamped)
            except Exception as fault:
                # A handler of exceptions failed itself. Whatever it was, the answer is ours and in our form.
                _log.error("fault", kind=type(fault).__name__, trace=format_tb(fault.__traceback__)[-6:])
                if begun:
                    raise
                await _plain_fault(request_id, stamped)
            finally:
                # The route's pattern, not the path: a path may hold what a client put there.
                _log.info(
                    "request",
                    method=method,
                    route=scope.get("path_template", "unmatched"),
                    status=status,
                    ms=round((monotonic() - began) * 1000, 1),
                    **state.get("outcome", {}),
                )

    def _request_id(self, scope: Scope) -> str:
        given = [value for name, value in scope["headers"] if name == b"x-request-id"]
        if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
            return given[0].decode()
        return self._entropy.token(12).hex()


async def _plain_fault(request_id: str, send: Send) -> None:
    """The last resort: a 500 without anything that could fail again."""
    body = {"code": InternalError.code, "status": 500, "title": InternalError.title, "request_id": request_id}
    headers = [(b"content-type", b"application/problem+json")]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode(), "more_body": False})


def _with_head(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header as the framework sends it, where it lists the methods of a resource with HEAD among them."""
    if name.lower() == b"allow" and b"GET" in value and b"HEAD" not in value:
        return name, value.replace(b"GET", b"GET, HEAD")
    return name, value


def _in_time(receive: Receive) -> Receive:
    """`receive`, until the body is whole: it raises RequestTimeout when that takes too long, and
    InvalidRequest when the client hangs up or breaks the framing before."""
    deadline, whole = monotonic() + BODY_SECONDS, False

    async def received() -> Any:
        nonlocal whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout(deadline - monotonic()):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout("the body did not arrive in time") from None
        if message["type"] == "http.disconnect":
            raise InvalidRequest("the body did not arrive whole")
        whole = not message.get("more_body", False)
        return message

    return received
