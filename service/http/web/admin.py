"""`/admin/users`: people, and what administrators do to their accounts."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args
from urllib.parse import urlencode
from uuid import UUID

from litestar import Response, Router, get, post
from litestar.params import FromPath

from service.domain import administration
from service.domain.administration import Order, Sort, Status, TwoFactor
from service.domain.sign_in import Origin
from service.errors import DoorwardError, Forbidden, InvalidRequest
from service.flows import admin as flow
from service.flows import me as me_flow
from service.flows.people import Search
from service.flows.sessions import Caller
from service.http.browser import Asking
from service.http.guards import MAX_BODY, origin_of, world_of
from service.http.language import N_
from service.http.pages import asked_for, back, carrying, form_of, go, page, refused, signed_in
from service.http.searches import order_of, place_of, sought
from service.world import World

T = TypeVar("T")
USERS = "/admin/users"
_PEOPLE, _SESSIONS, _SIGN_INS = 50, 20, 20
_FILTERS = ("q", "two_factor", "status")


@get("")
async def users(request: Asking) -> Response[str]:
    """The filters stand in the address: it can be kept, sent to a colleague, and gone back to."""
    caller, world, asked = await signed_in(request), world_of(request), request.query_params
    if told := await _unless_both_factors(request, caller):
        return told
    search = Search(
        _one_of(get_args(TwoFactor), asked.get("two_factor", ""), "two_factor"),
        _one_of(get_args(Status), asked.get("status", ""), "status"),
        sought(asked.get("q", "")),
    )
    order = order_of(asked.get("sort") or "email")
    after = place_of(asked.get("cursor") or None, order)
    found = await flow.listed(world, caller, search, order, after, _PEOPLE)
    matching, total = await flow.counted(world, caller, search)
    return page(
        request,
        "admin/users.html",
        caller=caller,
        person=(await me_flow.overview(world, caller)).person,
        users=found.people,
        matching=matching,
        total=total,
        search=search,
        order=order,
        picked=any(asked.get(name) not in (None, "", "all") for name in _FILTERS),
        sorts={sort: _here(asked, sort=_turned(order, sort), cursor=None) for sort in get_args(Sort)},
        first=_here(asked, cursor=None) if after else None,
        following=found.next and _here(asked, cursor=administration.cursor(order, found.next)),
    )


@get("/{user_id:uuid}")
async def user(request: Asking, user_id: FromPath[UUID]) -> Response[str]:
    caller, world = await signed_in(request), world_of(request)
    if told := await _unless_both_factors(request, caller):
        return told
    account = await flow.account(world, caller, user_id)
    return page(
        request,
        "admin/user.html",
        caller=caller,
        person=(await me_flow.overview(world, caller)).person,
        user=account.person,
        authenticators=account.authenticators,
        may=account.may,
        own=user_id == caller.person,
        stepped_up=account.stepped_up,
        max_reason=administration.MAX_REASON,
        sessions=await flow.sessions(world, caller, user_id, _SESSIONS),
        sign_ins=await flow.sign_ins(world, caller, user_id, _SIGN_INS),
    )


@post("/{user_id:uuid}/reset-two-factor")
async def reset_two_factor(request: Asking, user_id: FromPath[UUID]) -> Response[str]:
    async def act(world: World, origin: Origin, caller: Caller, fields: Mapping[str, str]) -> str | None:
        removed = await flow.reset_two_factor(world, origin, caller, user_id, _reason(fields))
        # Another administrator was faster, and theirs is the reset that the person hears of.
        return None if removed else N_("Two-factor authentication is off")

    said = N_("Two-factor authentication was reset, and a letter tells the person")
    return await _acted(request, user_id, act, said)


@post("/{user_id:uuid}/end-sessions")
async def end_sessions(request: Asking, user_id: FromPath[UUID]) -> Response[str]:
    async def act(world: World, origin: Origin, caller: Caller, fields: Mapping[str, str]) -> None:
        await flow.end_sessions(world, origin, caller, user_id)

    return await _acted(request, user_id, act, N_("Every session of this person was ended"))


@post("/{user_id:uuid}/unlock")
async def unlock(request: Asking, user_id: FromPath[UUID]) -> Response[str]:
    async def act(world: World, origin: Origin, caller: Caller, fields: Mapping[str, str]) -> None:
        await flow.unlock(world, origin, caller, user_id)

    return await _acted(request, user_id, act, N_("The second step can be tried again"))


@post("/{user_id:uuid}/disable")
async def disable(request: Asking, user_id: FromPath[UUID]) -> Response[str]:
    async def act(world: World, origin: Origin, caller: Caller, fields: Mapping[str, str]) -> None:
        await flow.change(world, origin, caller, user_id, flow.Changes("disabled"), ())

    return await _acted(request, user_id, act, N_("The account was disabled, and its sessions were ended"))


@post("/{user_id:uuid}/enable")
async def enable(request: Asking, user_id: FromPath[UUID]) -> Response[str]:
    async def act(world: World, origin: Origin, caller: Caller, fields: Mapping[str, str]) -> None:
        await flow.change(world, origin, caller, user_id, flow.Changes("active"), ())

    return await _acted(request, user_id, act, N_("The account was enabled"))


async def _acted(
    request: Asking,
    person: UUID,
    act: Callable[[World, Origin, Caller, Mapping[str, str]], Awaitable[str | None]],
    said: str,
) -> Response[str]:
    """Run an act that a form asks for, and go back to the person's page, which says what came of it: `said`,
    or what the act tells instead."""
    caller, here = await signed_in(request), f"{USERS}/{person}"
    fields = await form_of(request, caller)
    try:
        instead = await act(world_of(request), origin_of(request), caller, fields)
    except DoorwardError as fault:
        return back(request, here, fault)
    return go(request, here, {"code": "done", "title": instead or said})


async def _unless_both_factors(request: Asking, caller: Caller) -> Response[str] | None:
    """The page for an administrator whose session proved a password alone. Raises Forbidden for whoever is
    none."""
    if "admin" in caller.scope:
        return None
    world = world_of(request)
    if not await flow.has_role(world, caller):
        raise Forbidden("no administrator")
    person = (await me_flow.overview(world, caller)).person
    proof = carrying("/account/reauthentication", asked_for(request))
    return page(request, "admin/both_factors.html", status=403, caller=caller, person=person, proof=proof)


def _one_of(known: Sequence[T], value: object, name: str) -> T:
    """A filter's value, the first of them where nothing is picked. Raises InvalidRequest."""
    for one in known:
        if value == one or (not value and one == "all"):
            return one
    raise InvalidRequest(f"filter {name}: unknown")


def _reason(fields: Mapping[str, str]) -> str:
    if (reason := administration.reason(fields.get("reason", ""))) is None:
        raise InvalidRequest("a bad reason", errors=[{"pointer": "/reason", "code": "not_valid"}])
    return reason


def _turned(order: Order, sort: Sort) -> str | None:
    """What a column's link sorts by: the other way where the list is sorted by it now."""
    name = f"-{sort}" if order == Order(sort) else sort
    return None if name == "email" else name


def _here(asked: Mapping[str, str], **changes: str | None) -> str:
    """The address of this list with some of it changed; None takes it away."""
    names = (*_FILTERS, "sort", "cursor")
    kept: dict[str, Any] = {name: asked[name] for name in names if asked.get(name)}
    query = urlencode({name: value for name, value in (kept | changes).items() if value is not None})
    return f"{USERS}?{query}" if query else USERS


router = Router(
    USERS,
    route_handlers=[users, user, reset_two_factor, end_sessions, unlock, disable, enable],
    include_in_schema=False,
    exception_handlers={Exception: refused},
    request_max_body_size=MAX_BODY,
)
