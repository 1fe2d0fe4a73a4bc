"""Authlib's asynchronous client: another hand's reading of the same standards, secrets in the form."""

import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from service.flows import clients as client_flow
from tests.relying_parties.conftest import Provider
from tests.relying_parties.test_openid_client import PORTAL

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


async def session(provider: Provider, method: str) -> AsyncOAuth2Client:
    """The client of a registered portal, which proves itself by `method`."""
    key = RSAKey.generate_key(2048, {"kid": "portal-1", "use": "sig"})
    client = replace(PORTAL, token_endpoint_auth_method=method)  # type: ignore[arg-type]
    if method == "private_key_jwt":
        client = replace(client, jwks={"keys": [key.as_dict(private=False)]})
    secret = await client_flow.create(provider.house.world, client)
    made: Any = AsyncOAuth2Client(
        "portal",
        secret or key,
        scope="openid email offline_access",
        redirect_uri=PORTAL.redirect_uris[0],
        code_challenge_method="S256",
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        verify=ssl.create_default_context(cafile=provider.trusted.root),
    )
    made.register_client_auth_method(PrivateKeyJWT())
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize("method", ["client_secret_post", "private_key_jwt"])
async def test_a_portal_by_authlib_signs_in_refreshes_and_revokes(provider: Provider, method: str) -> None:
    made: Any = await session(provider, method)
    async with made as client, await provider.a_person() as ada:
        metadata = (
            await client.request(
                "GET", f"{provider.issuer}/.well-known/openid-configuration", withhold_token=True
            )
        ).json()
        address, state = client.create_authorization_url(
            metadata["authorization_endpoint"], code_verifier=VERIFIER, nonce="n-1"
        )
        back = await ada.go(address, PORTAL.redirect_uris[0])
        tokens: Mapping[str, Any] = await client.fetch_token(
            metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=VERIFIER
        )
        keys = KeySet.import_key_set(
            (await client.request("GET", metadata["jwks_uri"], withhold_token=True)).json()
        )
        told = jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims
        known = (await client.get(metadata["userinfo_endpoint"])).json()
        second = await client.refresh_token(metadata["token_endpoint"])
        after = (await client.get(metadata["userinfo_endpoint"])).json()
        revoked = await client.revoke_token(metadata["revocation_endpoint"], token=second["refresh_token"])
        dead = await client.get(metadata["userinfo_endpoint"])
    assert (told["iss"], told["aud"], told["nonce"]) == (provider.issuer, "portal", "n-1")
    assert told["acr"] == "urn:doorward:acr:2fa"
    assert known == {"sub": told["sub"], "email": ada.email, "email_verified": True}
    assert second["access_token"] != tokens["access_token"]
    assert after == known
    assert (revoked.status_code, revoked.content) == (200, b"")
    assert dead.status_code == 401
