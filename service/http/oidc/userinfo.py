"""`/oauth2/userinfo` (OpenID Connect Core 1.0 §5.3)."""

import json
from typing import Any

from litestar import Response, get, post

from service.errors import InsufficientScope, InvalidRequest, InvalidToken, Unavailable
from service.flows.oidc import userinfo as flow
from service.http.browser import Asking
from service.http.errors import oauth
from service.http.guards import MAX_BODY, bearer_of, world_of
from service.http.oidc.clients import form
from service.http.oidc.documented import BODY, answer, oauth_errors, takes_form

_TOLD = answer(dict[str, Any], "`sub`, and the claims of the scope")


@get(
    "/oauth2/userinfo",
    operation_id="userinfo",
    summary="Who the person is (OpenID Connect Core 1.0 §5.3)",
    responses=_TOLD | oauth_errors(InvalidToken, InsufficientScope, Unavailable),
    security=[{"bearer": []}],
    tags=["provider"],
    exception_handlers={Exception: oauth},
)
async def userinfo(request: Asking) -> Response[bytes]:
    return await _told(request, bearer_of(request))


@post(
    "/oauth2/userinfo",
    status_code=200,
    operation_id="userinfoByPost",
    summary="The same by a form, or with the header (RFC 6750 §2.2)",
    operation_class=takes_form({"access_token": "The token, where no header brings it"}),
    responses=_TOLD | oauth_errors(*BODY, InvalidToken, InsufficientScope, Unavailable),
    security=[{"bearer": []}],
    tags=["provider"],
    exception_handlers={Exception: oauth},
    request_max_body_size=MAX_BODY,
)
async def userinfo_by_post(request: Asking) -> Response[bytes]:
    """The token in the header or in the form (RFC 6750 §2.1, §2.2), never in both."""
    body = await request.body()
    in_form = (await form(request)).get("access_token") if body else None
    if in_form is None:
        return await _told(request, bearer_of(request))
    if request.headers.getall("authorization", []):
        raise InvalidRequest("the token comes by more than one way")
    return await _told(request, in_form)


async def _told(request: Asking, token: str | None) -> Response[bytes]:
    if token is None:
        raise InvalidToken("no bearer token")
    client, told = await flow.userinfo(world_of(request), token)
    request.scope["state"]["client"] = client
    return Response(json.dumps(told).encode(), media_type="application/json")
