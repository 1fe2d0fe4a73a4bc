"""The Config plan."""

import re

import httpx
from joserfc.jwk import KeySet

from tests.conformance.relying_party import Suite

#: RFC 6749 §3.3.
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
#: Of RFC 5646 as much as a provider's own languages need: a language, and perhaps a script and a region.
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


async def test_oidcc_discovery_endpoint_verification(suite: Suite) -> None:
    """The metadata is JSON, of the issuer that was asked, and says what the plans need (Discovery 1.0 §3)."""
    issuer = suite.provider.issuer
    answer = await suite.http.get(f"{issuer}/.well-known/openid-configuration")
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    told = answer.json()
    assert told["issuer"] == issuer
    assert httpx.URL(issuer).scheme == "https"
    assert not httpx.URL(issuer).query
    addresses = {name: value for name, value in told.items() if name.endswith(("_endpoint", "_uri"))}
    required = {"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"}
    assert required <= addresses.keys()
    assert all(value.startswith("https://") and "#" not in value for value in addresses.values())
    assert "code" in told["response_types_supported"]
    assert {"query", "form_post"} <= set(told["response_modes_supported"])
    assert {"authorization_code", "refresh_token"} <= set(told["grant_types_supported"])
    assert "implicit" not in told["grant_types_supported"]
    assert set(told["subject_types_supported"]) <= {"public", "pairwise"}
    assert told["subject_types_supported"]
    assert "RS256" in told["id_token_signing_alg_values_supported"]
    assert "none" not in told["id_token_signing_alg_values_supported"]
    assert {"openid", "profile", "email", "address", "phone"} <= set(told["scopes_supported"])
    assert all(_SCOPE.fullmatch(scope) for scope in told["scopes_supported"])
    methods = set(told["token_endpoint_auth_methods_supported"])
    assert {"client_secret_basic", "client_secret_post"} <= methods
    assert {"sub", "iss", "auth_time", "acr"} <= set(told["claims_supported"])
    assert told["claims_parameter_supported"] is True
    assert told["request_uri_parameter_supported"] is False, "left out, it is true (Discovery 1.0 §3)"
    assert told.get("request_parameter_supported", False) is False
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["authorization_response_iss_parameter_supported"] is True
    for name in ("ui_locales_supported", "claims_locales_supported"):
        assert all(_LOCALE.fullmatch(one) for one in told.get(name, [])), name
    for name, value in told.items():
        assert value not in ([], "", None), f"{name}: a member without elements must be left out (§4.2)"

    keys = (await suite.http.get(told["jwks_uri"])).json()
    assert all(not _PRIVATE & key.keys() for key in keys["keys"])
    assert all(key["kty"] in ("RSA", "EC", "OKP") for key in keys["keys"])
    kids = [key["kid"] for key in keys["keys"]]
    assert len(set(kids)) == len(kids)
    assert [key for key in keys["keys"] if key["kty"] == "RSA" and key.get("alg", "RS256") == "RS256"]
    assert len(KeySet.import_key_set(keys).keys) == len(kids), "all of them can be read"
