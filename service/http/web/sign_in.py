"""The pages of a sign-in: password, second factor or backup code, whatever else is owed, and out again."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import ceil
from typing import Any

from litestar import Response, Router, get, post
from litestar.datastructures import Cookie

from service.domain.sign_in import PAGES, Kind, Pending, Step, kind_of
from service.errors import DoorwardError, InvalidCode, InvalidPreAuthToken, InvalidToken
from service.flows import me as me_flow
from service.flows import sign_in as flow
from service.flows import trust as trust_flow
from service.flows.sessions import BrowserSession, Renewal
from service.flows.sign_in import Complete, Outcome
from service.http import browser
from service.http.browser import Asking
from service.http.guards import MAX_BODY, origin_of, world_of
from service.http.pages import HOME, back, carried, carrying, form_of, go, page, refused, return_to, signed_in
from service.http.web import codes
from service.http.web.fields import code_typed, id_of, kept_of, marked, name_typed, require_filled
from service.http.web.trust import trust_token

#: The page of each step.
_PAGES: Mapping[Step, str] = {
    Step.SECOND_FACTOR: "/sign-in/second-factor",
    Step.ENROLMENT: "/sign-in/enrolment",
    Step.PASSWORD_CHANGE: "/sign-in/password",
    Step.EMAIL_VERIFICATION: "/sign-in/email-verification",
}
#: After so many wrong codes the person is asked about the clock of their phone.
_ASKED_ABOUT_THE_CLOCK = 2


@get("")
async def form(request: Asking) -> Response[str]:
    """The first step; whoever is signed in already may go on as they are, unless another is wanted."""
    target, known, is_free = return_to(request), None, True
    if browser.open_notice(request).get("code") == "another_account_wanted":
        is_free = False
    else:
        with suppress(InvalidToken):
            caller = await signed_in(request)
            known = (await me_flow.overview(world_of(request), caller)).person
    facts: dict[str, Any] = {
        "known": known,
        "return_to": target,
        "carried": carried(target),
        # What the other tabs of this browser are told, and where this one goes on when one of them tells it.
        "session": ("in" if known else "out") if is_free else None,
        "elsewhere": target if is_free and not known else None,
    }
    return page(request, "sign_in/password.html", **facts)


@post("")
async def password(request: Asking) -> Response[str]:
    fields, target = await form_of(request), return_to(request)
    email, secret = fields.get("username", ""), fields.get("password", "")
    try:
        require_filled(email=email.strip(), password=secret)
        # As many as there are places for their hashes, and the others go back before anything is looked up:
        # a flood must not keep everyone else waiting (K-105).
        with world_of(request).pool.admission():
            outcome = await flow.sign_in(
                world_of(request),
                origin_of(request),
                email,
                secret,
                PAGES,
                browser.held(request, "device"),
                await trust_token(request, target),
            )
    except DoorwardError as fault:
        kept = marked(fault) | browser.typed(email)
        return back(request, carrying("/sign-in", target), fault, **kept)
    return await _go_on(request, outcome, target, email)


@get("/second-factor")
async def second_factor_form(request: Asking) -> Response[Any]:
    return await _step(request, Step.SECOND_FACTOR, "sign_in/second_factor.html")


@post("/second-factor")
async def second_factor(request: Asking) -> Response[str]:
    return await _second_factor(request, "/sign-in/second-factor", backup=False)


@get("/backup-code")
async def backup_code_form(request: Asking) -> Response[Any]:
    return await _step(request, Step.SECOND_FACTOR, "sign_in/backup_code.html")


@post("/backup-code")
async def backup_code(request: Asking) -> Response[str]:
    return await _second_factor(request, "/sign-in/backup-code", backup=True)


async def _second_factor(request: Asking, path: str, *, backup: bool) -> Response[str]:
    fields, target = await _step_form(request), return_to(request)
    code, trust = fields.get("code", ""), fields.get("trust", "")
    try:
        require_filled(code=code.strip())
        outcome = await flow.second_factor(
            world_of(request),
            origin_of(request),
            browser.pre_auth(request),
            code if backup else code_typed(code),
            "backup_code" if backup else None,
            PAGES,
            trust=bool(trust),
            trust_token=browser.held(request, "trust"),
        )
    except DoorwardError as fault:
        kept = marked(fault) | _about_the_code(request, fault, kind_of(code_typed(code), None))
        kept["trust"] = "on" if trust else ""
        return await _again(request, path, fault, target, **kept)
    return await _go_on(request, outcome, target)


def _about_the_code(request: Asking, fault: DoorwardError, kind: Kind | None) -> dict[str, str]:
    """What kind of code is not right; and the server's time, for whoever typed more than one passcode."""
    left, world = fault.public.get("attempts_left"), world_of(request)
    if not isinstance(fault, InvalidCode) or kind != "totp" or not isinstance(left, int):
        return {"kind": kind} if kind else {}
    tried = world.settings.tokens.pre_auth_attempts - left
    clock = {"server_time": world.clock.now().isoformat()} if tried >= _ASKED_ABOUT_THE_CLOCK else {}
    return {"kind": kind, **clock}


