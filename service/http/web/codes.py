"""The page of new backup codes, which is the answer to the very POST that made them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from litestar import Response
from litestar.datastructures import Cookie

from service.flows.enrolment import Codes
from service.http.browser import Asking
from service.http.guards import world_of
from service.http.pages import carried, page


def shown(
    request: Asking,
    codes: Codes,
    email: str,
    onward: str,
    *,
    replaced: bool,
    no_limit: bool,
    session: UUID | None,
    cookies: Sequence[Cookie] = (),
    **around: Any,
) -> Response[str]:
    """Five codes, for this once. `session` is the one that the answer leaves the browser with, if any: its
    person can say here that the codes are saved. `no_limit` is for whoever asked for it beforehand."""
    # Without a place in it: the script gives this address to the page itself, and a link to a place in the
    # page that one is at would lead nowhere.
    onward = onward.partition("#")[0]
    return page(
        request,
        "two_factor/codes.html",
        bound_to=str(session or ""),
        cookies=cookies,
        codes=codes,
        email=email,
        onward=onward,
        carried=carried(onward),
        replaced=replaced,
        seconds=0 if no_limit else world_of(request).settings.two_factor.codes_seconds,
        set_id=codes.set_id if session else None,
        **around,
    )
