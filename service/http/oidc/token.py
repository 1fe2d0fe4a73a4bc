"""`/oauth2/token`: the one door where clients prove themselves and get tokens (RFC 6749 §3.2)."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from litestar import Response, post

from service.errors import InvalidClient, InvalidRequest, UnsupportedMediaType
from service.flows.oidc import token as flow
from service.flows.oidc.token import Credentials
from service.http.browser import Asking
from service.http.errors import oauth
from service.http.guards import MAX_BODY, origin_of, world_of


@post(
    "/oauth2/token",
    status_code=200,
    include_in_schema=False,
    exception_handlers={Exception: oauth},
    request_max_body_size=MAX_BODY,
)
async def token(request: Asking) -> Response[bytes]:
    """Never cached (RFC 6749 §5.1)."""
    parameters = await form(request)
    issued = await flow.exchange(
        world_of(request), origin_of(request), credentials(request, parameters), parameters
    )
    body: dict[str, Any] = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "scope": issued.scope,
        "id_token": issued.id_token,
        "refresh_token": issued.refresh_token,
    }
    told = {name: value for name, value in body.items() if value is not None}
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    return Response(json.dumps(told).encode(), media_type="application/json", headers=headers)


async def form(request: Asking) -> Mapping[str, str]:
    """The parameters of a form, each of which may stand once (RFC 6749 §3.2)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType("not a form")
    try:
        pairs = parse_qsl(
            (await request.body()).decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64
        )
    except ValueError:
        raise InvalidRequest("not a form in UTF-8") from None
    if len({name for name, _ in pairs}) < len(pairs) or any("\0" in text for pair in pairs for text in pair):
        raise InvalidRequest("a parameter stands twice, or holds NUL")
    return {name: value for name, value in pairs if value}


def credentials(request: Asking, parameters: Mapping[str, str]) -> Credentials:
    """How the client says who it is, by one method only (RFC 6749 §2.3): two would let it be two."""
    headers = request.headers.getall("authorization", [])
    in_body = parameters.get("client_secret")
    if headers:
        if len(headers) > 1 or in_body is not None:
            raise InvalidRequest("more than one way of client authentication")
        basic = _basic(headers[0])
        if parameters.get("client_id", basic.client_id) != basic.client_id:
            raise InvalidRequest("client_id is another's than the header's")
        return basic
    method = "none" if in_body is None else "client_secret_post"
    return Credentials(method, parameters.get("client_id", ""), in_body)


def _basic(header: str) -> Credentials:
    """HTTP Basic, whose two halves are form-encoded first (RFC 6749 §2.3.1)."""
    scheme, _, encoded = header.partition(" ")
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except ValueError:
        raise InvalidClient("not HTTP Basic") from None
    if scheme.lower() != "basic" or not colon:
        raise InvalidClient("not HTTP Basic")
    return Credentials("client_secret_basic", unquote_plus(name), unquote_plus(secret))
