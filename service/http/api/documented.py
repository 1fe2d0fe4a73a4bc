"""What the OpenAPI document says of refusals and of the bearer token."""

from litestar.openapi.datastructures import ResponseSpec

from service.errors import CATALOGUE
from service.http.api.bodies import Problem

BEARER = [{"bearer": list[str]()}]


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The problem+json answers of an operation, each with the codes that may stand in it."""
    return {
        status: ResponseSpec(
            Problem,
            generate_examples=False,
            media_type="application/problem+json",
            description="`code` is one of: "
            + ", ".join(f"`{code}`" for code, error in CATALOGUE.items() if error.status == status),
        )
        for status in statuses
    }
