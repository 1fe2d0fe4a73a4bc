"""Tokens renewed, a session ended, a session proved anew (contract §3)."""

from litestar import post
from litestar.params import JSONBody

from service.flows import reauthentication as reauthentication_flow
from service.flows import sessions as flow
from service.http.api import bodies
from service.http.api.documented import BEARER, problems
from service.http.guards import Asking, caller_of, origin_of, world_of


@post(
    "/tokens/refresh",
    status_code=200,
    operation_id="refreshTokens",
    summary="Exchange a refresh token for new tokens",
    responses=problems(400, 401, 413, 415, 503),
    tags=["sessions"],
)
async def refresh(request: Asking, data: JSONBody[bodies.Refresh]) -> bodies.TokenSet:
    """The token is spent. Within the grace its owner gets the same successor again; later a second
    use is theft, and the session ends."""
    tokens = await flow.refresh(world_of(request), origin_of(request), data.refresh_token, data.client_id)
    return bodies.TokenSet.of(tokens)


@post(
    "/sign-out",
    status_code=204,
    operation_id="signOut",
    summary="End this session",
    responses=problems(401, 403, 503),
    security=BEARER,
    tags=["sessions"],
)
async def sign_out(request: Asking) -> None:
    caller = await caller_of(request, "account")
    await flow.sign_out(world_of(request), origin_of(request), caller)


@post(
    "/reauthentication",
    status_code=200,
    operation_id="reauthenticate",
    summary="Step-up: prove again that it is you",
    responses=problems(400, 401, 403, 413, 415, 429, 503),
    security=BEARER,
    tags=["sessions"],
)
async def reauthenticate(request: Asking, data: JSONBody[bodies.Reauthenticate]) -> bodies.SteppedUp:
    """No new tokens: the next refresh carries the new `auth_time`."""
    caller = await caller_of(request, "account")
    world = world_of(request)
    await reauthentication_flow.reauthenticate(world, origin_of(request), caller, data.password, data.code)
    return bodies.SteppedUp(expires_in=world.settings.tokens.step_up_seconds)
