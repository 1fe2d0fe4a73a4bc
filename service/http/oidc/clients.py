"""What clients send to the endpoints that are for them alone: a form, and a proof of who they are."""

import base64
from collections.abc import Mapping
from urllib.parse import unquote_plus

from service.domain.oidc import assertions
from service.domain.oidc.clients import JWT_BEARER, Client
from service.errors import InvalidClient, InvalidRequest, UnsupportedMediaType
from service.flows.oidc import authentication
from service.flows.oidc.authentication import Credentials
from service.http.browser import Asking
from service.http.guards import is_form, pairs_of, world_of

_MOST_PARAMETERS = 64


async def form(request: Asking) -> Mapping[str, str]:
    """The parameters of a form, each of which may stand once (RFC 6749 §3.2)."""
    if not is_form(request):
        raise UnsupportedMediaType("not a form")
    pairs = pairs_of(await request.body(), _MOST_PARAMETERS)
    if len({name for name, _ in pairs}) < len(pairs):
        raise InvalidRequest("a parameter stands twice")
    return {name: value for name, value in pairs if value}


async def authenticated(
    request: Asking, parameters: Mapping[str, str], *, confidential: bool = False
) -> Client:
    """The client that asks, once it proved itself; with `confidential`, by something only it has."""
    prove = authentication.confidential if confidential else authentication.authenticated
    client = await prove(world_of(request), _credentials(request, parameters))
    request.scope["state"]["client"] = client.id
    return client


def _credentials(request: Asking, parameters: Mapping[str, str]) -> Credentials:
    """How the client says who it is, by one method only (RFC 6749 §2.3): two would let it be two."""
    headers = request.headers.getall("authorization", [])
    secret, assertion = parameters.get("client_secret"), parameters.get("client_assertion")
    kind = parameters.get("client_assertion_type")
    asserted = assertion is not None or kind is not None
    if len(headers) + (secret is not None) + asserted > 1:
        raise InvalidRequest("more than one way of client authentication")
    if headers:
        basic = _basic(headers[0])
        if parameters.get("client_id", basic.client_id) != basic.client_id:
            raise InvalidRequest("client_id is another's than the header's")
        return basic
    if asserted:
        if kind != JWT_BEARER or assertion is None:
            raise InvalidRequest("an assertion comes with its type, jwt-bearer")
        # It names the client itself; who sends both means the same one (RFC 7521 §4.2).
        named = parameters.get("client_id") or assertions.subject(assertion)
        return Credentials("private_key_jwt", named, assertion=assertion)
    return Credentials(
        "none" if secret is None else "client_secret_post", parameters.get("client_id", ""), secret
    )


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
