"""Refusals as their receivers read them."""

from typing import Any

import httpx

from service.errors import CATALOGUE

ISSUER = "http://127.0.0.1:8400"


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of a refusal, once it is proved to be the problem of this code."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
        answer.text
    )
    body: dict[str, Any] = answer.json()
    error = CATALOGUE[code]
    assert body["code"] == code, body
    assert body["status"] == status == error.status
    assert (body["title"], body["detail"]) == (error.title, error.detail)
    assert body["type"] == f"{ISSUER}/errors/{code}"
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def invalid(answer: httpx.Response, *pointers: str) -> None:
    """A 400 that points at just these fields."""
    body = problem(answer, 400, "invalid_request")
    found = {fault["pointer"] for fault in body["errors"]}
    assert found == set(pointers), body
