"""The OpenAPI document is true: where a schema or a status is easily wrong, it is looked at."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.documented import undocumented


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parents[2] / "openapi" / "openapi.json").read_text())
    return found


def test_an_answer_that_is_not_documented_is_told() -> None:
    answer = httpx.Response(418)
    assert undocumented("POST", "/v1/sign-in", answer) == "POST /v1/sign-in: 418 is not documented"
    wrong = httpx.Response(
        401, headers={"content-type": "application/problem+json"}, json={"code": "invalid_token"}
    )
    assert (
        undocumented("POST", "/v1/sign-in", wrong) == "POST /v1/sign-in: 401 invalid_token is not documented"
    )
    assert undocumented("GET", "/nowhere", answer) is None


def test_no_answer_is_claimed_in_a_form_of_the_framework(document: dict[str, Any]) -> None:
    pages = {"/oauth2/authorize", "/oauth2/logout"}
    for path, operations in document["paths"].items():
        form = "application/json" if path.startswith("/oauth2/") else "application/problem+json"
        form = "text/html" if path in pages else form
        if path == "/oauth2/jwks":
            form = "application/problem+json"
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path != "/readyz":
                    assert list(answer["content"]) == [form], (path, status)
                    if form == "application/json":
                        assert answer["content"][form]["schema"]["$ref"].endswith("OAuthError")


def test_every_body_refuses_unknown_fields(document: dict[str, Any]) -> None:
    schemas, bodies = document["components"]["schemas"], 0
    for operations in document["paths"].values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                arms = content["schema"].get("oneOf", [content["schema"]])
                for arm in (arm for arm in arms if "$ref" in arm):
                    bodies += 1
                    assert schemas[arm["$ref"].rpartition("/")[2]]["additionalProperties"] is False
    assert bodies > 9


def test_what_may_be_left_out_is_not_required(document: dict[str, Any]) -> None:
    starts = document["paths"]["/v1/me/two-factor/authenticators"]["post"]
    assert starts["requestBody"]["required"] is False


@pytest.mark.parametrize(
    "path", ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/oauth2/jwks"]
)
async def test_metadata_and_keys_are_objects(
    client: httpx.AsyncClient, document: dict[str, Any], path: str
) -> None:
    schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    assert schema["type"] == "object"
    assert set(schema.get("required", [])) <= set((await client.get(path)).json())


async def test_an_unknown_error_code_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.get("/errors/nothing")).status_code == 404


@pytest.mark.parametrize("path", ["/openapi", "/openapi/openapi.json"])
async def test_the_service_gives_its_own_document(
    client: httpx.AsyncClient, document: dict[str, Any], path: str
) -> None:
    assert (await client.get(path)).json()["paths"] == document["paths"]
