"""`/account`: oneself, one's sessions and sign-ins, the password, the language, and a fresh proof."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import ip_address
from typing import Any, TypeAlias
from urllib.parse import urlencode
from uuid import UUID

from litestar import Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.params import FromPath

from service.errors import DoorwardError, InvalidRequest
from service.flows import consents as consent_flow
from service.flows import me as flow
from service.flows import reauthentication as reauthentication_flow
from service.flows import trust as trust_flow
from service.flows.me import Portal, Session, SignIn
from service.flows.sessions import Caller
from service.http import browser
from service.http.browser import Asking
from service.http.guards import MAX_BODY, origin_of, world_of
from service.http.language import LANGUAGES, supported
from service.http.pages import HOME, back, carried, carrying, form_of, go, page, refused, return_to, signed_in
from service.http.web.fields import code_typed, line_typed, marked, require_filled

_SIGN_INS, _SESSIONS, _ENDED = 20, 50, 10
#: What the address of the page picks: the filters of the sign-ins, and how far down both lists are read.
_FILTERS, _CURSORS = ("result", "since", "until", "address"), ("before", "sessions")
#: What an act came to: the words for it, and the cookies that it gives.
Done: TypeAlias = tuple[Mapping[str, Any], Sequence[Cookie]]


@get("")
async def account(request: Asking) -> Response[str]:
    caller, world, asked = await signed_in(request), world_of(request), request.query_params
    known = await flow.overview(world, caller)
    own = _own_language(request, known.person.language)
    if own is not None:
        # Without a redirect, which would never end for a browser that does not keep the cookie.
        request.scope["state"]["language"] = own
    try:
        filters, mistyped = _filters(asked), False
    except InvalidRequest:
        # Said beside where it was typed: the rest of the page is as good as ever.
        filters, mistyped = _filters({}), True
    sign_ins = await flow.sign_ins(world, caller, **filters, limit=_SIGN_INS)
    sessions, older = await flow.devices(world, caller, before=_cursor(asked, "sessions"), limit=_SESSIONS)
    opened = await flow.portals(world, caller, sessions)
    consents = await consent_flow.given(world, caller)
    return page(
        request,
        "account/account.html",
        status=400 if mistyped else 200,
        cookies=[browser.keep_language(request, own)] if own else (),
        caller=caller,
        person=known.person,
        authenticators=known.authenticators,
        codes=known.codes,
        required=known.required,
        stepped_up=known.stepped_up,
        sessions=sessions,
        opened=_by_session(sessions, opened),
        older_sessions=older and _here(asked, "sessions", sessions=older),
        ended=await flow.sessions(world, caller, ended=True, before=None, limit=_ENDED),
        trusted=await trust_flow.listed(world, caller, browser.held(request, "trust")),
        sign_ins=sign_ins,
        mistyped=mistyped,
        asked=asked,
        picked=any(asked.get(name) for name in _FILTERS),
        newest=_here(asked, "sign-ins", before=None),
        older=_older(asked, sign_ins),
        consents=consents,
        visited=_visited(opened, [one.client_id for one in consents]),
    )


@post("/profile")
async def profile(request: Asking) -> Response[str]:
    async def act(caller: Caller, fields: Mapping[str, str]) -> Done:
        name = line_typed(fields, "profile_name", most=200)
        await flow.change_profile(world_of(request), origin_of(request), caller, {"name": name})
        return {"code": "profile_changed"}, ()

    return await _acting(request, "profile", act)


@post("/language")
async def language(request: Asking) -> Response[str]:
    """Kept with the person for what we write to them, and in this browser for its pages."""

    async def act(caller: Caller, fields: Mapping[str, str]) -> Done:
        tag = fields.get("language", "")
        if tag not in LANGUAGES:
            raise InvalidRequest("not a language of the pages")
        await flow.change_profile(world_of(request), origin_of(request), caller, {"language": tag})
        return {"code": "language_changed"}, [browser.keep_language(request, tag)]

    return await _acting(request, "language", act)


@post("/sessions/{session_id:uuid}/end")
async def end_session(request: Asking, session_id: FromPath[UUID]) -> Response[str]:
    async def act(caller: Caller, _: Mapping[str, str]) -> Done:
        await flow.end_session(world_of(request), origin_of(request), caller, session_id)
        return {"code": "session_revoked"}, ()

    return await _acting(request, "sessions", act)


@post("/sessions/end-others")
async def end_others(request: Asking) -> Response[str]:
    async def act(caller: Caller, _: Mapping[str, str]) -> Done:
        ended, renewal = await flow.end_other_sessions(world_of(request), origin_of(request), caller)
        return {"code": "others_revoked", "ended": ended}, browser.renewed(request, renewal)

    return await _acting(request, "sessions", act)


@post("/portals/{client_id:str}/revoke")
async def revoke_portal(request: Asking, client_id: FromPath[str]) -> Response[str]:
    """Take back what a third party was allowed."""

    async def act(caller: Caller, _: Mapping[str, str]) -> Done:
        await consent_flow.take_back(world_of(request), origin_of(request), caller, client_id)
        return {"code": "portal_revoked"}, ()

    return await _acting(request, "portals", act)


@post("/password")
async def password(request: Asking) -> Response[str]:
    async def act(caller: Caller, fields: Mapping[str, str]) -> Done:
        present, new = fields.get("current_password", ""), fields.get("new_password", "")
        require_filled(current_password=present, new_password=new)
        renewal = await flow.change_password(world_of(request), origin_of(request), caller, present, new)
        return {"code": "password_changed"}, browser.renewed(request, renewal)

    return await _acting(request, "password", act)


async def _acting(
    request: Asking, section: str, act: Callable[[Caller, Mapping[str, str]], Awaitable[Done]]
) -> Response[str]:
    """Let somebody signed in do what a form of the page asks for. The page then says what came of it, in the
    section of the form: its top would be out of sight."""
    caller, here = await signed_in(request), f"{HOME}#{section}"
    fields = await form_of(request, caller)
    try:
        said, cookies = await act(caller, fields)
    except DoorwardError as fault:
        return back(request, here, fault, section=section, **marked(fault))
    return go(request, here, {**said, "section": section}, cookies=cookies)


@get("/reauthentication")
async def reauthentication_form(request: Asking) -> Response[str]:
    caller, target = await signed_in(request), return_to(request)
    known = await flow.overview(world_of(request), caller)
    # A portal that wants a proof anew may mean another account; one's own account page does not.
    another = carrying("/sign-in", target) if target.startswith("/continue") else None
    facts: dict[str, Any] = {"carried": carried(target), "another": another}
    return page(request, "account/reauthentication.html", caller=caller, person=known.person, **facts)


@post("/reauthentication")
async def reauthentication(request: Asking) -> Response[str]:
    caller, target = await signed_in(request), return_to(request)
    fields = await form_of(request, caller)
    secret, code = fields.get("password", ""), fields.get("code", "").strip()
    try:
        require_filled(password=secret)
        renewal = await reauthentication_flow.reauthenticate(
            world_of(request), origin_of(request), caller, secret, code_typed(code) if code else None
        )
    except DoorwardError as fault:
        return back(request, carrying("/account/reauthentication", target), fault, **marked(fault))
    return go(request, target, cookies=browser.renewed(request, renewal))


def _own_language(request: Asking, chosen: str | None) -> str | None:
    """The language that a person once chose, for a browser in which none was chosen yet."""
    if browser.held(request, "language") or request.query_params.get("ui_locales"):
        return None
    return supported(chosen or "", pseudo=False)


# What the address of the page picks


def _filters(asked: Mapping[str, str]) -> dict[str, Any]:
    """The filters and the cursor of the sign-ins. Days are whole days of UTC, the last one included. Raises
    InvalidRequest."""
    result, address = asked.get("result") or None, asked.get("address", "").strip()
    try:
        if result not in (None, "ok", "failed", "refused"):
            raise ValueError(result)
        return {
            "result": result,
            "before": _cursor(asked, "before"),
            "since": _midnight(asked["since"]) if asked.get("since") else None,
            "until": _midnight(asked["until"]) + timedelta(days=1) if asked.get("until") else None,
            "address": str(ip_address(address)) if address else None,
        }
    except (ValueError, OverflowError):
        raise InvalidRequest("a filter of the sign-ins is not right") from None


def _cursor(asked: Mapping[str, str], name: str) -> UUID | None:
    try:
        return UUID(asked[name]) if asked.get(name) else None
    except ValueError:
        raise InvalidRequest("no cursor of ours") from None


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), UTC)


def _older(asked: Mapping[str, str], sign_ins: Sequence[SignIn]) -> str | None:
    """The address of the next page of sign-ins, with the same filters."""
    return _here(asked, "sign-ins", before=sign_ins[-1].id) if len(sign_ins) == _SIGN_INS else None


def _here(asked: Mapping[str, str], section: str, **moved: object) -> str:
    """The address of a section of the page as it was asked for, but for a cursor that moved."""
    whole = {name: asked.get(name) for name in (*_FILTERS, *_CURSORS)} | moved
    kept = {name: value for name, value in whole.items() if value}
    return f"{HOME}?{urlencode(kept)}#{section}"


# Portals


def _by_session(sessions: Sequence[Session], opened: Sequence[Portal]) -> Mapping[UUID, Sequence[Portal]]:
    return {one.id: [portal for portal in opened if portal.session == one.id] for one in sessions}


def _visited(opened: Sequence[Portal], allowed: Sequence[str]) -> Sequence[Portal]:
    """One line for each portal that needs nobody's leave, however many sessions opened it: the first."""
    others = [one for one in opened if one.client_id not in allowed]
    first = {one.client_id: one for one in sorted(others, key=lambda one: one.since, reverse=True)}
    return sorted(first.values(), key=lambda one: one.name)


router = Router(
    "/account",
    route_handlers=[
        account,
        profile,
        language,
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
