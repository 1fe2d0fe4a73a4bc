"""What a portal is told of a person: by scope at the userinfo endpoint, and what it asks for by name.

OpenID Connect Core 1.0 §5.1, §5.4, §5.5. A claim that is not known is left out, never sent empty (§5.3.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

#: The claims that each scope opens (§5.4), of those we can fill in.
BY_SCOPE: Mapping[str, tuple[str, ...]] = {
    "profile": ("name", "locale"),
    "email": ("email", "email_verified"),
    "phone": ("phone_number", "phone_number_verified"),
    "address": ("address",),
}


@dataclass(frozen=True, slots=True)
class Known:
    """A person as their claims are made from them."""

    sub: UUID
    name: str
    language: str | None
    email: str
    email_verified: bool
    phone_number: str | None
    address: Mapping[str, str] | None

    def claims(self) -> Mapping[str, Any]:
        """Every claim there is a value for. Nobody has proved the phone number, which is said with it."""
        values = {
            "name": self.name or None,
            "locale": self.language,
            "email": self.email,
            "email_verified": self.email_verified,
            "phone_number": self.phone_number,
            "phone_number_verified": None if self.phone_number is None else False,
            "address": dict(self.address) if self.address else None,
        }
        return {name: value for name, value in values.items() if value is not None}


def for_userinfo(
    person: Known, scope: Sequence[str], asked: Mapping[str, Any], allowed: Sequence[str]
) -> Mapping[str, Any]:
    """`sub`, what the granted `scope` opens, and what was `asked` by name (the `claims` parameter)."""
    opened = _opened(scope) | _named(asked, "userinfo", allowed)
    return {"sub": str(person.sub)} | {k: v for k, v in person.claims().items() if k in opened}


def for_id_token(person: Known, asked: Mapping[str, Any], allowed: Sequence[str]) -> Mapping[str, Any]:
    """What was asked into the ID token by name. In the code flow nothing else of a person stands there
    (§5.4): whoever wants the rest asks the userinfo endpoint."""
    named = _named(asked, "id_token", allowed)
    return {k: v for k, v in person.claims().items() if k in named}


def subject_wanted(asked: Mapping[str, Any]) -> str | None:
    """The `sub` that the ID token must be about, if the request says so (§5.5.1): another person's sign-in
    is no answer to it."""
    member = asked.get("id_token", {}).get("sub")
    value = member.get("value") if isinstance(member, Mapping) else None
    return value if isinstance(value, str) else None


def acr_essential(asked: Mapping[str, Any]) -> Sequence[str]:
    """The authentication contexts of which one must be reached (§5.5.1.1); none where any will do."""
    member = asked.get("id_token", {}).get("acr")
    if not isinstance(member, Mapping) or member.get("essential") is not True:
        return []
    values = member.get("values", [member.get("value")])
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _opened(scope: Sequence[str]) -> set[str]:
    return {claim for one in scope for claim in BY_SCOPE.get(one, ())}


def _named(asked: Mapping[str, Any], place: str, allowed: Sequence[str]) -> set[str]:
    """The claims that were asked for one by one, as far as the client might have had their scope: a name
    in a request must not open what its record keeps shut."""
    return set(asked.get(place, {})) & _opened(allowed)
