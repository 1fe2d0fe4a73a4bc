"""`/v1/me/trusted-browsers`: where one's own second factor is not asked for, and no longer (0011)."""

from uuid import UUID

from litestar import Router, delete, get
from litestar.params import FromPath

from service.errors import Conflict, NotFound
from service.flows import trust as flow
from service.http import browser
from service.http.api import account_bodies
from service.http.api.documented import ACTING, BEARER, CALLER, problems
from service.http.browser import Asking
from service.http.guards import caller_of, origin_of, world_of


@get(
    "",
    operation_id="listTrustedBrowsers",
    summary="Browsers that need no second factor for now",
    responses=problems(*CALLER),
)
async def listed(request: Asking) -> account_bodies.TrustedBrowsers:
    """The latest used first, all of them: there are twenty at most. They are made on the pages alone."""
    caller = await caller_of(request, "account")
    found = await flow.listed(world_of(request), caller, browser.held(request, "trust"))
    return account_bodies.TrustedBrowsers(data=[account_bodies.TrustedBrowser.of(one) for one in found])


@delete(
    "/{browser_id:uuid}",
    status_code=204,
    operation_id="revokeTrustedBrowser",
    summary="Trust a browser of one's own no longer",
    responses=problems(*ACTING, NotFound, Conflict),
)
async def revoke(request: Asking, browser_id: FromPath[UUID]) -> None:
    """The sessions that stand on the trust alone end, but the acting one."""
    caller = await caller_of(request, "account")
    await flow.revoke(world_of(request), origin_of(request), caller, browser_id)


@delete(
    "",
    status_code=204,
    operation_id="revokeTrustedBrowsers",
    summary="Trust no browser any longer",
    responses=problems(*ACTING, Conflict),
)
async def revoke_all(request: Asking) -> None:
    caller = await caller_of(request, "account")
    await flow.revoke(world_of(request), origin_of(request), caller, None)


router = Router(
    "/me/trusted-browsers", route_handlers=[listed, revoke, revoke_all], security=BEARER, tags=["two-factor"]
)
