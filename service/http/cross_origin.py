"""Which other origins' scripts may read our answers (Fetch §3.3, the CORS protocol), at the few endpoints
that an app in a browser asks itself. Everything else stays closed to them: it has no such header at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Unavailable
from service.flows import clients as flow
from service.world import World


@dataclass(frozen=True, slots=True)
class Opened:
    """The methods of an endpoint, and whether everybody may read it."""

    methods: bytes
    public: bool = False


PATHS: Mapping[str, Opened] = {
    "/oauth2/token": Opened(b"POST"),
    "/oauth2/userinfo": Opened(b"GET, POST"),
    "/oauth2/revoke": Opened(b"POST"),
    "/.well-known/openid-configuration": Opened(b"GET", public=True),
    "/.well-known/oauth-authorization-server": Opened(b"GET", public=True),
    "/oauth2/jwks": Opened(b"GET", public=True),
}
_EXPOSED = (b"access-control-expose-headers", b"WWW-Authenticate, Retry-After, X-Request-Id")
_VARY = (b"vary", b"Origin")


class CrossOrigin:
    """Wraps the routes, errors of the router included. It never allows credentials: a token is sent on
    purpose, while a cookie would be sent for whoever owns the page."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opened = PATHS.get(scope["path"]) if scope["type"] == ScopeType.HTTP else None
        if opened is None:
            await self._app(scope, receive, send)
        elif scope.get("method") == "OPTIONS" and _names_method_and_origin(scope):
            await self._preflight(scope, opened, send)
        else:
            await self._app(scope, receive, self._telling(scope, opened, send))

    def _telling(self, scope: Scope, opened: Opened, send: Send) -> Send:
        """`send`, with what the answer tells the browser of who may read it."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Postgres is asked when the answer is there: only then is the client known. An answer that
                # says it is away does not wait for it a second time.
                away = message["status"] == 503
                headers = [] if away and not opened.public else await self._readable(scope, opened)
                # Without an origin too: a cache must not give one origin's answer to another.
                varies = [] if opened.public else [_VARY]
                message["headers"] = [*message.get("headers", []), *headers, *varies]
            await send(message)

        return told

    async def _readable(self, scope: Scope, opened: Opened) -> Sequence[tuple[bytes, bytes]]:
        """The headers by which this origin's scripts may read the answer; none where they may not."""
        allowed = await self._allowed(scope, opened)
        return [(b"access-control-allow-origin", allowed), _EXPOSED] if allowed else []

    async def _allowed(self, scope: Scope, opened: Opened) -> bytes | None:
        """The value of Access-Control-Allow-Origin, if there is to be one: the client's own origin, once a
        handler has told the client in the request's state, and any living client's before."""
        if opened.public:
            return b"*"
        origin = _one(scope, b"origin")
        if origin is None or origin == self._world.settings.issuer.encode():
            return None
        client = scope["state"].get("client")
        try:
            found = await flow.allows_origin(self._world, origin.decode("latin-1"), client)
        except Unavailable:
            # The answer is right all the same; that browser's script does not get to see it.
            return None
        return origin if found else None

    async def _preflight(self, scope: Scope, opened: Opened, send: Send) -> None:
        """Answer what the browser asks before it lets a script ask (Fetch §4.8). No client is told yet."""
        # One line in the log for each endpoint, as for its other requests.
        scope["path_template"] = scope["path"]
        headers = [] if opened.public else [_VARY]
        if allowed := await self._allowed(scope, opened):
            headers += [
                (b"access-control-allow-origin", allowed),
                (b"access-control-allow-methods", opened.methods),
                (b"access-control-allow-headers", b"authorization, content-type"),
                (b"access-control-max-age", b"600"),
            ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _names_method_and_origin(scope: Scope) -> bool:
    """What tells a preflight from any other OPTIONS."""
    return {b"origin", b"access-control-request-method"} <= {name for name, _ in scope["headers"]}


def _one(scope: Scope, name: bytes) -> bytes | None:
    """A header's value where it stands once: of two, another reader might take the other."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0] if len(values) == 1 else None
