"""Trusted browsers on the pages: what this one presents, and the buttons that end the trust."""

from uuid import UUID

from litestar import Response, Router, post
from litestar.params import FromPath

from service.errors import DoorwardError
from service.flows import trust as flow
from service.flows.oidc import authorize as authorize_flow
from service.http import browser
from service.http.browser import Asking
from service.http.guards import MAX_BODY, origin_of, world_of
from service.http.pages import back, form_of, go, refused, signed_in

_HERE = "/account#trusted"


async def trust_token(request: Asking, target: str) -> str | None:
    """The trust token of this browser for a sign-in that goes on to `target`; none where a portal waits there
    for more than a password: then the code is asked for at once, and not after a second form."""
    token = browser.held(request, "trust")
    _, waits, handle = target.partition("/continue?request=")
    if token is None or not waits:
        return token
    name = browser.held(request, "browser") or ""
    return token if await authorize_flow.takes_trust(world_of(request), name, handle) else None


@post("/{browser_id:uuid}/revoke")
async def revoke(request: Asking, browser_id: FromPath[UUID]) -> Response[str]:
    return await _revoke(request, browser_id, "trust_revoked")


@post("/revoke")
async def revoke_all(request: Asking) -> Response[str]:
    return await _revoke(request, None, "all_trust_revoked")


async def _revoke(request: Asking, browser_id: UUID | None, code: str) -> Response[str]:
    caller = await signed_in(request)
    await form_of(request, caller)
    try:
        await flow.revoke(world_of(request), origin_of(request), caller, browser_id)
    except DoorwardError as fault:
        return back(request, _HERE, fault, section="trusted")
    return go(request, _HERE, {"code": code, "section": "trusted"})


router = Router(
    "/account/trusted-browsers",
    route_handlers=[revoke, revoke_all],
    include_in_schema=False,
    exception_handlers={Exception: refused},
    request_max_body_size=MAX_BODY,
)
