"""What a client's record may say, and which addresses fit it."""

import re
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


# Where an authorization may end


@pytest.mark.case("K-42")
@pytest.mark.parametrize(
    "uri",
    [
        "",
        "callback",
        "/callback",
        "//portal.example/callback",
        "https:/portal.example/callback",
        "https:///portal.example/callback",
        "https://portal.example.evil.example/callback",
        "https://evilportal.example/callback",
        "https://evil.example/callback",
        "https://evil.example/?https://portal.example/callback",
        "https://evil.example/#https://portal.example/callback",
        "https://portal.example@evil.example/callback",
        "https://user@portal.example/callback",
        "https://user:test-value@portal.example/callback",
        "https://portal.example/callback/../evil",
        "https://portal.example/evil/../callback",
        "https://portal.example/./callback",
        "https://portal.example/evil/%2e%2e/callback",
        "https://portal.example%2fcallback",
        "https://portal.example/%63allback",
        "https://portal.example/evil%252f..%252fcallback",
        "https://portal.example/callback%00",
        "https://portal.example/callback;/evil",
        "https://portal.example/callback/",
        "https://portal.example//callback",
        "https://portal.example/callback/evil",
        "https://portal.example/callback#",
        "https://portal.example/callback#evil",
        "https://portal.example/callback?",
        "https://portal.example/callback?evil=1",
        "https://portal.example/Callback",
        "https://PORTAL.example/callback",
        "HTTPS://portal.example/callback",
        "https://portal.example:443/callback",
        "https://portal.example:8443/callback",
        "https://portal.example:/callback",
        "http://portal.example/callback",
        "ftp://portal.example/callback",
        "javascript:alert(1)//https://portal.example/callback",
        "https:\\\\portal.example\\callback",
        "https://portal.example\\@evil.example/callback",
        "https://portal.example/call\tback",
        "https://portal.example/callback\n",
        " https://portal.example/callback",
        "https://portal.example/callback\0",
        "https://portal.example./callback",
        "https://port\u0430l.example/callback",
        "https://xn--portl-4ve.example/callback",
        "https://portal\uff0eexample/callback",
        "https://portal.ex\u00adample/callback",
        "https://*.example/callback",
        # Beside the registered http://127.0.0.1:8411/callback and http://localhost:8411/callback:
        "http://127.0.0.1:9000/evil",
        "http://127.0.0.1:9000/callback?evil=1",
        "http://127.0.0.1:9000/callback#evil",
        "http://127.0.0.1:9000callback",
        "http://127.0.0.1:9000@evil.example/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://127.0.0.1.evil.example:9000/callback",
        "http://127.0.0.1:/callback",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:08411/callback",
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:-1/callback",
        "http://127.0.0.1:\u0669\u0660/callback",
        "http://127.0.0.1:9000/callback\n",
        "http://127.0.0.2:8411/callback",
        "http://127.1:8411/callback",
        "http://0x7f000001:8411/callback",
        "http://2130706433:8411/callback",
        "http://[::1]:9000/callback",
        "http://[::ffff:127.0.0.1]:9000/callback",
        "https://127.0.0.1:9000/callback",
        "HTTP://127.0.0.1:9000/callback",
        "http://localhost:9000/callback",
        "http://localhost/callback",
    ],
    ids=ascii,
)
def test_an_address_that_is_not_the_clients_own_does_not_fit(uri: str) -> None:
    assert not clients.redirect_fits(NATIVE, uri)
    assert not clients.redirect_fits(PORTAL, uri)
    assert not clients.post_logout_fits(replace(NATIVE, post_logout_redirect_uris=NATIVE.redirect_uris), uri)


@pytest.mark.case("K-42")
@pytest.mark.parametrize("port", ["", ":1", ":80", ":8411", ":49152", ":65535"])
def test_only_the_port_of_a_loopback_ip_literal_may_be_another(port: str) -> None:
    for host in ("127.0.0.1", "[::1]"):
        for registered in (f"http://{host}/callback?a=b", f"http://{host}:8411/callback?a=b"):
            app = replace(NATIVE, redirect_uris=(registered,))
            assert clients.redirect_fits(app, f"http://{host}{port}/callback?a=b")
            assert not clients.redirect_fits(app, f"http://{host}{port}/callback")
    at_root = replace(NATIVE, redirect_uris=("http://127.0.0.1",))
    assert clients.redirect_fits(at_root, f"http://127.0.0.1{port}")
    assert not clients.redirect_fits(at_root, f"http://127.0.0.1{port}/")


