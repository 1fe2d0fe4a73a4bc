"""`/v1/me`: one's profile, password, and sign-ins of late (contract §4)."""

import re
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Literal
from uuid import UUID

from litestar import Response, Router, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from service.errors import (
    Conflict,
    InvalidCredentials,
    InvalidRequest,
    NotFound,
    RateLimited,
    ReauthenticationRequired,
)
from service.flows import consents as consent_flow
from service.flows import me as flow
from service.http.api import account_bodies
from service.http.api.documented import ACTING, BEARER, CALLER, Parametrised, problems
from service.http.browser import Asking, renewed
from service.http.guards import Limit, caller_of, origin_of, world_of

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


@get("", operation_id="getMe", summary="Oneself", responses=problems(*CALLER))
async def me(request: Asking) -> account_bodies.Me:
    caller = await caller_of(request, "account")
    return account_bodies.Me.of(await flow.overview(world_of(request), caller))


@patch(
    "",
    operation_id="changeMe",
    summary="Change one's profile",
    responses=problems(*ACTING, Conflict),
)
async def change(request: Asking, data: JSONBody[account_bodies.ChangeProfile]) -> account_bodies.Me:
    """What is left out stays, `null` clears. The address of sign-in and the roles are not here."""
    caller, world = await caller_of(request, "account"), world_of(request)
    await flow.change_profile(world, origin_of(request), caller, data.changes())
    return account_bodies.Me.of(await flow.overview(world, caller))


@post(
    "/password",
    status_code=204,
    operation_id="changeOwnPassword",
    summary="Change one's password (step-up)",
    responses=problems(*ACTING, ReauthenticationRequired, InvalidCredentials, Conflict, RateLimited),
)
async def password(request: Asking, data: JSONBody[account_bodies.ChangeOwnPassword]) -> Response[None]:
    """Every other session ends, and every sign-in under way. A wrong present password counts as one at
    the sign-in does."""
    caller = await caller_of(request, "account")
    cookie = await flow.change_password(
        world_of(request), origin_of(request), caller, data.current_password, data.new_password
    )
    return Response(None, status_code=204, cookies=renewed(request, cookie))


@get(
    "/sign-ins",
    operation_id="listSignIns",
    summary="Sign-ins of late, and tries at one",
    responses=problems(*CALLER),
)
async def sign_ins(
    request: Asking,
    result: FromQuery[Literal["ok", "failed", "refused"] | None] = None,
    since: FromQuery[str | None] = None,
    until: FromQuery[str | None] = None,
    address: FromQuery[str | None] = None,
    limit: FromQuery[Limit] = 50,
    cursor: FromQuery[UUID | None] = None,
) -> account_bodies.SignIns:
    """Newest first; `until` is exclusive. Times need an offset (RFC 3339)."""
    caller = await caller_of(request, "account")
    found = await flow.sign_ins(
        world_of(request),
        caller,
        result=result,
        before=cursor,
        since=_moment("since", since),
        until=_moment("until", until),
        address=_address(address) if address else None,
        limit=limit,
    )
    return account_bodies.SignIns(
        data=[account_bodies.SignInListed.of(one) for one in found],
        next_cursor=found[-1].id if len(found) == limit else None,
    )


@get(
    "/consents",
    operation_id="listConsents",
    summary="What one allowed third parties",
    responses=problems(*CALLER),
)
async def consents(request: Asking) -> account_bodies.Consents:
    """The latest first."""
    caller = await caller_of(request, "account")
    found = await consent_flow.given(world_of(request), caller)
    return account_bodies.Consents(data=[account_bodies.ConsentListed.of(one) for one in found])


@delete(
    "/consents/{client_id:str}",
    status_code=204,
    operation_id="takeConsentBack",
    summary="Take back what one allowed a third party, and end what it holds",
    operation_class=Parametrised,
    responses=problems(*ACTING, NotFound, Conflict),
)
async def take_back(request: Asking, client_id: FromPath[str]) -> None:
    caller = await caller_of(request, "account")
    await consent_flow.take_back(world_of(request), origin_of(request), caller, client_id)


def _moment(name: str, text: str | None) -> datetime | None:
    """A time with its offset (RFC 3339 §5.6), as UTC."""
    if text is None:
        return None
    if not _RFC3339.fullmatch(text):
        raise _fault(name, "not_a_time")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _fault(name, "not_a_time") from None


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise _fault("address", "not_an_address") from None


def _fault(name: str, code: str) -> InvalidRequest:
    return InvalidRequest(f"parameter {name}: {code}", errors=[{"pointer": f"/{name}", "code": code}])


router = Router(
    "/me",
    route_handlers=[me, change, password, sign_ins, consents, take_back],
    security=BEARER,
    tags=["account"],
)
