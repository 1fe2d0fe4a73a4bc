"""One provider on https for the whole folder, as the suite meets it, and a relying party for each test."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx
import pytest

from service.domain.oidc.clients import AuthMethod, Client
from service.embedded import Servers
from service.flows import clients as client_flow
from service.stores import keys as key_store
from service.world import World, make_world
from tests import portals
from tests.builders import House
from tests.conformance.browser import ResponseMode
from tests.conformance.relying_party import Party, Provider, Suite
from tests.conftest import settings_of
from tests.databases import Databases
from tests.programs import free_port
from tests.secure import authority, secure, secure_environ

_SCOPES = ("openid", "profile", "email", "phone", "address", "offline_access")


@pytest.fixture(scope="package")
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """One database for the folder: its people are each test's own."""
    async with databases.one() as url:
        yield url


@pytest.fixture(scope="package")
async def provider(
    servers: Servers, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Provider]:
    """`doorward serve` on https://localhost, with what the suite is configured with: two clients, a third
    that authenticates by POST, and a fourth that listens for logouts."""
    trusted = authority(tmp_path_factory.mktemp("authority"))
    trust = ssl.create_default_context(cafile=trusted.root)
    environ = secure_environ(
        servers,
        database_url,
        trusted,
        outgoing_private_addresses="true",
        outgoing_ca_file=str(trusted.root),
        redis_budget_ms="2000",
        database_acquire_ms="5000",
    )
    portal = f"https://localhost:{free_port()}"
    async with AsyncExitStack() as stack:
        world = make_world(settings_of(servers, database_url))
        stack.push_async_callback(world.close)
        await world.db.transact(
            lambda tx: key_store.ensure(tx, world.sealer, world.entropy, world.clock.now())
        )
        await world.refresh()
        callback, post_logout = f"{portal}/callback", f"{portal}/signed-out"
        portal_of = partial(_register, world, callback, post_logout)
        first = await portal_of("suite-1", "client_secret_basic")
        second = await portal_of("suite-2", "client_secret_basic")
        by_post = await portal_of("suite-post", "client_secret_post")
        listener = await stack.enter_async_context(portals.portal(portals.answers(200), trusted))
        told = await portal_of(
            "suite-back-channel",
            "client_secret_basic",
            backchannel_logout_uri=listener.url(),
            backchannel_logout_session_required=True,
        )
        issuer = stack.enter_context(secure(environ, trusted))
        outside = await stack.enter_async_context(
            httpx.AsyncClient(verify=trust, timeout=30, trust_env=False)
        )
        metadata = (await outside.get(f"{issuer}/.well-known/openid-configuration")).json()
        keys = (await outside.get(metadata["jwks_uri"])).json()
        yield Provider(
            issuer=issuer,
            metadata=metadata,
            keys=keys,
            house=House(world, outside),
            trust=trust,
            first=first,
            second=second,
            by_post=by_post,
            told=told,
            listener=listener,
            callback=callback,
            post_logout=post_logout,
        )


async def _register(
    world: World, callback: str, post_logout: str, id: str, method: AuthMethod, **more: Any
) -> Party:
    """A third party's confidential client: the person is asked, and PKCE is not demanded."""
    client = Client(
        id,
        f"Conformance suite, {id}",
        token_endpoint_auth_method=method,
        redirect_uris=(callback,),
        post_logout_redirect_uris=(post_logout,),
        grant_types=("authorization_code", "refresh_token"),
        scopes=_SCOPES,
        require_pkce=False,
        **more,
    )
    secret = await client_flow.create(world, client)
    assert secret is not None
    return Party(id, secret, method)


@pytest.fixture
def response_mode() -> ResponseMode:
    """`query`, unless a plan runs its modules in another mode as well."""
    return "query"


@pytest.fixture
async def suite(provider: Provider, response_mode: ResponseMode) -> AsyncIterator[Suite]:
    async with AsyncExitStack() as stack:
        made = Suite(provider, response_mode, stack)
        made.http = await stack.enter_async_context(
            httpx.AsyncClient(verify=provider.trust, timeout=30, trust_env=False)
        )
        yield made