def test_after_a_logout_not_even_the_port_may_be_another() -> None:
    app = replace(NATIVE, post_logout_redirect_uris=("http://127.0.0.1:8411/",))
    assert clients.post_logout_fits(app, "http://127.0.0.1:8411/")
    assert not clients.post_logout_fits(app, "http://127.0.0.1:9000/")
    assert not clients.post_logout_fits(app, "http://127.0.0.1:8411/?evil=1")
    assert not clients.post_logout_fits(app, NATIVE.redirect_uris[0])


@given(st.text(), st.sampled_from(NATIVE.redirect_uris), st.integers(0, 40))
def test_whatever_is_put_into_an_address_but_a_port_it_fits_no_more(
    text: str, registered: str, place: int
) -> None:
    uri = registered[:place] + text + registered[place:]
    port = uri.removeprefix("http://127.0.0.1:").removesuffix("/callback")
    is_port = re.fullmatch("[1-9][0-9]{0,4}", port) is not None and int(port) < 65_536
    assert clients.redirect_fits(NATIVE, uri) is (uri in NATIVE.redirect_uris or is_port)


# What an address may be


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("", "not_a_uri"),
        ("callback", "not_absolute"),
        ("/callback", "not_absolute"),
        ("//portal.example/callback", "not_absolute"),
        ("https:callback", "host"),
        ("https:///callback", "host"),
        ("https://portal.example/callback#", "fragment"),
        ("https://portal.example/callback#a", "fragment"),
        ("https://*.example/callback", "wildcard"),
        ("https://portal.example/*", "wildcard"),
        ("https://user@portal.example/", "userinfo"),
        ("https://user:test-value@portal.example/", "userinfo"),
        ("https://@portal.example/", "userinfo"),
        ("com.example.app://user@host/", "userinfo"),
        ("https://portal.example/a/../b", "dot_segment"),
        ("https://portal.example/a/..", "dot_segment"),
        ("https://portal.example/./b", "dot_segment"),
        ("https://portal.example/a/%2e%2E/b", "dot_segment"),
        ("https://portal.example/a/.%2e;x/b", "dot_segment"),
        ("https://portal.example/a%2f..%2fb", "dot_segment"),
        ("https://portal.example/a%5C..%5Cb", "dot_segment"),
        ("http://portal.example/callback", "scheme"),
        ("http://127.0.0.2/callback", "scheme"),
        ("http://localhost.example/callback", "scheme"),
        ("ftp://portal.example/callback", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("data:text/html,x", "scheme"),
        ("app:/callback", "scheme"),
        ("localhost:8411/callback", "scheme"),
        ("com.example.app:callback", "not_absolute"),
        ("HTTPS://portal.example/", "not_lower_case"),
        ("https://Portal.example/", "not_lower_case"),
        ("https://[::A]/", "not_lower_case"),
        ("https://portal.example./", "host"),
        ("https://portal..example/", "host"),
        ("https://-portal.example/", "host"),
        ("https://" + "a" * 64 + ".example/", "host"),
        ("https://" + "a.b" * 100 + ".example/", "host"),
        ("https://a]b/", "host"),
        ("https://[::1/", "host"),
        ("https://[0::1]/", "host"),
        ("https://[fe80::1%25eth0]/", "host"),
        ("https://[1.2.3.4]/", "host"),
        ("https://127.1/", "host"),
        ("https://2130706433/", "host"),
        ("https://0x7f.0.0.1/", "host"),
        ("https://0177.0.0.1/", "host"),
        ("https://1.2.3.0x4/", "host"),
        ("https://portal.example:/", "port"),
        ("https://portal.example:0/", "port"),
        ("https://portal.example:0443/", "port"),
        ("https://portal.example:65536/", "port"),
        ("https://portal.example:https/", "port"),
        ("https://portal.example/a b", "not_a_uri"),
        ("https://portal.example/\t", "not_a_uri"),
        ("https://portal.example\\@evil.example/", "not_a_uri"),
        ("https://b\u00fccher.example/", "not_a_uri"),
        ("https://portal.example/%zz", "not_a_uri"),
        ("https://portal.example/\0", "not_a_uri"),
        ("https://portal.example/\ud800", "not_a_uri"),
        ("https://portal.example/" + "a" * 2000, "too_long"),
    ],
    ids=ascii,
)
def test_what_is_no_address_of_a_client(uri: str, code: str) -> None:
    said = faults_of(NATIVE, redirect_uris=(uri,))
    assert said == {("/redirect_uris/0", code)}
    assert faults_of(NATIVE, post_logout_redirect_uris=(CALLBACK, uri)) == {
        ("/post_logout_redirect_uris/1", code)
    }


