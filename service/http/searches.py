"""What people are looked for by, as it stands in an address: of a page and of the API alike."""

from typing import get_args

from service.domain import administration
from service.domain.accounts import is_line
from service.domain.administration import Order, Place, Sort
from service.errors import InvalidRequest


def sought(text: str) -> str:
    """A search as it may be. Raises InvalidRequest."""
    if len(text) > administration.MAX_SEARCH or not is_line(text):
        raise _fault("q", "not_valid")
    return text.strip()


def order_of(text: str) -> Order:
    """An order by its name, with `-` before it from the last. Raises InvalidRequest."""
    for sort in get_args(Sort):
        if text in (sort, f"-{sort}"):
            return Order(sort, text.startswith("-"))
    raise _fault("sort", "not_valid")


def place_of(cursor: str | None, order: Order) -> Place | None:
    """Where the page begins. Raises InvalidRequest for what is no cursor of this order."""
    if cursor is None:
        return None
    place = administration.place(cursor, order)
    if place is None:
        raise _fault("cursor", "not_valid")
    return place


def _fault(name: str, code: str) -> InvalidRequest:
    return InvalidRequest(f"parameter {name}: {code}", errors=[{"pointer": f"/{name}", "code": code}])
