"""Every refusal this service can give, as one tree.

DoorwardError
├── InvalidRequest              400  the request itself is wrong
│   ├── UnauthorizedClient      400  this client may not use this door
│   ├── PayloadTooLarge         413  ├── UnsupportedMediaType  415
│   ├── MethodNotAllowed        405
│   ├── RequestTimeout          408  the body did not arrive in time
│   ├── InvalidScope            400  ├── InvalidGrant          400
│   ├── UnsupportedGrantType    400  └── UnsupportedTokenType  400
├── Unauthenticated             401  who is asking is not proved
│   ├── InvalidCredentials           wrong pair, unknown and disabled alike
│   ├── InvalidPreAuthToken          unknown, expired, spent and exhausted alike
│   ├── InvalidCode                  a wrong second factor, with what would help
│   │   └── CodeAlreadyUsed          the last accepted step, or a used backup code
│   ├── InvalidRefreshToken          with the reason, to whoever holds a genuine one
│   ├── InvalidClient                a client that did not prove itself
│   └── InvalidToken                 a missing, expired or ended bearer token
├── Forbidden                   403
│   ├── InsufficientScope            ├── ReauthenticationRequired
│   ├── CsrfFailed                   a form or a cookie that another site may have sent
│   └── SecondFactorBlocked          a hundred failures in a row
├── NotFound                    404
├── Conflict                    409
│   ├── EnrolmentReplaced            ├── NoAuthenticator
│   ├── TooManyAuthenticators        ├── LastAuthenticator
│   ├── BackupCodesReplaced          ├── TwoFactorRequiredByPolicy
│   ├── EmailNotVerified
│   └── OwnAccount                   an administrator's act on themselves
├── PreconditionFailed          412  what was read has changed since
│   └── PreconditionRequired    428  it must say what was read
├── RateLimited                 429  with the seconds to wait
└── Unavailable                 503  a dependency is away, or the hash queue is full
    └── InternalError           500  a fault of our own; no input may reach it

An error has a public half (`code`, `status`, `title`, `detail` and `public`: safe to send) and a
private half (`private`: why, for the log and the tests; never sent). `CATALOGUE` is the list of
codes as data: it makes the documentation page, the OpenAPI enum and the pages behind `type`.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar


class DoorwardError(Exception):
    """The root. `public` holds extra members of the answer, such as `attempts_left`."""

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    detail: ClassVar[str]

    def __init__(self, private: str, **public: object) -> None:
        super().__init__(private)
        self.private = private
        self.public: Mapping[str, object] = {k: v for k, v in public.items() if v is not None}

    @property
    def retry_after(self) -> int | None:
        """Whole seconds after which trying again makes sense, where that is known."""
        value = self.public.get("retry_after")
        return value if isinstance(value, int) else None


class InvalidRequest(DoorwardError):
    code = "invalid_request"
    status = 400
    title = "The request is not valid"
    detail = "The request is malformed or a field has a wrong value; `errors` points at each."


class UnauthorizedClient(InvalidRequest):
    code = "unauthorized_client"
    title = "This client may not use this endpoint"
    detail = "The client is unknown, or it is not a first-party frontend."


class MethodNotAllowed(InvalidRequest):
    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"
    detail = "This resource exists, but it does not answer to this method."


class RequestTimeout(InvalidRequest):
    code = "request_timeout"
    status = 408
    title = "The request took too long to arrive"
    detail = "The body must arrive whole within 10 seconds; the connection is closed."


class PayloadTooLarge(InvalidRequest):
    code = "payload_too_large"
    status = 413
    title = "The body is too large"
    detail = "Bodies on this endpoint may hold at most 16 KiB."


class UnsupportedMediaType(InvalidRequest):
    code = "unsupported_media_type"
    status = 415
    title = "The content type is not supported"
    detail = "Send what the endpoint takes (JSON, or a form), in UTF-8, without a content encoding."


class InvalidScope(InvalidRequest):
    code = "invalid_scope"
    title = "The scope cannot be given"
    detail = "The scope is unknown, malformed, or beyond what was granted."


class InvalidGrant(InvalidRequest):
    code = "invalid_grant"
    title = "The grant is not valid"
    detail = "The code or refresh token is unknown, expired, used, revoked, or another client's."


class UnsupportedGrantType(InvalidRequest):
    code = "unsupported_grant_type"
    title = "This grant type is not supported"
    detail = "Use authorization_code, refresh_token or client_credentials."


class UnsupportedTokenType(InvalidRequest):
    code = "unsupported_token_type"
    title = "This kind of token cannot be revoked"
    detail = "A token of client_credentials is kept nowhere: it ends by its `exp`."


class Unauthenticated(DoorwardError):
    code = "unauthenticated"
    status = 401
    title = "Not signed in"
    detail = "This request proves nobody's identity."


class InvalidCredentials(Unauthenticated):
    code = "invalid_credentials"
    title = "The email or password is incorrect"
    detail = "No account matches this pair, or it cannot sign in."


class InvalidPreAuthToken(Unauthenticated):
    code = "invalid_pre_auth_token"
    title = "This sign-in can no longer go on"
    detail = "The pre-auth token is unknown, expired, spent, or belongs to another step. Start again."


class InvalidCode(Unauthenticated):
    code = "invalid_code"
    title = "That code is not valid"
    detail = "Codes change every 30 seconds; a backup code works once."


class CodeAlreadyUsed(InvalidCode):
    code = "code_already_used"
    title = "That code was already used"
    detail = "Each code opens one sign-in. Wait for the next one."


class InvalidRefreshToken(Unauthenticated):
    code = "invalid_refresh_token"
    title = "The refresh token is not valid"
    detail = "Sign in again; `reason` says why where the token was once genuine."


class InvalidClient(Unauthenticated):
    code = "invalid_client"
    title = "The client could not be authenticated"
    detail = "The client is unknown, or its authentication is missing, wrong, or of another method."


class InvalidToken(Unauthenticated):
    code = "invalid_token"
    title = "The access token is not valid"
    detail = "The token is missing, malformed, expired, or its session has ended."


class Forbidden(DoorwardError):
    code = "forbidden"
    status = 403
    title = "Not allowed"
    detail = "Whoever is asking may not do this."


class InsufficientScope(Forbidden):
    code = "insufficient_scope"
    title = "The token's scope does not cover this"
    detail = "Ask for the scope named in the WWW-Authenticate header."


class ReauthenticationRequired(Forbidden):
    code = "reauthentication_required"
    title = "Prove again that it is you"
    detail = "This needs a fresh proof of this session: POST /v1/reauthentication."


class CsrfFailed(Forbidden):
    code = "csrf_failed"
    title = "This request did not come from our own page"
    detail = "Go back to the page, reload it and try again; a script sends its `X-CSRF-Token`."


class SecondFactorBlocked(Forbidden):
    code = "second_factor_blocked"
    title = "The second factor is blocked"
    detail = "Too many failures in a row. An administrator can unblock it."


class NotFound(DoorwardError):
    code = "not_found"
    status = 404
    title = "Not found"
    detail = "There is nothing here."


class Conflict(DoorwardError):
    code = "conflict"
    status = 409
    title = "This does not fit the present state"
    detail = "The resource is in a state that does not allow this."


class EnrolmentReplaced(Conflict):
    code = "enrolment_replaced"
    title = "This enrolment is no longer open"
    detail = "It was replaced by a newer one, confirmed already, or has expired. Start again."


class NoAuthenticator(Conflict):
    code = "no_authenticator"
    title = "Two-factor authentication is off"
    detail = "Backup codes belong to an authenticator; add one first."


class TooManyAuthenticators(Conflict):
    code = "too_many_authenticators"
    title = "No more authenticators can be added"
    detail = "A person has at most eight; remove one first."


class LastAuthenticator(Conflict):
    code = "last_authenticator"
    title = "The last authenticator cannot be removed"
    detail = "Add another first, or turn two-factor authentication off."


class BackupCodesReplaced(Conflict):
    code = "backup_codes_replaced"
    title = "These backup codes were replaced already"
    detail = "A newer set exists; it was shown once."


class TwoFactorRequiredByPolicy(Conflict):
    code = "two_factor_required_by_policy"
    title = "Two-factor authentication is required here"
    detail = "A policy requires it, so it cannot be turned off."


class EmailNotVerified(Conflict):
    code = "email_not_verified"
    title = "The e-mail address is not confirmed"
    detail = "A second factor needs a confirmed address, by which its owner hears of changes to it."


class OwnAccount(Conflict):
    code = "own_account"
    title = "Not on your own account"
    detail = "An administrator acts on other people's accounts; use the account page for your own."


class PreconditionFailed(DoorwardError):
    code = "precondition_failed"
    status = 412
    title = "It has changed since you read it"
    detail = "No entity tag in If-Match is the present one. Read the resource again."


class PreconditionRequired(PreconditionFailed):
    code = "precondition_required"
    status = 428
    title = "Say which version you have read"
    detail = "Send If-Match with the entity tag of the last GET, or `*` for whatever is there now."


class RateLimited(DoorwardError):
    code = "rate_limited"
    status = 429
    title = "Too many attempts"
    detail = "Wait for the seconds in `retry_after`, then try again."


class Unavailable(DoorwardError):
    code = "temporarily_unavailable"
    status = 503
    title = "Temporarily unavailable"
    detail = "Nothing was decided. Wait for the seconds in `retry_after`, then try again."

    def __init__(self, private: str, *, retry_after: int = 1, **public: object) -> None:
        super().__init__(private, retry_after=retry_after, **public)


class InternalError(Unavailable):
    code = "internal_error"
    status = 500
    title = "Something went wrong on our side"
    detail = "It has been recorded under the request id."

    def __init__(self, private: str) -> None:
        DoorwardError.__init__(self, private)


class ConfigError(Exception):
    """The configuration does not hold; `faults` lists every fault, one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def _codes(root: type[DoorwardError]) -> Iterator[type[DoorwardError]]:
    for child in root.__subclasses__():
        yield child
        yield from _codes(child)


#: Every error by its stable code, in alphabetical order.
CATALOGUE: Mapping[str, type[DoorwardError]] = dict(
    sorted((error.code, error) for error in _codes(DoorwardError))
)
