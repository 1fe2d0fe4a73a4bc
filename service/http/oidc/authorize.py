"""`/oauth2/authorize` and the page that leaves our origin again (RFC 6749 §4.1, contract §6)."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args
from urllib.parse import urlencode

from litestar import Response, Router, get, post

from service.domain.oidc.addresses import with_query
from service.domain.oidc.progress import Decision, Owed
from service.errors import InvalidRequest, InvalidToken
from service.flows import me as me_flow
from service.flows.oidc import authorize as flow
from service.flows.oidc.authorize import Answer, Progress, Waiting
from service.flows.sessions import Caller
from service.http import browser
from service.http.browser import Asking
from service.http.guards import MAX_BODY, is_form, origin_of, pairs_of, world_of
from service.http.oidc.documented import page_answers, takes_form, takes_query
from service.http.pages import carrying, form_of, go, page, reader, refused, signed_in

_MOST_PARAMETERS, _MOST_CHARACTERS = 64, 8192
#: Where the person goes for what is owed; the others are pages of their own at `/continue`.
_ELSEWHERE: Mapping[Owed, str] = {
    Owed.SIGN_IN: "/sign-in",
    Owed.REAUTHENTICATION: "/account/reauthentication",
    Owed.ENROLMENT: "/account/two-factor/enable",
}
#: The parameters of a request, as the documentation tells them.
PARAMETERS: dict[str, str] = {
    "client_id": "The client",
    "redirect_uri": "One of its own, character by character",
    "response_type": "code",
    "scope": "Holds openid",
    "state": "Comes back unchanged",
    "nonce": "Stands in the ID token",
    "code_challenge": "PKCE: SHA-256 of the verifier in base64url",
    "code_challenge_method": "S256",
    "response_mode": "query or form_post",
    "prompt": "none, login, consent, select_account",
    "max_age": "How old the sign-in may be, seconds",
    "acr_values": "urn:doorward:acr:1fa, urn:doorward:acr:2fa",
    "id_token_hint": "About whom the answer has to be",
    "login_hint": "The address in the form",
    "ui_locales": "Languages of the pages, the liked ones first: en, de, ru, zh",
    "claims": "OpenID Connect Core 1.0 §5.5",
}


@get(
    "/oauth2/authorize",
    operation_id="authorize",
    summary="Send somebody to sign in (RFC 6749 §4.1.1, OpenID Connect Core 1.0 §3.1.2.1)",
    operation_class=takes_query(
        PARAMETERS | {"request_uri": "What a pushed request got, in place of all the others"},
        required=["client_id"],
    ),
    responses=page_answers(),
    tags=["provider"],
)
async def authorize(request: Asking) -> Response[Any]:
    """Keep what was asked, and go on with the sign-in. What is wrong goes back to the client, unless the
    client itself or its address is what is wrong: then it is a page."""
    name, new = browser.browser_name(request)
    begun = await flow.begin(world_of(request), name, parameters_of(request.scope["query_string"]))
    if isinstance(begun, Answer):
        return _at_once(request, begun)
    if begun.silent:
        # Nothing may be shown, and nothing of ours would be in an iframe: the answer is the redirect itself.
        caller = await caller_of(request)
        progress = await flow.go_on(world_of(request), origin_of(request), name, begun.handle, caller)
        assert isinstance(progress, Answer)  # a silent request owes nothing to anybody
        return _at_once(request, progress)
    cookies = [browser.give(request, "browser", name)] if new else []
    return go(request, _here(begun.handle), cookies=[*cookies, *reader(request)[1]])


@post(
    "/oauth2/authorize",
    operation_id="authorizeByForm",
    summary="The same by a form (OpenID Connect Core 1.0 §3.1.2.1)",
    operation_class=takes_form(PARAMETERS, required=["client_id"]),
    responses=page_answers(),
    tags=["provider"],
)
async def authorize_by_form(request: Asking) -> Response[Any]:
    """A POST from another site brings none of our cookies: it becomes our own GET (contract §6)."""
    if not is_form(request):
        raise InvalidRequest("not a form")
    parameters = parameters_of(await request.body())
    return go(request, "/oauth2/authorize?" + urlencode(parameters, doseq=True))


@get("/continue", include_in_schema=False)
async def on(request: Asking) -> Response[Any]:
    """The next thing a request under way needs: the sign-in, the person's word, or the way back."""
    handle, caller = request.query_params.get("request", ""), await caller_of(request)
    name = browser.held(request, "browser") or ""
    progress = await flow.go_on(world_of(request), origin_of(request), name, handle, caller)
    return await _next(request, progress, handle, caller)


