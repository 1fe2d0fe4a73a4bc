"""The shapes of the JSON API about one's own account. Unknown fields are refused."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from service.domain.sessions import EndReason
from service.flows.consents import Consent
from service.flows.me import Overview
from service.flows.me import Session as SessionKept
from service.flows.me import SignIn as SignInKept
from service.flows.trust import Browser as TrustedKept
from service.http.api.bodies import Answer, BackupCodes, Body, Code, Id, Name, Password, one_line
from service.http.user_agent import agent_of


def _lines(value: str) -> str:
    return "\n".join(map(one_line, value.split("\n")))


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(one_line)]
Lines = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_lines)]


class Reauthenticate(Body):
    password: Password
    code: Code | None = None


class StartAuthenticator(Body):
    name: Name = "Authenticator"


class RenameAuthenticator(Body):
    name: Name


class BackupCodesSaved(Body):
    set_id: Id


class DisableTwoFactor(Body):
    password: Password
    code: Code


class ChangeOwnPassword(Body):
    current_password: Password
    new_password: Password


class Address(Body):
    """The claim `address` (OpenID Connect Core §5.1.1)."""

    formatted: Lines | None = None
    street_address: Lines | None = None
    locality: Line | None = None
    region: Line | None = None
    postal_code: Line | None = None
    country: Line | None = None


Phone = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$", examples=["+4930901820"])]


class ChangeProfile(Body):
    """What is left out stays; `null` clears."""

    name: Annotated[str, Field(max_length=200), AfterValidator(one_line)] = ""
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")] | None = None
    phone_number: Phone | None = None
    address: Address | None = None

    def changes(self) -> dict[str, Any]:
        """The fields that were sent."""
        return self.model_dump(exclude_unset=True) | (
            {"address": self.address.model_dump(exclude_none=True) or None} if self.address else {}
        )


class ConfirmAuthenticator(Body):
    code: Code


class Authenticator(Answer):
    id: UUID
    name: str


class AuthenticatorListed(Authenticator):
    created_at: datetime


class AuthenticatorConfirmed(Answer):
    authenticator: Authenticator
    backup_codes: BackupCodes | None = Field(None, description="With the first authenticator only.")


class TwoFactor(Answer):
    status: Literal["activated", "not_activated"]
    authenticators: list[AuthenticatorListed]
    backup_codes_left: int
    backup_codes_created_at: datetime | None
    backup_codes_saved_at: datetime | None = Field(description="When their person said that they saved them.")
    required_by: Literal["policy"] | None


class Me(Answer):
    sub: UUID
    email: str
    email_verified: bool
    name: str
    language: str | None
    phone_number: str | None
    address: dict[str, str] | None
    roles: list[str]
    two_factor: TwoFactor

    @classmethod
    def of(cls, known: Overview) -> "Me":
        person, codes = known.person, known.codes
        return cls(
            sub=person.sub,
            email=person.email,
            email_verified=person.email_verified,
            name=person.name,
            language=person.language,
            phone_number=known.profile.phone_number,
            address=dict(known.profile.address) if known.profile.address else None,
            roles=list(person.roles),
            two_factor=TwoFactor(
                status="activated" if known.authenticators else "not_activated",
                authenticators=[
                    AuthenticatorListed(id=one.id, name=one.name, created_at=one.created_at)
                    for one in known.authenticators
                ],
                backup_codes_left=codes.left if codes else 0,
                backup_codes_created_at=codes.created_at if codes else None,
                backup_codes_saved_at=codes.saved_at if codes else None,
                required_by="policy" if known.required else None,
            ),
        )


class SteppedUp(Answer):
    """This session has proved itself; `expires_in` seconds is how long that counts."""

    expires_in: int


class SessionListed(Answer):
    """A sign-in on one device. `seen_at` and `seen_address` are of its last use."""

    id: UUID
    current: bool
    client_id: str
    browser: str | None
    os: str | None
    user_agent: str
    address: str
    place: str | None
    two_factor: bool
    created_at: datetime
    seen_at: datetime
    seen_address: str
    ended_at: datetime | None
    reason: EndReason | None = Field(description="Why it ended.")

    @classmethod
    def of(cls, one: SessionKept) -> "SessionListed":
        agent = agent_of(one.browser)
        return cls(
            id=one.id,
            current=one.current,
            client_id=one.client,
            browser=agent.browser,
            os=agent.os,
            user_agent=one.browser,
            address=one.address,
            place=one.place,
            two_factor=one.two_factors,
            created_at=one.created_at,
            seen_at=one.seen_at,
            seen_address=one.seen_address,
            ended_at=one.ended_at,
            reason=one.reason,
        )


class Sessions(Answer):
    data: list[SessionListed]
    next_cursor: UUID | None = Field(description="Send it as `cursor` for the next page.")


class TrustedBrowser(Answer):
    """One that needs no second factor until `expires_at`. `address` and `place` are where it was made one."""

    id: UUID
    current: bool
    browser: str | None
    os: str | None
    user_agent: str
    address: str
    place: str | None
    seen_address: str
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime

    @classmethod
    def of(cls, one: TrustedKept) -> "TrustedBrowser":
        agent = agent_of(one.browser)
        return cls(
            id=one.id,
            current=one.current,
            browser=agent.browser,
            os=agent.os,
            user_agent=one.browser,
            address=one.address,
            place=one.place,
            seen_address=one.seen_address,
            created_at=one.created_at,
            used_at=one.used_at,
            expires_at=one.expires_at,
        )


class TrustedBrowsers(Answer):
    data: list[TrustedBrowser]


class SessionsEnded(Answer):
    ended: int


class ConsentListed(Answer):
    """What one third party may have without asking again."""

    client_id: str
    name: str
    scopes: list[str]
    granted_at: datetime

    @classmethod
    def of(cls, one: Consent) -> "ConsentListed":
        return cls(client_id=one.client_id, name=one.name, scopes=list(one.scopes), granted_at=one.granted_at)


class Consents(Answer):
    data: list[ConsentListed]


class SignInListed(Answer):
    """A sign-in, or a try at one. `method` is what completed it, or failed."""

    id: UUID
    at: datetime
    result: Literal["ok", "failed", "refused"]
    method: Literal["password", "totp", "backup_code"] | None
    session: UUID | None
    address: str | None
    place: str | None
    browser: str | None
    os: str | None
    user_agent: str | None

    @classmethod
    def of(cls, one: SignInKept) -> "SignInListed":
        agent = agent_of(one.browser or "")
        return cls(
            id=one.id,
            at=one.at,
            result=one.result,
            method=one.method,
            session=one.session,
            address=one.address,
            place=one.place,
            browser=agent.browser,
            os=agent.os,
            user_agent=one.browser,
        )


class SignIns(Answer):
    data: list[SignInListed]
    next_cursor: UUID | None = Field(description="Send it as `cursor` for the next page.")
