"""`/account/two-factor`: turn it on, name and remove authenticators, new backup codes, turn it off."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from litestar import Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.params import FromPath

from service.errors import BackupCodesReplaced, DoorwardError, EnrolmentReplaced
from service.flows import me as me_flow
from service.flows import sessions as session_flow
from service.flows import two_factor as flow
from service.flows.enrolment import Codes
from service.flows.me import Overview
from service.flows.sessions import Caller
from service.http import browser
from service.http.browser import Asking
from service.http.guards import MAX_BODY, origin_of, world_of
from service.http.pages import HOME, back, carried, carrying, form_of, go, page, refused, return_to, signed_in
from service.http.web.fields import code_typed, id_of, name_typed

_SECTION = "/account#two-factor"
_ENABLE = "/account/two-factor/enable"


@get("/enable")
async def enable_form(request: Asking) -> Response[str]:
    """What it is for, or the QR code once this session has begun."""
    caller, world = await signed_in(request), world_of(request)
    known = await me_flow.overview(world, caller)
    pending = await flow.newest_pending(world, caller)
    if pending is None:
        session_flow.require_step_up(world, caller, enrolled=known.person.enrolled)
    return await page(
        request,
        "two_factor/enable.html",
        caller=caller,
        person=known.person,
        email=known.person.email,
        enrolled=known.person.enrolled,
        pending=pending,
        carried=carried(return_to(request)),
    )


@post("/enable")
async def start(request: Asking) -> Response[str]:
    caller, here = await signed_in(request), carrying(_ENABLE, return_to(request))
    fields = await form_of(request, caller)
    try:
        await flow.start(world_of(request), origin_of(request), caller, name_typed(fields))
    except DoorwardError as fault:
        return back(request, here, fault)
    return go(request, here)


@post("/enable/confirm", status_code=200)
async def confirm(request: Asking) -> Response[Any]:
    """The first right code: with the first authenticator the codes come in this very answer, since they
    are shown once. A reload finds the set-up confirmed and says so."""
    caller, world, target = await signed_in(request), world_of(request), return_to(request)
    fields, onward = await form_of(request, caller), _SECTION if target == HOME else target
    # Read before the act: once the codes are made, nothing may keep them from being shown.
    known = await me_flow.overview(world, caller)
    try:
        turned_on = await flow.confirm(
            world, origin_of(request), caller, id_of(fields), code_typed(fields.get("code", ""))
        )
    except EnrolmentReplaced as fault:
        # Known again: a double click has confirmed it since.
        known = await me_flow.overview(world, caller)
        if id_of(fields) in {one.id for one in known.authenticators}:
            return go(request, onward, {"code": "codes_already_shown"})
        return back(request, carrying(_ENABLE, target), fault)
    except DoorwardError as fault:
        return back(request, carrying(_ENABLE, target), fault)
    cookies = browser.renewed(request, turned_on.renewal)
    if turned_on.codes is None:
        return go(request, onward, {"code": "authenticator_added"}, cookies=cookies)
    return await _shown(request, caller, known, turned_on.codes, onward, cookies=cookies, replaced=False)


@get("/enable/confirm")
async def confirmed(request: Asking) -> Response[str]:
    """Somebody went to the address of the codes: they are not kept anywhere."""
    return go(request, _ENABLE)


@post("/authenticators/{authenticator_id:uuid}/rename")
async def rename(request: Asking, authenticator_id: FromPath[UUID]) -> Response[str]:
    caller = await signed_in(request)
    fields = await form_of(request, caller)
    try:
        name = name_typed(fields)
        await flow.rename(world_of(request), origin_of(request), caller, authenticator_id, name)
    except DoorwardError as fault:
        return back(request, _SECTION, fault)
    return go(request, _SECTION, {"code": "authenticator_renamed"})


@post("/authenticators/{authenticator_id:uuid}/remove")
async def remove(request: Asking, authenticator_id: FromPath[UUID]) -> Response[str]:
    caller = await signed_in(request)
    await form_of(request, caller)
    try:
        cookie = await flow.remove(world_of(request), origin_of(request), caller, authenticator_id)
    except DoorwardError as fault:
        return back(request, _SECTION, fault)
    notice = {"code": "authenticator_removed"}
    return go(request, _SECTION, notice, cookies=browser.renewed(request, cookie))


@get("/backup-codes")
async def backup_codes_form(request: Asking) -> Response[Any]:
    caller, world = await signed_in(request), world_of(request)
    known = await me_flow.overview(world, caller)
    if known.codes is None:
        return go(request, _SECTION)
    session_flow.require_step_up(world, caller, enrolled=known.person.enrolled)
    return await page(
        request, "two_factor/backup_codes.html", caller=caller, person=known.person, codes=known.codes
    )


@post("/backup-codes", status_code=200)
async def regenerate(request: Asking) -> Response[Any]:
    """The new codes come in this very answer. The form names the set it replaces, so that a reload makes
    no other set and says that the codes were shown."""
    caller, world = await signed_in(request), world_of(request)
    fields = await form_of(request, caller)
    known = await me_flow.overview(world, caller)
    try:
        codes = await flow.regenerate(world, origin_of(request), caller, replacing=id_of(fields, "set"))
    except BackupCodesReplaced as fault:
        return back(request, _SECTION, fault)
    except DoorwardError as fault:
        return back(request, "/account/two-factor/backup-codes", fault)
    return await _shown(request, caller, known, codes, _SECTION, replaced=True)


@get("/disable")
async def disable_form(request: Asking) -> Response[Any]:
    caller = await signed_in(request)
    known = await me_flow.overview(world_of(request), caller)
    if not known.authenticators:
        return go(request, _SECTION)
    return await page(
        request, "two_factor/disable.html", caller=caller, person=known.person, required=known.required
    )


@post("/disable")
async def disable(request: Asking) -> Response[str]:
    caller = await signed_in(request)
    fields = await form_of(request, caller)
    try:
        cookie = await flow.disable(
            world_of(request),
            origin_of(request),
            caller,
            fields.get("password", ""),
            code_typed(fields.get("code", "")),
        )
    except DoorwardError as fault:
        return back(request, "/account/two-factor/disable", fault)
    return go(request, _SECTION, {"code": "two_factor_off"}, cookies=browser.renewed(request, cookie))


async def _shown(
    request: Asking,
    caller: Caller,
    known: Overview,
    codes: Codes,
    onward: str,
    *,
    replaced: bool,
    cookies: Sequence[Cookie] = (),
) -> Response[str]:
    return await page(
        request,
        "two_factor/codes.html",
        caller=caller,
        cookies=cookies,
        person=known.person,
        email=known.person.email,
        codes=codes,
        replaced=replaced,
        onward=onward,
    )


router = Router(
    "/account/two-factor",
    route_handlers=[
        enable_form,
        start,
        confirm,
        confirmed,
        rename,
        remove,
        backup_codes_form,
        regenerate,
        disable_form,
        disable,
    ],
    include_in_schema=False,
    exception_handlers={Exception: refused},
    request_max_body_size=MAX_BODY,
)