@post("/continue", include_in_schema=False)
async def decide(request: Asking) -> Response[Any]:
    """What the person says; what comes of it is the next page's, so that a reload says nothing twice."""
    caller, handle = await signed_in(request), request.query_params.get("request", "")
    fields, name = await form_of(request, caller), browser.held(request, "browser") or ""
    decision = next((one for one in get_args(Decision) if one == fields.get("decision")), None)
    if decision is None:
        raise InvalidRequest("no decision")
    shown = fields.get("scope", "").split()
    await flow.decide(world_of(request), name, handle, caller, decision, shown)
    return go(request, _here(handle))


async def _next(request: Asking, progress: Progress, handle: str, caller: Caller | None) -> Response[Any]:
    if isinstance(progress, Answer):
        return _leave(request, progress)
    if isinstance(progress, Waiting) and progress.owed in _ELSEWHERE:
        # Whoever is signed in was not the one who is wanted: to go on as they are would lead here again.
        code = "another_account_wanted" if progress.somebody else "sign_in_to_go_on"
        # In bytes, as the cookie that carries it is measured.
        hint = (progress.login_hint or "").encode()[:320].decode(errors="ignore")
        notice = {"code": code, "username": hint} if progress.owed is Owed.SIGN_IN else None
        return go(request, carrying(_ELSEWHERE[progress.owed], _here(handle)), notice)
    person = (await me_flow.overview(world_of(request), caller)).person if caller else None
    if not isinstance(progress, Waiting):
        return page(request, "oidc/answered.html", caller=caller, person=person)
    template = "oidc/consent.html" if progress.owed is Owed.CONSENT else "oidc/select_account.html"
    facts: dict[str, Any] = {
        "client": progress.client,
        "scopes": progress.scopes,
        "here": _here(handle),
        "another": carrying("/sign-in", _here(handle)),
    }
    return page(request, template, caller=caller, person=person, **facts)


async def caller_of(request: Asking) -> Caller | None:
    try:
        return await signed_in(request)
    except InvalidToken:
        return None


def _at_once(request: Asking, answer: Answer) -> Response[Any]:
    """An answer before anything was shown: 303 to the client, or the form that carries it."""
    if answer.response_mode == "form_post":
        return _leave(request, answer)
    return Response(
        "",
        status_code=303,
        media_type="text/html",
        headers={"Location": with_query(answer.redirect_uri, answer.parameters)},
    )


def _leave(request: Asking, answer: Answer) -> Response[str]:
    """The way out of our origin. A redirect that starts at a form is blocked by `form-action 'self'`,
    whatever the portal does after its callback: so the page is our own, and refreshes to the client."""
    if answer.response_mode == "form_post":
        # The one page without `form-action`: its form goes to the proved address, and nowhere else.
        facts: dict[str, Any] = {"address": answer.redirect_uri, "fields": answer.parameters}
        return page(request, "oidc/form_post.html", leaves=True, **facts)
    address = with_query(answer.redirect_uri, answer.parameters)
    return page(request, "oidc/continue.html", address=address, is_app=is_of_app(address))


def is_of_app(address: str) -> bool:
    """Whether an address opens an app on the device, which browsers may want a press of a button for."""
    return not address.startswith(("https:", "http:"))


def _here(handle: str) -> str:
    return "/continue?" + urlencode({"request": handle})


def parameters_of(encoded: bytes) -> Mapping[str, Sequence[str]]:
    """The parameters by name, each with all its values. Raises InvalidRequest for too many, or too long."""
    found: dict[str, list[str]] = {}
    for name, value in pairs_of(encoded, _MOST_PARAMETERS):
        found.setdefault(name, []).append(value)
    require_short(found)
    return found


def require_short(parameters: Mapping[str, Sequence[str]]) -> None:
    """Refuse parameters that are too long (InvalidRequest): encoded, as they travel in an address of ours,
    which proxies cut; and anybody can have a request kept."""
    if len(urlencode(parameters, doseq=True)) > _MOST_CHARACTERS:
        raise InvalidRequest("the parameters are too long")


router = Router(
    "/",
    route_handlers=[authorize, authorize_by_form, on, decide],
    exception_handlers={Exception: refused},
    request_max_body_size=MAX_BODY,
)
