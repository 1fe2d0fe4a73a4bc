"""Tokens renewed, a session proved anew, and where one is signed in (contract §3, §4)."""

from uuid import UUID

from litestar import Response, Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from service.errors import (
    Conflict,
    InvalidCredentials,
    InvalidRefreshToken,
    NotFound,
    UnauthorizedClient,
    Unavailable,
)
from service.flows import me as flow
from service.flows import reauthentication as reauthentication_flow
from service.flows import refresh as refresh_flow
from service.http.api import account_bodies, bodies
from service.http.api.documented import ACTING, BEARER, BODY, CALLER, CODE, problems
from service.http.browser import Asking, renewed, take
from service.http.guards import Limit, caller_of, frontend, origin_of, world_of


@post(
    "/tokens/refresh",
    status_code=200,
    operation_id="refreshTokens",
    summary="Exchange a refresh token for new tokens",
    responses=problems(*BODY, UnauthorizedClient, InvalidRefreshToken, Unavailable),
    tags=["sessions"],
)
async def refresh(request: Asking, data: JSONBody[bodies.Refresh]) -> bodies.TokenSet:
    """The token is spent. Within the grace its owner gets the same successor again; later a second
    use is theft, and the session ends."""
    client = frontend(data.client_id)
    tokens = await refresh_flow.refresh(world_of(request), origin_of(request), data.refresh_token, client)
    return bodies.TokenSet.of(tokens)


@post(
    "/sign-out",
    status_code=204,
    operation_id="signOut",
    summary="End this session",
    responses=problems(*ACTING),
    security=BEARER,
    tags=["sessions"],
)
async def sign_out(request: Asking) -> Response[None]:
    caller = await caller_of(request, "account")
    await flow.end_session(world_of(request), origin_of(request), caller, caller.session)
    return Response(None, status_code=204, cookies=take(request, "session") if caller.in_browser else None)


@post(
    "/reauthentication",
    status_code=200,
    operation_id="reauthenticate",
    summary="Step-up: prove again that it is you",
    responses=problems(*ACTING, InvalidCredentials, *CODE, Conflict),
    security=BEARER,
    tags=["sessions"],
)
async def reauthenticate(
    request: Asking, data: JSONBody[account_bodies.Reauthenticate]
) -> Response[account_bodies.SteppedUp]:
    """No new tokens: the next refresh carries the new `auth_time`. A browser's session gets a new cookie."""
    caller = await caller_of(request, "account")
    world = world_of(request)
    cookie = await reauthentication_flow.reauthenticate(
        world, origin_of(request), caller, data.password, data.code
    )
    body = account_bodies.SteppedUp(expires_in=world.settings.tokens.step_up_seconds)
    return Response(body, cookies=renewed(request, cookie))


@get(
    "",
    operation_id="listSessions",
    summary="Where one is, and was, signed in",
    responses=problems(*CALLER),
)
async def listed(
    request: Asking,
    active: FromQuery[bool | None] = None,
    limit: FromQuery[Limit] = 50,
    cursor: FromQuery[UUID | None] = None,
) -> account_bodies.Sessions:
    """Newest first; `active` picks the living or the ended ones. The acting session is `current`."""
    caller = await caller_of(request, "account")
    ended = None if active is None else not active
    found = await flow.sessions(world_of(request), caller, ended=ended, before=cursor, limit=limit)
    return account_bodies.Sessions(
        data=[account_bodies.SessionListed.of(one) for one in found],
        next_cursor=found[-1].id if len(found) == limit else None,
    )


@delete(
    "/{session_id:uuid}",
    status_code=204,
    operation_id="endSession",
    summary="End a session of one's own, at once",
    responses=problems(*ACTING, NotFound, Conflict),
)
async def end(request: Asking, session_id: FromPath[UUID]) -> None:
    caller = await caller_of(request, "account")
    await flow.end_session(world_of(request), origin_of(request), caller, session_id)


@post(
    "/end-others",
    status_code=200,
    operation_id="endOtherSessions",
    summary="End every session but this one",
    responses=problems(*ACTING, Conflict),
)
async def end_others(request: Asking) -> Response[account_bodies.SessionsEnded]:
    """Sign-ins under way die as well."""
    caller = await caller_of(request, "account")
    ended, cookie = await flow.end_other_sessions(world_of(request), origin_of(request), caller)
    return Response(account_bodies.SessionsEnded(ended=ended), cookies=renewed(request, cookie))


router = Router("/me/sessions", route_handlers=[listed, end, end_others], security=BEARER, tags=["sessions"])
