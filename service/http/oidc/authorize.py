"""`/oauth2/authorize` and the page that leaves our origin again (RFC 6749 §4.1, contract §6)."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlencode

from litestar import Response, Router, get, post

from service.errors import InvalidRequest, InvalidToken
from service.flows import me as me_flow
from service.flows.oidc import authorize as flow
from service.flows.oidc.authorize import Answer, Begun, ConsentOwed, SignInOwed
from service.flows.sessions import Caller
from service.http import browser
from service.http.browser import Asking
from service.http.guards import MAX_BODY, origin_of, world_of
from service.http.pages import carrying, form_of, go, page, refused, signed_in

_MOST_PARAMETERS = 64


@get("/oauth2/authorize")
async def authorize(request: Asking) -> Response[Any]:
    """Keep what was asked, and go on with the sign-in. What is wrong goes back to the client, unless the
    client itself or its address is what is wrong: then it is a page."""
    name, new = browser.browser_name(request)
    begun = await flow.begin(world_of(request), name, _parameters(request.scope["query_string"]))
    if isinstance(begun, Answer):
        return _at_once(request, begun)
    cookies = [browser.give(request, "browser", name)] if new else []
    return go(request, _continue(begun), cookies=cookies)


@post("/oauth2/authorize")
async def authorize_by_form(request: Asking) -> Response[Any]:
    """A POST from another site brings none of our cookies: it becomes our own GET (contract §6)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidRequest("not a form")
    parameters = _parameters(await request.body())
    return go(request, "/oauth2/authorize?" + urlencode(parameters, doseq=True))


@get("/continue")
async def on(request: Asking) -> Response[Any]:
    """The next thing a request under way needs: the sign-in, the person's word, or the way back."""
    return await _on(request, None)


@post("/continue", status_code=200)
async def decide(request: Asking) -> Response[Any]:
    """What the person says to the client's wishes."""
    caller = await signed_in(request)
    fields = await form_of(request, caller)
    return await _on(request, fields.get("decision") == "allow")


async def _on(request: Asking, allowed: bool | None) -> Response[Any]:
    handle, caller = request.query_params.get("request", ""), await _caller(request)
    name = browser.held(request, "browser") or ""
    progress = await flow.go_on(world_of(request), origin_of(request), name, handle, caller, allowed=allowed)
    here = f"/continue?request={handle}"
    if isinstance(progress, Answer):
        return _leave(request, progress)
    if isinstance(progress, SignInOwed):
        notice = {"code": "sign_in_to_go_on", "username": progress.login_hint or ""}
        return go(request, carrying("/sign-in", here), notice)
    person = (await me_flow.overview(world_of(request), caller)).person if caller else None
    if isinstance(progress, ConsentOwed):
        facts: dict[str, Any] = {"client": progress.client, "scopes": progress.scopes, "here": here}
        return page(request, "consent.html", caller=caller, person=person, **facts)
    return page(request, "answered.html", caller=caller, person=person)


async def _caller(request: Asking) -> Caller | None:
    try:
        return await signed_in(request)
    except InvalidToken:
        return None


def _at_once(request: Asking, answer: Answer) -> Response[Any]:
    """A refusal before anything was shown: 303 to the client, or the form that carries it."""
    if answer.response_mode == "form_post":
        return _leave(request, answer)
    return Response("", status_code=303, media_type="text/html", headers={"Location": _address(answer)})


def _leave(request: Asking, answer: Answer) -> Response[str]:
    """The way out of our origin. A redirect that starts at a form is blocked by `form-action 'self'`,
    whatever the portal does after its callback: so the page is our own, and refreshes to the client."""
    if answer.response_mode == "form_post":
        # The one page without `form-action`: its form goes to the proved address, and nowhere else.
        facts: dict[str, Any] = {"address": answer.redirect_uri, "fields": answer.parameters}
        return page(request, "form_post.html", leaves=True, **facts)
    return page(request, "continue.html", address=_address(answer))


def _address(answer: Answer) -> str:
    """The redirect URI with the answer in its query, beside whatever its own query holds."""
    joined = "&" if "?" in answer.redirect_uri else "?"
    return answer.redirect_uri + joined + urlencode(answer.parameters)


def _continue(begun: Begun) -> str:
    return f"/continue?request={begun.handle}"


def _parameters(query: bytes) -> Mapping[str, Sequence[str]]:
    """The parameters by name, each with all its values. Raises InvalidRequest for what is no text."""
    try:
        found = parse_qs(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:
        raise InvalidRequest("not a query in UTF-8") from None
    if any("\0" in text for values in found.values() for text in values):
        raise InvalidRequest("NUL in a parameter")
    return found


router = Router(
    "/",
    route_handlers=[authorize, authorize_by_form, on, decide],
    include_in_schema=False,
    exception_handlers={Exception: refused},
    request_max_body_size=MAX_BODY,
)
