"""What may be sent, and what becomes of everything else (security K-03, K-94, K-98 … K-106)."""

import gzip
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
from litestar import Litestar

from tests.builders import House
from tests.http.problems import invalid, problem

_FORM = "application/x-www-form-urlencoded"
ZERO = "00000000-0000-7000-8000-000000000000"
PRE_AUTH = "dwp_" + "A" * 43
REFRESH = "dwr_" + "A" * 70
#: A body of the right form for every POST route that reads one, with every field it knows.
BODIES: Mapping[str, Mapping[str, str]] = {
    "/v1/sign-in": {
        "email": "nobody@example.com",
        "password": "test-value",
        "client_id": "doorward",
        "device_token": "dwd_" + "A" * 80,
    },
    "/v1/sign-in/second-factor": {
        "pre_auth_token": PRE_AUTH,
        "code": "000000",
        "method": "totp",
        "client_id": "doorward",
    },
    "/v1/sign-in/enrolment": {"pre_auth_token": PRE_AUTH, "name": "Phone", "client_id": "doorward"},
    "/v1/sign-in/enrolment/confirm": {
        "pre_auth_token": PRE_AUTH,
        "id": ZERO,
        "code": "000000",
        "client_id": "doorward",
    },
    "/v1/sign-in/email-verification": {"pre_auth_token": PRE_AUTH, "client_id": "doorward"},
    "/v1/sign-in/password": {
        "pre_auth_token": PRE_AUTH,
        "new_password": "another long one",
        "client_id": "doorward",
    },
    "/v1/tokens/refresh": {"refresh_token": REFRESH, "client_id": "doorward"},
    "/v1/reauthentication": {"password": "not the one", "code": "000000"},
    "/v1/me/two-factor/authenticators": {"name": "Phone"},
    f"/v1/me/two-factor/authenticators/{ZERO}/confirm": {"code": "000000"},
    "/v1/me/two-factor/backup-codes/saved": {"set_id": ZERO},
    "/v1/me/two-factor/disable": {"password": "not the one", "code": "000000"},
    "/v1/me/password": {"current_password": "not the one", "new_password": "another long one"},
    f"/v1/admin/users/{ZERO}/reset-two-factor": {"reason": "lost the phone"},
}
#: POST routes without a body of their own.
BODILESS = (
    *("/v1/sign-out", "/v1/me/two-factor/backup-codes", "/v1/me/sessions/end-others"),
    *(f"/v1/admin/users/{ZERO}/end-sessions", f"/v1/admin/users/{ZERO}/unlock"),
)
OPTIONAL = {("/v1/sign-in", "device_token"), ("/v1/sign-in/second-factor", "method")} | {
    ("/v1/reauthentication", "code")
}
JSON = {"content-type": "application/json"}


async def bearer(house: House) -> dict[str, str]:
    ada = await house.a_person()
    return {"authorization": f"Bearer {(await ada.sign_in())['access_token']}"}


def forms(routed: Litestar) -> set[str]:
    """The routes that take a form."""
    paths = routed.openapi_schema.to_schema()["paths"]
    return {path for path, operations in paths.items() if _FORM in json.dumps(operations.get("post", {}))}


@pytest.mark.case("K-98")
@pytest.mark.case("K-103")
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"token=%00", _FORM, 400),
        (b"to%00ken=x", _FORM, 400),
        (b"token=%ff%fe", _FORM, 400),
        (b"token=%c0%a7", _FORM, 400),
        (b"token=\xc3\xa4", _FORM, 400),
        (b"&".join(b"a%d=1" % n for n in range(65)), _FORM, 400),
        (b"token=" + b"x" * 17_000, _FORM, 413),
        (b"token=x", "application/json", 415),
        (b"token=x", "text/plain", 415),
        (b"token=x", "multipart/form-data; boundary=b", 415),
    ],
)
async def test_no_form_is_read_that_two_readers_could_understand_differently(
    house: House, routed: Litestar, body: bytes, kind: str, status: int
) -> None:
    found = forms(routed)
    assert len(found) == 7
    for path in found:
        answer = await house.client.post(path, content=body, headers={"content-type": kind})
        # On a page what is no form of ours is a bad request.
        page = path in ("/oauth2/authorize", "/oauth2/logout")
        assert answer.status_code == (400 if page and status == 415 else status), (path, answer.text)
        assert "location" not in answer.headers


