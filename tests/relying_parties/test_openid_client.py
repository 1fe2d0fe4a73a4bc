"""openid-client, the certified relying party of Node, on a service that speaks TLS."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from service.domain.oidc.clients import Client
from service.flows import clients as client_flow
from tests.programs import needs
from tests.relying_parties.conftest import HERE, Provider
from tests.relying_parties.person import Person

PORTAL = Client(
    "portal",
    "The Portal",
    redirect_uris=("https://portal.example/callback",),
    post_logout_redirect_uris=("https://portal.example/bye",),
    grant_types=("authorization_code", "refresh_token"),
    scopes=("openid", "profile", "email", "offline_access"),
)


async def party(folder: Path, environ: dict[str, str], told: dict[str, Any], person: Person) -> Any:
    """Run the portal; its person goes wherever it sends them. What it says in the end."""
    process = await asyncio.create_subprocess_exec(
        needs("node"),
        str(folder / "openid_client.mjs"),
        env=environ | {"PARTY": json.dumps(told)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    try:
        while line := await process.stdout.readline():
            said = json.loads(line)
            if "done" in said:
                return said["done"]
            back = await person.go(said["go"], "https://portal.example/")
            process.stdin.write(back.encode() + b"\n")
            await process.stdin.drain()
        raise AssertionError((await process.stderr.read()).decode())
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("method", ["client_secret_basic", "private_key_jwt"])
async def test_a_portal_on_node_does_all_it_knows(
    provider: Provider, packages: Path, node_environ: dict[str, str], method: str
) -> None:
    key = ECKey.generate_key("P-256", {"kid": "portal-1", "alg": "ES256", "use": "sig"})
    client = replace(PORTAL, token_endpoint_auth_method=method)  # type: ignore[arg-type]
    if method == "private_key_jwt":
        client = replace(client, jwks={"keys": [key.as_dict(private=False)]})
    secret = await client_flow.create(provider.house.world, client)
    told = {
        "issuer": provider.issuer,
        "client": "portal",
        "secret": secret,
        "key": key.as_dict(private=True),
        "callback": PORTAL.redirect_uris[0],
        "home": PORTAL.post_logout_redirect_uris[0],
    }
    (packages / "openid_client.mjs").write_bytes((HERE / "openid_client.mjs").read_bytes())
    async with await provider.a_person() as ada:
        done = await party(packages, node_environ, told, ada)
        email = ada.email
    assert done["claims"]["acr"] == "urn:doorward:acr:2fa"
    assert {"pwd", "otp", "mfa"} <= set(done["claims"]["amr"])
    assert (done["person"]["sub"], done["person"]["email"]) == (done["claims"]["sub"], email)
    assert done["refreshed"]["sub"] == done["claims"]["sub"]
    assert done["living"]["active"] is True
    assert (done["living"]["client_id"], done["living"]["sub"]) == ("portal", done["claims"]["sub"])
    assert done["dead"] == {"active": False}
    assert done["after"] == "invalid_grant"
    assert set(done["pushed"]) == {"client_id", "request_uri"}
    assert done["again"]["sid"] == done["claims"]["sid"], "still signed in when it asked again"
    assert done["home"] == "https://portal.example/bye?state=bye"
    assert done["pkce"] is True