@pytest.mark.parametrize("name", ["code", "state", "iss", "error", "error_description", "error_uri"])
def test_a_redirect_uri_holds_no_parameter_that_we_add(name: str) -> None:
    for query in (f"?{name}=1", f"?a=b&{name}", f"?{name[:-1]}%{ord(name[-1]):x}="):
        assert faults_of(PORTAL, redirect_uris=(CALLBACK + query,)) == {
            ("/redirect_uris/0", "response_parameter")
        }


@pytest.mark.parametrize(
    "uri",
    [
        CALLBACK,
        "https://portal.example",
        "https://portal.example/",
        "https://portal.example:8443/a/b.c/..d/callback?tenant=1&a=%2F",
        "https://xn--bcher-kva.example/",
        "https://under_score/",
        "https://192.0.2.1/",
        "https://[2001:db8::1]/",
        "http://127.0.0.1/callback",
        "http://[::1]:8411/callback",
        "http://localhost:3000/callback",
    ],
)
def test_what_may_be_registered_by_any_client(uri: str) -> None:
    for client in (PORTAL, NATIVE):
        assert faults_of(client, redirect_uris=(uri,), post_logout_redirect_uris=(uri,)) == set()
    assert faults_of(PORTAL, backchannel_logout_uri=uri, backchannel_logout_session_required=True) == set()


@pytest.mark.parametrize("uri", ["com.example.app:/callback", "com.example.app://callback"])
def test_a_scheme_of_its_own_is_for_a_public_client(uri: str) -> None:
    assert faults_of(NATIVE, redirect_uris=(uri,)) == set()
    assert clients.redirect_fits(replace(NATIVE, redirect_uris=(uri,)), uri)
    assert faults_of(PORTAL, redirect_uris=(uri,)) == {("/redirect_uris/0", "scheme")}
    assert faults_of(NATIVE, backchannel_logout_uri=uri) == {("/backchannel_logout_uri", "scheme")}


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("*", "wildcard"),
        ("https://*.example", "wildcard"),
        ("null", "not_an_origin"),
        ("", "not_an_origin"),
        ("portal.example", "not_an_origin"),
        ("https://portal.example/", "not_an_origin"),
        ("https://portal.example/a", "not_an_origin"),
        ("https://portal.example?", "not_an_origin"),
        ("https://portal.example#", "not_an_origin"),
        ("com.example.app://host", "not_an_origin"),
        ("https://portal.example\n", "host"),
        ("https://", "host"),
        ("https://b\u00fccher.example", "host"),
        ("https://user@portal.example", "userinfo"),
        ("https://Portal.example", "not_lower_case"),
        ("http://portal.example", "scheme"),
        ("https://portal.example:443", "port"),
        ("http://localhost:80", "port"),
        ("https://portal.example:0", "port"),
    ],
    ids=ascii,
)
def test_what_is_no_bare_origin(origin: str, code: str) -> None:
    assert faults_of(PORTAL, cors_origins=(origin,)) == {("/cors_origins/0", code)}


def test_origins_are_written_as_browsers_send_them() -> None:
    origins = (
        "https://portal.example",
        "https://portal.example:8443",
        "http://localhost:3000",
        "http://[::1]",
    )
    assert faults_of(PORTAL, cors_origins=origins) == set()


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
    ids=str,
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
