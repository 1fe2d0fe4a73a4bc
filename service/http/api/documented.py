"""What the OpenAPI document says of refusals, of bodies and of the bearer token."""

from dataclasses import dataclass
from typing import Any

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Operation, RequestBody, Schema
from litestar.plugins.pydantic import PydanticSchemaPlugin

from service.errors import (
    CodeAlreadyUsed,
    CsrfFailed,
    DoorwardError,
    InsufficientScope,
    InvalidCode,
    InvalidRequest,
    InvalidToken,
    PayloadTooLarge,
    RateLimited,
    RequestTimeout,
    SecondFactorBlocked,
    Unavailable,
    UnsupportedMediaType,
)
from service.http.api.bodies import Body, Problem

#: A bearer token, or from our own pages the session cookie with `X-CSRF-Token`.
BEARER = [{"bearer": list[str]()}, {"cookie": list[str]()}]
#: What any request that may carry a body can be refused with,
BODY = (InvalidRequest, RequestTimeout, PayloadTooLarge, UnsupportedMediaType)
#: any that asks who is there,
CALLER = (InvalidRequest, InvalidToken, InsufficientScope, Unavailable)
#: any by which somebody signed in does something,
ACTING = (*BODY, *CALLER, CsrfFailed)
#: and any that tries a second factor.
CODE = (InvalidCode, CodeAlreadyUsed, SecondFactorBlocked, RateLimited)


def problems(*errors: type[DoorwardError]) -> dict[int, ResponseSpec]:
    """The problem+json answers of an operation that can be refused with these errors."""
    codes = {error.code: error.status for error in errors}
    return {
        status: ResponseSpec(
            Problem,
            generate_examples=False,
            media_type="application/problem+json",
            description="`code` is one of: "
            + ", ".join(f"`{code}`" for code in sorted(codes) if codes[code] == status),
        )
        for status in sorted(set(codes.values()))
    }


class StrictBodies(PydanticSchemaPlugin):
    """Says of each body what Litestar leaves out: that an unknown field is refused."""

    @classmethod
    def for_pydantic_model(cls, field_definition: Any, schema_creator: Any) -> Schema:
        schema = super().for_pydantic_model(field_definition, schema_creator)
        if issubclass(field_definition.annotation, Body):
            schema.additional_properties = False
        return schema


@dataclass
class Parametrised(Operation):
    """An operation with a parameter in its path: one that does not fit is 404. Litestar claims a 400 of
    its own form."""

    def __post_init__(self) -> None:
        for status, answer in list((self.responses or {}).items()):
            if status == "400" and "application/json" in (getattr(answer, "content", None) or {}):
                del (self.responses or {})[status]


@dataclass
class BodyOptional(Operation):
    """An operation whose body may be left out."""

    def __post_init__(self) -> None:
        if isinstance(self.request_body, RequestBody):
            self.request_body.required = False
