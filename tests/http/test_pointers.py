"""Where a fault is: told to the sender as a JSON Pointer (RFC 6901), to the log without a name of theirs."""

import json

import httpx
import pytest
from structlog.testing import capture_logs

from tests.http.problems import invalid, problem

SIGN_IN = {"email": "a@example.com", "password": "test-value"}
JSON = [("content-type", "application/json")]


@pytest.mark.parametrize(
    ("name", "pointer"),
    [
        ("a/b~c", "/a~1b~0c"),
        ("~1", "/~01"),
        ("", "/"),
        # Cut short first: half an escape would point elsewhere.
        ("x" * 63 + "/y", "/" + "x" * 63 + "~1"),
    ],
)
async def test_the_name_of_an_unknown_field_is_escaped(
    client: httpx.AsyncClient, name: str, pointer: str
) -> None:
    invalid(await client.post("/v1/sign-in", json=SIGN_IN | {name: 1}), pointer)


async def test_what_is_no_text_is_pointed_at_in_the_same_way(client: httpx.AsyncClient) -> None:
    body = '{"a/b~c": {"' + "x" * 63 + '/y": "\\u0000"}}'
    answer = await client.post("/v1/sign-in", content=body, headers=JSON)
    invalid(answer, "/a~1b~0c/" + "x" * 63 + "~1")


async def test_the_log_holds_no_name_of_the_senders_own(client: httpx.AsyncClient) -> None:
    with capture_logs() as logged:
        answer = await client.post("/v1/sign-in", json={"email": 1, "hunter2": 1, "a": {"hunter3": 1}})
    invalid(answer, "/email", "/password", "/hunter2", "/a")
    assert "hunter" not in json.dumps(logged)
    (request,) = [event for event in logged if event["event"] == "request"]
    assert sorted(request["reason"].removeprefix("fields: ").split(", ")) == [
        "/?",
        "/?",
        "/email",
        "/password",
    ]


@pytest.mark.parametrize(
    "headers",
    [
        [*JSON, *JSON],
        [*JSON, ("content-type", "text/plain")],
        [("content-type", "text/plain"), *JSON],
        [*JSON, ("content-encoding", "identity"), ("content-encoding", "gzip")],
        [*JSON, ("content-encoding", "identity"), ("content-encoding", "identity")],
    ],
)
async def test_a_header_that_stands_twice_is_no_type_and_no_encoding(
    client: httpx.AsyncClient, headers: list[tuple[str, str]]
) -> None:
    answer = await client.post("/v1/sign-in", content=json.dumps(SIGN_IN), headers=headers)
    problem(answer, 415, "unsupported_media_type")
