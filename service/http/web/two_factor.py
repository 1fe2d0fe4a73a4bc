"""`/account/two-factor`: turn it on, name and remove authenticators, new backup codes, turn it off."""

from typing import Any, Literal
from uuid import UUID

from litestar import Response, Router, get, post
from litestar.params import FromPath

from service.domain.sign_in import kind_of
from service.errors import BackupCodesReplaced, DoorwardError, EnrolmentReplaced
from service.flows import me as me_flow
from service.flows import sessions as session_flow
from service.flows import two_factor as flow
from service.http import browser
from service.http.browser import Asking
from service.http.guards import MAX_BODY, origin_of, world_of
from service.http.language import N_
from service.http.pages import (
    HOME,
    back,
    carried,
    carrying,
    form_of,
    go,
    page,
    reader,
    refused,
    return_to,
    signed_in,
)
from service.http.web import codes as codes_page
from service.http.web.fields import code_typed, id_of, kept_of, marked, name_typed, require_filled

_SECTION = "/account#two-factor"
_ENABLE = "/account/two-factor/enable"
_CODES = "/account/two-factor/backup-codes"
#: The name that a form suggests for an authenticator.
_NAME = N_("Authenticator")


@get("/enable")
async def enable_form(request: Asking) -> Response[str]:
    """What it is for, or the QR code once this session has begun."""
    caller, world = await signed_in(request), world_of(request)
    known = await me_flow.overview(world, caller)
    pending = await flow.newest_pending(world, caller)
    if pending is None:
        session_flow.require_step_up(world, caller, enrolled=known.person.enrolled)
    taken = [one.name for one in known.authenticators]
    return page(
        request,
        "two_factor/enable.html",
        suggested=flow.free_name(taken, reader(request)[0].texts.gettext(_NAME)),
        seconds=world.settings.two_factor.codes_seconds,
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
        return back(request, here, fault, **kept_of(fields, "name"))
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
        # Where a first code is refused, the clock of the phone is the first thing to look at.
        told = {"kind": "totp", "server_time": world.clock.now().isoformat()}
        kept = kept_of(fields, "no_limit")
        return back(request, carrying(_ENABLE, target), fault, **{**kept, **told, **marked(fault)})
    cookies = browser.renewed(request, turned_on.renewal)
    if turned_on.codes is None:
        return go(request, onward, {"code": "authenticator_added"}, cookies=cookies)
    return codes_page.shown(
        request,
        turned_on.codes,
        known.person.email,
        onward,
        replaced=False,
        no_limit="no_limit" in fields,
        session=caller.session,
        cookies=cookies,
        caller=caller,
        person=known.person,
    )


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
    if not known.authenticators:
        return go(request, _SECTION)
    session_flow.require_step_up(world, caller, enrolled=known.person.enrolled)
    return page(
        request,
        "two_factor/backup_codes.html",
        caller=caller,
        person=known.person,
        codes=known.codes,
        seconds=world.settings.two_factor.codes_seconds,
    )


@post("/backup-codes", status_code=200)
async def regenerate(request: Asking) -> Response[Any]:
    """The new codes come in this very answer. The form names the set it replaces, so that a reload makes
    no other set and says that the codes were shown."""
    caller, world = await signed_in(request), world_of(request)
    fields = await form_of(request, caller)
    known = await me_flow.overview(world, caller)
    try:
        # Somebody may have no set at all, where its pepper was retired.
        replacing: UUID | Literal["none"] = "none" if fields.get("set") == "none" else id_of(fields, "set")
        codes = await flow.regenerate(world, origin_of(request), caller, replacing=replacing)
    except BackupCodesReplaced as fault:
        return back(request, _SECTION, fault)
    except DoorwardError as fault:
        return back(request, _CODES, fault, **kept_of(fields, "no_limit"))
    return codes_page.shown(
        request,
        codes,
        known.person.email,
        _SECTION,
        replaced=True,
        no_limit="no_limit" in fields,
        session=caller.session,
        caller=caller,
        person=known.person,
    )


@post("/backup-codes/saved")
async def say_saved(request: Asking) -> Response[str]:
    """The person saved their codes; until then the account page reminds its person."""
    caller, onward = await signed_in(request), return_to(request)
    fields = await form_of(request, caller)
    try:
        await flow.say_saved(world_of(request), origin_of(request), caller, id_of(fields, "set"))
    except DoorwardError as fault:
        return back(request, onward, fault)
    return go(request, onward, {"code": "codes_saved"} if onward.startswith(HOME) else None)


@get("/disable")
async def disable_form(request: Asking) -> Response[Any]:
    caller = await signed_in(request)
    known = await me_flow.overview(world_of(request), caller)
    if not known.authenticators:
        return go(request, _SECTION)
    return page(
        request, "two_factor/disable.html", caller=caller, person=known.person, required=known.required
    )


@post("/disable")
async def disable(request: Asking) -> Response[str]:
    caller = await signed_in(request)
    fields = await form_of(request, caller)
    secret, code = fields.get("password", ""), code_typed(fields.get("code", ""))
    try:
        require_filled(password=secret, code=code.strip())
        cookie = await flow.disable(world_of(request), origin_of(request), caller, secret, code)
    except DoorwardError as fault:
        kind = kind_of(code, None)
        told = marked(fault) | ({"kind": kind} if kind else {})
        return back(request, "/account/two-factor/disable", fault, **told)
    return go(request, _SECTION, {"code": "two_factor_off"}, cookies=browser.renewed(request, cookie))


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
        say_saved,
        disable_form,
        disable,
    ],
    include_in_schema=False,
    exception_handlers={Exception: refused},
    request_max_body_size=MAX_BODY,
)
