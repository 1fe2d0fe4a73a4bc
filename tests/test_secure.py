"""The service speaks TLS itself, as portals see it from the first day."""

import ssl
import subprocess
from pathlib import Path

import httpx

from service.embedded import Servers
from service.world import World
from tests.programs import doorward
from tests.secure import authority, secure, secure_environ


async def test_an_https_issuer_serves_its_metadata_and_secure_cookies(
    servers: Servers, database_url: str, world: World, tmp_path: Path
) -> None:
    trusted = authority(tmp_path)
    context = ssl.create_default_context(cafile=trusted.root)
    with secure(secure_environ(servers, database_url, trusted), trusted) as issuer:
        async with httpx.AsyncClient(base_url=issuer, verify=context) as browser:
            metadata = (await browser.get("/.well-known/openid-configuration")).json()
            page = await browser.get("/sign-in")
    assert metadata["issuer"] == issuer
    assert all(
        value.startswith(f"{issuer}/")
        for name, value in metadata.items()
        if name.endswith(("endpoint", "_uri"))
    )
    assert page.headers["strict-transport-security"].startswith("max-age=")
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("__Host-doorward-browser=")
    assert "Secure" in cookie


def test_half_of_a_certificate_is_told_and_nothing_starts(tmp_path: Path) -> None:
    said: subprocess.CompletedProcess[str] = doorward(
        "config",
        "check",
        environ={"PATH": "/usr/bin:/bin", "DOORWARD_TLS_CERTIFICATE": str(tmp_path / "none.pem")},
    )
    assert said.returncode == 1
    assert "tls_certificate: belongs together with tls_key" in said.stdout + said.stderr
    assert "is not a file" in said.stdout + said.stderr
