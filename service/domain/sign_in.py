"""The sign-in as a state machine: what a person still owes before a session may open."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias
from uuid import UUID

from service.domain import backup_codes, policy

#: The built-in clients: the first-party frontend of the JSON API, and our own pages.
FRONTEND, PAGES = "doorward", "pages"

Kind: TypeAlias = Literal["totp", "backup_code"]


class Step(StrEnum):
    """What is owed next; the values stand in the API as `<value>_required`."""

    SECOND_FACTOR = "second_factor"
    EMAIL_VERIFICATION = "email_verification"
    PASSWORD_CHANGE = "password_change"
    ENROLMENT = "enrolment"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from. `browser` is the User-Agent, at most 300 characters; `place` is what a
    trusted proxy says of the address, or nothing."""

    address: str
    browser: str
    request_id: str
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A person as the sign-in sees them, and what they have proved so far (`amr`, RFC 8176). `trusted` is the
    browser that stands in for their second factor, if one does."""

    person: UUID
    sub: UUID
    email: str
    name: str
    roles: Sequence[str]
    epoch: int
    enrolled: bool
    email_verified: bool
    must_change_password: bool
    amr: Sequence[str]
    trusted: UUID | None = None

    @property
    def two_factors(self) -> bool:
        return "mfa" in self.amr


@dataclass(frozen=True, slots=True)
class Pending:
    """A live pre-auth token with its person. `failures` and `streak` are of the token's budget; only the
    hash pool reads `password_hash`."""

    digest: bytes
    id: UUID
    standing: Standing
    step: Step
    client: str
    known: bool
    attempts: int
    auth_time: datetime
    expires_at: datetime
    failures: Sequence[datetime]
    streak: int
    code_salt: bytes
    password_hash: str | None


def next_step(standing: Standing, required: Literal["off", "all"]) -> Step:
    """The one dispatcher: both factors come before anything a thief of the password could change.

    So a trusted browser stands in for the second one only where nothing else is owed.
    """
    later = _after_both(standing, required)
    stands_in = standing.trusted is not None and later is Step.COMPLETE
    if standing.enrolled and not standing.two_factors and not stands_in:
        return Step.SECOND_FACTOR
    return later


def _after_both(standing: Standing, required: Literal["off", "all"]) -> Step:
    if not standing.email_verified:
        return Step.EMAIL_VERIFICATION
    if standing.must_change_password:
        return Step.PASSWORD_CHANGE
    if policy.requires_two_factors(required) and not standing.enrolled:
        return Step.ENROLMENT
    return Step.COMPLETE


def with_factor(kind: Kind) -> Sequence[str]:
    """The `amr` of a password and a second factor of this kind."""
    return ("pwd", "otp" if kind == "totp" else "backup_code", "mfa")


def kind_of(code: str, method: Kind | None) -> Kind | None:
    """Which factor a text could be, or None when it has the shape of neither.

    Only ASCII digits are a TOTP code: other scripts' digits compare equal after normalisation, and
    would let the same code pass a check of its text twice.
    """
    if method != "backup_code" and re.fullmatch(r"[0-9]{6}|[0-9]{8}", code, re.ASCII):
        return "totp"
    if method != "totp" and backup_codes.canonical(code) is not None:
        return "backup_code"
    return None
