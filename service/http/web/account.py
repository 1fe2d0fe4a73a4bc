"""`/account`: oneself, one's sessions and sign-ins, the password, and a fresh proof."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from litestar import Response, Router, get, post
from litestar.params import FromPath

from service.errors import DoorwardError, InvalidRequest
from service.flows import consents as consent_flow
from service.flows import me as flow
from service.flows import reauthentication as reauthentication_flow
from service.flows.me import SignIn
from service.http import browser
from service.http.browser import Asking
from service.http.guards import MAX_BODY, origin_of, world_of
from service.http.pages import HOME, back, carried, carrying, form_of, go, page, refused, return_to, signed_in
from service.http.web.fields import code_typed

_SIGN_INS = 20


@get("")
async def account(request: Asking) -> Response[str]:
    caller, world = await signed_in(request), world_of(request)
    known = await flow.overview(world, caller)
    filters = _filters(request.query_params)
    sign_ins = await flow.sign_ins(world, caller, **filters, limit=_SIGN_INS)
    living = await flow.sessions(world, caller, ended=False, before=None, limit=200)
    return await page(
        request,
        "account/account.html",
        caller=caller,
        person=known.person,
        authenticators=known.authenticators,
        codes=known.codes,
        required=known.required,
        stepped_up=known.stepped_up,
        # The one in use comes first, the others from the newest on.
        sessions=sorted(living, key=lambda one: not one.current),
        ended=await flow.sessions(world, caller, ended=True, before=None, limit=10),
        sign_ins=sign_ins,
        consents=await consent_flow.given(world, caller),
        asked=request.query_params,
        older=_older(request.query_params, sign_ins),
    )


@post("/sessions/{session_id:uuid}/end")
async def end_session(request: Asking, session_id: FromPath[UUID]) -> Response[str]:
    caller = await signed_in(request)
    await form_of(request, caller)
    try:
        await flow.end_session(world_of(request), origin_of(request), caller, session_id)
    except DoorwardError as fault:
        return back(request, "/account#sessions", fault)
    return go(request, "/account#sessions", {"code": "session_revoked"})


@post("/sessions/end-others")
async def end_others(request: Asking) -> Response[str]:
    caller = await signed_in(request)
    await form_of(request, caller)
    try:
        ended, cookie = await flow.end_other_sessions(world_of(request), origin_of(request), caller)
    except DoorwardError as fault:
        return back(request, "/account#sessions", fault)
    notice = {"code": "others_revoked", "ended": ended}
    return go(request, "/account#sessions", notice, cookies=browser.renewed(request, cookie))


@post("/portals/{client_id:str}/revoke")
async def revoke_portal(request: Asking, client_id: FromPath[str]) -> Response[str]:
    """Take back what a third party was allowed."""
    caller = await signed_in(request)
    await form_of(request, caller)
    try:
        await consent_flow.take_back(world_of(request), origin_of(request), caller, client_id)
    except DoorwardError as fault:
        return back(request, "/account#portals", fault)
    return go(request, "/account#portals", {"code": "portal_revoked"})


@post("/password")
async def password(request: Asking) -> Response[str]:
    caller = await signed_in(request)
    fields = await form_of(request, caller)
    try:
        cookie = await flow.change_password(
            world_of(request),
            origin_of(request),
            caller,
            fields.get("current_password", ""),
            fields.get("new_password", ""),
        )
    except DoorwardError as fault:
        return back(request, "/account#password", fault)
    notice = {"code": "password_changed"}
    return go(request, "/account", notice, cookies=browser.renewed(request, cookie))


@get("/reauthentication")
async def reauthentication_form(request: Asking) -> Response[str]:
    caller, target = await signed_in(request), return_to(request)
    known = await flow.overview(world_of(request), caller)
    # A portal that wants a proof anew may mean another account; one's own account page does not.
    another = carrying("/sign-in", target) if target.startswith("/continue") else None
    facts: dict[str, Any] = {"carried": carried(target), "another": another}
    return await page(request, "account/reauthentication.html", caller=caller, person=known.person, **facts)


@post("/reauthentication")
async def reauthentication(request: Asking) -> Response[str]:
    caller, target = await signed_in(request), return_to(request)
    fields = await form_of(request, caller)
    code = fields.get("code", "")
    try:
        cookie = await reauthentication_flow.reauthenticate(
            world_of(request),
            origin_of(request),
            caller,
            fields.get("password", ""),
            code_typed(code) if code else None,
        )
    except DoorwardError as fault:
        return back(request, carrying("/account/reauthentication", target), fault)
    return go(request, target, cookies=browser.renewed(request, cookie))


def _filters(asked: Mapping[str, str]) -> dict[str, Any]:
    """The filters and the cursor of the sign-ins, from the address of the page. Days are whole days of UTC,
    the last one included. Raises InvalidRequest."""
    result, address = asked.get("result") or None, asked.get("address", "").strip()
    try:
        if result not in (None, "ok", "failed", "refused"):
            raise ValueError(result)
        return {
            "result": result,
            "before": UUID(asked["before"]) if asked.get("before") else None,
            "since": _midnight(asked["since"]) if asked.get("since") else None,
            "until": _midnight(asked["until"]) + timedelta(days=1) if asked.get("until") else None,
            "address": str(ip_address(address)) if address else None,
        }
    except (ValueError, OverflowError):
        raise InvalidRequest("a filter of the sign-ins is not right") from None


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), UTC)


def _older(asked: Mapping[str, str], sign_ins: Sequence[SignIn]) -> str | None:
    """The address of the next page, with the same filters."""
    if len(sign_ins) < _SIGN_INS:
        return None
    kept = {name: asked[name] for name in ("result", "since", "until", "address") if asked.get(name)}
    return f"{HOME}?{urlencode(kept | {'before': str(sign_ins[-1].id)})}#sign-ins"


router = Router(
    "/account",
    route_handlers=[
        account,
        end_session,
        end_others,
        revoke_portal,
        password,
        reauthentication_form,
        reauthentication,
    ],
    include_in_schema=False,
    exception_handlers={Exception: refused},
    request_max_body_size=MAX_BODY,
)
