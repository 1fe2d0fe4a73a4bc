"""What a request still needs before its code may be given, and what is said where nothing may be asked.

OpenID Connect Core 1.0 §3.1.2.1, §3.1.2.3, §3.1.2.6.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, TypeAlias
from uuid import UUID

from service.domain import sessions
from service.domain.oidc import claims
from service.domain.oidc.authorize import AuthorizationRequest, Refusal
from service.domain.oidc.clients import Client

#: What a person says to a request: go on as who is signed in; let the client have what it asks for, or not.
Decision: TypeAlias = Literal["stay", "allow", "deny"]


class Owed(StrEnum):
    """What has to happen next."""

    SIGN_IN = "sign_in"
    ACCOUNT = "account"
    REAUTHENTICATION = "reauthentication"
    ENROLMENT = "enrolment"
    CONSENT = "consent"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whoever is signed in in this browser, as the request needs to know them. `allowed` are the scopes that
    they have allowed the client before."""

    session: UUID
    sub: UUID
    amr: Sequence[str]
    auth_time: datetime
    enrolled: bool
    allowed: Sequence[str]


@dataclass(frozen=True, slots=True)
class Said:
    """What is known of a request under way: since when it is, about whom (the `sub` of its hint), and the
    sessions in which the person chose to go on, allowed it, or denied it."""

    begun_at: datetime
    hinted: str | None
    chosen_by: UUID | None
    allowed_by: UUID | None
    denied_by: UUID | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a client, and what was said to it."""

    request: AuthorizationRequest
    client: Client
    said: Said

    def answered_by(self, person: SignedIn) -> bool:
        """Whether the sign-in was made since the request began: whoever was sent to the form and came back
        has done what was asked."""
        return person.auth_time >= self.said.begun_at


Verdict: TypeAlias = Owed | Refusal | None
Step: TypeAlias = Callable[[Asked, SignedIn, datetime], Verdict]


def _the_right_one(asked: Asked, person: SignedIn, _: datetime) -> Verdict:
    """An answer must never be about another person than was asked for (§5.5.1, §3.1.2.1)."""
    sub, subjects = str(person.sub), claims.subjects_wanted(asked.request.claims)
    if asked.said.hinted in (None, sub) and (not subjects or sub in subjects):
        return None
    if asked.answered_by(person):
        return Refusal("login_required", "another person signed in than was asked for")
    return Owed.SIGN_IN


def _account(asked: Asked, person: SignedIn, _: datetime) -> Verdict:
    if "select_account" not in asked.request.prompt:
        return None
    chosen = asked.answered_by(person) or asked.said.chosen_by == person.session
    return None if chosen else Owed.ACCOUNT


def _fresh(asked: Asked, person: SignedIn, now: datetime) -> Verdict:
    """As lately as the request wants: `prompt=login`, or `max_age` seconds ago.

    A fresh proof is one of everything the person has, as at our own reauthentication: the password that a
    trusted browser was enough for is none, however young.
    """
    whole = not person.enrolled or sessions.acr(person.amr) == sessions.ACR_2FA
    if whole and asked.answered_by(person):
        return None
    age = asked.request.max_age
    old = age is not None and not (whole and person.auth_time + timedelta(seconds=age) > now)
    return Owed.REAUTHENTICATION if old or "login" in asked.request.prompt else None


def _strong(asked: Asked, person: SignedIn, _: datetime) -> Verdict:
    """With the factors that the request wants. A wish that names one factor among others is met by one."""
    essential = claims.acr_essential(asked.request.claims)
    wanted = essential or asked.request.acr_values
    reached = sessions.acr(person.amr)
    if not wanted or reached in wanted:
        return None
    if sessions.ACR_2FA in wanted and reached != sessions.ACR_2FA:
        return Owed.REAUTHENTICATION if person.enrolled else Owed.ENROLMENT
    if essential:
        return Refusal("unmet_authentication_requirements", "the authentication context cannot be reached")
    return None


def _consent(asked: Asked, person: SignedIn, _: datetime) -> Verdict:
    """A third party needs the person's word, and whoever asks for it by `prompt=consent` needs it anew."""
    if asked.said.denied_by == person.session:
        return Refusal("access_denied", "the person said no")
    again = "consent" in asked.request.prompt and asked.said.allowed_by != person.session
    known = asked.client.first_party or set(asked.request.consent) <= set(person.allowed)
    return None if known and not again else Owed.CONSENT


#: The order in which things are asked of somebody who is signed in; the first is the next.
STEPS: tuple[Step, ...] = (_the_right_one, _account, _fresh, _strong, _consent)

#: What the client is told of each where it wants nothing shown (`prompt=none`).
_SILENT: Mapping[Owed, Refusal] = {
    Owed.SIGN_IN: Refusal("login_required", "somebody has to sign in"),
    Owed.ACCOUNT: Refusal("account_selection_required", "an account has to be chosen"),
    Owed.REAUTHENTICATION: Refusal("login_required", "the person has to prove anew that it is them"),
    Owed.ENROLMENT: Refusal("interaction_required", "the person has to set up a second factor"),
    Owed.CONSENT: Refusal("consent_required", "the person has not allowed this"),
}


def takes_trust(request: AuthorizationRequest) -> bool:
    """Whether a sign-in of a password in a trusted browser can answer a request: it is no fresh proof, and of
    one factor."""
    wanted = claims.acr_essential(request.claims) or request.acr_values
    strong = sessions.ACR_2FA in wanted and sessions.ACR_1FA not in wanted
    return not strong and request.max_age is None and "login" not in request.prompt


def judge(
    request: AuthorizationRequest, client: Client, said: Said, person: SignedIn | None, now: datetime
) -> Verdict:
    """What is owed next, why it is refused, or None where the code may be given."""
    asked = Asked(request, client, said)
    verdict: Verdict = Owed.SIGN_IN if person is None else None
    for step in STEPS:
        if verdict is None and person is not None:
            verdict = step(asked, person, now)
    if isinstance(verdict, Owed) and "none" in asked.request.prompt:
        return _SILENT[verdict]
    return verdict
