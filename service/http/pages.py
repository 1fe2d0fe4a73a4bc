"""HTML out: templates, the headers every page carries, what one answer tells the next page, and errors."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response, get
from litestar.datastructures import Cookie
from litestar.params import FromPath
from markupsafe import Markup

from service.domain.sessions import EndReason
from service.errors import (
    CATALOGUE,
    Conflict,
    CsrfFailed,
    DoorwardError,
    InvalidRequest,
    InvalidToken,
    NotFound,
    RateLimited,
    ReauthenticationRequired,
    SecondFactorBlocked,
    Unauthenticated,
)
from service.flows import sessions as session_flow
from service.flows.sessions import Caller
from service.http import browser
from service.http.api.documented import Parametrised, problems
from service.http.browser import Asking
from service.http.errors import fault_of
from service.http.guards import is_form, origin_of, pairs_of, world_of
from service.http.user_agent import agent_of

_HERE = Path(__file__).parent
_STYLE = (_HERE / "static" / "doorward.css").read_bytes()
_LEAVE = (_HERE / "static" / "leave.js").read_bytes()
_STYLE_VERSION = hashlib.sha256(_STYLE).hexdigest()[:12]
#: Where a person may be sent after a sign-in or a proof: our own pages. Anything else would lend our name
#: to whoever made the link.
_OWN_PAGE = re.compile(
    r"/account(?:/two-factor/(?:enable|backup-codes|disable))?(?:#[a-z-]+)?"
    r"|/continue\?request=dwa_[A-Za-z0-9_-]{43}"
    # Enrolment for a portal's request, which goes on after it.
    r"|/account/two-factor/enable\?return_to=/continue%3Frequest%3Ddwa_[A-Za-z0-9_-]{43}",
    re.ASCII,
)
HOME = "/account"
_WHY = {
    EndReason.SIGNED_OUT: "signed out",
    EndReason.IDLE: "not used for too long",
    EndReason.ABSOLUTE: "reached its longest life",
    EndReason.PASSWORD_CHANGED: "the password was changed",
    EndReason.TWO_FACTOR_CHANGED: "two-factor authentication was changed",
    EndReason.REFRESH_REUSE: "a copy of its token was used",
    EndReason.ADMIN: "ended by an administrator",
    EndReason.SESSION_LIMIT: "too many sessions",
    EndReason.USER_DISABLED: "the account was disabled",
    EndReason.SUPERSEDED: "superseded",
    EndReason.REVOKED: "ended from another device",
    EndReason.CODE_REUSE: "a sign-in code was used twice",
}

#: What a scope gives a third party, in the person's words.
_SCOPES = {
    "openid": "that it is you",
    "profile": "your name and language",
    "email": "your e-mail address",
    "phone": "your phone number",
    "address": "your postal address",
    "offline_access": "access while you are away",
}


def _wait(seconds: int) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")


def _device(user_agent: str) -> str:
    agent = agent_of(user_agent)
    return " on ".join(filter(None, [agent.browser, agent.os])) or "Unknown device"


_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "wait": _wait,
    "moment": _moment,
    "day": lambda text: datetime.fromisoformat(text).strftime("%Y-%m-%d"),
    "clock": lambda text: datetime.fromisoformat(text).strftime("%H:%M:%S"),
    "device": _device,
    "told_scope": lambda scope: _SCOPES.get(scope, scope),
    "why": lambda reason: _WHY[reason],
}


class _Notice(dict[str, Any]):
    """What the last answer wanted said: reads as attributes in a template, absent ones as nothing."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)


# A page out


