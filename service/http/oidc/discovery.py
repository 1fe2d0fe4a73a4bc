"""What a resource server needs to check our tokens offline: the metadata and the public keys."""

import json
from typing import Any, TypedDict

from litestar import Response, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec

from service.domain.oidc.claims import BY_SCOPE
from service.domain.oidc.clients import ASSERTION_ALGORITHMS, OF_A_PERSON
from service.errors import Unavailable
from service.http.api.documented import problems
from service.keyring import JWKS_MAX_AGE

#: A new signing key waits this long, and a margin, before it signs: see flows/keys.py.
_CACHE = {"Cache-Control": f"public, max-age={int(JWKS_MAX_AGE.total_seconds())}"}
#: The answers are bytes that are made once; this says what is in them.
_METADATA = {200: ResponseSpec(dict[str, Any], generate_examples=False, description="The metadata")}


_CONFIDENTIAL = ["client_secret_basic", "client_secret_post", "private_key_jwt"]


class Jwks(TypedDict):
    keys: list[dict[str, str]]


@get(
    "/.well-known/openid-configuration",
    operation_id="openidConfiguration",
    summary="The provider's metadata (OpenID Connect Discovery 1.0 §4)",
    responses=_METADATA,
    tags=["provider"],
)
async def openid_configuration(state: State) -> Response[bytes]:
    return _metadata(state)


@get(
    "/.well-known/oauth-authorization-server",
    operation_id="authorizationServerMetadata",
    summary="The same metadata by its OAuth name (RFC 8414)",
    responses=_METADATA,
    tags=["provider"],
)
async def authorization_server(state: State) -> Response[bytes]:
    return _metadata(state)


def _metadata(state: State) -> Response[bytes]:
    """What there is, and no more: a claim that is not true breaks whoever believes it."""
    issuer = state.world.settings.issuer
    document = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth2/authorize",
        "token_endpoint": f"{issuer}/oauth2/token",
        "userinfo_endpoint": f"{issuer}/oauth2/userinfo",
        "introspection_endpoint": f"{issuer}/oauth2/introspect",
        "revocation_endpoint": f"{issuer}/oauth2/revoke",
        "pushed_authorization_request_endpoint": f"{issuer}/oauth2/par",
        "end_session_endpoint": f"{issuer}/oauth2/logout",
        "jwks_uri": f"{issuer}/oauth2/jwks",
        "scopes_supported": list(OF_A_PERSON),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "token_endpoint_auth_methods_supported": [*_CONFIDENTIAL, "none"],
        "introspection_endpoint_auth_methods_supported": _CONFIDENTIAL,
        "revocation_endpoint_auth_methods_supported": [*_CONFIDENTIAL, "none"],
        **{
            f"{endpoint}_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS
            for endpoint in ("token", "introspection", "revocation")
        },
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "claims_parameter_supported": True,
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "Ed25519"],
        "acr_values_supported": ["urn:doorward:acr:1fa", "urn:doorward:acr:2fa"],
        "claims_supported": [
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "amr",
            "acr",
            "sid",
            "azp",
            "at_hash",
            "nonce",
            *(claim for scope in BY_SCOPE.values() for claim in scope),
        ],
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }
    return Response(json.dumps(document).encode(), media_type="application/json", headers=_CACHE)


@get(
    "/oauth2/jwks",
    operation_id="jwks",
    summary="The public keys of our tokens (RFC 7517 §5)",
    responses={200: ResponseSpec(Jwks, generate_examples=False, description="A JWK set")}
    | problems(Unavailable),
    tags=["provider"],
)
async def jwks(state: State) -> Response[bytes]:
    if state.world.keyring.missing:
        raise Unavailable("no key has been read yet", retry_after=2)
    return Response(state.world.keyring.jwks, media_type="application/json", headers=_CACHE)
