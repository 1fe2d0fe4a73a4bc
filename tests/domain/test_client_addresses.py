"""The addresses of a client: where an authorization may end, and what may be registered."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.oidc import clients
from tests.domain.test_clients import CALLBACK, NATIVE, PORTAL, faults_of

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