def _filled(path: str) -> str:
    return path.replace("{authenticator_id}", ZERO).replace("{user_id}", ZERO)


def test_every_post_route_with_a_body_is_tried_here(routed: Litestar) -> None:
    paths = routed.openapi_schema.to_schema()["paths"]
    with_body = {
        _filled(path): operations["post"]["requestBody"]
        for path, operations in paths.items()
        if "requestBody" in operations.get("post", {}) and path not in forms(routed)
    }
    assert set(with_body) == set(BODIES)
    posted = {path for path, operations in paths.items() if "post" in operations} - forms(routed)
    assert {_filled(path) for path in posted} == {*BODIES, *BODILESS}


#: What is sent as `code` (ABSENT: nothing), whether it is shaped like a code, and the answer's status.

# K-98: what is no text

#: As they stand in JSON: NUL, halves of surrogate pairs, and bytes that are no UTF-8.
NOT_TEXT = [
    rb"\u0000",
    rb"\ud800",
    rb"\udfff",
    rb"\udc00\ud800",
    b"\xff",
    b"\xc0\xa7",
    b"\xed\xa0\x80",
    b"\x00",
]


@pytest.mark.case("K-98")
@pytest.mark.parametrize("path", BODIES)
async def test_what_is_no_text_is_refused_in_every_string_field(house: House, path: str) -> None:
    headers = JSON | await bearer(house)
    for field in BODIES[path]:
        for hostile in NOT_TEXT:
            for value in (b"MARK", b"xMARK", b"MARKx", b"xx MARK xx"):
                sent = json.dumps({**BODIES[path], field: value.decode()}).encode().replace(b"MARK", hostile)
                answer = await house.client.post(path, content=sent, headers=headers)
                problem(answer, 400, "invalid_request")
    for hostile in NOT_TEXT:
        sent = json.dumps({**BODIES[path], "MARK": 1}).encode().replace(b"MARK", hostile)
        problem(await house.client.post(path, content=sent, headers=headers), 400, "invalid_request")


@pytest.mark.case("K-98")
@pytest.mark.parametrize("path", BODILESS)
async def test_a_route_without_a_body_refuses_what_is_no_text_too(house: House, path: str) -> None:
    headers = JSON | await bearer(house)
    for hostile in NOT_TEXT:
        answer = await house.client.post(path, content=b'{"x": "%s"}' % hostile, headers=headers)
        problem(answer, 400, "invalid_request")
    assert (await house.client.get("/v1/me", headers=headers)).status_code == 200


HOSTILE = [
    b"\x00",
    b"a\x00b",
    b"\xff\xfe",
    b"\xc0\xa7",
    b"\xed\xa0\x80",
    b"%00%ff%c0%a7",
    b"\\ud800",
    b"\x1b[31m",
]
HOSTILE += [b"x" * 9000, b"a\r\nset-cookie: x=y"]


@pytest.mark.case("K-98")
@pytest.mark.parametrize("name", ["x-request-id", "user-agent", "x-forwarded-for", "authorization", "cookie"])
async def test_no_bytes_in_a_header_are_a_fault_of_ours(house: House, name: str) -> None:
    ada = await house.a_person()
    token = (await ada.sign_in())["access_token"].encode()
    for number, hostile in enumerate(HOSTILE):
        headers = [(name.encode(), hostile)]
        body = {"email": f"nobody{number}@example.com", "password": "test-value"}
        wrong = await house.client.post("/v1/sign-in", json=body, headers=headers)
        problem(wrong, 401, "invalid_credentials")
        assert "set-cookie" not in wrong.headers
        assert wrong.headers["x-request-id"].encode() != hostile
        right = await house.client.post(
            "/v1/sign-in", json={"email": ada.email, "password": ada.password}, headers=headers
        )
        assert right.status_code == 200, right.text
        if name == "authorization":
            for value in (hostile, b"Bearer " + hostile, b"Bearer " + token + hostile):
                answer = await house.client.get("/v1/me", headers=[(b"authorization", value)])
                problem(answer, 401, "invalid_token")
        else:
            known = [*headers, (b"authorization", b"Bearer " + token)]
            assert (await house.client.get("/v1/me", headers=known)).status_code == 200
    browsers = await house.rows("SELECT browser, request_id FROM audit_event WHERE address IS NOT NULL")
    assert len(browsers) > len(HOSTILE)
    assert all(row["browser"].isprintable() and len(row["browser"]) <= 300 for row in browsers)
    assert all(row["request_id"].isascii() and len(row["request_id"]) <= 64 for row in browsers)


