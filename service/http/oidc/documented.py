"""What the OpenAPI document says of the OAuth endpoints: forms in, RFC 6749 errors out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, Parameter, RequestBody, Schema

from service.errors import (
    DoorwardError,
    InvalidClient,
    InvalidRequest,
    PayloadTooLarge,
    RequestTimeout,
    Unavailable,
    UnsupportedMediaType,
)


class OAuthError(TypedDict):
    """RFC 6749 §5.2, and what tells our log and our documentation."""

    error: str
    error_description: str
    code: str
    request_id: str


class TokenAnswer(TypedDict):
    """RFC 6749 §5.1, OpenID Connect Core 1.0 §3.1.3.3; `expires_in` is in seconds."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    id_token: NotRequired[str]
    refresh_token: NotRequired[str]


class PushedRequest(TypedDict):
    """RFC 9126 §2.2; `expires_in` is in seconds."""

    request_uri: str
    expires_in: int


#: What any form can be refused with,
BODY = (InvalidRequest, RequestTimeout, PayloadTooLarge, UnsupportedMediaType)
#: and at any endpoint for clients.
FORM = (*BODY, InvalidClient, Unavailable)


def oauth_errors(*errors: type[DoorwardError]) -> dict[int, ResponseSpec]:
    """The answers of an endpoint that can be refused with these errors."""
    codes = {error.code: error.status for error in errors}
    return {
        status: ResponseSpec(
            OAuthError,
            generate_examples=False,
            description="`code` is one of: "
            + ", ".join(f"`{code}`" for code in sorted(codes) if codes[code] == status),
        )
        for status in sorted(set(codes.values()))
    }


def answer(form: Any, description: str, status: int = 200) -> dict[int, ResponseSpec]:
    return {status: ResponseSpec(form, generate_examples=False, description=description)}


def page_answers() -> dict[int, ResponseSpec]:
    """An endpoint that people's browsers come to: pages, and the ways on."""
    texts = {
        200: "A page",
        303: "The way on",
        400: "A page that says what is wrong: nothing is redirected",
        408: "The body did not arrive in time",
        413: "The body is too large",
        503: "Nothing was decided: try again",
    }
    return {
        status: ResponseSpec(str, media_type="text/html", generate_examples=False, description=text)
        for status, text in texts.items()
    }


def _text(description: str) -> Schema:
    return Schema(type=OpenAPIType.STRING, description=description)


#: How a client says who it is: one of HTTP Basic, `client_secret`, and an assertion; a public one by its id.
CLIENT: dict[str, str] = {
    "client_id": "Who asks, where neither HTTP Basic nor an assertion says it",
    "client_secret": "For client_secret_post",
    "client_assertion_type": "For private_key_jwt: urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "client_assertion": "For private_key_jwt: the signed JWT (RFC 7523 §3)",
}


#: A token that a client asks about, or gives back.
TOKEN: dict[str, str] = {
    "token": "An access or a refresh token",
    "token_type_hint": "Ignored: the kinds tell themselves apart",
}


def takes_form(fields: Mapping[str, str], *, required: Sequence[str] = ()) -> type[Operation]:
    """An operation that takes a form of these fields, by name with what each says."""
    body = RequestBody(
        required=True,
        content={
            "application/x-www-form-urlencoded": OpenAPIMediaType(
                schema=Schema(
                    type=OpenAPIType.OBJECT,
                    properties={name: _text(description) for name, description in fields.items()},
                    required=list(required) or None,
                )
            )
        },
    )

    @dataclass
    class TakesForm(Operation):
        def __post_init__(self) -> None:
            self.request_body = body

    return TakesForm


def takes_query(fields: Mapping[str, str], *, required: Sequence[str] = ()) -> type[Operation]:
    """An operation that takes these parameters in its query, by name with what each says."""
    parameters = [
        Parameter(name=name, param_in="query", required=name in required, schema=_text(description))
        for name, description in fields.items()
    ]

    @dataclass
    class TakesQuery(Operation):
        def __post_init__(self) -> None:
            self.parameters = [*parameters]

    return TakesQuery
