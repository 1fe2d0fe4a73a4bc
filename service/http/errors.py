"""The one writer that turns an error into an answer: problem+json (RFC 9457)."""

import json
from collections.abc import Mapping
from functools import reduce
from traceback import format_tb
from typing import Any

import structlog
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException

from service.errors import (
    DoorwardError,
    InsufficientScope,
    InternalError,
    InvalidClient,
    InvalidRequest,
    InvalidToken,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    RequestTimeout,
    Unauthenticated,
    UnsupportedMediaType,
)
from service.http.pointer import below

_log = structlog.get_logger()
_BY_STATUS = {
    404: NotFound,
    405: MethodNotAllowed,
    413: PayloadTooLarge,
    415: UnsupportedMediaType,
}


def problem(request: Request[Any, Any, State], error: Exception) -> Response[bytes]:
    """The handler of every exception."""
    fault = fault_of(error)
    state = request.scope["state"]
    state["outcome"] = {"code": fault.code, "reason": fault.private}
    issuer = request.app.state.world.settings.issuer
    body: dict[str, object] = {
        "type": f"{issuer}/errors/{fault.code}",
        "title": fault.title,
        "status": fault.status,
        "detail": fault.detail,
        "code": fault.code,
        "request_id": state["request_id"],
        **{name: value for name, value in fault.public.items() if name not in ("limit", "scope")},
    }
    return Response(
        json.dumps(body).encode(),
        status_code=fault.status,
        media_type="application/problem+json",
        headers=_headers(fault) | allowed(error),
    )


#: What the standard's own list of errors says for ours (RFC 6749 §5.2); the others keep their name.
_OAUTH = {
    "unsupported_media_type": "invalid_request",
    "payload_too_large": "invalid_request",
    "request_timeout": "invalid_request",
    "internal_error": "server_error",
}


def oauth(request: Request[Any, Any, State], error: Exception) -> Response[bytes]:
    """The handler of every exception at the OAuth endpoints (RFC 6749 §5.2)."""
    fault = fault_of(error)
    state = request.scope["state"]
    state["outcome"] = {"code": fault.code, "reason": fault.private}
    body = {
        # A request of the authorization endpoint that came pushed is refused in that endpoint's words.
        "error": fault.public.get("error", _OAUTH.get(fault.code, fault.code)),
        "error_description": fault.public.get("error_description", fault.detail),
        "code": fault.code,
        "request_id": state["request_id"],
    }
    headers = _headers(fault) | allowed(error) | {"Cache-Control": "no-store", "Pragma": "no-cache"}
    if isinstance(fault, InvalidClient):
        headers["WWW-Authenticate"] = 'Basic realm="doorward", charset="UTF-8"'
    return Response(
        json.dumps(body).encode(), status_code=fault.status, media_type="application/json", headers=headers
    )


def allowed(error: Exception) -> dict[str, str]:
    """The methods a resource does have, which a 405 must name (RFC 9110 §15.5.6)."""
    known = (error.headers or {}) if isinstance(error, MethodNotAllowedException) else {}
    return {"Allow": known["allow"]} if "allow" in known else {}


def _headers(fault: DoorwardError) -> dict[str, str]:
    headers = {}
    if isinstance(fault, InvalidToken):
        headers["WWW-Authenticate"] = 'Bearer realm="doorward", error="invalid_token"'
    elif isinstance(fault, InsufficientScope):
        scope = fault.public["scope"]
        headers["WWW-Authenticate"] = f'Bearer realm="doorward", error="insufficient_scope", scope="{scope}"'
    elif isinstance(fault, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="doorward"'
    if isinstance(fault, RequestTimeout):
        # The rest of the body is still on its way: nothing behind it could be told apart.
        headers["Connection"] = "close"
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    if isinstance(fault, RateLimited):
        headers["RateLimit-Policy"] = str(fault.public["limit"])
        name = headers["RateLimit-Policy"].partition(";")[0]
        headers["RateLimit"] = f"{name};r=0;t={fault.retry_after}"
    return headers


def fault_of(error: Exception) -> DoorwardError:
    """An exception as one of our errors; what is none of them is our fault, and logged."""
    if isinstance(error, DoorwardError):
        return error
    if isinstance(error, ValidationException):
        return _invalid(error)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return _BY_STATUS.get(error.status_code, InvalidRequest)(f"litestar: {type(error).__name__}")
    # No input may lead here. The log gets the place, but not the text: a driver's may hold a value.
    _log.error("fault", kind=type(error).__name__, trace=format_tb(error.__traceback__)[-6:])
    return InternalError(f"{type(error).__name__}")


def _invalid(error: ValidationException) -> InvalidRequest:
    """Point at each field that is wrong, without repeating its value, which may be a secret."""
    cause = error.__cause__
    faults = getattr(cause, "errors", None)
    if not isinstance(faults, list) and isinstance(error.extra, list):
        # Parameters of the query and the path; their own names, never what was sent.
        names = [str(item["key"]) for item in error.extra if "key" in item and item.get("source") != "body"]
        if names:
            wrong = [{"pointer": f"/{name}", "code": "not_valid"} for name in names]
            return InvalidRequest("parameters: " + ", ".join(names), errors=wrong)
    if not isinstance(faults, list):
        return InvalidRequest(
            "the body is missing or not of its form", errors=[{"pointer": "", "code": "missing"}]
        )
    errors = [{"pointer": reduce(below, item["loc"], ""), "code": str(item["type"])} for item in faults]
    return InvalidRequest("fields: " + ", ".join(map(_known, faults)), errors=errors)


def _known(fault: Mapping[str, Any]) -> str:
    """Where a fault is, for the log: an unknown field's name is the sender's, and may be a secret."""
    unknown = fault["type"] == "extra_forbidden"
    return reduce(below, fault["loc"][:-1] if unknown else fault["loc"], "") + ("/?" if unknown else "")
