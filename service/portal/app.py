"""The portal's pages: plain HTML, no script."""

import hmac
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import httpx
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import Cookie, State
from litestar.exceptions import HTTPException

from service.clock import Clock
from service.portal.provider import Provider, Refused
from service.portal.visits import SIGN_IN, Portal, Visit, random_name

Asking: TypeAlias = Request[Any, Any, State]

_log = logging.getLogger(__name__)
#: Proofs in words, by their names in `amr` (RFC 8176); `mfa` says only that there were several.
_PROOFS = {
    "pwd": "password",
    "otp": "a code of an authenticator app",
    "backup_code": "a backup code",
    "mfa": "",
}
_LEVELS = {"urn:doorward:acr:1fa": "one factor", "urn:doorward:acr:2fa": "two factors"}
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["moment"] = lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


@get("/")
async def home(request: Asking) -> Response[str]:
    """Who is signed in."""
    portal = _portal(request)
    name = request.cookies.get(portal.cookie)
    visit = portal.visit(name)
    if visit is None:
        return _page(request, "signed_out.html", why=None)
    if visit.over:
        portal.visits.pop(name or "", None)
        return _page(request, "signed_out.html", why=visit.over, cookies=[_cookie(portal, "", "", 0)])
    proofs = [_PROOFS.get(one, one) for one in visit.claims.get("amr", [])]
    facts: dict[str, Any] = {
        "proofs": [one for one in proofs if one],
        "level": _LEVELS.get(visit.claims.get("acr", ""), "level not told"),
        "left": max(0, int((visit.access_ends - portal.clock.now()).total_seconds())),
    }
    return _page(request, "signed_in.html", visit=visit, **facts)


@get("/sign-in")
async def sign_in(request: Asking) -> Response[str]:
    """To the provider, in the language that a link to this page names. The browser gets a name of its own,
    which the answer must come back with."""
    portal = _portal(request)
    browser = request.cookies.get(portal.cookie + "-browser") or random_name()
    cookie = _cookie(portal, "-browser", browser, int(SIGN_IN.total_seconds()))
    return _go(await portal.begin(browser, request.query_params.get("ui_locales")), cookie)


@get("/callback")
async def callback(request: Asking) -> Response[str]:
    """From the provider. The session has a new name, which nobody can have planted."""
    portal = _portal(request)
    name = await portal.finish(
        request.cookies.get(portal.cookie + "-browser"), _once(request.scope["query_string"])
    )
    portal.visits.pop(request.cookies.get(portal.cookie, ""), None)
    return _go("/", _cookie(portal, "", name))


@post("/refresh", status_code=303)
async def refresh(request: Asking) -> Response[str]:
    await _portal(request).refresh((await _own(request))[1])
    return _go("/")


@post("/sign-out", status_code=303)
async def sign_out(request: Asking) -> Response[str]:
    """Everywhere: here first, so that nothing which goes wrong at the provider can leave it open."""
    portal = _portal(request)
    name, visit = await _own(request)
    hint, state = visit.tokens["id_token"], random_name()
    del portal.visits[name]
    visit.end("signed out")
    bye = [_cookie(portal, "", "", 0), _cookie(portal, "-bye", state, int(SIGN_IN.total_seconds()))]
    return _go(await portal.farewell(hint, state), *bye)


@get("/signed-out")
async def signed_out(request: Asking) -> Response[str]:
    """Back from the provider, with the state that went there; without it nothing is claimed."""
    portal = _portal(request)
    state = request.cookies.get(portal.cookie + "-bye")
    if not state or request.query_params.get("state") != state:
        return _go("/")
    told = "You are signed out here and at Doorward."
    return _page(request, "signed_out.html", why=told, cookies=[_cookie(portal, "-bye", "", 0)])


@post("/backchannel-logout", status_code=200)
async def backchannel_logout(request: Asking) -> Response[str]:
    token = _once(await request.body()).get("logout_token")
    if token is None:
        raise Refused("No token", "There is no logout_token.")
    await _portal(request).hear(token)
    return Response("", media_type="text/plain", headers={"Cache-Control": "no-store"})


