"""`/oauth2/introspect` (RFC 7662)."""

import json
from typing import Any

from litestar import Response, post

from service.errors import InvalidRequest
from service.flows.oidc import introspect as flow
from service.http.browser import Asking
from service.http.errors import oauth
from service.http.guards import MAX_BODY, world_of
from service.http.oidc.clients import authenticated, form
from service.http.oidc.documented import CLIENT, FORM, TOKEN, answer, oauth_errors, takes_form
from service.http.oidc.token import NEVER_KEPT


@post(
    "/oauth2/introspect",
    status_code=200,
    operation_id="introspect",
    summary="What a token is worth right now (RFC 7662)",
    operation_class=takes_form(TOKEN | CLIENT, required=["token"]),
    responses=answer(dict[str, Any], "`active`, and of an active token its members") | oauth_errors(*FORM),
    tags=["provider"],
    exception_handlers={Exception: oauth},
    request_max_body_size=MAX_BODY,
)
async def introspect(request: Asking) -> Response[bytes]:
    """For confidential clients; of a token that is neither theirs nor for them they hear `active: false`."""
    parameters = await form(request)
    client = await authenticated(request, parameters, confidential=True)
    if "token" not in parameters:
        raise InvalidRequest("no token")
    told = await flow.introspect(world_of(request), client, parameters["token"])
    return Response(json.dumps(told).encode(), media_type="application/json", headers=NEVER_KEPT)
