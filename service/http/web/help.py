"""`/help`: what to do when a sign-in does not go as it should. Anybody may read it."""

from typing import Any

from litestar import Response, get

from service.http.browser import Asking
from service.http.guards import world_of
from service.http.pages import carried, page, refused, return_to


@get("/help", include_in_schema=False, exception_handlers={Exception: refused})
async def help_page(request: Asking) -> Response[Any]:
    """Every way back into an account, with the server's time for whoever's clock is wrong."""
    facts: dict[str, Any] = {"now": world_of(request).clock.now(), "carried": carried(return_to(request))}
    return page(request, "sign_in/help.html", **facts)
