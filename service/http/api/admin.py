"""`/v1/admin/users`: people, for administrators (contract §5)."""

import re
from collections.abc import Sequence
from uuid import UUID

from litestar import Response, Router, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from service.domain import administration
from service.domain.administration import Status, TwoFactor
from service.errors import (
    Conflict,
    Forbidden,
    NotFound,
    OwnAccount,
    PreconditionFailed,
    PreconditionRequired,
    ReauthenticationRequired,
)
from service.flows import admin as flow
from service.flows.people import Search
from service.http.api import admin_bodies
from service.http.api.account_bodies import SessionsEnded
from service.http.api.documented import ACTING, BEARER, CALLER, Parametrised, problems
from service.http.browser import Asking
from service.http.guards import Limit, caller_of, origin_of, world_of
from service.http.searches import order_of, place_of, sought

#: An entity tag as it stands in If-Match (RFC 9110 §8.8.3).
_TAG = re.compile(r'"([\x21\x23-\x7e]*)"')
_ON_ANOTHER = (*ACTING, Forbidden, NotFound, Conflict, OwnAccount)


@get(
    "",
    operation_id="listUsers",
    summary="People, a page at a time",
    responses=problems(*CALLER, Forbidden),
)
async def users(
    request: Asking,
    two_factor: FromQuery[TwoFactor] = "all",
    status: FromQuery[Status] = "all",
    q: FromQuery[str] = "",
    sort: FromQuery[str] = "email",
    limit: FromQuery[Limit] = 50,
    cursor: FromQuery[str | None] = None,
) -> admin_bodies.Users:
    """`q` finds words of names and addresses by their beginning, and ids. `sort` is `email`, `name` or
    `created_at`, with a `-` before it from the last. At most 10,000 people of a kind are counted."""
    caller, world = await caller_of(request, "admin"), world_of(request)
    search, order = Search(two_factor, status, sought(q)), order_of(sort)
    after = place_of(cursor, order)
    page = await flow.listed(world, caller, search, order, after, limit)
    following = administration.cursor(order, page.next) if page.next else None
    return admin_bodies.Users.listed(page.people, following, await flow.counted(world, caller, search))


@get(
    "/{user_id:uuid}",
    operation_id="getUser",
    summary="One person",
    operation_class=Parametrised,
    responses=problems(*CALLER, Forbidden, NotFound),
)
async def user(request: Asking, user_id: FromPath[UUID]) -> Response[admin_bodies.User]:
    """Never a hash, a seed or a code. The `ETag` is what `If-Match` of a change takes."""
    return _told(await flow.account(world_of(request), await caller_of(request, "admin"), user_id))


@patch(
    "/{user_id:uuid}",
    operation_id="changeUser",
    summary="Disable or enable somebody, and set their roles (step-up, If-Match)",
    operation_class=Parametrised,
    responses=problems(*_ON_ANOTHER, ReauthenticationRequired, PreconditionFailed, PreconditionRequired),
)
async def change(
    request: Asking, user_id: FromPath[UUID], data: JSONBody[admin_bodies.ChangeUser]
) -> Response[admin_bodies.User]:
    """Whoever is disabled is out at once. Roles count from the next request on."""
    caller, world = await caller_of(request, "admin"), world_of(request)
    await flow.change(world, origin_of(request), caller, user_id, data.changes(), _versions(request))
    return _told(await flow.account(world, caller, user_id))


@post(
    "/{user_id:uuid}/reset-two-factor",
    status_code=200,
    operation_id="resetTwoFactor",
    summary="Take somebody's second factor away (step-up)",
    operation_class=Parametrised,
    responses=problems(*_ON_ANOTHER, ReauthenticationRequired),
)
async def reset_two_factor(
    request: Asking, user_id: FromPath[UUID], data: JSONBody[admin_bodies.ResetTwoFactor]
) -> admin_bodies.TwoFactorReset:
    """Their authenticators and codes are gone, every session of theirs ends, and they are written to."""
    caller = await caller_of(request, "admin")
    removed = await flow.reset_two_factor(world_of(request), origin_of(request), caller, user_id, data.reason)
    return admin_bodies.TwoFactorReset(removed=removed)


@post(
    "/{user_id:uuid}/end-sessions",
    status_code=200,
    operation_id="endUserSessions",
    summary="End whatever somebody has open",
    operation_class=Parametrised,
    responses=problems(*_ON_ANOTHER),
)
async def end_sessions(request: Asking, user_id: FromPath[UUID]) -> SessionsEnded:
    """Sign-ins under way die as well."""
    caller = await caller_of(request, "admin")
    ended = await flow.end_sessions(world_of(request), origin_of(request), caller, user_id)
    return SessionsEnded(ended=ended)


@post(
    "/{user_id:uuid}/unlock",
    status_code=204,
    operation_id="unlockUser",
    summary="Give somebody's second factor all its tries back (step-up)",
    operation_class=Parametrised,
    responses=problems(*_ON_ANOTHER, ReauthenticationRequired),
)
async def unlock(request: Asking, user_id: FromPath[UUID]) -> None:
    caller = await caller_of(request, "admin")
    await flow.unlock(world_of(request), origin_of(request), caller, user_id)


def _told(account: flow.Account) -> Response[admin_bodies.User]:
    body = admin_bodies.User.of_account(account)
    return Response(body, headers={"ETag": f'"{account.version}"'})


def _versions(request: Asking) -> Sequence[str]:
    """What If-Match names (RFC 9110 §13.1.1); none for `*`. A weak tag matches nothing."""
    told = ",".join(request.headers.getall("if-match", [])).strip()
    if not told:
        raise PreconditionRequired("no If-Match")
    if told == "*":
        return ()
    parts = [_TAG.fullmatch(part.strip()) for part in told.split(",")]
    return [part[1] for part in parts if part] or [""]


router = Router(
    "/admin/users",
    route_handlers=[users, user, change, reset_two_factor, end_sessions, unlock],
    security=BEARER,
    tags=["administration"],
)
