"""HTML out: templates, the headers every page carries, what one answer tells the next page, and errors."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from litestar import Response, get
from litestar.datastructures import Cookie
from litestar.params import FromPath
from markupsafe import Markup

from service.errors import (
    CATALOGUE,
    Conflict,
    CsrfFailed,
    DoorwardError,
    InternalError,
    InvalidRequest,
    InvalidToken,
    NotFound,
    RateLimited,
    ReauthenticationRequired,
    SecondFactorBlocked,
    Unauthenticated,
    Unavailable,
)
from service.flows import sessions as session_flow
from service.flows.sessions import Caller
from service.http import browser, language
from service.http.api.documented import Parametrised, problems
from service.http.brand import on_the_way
from service.http.browser import Asking
from service.http.errors import allowed, fault_of
from service.http.guards import is_form, origin_of, pairs_of, world_of
from service.http.language import Language
from service.http.rendering import Notice, rendered

#: Where a person may be sent after a sign-in or a proof: our own pages. Anything else would lend our name
#: to whoever made the link.
_OWN_PAGE = re.compile(
    r"/account(?:/two-factor/(?:enable|backup-codes|disable))?(?:#[a-z-]+)?"
    r"|/continue\?request=dwa_[A-Za-z0-9_-]{43}"
    # Enrolment for a portal's request, which goes on after it.
    r"|/account/two-factor/enable\?return_to=/continue%3Frequest%3Ddwa_[A-Za-z0-9_-]{43}"
    # A list of people with its filters, and one of them.
    r"|/admin/users(?:\?[A-Za-z0-9_=&%.+~*-]{0,1000}|/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?",
    re.ASCII,
)
HOME = "/account"
_OWN_PATH = re.compile(r"/[A-Za-z0-9]", re.ASCII)

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
    notice = Notice(browser.open_notice(request))
    name, new = browser.browser_name(request)
    nonce = world.entropy.token(16).hex()
    told_in, chosen = reader(request)
    text = rendered(
        template,
        told_in,
        nonce,
        notice=notice,
        status=status,
        # Made when a form asks for it: a page that only says what is wrong must not need a key.
        csrf_field=lambda: Markup('<input type="hidden" name="csrf_token" value="{}">').format(
            browser.csrf_token(world, name, str(caller.session) if caller else bound_to)
        ),
        **_around(request, status),
        **facts,
    )
    given = [*cookies, *chosen]
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
    if notice.code in (RateLimited.code, Unavailable.code):
        # Told where a machine looks for it as well.
        status, headers["Retry-After"] = CATALOGUE[notice.code].status, str(notice.retry_after or 1)
    return Response(text, media_type="text/html", status_code=status, headers=headers, cookies=given)


def reader(request: Asking) -> tuple[Language, Sequence[Cookie]]:
    """The language of whoever reads, and the cookie that keeps it where they asked for it by name. Where the
    browser keeps none, it is what the page has found out of its person."""
    tag, asked = language.chosen(
        request.query_params.get("ui_locales", ""),
        browser.held(request, "language") or request.scope["state"].get("language", ""),
        request.headers.get("accept-language", ""),
        pseudo=world_of(request).settings.dev,
    )
    return language.language(tag), [browser.keep_language(request, tag)] if asked else []


#: The parameters that stay when somebody changes the language: those of every page, and those of some. What
#: else whoever made a link wrote into it is not repeated.
_KEPT = ("return_to", "request")
_FILTERS = {
    "/account": ("result", "since", "until", "address", "before", "sessions"),
    "/admin/users": ("two_factor", "status", "q", "sort", "cursor"),
}


def _around(request: Asking, status: int = 200) -> dict[str, Any]:
    """What stands around every page: the product, its links, and the way to this page in other languages."""
    settings, path = world_of(request).settings.pages, request.scope["path"]
    asked = request.query_params
    kept = {name: asked[name] for name in (*_KEPT, *_FILTERS.get(path, ())) if name in asked}
    return {
        "path": path,
        "product": settings.name,
        "brand": on_the_way(request),
        "links": {
            # On the way to a portal help is a detour, and no way out.
            "help": settings.help_uri or carrying("/help", return_to(request)),
            "privacy": settings.privacy_uri,
            "terms": settings.terms_uri,
        },
        "support_email": settings.support_email,
        # What answers a form or a portal, or says what is wrong, is no page that can be asked for again.
        "switches": {tag: f"{path}?{urlencode(kept | {'ui_locales': tag})}" for tag in language.LANGUAGES}
        if request.method == "GET" and status == 200 and not path.startswith("/oauth2")
        else {},
    }


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
    if isinstance(
        fault, CsrfFailed | InvalidToken | ReauthenticationRequired | InternalError
    ) or not isinstance(
        fault,
        InvalidRequest
        | Unauthenticated
        | RateLimited
        | SecondFactorBlocked
        | Conflict
        | NotFound
        | Unavailable,
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
    """One style sheet and scripts of ours, and our own forms. A page that `leaves` by a form may send it
    elsewhere."""
    forms = "" if leaves else "form-action 'self'; "
    return (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src 'self' data:; "
        f"{forms}base-uri 'none'; frame-ancestors 'none'"
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
        return go(request, carrying("/sign-in", asked_for(request)), notice, cookies=ended)
    if isinstance(fault, ReauthenticationRequired):
        return go(request, carrying("/account/reauthentication", asked_for(request)))
    answer = without_cookies(request, fault) or error_page(request, fault)
    answer.headers |= allowed(error)
    return answer


def without_cookies(request: Asking, fault: DoorwardError) -> Response[str] | None:
    """A page about cookies, for whoever comes from our own page without any of ours, or on the way from a
    portal: their browser keeps none, and to begin again would only lead here again. Else nothing."""
    if browser.held(request, "browser") is not None:
        return None
    is_refused = isinstance(fault, CsrfFailed) and browser.is_from_us(request)
    if not is_refused and not (isinstance(fault, InvalidRequest) and request.scope["path"] == "/continue"):
        return None
    told = {"code": fault.code, "request_id": request.scope["state"]["request_id"]}
    onward = carrying("/sign-in", return_to(request)) if is_refused else "/sign-in"
    return page(request, "sign_in/cookies.html", status=fault.status, onward=onward, **told)


def error_page(request: Asking, fault: DoorwardError) -> Response[str]:
    """A page for what no form can mend, with the request's id and a way on."""
    answer = page(
        request,
        "error.html",
        status=fault.status,
        heading=fault.title,
        title=None,
        detail=fault.detail,
        code=fault.code,
        retry_after=fault.retry_after,
        request_id=request.scope["state"]["request_id"],
        again=_again(request),
        back=_way_back(request),
        # What the log says of it: for whoever builds a portal against `doorward dev`.
        hint=fault.private if world_of(request).settings.dev else None,
    )
    if fault.retry_after is not None:
        answer.headers["Retry-After"] = str(fault.retry_after)
    return answer


