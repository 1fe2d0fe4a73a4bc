"""The page behind each error's `type`."""

from html import escape

from litestar import Response, get
from litestar.params import FromPath

from service.errors import CATALOGUE, NotFound
from service.http.api.documented import Parametrised, problems

_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


@get(
    "/errors/{code:str}",
    operation_id="errorPage",
    summary="What an error code means",
    media_type="text/html",
    operation_class=Parametrised,
    responses=problems(NotFound),
    tags=["errors"],
)
async def error_page(code: FromPath[str]) -> Response[str]:
    """A plain page, the same for everyone."""
    error = CATALOGUE.get(code)
    if error is None:
        raise NotFound("no such code")
    title = f"{error.code} ({error.status})"
    return Response(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<h1>{escape(title)}</h1><p>{escape(error.title)}.</p><p>{escape(error.detail)}</p></html>",
        media_type="text/html",
        headers={"Content-Security-Policy": _CSP, "Cache-Control": "public, max-age=300"},
    )
