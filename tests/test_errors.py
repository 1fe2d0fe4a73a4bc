"""The catalogue of errors: a code, once given, does not disappear."""

from service.errors import CATALOGUE, DoorwardError, InternalError, RateLimited, Unavailable

#: Codes that clients branch on. A new one is added here; none is ever removed.
CODES = {
    "backup_codes_replaced": 409,
    "code_already_used": 401,
    "conflict": 409,
    "csrf_failed": 403,
    "email_not_verified": 409,
    "enrolment_replaced": 409,
    "forbidden": 403,
    "insufficient_scope": 403,
    "internal_error": 500,
    "invalid_client": 401,
    "invalid_code": 401,
    "invalid_credentials": 401,
    "invalid_grant": 400,
    "invalid_pre_auth_token": 401,
    "invalid_refresh_token": 401,
    "invalid_request": 400,
    "invalid_scope": 400,
    "invalid_token": 401,
    "last_authenticator": 409,
    "method_not_allowed": 405,
    "no_authenticator": 409,
    "not_found": 404,
    "own_account": 409,
    "payload_too_large": 413,
    "precondition_failed": 412,
    "precondition_required": 428,
    "rate_limited": 429,
    "reauthentication_required": 403,
    "request_timeout": 408,
    "second_factor_blocked": 403,
    "temporarily_unavailable": 503,
    "too_many_authenticators": 409,
    "two_factor_required_by_policy": 409,
    "unauthenticated": 401,
    "unauthorized_client": 400,
    "unsupported_grant_type": 400,
    "unsupported_media_type": 415,
    "unsupported_token_type": 400,
}


def test_the_catalogue_holds_every_code_with_its_status() -> None:
    assert {code: error.status for code, error in CATALOGUE.items()} == CODES


def test_every_error_has_a_public_half_in_words() -> None:
    for error in CATALOGUE.values():
        assert error.title
        assert not error.title.endswith(".")
        assert error.detail.endswith(".")


def test_the_tree_in_the_docstring_names_every_error() -> None:
    import service.errors

    assert service.errors.__doc__ is not None
    tree: list[type[DoorwardError]] = [DoorwardError, *CATALOGUE.values()]
    for error in tree:
        assert error.__name__ in service.errors.__doc__


def test_the_private_half_stays_private_and_nothing_public_is_none() -> None:
    fault = RateLimited("why it was so", retry_after=3, replaced_at=None)
    assert fault.private == "why it was so"
    assert dict(fault.public) == {"retry_after": 3}
    assert fault.retry_after == 3
    assert Unavailable("x").retry_after == 1
    assert InternalError("x").retry_after is None
