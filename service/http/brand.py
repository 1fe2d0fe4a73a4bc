"""Whose way a page stands on, and what it takes over from them: a name, a picture, colours, links.

A page knows by the handle of a request under way, in the browser that began it: whoever makes up an address
lends our pages no other face than ours. The question of a logout alone takes the client's that it names: it
says who asks, and nothing ends by it.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from litestar import Response, get
from litestar.enums import ScopeType
from litestar.params import FromPath
from litestar.types import ASGIApp, Receive, Scope, Send

from service.domain.oidc import colors
from service.domain.oidc.clients import Client
from service.domain.oidc.colors import Scheme
from service.errors import NotFound, Unavailable
from service.flows import clients as client_flow
from service.flows.oidc import authorize as flow
from service.http import browser
from service.http.browser import Asking
from service.http.guards import world_of
from service.http.rendering import ASSETS, address_of
from service.world import World

#: Where the handle stands in the address of a page on the way: at its end, or once or twice packed into
#: `return_to`.
_HANDLE = re.compile(
    rb"request(?:=|%3D|%253D)(dwa_[A-Za-z0-9_-]{43})(?![A-Za-z0-9_-])", re.ASCII | re.IGNORECASE
)
#: What is no page, and asks nobody's brand.
_NO_PAGES = ("/v1", "/oauth2", "/.well-known", "/openapi", "/static", "/clients", "/livez", "/readyz")

_SHEET = ASSETS["doorward.css"].text.decode()
#: What stands behind links in our style sheet, and may stand on a button.
_GROUNDS = ("paper", "card", "sunk", "told", "bad-told", "good-told", "warn-told")
_INKS = ("on-act", "ink")


@dataclass(frozen=True, slots=True)
class Brand:
    """What a page shows of the portal on whose way the person is; addresses are None where it has none."""

    name: str
    style: str
    logo: str | None
    client_uri: str | None
    policy_uri: str | None
    tos_uri: str | None


class OnTheWay:
    """Finds out whose way a page stands on before anything can go wrong: an error page is theirs too."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and not scope["path"].startswith(_NO_PAGES):
            scope["state"]["brand"] = await self._brand(scope)
        await self._app(scope, receive, send)

    async def _brand(self, scope: Scope) -> Brand | None:
        handle = _HANDLE.search(scope["query_string"])
        name = browser.sent(self._world, scope["headers"], "browser") if handle else None
        if handle is None or name is None:
            return None
        try:
            client = await flow.asking(self._world, name, handle[1].decode())
        except Unavailable:
            # Whether the page itself can do without is its own matter.
            return None
        return of(client) if client else None


def of(client: Client) -> Brand:
    """What pages on a client's way show of it."""
    path = f"/clients/{client.id}"
    color = client.brand_color
    return Brand(
        name=client.name,
        style=f"{path}/doorward.css?v={_version(sheet(color))}" if color else address_of("doorward.css"),
        logo=f"{path}/logo?v={client.logo.digest[:12]}" if client.logo else None,
        client_uri=client.client_uri,
        policy_uri=client.policy_uri,
        tos_uri=client.tos_uri,
    )


def take(request: Asking, client: Client) -> None:
    """Show a page as standing on the way of a client that was found out otherwise."""
    request.scope["state"]["brand"] = of(client)


def on_the_way(request: Asking) -> Brand | None:
    """Whose way the page stands on."""
    found: Brand | None = request.scope["state"].get("brand")
    return found


@lru_cache(maxsize=64)
def sheet(color: str) -> bytes:
    """Our style sheet with a brand's colours, readable in both schemes: a page still needs one only. On paper
    and in forced colours they are not ours to choose."""
    light, dark = (colors.fitted(color, scheme) for scheme in SCHEMES)
    return (
        f"{_SHEET}\n/* The colours of whose way this is. */\n"
        "@media screen and (forced-colors: none) {\n"
        f"  :root {{ --act: {light.act}; --on-act: {light.on_act}; }}\n"
        "}\n"
        "@media screen and (forced-colors: none) and (prefers-color-scheme: dark) {\n"
        f"  :root {{ --act: {dark.act}; --on-act: {dark.on_act}; }}\n"
        "}\n"
    ).encode()


def _schemes(text: str) -> Sequence[Scheme]:
    """The two schemes of a style sheet: its first `:root` is the light one, its second the dark."""
    found = []
    for place, block in enumerate(re.findall(r":root \{(.*?)\}", text, re.DOTALL)[:2]):
        named = {name: _long(value) for name, value in re.findall(r"--([a-z-]+): (#[0-9a-f]+);", block)}
        grounds, inks = ([named[name] for name in names] for names in (_GROUNDS, _INKS))
        found.append(Scheme(bool(place), grounds, inks))
    return found


def _long(color: str) -> str:
    """`#abc` as `#aabbcc`."""
    return color if len(color) == 7 else "#" + "".join(digit * 2 for digit in color[1:])


SCHEMES = _schemes(_SHEET)


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _kept(request: Asking, version: str) -> dict[str, str]:
    """An address with its version is for ever; of any other the content is today's."""
    is_its = request.query_params.get("v") == version
    return {"Cache-Control": "public, max-age=31536000, immutable" if is_its else "public, max-age=300"}


@get("/clients/{client_id:str}/doorward.css", include_in_schema=False)
async def style(request: Asking, client_id: FromPath[str]) -> Response[bytes]:
    """The style sheet of pages on a client's way."""
    client = (await client_flow.find(world_of(request), client_id)).client
    if client.brand_color is None or client.disabled:
        raise NotFound("no colour of its own")
    text = sheet(client.brand_color)
    return Response(text, media_type="text/css", headers=_kept(request, _version(text)))


@get("/clients/{client_id:str}/logo", include_in_schema=False)
async def logo(request: Asking, client_id: FromPath[str]) -> Response[bytes]:
    """A client's picture. Pages show it as an image, in which nothing runs; whoever opens it by itself gets
    it in a sandbox, where nothing runs and nothing is fetched."""
    found = await client_flow.logo(world_of(request), client_id)
    headers = _kept(request, found.digest[:12]) | {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    # What an SVG says of its encoding counts for nothing beside ours.
    kind = "image/svg+xml; charset=utf-8" if found.media_type == "image/svg+xml" else found.media_type
    return Response(found.content or b"", media_type=kind, headers=headers)