@pytest.mark.case("K-98")
async def test_no_bytes_in_a_path_or_query_are_a_fault_of_ours(house: House) -> None:
    headers = await bearer(house)
    for part in ("%00", "%ff", "%c0%a7", "%ed%a0%80", "%", "%zz", "%2e%2e%2f", "a%0d%0ab", "x" * 5000):
        assert (await house.client.get(f"/v1/me?{part}={part}", headers=headers)).status_code == 200
        for path in (f"/{part}", f"/errors/{part}", f"/v1/me/two-factor/authenticators/{part}"):
            answer = await house.client.get(path, headers=headers)
            assert 400 <= answer.status_code < 500, (path, answer.text)
            assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.case("K-98")
@pytest.mark.parametrize("path", BODIES)
async def test_a_field_of_another_type_is_refused_by_its_pointer(house: House, path: str) -> None:
    headers = await bearer(house)
    for field in BODIES[path]:
        for value in (None, True, 0, 1.5, 10**30, [], {}, ["x"], {"x": "y"}):
            if value is None and (path, field) in OPTIONAL:
                continue
            answer = await house.client.post(path, json={**BODIES[path], field: value}, headers=headers)
            invalid(answer, f"/{field}")


# K-103: sizes, types, forms

GOOD = json.dumps(BODIES["/v1/sign-in"]).encode()


def bodies_refused() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "white space", b"  \n"
    yield "an array", b"[" + GOOD + b"]"
    yield "an empty array", b"[]"
    yield "a number", b"1"
    yield "a text", b'"x"'
    yield "null", b"null"
    yield "true", b"true"
    yield "NaN", b'{"email": NaN}'
    yield "Infinity", b'{"email": Infinity}'
    yield "-Infinity", b'{"email": -Infinity}'
    yield "NaN in an unknown field", GOOD[:-1] + b', "x": NaN}'
    yield "1e999", b'{"email": 1e999}'
    yield "a huge number", b'{"email": ' + b"9" * 9000 + b"}"
    yield "a BOM", b"\xef\xbb\xbf" + GOOD
    yield "UTF-16", GOOD.decode().encode("utf-16")
    yield "UTF-32", GOOD.decode().encode("utf-32-le")
    yield "cut off", GOOD[:-1]
    yield "two objects", GOOD + GOOD
    yield "a trailing comma", GOOD[:-1] + b",}"
    yield "a comment", GOOD + b"// x"
    yield "single quotes", GOOD.replace(b'"', b"'")
    yield "a control character", GOOD.replace(b"nobody", b"no\nbody")
    yield "deep arrays", b'{"email": ' + b"[" * 7000 + b"]" * 7000 + b"}"
    yield "deep objects", b'{"a":' * 2000 + b"1" + b"}" * 2000
    yield "unclosed arrays", b"[" * 16_000
    yield "ten deep", b'{"email": ' + b"[" * 10 + b"]" * 10 + b"}"
    yield "a huge array", b'{"email": [' + b"0," * 7000 + b"0]}"
    yield "many names", b"{" + b",".join(b'"n%d":0' % n for n in range(1300)) + b"}"
    yield "a name twice", GOOD[:-1] + b', "email": "other@example.com"}'
    yield "a name twice, equal", GOOD[:-1] + b', "client_id": "doorward"}'
    yield "a name twice, escaped", GOOD[:-1] + rb', "\u0065mail": "other@example.com"}'
    yield "a name twice, within", GOOD[:-1] + b', "x": {"a": 1, "a": 2}}'
    yield "a name in another case", GOOD.replace(b'"email"', b'"Email"')