@get("/backup-code-used")
async def backup_code_used(request: Asking) -> Response[Any]:
    """How many backup codes are left, before the way back to a portal, which would not say it."""
    target = return_to(request)
    caller = await signed_in(request)
    if browser.open_notice(request).get("code") != "backup_code_used":
        return go(request, target)
    known = await me_flow.overview(world_of(request), caller)
    return page(
        request, "sign_in/backup_code_used.html", caller=caller, person=known.person, return_to=target
    )


@get("/enrolment")
async def enrolment_form(request: Asking) -> Response[Any]:
    """Forced enrolment: what it is for, or the QR code once it has begun."""

    async def begun() -> Mapping[str, Any]:
        return {
            "pending": await flow.pending_enrolment(world_of(request), browser.pre_auth(request), PAGES),
            "seconds": world_of(request).settings.two_factor.codes_seconds,
        }

    return await _step(request, Step.ENROLMENT, "sign_in/enrolment.html", begun)


@post("/enrolment")
async def start_enrolment(request: Asking) -> Response[str]:
    fields, target = await _step_form(request), return_to(request)
    kept = kept_of(fields, "name")
    try:
        name = name_typed(fields)
        await flow.start_enrolment(
            world_of(request), origin_of(request), browser.pre_auth(request), name, PAGES
        )
    except DoorwardError as fault:
        return await _again(request, "/sign-in/enrolment", fault, target, **kept)
    return go(request, carrying("/sign-in/enrolment", target))


@post("/enrolment/confirm", status_code=200)
async def confirm_enrolment(request: Asking) -> Response[Any]:
    """The first right code: the session, and the codes in this very answer, since they are shown once."""
    fields, target = await _step_form(request), return_to(request)
    code = fields.get("code", "")
    kept = kept_of(fields, "no_limit")
    try:
        pending = await flow.owed(world_of(request), browser.pre_auth(request), PAGES)
        outcome = await flow.confirm_enrolment(
            world_of(request),
            origin_of(request),
            browser.pre_auth(request),
            id_of(fields),
            code_typed(code),
            PAGES,
        )
    except DoorwardError as fault:
        if isinstance(fault, InvalidPreAuthToken) and await _is_confirmed(request, fields):
            return go(request, target, {"code": "codes_already_shown"})
        told = {**kept, **marked(fault), **_about_the_code(request, fault, "totp")}
        return await _again(request, "/sign-in/enrolment", fault, target, **told)
    onward, cookies = await _onward(request, outcome, target)
    assert outcome.codes is not None  # a first authenticator brings them
    return codes.shown(
        request,
        outcome.codes,
        pending.standing.email,
        onward,
        replaced=False,
        no_limit="no_limit" in kept,
        session=outcome.opened.session if isinstance(outcome, Complete) else None,
        cookies=cookies,
    )


@get("/password")
async def owed_password_form(request: Asking) -> Response[Any]:
    return await _step(request, Step.PASSWORD_CHANGE, "sign_in/new_password.html")


@post("/password")
async def owed_password(request: Asking) -> Response[str]:
    fields, target = await _step_form(request), return_to(request)
    try:
        outcome = await flow.change_password(
            world_of(request),
            origin_of(request),
            browser.pre_auth(request),
            fields.get("new_password", ""),
            PAGES,
        )
    except DoorwardError as fault:
        return await _again(request, "/sign-in/password", fault, target, **marked(fault))
    return await _go_on(request, outcome, target)


@get("/email-verification")
async def owed_verification_form(request: Asking) -> Response[Any]:
    return await _step(request, Step.EMAIL_VERIFICATION, "sign_in/email_verification.html")


@post("/email-verification")
async def owed_verification(request: Asking) -> Response[str]:
    target = return_to(request)
    await _step_form(request)
    try:
        outcome = await flow.verify_email(
            world_of(request), origin_of(request), browser.pre_auth(request), PAGES
        )
    except DoorwardError as fault:
        return await _again(request, "/sign-in/email-verification", fault, target)
    still_owed = not isinstance(outcome, Complete) and outcome.step is Step.EMAIL_VERIFICATION
    return await _go_on(request, outcome, target, notice={"code": "letter_sent"} if still_owed else None)


@get("/sign-out")
async def sign_out_address(request: Asking) -> Response[str]:
    """A link ends nothing: the account page has the button."""
    return go(request, HOME)


@post("/sign-out")
async def sign_out(request: Asking) -> Response[str]:
    """Ends this session, and takes its cookie away whatever became of it."""
    caller = await signed_in(request)
    await form_of(request, caller)
    await me_flow.end_session(world_of(request), origin_of(request), caller, caller.session)
    gone = browser.take(request, "session", "sign-in")
    return go(request, "/sign-in", {"code": "signed_out"}, cookies=gone)