def page(
    request: Asking,
    template: str,
    *,
    caller: Caller | None = None,
    bound_to: str = "",
    leaves: bool = False,
    status: int = 200,
    cookies: Sequence[Cookie] = (),
    **facts: Any,
) -> Response[str]:
    """Render a template for this browser. Its forms are bound to the caller's session, or to `bound_to`."""
    world = world_of(request)
    notice = _Notice(browser.open_notice(request))
    name, new = browser.browser_name(request)
    nonce = world.entropy.token(16).hex()
    text = _rendered(
        template,
        nonce=nonce,
        notice=notice,
        status=status,
        # Made when a form asks for it: a page that only says what is wrong must not need a key.
        csrf_field=lambda: Markup('<input type="hidden" name="csrf_token" value="{}">').format(
            browser.csrf_token(world, name, str(caller.session) if caller else bound_to)
        ),
        **facts,
    )
    given = [*cookies]
    if new:
        given.append(browser.give(request, "browser", name))
    if notice:
        given += browser.take(request, "notice")
    headers = {
        "Content-Security-Policy": _policy(nonce, leaves=leaves),
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if caller and not _is_of_a_portal(request):
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if notice.code == RateLimited.code:
        # Told where a machine looks for it as well.
        status, headers["Retry-After"] = RateLimited.status, str(notice.retry_after or 1)
    return Response(text, media_type="text/html", status_code=status, headers=headers, cookies=given)


def _rendered(template: str, *, nonce: str, **facts: Any) -> str:
    """A page's text. A page is of nobody and says nothing of the last answer unless `facts` tell."""
    known = {"person": None, "notice": _Notice(), "style_version": _STYLE_VERSION, "nonce": nonce}
    return _templates.get_template(template).render(known | facts)


#: Pages that a portal's request may lead over; of any other its address says nothing.
_ON_THE_WAY = ("/sign-in", "/account/reauthentication", "/account/two-factor/enable")


def _is_of_a_portal(request: Asking) -> bool:
    """Whether a page stands on the way back to a portal, which may have opened it in a popup and has to hear
    from it: a policy about openers would cut them apart for good (contract §6)."""
    path = request.scope["path"].rstrip("/")
    return path == "/continue" or (path.startswith(_ON_THE_WAY) and "/continue" in return_to(request))


def go(
    request: Asking, path: str, notice: Mapping[str, Any] | None = None, *, cookies: Sequence[Cookie] = ()
) -> Response[str]:
    """303 to one of our own pages, which says `notice` once."""
    given = [*cookies]
    if notice:
        name, new = browser.browser_name(request)
        if new:
            given.append(browser.give(request, "browser", name))
        sealed = browser.seal_notice(
            world_of(request), name, path.partition("?")[0].partition("#")[0], notice
        )
        given.append(browser.give(request, "notice", sealed, seconds=60))
    return Response("", media_type="text/html", status_code=303, headers={"Location": path}, cookies=given)


def back(request: Asking, path: str, fault: DoorwardError, **kept: str) -> Response[str]:
    """303 back to the form, which says what was wrong and keeps what was typed, but never a secret. What a
    form cannot mend is raised again."""
    if isinstance(fault, CsrfFailed | InvalidToken | ReauthenticationRequired) or not isinstance(
        fault, InvalidRequest | Unauthenticated | RateLimited | SecondFactorBlocked | Conflict | NotFound
    ):
        raise fault
    request.scope["state"]["outcome"] = {"code": fault.code, "reason": fault.private}
    said = {name: value for name, value in fault.public.items() if name != "limit"}
    return go(request, path, {"code": fault.code, "title": fault.title, "bad": True} | said | kept)


def return_to(request: Asking) -> str:
    """Where the person came from and goes when done; only ever one of our own pages."""
    wanted = request.query_params.get("return_to") or HOME
    return wanted if _OWN_PAGE.fullmatch(wanted) else HOME


def carrying(path: str, target: str) -> str:
    """A path of ours that remembers where the person goes when done."""
    return path + carried(target)


def carried(target: str) -> str:
    return "" if target == HOME else "?" + urlencode({"return_to": target}, quote_via=quote, safe="/")


def _policy(nonce: str, *, leaves: bool = False) -> str:
    """One stylesheet of ours and our own forms. A page that `leaves` by a form may send it elsewhere, by a
    script of ours."""
    only = f"script-src 'nonce-{nonce}'" if leaves else "form-action 'self'"
    return (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src 'self' data:; {only}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


# A form in


async def form_of(request: Asking, caller: Caller | None = None, bound_to: str = "") -> Mapping[str, str]:
    """The fields of one of our own forms. Raises CsrfFailed for whatever may come from elsewhere, and
    InvalidRequest for a body that two readers could understand differently."""
    if not is_form(request):
        raise CsrfFailed("not a form of ours")
    pairs = pairs_of(await request.body(), 32)
    fields = dict(pairs)
    browser.require_own(request, fields.pop("csrf_token", ""), str(caller.session) if caller else bound_to)
    if len(fields) + 1 < len(pairs):
        raise InvalidRequest("a field stands twice")
    return fields


async def signed_in(request: Asking) -> Caller:
    """Whose browser this is. Raises InvalidToken, which sends them to sign in."""
    cookie = browser.held(request, "session")
    if cookie is None:
        raise InvalidToken("no session cookie")
    return await session_flow.browser(world_of(request), origin_of(request), cookie)


# What went wrong


def refused(request: Asking, error: Exception) -> Response[Any]:
    """The handler of every exception on a page: to the sign-in, to a fresh proof, or a page that says so."""
    fault = fault_of(error)
    request.scope["state"]["outcome"] = {"code": fault.code, "reason": fault.private}
    if isinstance(fault, InvalidToken):
        # A cookie that no session has may be the one from before a renewal, whose answer is on its way: only
        # that of a session that ended is taken away.
        reason = fault.public.get("reason")
        notice = {"code": "session_ended", "reason": reason} if reason else None
        ended = browser.take(request, "session") if reason else ()
        return go(request, carrying("/sign-in", _here(request)), notice, cookies=ended)
    if isinstance(fault, ReauthenticationRequired):
        return go(request, carrying("/account/reauthentication", _here(request)))
    return error_page(request, fault)


def error_page(request: Asking, fault: DoorwardError) -> Response[str]:
    """A page for what no form can mend, with the request's id and a way on."""
    answer = page(
        request,
        "error.html",
        status=fault.status,
        heading=fault.title,
        detail=fault.detail,
        code=fault.code,
        retry_after=fault.retry_after,
        request_id=request.scope["state"]["request_id"],
        onward=HOME,
    )
    if fault.retry_after is not None:
        answer.headers["Retry-After"] = str(fault.retry_after)
    return answer


def _here(request: Asking) -> str:
    """The page a person wanted, or came from with a form."""
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    if request.method != "GET":
        try:
            _, _, path, query, _ = urlsplit(request.headers.get("referer", ""))
        except ValueError:
            path = HOME
    whole = f"{path}?{query}" if query else path
    return next((one for one in (whole, path) if _OWN_PAGE.fullmatch(one)), HOME)


def is_of_pages(request: Asking) -> bool:
    """Whether whoever asks for what is not there wants to read a page about it."""
    path, accepted = request.scope["path"], request.headers.get("accept", "")
    is_api = path.startswith(("/v1", "/oauth2", "/.well-known", "/openapi"))
    return not is_api and "text/html" in accepted


# Beside the journeys


@get("/static/doorward.css", include_in_schema=False, media_type="text/css")
async def style() -> Response[bytes]:
    """Its address changes with it, so that it may be kept for ever."""
    return Response(
        _STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=31536000, immutable"}
    )


@get("/static/leave.js", include_in_schema=False, media_type="text/javascript")
async def leave() -> Response[bytes]:
    return Response(_LEAVE, media_type="text/javascript", headers={"Cache-Control": "public, max-age=3600"})


@get("/", include_in_schema=False)
async def root(request: Asking) -> Response[str]:
    return go(request, HOME)


@get(
    "/errors/{code:str}",
    operation_id="errorPage",
    summary="What an error code means",
    media_type="text/html",
    operation_class=Parametrised,
    responses=problems(NotFound),
    tags=["errors"],
)
async def meaning(request: Asking, code: FromPath[str]) -> Response[str]:
    """The page behind a problem's `type`, the same for everyone."""
    error = CATALOGUE.get(code)
    if error is None:
        raise NotFound("no such code")
    nonce = world_of(request).entropy.token(16).hex()
    text = _rendered(
        "error.html",
        nonce=nonce,
        code=None,
        heading=f"{error.code} ({error.status})",
        detail=f"{error.title}. {error.detail}",
        retry_after=None,
        request_id=None,
        onward=None,
    )
    return Response(
        text,
        media_type="text/html",
        headers={"Content-Security-Policy": _policy(nonce), "Cache-Control": "public, max-age=300"},
    )
