"""What a client's record may say, and which addresses fit it."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from service.domain.oidc import clients, logos
from service.domain.oidc.clients import Client

CALLBACK = "https://portal.example/callback"
PORTAL = Client("portal", "The portal", redirect_uris=(CALLBACK,), scopes=("openid", "profile", "email"))
#: An app on a device: public, and listening on loopback.
NATIVE = replace(
    PORTAL,
    id="app",
    token_endpoint_auth_method="none",
    redirect_uris=(CALLBACK, "http://127.0.0.1:8411/callback", "http://localhost:8411/callback"),
)
MACHINE = Client("machine", "A machine", grant_types=("client_credentials",), scopes=("reports.read",))
EC = ECKey.generate_key("P-256").as_dict(private=False)
RSA = RSAKey.generate_key(2048).as_dict(private=False)


def faults_of(client: Client, **changes: Any) -> set[tuple[str, str]]:
    return {(fault.pointer, fault.code) for fault in clients.faults(replace(client, **changes))}


# What else a record may say


@pytest.mark.parametrize(
    ("client", "changes", "said"),
    [
        (PORTAL, {"id": ""}, ("/id", "not_an_id")),
        (PORTAL, {"id": "-a"}, ("/id", "not_an_id")),
        (PORTAL, {"id": "a b"}, ("/id", "not_an_id")),
        (PORTAL, {"id": "a:b"}, ("/id", "not_an_id")),
        (PORTAL, {"id": "a\n"}, ("/id", "not_an_id")),
        (PORTAL, {"id": "\u00e4"}, ("/id", "not_an_id")),
        (PORTAL, {"id": "a" * 101}, ("/id", "not_an_id")),
        (PORTAL, {"id": "doorward"}, ("/id", "built_in")),
        (PORTAL, {"id": "Pages"}, ("/id", "built_in")),
        (PORTAL, {"name": ""}, ("/name", "not_a_name")),
        (PORTAL, {"name": "  "}, ("/name", "not_a_name")),
        (PORTAL, {"name": "a" * 101}, ("/name", "not_a_name")),
        (PORTAL, {"name": "a\u202eb"}, ("/name", "not_a_name")),
        (PORTAL, {"name": "a\0"}, ("/name", "not_a_name")),
        (PORTAL, {"audience": ""}, ("/audience", "not_a_uri")),
        (PORTAL, {"audience": "a b"}, ("/audience", "not_a_uri")),
        (PORTAL, {"audience": "a" * 2001}, ("/audience", "not_a_uri")),
        (PORTAL, {"token_endpoint_auth_method": "tls"}, ("/token_endpoint_auth_method", "unknown_value")),
        (
            PORTAL,
            {"id_token_signed_response_alg": "none"},
            ("/id_token_signed_response_alg", "unknown_value"),
        ),
        (PORTAL, {"access_token_signing_alg": "HS256"}, ("/access_token_signing_alg", "unknown_value")),
        (NATIVE, {"require_pkce": False}, ("/require_pkce", "public_client")),
        (MACHINE, {"grant_types": ()}, ("/grant_types", "empty")),
        (PORTAL, {"grant_types": ("authorization_code", "password")}, ("/grant_types/1", "unknown_value")),
        (PORTAL, {"grant_types": ("authorization_code",) * 2}, ("/grant_types/1", "duplicate")),
        (
            NATIVE,
            {"grant_types": ("authorization_code", "client_credentials")},
            ("/grant_types", "public_client"),
        ),
        (MACHINE, {"grant_types": ("refresh_token",)}, ("/grant_types", "unused")),
        (PORTAL, {"scopes": ()}, ("/scopes", "empty")),
        (PORTAL, {"scopes": ("openid", "openid")}, ("/scopes/1", "duplicate")),
        (PORTAL, {"scopes": ("openid email",)}, ("/scopes/0", "not_a_scope")),
        (PORTAL, {"scopes": ('a"b',)}, ("/scopes/0", "not_a_scope")),
        (PORTAL, {"scopes": ("",)}, ("/scopes/0", "not_a_scope")),
        (PORTAL, {"scopes": ("openid", "offline_access")}, ("/scopes/1", "unused")),
        (PORTAL, {"scopes": ("openid", "account")}, ("/scopes/1", "third_party")),
        (PORTAL, {"scopes": ("openid", "admin")}, ("/scopes/1", "third_party")),
        (PORTAL, {"scopes": tuple(f"scope{n}" for n in range(101))}, ("/scopes", "too_many")),
        (MACHINE, {"scopes": ("openid",)}, ("/scopes/0", "unused")),
        (MACHINE, {"redirect_uris": (CALLBACK,)}, ("/redirect_uris", "unused")),
        (MACHINE, {"post_logout_redirect_uris": (CALLBACK,)}, ("/post_logout_redirect_uris", "unused")),
        (PORTAL, {"redirect_uris": ()}, ("/redirect_uris", "empty")),
        (PORTAL, {"redirect_uris": (CALLBACK, CALLBACK)}, ("/redirect_uris/1", "duplicate")),
        (
            PORTAL,
            {"post_logout_redirect_uris": (CALLBACK,) * 2},
            ("/post_logout_redirect_uris/1", "duplicate"),
        ),
        (PORTAL, {"cors_origins": ("https://a.example",) * 2}, ("/cors_origins/1", "duplicate")),
        (
            PORTAL,
            {"backchannel_logout_session_required": True},
            ("/backchannel_logout_session_required", "unused"),
        ),
        (PORTAL, {"access_seconds": 0}, ("/access_seconds", "out_of_range")),
        (PORTAL, {"access_seconds": 86_401}, ("/access_seconds", "out_of_range")),
        (PORTAL, {"refresh_idle_seconds": -1}, ("/refresh_idle_seconds", "out_of_range")),
        (PORTAL, {"refresh_absolute_seconds": 10**9}, ("/refresh_absolute_seconds", "out_of_range")),
        (
            PORTAL,
            {"refresh_idle_seconds": 61, "refresh_absolute_seconds": 60},
            ("/refresh_idle_seconds", "out_of_range"),
        ),
        (PORTAL, {"client_uri": ""}, ("/client_uri", "not_a_uri")),
        (PORTAL, {"client_uri": "portal.example"}, ("/client_uri", "not_absolute")),
        (PORTAL, {"policy_uri": "http://portal.example/privacy"}, ("/policy_uri", "scheme")),
        (PORTAL, {"policy_uri": "http://localhost/privacy"}, ("/policy_uri", "scheme")),
        (PORTAL, {"tos_uri": "javascript:alert(1)"}, ("/tos_uri", "scheme")),
        (PORTAL, {"tos_uri": "data:text/html,a"}, ("/tos_uri", "scheme")),
        (NATIVE, {"tos_uri": "com.example.app:/terms"}, ("/tos_uri", "scheme")),
        (PORTAL, {"tos_uri": "https://user@portal.example/"}, ("/tos_uri", "userinfo")),
        (PORTAL, {"brand_color": "#fff"}, ("/brand_color", "not_a_color")),
        (PORTAL, {"brand_color": "#0b5a66}*{"}, ("/brand_color", "not_a_color")),
        (PORTAL, {"logo": logos.of(b"<svg/>", "image/svg+xml")}, ("/logo", "not_a_picture")),
    ],
    ids=lambda value: str(value)[:80],
)
def test_what_a_record_may_not_say(client: Client, changes: dict[str, Any], said: tuple[str, str]) -> None:
    assert faults_of(client) == set()
    assert faults_of(client, **changes) == {said}


def test_every_fault_is_told_at_once() -> None:
    said = faults_of(
        PORTAL,
        id="pages",
        name="",
        token_endpoint_auth_method="none",
        require_pkce=False,
        redirect_uris=("http://*.example/../#",),
        scopes=("offline_access", "admin"),
        access_seconds=0,
    )
    assert said == {
        ("/id", "built_in"),
        ("/name", "not_a_name"),
        ("/require_pkce", "public_client"),
        ("/redirect_uris/0", "wildcard"),
        ("/redirect_uris/0", "fragment"),
        ("/redirect_uris/0", "dot_segment"),
        ("/redirect_uris/0", "scheme"),
        ("/scopes/0", "unused"),
        ("/scopes/1", "third_party"),
        ("/access_seconds", "out_of_range"),
    }


def test_the_whole_of_what_may_be_said() -> None:
    full = replace(
        PORTAL,
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [EC | {"kid": "a", "alg": "ES256", "use": "sig"}, RSA | {"kid": "b", "alg": "PS256"}]},
        grant_types=get_args(clients.GrantType),
        scopes=(*clients.OF_A_PERSON, "reports.read"),
        first_party=True,
        require_pkce=False,
        audience="https://api.example",
        access_seconds=60,
        refresh_idle_seconds=60,
        refresh_absolute_seconds=60,
        client_uri="https://portal.example",
        policy_uri="https://portal.example/legal?part=2#privacy",
        tos_uri="https://portal.example/terms",
        brand_color="#FFd500",
        logo=logos.of(b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>', "image/svg+xml"),
    )
    assert faults_of(full) == set()
    for method in get_args(clients.IdTokenAlg):
        assert faults_of(full, id_token_signed_response_alg=method) == set()
    for method in get_args(clients.AccessTokenAlg):
        assert faults_of(full, access_token_signing_alg=method) == set()


def test_who_is_public_and_who_has_a_secret() -> None:
    kinds = {
        method: (made.public, made.has_secret)
        for method in get_args(clients.AuthMethod)
        if (made := replace(PORTAL, token_endpoint_auth_method=method))
    }
    assert kinds == {
        "client_secret_basic": (False, True),
        "client_secret_post": (False, True),
        "private_key_jwt": (False, False),
        "none": (True, False),
    }


# A client's public keys


@pytest.mark.parametrize(
    ("jwks", "pointer", "code"),
    [
        (None, "/jwks", "missing"),
        ({}, "/jwks", "not_a_jwks"),
        ({"keys": []}, "/jwks", "not_a_jwks"),
        ({"keys": {}}, "/jwks", "not_a_jwks"),
        ({"keys": [EC], "more": 1}, "/jwks", "not_a_jwks"),
        (EC, "/jwks", "not_a_jwks"),
        ({"keys": [EC] * 101}, "/jwks", "not_a_jwks"),
        ({"keys": ["key"]}, "/jwks/keys/0", "not_a_key"),
        ({"keys": [ECKey.generate_key("P-256").as_dict(private=True)]}, "/jwks/keys/0", "private_key"),
        ({"keys": [OctKey.generate_key(256).as_dict(private=True)]}, "/jwks/keys/0", "private_key"),
        ({"keys": [EC | {"d": "test-value"}]}, "/jwks/keys/0", "private_key"),
        ({"keys": [EC | {"x5u": "https://evil.example"}]}, "/jwks/keys/0", "unknown"),
        ({"keys": [EC | {"x": 5}]}, "/jwks/keys/0", "wrong_type"),
        ({"keys": [EC | {"kid": "\0"}]}, "/jwks/keys/0", "wrong_type"),
        ({"keys": [EC | {"kid": "a" * 2001}]}, "/jwks/keys/0", "wrong_type"),
        ({"keys": [EC | {"x": "AA"}]}, "/jwks/keys/0", "not_a_key"),
        ({"keys": [EC | {"x": "\u00e9"}]}, "/jwks/keys/0", "not_a_key"),
        ({"keys": [{"kty": "RSA", "n": RSA["n"]}]}, "/jwks/keys/0", "not_a_key"),
        ({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}, "/jwks/keys/0", "not_a_key"),
        ({"keys": [EC | {"crv": "P-384"}]}, "/jwks/keys/0", "unknown_value"),
        ({"keys": [{"kty": "oct"}]}, "/jwks/keys/0", "unknown_value"),
        ({"keys": [{}]}, "/jwks/keys/0", "unknown_value"),
        ({"keys": [EC | {"alg": "RS256"}]}, "/jwks/keys/0", "unknown_value"),
        ({"keys": [EC | {"alg": "none"}]}, "/jwks/keys/0", "unknown_value"),
        ({"keys": [EC | {"use": "enc"}]}, "/jwks/keys/0", "unknown_value"),
        ({"keys": [{"kty": "RSA", "n": "_" * 171 + "w", "e": "AQAB"}]}, "/jwks/keys/0", "weak"),
        ({"keys": [EC, RSA]}, "/jwks/keys", "duplicate"),
        ({"keys": [EC | {"kid": "a"}, RSA | {"kid": "a"}]}, "/jwks/keys", "duplicate"),
    ],
)
def test_what_are_no_public_keys_of_a_client(jwks: Any, pointer: str, code: str) -> None:
    signed = replace(PORTAL, token_endpoint_auth_method="private_key_jwt")
    assert faults_of(signed, jwks=jwks) == {(pointer, code)}


@pytest.mark.parametrize("key", [EC, RSA, OKPKey.generate_key("Ed25519").as_dict(private=False)])
def test_public_keys_are_for_private_key_jwt_alone(key: Any) -> None:
    signed = replace(PORTAL, token_endpoint_auth_method="private_key_jwt", jwks={"keys": [key]})
    assert faults_of(signed) == set()
    assert faults_of(signed, token_endpoint_auth_method="client_secret_post") == {("/jwks", "unused")}


# What changed


def test_two_records_differ_field_by_field() -> None:
    assert clients.differences(PORTAL, PORTAL) == {}
    assert clients.differences(PORTAL, replace(PORTAL, name="Other", scopes=("openid",))) == {
        "name": ("The portal", "Other"),
        "scopes": (("openid", "profile", "email"), ("openid",)),
    }


def test_two_pictures_differ_by_what_they_are() -> None:
    one, other = logos.of(b"one", "image/png"), logos.of(b"other", "image/png")
    assert clients.differences(replace(PORTAL, logo=one), replace(PORTAL, logo=other)) == {
        "logo": (f"image/png sha256:{one.digest}", f"image/png sha256:{other.digest}")
    }
    kept = replace(one, content=None)
    assert clients.differences(replace(PORTAL, logo=one), replace(PORTAL, logo=kept)) == {}
