"""`/oauth2/par`: a request that a client pushes by itself (RFC 9126)."""

import json

from litestar import Response, post

from service.flows.oidc import par as flow
from service.http.browser import Asking
from service.http.errors import oauth
from service.http.guards import MAX_BODY, world_of
from service.http.oidc.authorize import PARAMETERS, require_short
from service.http.oidc.clients import authenticated, form
from service.http.oidc.documented import CLIENT, FORM, PushedRequest, answer, oauth_errors, takes_form
from service.http.oidc.token import NEVER_KEPT

#: What proves the client and is no part of what it asks for.
_PROOFS = ("client_secret", "client_assertion", "client_assertion_type")


@post(
    "/oauth2/par",
    status_code=201,
    operation_id="pushAuthorizationRequest",
    summary="Push an authorization request (RFC 9126)",
    operation_class=takes_form(PARAMETERS | CLIENT, required=["response_type", "redirect_uri", "scope"]),
    responses=answer(PushedRequest, "Its handle, for one use", 201) | oauth_errors(*FORM),
    tags=["provider"],
    exception_handlers={Exception: oauth},
    request_max_body_size=MAX_BODY,
)
async def par(request: Asking) -> Response[bytes]:
    """What would be refused at the authorization endpoint is refused here, with the same `error`."""
    parameters = await form(request)
    client = await authenticated(request, parameters)
    asked = {name: [value] for name, value in parameters.items() if name not in _PROOFS}
    require_short(asked)
    pushed = await flow.push(world_of(request), client, asked)
    body = {"request_uri": pushed.request_uri, "expires_in": pushed.expires_in}
    return Response(json.dumps(body).encode(), media_type="application/json", headers=NEVER_KEPT)
