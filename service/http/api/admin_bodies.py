"""The shapes of the JSON API's administration. Unknown fields are refused."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from service.domain.administration import MAX_REASON, Role
from service.flows import admin as flow
from service.flows import people
from service.http.api.account_bodies import AuthenticatorListed
from service.http.api.bodies import Answer, Body, one_line


def _said(value: str) -> str:
    if not (text := one_line(value)):
        raise ValueError("must not be blank")
    return text


def _once(roles: list[Role]) -> list[Role]:
    if len(set(roles)) < len(roles):
        raise ValueError("must not stand twice")
    return roles


Reason = Annotated[str, Field(min_length=1, max_length=MAX_REASON), AfterValidator(_said)]


class ChangeUser(Body):
    """What is left out stays."""

    status: Literal["active", "disabled"] = "active"
    roles: Annotated[list[Role], AfterValidator(_once)] = Field([], max_length=3)

    def changes(self) -> flow.Changes:
        """The fields that were sent."""
        sent = self.model_fields_set
        return flow.Changes(
            self.status if "status" in sent else None, self.roles if "roles" in sent else None
        )


class ResetTwoFactor(Body):
    reason: Reason = Field(description="Why; it is written down, and the person is not told.")


class UserTwoFactor(Answer):
    """The state of a second factor, never its secrets. `pending`: it is required, and there is none;
    `overdue`: no time is left for it. `blocked`: too many failures stand in a row."""

    status: Literal["activated", "not_activated"]
    since: datetime | None
    pending: bool
    overdue: bool
    backup_codes_left: int
    codes_low: bool
    blocked: bool


class UserListed(Answer):
    id: UUID
    sub: UUID = Field(description="The identifier that clients know.")
    email: str
    email_verified: bool
    name: str
    roles: list[str]
    status: Literal["active", "disabled"]
    disabled_at: datetime | None
    two_factor: UserTwoFactor
    created_at: datetime
    signed_in_at: datetime | None = Field(description="When the last session began.")

    @classmethod
    def of(cls, one: people.Known) -> "UserListed":
        return cls(
            id=one.id,
            sub=one.sub,
            email=one.email,
            email_verified=one.email_verified,
            name=one.name,
            roles=list(one.roles),
            status="disabled" if one.disabled else "active",
            disabled_at=one.disabled_at,
            two_factor=UserTwoFactor(
                status="activated" if one.activated else "not_activated",
                since=one.two_factor_since,
                pending=one.pending,
                overdue=one.overdue,
                backup_codes_left=one.codes_left,
                codes_low=one.codes_low,
                blocked=one.blocked,
            ),
            created_at=one.created_at,
            signed_in_at=one.signed_in_at,
        )


class Counted(Answer):
    """How many people; where it is not `exact` there are more."""

    count: int
    exact: bool

    @classmethod
    def of(cls, count: people.Count) -> "Counted":
        return cls(count=count.people, exact=count.exact)


class Users(Answer):
    data: list[UserListed]
    next_cursor: str | None = Field(
        description="Send it as `cursor`, with the same `sort`, for the next page."
    )
    matching: Counted
    total: Counted

    @classmethod
    def listed(
        cls, found: Sequence[people.Known], cursor: str | None, counts: Sequence[people.Count]
    ) -> "Users":
        matching, total = map(Counted.of, counts)
        return cls(
            data=[UserListed.of(one) for one in found], next_cursor=cursor, matching=matching, total=total
        )


class User(Answer):
    """One person. The entity tag of the answer is theirs."""

    user: UserListed
    authenticators: list[AuthenticatorListed]

    @classmethod
    def of_account(cls, account: flow.Account) -> "User":
        present = account.authenticators
        return cls(
            user=UserListed.of(account.person),
            authenticators=[
                AuthenticatorListed(id=one.id, name=one.name, created_at=one.created_at) for one in present
            ],
        )


class TwoFactorReset(Answer):
    """How many authenticators there were; none when it was off already."""

    removed: int