def refused(request: Asking, fault: Exception) -> Response[Any]:
    """What happened: a page that offers to begin anew; JSON for the provider (Back-Channel Logout §2.8)."""
    status = getattr(fault, "status_code", 500) if isinstance(fault, HTTPException) else 500
    if not isinstance(fault, Refused):
        if status >= 500:
            _log.error("portal", exc_info=fault)
        fault = Refused("That did not work", "There is nothing here, or it was asked for wrongly.", status)
    if request.url.path == "/backchannel-logout":
        said = {"error": "invalid_request", "error_description": fault.text}
        return Response(said, status_code=fault.status, headers={"Cache-Control": "no-store"})
    return _page(request, "problem.html", fault.status, fault=fault)


def create(
    issuer: str,
    client_id: str,
    secret: str,
    url: str,
    *,
    clock: Clock | None = None,
    http: httpx.AsyncClient | None = None,
    acr_values: str = "",
) -> Litestar:
    """The portal at `url`, an origin, as the client `client_id` of `issuer`; what it asks every sign-in to
    prove may be named."""
    clock = clock or Clock()
    # On loopback no proxy of the environment is asked.
    http = http or httpx.AsyncClient(timeout=10, trust_env=False)
    portal = Portal(Provider(issuer, client_id, secret, clock, http), url, clock, acr_values)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        yield
        await http.aclose()

    return Litestar(
        [home, sign_in, callback, refresh, sign_out, signed_out, backchannel_logout],
        exception_handlers={Exception: refused},
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=16_384,
        state=State({"portal": portal}),
    )


def _page(
    request: Asking, template: str, status: int = 200, cookies: Sequence[Cookie] = (), **facts: Any
) -> Response[str]:
    portal, nonce = _portal(request), random_name()
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(portal.provider.issuer))
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; "
        "base-uri 'none'; frame-ancestors 'none'; "
        # A form that signs out goes on to the provider, and Chromium judges each redirect of a form.
        f"form-action 'self' {origin}"
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    text = _templates.get_template(template).render(nonce=nonce, issuer=portal.provider.issuer, **facts)
    return Response(text, media_type="text/html", status_code=status, headers=headers, cookies=list(cookies))


def _go(where: str, *cookies: Cookie) -> Response[str]:
    headers = {"Location": where, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response("", media_type="text/html", status_code=303, headers=headers, cookies=list(cookies))


async def _own(request: Asking) -> tuple[str, Visit]:
    """The session that a form of ours acts on. Other ports of this host are the same site to a browser, so
    that SameSite alone keeps none of them out: the form carries a token of the session."""
    told = _once(await request.body()).get("csrf_token", "")
    # Nothing is awaited from here on until the caller acts: of two sign-outs at once the second finds none.
    name = request.cookies.get(_portal(request).cookie, "")
    visit = _portal(request).visit(name)
    if visit is None or visit.over:
        raise Refused("Not signed in", "Your session here has ended.", 403)
    if not hmac.compare_digest(told.encode(), visit.csrf.encode()):
        raise Refused("Not our form", "This did not come from a page of this portal.", 403)
    return name, visit


def _portal(request: Asking) -> Portal:
    found: Portal = request.app.state.portal
    return found


def _cookie(portal: Portal, suffix: str, value: str, seconds: int | None = None) -> Cookie:
    secure = portal.url.startswith("https:")
    name = portal.cookie + suffix
    return Cookie(name, path="/", value=value, max_age=seconds, secure=secure, httponly=True, samesite="lax")


def _once(form: bytes) -> Mapping[str, str]:
    """The parameters of a form or a query, each of which may stand once (RFC 6749 §3.1)."""
    try:
        pairs = parse_qsl(form.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=32)
    except ValueError:
        raise Refused("Not a form", "This cannot be read.") from None
    if len(dict(pairs)) < len(pairs):
        raise Refused("Not a form", "A parameter stands twice.")
    return dict(pairs)
