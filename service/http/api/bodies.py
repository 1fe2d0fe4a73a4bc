"""The shapes of the JSON API's sign-in, its tokens and its problems. Unknown fields are refused."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from service.domain.accounts import is_line
from service.domain.sign_in import FRONTEND
from service.errors import CATALOGUE
from service.flows.enrolment import Codes, Enrolment
from service.flows.sign_in import Complete, Outcome
from service.flows.tokens import Tokens


class Body(BaseModel):
    """A request's body: strict types, no unknown field, and no input repeated in an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


def _as_uuid(value: object) -> object:
    return UUID(value) if isinstance(value, str) and len(value) == 36 else value


def one_line(value: str) -> str:
    """Printable text of one line, without the blanks around it. ValueError for anything else."""
    if not is_line(value):
        raise ValueError("must be text of one line")
    return value.strip()


def _name(value: str) -> str:
    if not (name := one_line(value)):
        raise ValueError("must not be blank")
    return name


Email = Annotated[str, Field(max_length=320, examples=["ada@example.com"])]
Password = Annotated[str, Field(max_length=512, examples=["correct horse battery staple"])]
Code = Annotated[str, Field(min_length=1, max_length=64, examples=["492039"])]
Token = Annotated[str, Field(min_length=1, max_length=512)]
Client = Annotated[str, Field(min_length=1, max_length=100)]
Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_name)]
Id = Annotated[UUID, BeforeValidator(_as_uuid)]


class SignIn(Body):
    email: Email
    password: Password
    client_id: Client = FRONTEND
    device_token: Token | None = None


class SecondFactor(Body):
    pre_auth_token: Token
    code: Code
    method: Literal["totp", "backup_code"] | None = None
    client_id: Client = FRONTEND


class StartEnrolment(Body):
    pre_auth_token: Token
    name: Name = "Authenticator"
    client_id: Client = FRONTEND


class ConfirmEnrolment(Body):
    pre_auth_token: Token
    id: Id
    code: Code
    client_id: Client = FRONTEND


class VerifyEmail(Body):
    pre_auth_token: Token
    client_id: Client = FRONTEND


class ChangePassword(Body):
    pre_auth_token: Token
    new_password: Password
    client_id: Client = FRONTEND


class Refresh(Body):
    refresh_token: Token
    client_id: Client = FRONTEND


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class BackupCodes(Answer):
    """Shown once, and never again."""

    set_id: UUID
    created_at: datetime
    codes: list[str] = Field(min_length=5, max_length=5, examples=[["K7QM-2XRT-9FHD"] * 5])

    @classmethod
    def of(cls, codes: Codes) -> "BackupCodes":
        return cls(set_id=codes.set_id, created_at=codes.created_at, codes=list(codes.texts))


class Session(Answer):
    id: UUID = Field(description="The `sid` of the tokens.")


class TokenSet(Answer):
    """Tokens of a session. `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    id_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int
    session: Session

    @classmethod
    def of(cls, tokens: Tokens) -> "TokenSet":
        return cls(**_token_fields(tokens))


class SignInComplete(TokenSet):
    """Nothing more is owed."""

    status: Literal["complete"] = "complete"
    device_token: str = Field(description="Send it with the next sign-in from this device.")
    backup_codes_left: int | None = None
    backup_codes: BackupCodes | None = None


class _Owed(Answer):
    pre_auth_token: str
    expires_in: int = Field(description="The life of the pre-auth token, seconds.")
    backup_codes_left: int | None = None
    backup_codes: BackupCodes | None = None


class SecondFactorRequired(_Owed):
    status: Literal["second_factor_required"] = "second_factor_required"
    methods: list[Literal["totp", "backup_code"]]
    attempts_left: int


class EnrolmentRequired(_Owed):
    status: Literal["enrolment_required"] = "enrolment_required"


class PasswordChangeRequired(_Owed):
    status: Literal["password_change_required"] = "password_change_required"


class EmailVerificationRequired(_Owed):
    status: Literal["email_verification_required"] = "email_verification_required"


SignInAnswer = (
    SignInComplete
    | SecondFactorRequired
    | EnrolmentRequired
    | PasswordChangeRequired
    | EmailVerificationRequired
)
_ARMS: dict[str, Callable[..., Any]] = {
    "second_factor": SecondFactorRequired,
    "enrolment": EnrolmentRequired,
    "password_change": PasswordChangeRequired,
    "email_verification": EmailVerificationRequired,
}


def sign_in_answer(outcome: Outcome) -> SignInAnswer:
    """The arm of the union for what a step led to."""
    told: dict[str, Any] = {
        "backup_codes_left": outcome.backup_codes_left,
        "backup_codes": BackupCodes.of(outcome.codes) if outcome.codes else None,
    }
    if isinstance(outcome, Complete):
        assert isinstance(outcome.opened, Tokens)  # a browser's session is opened by the pages alone
        return SignInComplete(
            **_token_fields(outcome.opened),
            **told,
            device_token=outcome.device_token,
        )
    told |= {"pre_auth_token": outcome.pre_auth_token, "expires_in": outcome.expires_in}
    if outcome.step == "second_factor":
        told |= {"methods": list(outcome.methods), "attempts_left": outcome.attempts_left}
    arm: SignInAnswer = _ARMS[outcome.step](**told)
    return arm


def _token_fields(tokens: Tokens) -> dict[str, Any]:
    return {
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "id_token": tokens.id_token,
        "expires_in": tokens.expires_in,
        "session": Session(id=tokens.session),
    }


class PendingAuthenticator(Answer):
    """A seed that waits for its first code: for its starter's eyes only."""

    id: UUID
    name: str
    secret: str = Field(description="Base32 in groups of four, to type by hand.")
    otpauth_uri: str
    qr_svg: str = Field(description="The URI as a QR code, an SVG document.")
    expires_at: datetime

    @classmethod
    def of(cls, enrolment: Enrolment) -> "PendingAuthenticator":
        return cls(
            id=enrolment.id,
            name=enrolment.name,
            secret=enrolment.secret,
            otpauth_uri=enrolment.otpauth_uri,
            qr_svg=enrolment.qr_svg,
            expires_at=enrolment.expires_at,
        )


class Problem(Answer):
    """RFC 9457. Branch on `code`; the texts may change."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(json_schema_extra={"enum": list(CATALOGUE)})]
    request_id: str
    errors: list[dict[str, str]] | None = None
    attempts_left: int | None = None
    replaced_at: datetime | None = None
    retry_after: int | None = None
    reason: str | None = None
    clock_skew: dict[str, int | str] | None = None
