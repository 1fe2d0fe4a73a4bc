"""The composition root: the only file that knows every route."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from litestar import Litestar, Response, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp

from service import __version__, logs
from service.errors import Unavailable
from service.http import brand, health, pages, rendering
from service.http.api import admin, me, sessions, sign_in, trust, two_factor
from service.http.api.documented import StrictBodies
from service.http.brand import OnTheWay
from service.http.browser import Asking
from service.http.cross_origin import CrossOrigin
from service.http.edge import Edge
from service.http.errors import problem
from service.http.guards import MAX_BODY, strict_json
from service.http.oidc import authorize as oidc_authorize
from service.http.oidc import discovery
from service.http.oidc import introspect as oidc_introspect
from service.http.oidc import logout as oidc_logout
from service.http.oidc import par as oidc_par
from service.http.oidc import revoke as oidc_revoke
from service.http.oidc import token as oidc_token
from service.http.oidc import userinfo as oidc_userinfo
from service.http.web import account as web_account
from service.http.web import admin as web_admin
from service.http.web import help as web_help
from service.http.web import sign_in as web_sign_in
from service.http.web import trust as web_trust
from service.http.web import two_factor as web_two_factor
from service.jobs.janitor import keep_tidy
from service.jobs.keys import keep_rotating
from service.jobs.relay import keep_telling
from service.jobs.world import keep_current
from service.settings import Settings
from service.world import World, make_world, require_keys

_log = structlog.get_logger()


def application() -> ASGIApp:
    """What the server calls: settings from the environment, everything put together."""
    settings = Settings.load()
    logs.configure(settings.log_level)
    return create(make_world(settings))


def create(world: World) -> ASGIApp:
    """The application around a world."""
    return enclosed(routes(world), world)


def enclosed(app: Litestar, world: World) -> ASGIApp:
    """The routes for a world, with what stands around them. The routes may have been another world's: they
    hold nothing of it but what is set here, and the jobs that a server starts with them."""
    app.state.world = world
    return Edge(CrossOrigin(OnTheWay(app, world), world), world)


def routes(world: World) -> Litestar:
    """Every route, and how an exception becomes an answer."""
    v1 = Router(
        "/v1",
        route_handlers=[
            sign_in.router,
            me.router,
            two_factor.router,
            trust.router,
            sessions.router,
            admin.router,
            sessions.refresh,
            sessions.sign_out,
            sessions.reauthenticate,
        ],
        before_request=strict_json,
        request_max_body_size=MAX_BODY,
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await start(world)
        jobs = [
            asyncio.create_task(job(world)) for job in (keep_current, keep_rotating, keep_telling, keep_tidy)
        ]
        yield
        for job in jobs:
            job.cancel()
        await world.close()

    return Litestar(
        route_handlers=[
            v1,
            discovery.openid_configuration,
            discovery.authorization_server,
            discovery.jwks,
            health.livez,
            health.readyz,
            pages.root,
            rendering.static,
            pages.meaning,
            brand.style,
            brand.logo,
            oidc_authorize.router,
            oidc_token.token,
            oidc_introspect.introspect,
            oidc_revoke.revoke,
            oidc_par.par,
            oidc_logout.router,
            oidc_userinfo.userinfo,
            oidc_userinfo.userinfo_by_post,
            web_help.help_page,
            web_sign_in.router,
            web_account.router,
            web_admin.router,
            web_two_factor.router,
            web_trust.router,
        ],
        exception_handlers={Exception: refused},
        lifespan=[lifespan],
        openapi_config=OpenAPIConfig(
            title="Doorward",
            version=__version__,
            description="A password opens a pre-auth token; a second factor exchanges it for session tokens.",
            components=Components(
                security_schemes={
                    "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                    "cookie": SecurityScheme(
                        type="apiKey",
                        name="__Host-doorward",
                        security_scheme_in="cookie",
                        description="A browser's session; what changes something sends `X-CSRF-Token` too.",
                    ),
                }
            ),
            path="/openapi",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        plugins=[StrictBodies()],
        logging_config=None,
        request_max_body_size=MAX_BODY,
    )


def refused(request: Asking, error: Exception) -> Response[Any]:
    """A refusal in the form that whoever asks can read."""
    return pages.refused(request, error) if pages.is_of_pages(request) else problem(request, error)


async def start(world: World) -> None:
    """Take over time and keys. A node that comes up before its database says so and serves what it
    can: it is alive, not ready, and must not need a restart."""
    try:
        await world.refresh()
    except Unavailable as fault:
        _log.warning("postgres_away", reason=fault.private)
    else:
        require_keys(world)


def openapi_document() -> str:
    """The OpenAPI document as it is checked in: sorted, indented, one newline at the end."""
    keys = "none:" + "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
    settings = Settings.load(
        {
            "issuer": "https://identity.example",
            "encryption_keys": keys,
            "database.url": "postgresql://nowhere",
            "redis.url": "redis://nowhere",
        },
        environ={},
    )
    document = routes(make_world(settings)).openapi_schema.to_schema()
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
