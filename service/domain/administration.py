"""Who may administer what, and how people are looked for: filters, searches, orders, where a page ends."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Literal, TypeAlias, get_args
from uuid import UUID

from service.domain.accounts import is_line

Role: TypeAlias = Literal["admin", "support", "auditor"]
ROLES: Sequence[Role] = get_args(Role)
Act: TypeAlias = Literal["read", "end_sessions", "reset_two_factor", "unlock", "disable", "enable", "roles"]
#: What each role may do (contract §5).
MAY: Mapping[str, Sequence[Act]] = {
    "admin": get_args(Act),
    "support": ("read", "end_sessions"),
    "auditor": ("read",),
}

TwoFactor: TypeAlias = Literal["all", "activated", "not_activated", "pending", "overdue", "codes_low"]
Status: TypeAlias = Literal["all", "active", "disabled"]
Sort: TypeAlias = Literal["email", "name", "created_at"]
#: Unused backup codes of somebody whose codes run low, at most.
LOW = 2
#: Characters of a search, and of a cursor.
MAX_SEARCH, _MAX_CURSOR = 200, 4000
#: Characters of a reason.
MAX_REASON = 300


class Standing(IntEnum):
    """What the filters are made of, as the column `person.standing` tells it."""

    WITHOUT = 0
    ACTIVATED = 1
    CODES_LOW = 2
    DISABLED_WITHOUT = 3
    DISABLED_ACTIVATED = 4
    DISABLED_CODES_LOW = 5


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is sorted by, `down` from the last; people who are alike in it, by their ids."""

    sort: Sort = "email"
    down: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of a list ended: the value it is sorted by, and the person's id."""

    value: str | datetime
    id: UUID


def may(roles: Sequence[str], act: Act, upon: Sequence[str] = ()) -> bool:
    """Whether one of a person's roles allows an act, upon somebody with other roles. Whoever has one is an
    administrator's to act upon: else a helper could keep every administrator signed out."""
    return any(act in MAY.get(role, ()) and (role == "admin" or act == "read" or not upon) for role in roles)


def reason(text: str) -> str | None:
    """Why an act is done, as it is written down: one line that says something; None for what is none."""
    said = text.strip()
    return said if 0 < len(said) <= MAX_REASON and is_line(said) else None


def standings(two_factor: TwoFactor, status: Status, *, required: bool) -> Sequence[Standing]:
    """Whom the filters let through. `required`: the policy asks a second factor of everybody.

    `pending` is whoever has none though it is required of them; `overdue` those of them who have no time
    left. The policy gives no time yet: whoever signs in is led through the enrolment, so that both are the
    same people, and nobody where nothing is required. `codes_low` has at most two unused codes.
    """
    named: Mapping[TwoFactor, Sequence[Standing]] = {
        "all": (Standing.WITHOUT, Standing.ACTIVATED, Standing.CODES_LOW),
        "activated": (Standing.ACTIVATED, Standing.CODES_LOW),
        "not_activated": (Standing.WITHOUT,),
        "pending": (Standing.WITHOUT,) if required else (),
        "overdue": (Standing.WITHOUT,) if required else (),
        "codes_low": (Standing.CODES_LOW,),
    }
    active = named[two_factor]
    disabled = [Standing(one + Standing.DISABLED_WITHOUT) for one in active]
    return {"all": [*active, *disabled], "active": active, "disabled": disabled}[status]


def identifier(search: str) -> UUID | None:
    """The id that a search asks for, in the usual form of 36 characters."""
    text = search.strip()
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def words(search: str) -> str | None:
    """A search as a tsquery: people of whom each of its words begins a word. None for no words."""
    quoted = ["'" + word.replace("\\", "\\\\").replace("'", "''") + "':*" for word in search.split()]
    return " & ".join(quoted) or None


def cursor(order: Order, place: Place) -> str:
    """A place as it is sent: base64url of the order, the value and the id. It tells its holder nothing that
    the page before it did not."""
    value = place.value.isoformat() if isinstance(place.value, datetime) else place.value
    text = json.dumps([order.sort, order.down, value, str(place.id)], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def place(text: str, order: Order) -> Place | None:
    """The place that a cursor of this order names; None for anything that is no such cursor."""
    if len(text) > _MAX_CURSOR:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        sort, down, value, person = json.loads(raw)
        if "\0" in value or value != value.encode().decode():
            return None
        found = Place(datetime.fromisoformat(value) if order.sort == "created_at" else value, UUID(person))
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
    if isinstance(found.value, datetime) and found.value.tzinfo is None:
        return None
    # Only the one text that we would have sent for it.
    return found if (sort, down) == (order.sort, order.down) and cursor(order, found) == text else None
