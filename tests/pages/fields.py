"""What a page says of its fields and links, as a browser reads it; and the way to the second step."""

from contextlib import ExitStack
from typing import Any

from service.errors import Unavailable
from service.world import World
from tests.builders import Person
from tests.pages.visitor import Page, Visitor

SECOND_FACTOR = "/sign-in/second-factor"


def field(page: Page, name: str) -> dict[str, Any]:
    (found,) = [told for tag, told in page.tags if tag == "input" and told.get("name") == name]
    return found


def by_id(page: Page, name: str) -> dict[str, Any]:
    (found,) = [told for _, told in page.tags if told.get("id") == name]
    return found


def labels(page: Page) -> set[str]:
    return {told["for"] for tag, told in page.tags if tag == "label"}


def links(page: Page) -> list[str]:
    return [told["href"] for tag, told in page.tags if tag == "a"]


async def at_second_factor(person: Person, target: str = "") -> tuple[Visitor, Page]:
    visitor = Visitor(person)
    page = await visitor.get("/sign-in" + (f"?return_to={target}" if target else ""))
    page = await visitor.fill(page, "/sign-in", username=person.email, password=person.password)
    assert page.path == SECOND_FACTOR, page.text
    return visitor, page


def take_all(places: ExitStack, world: World) -> None:
    """Take every place for a stranger's sign-in."""
    while True:
        try:
            places.enter_context(world.pool.admission())
        except Unavailable:
            return
