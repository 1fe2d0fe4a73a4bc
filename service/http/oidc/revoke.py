"""`/oauth2/revoke` (RFC 7009)."""

from litestar import Response, post

from service.errors import InvalidRequest, UnsupportedTokenType
from service.flows.oidc import revoke as flow
from service.http.browser import Asking
from service.http.errors import oauth
from service.http.guards import MAX_BODY, origin_of, world_of
from service.http.oidc.clients import authenticated, form
from service.http.oidc.documented import CLIENT, FORM, TOKEN, answer, oauth_errors, takes_form
from service.http.oidc.token import NEVER_KEPT


@post(
    "/oauth2/revoke",
    status_code=200,
    operation_id="revoke",
    summary="Give back a token, and the grant it belongs to (RFC 7009)",
    operation_class=takes_form(TOKEN | CLIENT, required=["token"]),
    responses=answer(None, "Ended, or never there") | oauth_errors(*FORM, UnsupportedTokenType),
    tags=["provider"],
    exception_handlers={Exception: oauth},
    request_max_body_size=MAX_BODY,
)
async def revoke(request: Asking) -> Response[bytes]:
    """The same answer for what is unknown, ended, or another's (§2.2)."""
    parameters = await form(request)
    client = await authenticated(request, parameters)
    if "token" not in parameters:
        raise InvalidRequest("no token")
    await flow.revoke(world_of(request), origin_of(request), client, parameters["token"])
    return Response(b"", media_type="text/plain", headers=NEVER_KEPT)