@pytest.mark.case("K-103")
@pytest.mark.parametrize("path", ["/v1/sign-in", "/v1/reauthentication"])
async def test_a_body_that_two_readers_could_read_differently_is_refused(house: House, path: str) -> None:
    headers = JSON | await bearer(house)
    for name, body in bodies_refused():
        began = time.perf_counter()
        answer = await house.client.post(path, content=body, headers=headers)
        assert answer.status_code == 400, (name, answer.text)
        problem(answer, 400, "invalid_request")
        assert time.perf_counter() - began < 2, name
    assert await house.value("SELECT count(*) FROM audit_event WHERE result = 'failed'") == 0


@pytest.mark.case("K-103")
@pytest.mark.parametrize("path", [*BODIES, *BODILESS])
async def test_a_body_over_16_kib_is_refused_at_every_door(house: House, path: str) -> None:
    headers = JSON | await bearer(house)
    padded = json.dumps(BODIES.get(path, {})).encode()
    at_the_limit = padded + b" " * (16 * 1024 - len(padded))
    assert (
        await house.client.post("/v1/sign-in", content=GOOD.ljust(16 * 1024), headers=JSON)
    ).status_code == 401
    for body in (at_the_limit + b" ", b"x" * 20_000, b"[" * 20_000, b"x" * 5_000_000):
        problem(await house.client.post(path, content=body, headers=headers), 413, "payload_too_large")


@pytest.mark.case("K-103")
async def test_a_body_that_never_ends_is_cut_off(house: House) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while given < 10_000:
            given += 1
            yield b" " * 1024

    answer = await house.client.post("/v1/sign-in", content=endless(), headers=JSON)
    problem(answer, 413, "payload_too_large")
    assert given <= 32

    async def short() -> AsyncIterator[bytes]:
        for at in range(len(GOOD)):
            yield GOOD[at : at + 1]

    problem(await house.client.post("/v1/sign-in", content=short(), headers=JSON), 401, "invalid_credentials")


@pytest.mark.case("K-103")
async def test_a_false_content_length_is_no_way_around_the_limit(house: House) -> None:
    headers = JSON | {"content-length": "10"}
    answer = await house.client.post("/v1/sign-in", content=b"x" * 200_000, headers=headers)
    assert answer.status_code in (400, 413)
    for length in ("-1", "abc", "1e3", "99999999999999999999"):
        answer = await house.client.post(
            "/v1/sign-in", content=GOOD, headers=JSON | {"content-length": length}
        )
        assert 400 <= answer.status_code < 500, (length, answer.text)


@pytest.mark.case("K-103")
@pytest.mark.parametrize("path", [*BODIES, *BODILESS])
async def test_only_unencoded_json_in_utf_8_is_read(house: House, path: str) -> None:
    known = await bearer(house)
    body = json.dumps(BODIES.get(path, {})).encode()
    types = [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/x-msgpack",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/jsonp",
        "application/json, text/plain",
        "application/problem+json",
        "",
    ]
    for kind in types:
        answer = await house.client.post(path, content=body, headers=known | {"content-type": kind})
        problem(answer, 415, "unsupported_media_type")
    problem(await house.client.post(path, content=body, headers=known), 415, "unsupported_media_type")
    for encoding in ("gzip", "GZIP", "deflate", "br", "gzip, gzip", "x"):
        answer = await house.client.post(
            path, content=gzip.compress(body), headers=JSON | known | {"content-encoding": encoding}
        )
        problem(answer, 415, "unsupported_media_type")
    assert (await house.client.get("/v1/me", headers=known)).status_code == 200
    for kind in ("application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'):
        answer = await house.client.post("/v1/sign-in", content=GOOD, headers={"content-type": kind})
        problem(answer, 401, "invalid_credentials")


@pytest.mark.case("K-103")
async def test_a_form_bomb_is_not_parsed(house: House) -> None:
    parts = b"".join(
        b'--x\r\ncontent-disposition: form-data; name="a%d"\r\n\r\n1\r\n' % n for n in range(250)
    )
    for kind, body in (
        ("multipart/form-data; boundary=x", parts + b"--x--\r\n"),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(2000))),
    ):
        answer = await house.client.post("/v1/sign-in", content=body, headers={"content-type": kind})
        problem(answer, 415, "unsupported_media_type")
