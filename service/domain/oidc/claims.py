"""What a portal is told of a person: by scope at the userinfo endpoint, and what it asks for by name.

OpenID Connect Core 1.0 §5.1, §5.4, §5.5. A claim that is not known is left out, never sent empty (§5.3.2).
"""

import json
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


#: The claims that a request may name to any effect (§5.5).
NAMES = frozenset({"sub", "acr", *(claim for claims in BY_SCOPE.values() for claim in claims)})


#: What a claims request may hold at most, characters, and where it may ask.
_MAX = 4_000
_PLACES = ("userinfo", "id_token")


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


def read(text: str) -> Mapping[str, Any] | None:
    """A claims request (§5.5): by place (`userinfo`, `id_token`) and name what may be asked to any effect.
    None for what is no such request."""
    if len(text) > _MAX:
        return None
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError):
        return None
    places = {place: asked.get(place, {}) for place in _PLACES} if isinstance(asked, dict) else {}
    if not places or not all(isinstance(wishes, dict) for wishes in places.values()):
        return None
    try:
        return {place: _wishes(wishes) for place, wishes in places.items()}
    except ValueError:
        return None


def _wishes(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a wish anything is made of: the claims that we know, each with whether it is essential and the
    values that would do. The rest is ignored (§5.5), and not kept. Raises ValueError for what is no text."""
    kept: dict[str, Any] = {}
    for name in NAMES & set(asked):
        wish = asked[name] if isinstance(asked[name], dict) else {}
        values = wish["values"] if isinstance(wish.get("values"), list) else []
        texts = [value for value in (wish.get("value"), *values) if isinstance(value, str)]
        if not all(text.isprintable() for text in texts):
            raise ValueError(name)
        kept[name] = {"essential": wish.get("essential") is True, "values": texts}
    return kept


def opened_by(asked: Mapping[str, Any], allowed: Sequence[str]) -> Mapping[str, Any]:
    """A claims request without the names that the client's scopes do not open: kept, they would be told once
    its record grew, without the person's word."""
    opened = _opened(allowed) | {"sub", "acr"}
    return {
        place: {name: wish for name, wish in wishes.items() if name in opened}
        for place, wishes in asked.items()
    }


def scopes_reached(asked: Mapping[str, Any]) -> set[str]:
    """The scopes whose claims are asked for by name: the person's word is needed for them as well."""
    names = {name for wishes in asked.values() for name in wishes}
    return {scope for scope, opened in BY_SCOPE.items() if names & set(opened)}


def subjects_wanted(asked: Mapping[str, Any]) -> Sequence[str]:
    """The `sub`s of which the ID token must be about one, if the request says so (§5.5.1): another person's
    sign-in is no answer to it."""
    values: Sequence[str] = asked.get("id_token", {}).get("sub", {}).get("values", [])
    return values


def acr_essential(asked: Mapping[str, Any]) -> Sequence[str]:
    """The authentication contexts of which one must be reached (§5.5.1.1); none where any will do."""
    wish = asked.get("id_token", {}).get("acr", {})
    values: Sequence[str] = wish.get("values", []) if wish.get("essential") else []
    return values


def _opened(scope: Sequence[str]) -> set[str]:
    return {claim for one in scope for claim in BY_SCOPE.get(one, ())}


def _named(asked: Mapping[str, Any], place: str, allowed: Sequence[str]) -> set[str]:
    """The claims that were asked for one by one, as far as the client might have had their scope: a name
    in a request must not open what its record keeps shut."""
    return set(asked.get(place, {})) & _opened(allowed)
