"""`/oauth2/token`: the one door where clients get tokens (RFC 6749 §3.2)."""

import json
from typing import Any

from litestar import Response, post

from service.errors import InvalidGrant, InvalidScope, UnauthorizedClient, UnsupportedGrantType
from service.flows.oidc import token as flow
from service.http.browser import Asking
from service.http.errors import oauth
from service.http.guards import MAX_BODY, origin_of, world_of
from service.http.oidc.clients import authenticated, form
from service.http.oidc.documented import CLIENT, FORM, TokenAnswer, answer, oauth_errors, takes_form

#: RFC 6749 §5.1.
NEVER_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_FIELDS = {
    "grant_type": "authorization_code, refresh_token or client_credentials",
    "code": "authorization_code: the code",
    "redirect_uri": "authorization_code: that of the request",
    "code_verifier": "authorization_code: the verifier of its PKCE challenge",
    "refresh_token": "refresh_token: the latest one",
    "scope": "refresh_token and client_credentials: less than what was, or may be, granted",
}


@post(
    "/oauth2/token",
    status_code=200,
    operation_id="token",
    summary="Exchange a grant for tokens",
    operation_class=takes_form(_FIELDS | CLIENT, required=["grant_type"]),
    responses=answer(TokenAnswer, "Tokens")
    | oauth_errors(*FORM, UnauthorizedClient, UnsupportedGrantType, InvalidGrant, InvalidScope),
    tags=["provider"],
    exception_handlers={Exception: oauth},
    request_max_body_size=MAX_BODY,
)
async def token(request: Asking) -> Response[bytes]:
    parameters = await form(request)
    client = await authenticated(request, parameters)
    issued = await flow.exchange(world_of(request), origin_of(request), client, parameters)
    body: dict[str, Any] = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "scope": issued.scope,
        "id_token": issued.id_token,
        "refresh_token": issued.refresh_token,
    }
    told = {name: value for name, value in body.items() if value is not None}
    return Response(json.dumps(told).encode(), media_type="application/json", headers=NEVER_KEPT)
