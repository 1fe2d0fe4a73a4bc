"""`/oauth2/logout`: a portal sends somebody to sign out (OpenID Connect RP-Initiated Logout 1.0)."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from litestar import Response, Router, get, post

from service.errors import InvalidRequest
from service.flows import me as me_flow
from service.flows.oidc import logout as flow
from service.flows.oidc.logout import Ask, Left
from service.http import brand, browser
from service.http.browser import Asking
from service.http.guards import MAX_BODY, is_form, origin_of, world_of
from service.http.oidc.authorize import caller_of, is_of_app, parameters_of
from service.http.oidc.documented import page_answers, takes_form, takes_query
from service.http.pages import form_of, go, page, refused, signed_in

_SIGNED_OUT = "/signed-out"
_PARAMETERS: Mapping[str, str] = {
    "id_token_hint": "An ID token the client got, expired or not",
    "client_id": "The client, where no hint tells it",
    "post_logout_redirect_uri": "One of the client's own, character by character",
    "state": "Comes back unchanged",
    "logout_hint": "Ignored: the browser's session tells who it is",
    "ui_locales": "Languages of the pages, the liked ones first",
}


@get(
    "/oauth2/logout",
    operation_id="endSessionByPortal",
    summary="Sign somebody out (OpenID Connect RP-Initiated Logout 1.0 §2)",
    operation_class=takes_query(_PARAMETERS),
    responses=page_answers(),
    tags=["provider"],
)
async def logout(request: Asking) -> Response[Any]:
    """At once with a hint of whoever is signed in; anybody else is asked first."""
    caller, asked = await caller_of(request), parameters_of(request.scope["query_string"])
    verdict = await flow.begin(world_of(request), origin_of(request), caller, asked)
    if isinstance(verdict, Ask):
        assert caller is not None  # nobody else is asked
        person = (await me_flow.overview(world_of(request), caller)).person
        kept = {name: asked[name][0] for name in flow.CARRIED if name in asked}
        if verdict.client is not None:
            # The hint told it, and proves nothing on our own form.
            kept["client_id"] = verdict.client.id
            brand.take(request, verdict.client)
        facts: dict[str, Any] = {
            "client": verdict.client,
            "email": person.email,
            "carried": "?" + urlencode(kept) if kept else "",
        }
        return page(request, "oidc/logout.html", caller=caller, **facts)
    # Where nobody was signed in nothing is taken: a link must not break off a sign-in under way.
    ended = browser.take(request, "session", "sign-in") if caller else []
    if verdict.address is not None:
        headers = {"Location": verdict.address}
        return Response("", status_code=303, media_type="text/html", headers=headers, cookies=ended)
    return go(request, _SIGNED_OUT, _told(verdict, has_ended=caller is not None), cookies=ended)


@post(
    "/oauth2/logout",
    operation_id="endSessionByPortalsForm",
    summary="The same by a form",
    operation_class=takes_form(_PARAMETERS),
    responses=page_answers(),
    tags=["provider"],
)
async def logout_by_form(request: Asking) -> Response[Any]:
    """A POST from another site brings none of our cookies: it becomes our own GET (contract §6)."""
    body = await request.body()
    if body and not is_form(request):
        raise InvalidRequest("not a form")
    return go(request, "/oauth2/logout?" + urlencode(parameters_of(body), doseq=True))


@post("/oauth2/logout/confirm", include_in_schema=False)
async def confirm(request: Asking) -> Response[Any]:
    """What the person said on our page. The address is judged again: a form is no proof of it."""
    caller = await signed_in(request)
    await form_of(request, caller)
    asked = parameters_of(request.scope["query_string"])
    left = await flow.confirm(world_of(request), origin_of(request), caller, asked)
    gone = browser.take(request, "session", "sign-in")
    return go(request, _SIGNED_OUT, _told(left, has_ended=True), cookies=gone)


@get(_SIGNED_OUT, include_in_schema=False)
async def signed_out(request: Asking) -> Response[str]:
    """The end, or the way back to the portal that asked: only the answer before it can say where to."""
    address = browser.open_notice(request).get("address")
    if address is not None:
        # A form led here, whose policy would block a redirect to the portal.
        return page(request, "oidc/continue.html", address=address, is_app=is_of_app(address))
    return page(request, "oidc/signed_out.html")


def _told(left: Left, *, has_ended: bool) -> Mapping[str, Any]:
    """What the last page is told: where to go on to, or who asked, where they are, and whether anything ended
    by it: a link names whatever client it likes, and must not make our page say what did not happen."""
    notice: dict[str, Any] = {"code": "signed_out"}
    if left.address is not None:
        return notice | {"address": left.address}
    if left.client is not None:
        told = {"client": left.client.name, "home": left.client.client_uri or "", "has_ended": has_ended}
        return notice | told
    return notice


router = Router(
    "/",
    route_handlers=[logout, logout_by_form, confirm, signed_out],
    exception_handlers={Exception: refused},
    request_max_body_size=MAX_BODY,
)