async def _step(request: Asking, step: Step, template: str, more: Any = None) -> Response[Any]:
    """The page of a step, for a sign-in that owes it; another step's sign-in is sent to its own page."""
    world, target = world_of(request), return_to(request)
    try:
        pending: Pending = await flow.owed(world, browser.pre_auth(request), PAGES)
        if pending.step is not step:
            return go(request, carrying(_PAGES[pending.step], target))
        facts = await more() if more else {}
    except InvalidPreAuthToken as fault:
        return await _over(request, fault, target)
    bound_to = browser.pre_auth(request)
    facts |= {
        "email": pending.standing.email,
        "carried": carried(target),
        "elsewhere": target,
        "expires_in": ceil((pending.expires_at - world.clock.now()).total_seconds()),
        "trust_days": trust_flow.offered(world, pending),
    }
    return page(request, template, bound_to=bound_to, **facts)


async def _step_form(request: Asking) -> Mapping[str, str]:
    """The form of a step, bound to the sign-in under way: that of another tab's earlier sign-in must not
    act on whoever is signing in now."""
    return await form_of(request, bound_to=browser.pre_auth(request))


async def _is_confirmed(request: Asking, fields: Mapping[str, str]) -> bool:
    """Whether the set-up of a form that is sent again was done, by whoever this browser is signed in as."""
    with suppress(DoorwardError):
        known = await me_flow.overview(world_of(request), await signed_in(request))
        return id_of(fields) in {one.id for one in known.authenticators}
    return False


async def _again(request: Asking, path: str, fault: DoorwardError, target: str, **kept: str) -> Response[str]:
    """Back to the form; with a dead sign-in, to its beginning."""
    if isinstance(fault, InvalidPreAuthToken):
        return await _over(request, fault, target)
    return back(request, carrying(path, target), fault, **kept)


async def _over(request: Asking, fault: InvalidPreAuthToken, target: str) -> Response[str]:
    """To the beginning of a sign-in that is over, which knows whose it was. Of one that is done nothing is
    said: somebody went a page back, or sent its form twice."""
    email, is_done = browser.signing_in(request)
    if is_done:
        with suppress(InvalidToken):
            await signed_in(request)
            return go(request, carrying("/sign-in", target))
    if browser.open_notice(request).get("attempts_left") == 0:
        tried = {"code": "too_many_codes", "bad": True, **browser.typed(email)}
        return go(request, carrying("/sign-in", target), tried)
    return back(request, carrying("/sign-in", target), fault, **browser.typed(email))


async def _go_on(
    request: Asking,
    outcome: Outcome,
    target: str,
    email: str | None = None,
    notice: Mapping[str, Any] | None = None,
) -> Response[str]:
    """To the next step's page, or home with a session."""
    onward, cookies = await _onward(request, outcome, target, email)
    if outcome.backup_codes_left is not None:
        left = outcome.backup_codes_left
        notice = {"code": "backup_code_used", "left": left, "bad": left == 0, "warn": left <= 2}
        if onward.startswith("/continue"):
            onward = carrying("/sign-in/backup-code-used", target)
    return go(request, onward, notice, cookies=cookies)


async def _onward(
    request: Asking, outcome: Outcome, target: str, email: str | None = None
) -> tuple[str, Sequence[Cookie]]:
    email = browser.signing_in(request)[0] if email is None else email
    if not isinstance(outcome, Complete):
        token = browser.pre_auth_cookie(request, outcome.pre_auth_token, email)
        return carrying(_PAGES[outcome.step], target), [token]
    assert isinstance(outcome.opened, BrowserSession)  # the pages open no other
    await _leave_earlier(request)
    # The spent token's cookie stays: a form that is sent again is then known for what it is.
    spent = browser.pre_auth(request)
    kept = [browser.pre_auth_cookie(request, spent, email, done=True)] if spent else []
    if outcome.trust is not None:
        kept.append(browser.give(request, "trust", outcome.trust.token, seconds=outcome.trust.expires_in))
    return target, [*browser.renewed(request, Renewal(outcome.opened.cookie, outcome.device_token)), *kept]


async def _leave_earlier(request: Asking) -> None:
    """End the session that this browser had: its cookie is about to be replaced, and a session that nobody
    can reach any more would stay open until it is idle. It must not cost the new one."""
    with suppress(DoorwardError):
        earlier = await signed_in(request)
        await me_flow.end_session(world_of(request), origin_of(request), earlier, earlier.session)


@get("/enrolment/confirm")
async def confirmed(request: Asking) -> Response[str]:
    """Somebody went to the address of the codes: they are not kept anywhere."""
    return go(request, "/sign-in/enrolment")


router = Router(
    "/",
    route_handlers=[
        Router(
            "/sign-in",
            route_handlers=[
                form,
                password,
                second_factor_form,
                second_factor,
                backup_code_form,
                backup_code,
                backup_code_used,
                enrolment_form,
                start_enrolment,
                confirm_enrolment,
                confirmed,
                owed_password_form,
                owed_password,
                owed_verification_form,
                owed_verification,
            ],
        ),
        sign_out_address,
        sign_out,
    ],
    include_in_schema=False,
    exception_handlers={Exception: refused},
    request_max_body_size=MAX_BODY,
)