def _again(request: Asking) -> str | None:
    """The address of this page, where it can be asked for again. One that a browser could read as another
    host's is none."""
    path, query = quote(request.scope["path"]), request.scope["query_string"].decode("latin-1")
    if request.method != "GET" or not _OWN_PATH.match(path):
        return None
    return f"{path}?{query}" if query else path


def _way_back(request: Asking) -> tuple[str, str]:
    """Where a person can go from a page that says what is wrong, and what is there: the beginning of a
    sign-in, the portal they came from, or a page of their account."""
    brand = on_the_way(request)
    if request.scope["path"].startswith("/sign-in"):
        return "sign_in", carrying("/sign-in", return_to(request))
    if brand is not None and brand.client_uri is not None:
        return "portal", brand.client_uri
    # Of a page that cannot be shown the address is no way on; of a form that failed the page it stands on is.
    came_from = HOME if brand is not None or request.method == "GET" else asked_for(request)
    return "account", came_from if came_from.startswith(HOME) else HOME


def asked_for(request: Asking) -> str:
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
    """The page behind a problem's `type`: it depends on nothing but the language of its reader."""
    error = CATALOGUE.get(code)
    if error is None:
        raise NotFound("no such code")
    nonce, (told_in, _) = world_of(request).entropy.token(16).hex(), reader(request)
    text = rendered(
        "error.html",
        told_in,
        nonce,
        **_around(request),
        code=None,
        heading=f"{error.code} ({error.status})",
        title=error.title,
        detail=error.detail,
        retry_after=None,
        request_id=None,
        again=None,
        back=None,
        hint=None,
    )
    return Response(
        text,
        media_type="text/html",
        headers={"Content-Security-Policy": _policy(nonce), "Cache-Control": "private, no-cache"},
    )
