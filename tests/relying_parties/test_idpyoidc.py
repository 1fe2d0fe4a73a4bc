"""idpyoidc, the Python library behind several certified providers, as a relying party."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from idpyoidc.client.rp_handler import RPHandler  # type: ignore[import-untyped]

from service.flows import clients as client_flow
from tests.relying_parties.conftest import Provider
from tests.relying_parties.person import query_of
from tests.relying_parties.test_openid_client import PORTAL

SERVICES = {
    "discovery": "idpyoidc.client.oidc.provider_info_discovery.ProviderInfoDiscovery",
    "registration": "idpyoidc.client.oidc.registration.Registration",
    "authorization": "idpyoidc.client.oidc.authorization.Authorization",
    "access_token": "idpyoidc.client.oidc.access_token.AccessToken",
    "refresh_access_token": "idpyoidc.client.oidc.refresh_access_token.RefreshAccessToken",
    "userinfo": "idpyoidc.client.oidc.userinfo.UserInfo",
    "end_session": "idpyoidc.client.oidc.end_session.EndSession",
}
CALLBACK = "https://portal.example/callback"


def handler(provider: Provider, secret: str) -> Any:
    """The portal's side, which checks our certificate by the throw-away CA."""
    config = {
        "issuer": provider.issuer,
        "client_id": "portal",
        "client_secret": secret,
        "client_type": "oidc",
        "redirect_uris": [CALLBACK],
        "post_logout_redirect_uris": list(PORTAL.post_logout_redirect_uris),
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "client_authn_methods": ["client_secret_basic", "bearer_header"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "services": {name: {"class": place} for name, place in SERVICES.items()},
        "add_ons": {
            "pkce": {
                "function": "idpyoidc.client.oauth2.add_on.pkce.add_support",
                "kwargs": {"code_challenge_length": 64, "code_challenge_method": "S256"},
            }
        },
    }
    return RPHandler(
        base_url="https://portal.example",
        client_configs={provider.issuer: config},
        # Keys of its own, which it would otherwise write into the folder it stands in.
        key_conf={"key_defs": [{"type": "EC", "crv": "P-256", "use": ["sig"]}]},
        httpc_params={"verify": str(provider.trusted.root), "timeout": 20},
    )


# It fetches keys of `localhost` without a look at the certificate, whatever it is told; all else it checks.
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
async def test_a_portal_by_idpyoidc_signs_in_refreshes_and_signs_out(provider: Provider) -> None:
    client = replace(PORTAL, redirect_uris=(CALLBACK,))
    secret = await client_flow.create(provider.house.world, client)
    assert secret is not None
    portal = handler(provider, secret)
    wanted = {"scope": ["openid", "email", "offline_access"]}
    address = await asyncio.to_thread(portal.begin, issuer_id=provider.issuer, req_args=wanted)
    async with await provider.a_person() as ada:
        back = query_of(await ada.go(address, CALLBACK))
        done = await asyncio.to_thread(portal.finalize, provider.issuer, back)
        assert done["userinfo"].to_dict() == {
            "sub": done["id_token"]["sub"],
            "email": ada.email,
            "email_verified": True,
        }
        assert done["id_token"]["acr"] == "urn:doorward:acr:2fa"
        refreshed = await asyncio.to_thread(portal.refresh_access_token, done["state"])
        assert refreshed["access_token"] != done["token"]
        again = await asyncio.to_thread(
            portal.get_user_info, done["state"], access_token=refreshed["access_token"]
        )
        assert again["sub"] == done["id_token"]["sub"]
        out = portal.logout(done["state"], post_logout_redirect_uri=PORTAL.post_logout_redirect_uris[0])
        home = await ada.go(out["url"], "https://portal.example/")
        assert home.partition("?")[0] == PORTAL.post_logout_redirect_uris[0]
